"""Blocks and their protocol in words: data, split, repetitions, candidates, scoring, concepts, selection, seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, assert_never

import pandas as pd

from brain2clip.names import TECHNIQUES, MetricName, counted
from brain2clip.reporting.page_parts.measured import Block, task_words
from brain2clip.reporting.wording import SEEN_WORDS, TRANSDUCTIVE_WORDS
from brain2clip.retrieval import statistics
from brain2clip.settings import Protocol
from brain2clip.settings.protocols import first_in_words

SIMULATED = " Simulated: no person was recorded, and no number here says anything about brains."
UNSEEN = "Unseen: no concept of the test was shown in training (zero-shot)."
#: What a concept of the simulated world is.
COMBINED = (
    " A concept of the simulated world is a combination of an object, a texture and a colour: objects, textures and "
    "colours of the test do occur in training, only not in these combinations."
)
AVERAGED = (
    "Values are averaged over training seeds, then over queries, then over subjects; each subject counts the same."
)
INTERVALS = (
    "{level:g} % confidence intervals. Below {fewest} subjects by Student's t over the means of the subjects; from "
    "{fewest} on, with one subject, and where all subjects are equal (t has no width then), by the bootstrap, which "
    "draws subjects and test stimuli anew; where every query is right, or every one is wrong, the exact binomial "
    "interval over the stimuli. Methods and Contrasts name beside each interval which one it is, and the files of the "
    "tables in the columns decides and resampled."
)
#: Whether pictures may be passed on, by what a study says.
PASS_ON = {
    "always": "drawn by brain2clip, licence {licence}; may be passed on: yes",
    "asked": "your own, licence {licence}; may be passed on: only if you may, which you say by page.pictures: show",
    "never": "licence {licence}; may be passed on: no",
}
#: What is told of a picture model that lies in the project, and is none that was published.
SHIPPED = "a small CLIP of brain2clip's own, trained on drawn pictures for simulated studies; no published CLIP"
SHIPPED_GENERATOR = "a small generator of brain2clip's own, which knows its drawn pictures only"


def title(key: tuple[str, str, str], given: Mapping[str, Any]) -> str:
    """What a block is about, in words; the names of the configuration where nothing more is known."""
    study, signal, protocol = key
    block = given["signals"].get(study, {}).get(signal)
    where = ends(block) if block else signal
    return f"{data(study, given)}, {people(protocol, given)}, {where}"


def data(study: str, given: Mapping[str, Any]) -> str:
    """EEG, MEG or fMRI, and whether it is simulated."""
    simulated = given["about"].get(study, {}).get("simulated", False)
    return f"{'Simulated ' if simulated else ''}{modality(study, given)}"


def people(protocol: str, given: Mapping[str, Any]) -> str:
    """Whose trials train and are tested by a protocol, in short; its name where nothing more is known."""
    few = given.get("sessions", {}).get(protocol)
    known = Protocol.model_validate(few) if few is not None else None
    words = {
        "intra-subject": "within subjects",
        "leave-one-subject-out": "leave one subject out",
        "joint": "all subjects in one model",
        "new-subject": "new subjects",
    }.get(given["protocols"].get(protocol, "") if known is None else known.kind, protocol)
    if known is not None and known.first_sessions is not None:
        words += f", {first_in_words(known.first_sessions)}"
    return words


def menus(given: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What studies, bands or regions (by study) and protocols are, for the menus of the explorer."""
    return {
        "studies": {study: data(study, given) for study in given["about"]},
        "signals": {
            f"{study}/{name}": ends(block) for study, named in given["signals"].items() for name, block in named.items()
        },
        "protocols": {name: people(name, given) for name in given["protocols"]},
    }


def regions(given: Mapping[str, Any], studies: Collection[str]) -> list[str]:
    """The bands or regions of some studies in words."""
    return [
        f"{name} of {study}: {ends(block)}"
        for study, named in given["signals"].items()
        if study in studies
        for name, block in named.items()
    ]


def modality(study: str, given: Mapping[str, Any]) -> str:
    """EEG, MEG or fMRI."""
    return TECHNIQUES[given.get("modalities", {}).get(study, "eeg")]


def protocol(
    block: Block,
    given: Mapping[str, Any],
    catalogue: pd.DataFrame,
    summary: pd.DataFrame,
    n_candidates: int,
    repeated: str,
    picked: Mapping[str, str],
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
    repeated : str
        How often each test stimulus was shown, empty where it is not known.
    picked : mapping
        By method, what its selection chose, in words; of those of which it is known.
    """
    about, name = given["about"][block.study], MetricName.read(block.metric)
    own = summary[(summary[["study", "signal", "protocol"]] == list(block.key)).all(axis=1)]
    subjects, seeds = sorted(own["subject"].unique()), sorted(own["seed"].unique().tolist())
    licence = about["licence"] or "not known"
    return [
        ("Data", f"{modality(block.study, given)}. {about['words']}{SIMULATED if about['simulated'] else ''}"),
        ("Licence of the data", about["licence"] or "see the dataset"),
        ("Pictures", f"{PASS_ON[about['pass_on']].format(licence=licence)}. "
                     f"{'Shown' if about['pictures'] == 'show' else 'Hidden'} on this page."),
        ("To be cited", about["citation"] or "see the dataset"),
        *([("Generators", "; ".join(_generators(block, given)))] if _generators(block, given) else []),
        *([("Part of the data", f"some pictures are never shown ({about['part']})")] if about["part"] else []),
        ("Signal", signal(block.signal, given["signals"][block.study][block.signal])),
        ("Subjects", f"{len(subjects)} tested: {', '.join(subjects)}"),
        ("Training and test", f"{split(given, block.protocol, len(subjects))} "
                              f"{stimuli(catalogue, about.get('test_rows_used'))}"),
        ("Concepts", SEEN_WORDS if block.concepts == "seen" else UNSEEN + (COMBINED if about["simulated"] else "")),
        ("Task", task_words(block.metric, n_candidates)),
        ("Test repetitions", repetitions(name.repetitions, repeated)),
        ("Scoring", TRANSDUCTIVE_WORDS if name.transductive else "Inductive: each query is scored alone."),
        ("Averaged", AVERAGED),
        ("Intervals", INTERVALS.format(level=100 * given["retrieval"]["level"], fewest=statistics.FEWEST_SUBJECTS)),
        ("Selection", selection(block, given, picked)),
        ("Seeds of training", f"{counted(len(seeds), 'seed')}: {', '.join(map(str, seeds))}"),
        ("Picture model", "; ".join(_towers(block, given))),
    ]  # fmt: skip


def split(given: Mapping[str, Any], name: str, count: int) -> str:
    """Whose trials train a model; ``count`` subjects are tested."""
    few = given.get("sessions", {}).get(name)
    known = Protocol.model_validate(few or {"kind": given["protocols"][name]})
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
                "Leave one subject out: a model is trained on the training trials of all subjects but one "
                f"({counted(max(count - 1, 0), 'subject')}) and tested on the subject that is left out."
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


def stimuli(catalogue: pd.DataFrame, test_rows_used: str | None = None) -> str:
    """Numbers of stimuli and concepts on both sides, and what test trials were used for (None: for nothing)."""
    sides = []
    for name, word in (("train", "training"), ("test", "test")):
        own = catalogue[catalogue["split"].isin([name, "both"])]
        sides.append(f"{len(own)} {word} stimuli of {counted(own['concept'].nunique(), 'concept')}")
    if test_rows_used is not None:
        return f"{' and '.join(sides)}. No test trial is used for training or selection. {test_rows_used}"
    return f"{' and '.join(sides)}. No test trial is used for fitting, selection or normalisation."


def repetitions(number: str, repeated: str) -> str:
    """What is averaged."""
    if number == "all":
        return (
            f"All repetitions of a test stimulus{f' ({repeated})' if repeated else ''} are averaged into one response."
        )
    return "Single trials." if number == "1" else f"{number} repetitions are averaged, in disjoint groups."


def signal(name: str, block: Mapping[str, Any]) -> str:
    """The band or region, with its name."""
    return f"{name}: {ends(block)}"


def ends(block: Mapping[str, Any]) -> str:
    """The band or region."""
    if "band" in block:
        ends = block["band"].get("l_freq"), block["band"].get("h_freq")
        low = "from 0" if ends[0] is None else f"{ends[0]:g}"
        high = "the upper end" if ends[1] is None else f"{ends[1]:g}"
        return f"{low} to {high} Hz"
    include = block.get("roi", {}).get("include")
    return f"voxels of {', '.join(include)}" if include else "all voxels"


def selection(block: Block, given: Mapping[str, Any], picked: Mapping[str, str]) -> str:
    """How each method's epoch or penalty was chosen, methods with the same rule together; never by test data."""
    by_rule: dict[str, list[str]] = {}
    for line in block.lines:
        by_rule.setdefault(selected(line.method, given, picked), []).append(line.label)
    return " ".join(f"{'; '.join(names)}: {how}." for how, names in by_rule.items())


def selected(method: str, given: Mapping[str, Any], picked: Mapping[str, str]) -> str:
    """How the epoch or the penalty of a method was chosen, and which it is."""
    return rule(method, given) + (f" ({picked[method]})" if method in picked else "")


def rule(method: str, given: Mapping[str, Any]) -> str:
    """How the epoch or the penalty of a method was chosen."""
    chosen = given["chosen"].get(method, {})
    if method in given.get("imported", {}):
        return f"made elsewhere; as stated by its author: {given['imported'][method]['selection']}"
    if (given_rule := chosen.get("selection")) is not None:
        epochs = chosen.get("optimiser", {}).get("epochs")
        match given_rule["rule"]:
            case "last":
                return f"the number of epochs is fixed at {epochs}; no selection"
            case "held-out-concepts":
                how = "the lowest loss" if given_rule.get("criterion") == "loss" else "the best Top-1"
                then = "kept" if given_rule.get("retrain") is False else "then trained again on all"
                part = f"{100 * given_rule['share']:g} % of the training concepts"
                return f"the epoch with {how} on {part}, kept aside; {then}"
            case _:
                return "the epoch in which the training loss has stopped falling"
    if "alphas" in chosen:
        return f"the penalty by {chosen['folds']}-fold cross-validation over training concepts"
    return "nothing to select"


def _towers(block: Block, given: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys(
        given["chosen"][line.method]["tower"] for line in block.lines if line.method in given["chosen"]
    )
    found = []
    for name in names:
        tower = given["towers"][name]
        own = f": {SHIPPED}" if tower["model"].startswith("local-dir:workflow/towers/") else ""
        found.append(f"{name} ({tower['model']}{', ' + tower['pretrained'] if tower['pretrained'] else ''}){own}")
    return found


def _generators(block: Block, given: Mapping[str, Any]) -> list[str]:
    """Models that made pictures of the block's predictions."""
    names = sorted({one[-1] for one in given.get("generated", []) if tuple(one[:3]) == block.key})
    models = {name: given.get("generators", {}).get(name, "") for name in names}
    return [
        f"{name} ({model}){f': {SHIPPED_GENERATOR}' if model.startswith('local-dir:workflow/generators/') else ''}"
        for name, model in models.items()
    ]
