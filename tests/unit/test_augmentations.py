"""Augmentation of responses: each kind by hand in numpy, and where it is not done."""

from __future__ import annotations

import brain_files
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from brain2clip import artefact, kinds, settings, stage
from brain2clip.models.brain_encoder import Inputs
from brain2clip.training import train
from brain2clip.training.augmenting import Augmenting, Batch
from brain2clip.training.data import Pairs
from brain2clip.training.methods import contrastive
from brain2clip.training.objective import cross_entropy

B, C, T, SFREQ = 40, 5, 20, 250.0
X = np.random.default_rng(3).standard_normal((B, C, T)).astype(np.float32)
SUBJECT = np.arange(B) % 2


def through(block: dict, values: np.ndarray = X, seed: int = 0) -> Batch:
    """A batch after one kind."""
    one = settings.parse(settings.ResponseAugmentation, block)
    inputs = Inputs(*values.shape[1:], SFREQ) if values.ndim == 3 else Inputs(values.shape[1])
    augmentation = kinds.load("augmentations", one.kind)(one, inputs)
    return augmentation(Batch(torch.from_numpy(values.copy()), SUBJECT), np.random.default_rng(seed))


def test_smoothing_is_a_moving_average_of_the_channels_that_are_drawn():
    found = through({"kind": "smoothing", "probability": 0.3, "window_s": 0.02}).values.numpy()  # 5 samples
    chosen = np.random.default_rng(0).random((B, C)) < 0.3
    smooth = np.stack([X[..., max(0, t - 2) : t + 3].mean(axis=-1) for t in range(T)], axis=-1)
    assert 0.2 < chosen.mean() < 0.4
    assert_allclose(found, np.where(chosen[..., None], smooth, X), atol=1e-6)


def test_noise_has_the_deviation_of_the_settings_and_is_that_of_its_seed():
    many = np.zeros((B, 50, 200), np.float32)
    found, again, other = (through({"kind": "noise", "deviation": 0.5}, many, seed).values for seed in (0, 0, 1))
    assert found.std() == pytest.approx(0.5, rel=0.01)
    assert abs(found.mean()) < 0.005
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


@pytest.mark.parametrize("values", [X, X[..., 0]], ids=["channels", "voxels"])
def test_channel_dropout_puts_what_is_drawn_to_zero_and_leaves_the_rest(values):
    found = through({"kind": "channel-dropout", "probability": 0.4}, values).values.numpy()
    gone = np.random.default_rng(0).random((B, C)) < 0.4
    assert_array_equal(found[gone], 0)
    assert_array_equal(found[~gone], values[~gone])


def test_time_dropout_is_one_span_for_each_response_that_is_drawn():
    found = through({"kind": "time-dropout", "probability": 0.7, "span_s": 0.012}).values.numpy()  # 3 samples
    rng = np.random.default_rng(0)
    chosen, starts = rng.random(B) < 0.7, rng.integers(T - 3 + 1, size=B)
    expected = X.copy()
    for row in np.flatnonzero(chosen):
        expected[row, :, starts[row] : starts[row] + 3] = 0
    assert_array_equal(found, expected)
    assert not chosen.all()


def test_a_shifted_response_holds_the_value_at_its_edge():
    found = through({"kind": "time-shift", "most_s": 0.012}).values.numpy()  # 3 samples
    shifts = np.random.default_rng(0).integers(-3, 4, size=B)
    assert set(shifts) == set(range(-3, 4))
    for row, shift in enumerate(shifts):
        padded = np.pad(X[row], ((0, 0), (3, 3)), mode="edge")
        assert_array_equal(found[row], padded[:, 3 - shift : 3 - shift + T])


def test_mixup_mixes_within_a_subject_and_weighs_the_losses_of_both_targets():
    batch = through({"kind": "mixup", "concentration": 0.8})
    rng = np.random.default_rng(0)
    share = rng.beta(0.8, 0.8)
    assert batch.share == share
    assert_array_equal(np.sort(batch.partner), np.arange(B))
    assert_array_equal(SUBJECT[batch.partner], SUBJECT)
    assert (batch.partner != np.arange(B)).mean() > 0.8
    assert_allclose(batch.values.numpy(), share * X + (1 - share) * X[batch.partner], atol=1e-6)
    # Of InfoNCE the weighted loss is the loss to the mixed target.
    scores = torch.from_numpy(rng.standard_normal((B, B)))
    eye = torch.eye(B, dtype=torch.float64)
    mixed = share * eye + (1 - share) * eye[batch.partner]
    found = batch.loss(lambda target: cross_entropy(scores, eye[target], eye[target], "both"), np.arange(B))
    assert_allclose(found, cross_entropy(scores, mixed, mixed, "both"), rtol=1e-12)


# --------------------------------------------------------------------------------------------- together


def several(*blocks: dict) -> Augmenting:
    return Augmenting([settings.parse(settings.ResponseAugmentation, one) for one in blocks], Inputs(C, T, SFREQ))


def test_what_is_drawn_once_is_the_same_in_all_epochs_and_the_rest_is_not(monkeypatch):
    monkeypatch.setattr("brain2clip.training.augmenting.AT_ONCE", 16)  # in three parts
    both = several({"kind": "smoothing", "drawn": "once", "window_s": 0.012}, {"kind": "time-shift", "most_s": 0.012})
    data = Pairs([torch.from_numpy(X)], *[np.zeros(B, np.int64)], np.arange(B), np.arange(B), SUBJECT, [])
    rng = np.random.default_rng(0)
    once = both.once(data, rng).responses[0]
    alone = several({"kind": "smoothing", "window_s": 0.012})
    parts, again = np.split(X, [16, 32]), np.random.default_rng(0)
    expected = [alone(Batch(torch.from_numpy(one), SUBJECT[: len(one)]), again).values for one in parts]
    assert torch.equal(once, torch.cat(expected))
    assert torch.equal(data.responses[0], torch.from_numpy(X))
    first, second = (both(Batch(once, SUBJECT), rng).values for _ in range(2))
    assert not torch.equal(first, second)
    shifts = several({"kind": "time-shift", "most_s": 0.012})
    assert torch.equal(shifts.once(data, rng).responses[0], data.responses[0])


def test_what_cannot_be_is_refused():
    over_time = {"kind": "time-shift"}
    block = settings.parse(settings.ResponseAugmentation, over_time)
    with pytest.raises(stage.InputError, match=r"time-shift .* voxels have no time axis"):
        Augmenting([block], Inputs(100))
    for wrong in ({"kind": "smoothing", "window_s": 0.005}, {"kind": "time-dropout", "span_s": 0.08}):
        with pytest.raises(stage.InputError, match=rf"{list(wrong)[1]}: found .* of 20 samples at 250 Hz"):
            several(wrong)
    method = {"kind": "contrastive", "tower": "t"}
    with pytest.raises(ValidationError, match="found several"):
        settings.parse(settings.Method, {**method, "augmentation": [{"kind": "mixup"}, over_time, {"kind": "mixup"}]})


# --------------------------------------------------------------------------------------------- training

METHOD = {
    "kind": "contrastive",
    "tower": "tiny",
    "encoder": {"width": 16, "dropout": 0.3},
    "brain_head": {"width": 12},
    "visual": {"kind": "frozen", "head": {"width": 12}},
    "optimiser": {"epochs": 2, "batch_size": 16},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    brain_files.write_responses(folder / "eeg.h5", embedding)
    brain_files.save_tower(folder / "tower")
    return folder


def trained(files, tmp_path, **more) -> tuple[dict, list[float]]:
    method = settings.parse(settings.Method, settings.merge(METHOD, more))
    tower = settings.Tower(model=f"local-dir:{files / 'tower'}").model_dump(mode="json")
    given = {"method": settings.dump(method), "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
    inputs = {"responses": [files / "eeg.h5"], "stimuli": [files / "stimuli.h5"]}
    outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    history = artefact.read_table(outputs["history"])
    return artefact.read_tensors(outputs["checkpoint"]), history["loss"].tolist()


def test_draws_change_neither_the_order_of_batches_nor_dropout(files, tmp_path):
    """Where what is drawn has no effect, the model is the same bit for bit; the same seed draws the same."""
    plain, losses = trained(files, tmp_path)
    nothing = [{"kind": "noise", "deviation": 0.0, "drawn": "once"}, {"kind": "smoothing", "probability": 0.0,
               "window_s": 0.06}, {"kind": "noise", "deviation": 0.0}]  # fmt: skip
    same, same_losses = trained(files, tmp_path, augmentation=nothing)
    assert losses == same_losses
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    noisy = [trained(files, tmp_path, augmentation=[{"kind": "noise", "deviation": 0.5}]) for _ in range(2)]
    assert noisy[0][1] == noisy[1][1] != losses
    assert all(torch.equal(noisy[0][0][name], noisy[1][0][name]) for name in plain)


@pytest.mark.parametrize("criterion", ["top-1", "loss"])
def test_held_out_responses_are_never_augmented(files, tmp_path, monkeypatch, criterion):
    """Neither those that are drawn in every step nor those that are drawn once: they are seen as they were recorded."""
    recorded, seen, own = set(), [], contrastive.BrainToClip.brain
    responses = train.load_responses([files / "eeg.h5"], "train", None, True)
    recorded = {row.tobytes() for row in responses.values}

    def brain(self, values, subject=None):
        known = [row.tobytes() in recorded for row in values.cpu().numpy()]
        seen.append((self.training, known))
        return own(self, values, subject)

    monkeypatch.setattr(contrastive.BrainToClip, "brain", brain)
    blocks = [{"kind": "noise", "drawn": "once"}, {"kind": "noise"}]
    selection = {"rule": "held-out-concepts", "criterion": criterion}
    trained(files, tmp_path, augmentation=blocks, selection=selection)
    assert not any(any(known) for training, known in seen if training)
    aside = [known for training, known in seen if not training]
    assert aside
    assert all(all(known) for known in aside)
