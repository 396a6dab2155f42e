"""Ridge regression from brain responses to frozen vectors of pictures, or to embeddings of texts: the linear baseline.

The penalty is chosen by cross-validation over training concepts, scored by retrieval among the pictures of the fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import pandas as pd
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.settings import Ridge
from brain2clip.stage import InputError
from brain2clip.training import balance, cost, targets
from brain2clip.training.data import Responses
from brain2clip.training.folds import folds
from brain2clip.training.method import Checkpoint, Study, Trained
from brain2clip.training.texts import NO_TEXT_CENTRE, Texts, prompts

ROWS_AT_ONCE = 8192


class Method:
    """Ridge regression, and the means of both modalities over the training responses' stimuli.

    Parameters
    ----------
    settings : Ridge
    """

    def __init__(self, settings: Ridge) -> None:
        self.settings = settings

    def train(self, study: Study) -> tuple[dict[str, Tensor], pd.DataFrame]:
        """Weights and means, and a row per penalty."""
        (responses,) = study.sets
        rows, place = np.unique(responses.stimulus, return_inverse=True)
        readout = targets.fitted(self.settings.readout, study.stimuli, rows)
        embedding = targets.read(readout, self.settings.readout, study.stimuli)
        unit = embedding[rows] / np.linalg.norm(embedding[rows], axis=1, keepdims=True)
        weight = None if study.classes is None else balance.weights(study.classes)
        centres = {"stimulus_centre": mean_of(unit[place], weight)}
        texts = Texts(study.stimuli)
        spoken = texts.centre(responses.stimulus, weight)
        if spoken is not None:
            centres["text_centre"] = spoken
        if self.settings.target == "text":
            texts.require(rows, "target: text")
            target = np.full_like(embedding, np.nan)
            target[rows] = texts.means(rows)
        elif self.settings.target == "stimulus":
            target = embedding
        else:
            assert_never(self.settings.target)
        concept = study.stimuli["concept"].asstr()[:]
        meter = cost.Meter()
        tensors, history = fit(responses, target, concept, self.settings, weight)
        # All penalties are solved together, so each row has an equal part.
        history = history.assign(**{name: spent / len(history) for name, spent in meter.read().items()}, device="cpu")
        tensors |= {name: torch.from_numpy(value.astype(np.float32)) for name, value in centres.items()}
        return tensors | targets.tensors(readout), history

    def ready(self, checkpoint: Checkpoint) -> Regression:
        """The weights of a checkpoint."""
        return Regression(self.settings, checkpoint)


class Regression(Trained):
    """Ridge regression; every modality is centred by its own mean over training stimuli."""

    length_tells = True

    def __init__(self, settings: Ridge, checkpoint: Checkpoint) -> None:
        self.tensors, self.file, self.settings = checkpoint.tensors, checkpoint.stimuli, settings
        self.readout = targets.restored(settings.readout, self.file, self.tensors)
        self.centre = self.tensors["stimulus_centre"]

    def brains(self, responses: Tensor) -> Tensor:
        """Predicted embedding without its training mean."""
        predicted = responses.cpu().flatten(1) @ self.tensors["weight"] + self.tensors["intercept"]
        return predicted - self.tensors["centre"]

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Centred embedding of pictures."""
        embedding = torch.from_numpy(targets.read(self.readout, self.settings.readout, self.file, rows))
        return F.normalize(embedding, dim=-1) - self.tensors["stimulus_centre"]

    def texts(self, unit: Tensor) -> Tensor:
        """Centred embedding of texts."""
        if "text_centre" not in self.tensors:
            raise InputError(NO_TEXT_CENTRE.format(who="ridge regression"))
        return self.readout.of_texts(unit - self.tensors["text_centre"], centred=True)

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Centred mean embedding of the prompts of each concept."""
        return self.texts(torch.from_numpy(prompts(self.file, rows)))


def mean_of(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Mean over rows in double precision, weighted where there are weights [n]."""
    return values.mean(axis=0, dtype=np.float64) if weight is None else np.average(values, axis=0, weights=weight)


@dataclass
class Moments:
    """Sums over rows that a ridge regression needs; those of a fold can be taken away from those of all.

    Attributes
    ----------
    n : float
        Number of rows, or sum of their weights.
    x, y : ndarray [p], [d]
        Sums of inputs and targets.
    xx, xy : ndarray [p, p], [p, d]
        Sums of products.
    """

    n: float
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Moments:
        """Moments of rows, some thousand at a time in double precision."""
        total = cls(
            0, *(np.zeros(shape) for shape in (x.shape[1], y.shape[1], (x.shape[1],) * 2, (x.shape[1], y.shape[1])))
        )
        for start in range(0, len(x), ROWS_AT_ONCE):
            part, target = x[start : start + ROWS_AT_ONCE].astype(np.float64), y[start : start + ROWS_AT_ONCE]
            counted, n = part, float(len(part))
            if weight is not None:
                own = weight[start : start + ROWS_AT_ONCE, None]
                counted, n = part * own, own.sum()
                total.y += (target * own).sum(axis=0)
            else:
                total.y += target.sum(axis=0)
            total.n += n
            total.x += counted.sum(axis=0)
            total.xx += counted.T @ part
            total.xy += counted.T @ target
        return total

    def without(self, other: Moments) -> Moments:
        """Moments of the rows that are not the other's."""
        return Moments(*(own - his for own, his in zip(vars(self).values(), vars(other).values())))


class Primal:
    """Ridge solutions for any penalty from one eigendecomposition of the correlation matrix of the inputs [p, p].

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

    def predicted(self, x: np.ndarray, alphas: Sequence[float]) -> Iterator[np.ndarray]:
        """Predictions [n, d] for raw inputs, for each penalty."""
        for alpha in alphas:
            weight, intercept = self.at(alpha)
            yield x @ weight.astype(np.float32) + intercept


class Dual:
    """The same solutions from the products between rows [n, n], for more inputs than rows.

    ``(X'X + alpha I)^-1 X'Y = X' (XX' + alpha I)^-1 Y``.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        self.mean_x, self.mean_y = mean_of(x, weight), mean_of(y, weight)
        spread = x.std(axis=0, dtype=np.float64)
        if weight is not None:
            spread = np.sqrt(np.average((x - self.mean_x) ** 2, axis=0, weights=weight))
        self.deviation = spread + 1e-12
        root = np.ones((1, 1)) if weight is None else np.sqrt(weight)[:, None]
        self.rows = self._standard(x) * root
        self.values, self.vectors = scipy.linalg.eigh(self.rows @ self.rows.T)
        self.projected = self.vectors.T @ ((y - self.mean_y) * root)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean_x) / self.deviation

    def _coefficients(self, alpha: float) -> np.ndarray:
        """(XX' + alpha I)^-1 Y [n, d]."""
        return self.vectors @ (self.projected / (np.maximum(self.values, 0) + alpha)[:, None])

    def at(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights [p, d] and intercept [d] for raw inputs."""
        weight = self.rows.T @ self._coefficients(alpha) / self.deviation[:, None]
        return weight, self.mean_y - self.mean_x @ weight

    def predicted(self, x: np.ndarray, alphas: Sequence[float]) -> Iterator[np.ndarray]:
        """Predictions [n, d] for raw inputs, for each penalty; weights are not needed."""
        products = self._standard(x) @ self.rows.T
        for alpha in alphas:
            yield products @ self._coefficients(alpha) + self.mean_y


class Problem:
    """Solutions for all rows, or without those of a fold, in the smaller of the two spaces.

    Memory is that of the responses and a few matrices [p, p] with more rows than inputs (no fold is copied), and of
    the standardised responses in double precision and a few matrices [n, n] otherwise.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        self.x, self.y, self.weight = x, y, weight
        self.moments = Moments.of(x, y, weight) if len(x) >= x.shape[1] else None

    def solutions(self, without: np.ndarray | None = None) -> Primal | Dual:
        """Solutions of all rows, or of those that are not in a fold."""
        if self.moments is not None:
            return Primal(self.moments if without is None else self.moments.without(self._moments_of(without)))
        kept = slice(None) if without is None else np.setdiff1d(np.arange(len(self.x)), without)
        return Dual(self.x[kept], self.y[kept], self._weight_of(kept))

    def _moments_of(self, rows: np.ndarray) -> Moments:
        return Moments.of(self.x[rows], self.y[rows], self._weight_of(rows))

    def _weight_of(self, rows: np.ndarray | slice) -> np.ndarray | None:
        return None if self.weight is None else self.weight[rows]


def fit(
    responses: Responses,
    embedding: np.ndarray,
    concept: np.ndarray,
    settings: Ridge,
    weight: np.ndarray | None = None,
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Fit weights [p, d] and intercept [d] for raw responses, p being C*T or V.

    Parameters
    ----------
    responses : Responses
        Training responses, n rows.
    embedding : ndarray [n_stimuli, d]
        Targets; only rows of training stimuli are used.
    concept : ndarray [n_stimuli] of str
        For concept-disjoint folds.
    weight : ndarray [n], optional
        Of the responses, in the fit and in the choice of the penalty.

    Returns
    -------
    tensors, history
        ``weight``, ``intercept``, ``centre`` (mean training target, for cosine ranking); one row per penalty with
        ``alpha`` and ``held_out_mrr`` (mean reciprocal rank in the folds).
    """
    x = responses.values.reshape(len(responses.values), -1)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    y = unit[responses.stimulus].astype(np.float64)
    problem = Problem(x, y, weight)
    scores: dict[float, list[float]] = {alpha: [] for alpha in settings.alphas}
    for _, test in folds(settings.folds, concept[responses.stimulus], "folds"):
        inner = problem.solutions(without=test)
        for alpha, predicted in zip(settings.alphas, inner.predicted(x[test], settings.alphas)):
            own = None if weight is None else weight[test]
            scores[alpha].append(_retrieval(predicted, responses.stimulus[test], unit, inner.mean_y, own))
    history = pd.DataFrame(
        {
            "alpha": settings.alphas,
            "held_out_mrr": [float(np.mean(scores[alpha])) for alpha in settings.alphas],
        }
    )
    best = settings.alphas[int(np.argmax(history["held_out_mrr"]))]
    chosen = problem.solutions()
    weight, intercept = chosen.at(best)
    tensors = {"weight": weight, "intercept": intercept, "centre": chosen.mean_y}
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}, history


def _retrieval(
    predicted: np.ndarray, stimulus: np.ndarray, unit: np.ndarray, centre: np.ndarray, weight: np.ndarray | None
) -> float:
    """Mean of 1 / rank of the true picture among the distinct pictures of the fold, by centred cosine."""
    candidates, target = np.unique(stimulus, return_inverse=True)
    queries, gallery = predicted - centre, unit[candidates] - centre
    queries /= np.linalg.norm(queries, axis=1, keepdims=True) + 1e-12
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True) + 1e-12
    similarity = queries @ gallery.T
    own = similarity[np.arange(len(target)), target]
    return float(np.average(1 / (similarity >= own[:, None]).sum(axis=1), weights=weight))
