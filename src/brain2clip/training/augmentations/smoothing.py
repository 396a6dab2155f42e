"""Some channels of a response pass a moving average over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from brain2clip.models.brain_encoder import Inputs, Smoothing
from brain2clip.settings import ChannelSmoothing
from brain2clip.training.augmenting import Batch, samples


class Augmentation:
    """Each channel of each response with a probability; the average is that of ``encoder.smoothing_s``."""

    def __init__(self, settings: ChannelSmoothing, inputs: Inputs) -> None:
        self.probability = settings.probability
        self.smooth = Smoothing(samples(settings.window_s, "window_s", inputs, least=2) // 2 * 2 + 1)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with some channels smoothed."""
        chosen = batch.on_device(rng.random(batch.values.shape[:2]) < self.probability)
        return replace(batch, values=torch.where(chosen[..., None], self.smooth(batch.values), batch.values))
