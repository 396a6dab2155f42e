"""From similarities of queries and candidates to ranks and best candidates. NumPy only.

A rank is 1-based: 1 means that the right candidate is the most similar one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(similarity: ArrayLike, target: ArrayLike) -> NDArray[np.int64]:
    """Rank of the right candidate of every query.

    A tie counts as an error: constant similarities give the last rank.

    Parameters
    ----------
    similarity : array [n_queries, n_candidates]
        Larger is more similar.
    target : array [n_queries]
        Column of the right candidate.

    Returns
    -------
    array [n_queries], int64
        1 (best) to n_candidates.

    Raises
    ------
    ValueError
        If a similarity is not finite.
    """
    similarity = np.asarray(similarity)
    target = np.asarray(target, dtype=np.int64)
    if similarity.ndim != 2 or target.shape != similarity.shape[:1]:
        raise ValueError(f"similarity {similarity.shape} and target {target.shape} must be [Q, G] and [Q]")
    n_candidates = similarity.shape[1]
    if target.size and not (target.min() >= 0 and target.max() < n_candidates):
        raise ValueError(f"a target is outside the {n_candidates} candidates")
    if not np.isfinite(similarity).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(similarity))} of {similarity.size} similarities not finite")
    own = np.take_along_axis(similarity, target[:, None], axis=1)
    return n_candidates - np.count_nonzero(similarity < own, axis=1).astype(np.int64)


def margins(similarity: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Similarity of the right candidate minus that of the best other one, [n_queries]; NaN with a single candidate."""
    similarity = np.array(similarity, dtype=np.float64)
    target = np.asarray(target, dtype=np.int64)
    if similarity.shape[1] < 2:
        return np.full(len(target), np.nan)
    queries = np.arange(len(target))
    own = similarity[queries, target]
    similarity[queries, target] = -np.inf
    return own - similarity.max(axis=1)


def best(similarity: ArrayLike, k: int = 10) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The most similar candidates of every query, best first; of equal ones the lower column comes first.

    Parameters
    ----------
    similarity : array [n_queries, n_candidates]
    k : int
        At most this many.

    Returns
    -------
    indices : array [n_queries, min(k, n_candidates)], int64
    values : array of the same shape
    """
    similarity = np.asarray(similarity)
    indices = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return indices.astype(np.int64), np.take_along_axis(similarity, indices, axis=1)
