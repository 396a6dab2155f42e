"""Ridge regression from brain responses to the frozen CLIP embedding: the linear baseline.

The penalty is chosen by cross-validation over training concepts, scored by retrieval among the pictures of the fold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge as SkRidge
from sklearn.model_selection import GroupKFold, KFold

from brain2clip.settings import Ridge
from brain2clip.training.data import Responses


def fit(
    responses: Responses, embedding: np.ndarray, concept: np.ndarray, settings: Ridge
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Fit weights [C*T, d] and intercept [d] on standardised inputs, folded back to raw inputs.

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
    x = responses.values.reshape(len(responses.values), -1).astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-12
    x = (x - mean) / deviation
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    y = unit[responses.stimulus].astype(np.float64)
    groups = concept[responses.stimulus]
    scores: dict[float, list[float]] = {alpha: [] for alpha in settings.alphas}
    for train, test in _folds(settings.folds, groups):
        for alpha in settings.alphas:
            model = SkRidge(alpha=alpha).fit(x[train], y[train])
            scores[alpha].append(_retrieval(model.predict(x[test]), responses.stimulus[test], unit, y[train].mean(0)))
    history = pd.DataFrame(
        {
            "alpha": settings.alphas,
            "held_out_mrr": [float(np.mean(scores[alpha])) for alpha in settings.alphas],
        }
    )
    best = settings.alphas[int(np.argmax(history["held_out_mrr"]))]
    model = SkRidge(alpha=best).fit(x, y)
    weight = model.coef_.T / deviation[:, None]
    tensors = {
        "weight": weight,
        "intercept": model.intercept_ - mean @ weight,
        "centre": y.mean(axis=0),
    }
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
