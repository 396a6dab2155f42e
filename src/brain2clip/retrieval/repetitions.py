"""Which trials of a stimulus are averaged into one response."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
