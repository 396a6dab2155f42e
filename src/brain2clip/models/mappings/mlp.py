"""A mapping by hidden layers and a linear read-out."""

from __future__ import annotations

from torch import Tensor, nn

from brain2clip.models.hidden_layers import trunk
from brain2clip.settings import MlpNetwork


class Mapping(nn.Module):
    """Hidden layer, residual blocks, linear read-out.

    Parameters
    ----------
    settings : MlpNetwork
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: MlpNetwork, n_in: int, width: int) -> None:
        super().__init__()
        self.trunk = trunk(settings, n_in)
        self.read_out = nn.Linear(settings.hidden, width)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Embedding [B, d]; nothing is added to the loss."""
        return self.read_out(self.trunk(x)), None
