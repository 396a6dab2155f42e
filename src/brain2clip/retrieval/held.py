"""How well linear regression on picture features predicts the drive of a simulated brain.

From arrays to a table. Everything is fitted to training pictures; the penalty is chosen on held-out training concepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip.training.folds import folds

Floats = NDArray[np.floating]

ALPHAS = tuple(10.0**power for power in range(-1, 6))
FOLDS = 5


def held(
    features: Mapping[str, Floats],
    drives: Mapping[str, Floats],
    concept: Sequence[str],
    training: NDArray[np.bool_],
    alphas: Sequence[float] = ALPHAS,
) -> pd.DataFrame:
    """Predict each drive from each set of features by ridge regression, in test pictures.

    Parameters
    ----------
    features : dict of array, shape (n_pictures, any)
        Picture features by name: the embedding, the patch grid after a block. They are standardised over the training
        pictures.
    drives : dict of array, shape (n_pictures, n_dimensions)
        Features that drive the responses, by name: the standardised features of a level, or the components of a
        subject.
    concept : sequence of str, length n_pictures
        Concepts of the training pictures make the folds in which the penalty is chosen, for each pair by itself.
    training : array of bool, shape (n_pictures,)
        Training pictures; all others are test pictures.
    alphas : sequence of float
        Penalties, on standardised features.

    Returns
    -------
    DataFrame
        Columns ``features``, ``drive``, ``r2`` and ``alpha``. ``r2`` is the share of the sum of squares around the mean
        over training pictures, all dimensions together, that the prediction takes away in test pictures: 1 at best,
        0 for features that tell nothing.
    """
    y = np.concatenate(list(drives.values()), axis=1, dtype=np.float64)
    edges = np.cumsum([0, *(values.shape[1] for values in drives.values())])
    parts = [slice(first, last) for first, last in itertools.pairwise(edges)]
    rows = np.flatnonzero(training)
    inner = [
        (np.setdiff1d(rows, rows[left_out]), rows[left_out])
        for _, left_out in folds(FOLDS, np.asarray(concept)[rows], "folds")
    ]
    found = []
    for features_name, values in features.items():
        x = np.asarray(values, dtype=np.float64).reshape(len(y), -1)
        scores = np.zeros((len(alphas), len(parts)))
        for kept, left_out in inner:
            for number, alpha in enumerate(alphas):
                scores[number] += _explained(x, y, kept, left_out, alpha, parts)
        for drive, part, best in zip(drives, parts, scores.argmax(0)):
            (r2,) = _explained(x, y[:, part], rows, np.flatnonzero(~training), alphas[best], [slice(None)])
            found.append((features_name, drive, float(r2), alphas[best]))
    return pd.DataFrame(found, columns=["features", "drive", "r2", "alpha"])


def _explained(
    x: Floats, y: Floats, fitted: NDArray[np.int64], tested: NDArray[np.int64], alpha: float, parts: Sequence[slice]
) -> Floats:
    """R2 of each part of the columns of y in the tested rows."""
    from sklearn.linear_model import Ridge  # seconds to import: only where it is fitted

    mean, deviation = x[fitted].mean(0), x[fitted].std(0)
    standard = np.where(deviation > 1e-12, (x - mean) / np.maximum(deviation, 1e-12), 0)
    away = y[tested] - y[fitted].mean(0)
    left = y[tested] - Ridge(alpha).fit(standard[fitted], y[fitted]).predict(standard[tested])
    return np.array([1 - (left[:, part] ** 2).sum() / (away[:, part] ** 2).sum() for part in parts])
