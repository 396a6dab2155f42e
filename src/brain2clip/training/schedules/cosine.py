"""Half a cosine down to zero (Loshchilov and Hutter, ICLR 2017, without restarts)."""

from __future__ import annotations

import math

from brain2clip.settings import Cosine


class Schedule:
    """``(1 + cos(pi step / steps)) / 2``."""

    def __init__(self, settings: Cosine, steps: int) -> None:
        self.steps = max(1, steps)

    def __call__(self, step: int) -> float:
        """Factor on the learning rate at a step."""
        return 0.5 * (1 + math.cos(math.pi * step / self.steps))
