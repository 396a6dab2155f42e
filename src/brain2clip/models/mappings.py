"""Mapping networks from a response to the frozen CLIP space: linear, MLP and VAE.

What is public of BrainCLIP is its abstract; the forms here are this project's reading of it (docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Mapping as Named

import torch
from torch import Tensor, nn

from brain2clip.models.encoders import Residual
from brain2clip.settings import Network, Supervision

#: Dropout probability inside residual blocks.
BLOCK_DROPOUT = 0.15


def layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """[B, n_in] to [B, n_out]: Linear, LayerNorm, GELU, Dropout."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(dropout))


def trunk(settings: Network, n_in: int) -> nn.Sequential:
    """Hidden layer and residual blocks, [B, n_in] to [B, hidden]."""
    blocks = [Residual(layer(settings.hidden, settings.hidden, BLOCK_DROPOUT)) for _ in range(settings.blocks)]
    return nn.Sequential(layer(n_in, settings.hidden, settings.dropout), *blocks)


class Deterministic(nn.Module):
    """A mapping without a latent variable: one matrix, or hidden layers and a linear read-out.

    Parameters
    ----------
    settings : Network
        ``name`` is linear or mlp.
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: Network, n_in: int, width: int) -> None:
        super().__init__()
        hidden = settings.name == "mlp"
        self.trunk = trunk(settings, n_in) if hidden else nn.Identity()
        self.read_out = nn.Linear(settings.hidden if hidden else n_in, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, d], and zeros [B] where a VAE has its divergence."""
        return self.read_out(self.trunk(x)), x.new_zeros(len(x))


class Variational(nn.Module):
    """A mapping through a latent variable (Kingma and Welling, ICLR 2014).

    ``e = trunk(x)``, ``mu = A e``, ``log sigma^2 = B e``; ``y = mu + sigma eps`` in training, ``mu`` else;
    embedding ``C y + b``.

    Parameters
    ----------
    settings : Network
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: Network, n_in: int, width: int) -> None:
        super().__init__()
        self.trunk = trunk(settings, n_in)
        self.mean = nn.Linear(settings.hidden, settings.latent)
        self.log_variance = nn.Linear(settings.hidden, settings.latent)
        self.read_out = nn.Linear(settings.latent, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, d] and divergence of the posterior from the prior [B]."""
        hidden = self.trunk(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latent = mean
        if self.training:
            latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.read_out(latent), divergence(mean, log_variance)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) [B] of diagonal Gaussians [B, latent], nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)


class MappingNetwork(nn.Module):
    """Responses of one or several subjects to the frozen CLIP space.

    For one subject (or subjects with the same channels) the network takes the flattened response. For joint training
    every subject has a linear layer of its own from its inputs to ``subject_width`` numbers, and the network is shared.

    Parameters
    ----------
    settings : Network
    supervision : Supervision
        For the start of the scale.
    inputs : int or mapping
        Size of a flattened response, or that of every subject by label.
    width : int
        d of the CLIP space.
    """

    def __init__(self, settings: Network, supervision: Supervision, inputs: int | Named[str, int], width: int) -> None:
        super().__init__()
        self.own: nn.ModuleDict | None = None
        if isinstance(inputs, int):
            n_in = inputs
        else:
            own = {key(subject): nn.Linear(size, settings.subject_width) for subject, size in inputs.items()}
            self.own, n_in = nn.ModuleDict(own), settings.subject_width
        kind = Variational if settings.name == "vae" else Deterministic
        self.shared = kind(settings, n_in, width)
        self.scale = nn.Parameter(torch.tensor(supervision.scale_init), requires_grad=supervision.learn_scale)

    def enter(self, responses: Tensor, subject: str | None = None) -> Tensor:
        """Input [B, n] of the shared network from responses [B, *shape] of a subject."""
        flat = responses.flatten(1)
        return flat if self.own is None else self.own[key(str(subject))](flat)

    def forward(self, responses: Tensor, subject: str | None = None) -> tuple[Tensor, Tensor]:
        """Embedding [B, d] and divergence [B] of responses of one subject."""
        return self.shared(self.enter(responses, subject))

    def parameter_groups(self, lr: float) -> list[dict]:
        """Trained parameters; no decay on vectors."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            {"params": [one for one in trained if one.ndim > 1], "lr": lr},
            {"params": [one for one in trained if one.ndim <= 1], "lr": lr, "weight_decay": 0.0},
        ]


def key(subject: str) -> str:
    """Name of a subject's layer: a label alone may be a name that a module already has."""
    return f"sub-{subject}"
