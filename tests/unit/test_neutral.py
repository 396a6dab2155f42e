"""Neutral options: at the value that is left out of the JSON, an option is as if its code did not exist.

Every field that is declared neutral must stand in ``OPTIONS`` with the code that belongs to it. That code is poisoned
(it raises when called) and what was computed before must come out again, bit for bit, whether the field is written at
its neutral value or absent. At another value the poison must bite, or it poisons nothing.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import brain_files
import numpy as np
import pytest
import tiny_generators
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_neutral_responses import COVERED

from brain2clip import artefact, settings, stage
from brain2clip.generation import generate
from brain2clip.plan import Plan
from brain2clip.settings import Block, Config, Tower, load
from brain2clip.settings.base import neutral_fields
from brain2clip.training import train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.predict import Predictor

Results = dict[str, np.ndarray]


class PoisonError(Exception):
    """Code of an option ran."""


@dataclass(frozen=True)
class Option:
    """A neutral option.

    Attributes
    ----------
    path : str
        Where the field stands in what ``run`` is given, dots between the keys.
    neutral, other : object
        The value at which nothing is done, and one at which something is.
    code : tuple of str
        ``module:name`` of the functions, methods or classes that belong to the option alone; none where it only
        chooses among what others have, too.
    run : callable
        Folder with inputs and settings to everything that was computed.
    base : dict
        Settings in which the option matters.
    also : dict
        Further keys, by path, that the other value needs.
    """

    path: str
    neutral: Any
    other: Any
    code: tuple[str, ...]
    run: Callable[[Path, dict[str, Any]], Results]
    base: dict[str, Any]
    also: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------- what is run


def training(folder: Path, method: dict[str, Any]) -> Results:
    """Parameters, history and predictions of a method trained for a moment."""
    responses, stimuli = folder / f"{'eeg' if method['kind'] == 'contrastive' else 'voxels'}.h5", folder / "stimuli.h5"
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "model.parquet"}
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    given = {"method": method, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    train.run(stage.Job("train", given, "code", {}, {"responses": [responses], "stimuli": [stimuli]}, outputs))
    found: dict[str, Any] = dict(artefact.read_tensors(outputs["checkpoint"]))
    history = artefact.read_table(outputs["history"]).drop(
        columns=["seconds", "cpu_seconds", "device", "pictures_per_s"]
    )
    test = load_responses([responses], "test", None)
    with open_stimuli(stimuli, None) as file:
        rows = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
        predictor = Predictor(method, tower, artefact.read_tensors(outputs["checkpoint"]), test, file, rows)
        predicted = {"brains": predictor.brains(test.values), "stimuli": predictor.candidates()}
    return {name: np.asarray(value) for name, value in {**found, **dict(history.items()), **predicted}.items()}


def picturing(folder: Path, generator: dict[str, Any]) -> Results:
    """Pictures of two predictions."""
    with artefact.open_h5(folder / "stimuli.h5") as file:
        points = file["embedding"][:][-2:]
    with artefact.create_h5(folder / "embeddings.h5", brain_files.MADE) as file:
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        file["point"], file["predicted"], file["centre"] = points, unit, np.zeros_like(unit[0])
        file["stimulus_id"] = brain_files.stimulus_ids()[-2:]
    with artefact.create_h5(folder / "negative.h5", brain_files.MADE) as file:
        file["embedding"] = np.zeros_like(points[0])
    if not (folder / "decoder").is_dir():
        tiny_generators.kandinsky(folder / "decoder", width=points.shape[1])
    given = {"run": {"seed": 0}, "generator_name": "tiny", "batch_size": 2}
    given["generator"] = {**generator, "model": f"local-dir:{folder / 'decoder'}"}
    inputs = {name: [folder / f"{name}.h5"] for name in ("embeddings", "stimuli", "negative")}
    generate.run(stage.Job("generate", given, "code", {}, inputs, {"pictures": folder / "pictures.h5"}))
    with artefact.open_h5(folder / "pictures.h5") as file:
        return {"picture": file["picture"][:]}


GENERATOR = {"kind": "kandinsky", "size": tiny_generators.SIZE, "steps": 2}
CONTRASTIVE = {
    "kind": "contrastive",
    "tower": "tiny",
    "encoder": {"width": 16, "dropout": 0.0},
    "brain_head": {"width": 12},
    "visual": {"head": {"width": 12}, "fusion": {"width": 8, "heads": 2}, "prompts": {"tokens": 2}},
    "optimiser": {"epochs": 1, "batch_size": 20},
}
MAPPING = {"kind": "mapping", "tower": "tiny", "optimiser": {"epochs": 1, "batch_size": 20}}
#: Vectors of the driven tower, so that no file of them is needed.
MIX = {"kind": "mix", "vectors": [{"block": 1, "pool": "class"}, {"block": 2, "pool": "class"}], "width": 10}
MIXED = {**CONTRASTIVE, "visual": {**CONTRASTIVE["visual"], "readout": MIX}}
FROZEN = {**CONTRASTIVE, "visual": {"kind": "frozen", "head": {"width": 12}}}
NARROW_HEAD = {**CONTRASTIVE, "visual": {"kind": "frozen", "head": {"kind": "mlp", "width": 12}}}
ADAPTED = {**CONTRASTIVE, "visual": {**CONTRASTIVE["visual"], "adapter": {"kind": "lora"}}}
BOTH = {**FROZEN, "objective": {"normalise": "both", "scale_init": 0.0, "beta": 0.0}}
TEXTS = {**FROZEN, "objective": {"text": 0.3}}
PRIOR = {**CONTRASTIVE, "visual": {**CONTRASTIVE["visual"], "readout": {**MIX, "prior_block": 1}}}
BIASED = {**CONTRASTIVE, "visual": {**CONTRASTIVE["visual"], "readout": {**MIX, "subject_dropout": 0.5}}}
MIXCO = {**MAPPING, "augmentation": {"mixco": 0.4}}
MODELS, TRAINING = "brain2clip.models", "brain2clip.training"

#: Every neutral field of all settings, by the class that declares it. Options of stages before training (for which
#: ``run`` makes epochs, voxels or features) go below the line.
OPTIONS: dict[str, Option] = {
    "GeneratorBase.start": Option(
        "start", None, {"strength": 0.5}, ("brain2clip.generation.training_bank:nearest",), picturing, GENERATOR
    ),
    "EncoderBase.smoothing_s": Option(
        "encoder.smoothing_s", 0.0, 0.06, (f"{MODELS}.brain_encoder:Smoothing",), training, CONTRASTIVE
    ),
    "EncoderBase.init": Option(
        "encoder.init", "default", "normal", (f"{MODELS}.brain_encoder:start_normal",), training, CONTRASTIVE
    ),
    "NeuroClipVisual.adapter": Option(
        "visual.adapter", None, {"kind": "lora"},
        (f"{MODELS}.visuals.neuroclip:own_structure", f"{MODELS}.adapters.lora:Adapter"), training, CONTRASTIVE,
    ),
    "SharedPrompts.last_blocks": Option(
        "visual.prompts.last_blocks", None, 2, (f"{MODELS}.prompted_tower:first_of_last",), training, CONTRASTIVE
    ),
    "SharedPrompts.dropout": Option(
        "visual.prompts.dropout", 0.0, 0.5, (f"{MODELS}.prompted_tower:dropped",), training, CONTRASTIVE
    ),
    "Objective.disentangle": Option(
        "objective.disentangle", False, True, (f"{TRAINING}.objective:without_true_pair",), training, CONTRASTIVE
    ),
    "Objective.soft_perplexity": Option(
        "objective.soft_perplexity", None, 5.0, (f"{TRAINING}.methods.contrastive:with_perplexity",), training,
        CONTRASTIVE,
    ),
    "Optimiser.frozen_epochs": Option(
        "optimiser.frozen_epochs", 0, 1, ("brain2clip.training.loop:delayed",), training, CONTRASTIVE,
        {"optimiser.epochs": 2},
    ),
    "Optimiser.checkpointing": Option(
        "optimiser.checkpointing", False, True, (f"{MODELS}.prompted_tower:recomputed",), training, CONTRASTIVE
    ),
    "Optimiser.compile": Option(
        "optimiser.compile", False, True, (f"{MODELS}.prompted_tower:compiled",), training, CONTRASTIVE
    ),
    "Optimiser.micro_batch": Option(
        "optimiser.micro_batch", None, 7, (f"{MODELS}.visuals.neuroclip:in_parts",), training, CONTRASTIVE
    ),
    "Supervision.centre": Option(
        "supervision.centre", False, True, (f"{TRAINING}.supervision:centres_of",), training, MAPPING
    ),
    "Augmentation.mixco": Option(
        "augmentation.mixco", 0.0, 0.4, (f"{TRAINING}.methods.mapping:draw_mixture",), training, MAPPING
    ),
    "TrainedMethod.shuffle_labels": Option(
        "shuffle_labels", False, True, (f"{TRAINING}.train:shuffled",), training, MAPPING
    ),
    "Objective.scale": Option("objective.scale", None, "linear", (), training, CONTRASTIVE),
    "Objective.clamp": Option("objective.clamp", True, False, (), training, BOTH),
    "Objective.directions": Option("objective.directions", "both", "brain-to-picture", (), training, CONTRASTIVE),
    "Objective.text": Option(
        "objective.text", 0.0, 0.3, (f"{TRAINING}.methods.contrastive:TextTerm",), training, CONTRASTIVE
    ),
    "Objective.text_source": Option("objective.text_source", "prompts", "captions", (), training, TEXTS),
    "Objective.mmd": Option(
        "objective.mmd", None, {"epochs": 2}, (f"{TRAINING}.methods.contrastive:squared_mmd",), training, CONTRASTIVE
    ),
    "Contrastive.shared_head": Option(
        "shared_head", False, True, (f"{MODELS}.brain_to_clip:shared_layer",), training, CONTRASTIVE
    ),
    "Head.activation": Option(
        "visual.head.activation", "gelu", "elu", (f"{MODELS}.layers:other_activation",), training, NARROW_HEAD
    ),
    "Head.output_dropout": Option(
        "visual.head.output_dropout", 0.0, 0.3, (f"{MODELS}.layers:finished",), training, NARROW_HEAD
    ),
    "Head.norm": Option("visual.head.norm", False, True, (f"{MODELS}.layers:finished",), training, NARROW_HEAD),
    "Mix.shared_width": Option(
        "visual.readout.shared_width", None, 8, (f"{MODELS}.readouts.mix:shared_layer",), training, MIXED
    ),
    "Mix.learned_vectors": Option(
        "visual.readout.learned_vectors", 0, 2, (f"{MODELS}.readouts.mix:constants",), training, MIXED
    ),
    "Mix.start": Option(
        "visual.readout.start", "prior", "uniform", (f"{MODELS}.readouts.mix:drawn",), training, MIXED
    ),
    "Mix.prior_places": Option("visual.readout.prior_places", None, [3.0, 9.0], (), training, PRIOR),
    "Mix.subject_dropout_by": Option(
        "visual.readout.subject_dropout_by", "batch", "picture", (f"{MODELS}.readouts.mix:each_by_itself",), training,
        BIASED,
    ),
    "Lora.separate": Option(
        "visual.adapter.separate", False, True, (f"{MODELS}.adapters.lora:Stacked",), training, ADAPTED
    ),
    "Lora.start": Option(
        "visual.adapter.start", "kaiming", "gaussian", (f"{MODELS}.adapters.lora:gaussian",), training, ADAPTED
    ),
    "Supervision.temperature": Option(
        "supervision.temperature", None, 0.05, (f"{TRAINING}.supervision:fixed_scale",), training, MAPPING
    ),
    "Supervision.softclip": Option(
        "supervision.softclip", None, {"after": 0.0}, (f"{TRAINING}.supervision:soft_contrast",), training, MAPPING
    ),
    "Augmentation.mixed": Option(
        "augmentation.mixed", 1.0, 0.5, (f"{TRAINING}.augmentation:of_some",), training, MIXCO
    ),
    "Contrastive.augmentation": Option(
        "augmentation", [], [{"kind": "noise"}], (f"{TRAINING}.methods.contrastive:Augmenting",), training, CONTRASTIVE
    ),
    "Budget.algorithm": Option("optimiser.algorithm", "adamw", "adam", ("torch.optim:Adam",), training, CONTRASTIVE),
    "Budget.betas": Option("optimiser.betas", [0.9, 0.999], [0.5, 0.999], (), training, CONTRASTIVE),
    "Budget.eps": Option("optimiser.eps", 1e-8, 1e-6, (), training, CONTRASTIVE),
    "Budget.decay_biases": Option(
        "optimiser.decay_biases", False, True, (f"{TRAINING}.optimising:all_decaying",), training, MAPPING
    ),
    "Budget.batches": Option(
        "optimiser.batches", "equal", "exact", (f"{TRAINING}.optimising:exact_batches",), training, MAPPING
    ),
    "Budget.batch_of": Option(
        "optimiser.batch_of", "pictures", "responses", (f"{TRAINING}.optimising:one_by_one",), training, MAPPING,
        {"average_repetitions": False},
    ),
    "Budget.ema": Option("optimiser.ema", None, 0.9, (f"{TRAINING}.loop:Average",), training, MAPPING),
    "Budget.second": Option(
        "optimiser.second", None, {"after": 1, "lr": 1e-4, "freeze": ["encoder"]},
        (f"{TRAINING}.optimising:frozen_of", f"{TRAINING}.optimising:in_proportion"), training, CONTRASTIVE,
        {"optimiser.epochs": 2},
    ),
    "Selection.criterion": Option(
        "selection.criterion", "top-1", "loss", (f"{TRAINING}.loop:held_out_loss",), training, MAPPING,
        {"selection.rule": "held-out-concepts"},
    ),
    "Selection.patience": Option(
        "selection.patience", None, 1, (f"{TRAINING}.loop:Watch",), training, MAPPING,
        {"selection.rule": "held-out-concepts"},
    ),
    "Selection.min_delta": Option(
        "selection.min_delta", 0.0, 0.1, (), training, MAPPING,
        {"selection.rule": "held-out-concepts", "selection.patience": 1},
    ),
    "Selection.retrain": Option(
        "selection.retrain", True, False, (f"{TRAINING}.loop:Watch",), training, MAPPING,
        {"selection.rule": "held-out-concepts"},
    ),
    "TrainedMethod.inputs": Option(
        "inputs", {}, {"repetitions": 1, "concepts": 4},
        (f"{TRAINING}.chosen:of_training", f"{TRAINING}.chosen:pictures"), training, MAPPING,
    ),
    # ------------------------------------------------------------ epochs, voxels, features, retrieval, reporting
}  # fmt: skip


# ------------------------------------------------------------------------------------- all neutral fields


def blocks(annotation: Any = Config) -> Iterator[type[Block]]:
    """Settings classes inside an annotation, its own included."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
        for one in annotation.model_fields.values():
            yield from blocks(one.annotation)
    else:
        for inner in typing.get_args(annotation):
            yield from blocks(inner)


def declared() -> set[str]:
    """``Class.field`` of every neutral field, named after the class that declares it."""
    found = set()
    for block in set(blocks()):
        for name in neutral_fields(block):
            owner = next(one for one in reversed(block.__mro__) if name in getattr(one, "model_fields", {}))
            found.add(f"{owner.__name__}.{name}")
    return found


OF_THE_PLAN = {
    *("Figures.also", "Figures.generalisation", "Experiment.sweep"),
    *("Experiment.generators", "Config.generators", "Config.judges", "Apply.concepts"),
    *("Protocol.sessions", "Protocol.start", "Protocol.tune"),  # test_new_subject.py
}


def test_every_neutral_field_of_all_settings_is_proven():
    """Here, with the stages of responses in ``test_neutral_responses.py``, and those of the plan alone, below.

    Those of the page are in ``test_page.py``.
    """
    of_responses = {f"{'WhiteningBase' if 'Whitening' in block else block}.{name}" for block, name in COVERED}
    of_page = {"Config.page", "Page.pictures", "Page.queries"}
    of_simulations = {"SimulatedFmriStudy.sessions"}  # test_simulated_fmri.py
    assert set(OPTIONS) | of_responses | OF_THE_PLAN | of_page | of_simulations == declared()


def test_figures_from_outside_add_jobs_and_change_none(monkeypatch, tmp_path):
    raw = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text(encoding="utf-8"))
    (tmp_path / "outside.py").write_text(
        "from brain2clip.reporting.figure_kinds.erp import Figure\n\n\nclass Mine(Figure):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def planned(also: list[str] | None) -> dict[str, str]:
        given = {**raw, "figures": {} if also is None else {"also": also}}
        return {path: job.spec.json for path, job in Plan(load(given)).jobs().items()}

    before, more = planned(None), planned(["outside:Mine"])
    assert planned([]) == before
    assert {path: more[path] for path in before} == before
    assert set(more) - set(before) == {"results/figures/simulated/mine.svg"}


def test_temporal_generalisation_changes_accuracy_over_time_alone():
    raw = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text(encoding="utf-8"))

    def planned(figures: dict[str, Any]) -> dict[str, str]:
        return {path: job.spec.json for path, job in Plan(load({**raw, "figures": figures})).jobs().items()}

    before, more = planned({}), planned({"generalisation": True})
    assert planned({"generalisation": False}) == before
    assert set(more) - set(before) == {"results/figures/simulated/generalisation.svg"}
    changed = {path for path in before if more[path] != before[path]}
    assert {path.split("/")[1] for path in changed} == {"timecourse", "figures", "page"}, "the page shows it"
    assert {path for path in changed if "/figures/" in path} == {"results/figures/simulated/timecourse.svg"}


def test_a_sweep_writes_methods_out_and_without_one_nothing_changes():
    raw = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text(encoding="utf-8"))

    def planned(sweep: dict[str, Any] | None) -> dict[str, str]:
        given = {} if sweep is None else {"sweep": sweep}
        bands = {**raw["experiments"]["bands"], **given}
        config = load({**raw, "experiments": {**raw["experiments"], "bands": bands}})
        return {path: job.spec.json for path, job in Plan(config).jobs().items()}

    before, more = planned(None), planned({"inputs.repetitions": [1, None], "inputs.window": [[0.0, 0.2]]})
    assert planned({}) == before
    trained = {path: spec for path, spec in before.items() if "/training/simulated/broad/" in path}
    assert {path: more[path] for path in trained} == trained
    names = {path.split("/")[5] for path in more if "/training/simulated/slow/" in path}
    assert names == {"frozen-repetitions-1-window-0p0-0p2", "frozen-repetitions-all-window-0p0-0p2"}


def test_generators_add_jobs_and_change_the_embeddings_that_they_take_alone():
    raw = yaml.safe_load((Path(__file__).parents[1] / "workflow/tiny.yaml").read_text(encoding="utf-8"))
    methods = {**raw["methods"], "line": {"kind": "ridge", "tower": "grammar-vit"}}
    main = {**raw["experiments"]["main"], "methods": ["frozen", "line"]}
    generator = {"kind": "kandinsky", "model": "some/name", "tower": "grammar-vit", "size": 64}

    def planned(generators: dict[str, Any], judges: dict[str, Any], names: list[str] | None) -> dict[str, str]:
        drawn = {**main, "protocols": ["intra"], "methods": ["line"]} | ({} if names is None else {"generators": names})
        blocks = {"methods": methods, "generators": generators, "judges": judges}
        config = load({**raw, **blocks, "experiments": {**raw["experiments"], "main": main, "drawn": drawn}})
        return {path: job.spec.json for path, job in Plan(config).jobs().items()}

    before = planned({}, {}, None)
    second = {"second": {"kind": "open-clip", "model": "ViT-B-32", "pretrained": "openai"}}
    assert planned({"g": generator}, second, []) == before
    more = planned({"g": {**generator, "start": None}}, {}, ["g"])
    assert planned({"g": generator}, {}, ["g"]) == more
    changed = {path for path in before if more[path] != before[path]}
    embedded = {path for path in changed if path.endswith(".embeddings.h5")}
    shown = {  # experiments and all
        *("results/figures/simulated/reconstruction.svg", "results/tables/summary.parquet", "results/page/page.html"),
    }
    assert embedded
    assert changed == embedded | shown
    added = {path.split("/")[1] for path in set(more) - set(before) if not path.endswith(".embeddings.h5")}
    assert added == {"negative", "generate", "oracle", "judge", "figures"}
    started = planned({"g": {**generator, "start": {"strength": 0.5}}}, {}, ["g"])
    redrawn = {path.split("/")[1] for path in more if started[path] != more[path]}
    assert redrawn == {"generate", "oracle", "judge", "figures", "page"}


# ------------------------------------------------------------------------------------------------- poison


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neutral")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.write_voxels(folder / "voxels.h5", embedding, 30)
    brain_files.save_tower(folder / "tower")
    return folder


def with_values(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Settings with values at paths."""
    for path, value in values.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        base = settings.merge(base, value)
    return base


def poison(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, _, attribute = name.partition(":")

    def bite(*_: Any, **__: Any) -> None:
        raise PoisonError(name)

    monkeypatch.setattr(importlib.import_module(module), attribute, bite)


def equal(one: Results, other: Results) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(value, other[name], equal_nan=value.dtype.kind == "f") for name, value in one.items()
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_at_its_neutral_value_an_option_is_as_if_its_code_did_not_exist(folder, monkeypatch, name):
    option = OPTIONS[name]
    written = with_values(option.base, {option.path: option.neutral})
    before = option.run(folder, written)
    for code in option.code:
        poison(monkeypatch, code)
    assert equal(option.run(folder, written), before)
    assert equal(option.run(folder, option.base), before)


@pytest.mark.parametrize("name", [name for name, one in OPTIONS.items() if not one.code])
def test_an_option_without_code_of_its_own_changes_something_at_another_value(folder, name):
    option = OPTIONS[name]
    other = option.run(folder, with_values(option.base, {option.path: option.other, **option.also}))
    assert not equal(other, option.run(folder, option.base))


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, one in OPTIONS.items() for code in one.code])
def test_the_poison_bites_at_another_value(folder, monkeypatch, name, code):
    option = OPTIONS[name]
    poison(monkeypatch, code)
    with pytest.raises(PoisonError, match=code):
        option.run(folder, with_values(option.base, {option.path: option.other, **option.also}))


# --------------------------------------------------------------------------------------------------- JSON

OF_METHODS = {name: one for name, one in OPTIONS.items() if one.run is training}


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.sampled_from([CONTRASTIVE, MAPPING]), st.dictionaries(st.sampled_from(sorted(OF_METHODS)), st.booleans()))
def test_json_holds_the_options_that_do_something_and_reads_back_to_the_same_block(base, chosen):
    used = {name: on for name, on in chosen.items() if OF_METHODS[name].base is base}
    values = {
        OF_METHODS[name].path: OF_METHODS[name].other if on else OF_METHODS[name].neutral for name, on in used.items()
    }
    also = {path: value for name, on in used.items() if on for path, value in OF_METHODS[name].also.items()}
    method = settings.parse(settings.Method, with_values(base, {**values, **also}))
    text = settings.canonical(method)
    again = settings.parse(settings.Method, text)
    assert again == method
    assert settings.canonical(again) == text
    for name, one in OF_METHODS.items():
        if one.base is base:
            place: Any = method.model_dump(mode="json")
            for key in one.path.split("."):
                place = place.get(key) if isinstance(place, dict) else None
            assert (place is not None) == (used.get(name, False) or one.path in also)
