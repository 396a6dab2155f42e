"""Z-score of each channel."""

from __future__ import annotations

import numpy as np

from brain2clip.responses.whitening import Fit, Operator, refuse_flat
from brain2clip.settings import WhiteningBase


class Whitening(Fit):
    """Mean and standard deviation per channel over training trials and times."""

    def __init__(self, settings: WhiteningBase, channels: list[str], trials: int) -> None:
        super().__init__(settings, channels, trials)
        self.count = 0
        self.mean = np.zeros(len(channels))
        self.squares = np.zeros(len(channels))

    def add(self, epochs: np.ndarray) -> None:
        """Join the moments of a batch to the running ones (Chan et al. 1983)."""
        count = epochs.shape[0] * epochs.shape[2]
        if not count:
            return
        mean = epochs.mean(axis=(0, 2), dtype=float)
        squares = ((epochs - mean[:, None]) ** 2).sum(axis=(0, 2), dtype=float)
        total = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def operator(self) -> Operator:
        """Subtract the mean, divide by the standard deviation."""
        deviation = np.sqrt(self.squares / max(self.count, 1))
        refuse_flat(deviation, self.channels)
        return Operator(self.mean.copy(), np.diag(1 / deviation))
