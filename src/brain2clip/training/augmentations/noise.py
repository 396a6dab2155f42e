"""Gaussian noise on every number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import GaussianNoise
from brain2clip.training.augmenting import Batch


class Augmentation:
    """Noise that is made where the responses are, of a seed that is drawn; another device makes other noise."""

    def __init__(self, settings: GaussianNoise, inputs: Inputs) -> None:
        self.deviation = settings.deviation

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with noise."""
        values = batch.values
        generator = torch.Generator(values.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
        return replace(batch, values=values + self.deviation * noise)
