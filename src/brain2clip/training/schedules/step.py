"""Lower by a factor after every so many epochs."""

from __future__ import annotations

from brain2clip.settings import Step


class Schedule:
    """``gamma ** n`` after n times so many epochs, as :class:`torch.optim.lr_scheduler.StepLR`."""

    def __init__(self, settings: Step, steps: int, per_epoch: int) -> None:
        self.gamma, self.every = settings.gamma, settings.every * per_epoch

    def __call__(self, step: int) -> float:
        """Factor on the learning rate at a step."""
        return self.gamma ** (step // self.every)
