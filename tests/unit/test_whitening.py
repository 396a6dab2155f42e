"""Normalisation of single trials against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg
from sklearn.covariance import LedoitWolf

from brain2clip import settings
from brain2clip.responses import whitening
from brain2clip.responses.whitenings import mvnn, robust
from brain2clip.stage import InputError

NAMES = ["P7", "Pz", "O1", "Oz", "O2"]


@pytest.fixture
def epochs() -> np.ndarray:
    """Correlated noise of very different channels, [n, n_channels, n_times], V."""
    random = np.random.default_rng(1)
    mixing = np.diag([1e-5, 2e-5, 5e-6, 1e-4, 1e-5]) @ (np.eye(5) + 0.4 * random.normal(size=(5, 5)))
    return mixing @ random.normal(size=(300, 5, 80)) + 3e-6


def fitted(kind: str, epochs: np.ndarray, batch: int = 64) -> whitening.Operator:
    given = settings.parse(settings.Whitening, {"kind": kind})
    fit = whitening.kind_of(given)(given, NAMES, len(epochs))
    for begin in range(0, len(epochs), batch):
        fit.add(epochs[begin : begin + batch])
    return fit.operator()


def plain_covariance(epoch: np.ndarray) -> np.ndarray:
    """Shrunk covariance of one epoch by scikit-learn, channels standardised for the shrinkage."""
    scale = epoch.std(axis=1)
    return LedoitWolf().fit((epoch / scale[:, None]).T).covariance_ * np.outer(scale, scale)


def test_mvnn_is_the_plain_formula(epochs):
    covariance = np.mean([plain_covariance(epoch) for epoch in epochs], axis=0)
    expected = linalg.fractional_matrix_power(covariance, -0.5)
    operator = fitted("mvnn", epochs)
    np.testing.assert_allclose(operator.matrix, expected, rtol=1e-8)
    assert not operator.mean.any()


def test_shrinkage_agrees_where_it_is_strong():
    """Few time points for many channels: shrinkage is large, up to 1."""
    epochs = np.random.default_rng(2).normal(size=(20, 30, 12))
    expected = [plain_covariance(epoch) for epoch in epochs]
    np.testing.assert_allclose(mvnn.shrunk_covariances(epochs), expected, rtol=1e-9, atol=1e-12)


def test_mvnn_makes_training_noise_white():
    """With many time points there is little shrinkage."""
    random = np.random.default_rng(3)
    mixing = np.diag([1e-5, 2e-5, 5e-6, 1e-4, 1e-5]) @ (np.eye(5) + 0.4 * random.normal(size=(5, 5)))
    epochs = mixing @ random.normal(size=(100, 5, 4000))
    white = fitted("mvnn", epochs).apply(epochs)
    covariance = np.mean([np.cov(epoch, bias=True) for epoch in white], axis=0)
    np.testing.assert_allclose(covariance, np.eye(5), atol=0.05)


@pytest.mark.parametrize("kind", ["mvnn", "zscore", "robust", "none"])
def test_batches_do_not_matter(kind, epochs):
    one, many = fitted(kind, epochs, 300), fitted(kind, epochs, 7)
    np.testing.assert_allclose(one.matrix, many.matrix, rtol=1e-9)
    np.testing.assert_allclose(one.mean, many.mean, rtol=1e-9)


def test_zscore(epochs):
    scaled = fitted("zscore", epochs).apply(epochs)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=(0, 2)), 1, rtol=1e-9)


def test_robust_ignores_a_few_artefacts_and_is_clamped(epochs):
    spoilt = epochs.copy()
    spoilt[0] = 1.0
    scaled = fitted("robust", spoilt).apply(spoilt, clamp=20.0)
    quartiles = np.percentile(scaled, (25, 50, 75), axis=(0, 2))
    np.testing.assert_allclose(quartiles[1], 0, atol=1e-3)
    np.testing.assert_allclose(quartiles[2] - quartiles[0], 1, rtol=1e-3)
    assert scaled.max() == 20.0


def test_robust_keeps_a_bounded_sample(epochs, monkeypatch):
    exact = fitted("robust", epochs)
    monkeypatch.setattr(robust, "ROBUST_VALUES", 100 * 5 * 80)
    fit = robust.Whitening(settings.RobustWhitening(), NAMES, len(epochs))
    for begin in range(0, len(epochs), 7):
        fit.add(epochs[begin : begin + 7])
    assert sum(len(part) for part in fit.kept) == 100
    np.testing.assert_allclose(np.diag(fit.operator().matrix), np.diag(exact.matrix), rtol=0.03)


def test_none_changes_nothing(epochs):
    np.testing.assert_array_equal(fitted("none", epochs).apply(epochs), epochs)


@pytest.mark.parametrize("kind", ["mvnn", "zscore", "robust"])
def test_flat_channel_is_refused(kind, epochs):
    epochs[:, 3] = 0.0
    with pytest.raises(InputError, match=r"channel Oz is constant.*\n.*responses\.channels"):
        fitted(kind, epochs)


def test_average_reference_has_no_exploding_direction(epochs):
    """Channels that sum to zero leave one direction without variance."""
    referenced = epochs - epochs.mean(axis=1, keepdims=True)
    white = fitted("mvnn", referenced).apply(referenced)
    assert np.abs(white).max() < 20


def test_inverse_square_root_of_a_singular_matrix():
    root = mvnn.inverse_square_root(np.diag([4.0, 1.0, 0.0]))
    np.testing.assert_allclose(root, np.diag([0.5, 1.0, 0.0]))


def test_average_of_operators():
    one, two = (whitening.Operator(np.full(2, value), value * np.eye(2)) for value in (1.0, 3.0))
    mean = whitening.average([one, two])
    np.testing.assert_array_equal(mean.matrix, 2 * np.eye(2))
    np.testing.assert_array_equal(mean.mean, [2.0, 2.0])
