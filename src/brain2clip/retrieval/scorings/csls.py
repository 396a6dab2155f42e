"""Cross-domain similarity local scaling (Conneau et al. 2018): candidates that are near to all queries lose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Scoring:
    """Twice the similarity minus the mean similarity of the query, and of the candidate, to their nearest others."""

    def scores(self, similarity: NDArray[np.floating], neighbours: int) -> NDArray[np.float64]:
        """Scores of all queries of a test.

        Parameters
        ----------
        similarity : ndarray [Q, G]
        neighbours : int
            How many of the nearest count on either side; all of them where there are fewer.

        Returns
        -------
        ndarray [Q, G]
        """
        exact = similarity.astype(np.float64)
        return 2 * exact - _nearest(exact, neighbours) - _nearest(exact.T, neighbours).T


def _nearest(similarity: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Mean of the largest values of each row [n, 1]."""
    count = min(neighbours, similarity.shape[1])
    return np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1, keepdims=True)
