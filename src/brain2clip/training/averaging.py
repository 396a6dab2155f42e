"""Moving average of a model over the steps of its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from brain2clip.models.parameters import trainable


class Average:
    """Average of the checkpoint of a model, as in :class:`torch.optim.swa_utils.AveragedModel`.

    It begins with the model after the first step. Statistics of batch norm are averaged as parameters are, so that
    they are of the same past; what is no floating-point number (the count of batches) is the latest. Of a frozen tower
    there is no copy.

    Parameters
    ----------
    model : nn.Module
    decay : float
        Share of its past that the average keeps in a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.mix = model, get_ema_multi_avg_fn(decay)
        self.kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model after a step."""
        now = trainable(self.model)
        if not self.kept:
            self.kept = {name: value.clone() for name, value in now.items()}
            return
        numbers = [name for name, value in now.items() if value.is_floating_point()]
        self.mix([self.kept[name] for name in numbers], [now[name] for name in numbers], 0)
        for name in now.keys() - set(numbers):
            self.kept[name].copy_(now[name])

    def use(self) -> None:
        """Put the average into the model."""
        self.model.load_state_dict(self.kept, strict=False)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The average in the model for a while."""
        latest = {name: value.clone() for name, value in trainable(self.model).items()}
        self.use()
        yield
        self.model.load_state_dict(latest, strict=False)
