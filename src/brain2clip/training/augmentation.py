"""Changes of responses in training: MixCo, noise, dropout. Never of test responses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.settings import Augmentation


class Mixture(NamedTuple):
    """How responses were mixed: ``share`` [B] of each one's own, the rest of ``partner`` [B] (a row of the batch)."""

    share: Tensor
    partner: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Values [B, ...], of responses or of targets, in these shares."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


def draw_mixture(n: int, concentration: float, device: torch.device, mixed: float = 1.0) -> Mixture:
    """MixCo of n responses: a random partner for each, the share from Beta(x, x) (Kim et al. 2020, for images).

    ``mixed`` is the probability that a response is mixed at all.
    """
    share = torch.distributions.Beta(concentration, concentration).sample((n,)).to(device)
    partner = torch.randperm(n).to(device)
    return Mixture(share if mixed == 1 else of_some(share, mixed), partner)


def of_some(share: Tensor, mixed: float) -> Tensor:
    """Shares [n] of which some, by chance, become 1: those responses stay as they are."""
    return torch.where(torch.rand(len(share)).to(share.device) < mixed, share, 1.0)


def disturb(responses: Tensor, settings: Augmentation) -> Tensor:
    """Noise, then inputs set to zero (the others grow by 1 / (1 - p), so that the mean stays)."""
    if settings.noise:
        responses = responses + settings.noise * torch.randn_like(responses)
    return F.dropout(responses, settings.dropout) if settings.dropout else responses
