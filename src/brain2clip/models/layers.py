"""Layers that models of several families are made of."""

from __future__ import annotations

from typing import Literal, assert_never

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
    """Projection into the shared space [B, n_in] -> [B, settings.width], with dropout and norm after it if asked for.

    ``linear``; ``none`` (identity, [B, n_in]); ``bottleneck``: to a quarter and up without a residual path, so that it
    can lose information (Wu et al., AAAI 2026, ATS); ``mlp``: through a hidden layer of any size, likewise.
    """
    found = projection(settings, n_in)
    if settings.output_dropout or settings.norm:
        return finished(found, settings, n_in if settings.kind == "none" else settings.width)
    return found


def projection(settings: Head, n_in: int) -> nn.Module:
    """The layers of a head up to its width."""
    if settings.kind == "none":
        return nn.Identity()
    if settings.kind == "linear":
        return nn.Linear(n_in, settings.width)
    if settings.kind == "bottleneck":
        narrow = max(1, n_in // 4)
        return nn.Sequential(nn.Linear(n_in, narrow), activation(settings), nn.Linear(narrow, settings.width))
    if settings.kind == "mlp":
        return nn.Sequential(
            nn.Linear(n_in, settings.hidden),
            activation(settings),
            *([nn.Dropout(settings.dropout)] if settings.dropout else []),
            nn.Linear(settings.hidden, settings.width),
        )
    assert_never(settings.kind)


def activation(settings: Head) -> nn.Module:
    """Activation between layers of a head."""
    return nn.GELU() if settings.activation == "gelu" else other_activation(settings.activation)


def other_activation(name: Literal["elu", "relu", "silu"]) -> nn.Module:
    """Activation by its name."""
    if name == "elu":
        return nn.ELU()
    if name == "relu":
        return nn.ReLU()
    if name == "silu":
        return nn.SiLU()
    assert_never(name)


def finished(head: nn.Module, settings: Head, width: int) -> nn.Sequential:
    """A head with dropout and layer norm of what it gives [B, width]."""
    dropout = [nn.Dropout(settings.output_dropout)] if settings.output_dropout else []
    return nn.Sequential(head, *dropout, *([nn.LayerNorm(width)] if settings.norm else []))
