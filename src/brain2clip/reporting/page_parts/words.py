"""The protocol of a block in words: data, split, repetitions, candidates, scoring, concepts, selection, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import pandas as pd

from brain2clip.names import TECHNIQUES, MetricName, counted
from brain2clip.reporting.page_parts.measured import Block
from brain2clip.reporting.wording import SEEN_WORDS, TASKS, TRANSDUCTIVE_WORDS
from brain2clip.settings import Protocol
from brain2clip.settings.protocols import first_in_words

SIMULATED = " Simulated: no person was recorded, and no number here says anything about brains."
UNSEEN = "Unseen: no concept of the test was shown in training (zero-shot)."


def protocol(
    block: Block, given: Mapping[str, Any], catalogue: pd.DataFrame, summary: pd.DataFrame, n_candidates: int
) -> list[tuple[str, str]]:
    """Terms with their descriptions.

    Parameters
    ----------
    block : Block
    given : mapping
        Settings of the stage.
    catalogue : DataFrame
        Stimuli of the study.
    summary : DataFrame
        Of all runs.
    n_candidates : int
        Of a query of the block's task.
    """
    about, name = given["about"][block.study], MetricName.read(block.metric)
    own = summary[(summary[["study", "signal", "protocol"]] == list(block.key)).all(axis=1)]
    subjects, seeds = sorted(own["subject"].unique()), sorted(own["seed"].unique().tolist())
    modality = TECHNIQUES[given.get("modalities", {}).get(block.study, "eeg")]
    return [
        ("Data", f"{modality}. {about['words']}{SIMULATED if about['simulated'] else ''}"),
        ("Licence of the data", about["licence"] or "see the dataset"),
        ("To be cited", about["citation"] or "see the dataset"),
        *([("Part of the data", f"some pictures are never shown ({about['part']})")] if about["part"] else []),
        ("Signal", signal(block.signal, given["signals"][block.study][block.signal])),
        ("Subjects", f"{len(subjects)} tested: {', '.join(subjects)}"),
        ("Training and test", f"{split(given, block.protocol)} {stimuli(catalogue)}"),
        ("Concepts", SEEN_WORDS if block.concepts == "seen" else UNSEEN),
        ("Task", TASKS[name.task].format(n_candidates if name.pool is None else f"{name.pool} drawn at random")),
        ("Test repetitions", repetitions(name.repetitions)),
        ("Scoring", TRANSDUCTIVE_WORDS if name.transductive else "Inductive: each query is scored alone."),
        ("Selection", selection(block, given)),
        ("Seeds of training", ", ".join(map(str, seeds))),
        ("Frozen CLIP", "; ".join(_towers(block, given))),
    ]  # fmt: skip


def split(given: Mapping[str, Any], name: str) -> str:
    """Whose trials train a model."""
    counted_sessions = given.get("sessions", {}).get(name)
    known = Protocol.model_validate(counted_sessions or {"kind": given["protocols"][name]})
    match known.kind:
        case "intra-subject" if known.first_sessions is not None:
            return (
                f"Within subjects: a model learns from the training trials of {first_in_words(known.first_sessions)} "
                "of one subject and is tested on all of that subject's test trials."
            )
        case "intra-subject":
            return (
                "Within subjects: a model is trained on the training trials of one subject and tested on the test "
                "trials of the same subject."
            )
        case "leave-one-subject-out":
            return (
                "Across subjects: a model is trained on the training trials of all other subjects and tested on the "
                "subject that is left out."
            )
        case "joint":
            return "Jointly: one model is trained on the training trials of all subjects and tested on each subject."
        case "new-subject":
            part = first_in_words(known.first_sessions)
            if not known.continues:
                return (
                    f"New subjects, from random weights: a model learns from the training trials of {part} of one "
                    "subject alone and is tested on all of that subject's test trials."
                )
            trained = "its new input layer alone" if known.tune == "input" else "all of it"
            return (
                "New subjects: a joint model of all other subjects learns on from the training trials of "
                f"{part} of one subject ({trained}) and is tested on all of that subject's test trials. Models of two "
                "subjects share training subjects, so means of subjects are not independent."
            )
        case other:
            assert_never(other)


def stimuli(catalogue: pd.DataFrame) -> str:
    """Numbers of stimuli and concepts on both sides."""
    sides = []
    for name, word in (("train", "training"), ("test", "test")):
        own = catalogue[catalogue["split"].isin([name, "both"])]
        sides.append(f"{len(own)} {word} stimuli of {counted(own['concept'].nunique(), 'concept')}")
    return f"{' and '.join(sides)}. No test trial is used for fitting, selection or normalisation."


def repetitions(number: str) -> str:
    """What is averaged."""
    if number == "all":
        return "All repetitions of a test stimulus are averaged into one response."
    return "Single trials." if number == "1" else f"{number} repetitions are averaged, in disjoint groups."


def signal(name: str, block: Mapping[str, Any]) -> str:
    """The band or region."""
    if "band" in block:
        ends = block["band"].get("l_freq"), block["band"].get("h_freq")
        low = "from 0" if ends[0] is None else f"{ends[0]:g}"
        high = "the upper end" if ends[1] is None else f"{ends[1]:g}"
        return f"{name}: {low} to {high} Hz"
    include = block.get("roi", {}).get("include")
    return f"{name}: voxels of {', '.join(include)}" if include else f"{name}: all voxels"


def selection(block: Block, given: Mapping[str, Any]) -> str:
    """How the epoch or penalty of each method was chosen, without test data; methods with the same rule together."""
    by_rule: dict[str, list[str]] = {}
    for line in block.lines:
        by_rule.setdefault(rule(line.method, given), []).append(line.label)
    return " ".join(f"{'; '.join(names)}: {how}." for how, names in by_rule.items())


def rule(method: str, given: Mapping[str, Any]) -> str:
    """How the epoch or the penalty of a method was chosen."""
    chosen = given["chosen"].get(method, {})
    if method in given.get("imported", {}):
        return f"made elsewhere; as stated by its author: {given['imported'][method]['selection']}"
    if (given_rule := chosen.get("selection")) is not None:
        epochs = chosen.get("optimiser", {}).get("epochs")
        match given_rule["rule"]:
            case "last":
                return f"a fixed number of epochs ({epochs}), without selection"
            case "held-out-concepts":
                how = "the lowest loss" if given_rule.get("criterion") == "loss" else "the best Top-1"
                then = "kept" if given_rule.get("retrain") is False else "then trained again on all"
                part = f"{100 * given_rule['share']:g} % of the training concepts"
                return f"the epoch with {how} on {part}, kept aside; {then}"
            case _:
                return "the epoch in which the training loss has stopped falling"
    if "alphas" in chosen:
        return f"the penalty by {chosen['folds']}-fold cross-validation over training concepts"
    return "nothing is chosen"


def _towers(block: Block, given: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys(
        given["chosen"][line.method]["tower"] for line in block.lines if line.method in given["chosen"]
    )
    found = []
    for name in names:
        tower = given["towers"][name]
        found.append(f"{name} ({tower['model']}{', ' + tower['pretrained'] if tower['pretrained'] else ''})")
    return found
