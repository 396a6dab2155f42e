"""Trained methods on every task, and their predicted embeddings as what comes after sees them."""

from __future__ import annotations

from pathlib import Path

import brain_files
import numpy as np
import pytest
import torch

from brain2clip import artefact, stage
from brain2clip.names import TASKS
from brain2clip.retrieval import embed, rank, statistics
from brain2clip.retrieval.bank import nearest
from brain2clip.settings import BrainMapping, Contrastive, Retrieval, Ridge, Tower
from brain2clip.training import train

LINEAR = {
    "tower": "tiny",
    "optimiser": {"epochs": 40, "batch_size": 20, "lr": 3e-3},
    "augmentation": {"noise": 0.0, "dropout": 0.0},
}
METHODS = {
    "ridge": Ridge.model_validate({"tower": "tiny", "folds": 4, "alphas": [1.0, 10.0, 100.0]}),
    "linear": BrainMapping.model_validate(LINEAR),
    "centred": BrainMapping.model_validate({**LINEAR, "supervision": {"centre": True}}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxels")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_voxels(folder / "voxels.h5", embedding, 60, noise=0.2)
    brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.save_tower(folder / "tower")
    return folder


def trained(files: Path, folder: Path, method, responses: str = "voxels") -> tuple[dict, dict[str, list[Path]]]:
    """Settings and inputs of what reads the model."""
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    given = {"method": method.model_dump(mode="json"), "tower": tower, "seed": 0, "protocol": {}, "subjects": ["01"]}
    inputs = {"responses": [files / f"{responses}.h5"], "stimuli": [files / "stimuli.h5"]}
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "history.parquet"}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    run = {"study": "s", "signal": "VC", "protocol": "intra", "method": "m", "subject": "01", "seed": 0}
    settings = {"run": run, "method": given["method"], "tower": tower}
    return settings, {**inputs, "checkpoint": [outputs["checkpoint"]]}


@pytest.mark.parametrize("name", list(METHODS))
def test_every_task_is_answered_and_embeddings_rank_as_the_rows_do(files: Path, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    settings, inputs = trained(files, tmp_path, METHODS[name])
    tasks = [task for task in TASKS if task != "template"]  # there are no further pictures
    retrieval = {"tasks": tasks, "repetitions": [1, "all"]}
    outputs = {"rows": tmp_path / "rows.parquet"}
    rank.run(stage.Job("rank", {**settings, "retrieval": retrieval}, "code", {}, inputs, outputs))
    rows = artefact.read_table(outputs["rows"])
    value = statistics.summary(rows, Retrieval(bootstrap=100).statistics()).set_index("metric")["value"]
    for task in tasks:
        metric = "2-way" if task == "stimulus" else f"{task}:2-way"
        assert value[metric] > 0.75, metric  # chance 0.5
        assert value[f"{metric}@1"] > 0.7
    path = tmp_path / "embeddings.h5"
    embed.run(stage.Job("embed", settings, "code", {}, inputs, {"embeddings": path}))
    rows = rows[(rows["task"] == "stimulus") & (rows["repetitions"] == "all")].sort_values("query")
    with artefact.open_h5(path) as file, artefact.open_h5(inputs["stimuli"][0]) as stimuli:
        assert file["stimulus_id"].asstr()[:].tolist() == rows["target"].tolist()
        test = np.flatnonzero(stimuli["split"].asstr()[:] == "test")
        bank = stimuli["embedding"][:][test]
        found = nearest(file["predicted"][:], bank, file["centre"][:], np.arange(len(test)), 3)
        assert file["predicted"].shape == bank.shape
        assert (name == "linear") == (not file["centre"][:].any())
        assert file.attrs["subject"] == "01"
    assert found.rank.tolist() == rows["rank"].tolist()


def test_a_method_with_a_space_of_its_own_is_refused(files: Path, tmp_path: Path) -> None:
    small = {"encoder": {"width": 16}, "brain_head": {"width": 24}, "optimiser": {"epochs": 1, "batch_size": 20}}
    method = Contrastive.model_validate({"tower": "tiny", **small, "visual": {"kind": "frozen", "head": {"width": 24}}})
    settings, inputs = trained(files, tmp_path, method, "eeg")
    with pytest.raises(stage.InputError, match="contrastive has its own shared space"):
        embed.run(stage.Job("embed", settings, "code", {}, inputs, {"embeddings": tmp_path / "x.h5"}))
