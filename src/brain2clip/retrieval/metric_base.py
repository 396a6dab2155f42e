"""Base of retrieval metrics: a value for each query, from its rank or, over classes, from its margin.

Each metric is a module of :mod:`brain2clip.retrieval.metrics`. A metric of your own is a subclass of
:class:`MetricBase` in a module that Python finds, and is named in the configuration as ``package.module:Class``.
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain2clip import kinds
from brain2clip.names import MetricName

#: How the values of queries are combined (see ``statistics.bootstrap_interval``).
Statistic = Literal["mean", "share", "median"]


class MetricBase:
    """A metric: its value for each query, and at chance.

    Parameters
    ----------
    number : int or None
        Number in its name: 5 for ``top-5``, 10 for ``10-way``, None if there is none.
    """

    #: ``mean`` or ``median`` over queries; ``share``: the mean of values between 0 and 1, written in percent.
    statistic: ClassVar[Statistic] = "mean"
    #: Whether its name has a number.
    numbered: ClassVar[bool] = False
    #: Whether every class counts the same for any number of queries: the mean over classes of the mean over their
    #: queries. Computed only if the candidates are classes.
    of_classes: ClassVar[bool] = False

    def __init__(self, number: int | None = None) -> None:
        self._number = number

    @property
    def number(self) -> int:
        """Number in its name."""
        if self._number is None:
            raise ValueError(f"{type(self).__module__}: the name of this metric has no number")
        return self._number

    @property
    def words(self) -> str:
        """Name in tables, without unit: ``Top-5``."""
        return type(self).__name__

    @property
    def is_share(self) -> bool:
        """Whether it is a share between 0 and 1, and not a rank."""
        return self.statistic == "share"

    def per_query(self, rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
        """One value per query.

        Parameters
        ----------
        rank : array [n_queries]
            Rank of the right candidate, 1 to ``n_candidates``.
        n_candidates : int

        Returns
        -------
        array [n_queries]
        """
        raise NotImplementedError

    def of_run(self, rank: ArrayLike, n_candidates: int, target: ArrayLike, margin: ArrayLike) -> NDArray[np.float64]:
        """One value per query of one run, for one set of candidates; by default from :meth:`per_query`.

        A metric overrides this where a query's value depends on the other queries.

        Parameters
        ----------
        rank, n_candidates
            See :meth:`per_query`.
        target : array [n_queries]
            Label of the right candidate.
        margin : array [n_queries]
            Similarity of the right candidate minus that of the best other candidate.
        """
        return self.per_query(rank, n_candidates)

    def chance(self, n_candidates: int) -> float:
        """Expected value of a query if every rank is equally likely."""
        return self.value(np.arange(1, n_candidates + 1), n_candidates)

    def best_guess(self, counts: NDArray[np.int64]) -> float:
        """Value of always naming the largest class first, then the second largest; ``chance`` for equal classes.

        Parameters
        ----------
        counts : ndarray [n_candidates] int
            Queries of each candidate.
        """
        if self.of_classes or np.ptp(counts) == 0:
            return self.chance(len(counts))
        values = self.per_query(np.arange(1, len(counts) + 1), len(counts))
        return self.over(np.repeat(values, np.sort(counts)[::-1]))

    def applies(self, n_candidates: int) -> bool:
        """Whether there are enough candidates for it."""
        return n_candidates >= 1

    def value(self, rank: ArrayLike, n_candidates: int) -> float:
        """The metric over queries: the mean or median of their values."""
        return self.over(self.per_query(rank, n_candidates))

    def over(self, values: NDArray[np.float64]) -> float:
        """Mean or median over values of queries."""
        match self.statistic:
            case "mean" | "share":
                return float(np.mean(values))
            case "median":
                return float(np.median(values))
            case other:
                assert_never(other)


@cache
def load(base: str) -> MetricBase:
    """The metric of a name without task and repetitions: ``top-5``, or ``package.module:Class``.

    Raises
    ------
    brain2clip.kinds.KindError
        If there is no such metric, or its name lacks a number or has an unexpected one.
    """
    name = MetricName(base)
    metric = kinds.load("metrics", name.kind)
    if not (isinstance(metric, type) and issubclass(metric, MetricBase)):
        raise kinds.KindError(f"metric {base!r}: its class must be a subclass of {MetricBase.__module__}.MetricBase")
    if metric.numbered != (name.number is not None):
        raise kinds.KindError(f"metric {base!r}: its name must have {'a' if metric.numbered else 'no'} number")
    return metric(name.number)
