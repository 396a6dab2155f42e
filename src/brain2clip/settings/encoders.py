"""Networks from a brain response to an embedding."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brain2clip.settings.base import Block


class Encoder(Block):
    """Network from a brain response to an embedding."""

    name: Literal["eegproject", "tsconv"] = Field(
        "eegproject",
        description="eegproject: linear projection, residual block (UBP); tsconv: temporal-spatial convolution (NICE)",
    )
    width: int = Field(512, ge=8, description="size of the encoder's embedding")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability")
    smoothing_s: float = Field(0.0, ge=0, description="moving average over time before the encoder, s (0: none)")
