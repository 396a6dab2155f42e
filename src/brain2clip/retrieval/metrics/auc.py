"""Area under the ROC curve of two classes: how often a query of a class is more similar to it than one of the other."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip.retrieval.metric_base import MetricBase, Statistic


class Metric(MetricBase):
    """AUC of two classes, without a threshold between them.

    The value of a query is its placement (DeLong et al. 1988, Biometrics 44:837), the share of queries of the other
    class that it is told from, doubled about the AUC: the mean over classes of these is the AUC, and resampling them
    within classes has its scatter.
    """

    statistic: ClassVar[Statistic] = "share"
    of_classes: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """``AUC``."""
        return "AUC"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NoReturn:
        """Not possible: an AUC cannot be computed from ranks."""
        raise ValueError("an AUC is computed from the margins of all queries of a run, not from the rank of one query")

    def of_run(self, rank: ArrayLike, n_candidates: int, target: ArrayLike, margin: ArrayLike) -> NDArray[np.float64]:
        """Doubled placements, [n_queries]; NaN if only one of the two classes has queries."""
        target, margin = np.asarray(target), np.asarray(margin, dtype=np.float64)
        first = target == target[0]
        if first.all():
            return np.full(len(target), np.nan)
        placed = np.empty(len(target))
        for own in (first, ~first):
            # Towards its own class: a query's margin. Of a query of the other class: the margin's negative.
            others = np.sort(-margin[~own])
            below, through = (np.searchsorted(others, margin[own], side=side) for side in ("left", "right"))
            placed[own] = (below + through) / (2 * len(others))
        return 2 * placed - placed[first].mean()

    def chance(self, n_candidates: int) -> float:
        """One half."""
        return 0.5

    def applies(self, n_candidates: int) -> bool:
        """With two classes."""
        return n_candidates == 2
