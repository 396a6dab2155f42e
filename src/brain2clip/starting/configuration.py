"""The text of a configuration, with findings, choices and alternatives as comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from brain2clip.internals import open_clip_files
from brain2clip.preflight.machine import cached
from brain2clip.starting.found import Found

#: The tower of the project, used if there are no other weights.
DRAWN = "grammar-vit"
#: Towers that are used if the hub's cache of this machine has their weights, the best first.
TOWERS = (
    ("ViT-H-14", "laion2b_s32b_b79k"),
    ("ViT-L-14", "laion2b_s32b_b82k"),
    ("ViT-L-14", "datacomp_xl_s13b_b90k"),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"),
    ("ViT-B-16", "laion2b_s34b_b88k"),
    ("ViT-B-32", "laion2b_s34b_b79k"),
)
#: Most inputs of a discriminant analysis, and the number of windows that many samples are averaged in.
LDA_INPUTS, WINDOWS = 6000, 10
WIDTH = 118


def text(found: Found, name: str, results: str, tower: str | None, pictures: str | None, source: str) -> str:
    """A complete configuration.

    Parameters
    ----------
    found : Found
    name : str
        Of the study.
    results : str
        Folder of the results.
    tower : str or None
        ``MODEL:TAG``, ``MODEL:PATH`` or ``local-dir:FOLDER``; None: a tower on this machine.
    pictures : str or None
        Table of the pictures.
    source : str
        Path of the inspected data.
    """
    lines = [
        *_comment(
            f"Written by brain2clip init for {source}. The comments say what was found. Correct what is wrong, then: "
            "brain2clip check THIS FILE, brain2clip run THIS FILE. docs/configuration.md explains every setting.",
            "",
        ),
        f"results: {_flow(results)}",
        "",
        "studies:",
        f"  {name}:",
        *_study(found, pictures),
        "",
        *_signal(found),
        "",
        *_tower(tower, pictures is not None),
        "",
        "protocols:",
        "  intra: {kind: intra-subject}",
        *_other_protocol(found),
        "",
        *_methods(found, pictures is not None),
        "",
        *_experiments(found, name, pictures is not None),
    ]
    return "\n".join(lines) + "\n"


def _study(found: Found, pictures: str | None) -> Iterator[str]:
    choice = found.choice
    yield from _comment(found.seen[""], "    ")
    yield f"    kind: {found.kind}"
    for key, value in found.settings.items():
        yield from _comment(found.seen.get(key, []), "    ")
        yield f"    {key}: {_flow(value)}"
    others = [one for one in choice.possible if one != str(choice.split)]
    why = (
        "some concepts would be both in training and in test"
        if choice.pictures
        else "some subject would lack a category in training or test"
    )
    told = f"Other possible splits (by=values of the test): {'; '.join(others)}"
    yield from _comment(told if others else f"By another column, task, run or session {why}.", "    ")
    split: dict[str, Any] = {"by": choice.split.by, "column": choice.split.column, "test": list(choice.split.test)}
    if choice.split.seen:
        split["concepts"] = "seen"
    yield from _wrapped("    split: ", {key: value for key, value in split.items() if value is not None})
    if pictures is not None:
        n_concepts = len(set(choice.concepts.values()))
        told = f"{len(choice.pictures)} pictures were found, of {n_concepts} concepts"
        seen = "the test concepts are in training too, in other trials, and every table says so"
        unseen = "the test concepts do not occur in training (zero-shot)"
        yield from _comment(f"{told}; {seen if choice.split.seen else unseen}.", "    ")
        yield f"    stimuli: {_flow(pictures)}"
    else:
        yield from _comment("No pictures were found: these texts are the candidates. Fix the wording.", "    ")
        yield "    categories:"
        for name in choice.concepts:
            yield f"      {_flow(name)}: {_flow([f'a photo of a {_words(name)}'])}"
    key = "responses" if found.kind == "bids" else "voxels"
    yield from _comment(found.seen[key], "    ")
    yield f"    {key}:"
    yield from (f"      {name}: {_flow(value)}" for name, value in found.steps.items())
    if found.kind == "bids":
        yield "      # Blinks and movement: leave out training epochs with a larger peak-to-peak amplitude."
        meg = found.settings.get("datatype") == "meg"
        yield "      # reject_ft: 4000.0  # of planar gradiometers reject_ft_cm" if meg else "      # reject_uv: 150.0"


def _signal(found: Found) -> Iterator[str]:
    name, settings = found.signal
    yield "bands:" if found.kind == "bids" else "rois:"
    yield f"  {name}: {_flow(settings)}"


def _other_protocol(found: Found) -> Iterator[str]:
    if len(found.subjects) > 1 and found.alike:
        yield "  # Across subjects: add inter to experiments.main.protocols."
        yield "  inter: {kind: leave-one-subject-out}"


def _tower(given: str | None, pictures: bool) -> Iterator[str]:
    """The requested tower, or one on this machine."""
    model, pretrained = _tower_of(given)
    if model == f"local-dir:workflow/towers/{DRAWN}":
        drawn = "The small CLIP of the simulated studies, because this machine has no other weights: it runs everywhere"
        yield from _comment(
            f"{drawn}, and was not trained on photographs; take a tower such as {{model: ViT-B-32, pretrained: "
            "laion2b_s34b_b79k} for real results (docs/reproducing.md: how to get weights)."
            if pictures
            else f"{drawn}. Its texts give each category a fixed embedding, without meaning.",
            "",
        )
    yield "towers:"
    yield "  clip:"
    yield f"    model: {_flow(model)}"
    if pretrained is not None:
        yield f"    pretrained: {_flow(pretrained)}"


def _tower_of(given: str | None) -> tuple[str, str | None]:
    """Model and weights."""
    if given is not None:
        if given.startswith("local-dir:"):
            return given, None
        model, _, pretrained = given.partition(":")
        return model, pretrained or None
    known = open_clip_files.known()
    for model, tag in TOWERS if known else ():
        if cached(model, tag):
            return model, tag
    return f"local-dir:workflow/towers/{DRAWN}", None


def _methods(found: Found, pictures: bool) -> Iterator[str]:
    """A trained model, ridge regression, and a control whose results must be at chance."""
    yield "methods:"
    if found.kind == "voxel_table":
        main = "mapping"
        yield from _method(
            main,
            {"kind": "mapping", "label": "Linear mapping", "tower": "clip", "network": {"kind": "linear"}}
            | ({} if pictures else {"supervision": {"text": 1.0, "sentences": ["prompts"]}})
            | {"optimiser": {"epochs": 60, "batch_size": 32, "lr": 1.0e-3, "weight_decay": 0.1}}
            | ({} if pictures else {"average_repetitions": False}),
        )
    else:
        main = "frozen" if pictures else "prompts"
        small = {"width": 128} if pictures else {"width": 16}
        yield from _method(
            main,
            {"kind": "contrastive", "label": "Frozen CLIP" if pictures else "EEGProject against text prompts"}
            | {"tower": "clip", "encoder": {"width": 256 if pictures else 64, "dropout": 0.5}, "brain_head": small}
            | {"visual": {"kind": "frozen", "head": small}}
            | ({} if pictures else {"objective": {"beta": 0.0, "normalise": "both", "scale_init": 1.0}})
            | {"optimiser": {"epochs": 30, "batch_size": 64, "lr": 1.0e-3 if pictures else 3.0e-4}}
            | ({} if pictures else {"average_repetitions": False}),
        )
    yield from _method("ridge", {"kind": "ridge", "label": "Ridge regression", "tower": "clip"}
                       | ({} if pictures else {"average_repetitions": False}))  # fmt: skip
    if not pictures and _lda(found) is not None:
        yield from _method(
            "lda", {"kind": "lda", "label": "Shrinkage LDA (no CLIP)", "tower": "clip", **(_lda(found) or {})}
        )
    yield "  # Control: labels of the training trials permuted; the mean over subjects and seeds must be at chance."
    yield from _method(f"{main}-shuffled", {"base": main, "label": "the same, labels shuffled", "shuffle_labels": True})
    if pictures and found.kind == "bids":
        yield "  # The paper's method trains prompts in the tower: hours without a GPU. Add it to experiments, too:"
        yield "  # neuroclip: {base: frozen, label: NeuroCLIP, visual: {kind: neuroclip}}"


def _lda(found: Found) -> dict[str, Any] | None:
    """Settings by which the inputs are few enough for a discriminant analysis; None: there are none."""
    if found.n_inputs <= LDA_INPUTS:
        return {}
    return {"windows": WINDOWS} if found.kind == "bids" else None


def _method(name: str, settings: dict[str, Any]) -> Iterator[str]:
    yield f"  {name}:"
    yield from (f"    {key}: {_flow(value)}" for key, value in settings.items())


def _experiments(found: Found, name: str, pictures: bool) -> Iterator[str]:
    choice = found.choice
    main = ("mapping" if found.kind == "voxel_table" else "frozen") if pictures else None
    main = main or ("mapping" if found.kind == "voxel_table" else "prompts")
    methods = [main, "ridge", *(["lda"] if not pictures and _lda(found) is not None else []), f"{main}-shuffled"]
    n_tested = choice.n_tested
    if pictures:
        repetitions: list[Any] = [1, "all"] if choice.counts[1] > 1 else ["all"]
        metrics = ["top-1", *(["top-5"] if n_tested > 10 else []), "median-rank", "mean-rank", "2-way"]
        metric = "top-1"
    else:
        repetitions = [1, 4] if choice.counts[1] >= 8 and found.steps.get("average") != "block" else [1]
        metrics = ["balanced-accuracy", *(["auc"] if n_tested == 2 else []), "top-1", "mean-rank"]
        metric = "balanced-accuracy@1"
    yield "experiments:"
    yield "  main:"
    yield f"    study: {name}"
    yield f"    signals: {_flow([found.signal[0]])}"
    yield "    protocols: [intra]"
    yield f"    methods: {_flow(methods)}"
    yield "    seeds: [0]"
    yield ""
    told = f"Candidates: {n_tested}, chance of top-1 {100 / n_tested:.3g} %"
    each = f"Each is shown {choice.counts[1]} times or more in the test of every subject"
    yield from _comment(f"{told}. {each}; repetitions are numbers of averaged trials.", "")
    yield "retrieval:"
    yield f"  repetitions: {_flow(repetitions)}"
    yield f"  metrics: {_flow(metrics)}"
    yield ""
    yield "tables:"
    yield f"  main: {_flow({'kind': 'methods', 'experiments': ['main'], 'metric': metric})}"
    if not pictures:
        yield f"  classes: {_flow({'kind': 'classes', 'experiments': ['main'], 'metric': metric})}"


def _words(name: str) -> str:
    return re.sub(r"[_\W]+", " ", name).strip() or name


def _flow(value: object) -> str:
    """A value in one line of YAML."""
    written: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return written.removesuffix("\n").removesuffix("...").removesuffix("\n")


def _wrapped(before: str, value: object) -> Iterator[str]:
    """The same in lines of a length that can be read."""
    whole = textwrap.wrap(_flow(value), WIDTH - len(before), break_long_words=False, break_on_hyphens=False)
    yield from (f"{before if not place else ' ' * (len(before) + 2)}{line}" for place, line in enumerate(whole))


def _comment(said: str | list[str], before: str) -> Iterator[str]:
    for one in [said] if isinstance(said, str) else said:
        indent = " " * (len(one) - len(one.lstrip()))
        for line in textwrap.wrap(one.strip(), WIDTH - len(before) - len(indent), break_on_hyphens=False):
            yield f"{before}# {indent}{line}"
