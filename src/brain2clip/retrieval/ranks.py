"""From similarities to ranks, and from ranks to metrics with their chance levels. NumPy only.

A rank is 1-based: 1 means that the true candidate is the most similar one.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_METRIC = re.compile(r"(?:top-(?P<top>[1-9]\d*)|(?P<way>[1-9]\d*)-way|(?P<statistic>median|mean)-rank)")


def ranks(similarity: ArrayLike, target: ArrayLike) -> NDArray[np.int64]:
    """Rank of the true candidate of every query.

    A tie counts against the query, and so does a value that is not a number: a similarity that is constant, or
    broken, gives the last rank and never looks good.

    Parameters
    ----------
    similarity : array [n_queries, n_candidates]
        Larger is more similar.
    target : array [n_queries]
        Column of the true candidate.

    Returns
    -------
    array [n_queries], int64
        1 (best) to n_candidates.
    """
    similarity = np.asarray(similarity)
    target = np.asarray(target, dtype=np.int64)
    if similarity.ndim != 2 or target.shape != similarity.shape[:1]:
        raise ValueError(f"similarity {similarity.shape} and target {target.shape} must be [Q, G] and [Q]")
    n_candidates = similarity.shape[1]
    if target.size and not (target.min() >= 0 and target.max() < n_candidates):
        raise ValueError(f"a target lies outside the {n_candidates} candidates")
    own = np.take_along_axis(similarity, target[:, None], axis=1)
    return n_candidates - np.count_nonzero(similarity < own, axis=1).astype(np.int64)


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


def top_k(rank: ArrayLike, k: int) -> NDArray[np.float64]:
    """1 where the true candidate is among the k best, else 0."""
    return (np.asarray(rank) <= k).astype(np.float64)


def n_way(rank: ArrayLike, n_candidates: int, n: int) -> NDArray[np.float64]:
    """Probability that the true candidate beats n - 1 others drawn at random without replacement.

    Of the ``G - 1`` others, ``G - rank`` are worse, so the probability is ``C(G - rank, n - 1) / C(G - 1, n - 1)``
    (hypergeometric, exact: nothing is drawn). With n = G this is Top-1.

    Parameters
    ----------
    rank : array [n_queries]
        1 to n_candidates.
    n_candidates : int
        G.
    n : int
        Number of alternatives, the true one included; at most G.

    Returns
    -------
    array [n_queries]
        0 to 1.
    """
    if not 1 <= n <= n_candidates:
        raise ValueError(f"{n}-way needs 1 <= n <= {n_candidates} candidates")
    # From rank r to r + 1 the probability shrinks by (G - r - (n - 1)) / (G - r).
    worse = n_candidates - np.arange(1, n_candidates, dtype=np.float64)
    steps = np.clip((worse - (n - 1)) / worse, 0.0, None)
    by_rank = np.concatenate([[1.0], np.cumprod(steps)])
    return by_rank[np.asarray(rank, dtype=np.int64) - 1]


def per_query(metric: str, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
    """What a metric is the mean of (for ``median-rank``: the median of), one value per query.

    Parameters
    ----------
    metric : str
        ``top-K``, ``N-way``, ``mean-rank`` or ``median-rank``.
    rank : array [n_queries]
    n_candidates : int
    """
    kind, number = parse(metric)
    if kind == "top":
        return top_k(rank, number)
    if kind == "way":
        return n_way(rank, n_candidates, number)
    return np.asarray(rank, dtype=np.float64)


def value(metric: str, rank: ArrayLike, n_candidates: int) -> float:
    """A metric over queries."""
    values = per_query(metric, rank, n_candidates)
    return float(np.median(values) if metric == "median-rank" else np.mean(values))


def chance(metric: str, n_candidates: int) -> float:
    """Expectation of a metric where every rank is equally likely.

    ``k / G`` for Top-k (1 from k = G on), ``1 / n`` for n-way, ``(G + 1) / 2`` for mean and median rank.
    """
    kind, number = parse(metric)
    if kind == "top":
        return min(number / n_candidates, 1.0)
    if kind == "way":
        return 1.0 / number
    return (n_candidates + 1) / 2


def applies(metric: str, n_candidates: int) -> bool:
    """Whether there are enough candidates for a metric."""
    return parse(metric)[1] <= n_candidates


def is_share(metric: str) -> bool:
    """Whether a metric is a share between 0 and 1 (Top-k, n-way), and not a rank."""
    return parse(metric)[0] in ("top", "way")


def parse(metric: str) -> tuple[str, int]:
    """Kind (``top``, ``way``, ``median``, ``mean``) and number (0 for ranks) of a metric's name."""
    found = _METRIC.fullmatch(metric)
    if found is None:
        raise ValueError(f"no metric named {metric!r}; known are top-K, N-way, median-rank and mean-rank")
    if found["top"]:
        return "top", int(found["top"])
    if found["way"]:
        return "way", int(found["way"])
    return found["statistic"], 0


def trial_groups(
    stimulus: ArrayLike, repetitions: int | Literal["all"], seed: int
) -> list[tuple[int, NDArray[np.int64]]]:
    """Disjoint groups of trials of one stimulus, to be averaged into one query each.

    The order in which the trials of a stimulus are used depends on the seed and the stimulus only, and groups are
    consecutive in that order. So groups nest: every group of 4 is the union of two groups of 2, and the trials that
    one repetition number uses are those that a multiple of it uses, up to the remainder. Trials that do not fill a
    group are left out.

    Parameters
    ----------
    stimulus : array [n_trials], int
        Stimulus number of every trial.
    repetitions : int or 'all'
        Trials per group; ``'all'``: one group per stimulus with all its trials.
    seed : int
        Not negative.

    Returns
    -------
    list of (stimulus, indices)
        Sorted by stimulus; indices [repetitions], ascending, into the trials.
    """
    stimulus = np.asarray(stimulus, dtype=np.int64)
    groups: list[tuple[int, NDArray[np.int64]]] = []
    for one in np.unique(stimulus):
        trials = np.flatnonzero(stimulus == one)
        if repetitions == "all":
            groups.append((int(one), trials))
            continue
        order = np.random.default_rng([seed, int(one)]).permutation(trials)
        usable = len(order) // repetitions * repetitions
        groups += [(int(one), np.sort(group)) for group in order[:usable].reshape(-1, repetitions)]
    return groups
