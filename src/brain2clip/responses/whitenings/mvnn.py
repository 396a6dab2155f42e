"""Multivariate noise normalisation (Guggenmos, Sterzer and Cichy 2018, NeuroImage 173) in its epoch-wise form.

The covariance over the time points of each single training epoch, shrunk after Ledoit and Wolf (2004, J. Multivar.
Anal. 88), averaged over epochs; whitening is its inverse square root.
"""

from __future__ import annotations

import numpy as np

from brain2clip.responses.whitening import Fit, Operator, refuse_flat
from brain2clip.settings import WhiteningBase

#: Epochs that are in work at the same time: so many fit into the processor's cache.
AT_ONCE = 4


class Whitening(Fit):
    """Mean of the shrunk covariances of single training epochs."""

    def __init__(self, settings: WhiteningBase, channels: list[str], trials: int) -> None:
        super().__init__(settings, channels, trials)
        self.count = 0
        self.sum = np.zeros((len(channels), len(channels)))

    def add(self, epochs: np.ndarray) -> None:
        """Add the covariance of each epoch."""
        for begin in range(0, len(epochs), AT_ONCE):
            self.sum += shrunk_covariances(epochs[begin : begin + AT_ONCE]).sum(axis=0)
        self.count += len(epochs)

    def operator(self) -> Operator:
        """Inverse square root of the mean covariance; no mean is subtracted (the baseline was)."""
        covariance = self.sum / max(self.count, 1)
        refuse_flat(np.sqrt(np.diag(covariance)), self.channels)
        return Operator(np.zeros(len(covariance)), inverse_square_root(covariance))


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
    channels, times = epochs.shape[1:]
    x = epochs - epochs.mean(axis=2, keepdims=True, dtype=float)
    scale = np.sqrt(np.einsum("nct,nct->nc", x, x) / times)[:, :, None]
    x /= np.where(scale == 0, 1.0, scale)
    empirical = x @ x.transpose(0, 2, 1) / times
    mean_variance = np.trace(empirical, axis1=1, axis2=2) / channels
    power = (empirical**2).sum(axis=(1, 2))
    fourth = (np.einsum("nct,nct->nt", x, x) ** 2).sum(axis=1)
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
