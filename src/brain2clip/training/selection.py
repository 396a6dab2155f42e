"""Which epoch is the best, and when a training has waited long enough for a better one; test data has no say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brain2clip.models.parameters import trainable
from brain2clip.settings import Selection
from brain2clip.training.data import Pairs

if TYPE_CHECKING:
    from brain2clip.training.loop import Learner


class Watch:
    """Looks at a training epoch by epoch.

    Parameters
    ----------
    selection : Selection
        Its rule chooses by held-out concepts, or by the training loss.
    begins : int
        Last epoch after which something new begins (what joined late, a second stage): patience counts from there.

    Attributes
    ----------
    column : str
        Of the history, what decides.
    epoch : int
        The best one so far.
    model : dict
        Parameters after it, where the settings keep them.
    """

    def __init__(self, selection: Selection, begins: int) -> None:
        self.settings, self.begins = selection, begins
        held_out = "held_out_top1" if selection.criterion == "top-1" else "held_out_loss"
        self.column = held_out if selection.rule == "held-out-concepts" else "loss"
        self.epoch, self.model = 0, dict[str, Tensor]()
        self._best = self._to_beat = -math.inf
        self._beaten = 0

    def enough(self, row: Mapping[str, Any], model: nn.Module) -> bool:
        """Take in an epoch; whether to stop after it."""
        value = row[self.column] if self.column == "held_out_top1" else -row[self.column]
        if value > self._best:
            self._best, self.epoch = value, row["epoch"]
            if not self.settings.retrain:
                self.model = {name: one.clone() for name, one in trainable(model).items()}
        if value > self._to_beat + self.settings.min_delta:
            self._to_beat, self._beaten = value, row["epoch"]
        patience = self.settings.patience
        return patience is not None and row["epoch"] - max(self._beaten, self.begins) >= patience


@torch.no_grad()
def held_out_loss(learner: Learner, data: Pairs, steps: int, seed: int) -> float:
    """Mean loss of so many batches as in tests: nothing is augmented or dropped, and draws are the same each time."""
    learner.model.eval()
    rng = np.random.default_rng(seed)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(data.units)), steps)
    found = [learner.loss(data, np.concatenate([data.units[unit] for unit in part]), rng) for part in parts]
    learner.measured()  # of these no history tells
    return float(torch.stack(found).double().mean())
