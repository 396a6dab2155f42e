"""A mapping by one matrix."""

from __future__ import annotations

from torch import Tensor, nn

from brain2clip.settings import LinearNetwork


class Mapping(nn.Module):
    """``W x + b``.

    Parameters
    ----------
    settings : LinearNetwork
    n_in, width : int
        V and d.
    """

    def __init__(self, settings: LinearNetwork, n_in: int, width: int) -> None:
        super().__init__()
        self.read_out = nn.Linear(n_in, width)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Embedding [B, d]; nothing is added to the loss."""
        return self.read_out(x), None
