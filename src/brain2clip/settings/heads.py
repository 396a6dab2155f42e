"""Projections into the space where brain and picture meet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brain2clip.settings.base import Block, neutral


class Head(Block):
    """Projection into the shared space where brain and picture meet."""

    kind: Literal["linear", "none", "bottleneck", "mlp"] = Field(
        "linear",
        description="linear: one linear layer; none: no layer (sizes must agree); bottleneck: down to a quarter of "
        "the width and up again, no residual; mlp: with a hidden layer, no residual",
    )
    width: int = Field(512, ge=2, description="size of the shared space (ignored for none)")
    hidden: int = Field(256, ge=1, description="size of the hidden layer of kind mlp")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout after the hidden layer of kind mlp")
    activation: Literal["gelu", "elu", "relu", "silu"] = neutral(
        "gelu", description="activation between the layers of kinds mlp and bottleneck"
    )
    output_dropout: float = neutral(0.0, ge=0, lt=1, description="dropout of the output of the head")
    norm: bool = neutral(False, description="layer norm at the end, after that dropout")
