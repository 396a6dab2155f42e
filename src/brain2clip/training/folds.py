"""Folds of training responses, for choices and fits on predictions of left-out responses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brain2clip.stage import InputError


def folds(count: int, concept: np.ndarray, setting: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows kept and rows left out, fold by fold: disjoint in concepts; for few categories, in time.

    Parameters
    ----------
    count : int
        Number of folds.
    concept : ndarray [n] of str
        Concept of every response, in the order of trials.
    setting : str
        Which setting asks for them, for the error.

    Raises
    ------
    InputError
        Where there are fewer responses than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold  # seconds to import: only where folds are made

    names = np.unique(concept)
    if len(names) >= 2 * count:
        return GroupKFold(count).split(concept, groups=concept)
    if len(concept) < count:
        raise InputError(
            f"{setting}: {count} needs at least that many training responses; found {len(concept)}, of {len(names)} "
            "concepts. If the stimuli are a few categories, average_repetitions: true leaves one response for each: "
            "set average_repetitions: false, or take fewer folds"
        )
    return KFold(count).split(concept)
