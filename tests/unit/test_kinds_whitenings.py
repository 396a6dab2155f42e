"""What is asked of every kind of whitening, of those that the project brings and of one from outside."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from bids_fixtures import job, noise, regular_events, study_settings, write_dataset, write_run
from pydantic import ValidationError
from scipy import linalg
from sklearn.covariance import LedoitWolf

from brain2clip import artefact, kinds, settings
from brain2clip.responses import epochs, whitening
from brain2clip.settings import Responses, Whitening, parse

NAMES = ["P7", "Pz", "O1", "Oz"]
KINDS = kinds.shipped("whitenings")


@pytest.fixture
def trials() -> np.ndarray:
    """Correlated noise of very different channels, [n, n_channels, n_times], V."""
    random = np.random.default_rng(1)
    mixing = np.diag([1e-5, 2e-5, 5e-6, 1e-4]) @ (np.eye(4) + 0.4 * random.normal(size=(4, 4)))
    return mixing @ random.normal(size=(90, 4, 60)) + 3e-6


def by_numpy(kind: str, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and matrix of a kind, by plain formulas over all trials at once."""
    if kind == "none":
        return np.zeros(4), np.eye(4)
    if kind == "zscore":
        return trials.mean(axis=(0, 2)), np.diag(1 / trials.std(axis=(0, 2)))
    if kind == "robust":
        low, median, high = np.percentile(trials.astype(np.float32), (25, 50, 75), axis=(0, 2))
        return median, np.diag(1 / (high - low))
    assert kind == "mvnn"
    scales = [epoch.std(axis=1) for epoch in trials]
    shrunk = [
        LedoitWolf().fit((epoch / scale[:, None]).T).covariance_ * np.outer(scale, scale)
        for epoch, scale in zip(trials, scales)
    ]
    return np.zeros(4), linalg.fractional_matrix_power(np.mean(shrunk, axis=0), -0.5)


def fitted(given: settings.WhiteningBase, trials: np.ndarray) -> whitening.Operator:
    fit = whitening.kind_of(given)(given, NAMES, len(trials))
    for begin in range(0, len(trials), 32):
        fit.add(trials[begin : begin + 32])
    return fit.operator()


@pytest.mark.parametrize("kind", KINDS)
def test_settings(kind):
    block = parse(Whitening, {"kind": kind, "clamp": 8})
    assert (block.kind, block.clamp) == (kind, 8.0)
    assert json.loads(settings.canonical(block)) == {"kind": kind, "clamp": 8.0}
    assert json.loads(settings.canonical(parse(Whitening, {"kind": kind}))) == {"kind": kind}
    assert parse(Whitening, settings.canonical(block)) == block
    assert kinds.modules_of(Responses(whitening=block)) == [f"brain2clip.responses.whitenings.{kind}"]
    for wrong in ({"clamp": 0}, {"clamp": -1}, {"strength": 1}):
        with pytest.raises(ValidationError):
            parse(Whitening, {"kind": kind, **wrong})


def test_the_default_and_what_is_unknown():
    assert Responses().whitening == parse(Whitening, {}) == settings.MvnnWhitening()
    assert parse(Whitening, {"clamp": 2}).kind == "mvnn"
    with pytest.raises(ValidationError, match="'mvnn', 'zscore', 'robust', 'none'"):
        parse(Whitening, {"kind": "mvn"})


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_needs_responses_without_a_unit(kind):
    if kind == "none":
        with pytest.raises(ValidationError, match=r"float16 needs whitening\.kind"):
            Responses(dtype="float16", whitening={"kind": kind})
    else:
        assert Responses(dtype="float16", whitening={"kind": kind}).whitening.scaled


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_the_plain_formula(kind, trials):
    operator = fitted(parse(Whitening, {"kind": kind}), trials)
    mean, matrix = by_numpy(kind, trials)
    np.testing.assert_allclose(operator.mean, mean, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(operator.matrix, matrix, rtol=1e-6)
    new = trials[:7] * 1.5
    white = operator.apply(new)
    assert white.shape == new.shape
    np.testing.assert_allclose(white, matrix @ (new - mean[:, None]), rtol=1e-5, atol=1e-9)
    limit = float(np.quantile(np.abs(white), 0.9))
    np.testing.assert_array_equal(operator.apply(new, limit), np.clip(white, -limit, limit))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("bids"))
    write_run(root, 3 * noise(1), regular_events(40), run="02")
    return root


def made(folder, dataset, given) -> dict:
    """The stage ``epochs``; what its artefact says."""
    one = job(folder / "out.h5", study_settings(dataset), responses={"whitening": given})
    epochs.run(one)
    with artefact.open_h5(one.output("responses"), {"settings": one.settings}) as file:
        group = file["whitening/n/a"]
        stored = {name: group[name][:] for name in ("mean", "operator")}
        arrays = {name: file[name][:] for name in ("response", "split")}
        return {**arrays, **stored, "unit": file.attrs["unit"]}


@pytest.mark.parametrize("kind", KINDS)
def test_through_the_artefact(tmp_path, dataset, kind):
    """The stored operator on trials in volts gives the responses; it was fitted on training trials alone."""
    plain = made(tmp_path, dataset, {"kind": "none"})
    white = made(tmp_path, dataset, {"kind": kind, "clamp": 2.5})
    volts = plain["response"].astype(float)
    operator = whitening.Operator(white["mean"], white["operator"])
    np.testing.assert_allclose(white["response"], operator.apply(volts, 2.5), rtol=1e-5, atol=1e-5)
    mean, matrix = by_numpy(kind, volts[plain["split"] == 0])
    np.testing.assert_allclose(white["operator"], matrix, rtol=1e-5, atol=1e-9 * np.abs(matrix).max())
    np.testing.assert_allclose(white["mean"], mean, rtol=1e-4, atol=1e-12)
    assert white["unit"] == (kinds.load("whitenings", kind).unit or "V")
    assert plain["unit"] == "V"


# -------------------------------------------------------------------------------------- a kind from outside

OUTSIDE = '''
from typing import Literal

import numpy as np

from brain2clip.responses.whitening import Fit, Operator
from brain2clip.settings import WhiteningBase


class Scale(WhiteningBase):
    kind: Literal["my_lab.white:Whitening"] = "my_lab.white:Whitening"
    factor: float = 1e6


class Whitening(Fit):
    """Volts in another unit."""

    Settings = Scale
    unit = "microvolt"

    def add(self, epochs):
        pass

    def operator(self):
        return Operator(np.zeros(len(self.channels)), self.settings.factor * np.eye(len(self.channels)))
'''


def test_a_whitening_from_outside(tmp_path, dataset, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab/__init__.py").touch()
    (tmp_path / "my_lab/white.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        given = {"kind": "my_lab.white:Whitening", "factor": 1e7}
        block = Responses(whitening=given)
        assert json.loads(settings.canonical(block))["whitening"] == given
        assert parse(Responses, settings.canonical(block)) == block
        assert kinds.modules_of(block) == ["my_lab.white"]
        plain, found = made(tmp_path, dataset, {"kind": "none"}), made(tmp_path, dataset, given)
        np.testing.assert_allclose(found["response"], 1e7 * plain["response"], rtol=1e-6)
        assert found["unit"] == "microvolt"
        with pytest.raises(ValidationError, match="factor"):
            Responses(whitening={**given, "factor": "large"})
    finally:
        for name in ("my_lab", "my_lab.white"):
            sys.modules.pop(name, None)
