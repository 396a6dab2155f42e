"""Top-k: whether the right candidate is among the k most similar ones."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip.retrieval.metric_base import MetricBase, Statistic


class Metric(MetricBase):
    """Top-k accuracy; its number is k."""

    statistic: ClassVar[Statistic] = "share"
    numbered: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """``Top-5``."""
        return f"Top-{self.number}"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
        """1 if the right candidate is among the k best, else 0."""
        return (np.asarray(rank) <= self.number).astype(np.float64)

    def chance(self, n_candidates: int) -> float:
        """``k / G``, 1 from k = G on."""
        return min(self.number / n_candidates, 1.0)

    def applies(self, n_candidates: int) -> bool:
        """With at least k candidates."""
        return self.number <= n_candidates
