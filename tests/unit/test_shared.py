"""What is read once for all jobs of a loaded Python, and that nothing stale is taken for it."""

from __future__ import annotations

import os

import brain_files
import numpy as np
import pytest
import torch

from brain2clip import artefact, shared, stage
from brain2clip.retrieval import rank
from brain2clip.settings import Tower
from brain2clip.stimuli import frozen_clip
from brain2clip.training import train
from brain2clip.training.data import load_responses


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(shared, "_KEPT", {})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    return path


def asked(file, settings="a", name="text"):
    made = []
    found = shared.kept(name, [file], settings, lambda: made.append(1) or file.read_text())
    return found, bool(made)


def test_a_value_is_kept_only_where_that_was_asked_for(file):
    assert asked(file) == asked(file) == ("content", True)
    with shared.keeping():
        assert asked(file) == ("content", True)
        assert asked(file) == ("content", False)
    assert asked(file) == ("content", False)
    assert asked(file) == ("content", True)  # what it was may have been changed


def test_other_files_settings_and_names_are_others(file):
    with shared.keeping():
        asked(file)
    assert asked(file, settings="b") == ("content", True)
    assert asked(file, name="another") == ("content", True)
    copy = file.with_name("copy")
    copy.write_text("content")
    assert asked(copy) == ("content", True)
    before = file.stat()
    file.write_text("CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert asked(file) == ("CONTENT", True)


def test_of_a_name_the_latest_is_kept(file):
    with shared.keeping():
        asked(file), asked(file, settings="b")
    assert asked(file, settings="b") == ("content", False)
    assert asked(file) == ("content", True)


def test_jobs_of_a_subject_read_responses_and_tower_once(tmp_path, monkeypatch):
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_responses(tmp_path / "responses.h5", embedding)
    tower = {"model": brain_files.save_tower(tmp_path / "tower")}
    method = {"kind": "contrastive", "label": "x", "tower": "tiny", "visual": {"kind": "neuroclip"}}
    inputs = {"responses": [tmp_path / "responses.h5"], "stimuli": [tmp_path / "stimuli.h5"]}
    job = stage.Job("rank", {"method": method, "tower": tower}, "code", {}, inputs, {})
    test, training = (load_responses(inputs["responses"], side, None) for side in ("test", "train"))
    with shared.keeping():
        rank.share(job)
        train.share(job)
    assert sorted(shared._KEPT) == ["test responses", "tower", "train responses"]
    with monkeypatch.context() as without:
        without.setattr(artefact, "open_h5", None)
        without.setattr(frozen_clip, "load", lambda *_: None)
        kept = load_responses(inputs["responses"], "test", None)
        averaged = load_responses(inputs["responses"], "train", None, average=True)
        assert frozen_clip.load_shared(Tower.model_validate(tower)).image_size == (32, 32)
    assert np.array_equal(kept.values, test.values)
    assert np.array_equal(averaged.values, training.averaged().values)


def test_a_model_is_the_same_where_a_tower_is_kept(tmp_path):
    """Loading one draws random numbers, and what is drawn afterwards must not depend on who loaded it."""
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_responses(tmp_path / "responses.h5", embedding)
    tower = {"model": brain_files.save_tower(tmp_path / "tower")}
    visual = {"kind": "neuroclip", "fusion": {"kind": "none"}}
    method = {"kind": "contrastive", "label": "x", "tower": "tiny", "visual": visual, "optimiser": {"epochs": 1}}
    inputs = {"responses": [tmp_path / "responses.h5"], "stimuli": [tmp_path / "stimuli.h5"]}
    settings = {"method": method, "tower": tower, "seed": 3, "protocol": {}}

    def trained(name):
        outputs = {"checkpoint": tmp_path / f"{name}.safetensors", "history": tmp_path / f"{name}.parquet"}
        train.run(stage.Job("train", settings, "code", {}, inputs, outputs))
        return artefact.read_tensors(outputs["checkpoint"])

    alone = trained("alone")
    state = torch.get_rng_state()
    with shared.keeping():
        rank.share(stage.Job("rank", settings, "code", {}, inputs, {}))
        train.share(stage.Job("train", settings, "code", {}, inputs, {}))
    assert torch.equal(torch.get_rng_state(), state)
    after = trained("after")
    assert alone.keys() == after.keys()
    assert all(torch.equal(alone[name], after[name]) for name in alone)


@pytest.mark.parametrize("sizes", [[1] * 70, [2] * 130, [7] * 10, [3, 1, 2]])
def test_means_of_trials_are_numpys_own(sizes):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((300, 3, 5), dtype=np.float32) * np.float32(1e3) ** rng.integers(-2, 3, (300, 1, 1))
    values = values.astype(np.float32)
    groups = [rng.choice(300, size, replace=False) for size in sizes]
    expected = np.stack([values[group].mean(axis=0) for group in groups])
    assert np.array_equal(rank.means(values, groups), expected)
