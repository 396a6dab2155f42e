"""A mapping by mixer blocks between two linear layers, after MindEye2."""

from __future__ import annotations

from torch import Tensor, nn

from brain2clip.models.layers import Residual
from brain2clip.settings import MixerNetwork


class Mapping(nn.Module):
    """Linear layer, mixer blocks, linear read-out, projector.

    Architecture (Scotti et al., ICML 2024, MindEye2, with one vector in place of 256 tokens): Linear(V, h); blocks
    LayerNorm, Linear(h, h), GELU, Dropout, Linear(h, h) with a residual; Linear(h, d); a projector of layers LayerNorm,
    GELU, Linear(d, d). Of a joint model the subjects' own layers come before that.

    Parameters
    ----------
    settings : MixerNetwork
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: MixerNetwork, n_in: int, width: int) -> None:
        super().__init__()
        hidden = settings.hidden
        self.enter = nn.Linear(n_in, hidden)
        self.blocks = nn.Sequential(*(block(hidden, settings.dropout) for _ in range(settings.blocks)))
        self.read_out = nn.Linear(hidden, width)
        self.projector = nn.Sequential(
            *(nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width)) for _ in range(settings.projector))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Embedding [B, d]; nothing is added to the loss."""
        return self.projector(self.read_out(self.blocks(self.enter(x)))), None


def block(hidden: int, dropout: float) -> Residual:
    """Mixer block, [B, hidden] to the same."""
    inner = (nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden))
    return Residual(nn.Sequential(nn.LayerNorm(hidden), *inner))
