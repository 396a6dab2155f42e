"""Hidden layers that mappings share."""

from __future__ import annotations

from torch import nn

from brain2clip.models.layers import Residual
from brain2clip.settings import MlpNetwork, VaeNetwork

#: Dropout probability inside residual blocks.
BLOCK_DROPOUT = 0.15


def layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """[B, n_in] to [B, n_out]: Linear, LayerNorm, GELU, Dropout."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(dropout))


def trunk(settings: MlpNetwork | VaeNetwork, n_in: int) -> nn.Sequential:
    """Hidden layer and residual blocks, [B, n_in] to [B, hidden]."""
    blocks = [Residual(layer(settings.hidden, settings.hidden, BLOCK_DROPOUT)) for _ in range(settings.blocks)]
    return nn.Sequential(layer(n_in, settings.hidden, settings.dropout), *blocks)
