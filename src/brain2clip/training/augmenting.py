"""Augmentation of responses in training: the batch that kinds get, and their order. Never of test responses.

Random numbers come from a separate generator, so that they change neither the order of batches nor dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from brain2clip import kinds
from brain2clip.internals import torch_device
from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import AugmentationBase
from brain2clip.stage import InputError
from brain2clip.training.data import Pairs

#: Responses at a time where all are augmented before training.
AT_ONCE = 1024


@dataclass(frozen=True)
class Batch:
    """A batch of responses, and how they were mixed.

    Attributes
    ----------
    values : Tensor [B, C, T] or [B, V]
    subject : ndarray [B]
        Number of the subject of each response.
    share : float
        Share of each response itself, if responses are mixed.
    partner : ndarray [B] or None
        Row of the partner of each response, a permutation; None if responses are not mixed.
    """

    values: Tensor
    subject: np.ndarray
    share: float = 1.0
    partner: np.ndarray | None = None

    def on_device(self, array: np.ndarray) -> Tensor:
        """An array on the device of the responses."""
        return torch_device.copied(array, self.values.device)

    def loss(self, of: Callable[[np.ndarray], Tensor], target: np.ndarray) -> Tensor:
        """Loss with the responses' own targets [B] and with those of their partners, weighted by the shares."""
        own = of(target)
        return own if self.partner is None else self.share * own + (1 - self.share) * of(target[self.partner])


class Augmenting:
    """Several kinds, one after the other.

    Parameters
    ----------
    settings : sequence of AugmentationBase
    inputs : Inputs
        Channels, samples and rate of a response.

    Raises
    ------
    InputError
        If a kind needs a time axis and the responses have none.
    """

    def __init__(self, settings: Sequence[AugmentationBase], inputs: Inputs) -> None:
        for one in settings:
            if one.over_time and not inputs.sfreq:
                raise InputError(
                    f"augmentation of kind {one.kind} needs responses over time, but voxels have no time axis; "
                    "expected noise, channel-dropout, mixup, or none"
                )
        made = [(one.drawn == "once", kinds.load("augmentations", one.kind)(one, inputs)) for one in settings]
        self._once = [augmentation for once, augmentation in made if once]
        self._every_step = [augmentation for once, augmentation in made if not once]

    def once(self, data: Pairs, rng: np.random.Generator) -> Pairs:
        """Training pairs after the changes before the first epoch."""
        if not self._once:
            return data
        (values,) = data.responses
        subject = np.empty(len(values), data.subject.dtype)
        subject[data.place] = data.subject
        found = [
            self._through(self._once, Batch(values[start : start + AT_ONCE], subject[start : start + AT_ONCE]), rng)
            for start in range(0, len(values), AT_ONCE)
        ]
        return replace(data, responses=[torch.cat([one.values for one in found])])

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """A batch after the changes of every step."""
        return self._through(self._every_step, batch, rng)

    @staticmethod
    def _through(augmentations: Sequence[Callable], batch: Batch, rng: np.random.Generator) -> Batch:
        for one in augmentations:
            batch = one(batch, rng)
        return batch


def samples(seconds: float, setting: str, inputs: Inputs, least: int = 1) -> int:
    """Number of samples, to the nearest.

    Raises
    ------
    InputError
        Where they are too few to do anything, or not fewer than those of a response.
    """
    count = round(seconds * inputs.sfreq)
    if not least <= count < inputs.n_times:
        raise InputError(
            f"augmentation: {setting}: found {seconds:g} s, {count} of {inputs.n_times} samples at {inputs.sfreq:g} "
            f"Hz; expected at least {least} and fewer than all"
        )
    return count
