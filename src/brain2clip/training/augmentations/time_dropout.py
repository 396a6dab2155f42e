"""A span of time is zero in all channels of a response."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import TimeDropout
from brain2clip.training.augmenting import Batch, samples


class Augmentation:
    """One span for each response that is chosen, wholly within it, at any sample alike."""

    def __init__(self, settings: TimeDropout, inputs: Inputs) -> None:
        self.probability = settings.probability
        self.span = samples(settings.span_s, "span_s", inputs)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with spans at zero."""
        n, _, n_times = batch.values.shape
        chosen = rng.random(n) < self.probability
        after = np.arange(n_times) - rng.integers(n_times - self.span + 1, size=n)[:, None]
        gone = (after >= 0) & (after < self.span) & chosen[:, None]
        return replace(batch, values=batch.values.masked_fill(batch.on_device(gone)[:, None], 0.0))
