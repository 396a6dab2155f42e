"""Each response is mixed with another one of its subject (Zhang et al., ICLR 2018: one share for each batch)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brain2clip.models.brain_encoder import Inputs
from brain2clip.settings import Mixup
from brain2clip.training.augmenting import Batch


class Augmentation:
    """Partners are a permutation within each subject; who meets themselves stays as they are."""

    def __init__(self, settings: Mixup, inputs: Inputs) -> None:
        self.concentration = settings.concentration

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch of mixed responses."""
        share = float(rng.beta(self.concentration, self.concentration))
        partner = np.empty(len(batch.values), np.int64)
        for subject in np.unique(batch.subject):
            own = np.flatnonzero(batch.subject == subject)
            partner[own] = rng.permutation(own)
        mixed = share * batch.values + (1 - share) * batch.values.index_select(0, batch.on_device(partner))
        return replace(batch, values=mixed, share=share, partner=partner)
