"""Median and interquartile range of each channel."""

from __future__ import annotations

import numpy as np

from brain2clip.responses.whitening import Fit, Operator, refuse_flat
from brain2clip.settings import WhiteningBase

#: Values that are kept to take quantiles of (float32, so 64 MB).
ROBUST_VALUES = 2**24


class Whitening(Fit):
    """Median and interquartile range per channel over training trials and times.

    Exact up to 2^24 values (all channels); beyond that, of every k-th trial so that memory stays bounded.
    """

    unit = "interquartile range"

    def __init__(self, settings: WhiteningBase, channels: list[str], trials: int) -> None:
        super().__init__(settings, channels, trials)
        self.seen = 0
        self.kept: list[np.ndarray] = []

    def add(self, epochs: np.ndarray) -> None:
        """Keep every k-th trial."""
        stride = -(-self.trials * epochs.shape[1] * epochs.shape[2] // ROBUST_VALUES) or 1
        self.kept.append(epochs[-self.seen % stride :: stride].astype(np.float32))
        self.seen += len(epochs)

    def operator(self) -> Operator:
        """Subtract the median, divide by the interquartile range."""
        values = np.concatenate(self.kept)
        quartiles = [np.percentile(values[:, index], (25, 50, 75)) for index in range(values.shape[1])]
        low, median, high = np.array(quartiles, dtype=float).T
        refuse_flat(high - low, self.channels)
        return Operator(median, np.diag(1 / (high - low)))
