"""What the loop trains of a brain encoder and a picture side: NeuroCLIP and its baseline."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.neuroclip import BrainToClip
from brain2clip.settings import Contrastive, Optimiser
from brain2clip.training.data import Pairs, PictureSource
from brain2clip.training.objective import logits, softened_contrastive

#: Width of a tower from which bf16 pays on a CPU that has it.
WIDE = 512


class ContrastiveLearner:
    """Softened contrastive loss between responses and pictures.

    Parameters
    ----------
    model : BrainToClip
    settings : Contrastive
    pictures : PictureSource
        For all training rows.
    device : torch.device
    """

    def __init__(
        self, model: BrainToClip, settings: Contrastive, pictures: PictureSource, device: torch.device
    ) -> None:
        self.model, self.settings, self.pictures, self.device = model, settings, pictures, device
        self.autocast = precision(settings.optimiser, device, model.visual.width)

    def parameter_groups(self) -> list[dict]:
        """Encoder and heads; filter, fusion and prompts with their own rate."""
        return self.model.parameter_groups(self.settings.optimiser.lr, self.settings.optimiser.lr_visual)

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch; every picture of it goes through the tower once. Nothing is drawn."""
        distinct, picture_of = np.unique(data.stimulus[rows], return_inverse=True)
        seen = self.pictures(distinct)
        ((_, _, responses),) = data.take(rows)
        with self.autocast():
            brain = self.model.brain(responses)
            picture = self.model.picture(seen)
        scores = logits(brain, picture, self.model.scale, self.settings.objective.normalise)
        owner = torch.from_numpy(picture_of).to(self.device)
        return softened_contrastive(scores, owner, seen.embedding, self.settings.objective)

    @torch.inference_mode()
    def top1(self, data: Pairs) -> float:
        """Share of responses whose own picture is the most similar among the pictures of the set."""
        self.model.eval()
        distinct, picture_of = np.unique(data.stimulus, return_inverse=True)
        candidates = torch.cat(
            [self.model.picture(self.pictures(part)) for part in np.array_split(distinct, len(distinct) // 256 + 1)]
        )
        scores = F.normalize(self.model.brain(data.responses[0]), dim=-1) @ F.normalize(candidates, dim=-1).T
        return float((scores.argmax(dim=1).cpu().numpy() == picture_of).mean())


def precision(budget: Optimiser, device: torch.device, width: int):
    """A context maker: bf16 autocast where asked for, or where the device is fast with it.

    On a CPU the casts of a narrow tower cost more than its bf16 products save (bench/prompted_tower.py), so there it is
    taken from ``WIDE`` on.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = width >= WIDE and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if budget.precision == "bf16" or (budget.precision == "auto" and fast):
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext
