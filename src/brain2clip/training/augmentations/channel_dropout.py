"""Some channels of a response are zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import ChannelDropout
from brain2clip.training.augmenting import Batch


class Augmentation:
    """Each channel (or voxel) of each response with a probability; the others do not grow."""

    def __init__(self, settings: ChannelDropout, inputs: Inputs) -> None:
        self.probability = settings.probability

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with some channels at zero."""
        values = batch.values
        gone = batch.on_device(rng.random(values.shape[:2]) < self.probability)
        return replace(batch, values=values.masked_fill(gone.reshape(*gone.shape, *[1] * (values.ndim - 2)), 0.0))
