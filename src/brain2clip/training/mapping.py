"""What the loop trains of a mapping network: BrainCLIP."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np
import torch
from torch import Tensor

from brain2clip.models.mappings import MappingNetwork
from brain2clip.settings import BrainMapping
from brain2clip.training.augmentation import Mixture, disturb, draw_mixture
from brain2clip.training.data import Pairs, Responses
from brain2clip.training.supervision import Targets

#: Similarities closer than this are equal: stimuli that share their text cannot be told apart by it.
TIE = 1e-6


def build(
    settings: BrainMapping,
    sets: Sequence[Responses],
    subjects: Sequence[str] | None,
    stimuli: h5py.File,
    device: torch.device,
) -> MappingNetwork:
    """A fresh network for these responses; a joint one where ``subjects`` names whose each set is."""
    sizes = [int(np.prod(one.values.shape[1:])) for one in sets]
    inputs = sizes[0] if subjects is None else dict(zip(subjects, sizes))
    return MappingNetwork(settings.network, settings.supervision, inputs, stimuli["embedding"].shape[1]).to(device)


class MappingLearner:
    """Contrast with image and text.

    Parameters
    ----------
    model : MappingNetwork
    settings : BrainMapping
    targets : Targets
    subjects : sequence of str or None
        Whose each set of responses is; None where one network takes them all.
    """

    def __init__(
        self, model: MappingNetwork, settings: BrainMapping, targets: Targets, subjects: Sequence[str] | None
    ) -> None:
        self.model, self.settings, self.targets, self.subjects = model, settings, targets, subjects

    def parameter_groups(self) -> list[dict]:
        """All parameters; vectors do not decay."""
        return self.model.parameter_groups(self.settings.optimiser.lr)

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch."""
        taken = data.take(rows)
        mixture = self._mixture([len(own) for _, own, _ in taken])
        entered, start = [], 0
        for number, own, responses in taken:
            if mixture is not None:
                within = slice(start, start + len(own))
                responses = Mixture(mixture.share[within], mixture.partner[within] - start).of(responses)
            entered.append(self._enter(number, disturb(responses, self.settings.augmentation)))
            start += len(own)
        z, divergence = self.model.shared(torch.cat(entered))
        stimulus = data.stimulus[np.concatenate([own for _, own, _ in taken])]
        loss = self.targets.loss(z, stimulus, self.model.scale, self.settings.supervision, rng, mixture)
        if self.settings.network.name == "vae":
            loss = loss + self.settings.supervision.kl * divergence.mean()
        return loss

    def _mixture(self, sizes: Sequence[int]) -> Mixture | None:
        """MixCo of a batch; partners are of the same subject, whose inputs are the same voxels."""
        if not self.settings.augmentation.mixco:
            return None
        device = self.model.scale.device
        drawn = [draw_mixture(size, self.settings.augmentation.mixco, device) for size in sizes]
        starts = np.cumsum([0, *sizes[:-1]])
        return Mixture(
            torch.cat([one.share for one in drawn]),
            torch.cat([one.partner + int(start) for one, start in zip(drawn, starts)]),
        )

    def _enter(self, number: int, responses: Tensor) -> Tensor:
        return self.model.enter(responses, None if self.subjects is None else self.subjects[number])

    @torch.inference_mode()
    def embed(self, data: Pairs) -> tuple[Tensor, np.ndarray]:
        """Embeddings [n, d] of all responses as in tests, and the stimulus of each."""
        self.model.eval()
        taken = data.take(np.arange(len(data.stimulus)))
        z = torch.cat([self.model.shared(self._enter(number, values))[0] for number, _, values in taken])
        return z, data.stimulus[np.concatenate([own for _, own, _ in taken])]

    def top1(self, data: Pairs) -> float:
        """Share of responses to whose own stimulus none of the set is preferred, by image and text as in the loss."""
        z, stimulus = self.embed(data)
        distinct, target = np.unique(stimulus, return_inverse=True)
        scores = self.targets.similarity(z, distinct, self.settings.supervision).cpu().numpy()
        own = scores[np.arange(len(target)), target]
        return float((own >= scores.max(axis=1) - TIE).mean())
