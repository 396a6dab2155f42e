"""Points of a tower's raw space, as generators take them, from what trained methods predict.

A method predicts a direction, or an embedding of about unit length; what the tower gives of a picture has a
length, and predictions of networks lie elsewhere than pictures do, also where no two pictures differ. A calibration is
a linear regression from the one to the other.

It is ridge regression towards a start of two numbers (:func:`start`), not towards nothing. Training stimuli were often
seen once and test stimuli many times: a whole matrix that is fitted to the noisier predictions takes from the better
ones what tells pictures apart. On the simulated fMRI study (480 pictures seen once, 50 seen twelve times, two subjects)
points towards nothing had a cosine of 0.55 and 0.55 to the seen pictures and told two of them apart in 93 and 89 % of
pairs, points towards the start 0.61 and 0.60, and 96 and 94 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain2clip.training.data import Stimuli
from brain2clip.training.method import Trained

#: Penalties that are tried, in parts of the largest eigenvalue of the directions' products; the last leave the start.
PENALTIES = np.logspace(-6, 3, 19)
#: Noise that is tried in the start, in parts of the largest variance of pictures.
NOISE = np.logspace(-6, 3, 37)
#: Name in a ridge checkpoint of the mean target, which its predictions are without.
CENTRE = "centre"


@dataclass(frozen=True)
class Calibration:
    """Linear regression with an intercept from directions to points.

    Attributes
    ----------
    weight : ndarray [d, d]
    intercept : ndarray [d]
    penalty : float
    """

    weight: NDArray[np.float64]
    intercept: NDArray[np.float64]
    penalty: float

    @classmethod
    def fit(cls, direction: NDArray[np.floating], point: NDArray[np.floating]) -> Calibration:
        """Ridge regression towards :func:`start`; the penalty has the smallest error of rows left out one by one.

        One singular value decomposition gives all of that: without row i the residual is that of the fit to all rows
        over 1 - h_ii, h being the matrix that takes targets to fitted values.

        Parameters
        ----------
        direction, point : ndarray [n, d]
        """
        x, y = direction.astype(np.float64), point.astype(np.float64)
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
        x, y = x - mean_x, y - mean_y
        weight = start(x, y)
        left, values, right = scipy.linalg.svd(x, full_matrices=False)
        rest, squared = y - x @ weight, values**2
        projected = left.T @ rest
        penalties = np.maximum(PENALTIES * squared[0], np.finfo(float).tiny)
        errors = []
        for penalty in penalties:
            kept = squared / (squared + penalty)
            without = 1 - 1 / len(x) - left**2 @ kept
            errors.append(float(np.mean(((rest - left @ (kept[:, None] * projected)) / without[:, None]) ** 2)))
        penalty = float(penalties[int(np.argmin(errors))])
        weight += right.T @ ((values / (squared + penalty))[:, None] * projected)
        return cls(weight, mean_y - mean_x @ weight, penalty)

    def __call__(self, direction: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points [n, d] of directions [n, p]."""
        return (direction.astype(np.float64) @ self.weight + self.intercept).astype(np.float32)

    def tensors(self, subject: str | None) -> dict[str, Tensor]:
        """For an artefact; of a joint model each subject has one."""
        found = {"weight": self.weight, "intercept": self.intercept, "penalty": self.penalty}
        return {named(name, subject): torch.tensor(one, dtype=torch.float64) for name, one in found.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], subject: str | None) -> Calibration:
        """Inverse of :meth:`tensors`."""
        weight, intercept, penalty = (
            tensors[named(name, subject)].numpy() for name in ("weight", "intercept", "penalty")
        )
        return cls(weight, intercept, float(penalty))


def start(direction: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [d, d] that shrink directions as far as pictures do not vary in them: a C (C + noise I)^-1.

    C is the covariance of the points. Points are expected to be there where directions are theirs with equal noise in
    each dimension; ``a`` and ``noise`` have the smallest squared error.

    Parameters
    ----------
    direction, point : ndarray [n, d]
        Without their means.
    """
    variance, axes = scipy.linalg.eigh(point.T @ point / len(point))
    variance = np.maximum(variance, 0)
    x, y = direction @ axes, point @ axes
    xx, xy = (x * x).sum(axis=0), (x * y).sum(axis=0)
    gains = variance / (variance + np.maximum(NOISE * variance[-1], np.finfo(float).tiny)[:, None])
    explained, norm = gains @ xy, np.maximum(gains**2 @ xx, np.finfo(float).tiny)
    best = int(np.argmax(explained**2 / norm))
    return (axes * (explained[best] / norm[best] * gains[best])) @ axes.T


def named(name: str, subject: str | None) -> str:
    """Name of a tensor, of a joint model with the subject's label."""
    return name if subject is None else f"{name}.{subject}"


@torch.inference_mode()
def own(side: Trained, tensors: Mapping[str, Tensor], stimuli: Stimuli, responses: Tensor) -> NDArray[np.float32]:
    """Points [n, d] by a method that predicts unit-length embeddings: its predictions times :func:`training_length`.

    Parameters
    ----------
    side : Trained
        Whose predictions are without the mean target.
    tensors : mapping
        Its checkpoint, which has that mean.
    stimuli : Stimuli
    responses : Tensor [n, ...]
    """
    predicted = side.brains(responses).cpu().float() + tensors[CENTRE]
    return (predicted * training_length(stimuli)).numpy()


def training_length(stimuli: Stimuli) -> float:
    """Mean length of the raw embeddings of training pictures."""
    training = np.isin(stimuli["split"].asstr()[:], ["train", "both"])
    return float(np.linalg.norm(stimuli["embedding"][:][training], axis=1).mean())
