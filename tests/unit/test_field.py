"""Methods of the field by name: each is what was published, trains, ranks, and reruns nobody's results."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import brain_files
import numpy as np
import open_clip
import pytest
import torch
import yaml
from torch import nn

from brain2clip import artefact, settings, stage
from brain2clip.documents import field as documents
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.models.mapping_network import MappingNetwork
from brain2clip.models.pictures import Frozen
from brain2clip.plan import Plan
from brain2clip.reporting import published
from brain2clip.retrieval import rank
from brain2clip.settings import field
from brain2clip.stimuli import tower_vectors
from brain2clip.training import train

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/workflow/tiny.yaml"
NAMES = field.names()
#: Trained parameters as published, by (method, channels): written here once more, so that no file is its own witness.
PUBLISHED = {
    ("nice", 63): {"encoder": 1_802_496},
    ("atm-s", 63): {"encoder": 3_075_162},
    ("atm-s", 17): {"encoder": 3_001_562},
    ("eegnet", 63): {"encoder": 2_343_416},
    ("ubp", 17): {"encoder": 5_404_672},
    ("neurobridge", 17): {"encoder": 5_404_672, "brain_head": 524_800, "visual": 524_800},
    ("ats", 17): {"encoder": 3_857_146, "visual": 461_312},
    # Of 50 rows of weights of views 16 are used, and there.
    ("multi-blur", 63): {"encoder": 5_213_049, "visual": 1_629_952 - 34 * 1024},
    # Beside its layers five weights of blocks, and a subject's bias on them.
    ("samga", 17): {
        **{"encoder": 5_404_672, "brain_head": 524_800, "shared": 262_656},
        "visual": 3_277_824 + 5 * 524_800 + 5 + 5,
    },
    ("brainmlp-lora", 17): {"encoder": 2_701_824, "visual": 5_349_376},
    ("frozen", 17): {"encoder": 2_440_192},
    # Of subject 1 of NSD: 64.4 M and 134.3 M, and a last layer to one vector in place of 256 tokens.
    ("mindeye-mlp", 15724): {"network": 64_409_600 + 134_283_264 + 4097 * 1280},
}


def method_of(name: str, **changes: Any) -> Any:
    """Settings of a method of the field, on its own tower."""
    return loaded({name: {"base": f"field/{name}", **changes}}).methods[name]


def loaded(methods: dict[str, Any]) -> settings.Config:
    raw = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    raw["methods"] |= methods
    return settings.load(raw, "tiny.yaml")


def counted(name: str, count: field.Count) -> dict[str, int]:
    """Trained parameters by part, of a model without weights."""
    config = loaded({name: {"base": f"field/{name}"}})
    method, known = config.methods[name], field.read(name)
    tower = open_clip.get_model_config(config.towers[method.tower].model)
    with torch.device("meta"):
        if isinstance(method, settings.BrainMapping):
            model: nn.Module = MappingNetwork(method.network, method.supervision, count.channels, tower["embed_dim"])
            return {"network": sum(one.numel() for one in model.parameters() if one.ndim)}
        visual = open_clip.create_model(config.towers[method.tower].model, pretrained=None, device="meta").visual
        widths = {vector.name: known.ready.get(vector.ready) or tower_vectors.width(visual, vector)
                  if vector.ready or not (vector.is_embedding or (vector.block is None and vector.pool == "tower"))
                  else tower["embed_dim"] for vector in method.vectors}  # fmt: skip
        driven = visual if method.visual.drives_tower else None
        # Of ten subjects nine train, and the tenth has the token that is for all others.
        inputs = Inputs(count.channels, count.times, count.sfreq, 9 if method.encoder.by_subject else 1)
        model = BrainToClip(method, inputs, Frozen(tower["embed_dim"], 4, driven, widths=widths))
    found: dict[str, int] = {}
    for parameter, value in model.named_parameters():
        part = parameter.partition(".")[0]
        found[part] = found.get(part, 0) + value.numel() * value.requires_grad
    return {part: found.get(part, 0) for part in count.parts}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_parameters_are_those_of_its_file_and_of_the_paper(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no meta device
    known = field.read(name)
    for count in known.counts:
        found = counted(name, count)
        assert found == dict(count.parts)
        for part, number in PUBLISHED.get((name, count.channels), {}).items():
            assert found[part] == number, f"{part} of {name}"
    written = {(name, count.channels) for count in known.counts}
    assert {key for key in PUBLISHED if key[0] == name} <= written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("brain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_files, "TIMES", 40)
        embedding = brain_files.write_stimuli(folder / "stimuli.h5")
        brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.write_voxels(folder / "fmri.h5", embedding, 30)
    brain_files.save_tower(folder / "tower")
    return folder


def smaller(name: str) -> Any:
    """A method of the field on the tiny tower of tests: the same kinds, few numbers, two epochs."""
    own = yaml.safe_load((field.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["method"]
    own["tower"] = "grammar-vit"
    own.pop("inputs", None)  # the channels of these tests have other names
    if own["kind"] == "mapping":
        own["network"] |= {"hidden": 16} if own["network"]["kind"] != "linear" else {}
    if own["kind"] == "contrastive":
        for one in own.get("augmentation", []):
            one["window_s"] = 0.06
        alone = own.get("brain_head", {}).get("kind") == "none"
        own["encoder"]["width"] = 24 if alone and own["visual"].get("head", {}).get("kind") == "none" else 16
        for head in (own.setdefault("brain_head", {}), own.setdefault("visual", {}).setdefault("head", {})):
            if head.get("kind", "linear") != "none":
                head["width"] = 24 if own["encoder"]["width"] == 24 else 16
        if own["brain_head"].get("kind") == "none":
            own["visual"]["head"]["width"] = own["encoder"]["width"]
        if "fusion" not in own["visual"] and own["visual"].get("kind", "neuroclip") == "neuroclip":
            own["visual"]["fusion"] = {"width": 16, "heads": 2}
        readout = own["visual"].get("readout", {})
        readout |= {key: 16 for key in ("width", "shared_width") if key in readout}
        if readout.get("kind") == "spatial":
            readout |= {"block": 2, "grid": 2, "components": 8}
        if "block" in readout:
            readout["block"] = 2
        optimiser = own["optimiser"]
        if "second" in optimiser:
            optimiser["second"]["after"] = 1
        optimiser["precision"] = "fp32"
    if own["kind"] != "ridge":
        own.setdefault("optimiser", {}).update({"epochs": 2, "batch_size": 20})
        own["optimiser"].pop("micro_batch", None)
    if own.get("selection", {}).get("share", 1) < 0.1:
        own["selection"]["share"] = 0.1
    return loaded({name: own}).methods[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_ranks_and_reloads(files: Path, tmp_path: Path, name: str) -> None:
    method, modality = smaller(name), field.read(name).modality
    own = settings.dump(method)
    vectors = []
    for number, vector in enumerate(getattr(method, "vectors", ())):
        width = 24 if vector.ready is not None or vector.block is None else 32 * (vector.grid or 1) ** 2
        values = np.random.default_rng(number).standard_normal((brain_files.TRAIN + brain_files.TEST, width))
        path = tmp_path / f"{vector.name}.h5"
        with artefact.create_h5(path, brain_files.MADE) as file:
            file.attrs["name"] = vector.name
            file["stimulus_id"], file["vector"] = brain_files.stimulus_ids(), values.astype(np.float32)
        vectors.append(path)
    tower = settings.dump(settings.Tower(model=f"local-dir:{files / 'tower'}"))
    inputs = {"responses": [files / f"{modality}.h5"], "stimuli": [files / "stimuli.h5"], "vectors": vectors}
    given = {"method": own, "tower": tower, "seed": 0, "protocol": {}, "subjects": ["01"]}
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "history.parquet"}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    history = artefact.read_table(outputs["history"])
    assert method.kind == "ridge" or np.isfinite(history["loss"]).all()
    run = {"study": "s", "signal": "b", "protocol": "p", "method": name, "subject": "01", "seed": 0}
    ranking = {"run": run, "method": own, "tower": tower, "retrieval": {"repetitions": ["all"]}}
    ranked = {"rows": tmp_path / "rows.parquet"}
    rank.run(stage.Job("rank", ranking, "code", {}, inputs | {"checkpoint": [outputs["checkpoint"]]}, ranked))
    rows = artefact.read_table(ranked["rows"])
    assert len(rows) == brain_files.TEST
    assert rows["rank"].between(1, brain_files.TEST).all()


# ------------------------------------------------------------------------------------------------- by name


def test_its_tower_comes_along_where_none_of_that_name_is_there() -> None:
    config = loaded({"mine": {"base": "field/ubp"}, "longer": {"base": "mine", "optimiser": {"epochs": 77}}})
    assert config.towers["rn50"].model == "RN50-quickgelu"
    assert (config.methods["longer"].label, config.methods["longer"].optimiser.epochs) == ("UBP", 77)
    own = loaded({"mine": {"base": "field/ubp", "tower": "grammar-vit"}})
    assert set(own.towers) == {"grammar-vit"}


def test_a_tower_of_that_name_is_the_users() -> None:
    raw = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    raw["towers"]["rn50"] = raw["towers"]["grammar-vit"]
    raw["methods"]["mine"] = {"base": "field/ubp"}
    assert settings.load(raw).towers["rn50"].model.endswith("grammar-vit")


def test_a_name_that_nobody_has_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(settings.SettingsError, match=r"methods\.mine\.base: no published method named 'ubb'.*'ubp'"):
        loaded({"mine": {"base": "field/ubb"}})
    with pytest.raises(settings.SettingsError, match="no method named 'ubp'"):
        loaded({"mine": {"base": "ubp"}})


def test_no_method_of_the_field_reruns_when_another_is_added() -> None:
    """Every job that was there asks for the same, but for those that show all methods together."""
    raw = yaml.safe_load((ROOT / "workflow/studies/field-simulated.yaml").read_text(encoding="utf-8"))

    def jobs(methods: list[str]) -> dict[str, Any]:
        own = {**raw, "experiments": {"main": {**raw["experiments"]["main"], "methods": methods}}}
        own["tables"] = {name: {**table, "experiments": ["main"]} for name, table in raw["tables"].items()}
        return Plan(settings.load(own, "field")).jobs()

    every = list(raw["experiments"]["main"]["methods"])
    for added in ("samga", "atm-s", "neurobridge"):
        fewer = jobs([name for name in every if name != added])
        more = jobs(every)
        changed = {job.stage for name, job in fewer.items() if more[name].spec != job.spec}
        assert changed <= {"tables", "figures", "page"}, added
        new = {job.stage for name, job in more.items() if name not in fewer}
        assert {"train", "rank", "summaries"} <= new <= {"train", "rank", "summaries", "vectors"}


def test_what_a_method_is_said_to_be_published_as_is_there() -> None:
    table = published.read(sorted((ROOT / "workflow/published").glob("*.csv")))
    for name in NAMES:
        assert set(field.read(name).published) <= set(table["method"]), name


@pytest.mark.parametrize("path", list(documents.pages()), ids=lambda path: path.stem)
def test_pages_are_up_to_date(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == documents.pages()[path], "run `make docs`"


def test_the_whole_field_is_planned_with_what_it_takes() -> None:
    """The configuration for THINGS-EEG2: every method within and across subjects, by one rule, with five seeds."""
    raw = yaml.safe_load((ROOT / "configs/field.yaml").read_text(encoding="utf-8"))
    config = settings.load(raw, "configs/field.yaml")
    rules = {settings.canonical(one.selection) for one in config.methods.values() if hasattr(one, "selection")}
    assert len(rules) == 1
    eeg = {name for name in NAMES if field.read(name).modality == "eeg"}
    for protocol in ("intra", "inter"):
        run = {name.removesuffix("-inter") for name in config.experiments[protocol].methods}
        assert run == eeg
        assert config.experiments[protocol].seeds == (0, 1, 2, 3, 4)
    assert {"intra", "inter"} <= set(config.experiments["control"].protocols)
    assert not config.studies["things-eeg2"].ready_vectors  # so that it can be planned with what anybody has


def test_vectors_of_other_models_come_in_by_an_overlay() -> None:
    raw = [
        yaml.safe_load((ROOT / "configs" / name).read_text(encoding="utf-8"))
        for name in ("field.yaml", "field-ready.yaml")
    ]
    config = settings.load(settings.merge(*raw), "both")
    named = set(config.studies["things-eeg2"].ready_vectors)
    for name in ("samga", "neuralbench-image"):
        assert set(field.read(name).ready) <= named
    assert config.methods["samga-internvit"].selection == config.methods["samga"].selection


def test_a_tower_that_is_no_name_is_told_by_the_settings() -> None:
    with pytest.raises(settings.SettingsError, match=r"methods\.mine\.tower"):
        loaded({"mine": {"base": "field/ubp", "tower": ["rn50", "rn50"]}})
