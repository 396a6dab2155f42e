"""Median rank of the right candidate."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip.retrieval.metric_base import MetricBase, Statistic


class Metric(MetricBase):
    """Median of the ranks; 1 is best."""

    statistic: ClassVar[Statistic] = "median"

    @property
    def words(self) -> str:
        """``Median rank``."""
        return "Median rank"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
        """The rank itself, [n_queries]."""
        return np.asarray(rank, dtype=np.float64)

    def chance(self, n_candidates: int) -> float:
        """``(G + 1) / 2``."""
        return (n_candidates + 1) / 2
