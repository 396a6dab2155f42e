"""Up by half a cosine, then down by half a cosine (Smith and Topin, 2019, in two parts)."""

from __future__ import annotations

import math

from brain2clip.settings import OneCycle


class Schedule:
    """The factors of :class:`torch.optim.lr_scheduler.OneCycleLR`; momentum stays as it is."""

    def __init__(self, settings: OneCycle, steps: int) -> None:
        self.first = 1 / settings.div
        self.last = self.first / settings.final_div
        self.end = max(1, steps - 1)
        self.top = min(max(settings.up * steps - 1, 0.0), self.end)  # where the rate is the highest: between two steps

    def __call__(self, step: int) -> float:
        """Factor on the learning rate at a step."""
        if step <= self.top:
            return _between(self.first, 1.0, step / self.top if self.top else 1.0)
        return _between(1.0, self.last, min(1.0, (step - self.top) / (self.end - self.top)))


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine from one value to another."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
