"""Layers that models of several families are made of."""

from __future__ import annotations

from typing import assert_never

from torch import Tensor, nn

from brain2clip.settings import Head


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return x + self.inner(x)


def head(settings: Head, n_in: int) -> nn.Module:
    """Projection into the shared space [B, n_in] -> [B, settings.width].

    ``linear``; ``none`` (identity, [B, n_in]); ``bottleneck``: to a quarter and up without a residual path, so that it
    can lose information (Wu et al., AAAI 2026, ATS); ``mlp``: through a hidden layer of any size, likewise.
    """
    if settings.kind == "none":
        return nn.Identity()
    if settings.kind == "linear":
        return nn.Linear(n_in, settings.width)
    if settings.kind == "bottleneck":
        narrow = max(1, n_in // 4)
        return nn.Sequential(nn.Linear(n_in, narrow), nn.GELU(), nn.Linear(narrow, settings.width))
    if settings.kind == "mlp":
        return nn.Sequential(
            nn.Linear(n_in, settings.hidden),
            nn.GELU(),
            *([nn.Dropout(settings.dropout)] if settings.dropout else []),
            nn.Linear(settings.hidden, settings.width),
        )
    assert_never(settings.kind)
