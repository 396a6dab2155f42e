"""Balanced accuracy: the mean over classes of the share of their queries with rank 1 (recall)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip.retrieval.metric_base import MetricBase, Statistic


class Metric(MetricBase):
    """Top-1 in which every class counts the same: guessing gives chance, even if classes are unequal."""

    statistic: ClassVar[Statistic] = "share"
    of_classes: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """``Balanced accuracy``."""
        return "Balanced accuracy"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
        """1 if the right class is the most similar one, else 0."""
        return (np.asarray(rank) == 1).astype(np.float64)

    def chance(self, n_candidates: int) -> float:
        """``1 / G``."""
        return 1 / n_candidates

    def applies(self, n_candidates: int) -> bool:
        """With at least two classes."""
        return n_candidates >= 2
