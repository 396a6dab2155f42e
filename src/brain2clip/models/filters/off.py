"""No filter: the filtered stream equals the raw one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brain2clip.settings import NoFilter


class Filter(nn.Module):
    """The raw stream; all gains are 1.

    Parameters
    ----------
    settings : NoFilter
    width : int
        D, width of the tokens.
    bands : int
        K.
    """

    def __init__(self, settings: NoFilter, width: int, bands: int) -> None:
        super().__init__()
        self.bands = bands

    def gains(self, tokens: Tensor) -> Tensor:
        """Ones [B, K]."""
        return torch.ones(len(tokens), self.bands)

    def forward(self, tokens: Tensor, band_tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] as they are."""
        return tokens
