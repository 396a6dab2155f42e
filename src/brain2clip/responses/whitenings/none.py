"""No whitening."""

from __future__ import annotations

import numpy as np

from brain2clip.responses.whitening import Fit, Operator


class Whitening(Fit):
    """Leaves the trials as they are."""

    unit = None

    def add(self, epochs: np.ndarray) -> None:
        """Nothing to fit."""

    def operator(self) -> Operator:
        """The identity."""
        return Operator(np.zeros(len(self.channels)), np.eye(len(self.channels)))
