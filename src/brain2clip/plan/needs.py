"""What can be refused before anything runs: methods that a study cannot serve, exports of a part, files that are none.

Methods say what they need of a study (:attr:`brain2clip.settings.MethodBase.needs`), studies what their stimuli have
(:attr:`brain2clip.settings.StudyBase.has`); the two meet here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brain2clip.internals import open_clip_files
from brain2clip.names import TASKS, suggestion
from brain2clip.readers.attempts import Attempt, strictly
from brain2clip.settings import dump
from brain2clip.stage import InputError
from brain2clip.stimuli import weights

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan

#: Tasks that compare brain responses with texts.
OF_TEXTS = tuple(task for task in TASKS if task.startswith(("category", "caption")))
#: What to do where a study lacks what a method needs.
ADVICE = {
    "pictures": "give the study its pictures, or take visual.kind: frozen with the embedding alone",
    "captions": "give the study captions, or add prompts to supervision.sentences",
}


def check(plan: Plan) -> None:
    """Refuse what cannot end well.

    Raises
    ------
    brain2clip.stage.InputError
        With all that was found, setting by setting.
    """
    if found := problems(plan):
        raise InputError("\n".join(found))
    check_towers(plan)


def problems(plan: Plan) -> list[str]:
    """What the settings of methods, studies and exports make impossible, a sentence each."""
    return [*_sources(plan), *_categories(plan), *_templates(plan), *_methods(plan), *_imported(plan), *_exports(plan)]


def check_towers(plan: Plan, attempt: Attempt = strictly) -> None:
    """What is asked of towers and of epochs that others made, each on its own."""
    for study, tower in plan.towers_run():
        attempt(None, plan.vectors_of, study, tower)
    experiments = plan.config.experiments.values()
    for tower in sorted({plan.method(name).tower for one in experiments for name in one.methods}):
        block = plan.config.towers[tower]
        attempt(None, weights.check, block.model, block.pretrained)
        attempt(None, _known_tower, block.model, block.pretrained)
    for study, signal in sorted({(one.study, signal) for one in experiments for signal in one.signals}):
        if plan.responses_stage(study) == "preprocessed":
            from brain2clip.responses.preprocessed import refuse  # imports pandas: only where there is such a study

            own: Any = plan.block(study)
            attempt(None, refuse, study, dump(own), plan.config.bands[signal], own.responses)


def _known_tower(model: str, pretrained: str | None) -> None:
    """Refuse what open_clip does not know, and weights of another activation, by open_clip's files.

    A checkpoint that does not lie there is left to Snakemake, which names all files that are missing.
    """
    known = open_clip_files.known()
    absent = pretrained is not None and weights.is_path(pretrained) and not os.path.isfile(pretrained)
    if known is not None:
        weights.check_names(model, None if absent else pretrained, known)
        if not absent:
            weights.check_activation(model, pretrained, known)


def drawn_towers(plan: Plan) -> list[str]:
    """A line for each study of photographs whose pictures go through the CLIP of the drawn world."""
    found = []
    for study, tower in plan.towers_run():
        block = plan.block(study)
        photographs = not block.simulated and "pictures" in (block.has or ()) and not plan.ready(study, tower)
        if photographs and weights.of_drawn_world(plan.config.towers[tower].model):
            found.append(
                f"experiments on studies.{study}: towers.{tower} is the small CLIP of the simulated studies, which has "
                "never seen a photograph; its numbers say little here. Take another one (brain2clip weights ViT-B-32, "
                "docs/reproducing.md)"
            )
    return found


def _sources(plan: Plan) -> Iterator[str]:
    """Addresses of datasets that no study downloads."""
    listed = plan.downloads() if plan.config.download.sources else {}
    for name in plan.config.download.sources:
        if name not in listed:
            yield (
                f"download.sources: no dataset named {name!r}{suggestion(name, listed)}; "
                f"the studies of this configuration download {', '.join(listed) or 'nothing'}"
            )


def _categories(plan: Plan) -> Iterator[str]:
    """Studies of categories without a text, which are the candidates."""
    for study in plan.studies_ranked:
        categories = getattr(plan.block(study), "categories", None)
        where = f"studies.{study}.categories"
        if categories is not None and len(categories) < 2:
            yield f"{where}: found {', '.join(categories) or 'none'}; expected at least two, to be told apart"
        for name, texts in (categories or {}).items():
            if not texts:
                yield f"{where}.{name}: found no text prompt; expected a list of texts, one at least"


def _templates(plan: Plan) -> Iterator[str]:
    """Studies without the pictures that make class templates, and pictures that no study without pictures can take."""
    for name in plan.studies_ranked:
        study = plan.block(name)
        if "template" in plan.config.retrieval.tasks and study.templates is None:
            yield (
                f"studies.{name}.templates: found nothing, and retrieval.tasks has template; expected files of further "
                "pictures of its test concepts, as in more/{concept}/*.jpg, or no such task"
            )
        if study.templates is not None and study.has is not None and "pictures" not in study.has:
            yield f"studies.{name}.templates: the study has no pictures to compare with; leave it out"


def _methods(plan: Plan) -> Iterator[str]:
    """Methods of experiments on studies that lack what they need, those that are applied to others included."""
    experiments = plan.config.experiments
    asked = [(f"experiments.{label}.methods", one.study, one.methods) for label, one in experiments.items()]
    asked += [
        (f"apply.{label}.experiment", one.study, experiments[one.experiment].methods)
        for label, one in plan.config.apply.items()
    ]
    for setting, on, methods in asked:
        study = plan.block(on)
        for name in methods:
            method = plan.method(name)
            missing = method.needs - (method.needs if study.has is None else study.has)
            if plan.ready(on, method.tower):  # embeddings in place of pictures
                missing |= method.needs & {"pictures"}
            where = f"{setting}: {name!r}"
            for needed in sorted(missing):
                what = f"{method.needed_for} needs {needed}, and the stimuli of study {on!r} have none"
                yield f"{where}: {what} for tower {method.tower!r}; {ADVICE[needed]}"
            if plan.is_voxels(on) and (of_eeg := _of_eeg(method)):
                yield (
                    f"{where}: methods.{name}.inputs.{of_eeg} is of EEG, and study {on!r} has voxels, whose sets are "
                    "signals (rois); leave it out"
                )
            there = study.ready_vectors
            for vector in method.vectors:
                if vector.ready is not None and vector.ready not in there:
                    yield (
                        f"{where}: its readout takes ready: {vector.ready}, and "
                        f"studies.{on}.ready_vectors names "
                        f"{', '.join(there) or 'none'}{suggestion(vector.ready, there)}; expected a file of that name"
                    )
            if method.package is not None and find_spec(method.package) is None:
                yield (
                    f"{where}: encoder.kind: {method.package} needs the library of that name, which is not installed; "
                    f"install the extra (pip install 'brain2clip[{method.package}]') or take another encoder.kind"
                )
            if study.templates is not None and plan.ready(on, method.tower):
                yield (
                    f"studies.{on}.templates: found beside ready_features of tower {method.tower!r}, which stand in "
                    "for its pictures; expected one of the two"
                )
            texts = [task for task in plan.config.retrieval.tasks if task in OF_TEXTS]
            if texts and method.without_texts:
                yield (
                    f"{where}: retrieval.tasks {', '.join(texts)} compare with texts, which are in CLIP's joint space "
                    f"only, and the method leaves it ({method.without_texts}); take one of the two out"
                )


def _of_eeg(method: Any) -> str | None:
    """The first part of the inputs of a method that only EEG has."""
    inputs = getattr(method, "inputs", None)
    names = ("channels", "without", "window", "test_window")
    return next((name for name in names if getattr(inputs, name, None) is not None), None)


def _imported(plan: Plan) -> Iterator[str]:
    """Results of one file that experiments would show as several, and such as no table could show."""
    retrieval = plan.config.retrieval
    for name in plan.methods(ranked_by="imported"):
        method: Any = plan.method(name)
        if method.task not in retrieval.tasks:
            there = ", ".join(retrieval.tasks)
            yield f"methods.{name}.task: found {method.task}; expected one of retrieval.tasks ({there})"
        if method.repetitions not in retrieval.repetitions:
            yield (
                f"methods.{name}.repetitions: found {method.repetitions}; expected one of retrieval.repetitions "
                f"({', '.join(map(str, retrieval.repetitions))})"
            )
        listed = [one for one in plan.config.experiments.values() if name in one.methods]
        ways = {"study": [one.study for one in listed]}
        ways |= {of: [way for one in listed for way in getattr(one, f"{of}s")] for of in ("signal", "protocol")}
        for of, all_of in ways.items():
            found = sorted(set(all_of))
            if len(found) > 1 and f"{{{of}}}" not in method.file:
                yield (
                    f"methods.{name}.file: experiments list it for {', '.join(found)}, and {method.file!r} is one "
                    f"result; expected {{{of}}} in its name, or the method in experiments of one {of} only"
                )


def _exports(plan: Plan) -> Iterator[str]:
    """Exports, arrays of all pictures by repetitions, of a study that leaves some unshown."""
    for label, export in plan.config.exports.items():
        part = plan.block(export.study).part
        if part is not None:
            yield (
                f"exports.{label}.study: {export.study!r} shows part of its pictures (studies.{export.study}.{part}); "
                "the formats hold all of them equally often; expected all sessions and runs"
            )
