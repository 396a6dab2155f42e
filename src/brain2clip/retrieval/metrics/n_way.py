"""n-way accuracy: whether the right candidate beats n - 1 others, as the exact mean over all choices of these."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip.retrieval.metric_base import MetricBase, Statistic


class Metric(MetricBase):
    """n-way accuracy; its number is n, including the right candidate."""

    statistic: ClassVar[Statistic] = "share"
    numbered: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """``10-way``."""
        return f"{self.number}-way"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
        """Probability that the right candidate beats n - 1 others drawn at random without replacement, [n_queries].

        Of the ``G - 1`` others, ``G - rank`` are worse, so the probability is ``C(G - rank, n - 1) / C(G - 1, n - 1)``
        (hypergeometric, exact: nothing is drawn). With n = G this is Top-1.
        """
        n = self.number
        if not 1 <= n <= n_candidates:
            raise ValueError(f"{n}-way needs 1 <= n <= {n_candidates} candidates")
        # From rank r to r + 1 the probability shrinks by (G - r - (n - 1)) / (G - r).
        worse = n_candidates - np.arange(1, n_candidates, dtype=np.float64)
        steps = np.clip((worse - (n - 1)) / worse, 0.0, None)
        by_rank = np.concatenate([[1.0], np.cumprod(steps)])
        return by_rank[np.asarray(rank, dtype=np.int64) - 1]

    def chance(self, n_candidates: int) -> float:
        """``1 / n``."""
        return 1.0 / self.number

    def applies(self, n_candidates: int) -> bool:
        """With at least n candidates."""
        return self.number <= n_candidates
