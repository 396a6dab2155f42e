"""Encoders that take the number of the subject: whose it is in training, and whose in ranking, under every protocol."""

from __future__ import annotations

import brain_files
import h5py
import numpy as np
import pytest
import torch

from brain2clip import artefact, settings, stage
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.retrieval import inspect
from brain2clip.settings import Tower
from brain2clip.training import train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.inputs import names_from_tensor
from brain2clip.training.methods.contrastive import KNOWN
from brain2clip.training.predict import Predictor

TIMES = 20
TEST = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
METHOD = {
    "kind": "contrastive",
    "tower": "tiny",
    "encoder": {"kind": "atm", "width": 16, "dropout": 0.0, "dropout_tokens": 0.0, "subject_dropout": 0.3},
    "brain_head": {"width": 12},
    "visual": {"kind": "frozen", "head": {"width": 12}},
    "optimiser": {"epochs": 2, "batch_size": 20, "lr": 3e-3},
    "selection": {"rule": "held-out-concepts"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_files, "TIMES", TIMES)
        for subject in range(3):
            brain_files.write_responses(folder / f"sub-{subject}.h5", embedding, subject)
        brain_files.write_responses(folder / "whole.h5", embedding, 3)
    rows = (brain_files.TRAIN + brain_files.TEST) * brain_files.REPETITIONS
    rewrite(folder / "whole.h5", folder / "untrained.h5", split=np.ones(rows, np.uint8))
    rewrite(folder / "sub-2.h5", folder / "other.h5", channel=[f"X{n}" for n in range(brain_files.CHANNELS)])
    brain_files.save_tower(folder / "tower")
    return folder


def rewrite(source, target, **arrays):
    """A file of responses with other arrays."""
    with h5py.File(source) as old, artefact.create_h5(target, brain_files.MADE) as new:
        new.attrs.update({name: value for name, value in old.attrs.items() if name in ("sfreq", "unit")})
        for name in old:
            if name in arrays:
                new[name] = arrays[name]
            else:
                old.copy(name, new)


def job(files, tmp_path, subjects, names=None, kind="leave-one-subject-out"):
    method = settings.parse(settings.Method, METHOD).model_dump(mode="json")
    tower = Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    given = {"method": method, "tower": tower, "seed": 0, "protocol": {"kind": kind}, "subjects": list(subjects)}
    inputs = {"responses": [files / f"{name}.h5" for name in names], "stimuli": [files / "stimuli.h5"]}
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}
    return stage.Job("train", given, "code", {}, inputs, outputs)


def predicted(one, files, subject):
    """Embeddings of responses for somebody, and the model in use."""
    test = load_responses([files / "sub-0.h5"], "test", None)
    with open_stimuli(files / "stimuli.h5", None) as stimuli:
        given = one.settings["method"], one.settings["tower"], artefact.read_tensors(one.outputs["checkpoint"])
        predictor = Predictor(*given, test, stimuli, TEST, subject)
        return predictor.brains(test.values), predictor.side.model, torch.from_numpy(test.values)


def as_of(model, values, number):
    subject = None if number is None else torch.full((len(values),), number)
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.brain(values, subject), dim=-1).numpy()


@pytest.fixture
def asked(monkeypatch):
    """Every response that the brain side was given, and the number that came with it (-1: none)."""
    found: list[tuple[np.ndarray, int]] = []
    brain = BrainToClip.brain

    def watched(self, responses, subject=None):
        found.extend(zip(responses.numpy(), [-1] * len(responses) if subject is None else subject.tolist()))
        return brain(self, responses, subject)

    monkeypatch.setattr(BrainToClip, "brain", watched)
    return found


def check_asked(asked, files, names):
    """Each training response came with the number of its subject, those of the search for the epoch as well."""
    owner = {}
    for number, name in enumerate(names):
        values = load_responses([files / f"{name}.h5"], "train", None, True).values
        owner |= {value.tobytes(): number for value in values}
    assert {number for _, number in asked} == set(range(len(names)))
    assert all(owner[value.tobytes()] == number for value, number in asked)


@pytest.mark.parametrize(("kind", "subjects"), [("leave-one-subject-out", ("01", "02")), ("joint", ("01", "02"))])
def test_a_model_of_several_subjects_knows_them_apart(files, tmp_path, asked, kind, subjects):
    one = job(files, tmp_path, subjects, ("sub-1", "sub-2"), kind)
    train.run(one)
    check_asked(asked, files, ("sub-1", "sub-2"))
    tensors = artefact.read_tensors(one.outputs["checkpoint"])
    assert names_from_tensor(tensors[KNOWN]) == ["01", "02"]
    for subject, number in (("01", 0), ("02", 1)):
        found, model, values = predicted(one, files, subject)
        np.testing.assert_allclose(found, as_of(model, values, number), atol=1e-6)
        assert np.abs(found - as_of(model, values, 1 - number)).max() > 1e-4
    if kind == "joint":
        with pytest.raises(stage.InputError, match="no input layer for '00'"):
            predicted(one, files, "00")
    else:
        found, model, values = predicted(one, files, "00")  # who is left out
        np.testing.assert_allclose(found, as_of(model, values, None), atol=1e-6)
        assert np.abs(found - as_of(model, values, 0)).max() > 1e-4


def test_a_model_of_one_subject_takes_its_own_token(files, tmp_path, asked):
    one = job(files, tmp_path, ["01"], ["sub-1"], "intra-subject")
    train.run(one)
    check_asked(asked, files, ["sub-1"])
    found, model, values = predicted(one, files, "01")
    np.testing.assert_allclose(found, as_of(model, values, 0), atol=1e-6)


@pytest.mark.parametrize("kind", ["leave-one-subject-out", "joint"])
def test_who_has_no_training_trial_is_not_known(files, tmp_path, asked, kind):
    one = job(files, tmp_path, ["03", "02"], ("untrained", "sub-2"), kind)
    train.run(one)
    check_asked(asked, files, ["sub-2"])
    tensors = artefact.read_tensors(one.outputs["checkpoint"])
    assert names_from_tensor(tensors[KNOWN]) == ["02"]
    assert tensors["encoder.subject.own"].shape == (1, TIMES)


def test_figures_of_prompts_take_the_own_token(files, tmp_path, asked):
    one = job(files, tmp_path, ["01", "02"], ["sub-1", "sub-2"], "joint")
    visual = {"kind": "neuroclip", "head": {"width": 12}, "fusion": {"width": 8, "heads": 2}, "prompts": {"tokens": 2}}
    method = settings.parse(settings.Method, {**METHOD, "visual": visual, "optimiser": {"epochs": 1}, "selection": {}})
    one.settings["method"] = method.model_dump(mode="json")
    train.run(one)
    run = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "02", "seed": 0}
    given = {"run": run, **{name: one.settings[name] for name in ("method", "tower")}}
    inputs = {"responses": [files / "sub-2.h5"], "checkpoint": [one.outputs["checkpoint"]], **{
        "stimuli": one.inputs["stimuli"]}}  # fmt: skip
    asked.clear()
    outputs = {name: tmp_path / f"{name}.parquet" for name in ("gains", "prompts")}
    inspect.run(stage.Job("inspect", given, "code", {}, inputs, outputs))
    assert [number for _, number in asked] == [1] * brain_files.TEST


def test_subjects_of_one_model_have_the_same_channels(files, tmp_path):
    one = job(files, tmp_path, ["01", "02"], ["sub-1", "other"], "joint")
    with pytest.raises(stage.InputError, match=r"set 2: other channels .* than in set 1, but both train one model"):
        train.run(one)


def test_a_protocol_joint_takes_contrastive_methods_whose_encoder_knows_the_subject():
    def load(encoder):
        return settings.load(
            {
                "studies": {"s": {"kind": "simulated", "subjects": 2}},
                "bands": {"b": {}},
                "towers": {"tiny": {"model": "local-dir:nowhere"}},
                "protocols": {"p": {"kind": "joint"}},
                "methods": {"m": {**METHOD, "encoder": {"kind": encoder}}},
                "experiments": {"e": {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["m"]}},
            }
        )

    load("atm")
    with pytest.raises(settings.SettingsError, match=r"'m' \(contrastive\) cannot train on all subjects"):
        load("nice")
