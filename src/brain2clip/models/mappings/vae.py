"""A mapping through a latent variable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brain2clip.models.hidden_layers import trunk
from brain2clip.settings import VaeNetwork


class Mapping(nn.Module):
    """A mapping through a latent variable (Kingma and Welling, ICLR 2014).

    ``e = trunk(x)``, ``mu = A e``, ``log sigma^2 = B e``; ``y = mu + sigma eps`` in training, ``mu`` else;
    embedding ``C y + b``. The loss pays ``kl`` times the mean divergence of the posterior from the prior.

    Parameters
    ----------
    settings : VaeNetwork
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: VaeNetwork, n_in: int, width: int) -> None:
        super().__init__()
        self.weight = settings.kl
        self.trunk = trunk(settings, n_in)
        self.mean = nn.Linear(settings.hidden, settings.latent)
        self.log_variance = nn.Linear(settings.hidden, settings.latent)
        self.read_out = nn.Linear(settings.latent, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, d] and the weighted divergence of the batch (a scalar)."""
        hidden = self.trunk(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latent = mean
        if self.training:
            latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.read_out(latent), self.weight * divergence(mean, log_variance).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) [B] of diagonal Gaussians [B, latent], nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
