"""Ridge regression from brain responses to the frozen CLIP embedding: the linear baseline.

The penalty is chosen by cross-validation over training concepts, scored by retrieval among the pictures of the fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.linalg
import torch
from sklearn.model_selection import GroupKFold, KFold

from brain2clip.settings import Ridge
from brain2clip.training.data import Responses

ROWS_AT_ONCE = 8192


@dataclass
class Moments:
    """Sums over rows that a ridge regression needs; those of a fold can be taken away from those of all.

    Attributes
    ----------
    n : int
    x, y : ndarray [p], [d]
        Sums of inputs and targets.
    xx, xy : ndarray [p, p], [p, d]
        Sums of products.
    """

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Moments:
        """Moments of rows, some thousand at a time in double precision."""
        total = cls(
            0, *(np.zeros(shape) for shape in (x.shape[1], y.shape[1], (x.shape[1],) * 2, (x.shape[1], y.shape[1])))
        )
        for start in range(0, len(x), ROWS_AT_ONCE):
            part, target = x[start : start + ROWS_AT_ONCE].astype(np.float64), y[start : start + ROWS_AT_ONCE]
            total.n += len(part)
            total.x += part.sum(axis=0)
            total.y += target.sum(axis=0)
            total.xx += part.T @ part
            total.xy += part.T @ target
        return total

    def without(self, other: Moments) -> Moments:
        """Moments of the rows that are not the other's."""
        return Moments(*(own - his for own, his in zip(vars(self).values(), vars(other).values())))


class Solutions:
    """Ridge solutions for any penalty from one eigendecomposition of the correlation matrix of the inputs.

    Inputs are standardised with these rows' own mean and deviation, targets are centred; weights are given for raw
    inputs.
    """

    def __init__(self, moments: Moments) -> None:
        self.mean_x, self.mean_y = moments.x / moments.n, moments.y / moments.n
        covariance = moments.xx - moments.n * np.outer(self.mean_x, self.mean_x)
        self.deviation = np.sqrt(np.maximum(np.diag(covariance) / moments.n, 0)) + 1e-12
        scaled = covariance / np.outer(self.deviation, self.deviation)
        self.values, self.vectors = scipy.linalg.eigh(scaled)
        cross = (moments.xy - moments.n * np.outer(self.mean_x, self.mean_y)) / self.deviation[:, None]
        self.projected = self.vectors.T @ cross

    def at(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights [p, d] and intercept [d] for raw inputs: (X'X + alpha I)^-1 X'Y on standardised inputs."""
        weight = self.vectors @ (self.projected / (np.maximum(self.values, 0) + alpha)[:, None])
        weight /= self.deviation[:, None]
        return weight, self.mean_y - self.mean_x @ weight


def fit(
    responses: Responses, embedding: np.ndarray, concept: np.ndarray, settings: Ridge
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Fit weights [C*T, d] and intercept [d] for raw responses.

    Memory is that of the responses and a few matrices [C*T, C*T]; no fold is copied.

    Parameters
    ----------
    responses : Responses
        Training responses, n rows.
    embedding : ndarray [n_stimuli, d]
        Frozen embeddings; only rows of training stimuli are used.
    concept : ndarray [n_stimuli] of str
        For concept-disjoint folds.

    Returns
    -------
    tensors, history
        ``weight``, ``intercept``, ``centre`` (mean training embedding, for cosine ranking); one row per penalty with
        ``alpha`` and ``held_out_mrr`` (mean reciprocal rank in the folds).
    """
    x = responses.values.reshape(len(responses.values), -1)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    y = unit[responses.stimulus].astype(np.float64)
    everything = Moments.of(x, y)
    scores: dict[float, list[float]] = {alpha: [] for alpha in settings.alphas}
    for _, test in _folds(settings.folds, concept[responses.stimulus]):
        inner = Solutions(everything.without(Moments.of(x[test], y[test])))
        for alpha in settings.alphas:
            weight, intercept = inner.at(alpha)
            predicted = x[test] @ weight.astype(np.float32) + intercept
            scores[alpha].append(_retrieval(predicted, responses.stimulus[test], unit, inner.mean_y))
    history = pd.DataFrame(
        {
            "alpha": settings.alphas,
            "held_out_mrr": [float(np.mean(scores[alpha])) for alpha in settings.alphas],
        }
    )
    best = settings.alphas[int(np.argmax(history["held_out_mrr"]))]
    weight, intercept = Solutions(everything).at(best)
    centre = everything.y / everything.n
    tensors = {"weight": weight, "intercept": intercept, "centre": centre, "stimulus_centre": centre}
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}, history


def _folds(count: int, groups: np.ndarray):
    """Concept-disjoint folds; for a study of few categories, folds of trials in time order."""
    if len(np.unique(groups)) >= 2 * count:
        return GroupKFold(count).split(groups, groups=groups)
    return KFold(count).split(groups)


def _retrieval(predicted: np.ndarray, stimulus: np.ndarray, unit: np.ndarray, centre: np.ndarray) -> float:
    """Mean of 1 / rank of the true picture among the distinct pictures of the fold, by centred cosine."""
    candidates, target = np.unique(stimulus, return_inverse=True)
    queries, gallery = predicted - centre, unit[candidates] - centre
    queries /= np.linalg.norm(queries, axis=1, keepdims=True) + 1e-12
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True) + 1e-12
    similarity = queries @ gallery.T
    own = similarity[np.arange(len(target)), target]
    return float(np.mean(1 / (similarity >= own[:, None]).sum(axis=1)))
