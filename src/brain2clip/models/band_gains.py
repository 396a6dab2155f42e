"""Common parts of dynamic filters with a gain for each spatial frequency band."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from brain2clip.settings.filters import Init

#: Logit of the first band at the start of a low-pass: 2 sigmoid(1.5) = 1.64, last band 0.36.
LOWPASS_LOGIT = 1.5


class BandGains(nn.Module):
    """Filtered stream: the picture's frequency bands weighted by gains.

    A kind defines :meth:`gains`.
    """

    def gains(self, tokens: Tensor) -> Tensor:
        """Gains [B, K] from patch tokens [B, N, D]."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, band_tokens: Tensor) -> Tensor:
        """Filtered stream [B, N, D]: gain-weighted sum of the bands' tokens [B, K, N, D]."""
        return torch.einsum("bk,bknd->bnd", self.gains(tokens).to(band_tokens.dtype), band_tokens)


def start(init: Init, bands: int) -> nn.Parameter:
    """Logits [K] at the start: zeros for an all-pass, falling for a low-pass."""
    if init == "allpass":
        first = 0.0
    elif init == "lowpass":
        first = LOWPASS_LOGIT
    else:
        assert_never(init)
    return nn.Parameter(torch.linspace(first, -first, bands))


def from_content(width: int, bands: int, reduction: int) -> nn.Sequential:
    """Network from the mean token [B, D] to logits [B, K], ``W2 relu(W1 norm(x))``; W2 starts at zero."""
    hidden = max(4, width // reduction)
    last = nn.Linear(hidden, bands, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), last)
