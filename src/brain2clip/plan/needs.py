"""Errors that are found before anything runs: methods without the stimuli they need, incomplete exports, wrong files.

Methods say what they need of a study (:attr:`brain2clip.settings.MethodBase.needs`), studies what their stimuli have
(:attr:`brain2clip.settings.StudyBase.has`); the two are compared here only.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brain2clip.generation import files as generator_files
from brain2clip.internals import open_clip_files
from brain2clip.names import TASKS, suggestion
from brain2clip.readers import overlap
from brain2clip.readers.attempts import Attempt, strictly
from brain2clip.settings import IpAdapterGenerator, KandinskyGenerator, MethodBase, Tower, dump
from brain2clip.stage import InputError
from brain2clip.stimuli import weights

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan

#: Tasks that compare brain responses with texts.
OF_TEXTS = tuple(task for task in TASKS if task.startswith(("category", "caption")))
#: Advice if a study lacks what a method needs.
ADVICE = {
    "pictures": "give the study its pictures, or take visual.kind: frozen with the embedding only",
    "captions": "give the study captions, or add prompts to supervision.sentences",
}
#: Towers that published generators take.
PUBLISHED = {**KandinskyGenerator.spaces, **IpAdapterGenerator.spaces}
#: What to do about a method without points (:attr:`brain2clip.settings.MethodBase.no_points`).
WITH_POINTS = (
    "take a method of kind mapping or ridge that stays in CLIP's joint space, or a contrastive one with visual.kind: "
    "frozen, visual.head.kind: none and brain_head.width as wide as the tower"
)


def check(plan: Plan) -> None:
    """Refuse configurations that cannot work.

    Raises
    ------
    brain2clip.stage.InputError
        With all errors, by setting.
    """
    if found := problems(plan):
        raise InputError("\n".join(found))
    check_towers(plan)


def problems(plan: Plan) -> list[str]:
    """Contradictions between settings of methods, studies and exports, one sentence each."""
    studies = [*_sources(plan), *_categories(plan), *_templates(plan)]
    pictures = [*_generating(plan), *_generators(plan), *_judges(plan)]
    return [*studies, *_shared(plan), *_methods(plan), *pictures, *_imported(plan), *_exports(plan)]


def check_towers(plan: Plan, attempt: Attempt = strictly) -> None:
    """Checks of towers and of the authors' epochs, one by one."""
    for study, tower in plan.towers_run():
        attempt(None, plan.vectors_of, study, tower)
    experiments = plan.config.experiments.values()
    for tower in sorted({plan.method(name).tower for one in experiments for name in one.methods}):
        block = plan.config.towers[tower]
        attempt(None, weights.check, block.model, block.pretrained)
        attempt(None, _known_tower, block.model, block.pretrained)
    for study, signal in sorted({(one.study, signal) for one in experiments for signal in one.signals}):
        if plan.responses_stage(study) == "preprocessed":
            from brain2clip.responses import preprocessed, ready_epochs  # import pandas: only where there is a study

            own: Any = plan.block(study)
            refuse = ready_epochs.refuse if hasattr(plan.study(study), "epoch_files") else preprocessed.refuse
            attempt(None, refuse, study, dump(own), plan.config.bands[signal], own.responses)


def _known_tower(model: str, pretrained: str | None) -> None:
    """Refuse missing files, towers that open_clip does not know, and weights with another activation."""
    known = open_clip_files.known()
    own_file = pretrained is not None and weights.is_path(pretrained)
    if known is not None:
        weights.check_names(model, None if own_file else pretrained, known)
    weights.check_there(model, pretrained)
    if known is not None:
        weights.check_activation(model, pretrained, known)


def drawn_towers(plan: Plan) -> list[str]:
    """A line for each study of photographs that uses the small CLIP of the simulated studies."""
    found = []
    for study, tower in plan.towers_run():
        block = plan.block(study)
        photographs = not block.simulated and "pictures" in (block.has or ()) and not plan.ready(study, tower)
        if photographs and weights.of_drawn_world(plan.config.towers[tower].model):
            found.append(
                f"experiments on studies.{study}: towers.{tower} is the small CLIP of the simulated studies, which "
                "was never trained on photographs; its results mean little here. Take another tower (brain2clip "
                "weights ViT-B-32, "
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
    """Studies with categories that have no text prompts, although these are the candidates."""
    for study in plan.studies_ranked:
        categories = getattr(plan.block(study), "categories", None)
        where = f"studies.{study}.categories"
        if categories is not None and len(categories) < 2:
            yield f"{where}: found {', '.join(categories) or 'none'}; expected at least two categories"
        for name, texts in (categories or {}).items():
            if not texts:
                yield f"{where}.{name}: found no text prompt; expected a list of at least one text"


def _shared(plan: Plan) -> Iterator[str]:
    """Studies whose test asks for what the models that are applied to them were trained on.

    Zero-shot ones for concepts or pictures, others for pictures of a collection. As far as tables that are there tell;
    else the stage does.
    """
    for label, one in plan.config.apply.items():
        trained = plan.config.experiments[one.experiment].study
        if plan.pictures_may_be_seen(label):
            continue
        tables = [plan.study(name).known_stimuli() for name in (trained, one.study)]
        if any(table is None for table in tables):
            continue
        found, zero_shot = overlap.between(*tables), not plan.may_be_seen(label)
        if found := found if zero_shot else found.only_sources():
            yield overlap.refusal(f"apply.{label}.study", found, trained, one.study, zero_shot)


def _templates(plan: Plan) -> Iterator[str]:
    """Studies without the pictures that make class templates, and pictures that no study without pictures can take."""
    for name in plan.studies_ranked:
        study = plan.block(name)
        if "template" in plan.config.retrieval.tasks and study.templates is None:
            yield (
                f"studies.{name}.templates: found nothing, but retrieval.tasks has template; expected files of "
                f"further pictures of the test concepts, such as more/{{concept}}/*.jpg, or no task template"
            )
        if study.templates is not None and study.has is not None and "pictures" not in study.has:
            yield f"studies.{name}.templates: the study has no pictures to compare with; leave templates out"


def _methods(plan: Plan) -> Iterator[str]:
    """Methods on studies that lack what they need, including studies of ``apply``."""
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
                what = f"{method.needed_for} needs {needed}, but the stimuli of study {on!r} have none"
                yield f"{where}: {what} for tower {method.tower!r}; {ADVICE[needed]}"
            if plan.is_voxels(on) and (of_eeg := _of_eeg(method)):
                yield (
                    f"{where}: methods.{name}.inputs.{of_eeg} is for EEG, but study {on!r} has voxels, which are "
                    "chosen by rois; leave it out"
                )
            there = study.ready_vectors
            for vector in method.vectors:
                if vector.ready is not None and vector.ready not in there:
                    yield (
                        f"{where}: its readout takes ready: {vector.ready}, but studies.{on}.ready_vectors names "
                        f"{', '.join(there) or 'none'}{suggestion(vector.ready, there)}; expected a file of that name"
                    )
            if method.package is not None and find_spec(method.package) is None:
                yield (
                    f"{where}: encoder.kind: {method.package} needs the library of that name, which is not installed; "
                    f"install the extra (pip install 'brain2clip[{method.package}]') or take another encoder.kind"
                )
            if study.templates is not None and plan.ready(on, method.tower):
                yield (
                    f"studies.{on}.templates: found together with ready_features of tower {method.tower!r}, which "
                    "replace its pictures; expected one of the two"
                )
            texts = [task for task in plan.config.retrieval.tasks if task in OF_TEXTS]
            if texts and method.without_texts:
                yield (
                    f"{where}: retrieval.tasks {', '.join(texts)} compare with texts, which are in CLIP's joint "
                    f"space only, but the method leaves it ({method.without_texts}); remove the method or the tasks"
                )


def _generating(plan: Plan) -> Iterator[str]:
    """Experiments with generators whose predictions give no pictures, or that have no seen pictures to compare with."""
    for label, one in plan.config.experiments.items():
        if not one.generators:
            continue
        has, where = plan.block(one.study).has, f"experiments.{label}.generators"
        if has is not None and "pictures" not in has:
            yield (
                f"{where}: found {', '.join(one.generators)}, but the stimuli of study {one.study!r} are not "
                "pictures, so that there is nothing to compare generated pictures with; expected no generator, or a "
                "study with pictures"
            )
            continue
        continuing = [protocol for protocol in one.protocols if plan.protocol(protocol).continues]
        for name in one.methods:
            method = plan.method(name)
            if continuing and method.points == "calibrated":
                yield (
                    f"{where}: found {', '.join(one.generators)} beside protocol {continuing[0]!r}, whose models go on "
                    f"from those of other subjects: the predictions of {name!r} are calibrated on training pictures "
                    "that the model did not see, and those others may have seen them all; expected another protocol "
                    "(intra-subject with as many sessions, or new-subject with start: random)"
                )
            if method.no_points:
                yield (
                    f"experiments.{label}.methods: {name!r} predicts no points for {where} "
                    f"({', '.join(one.generators)}): {method.no_points}; {WITH_POINTS}, or put it into an experiment "
                    "without generators"
                )
            elif plan.ready(one.study, method.tower):
                yield (
                    f"{where}: studies.{one.study}.ready_features has embeddings of tower {method.tower!r} in place "
                    "of pictures, but generated pictures are compared with the seen ones; give the study its pictures"
                )
            for generator in one.generators if method.no_points is None else ():
                yield from _of_another_space(plan, f"{where}: {generator!r}", name, method, generator)


def _of_another_space(plan: Plan, where: str, name: str, method: MethodBase, generator: str) -> Iterator[str]:
    """A generator that takes points of another tower than a method predicts."""
    block = plan.config.generators[generator]
    if block.tower != method.tower:
        towers = (plan.config.towers[one] for one in (method.tower, block.tower))
        own, wanted = (_described(one.model, one.pretrained) for one in towers)
        yield (
            f"{where} takes points of tower {block.tower!r} ({wanted}), but methods.{name}.tower is {method.tower!r} "
            f"({own}); expected one tower: set methods.{name}.tower to {block.tower!r}, or take a generator of "
            f"{method.tower!r}{_no_public(plan.config.towers[method.tower])}"
        )


def _generators(plan: Plan) -> Iterator[str]:
    """Generators with a tower that does not fit their weights, or whose library is not installed."""
    for name in sorted({name for one in plan.config.experiments.values() for name in one.generators}):
        block = plan.config.generators[name]
        tower, where = plan.config.towers[block.tower], f"generators.{name}"
        if block.takes and not _may_be(tower, *block.takes):
            published = next(one for one in (block.model, getattr(block, "adapter", "")) if one in block.spaces)
            yield (
                f"{where}.tower: found {block.tower!r} ({_described(tower.model, tower.pretrained)}); {published} "
                f"takes raw embeddings of {_described(*block.takes)} only, so set towers.{block.tower} to that, or "
                f"take a generator that was trained on this tower{_no_public(tower)}"
            )
        for folder in generator_files.folders(block):
            if not folder.is_dir():
                key = "model" if block.model == f"{weights.LOCAL}{folder}" else "adapter"
                yield (
                    f"{where}.{key}: {folder}: no such folder; expected what save_pretrained of diffusers writes, or a "
                    "name on the hub without local-dir"
                )
        taken, width = generator_files.space(block), _width(tower.model)
        if taken is not None and width is not None and taken != width:
            yield (
                f"{where}.model: {block.model} takes {taken} numbers, but tower {block.tower!r} ({tower.model}) "
                f"gives {width}; expected a generator that was trained on embeddings of this tower, or the tower "
                "that the generator was trained on"
            )
        if block.package is not None and find_spec(block.package) is None:
            yield (
                f"{where}.kind: {block.kind} needs the library {block.package}, which is not installed; install the "
                "extra (pip install 'brain2clip[generate]'), or take the generator out of the experiments"
            )


def _may_be(tower: Tower, model: str, tag: str) -> bool:
    """Whether a tower is this one of open_clip, by its names; for a folder, by its width."""
    if tower.model.startswith(weights.LOCAL):
        return _width(tower.model) in (None, _width(model))
    own_file = tower.pretrained is not None and weights.is_path(tower.pretrained)
    return tower.model == model and (own_file or tower.pretrained == tag)


def _width(model: str) -> int | None:
    """Width of the embeddings of a tower; None if no local file has it."""
    found = (weights.architecture(model) or {}).get("embed_dim")
    return found if isinstance(found, int) else None


def _described(model: str, pretrained: str | None) -> str:
    """Model, weights and width of a tower."""
    width = _width(model)
    parts = [f"model: {model}", pretrained and f"pretrained: {pretrained}", width and f"{width} numbers"]
    return ", ".join(one for one in parts if one)


def _no_public(tower: Tower) -> str:
    """That no published generator takes a tower of open_clip, and which towers they take."""
    if tower.model.startswith(weights.LOCAL) or tower.model in dict(PUBLISHED.values()):
        return ""
    known = "; ".join(f"{model} / {tag} ({name})" for name, (model, tag) in PUBLISHED.items())
    numbers = _width(tower.model) or ""
    return f". No public generator takes the {numbers} numbers of {tower.model}; public generators take {known}"


def _of_eeg(method: Any) -> str | None:
    """The first part of the inputs of a method that only EEG has."""
    inputs = getattr(method, "inputs", None)
    names = ("channels", "without", "window", "test_window")
    return next((name for name in names if getattr(inputs, name, None) is not None), None)


def _imported(plan: Plan) -> Iterator[str]:
    """Files of imported results that would be used for several runs, or whose task or repetitions are not computed."""
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
                    f"methods.{name}.file: experiments list it for {', '.join(found)}, but {method.file!r} is one "
                    f"result; expected {{{of}}} in its name, or the method in experiments of one {of} only"
                )


def _exports(plan: Plan) -> Iterator[str]:
    """Exports of a study with only part of its trials; the formats are arrays of all pictures by repetitions."""
    for label, export in plan.config.exports.items():
        part = plan.block(export.study).part
        if part is not None:
            yield (
                f"exports.{label}.study: {export.study!r} has only part of its trials "
                f"(studies.{export.study}.{part}), but the formats need all pictures, each equally often; expected "
                "all sessions and runs"
            )


def _judges(plan: Plan) -> Iterator[str]:
    """Judges whose weights are missing, and tables of generated pictures without generators."""
    if any(one.generators for one in plan.config.experiments.values()):
        yield from generator_files.problems(plan.config.judges)
        for name, judge in plan.config.judges.items():
            try:
                if judge.clip is not None:
                    weights.check(*judge.clip)
                    _known_tower(*judge.clip)
            except InputError as error:
                yield str(error).replace("towers.*", f"judges.{name}")
    for name, table in plan.config.tables.items():
        listed = {label: plan.config.experiments[label].generators for label in table.experiments}
        if table.of_pictures and not any(listed.values()):
            yield (
                f"tables.{name}.experiments: found {', '.join(listed)}, and none of them has generators; expected an "
                "experiment with experiments.*.generators, because a table of kind generation shows their pictures"
            )
