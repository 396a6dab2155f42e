"""A response comes earlier or later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import TimeShift
from brain2clip.training.augmenting import Batch, samples


class Augmentation:
    """By a whole number of samples, the same for all channels; the value at an edge is held where nothing follows."""

    def __init__(self, settings: TimeShift, inputs: Inputs) -> None:
        self.most = samples(settings.most_s, "most_s", inputs)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with its responses shifted."""
        n, n_channels, n_times = batch.values.shape
        shift = rng.integers(-self.most, self.most + 1, size=n)
        source = np.clip(np.arange(n_times) - shift[:, None], 0, n_times - 1)
        index = batch.on_device(source)[:, None].expand(-1, n_channels, -1)
        return replace(batch, values=batch.values.gather(2, index))
