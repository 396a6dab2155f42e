"""Normalisation of single trials, fitted in passing: memory does not grow with the number of trials.

``mvnn`` is multivariate noise normalisation (Guggenmos, Sterzer and Cichy 2018, NeuroImage 173) in its epoch-wise
form: the covariance over the time points of each single training epoch, shrunk after Ledoit and Wolf (2004, J.
Multivar. Anal. 88), averaged over epochs; whitening is its inverse square root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from brain2clip.settings import Whitening
from brain2clip.stage import InputError

#: Values that the robust scaler keeps to take quantiles of (float32, so 64 MB).
ROBUST_VALUES = 2**24
#: A channel whose deviation is below this part of the median channel's counts as flat.
FLAT = 1e-6
UNITS = {"mvnn": "standard deviation", "zscore": "standard deviation", "robust": "interquartile range", "none": "V"}


@dataclass(frozen=True)
class Operator:
    """Whitened = matrix @ (x - mean), then the clamp.

    Attributes
    ----------
    mean : ndarray [n_channels]
        V.
    matrix : ndarray [n_channels, n_channels]
        1/V (none: 1).
    """

    mean: np.ndarray
    matrix: np.ndarray

    def apply(self, epochs: np.ndarray, clamp: float | None = None) -> np.ndarray:
        """Whiten epochs [n, n_channels, n_times]."""
        whitened = self.matrix @ (epochs - self.mean[:, None])
        return whitened if clamp is None else np.clip(whitened, -clamp, clamp)


class Fit(Protocol):
    """Collects training epochs, then gives the operator."""

    def add(self, epochs: np.ndarray) -> None:
        """Take training epochs [n, n_channels, n_times], V."""

    def operator(self) -> Operator:
        """The operator of all epochs so far."""


class NoneFit:
    """Leaves the trials as they are."""

    def __init__(self, channels: list[str]) -> None:
        self.size = len(channels)

    def add(self, epochs: np.ndarray) -> None:
        """Nothing to fit."""

    def operator(self) -> Operator:
        """The identity."""
        return Operator(np.zeros(self.size), np.eye(self.size))


class ZscoreFit:
    """Mean and standard deviation per channel over training trials and times."""

    def __init__(self, channels: list[str]) -> None:
        self.channels = channels
        self.count = 0
        self.mean = np.zeros(len(channels))
        self.squares = np.zeros(len(channels))

    def add(self, epochs: np.ndarray) -> None:
        """Join the moments of a batch to the running ones (Chan et al. 1983)."""
        count = epochs.shape[0] * epochs.shape[2]
        if not count:
            return
        mean = epochs.mean(axis=(0, 2), dtype=float)
        squares = ((epochs - mean[:, None]) ** 2).sum(axis=(0, 2), dtype=float)
        total = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def operator(self) -> Operator:
        """Subtract the mean, divide by the standard deviation."""
        deviation = np.sqrt(self.squares / max(self.count, 1))
        _refuse_flat(deviation, self.channels)
        return Operator(self.mean.copy(), np.diag(1 / deviation))


class RobustFit:
    """Median and interquartile range per channel over training trials and times.

    Exact up to 2^24 values (all channels); beyond that, of every k-th trial so that memory stays bounded.

    Parameters
    ----------
    channels : list of str
        Names, for messages.
    trials : int
        Number of training trials that will come, at most.
    """

    def __init__(self, channels: list[str], trials: int) -> None:
        self.channels = channels
        self.trials = trials
        self.seen = 0
        self.kept: list[np.ndarray] = []

    def add(self, epochs: np.ndarray) -> None:
        """Keep every k-th trial."""
        stride = -(-self.trials * epochs.shape[1] * epochs.shape[2] // ROBUST_VALUES) or 1
        self.kept.append(epochs[-self.seen % stride :: stride].astype(np.float32))
        self.seen += len(epochs)

    def operator(self) -> Operator:
        """Subtract the median, divide by the interquartile range."""
        values = np.concatenate(self.kept)
        quartiles = [np.percentile(values[:, index], (25, 50, 75)) for index in range(values.shape[1])]
        low, median, high = np.array(quartiles, dtype=float).T
        _refuse_flat(high - low, self.channels)
        return Operator(median, np.diag(1 / (high - low)))


class MvnnFit:
    """Mean of the shrunk covariances of single training epochs."""

    def __init__(self, channels: list[str]) -> None:
        self.channels = channels
        self.count = 0
        self.sum = np.zeros((len(channels), len(channels)))

    def add(self, epochs: np.ndarray) -> None:
        """Add the covariance of each epoch."""
        self.sum += shrunk_covariances(epochs).sum(axis=0)
        self.count += len(epochs)

    def operator(self) -> Operator:
        """Inverse square root of the mean covariance; no mean is subtracted (the baseline was)."""
        covariance = self.sum / max(self.count, 1)
        _refuse_flat(np.sqrt(np.diag(covariance)), self.channels)
        return Operator(np.zeros(len(covariance)), inverse_square_root(covariance))


def fit(whitening: Whitening, channels: list[str], trials: int) -> Fit:
    """An empty fit of the wanted kind, for at most ``trials`` training trials."""
    if whitening.kind == "mvnn":
        return MvnnFit(channels)
    if whitening.kind == "zscore":
        return ZscoreFit(channels)
    if whitening.kind == "robust":
        return RobustFit(channels, trials)
    return NoneFit(channels)


def average(operators: Iterable[Operator]) -> Operator:
    """Mean of operators, for a session that has no training trial of its own."""
    found = list(operators)
    return Operator(np.mean([each.mean for each in found], axis=0), np.mean([each.matrix for each in found], axis=0))


def shrunk_covariances(epochs: np.ndarray) -> np.ndarray:
    """Ledoit-Wolf covariance over time of each epoch.

    Channels are standardised before shrinking and scaled back after, as scikit-learn's discriminant analysis and
    with it the THINGS-EEG2 code do (``shrinkage="auto"``): shrinkage then goes towards a diagonal of the channels'
    own variances, so a noisy electrode does not blur the others.

    Parameters
    ----------
    epochs : ndarray [n, n_channels, n_times]
        V.

    Returns
    -------
    ndarray [n, n_channels, n_channels]
        V².
    """
    x = epochs.astype(float)
    x -= x.mean(axis=2, keepdims=True)
    scale = x.std(axis=2, keepdims=True)
    x /= np.where(scale == 0, 1.0, scale)
    _, channels, times = x.shape
    empirical = x @ x.transpose(0, 2, 1) / times
    mean_variance = np.trace(empirical, axis1=1, axis2=2) / channels
    power = (empirical**2).sum(axis=(1, 2))
    fourth = ((x**2).sum(axis=1) ** 2).sum(axis=1)
    noise = (fourth / times - power) / (channels * times)
    distance = power / channels - mean_variance**2
    noise = np.minimum(noise, distance)
    shrinkage = np.divide(noise, distance, out=np.zeros_like(noise), where=(noise > 0) & (distance > 0))
    weight = shrinkage[:, None, None]
    shrunk = (1 - weight) * empirical + weight * mean_variance[:, None, None] * np.eye(channels)
    return shrunk * scale * scale.transpose(0, 2, 1)


def inverse_square_root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric inverse square root; directions without variance (average reference) are set to zero."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values.max() * np.finfo(float).eps * len(values)
    roots = np.divide(1.0, np.sqrt(values, where=kept, out=np.ones_like(values)), where=kept, out=np.zeros_like(values))
    return (vectors * roots) @ vectors.T


def _refuse_flat(deviation: np.ndarray, channels: list[str]) -> None:
    flat = [name for name, value in zip(channels, deviation) if not value > FLAT * np.median(deviation)]
    if flat:
        raise InputError(
            f"channel {', '.join(flat)} is flat over the training trials; whitening expects a signal in each channel\n"
            "  leave it out (responses.channels), or set responses.whitening.kind to none"
        )
