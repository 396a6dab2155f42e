"""Networks from a brain response to an embedding."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, neutral, tag


class EncoderBase(Kind):
    """Network from a brain response to an embedding: what all kinds have."""

    family: ClassVar[str] = "encoders"
    renamed: ClassVar[dict[str, str]] = {"name": "kind"}
    #: Whether it convolves over time, which takes longer than a linear layer (for :mod:`brain2clip.plan.amounts`).
    convolves: ClassVar[bool] = False

    kind: str
    width: int = Field(512, ge=8, description="size of the encoder's embedding")
    smoothing_s: float = neutral(0.0, ge=0, description="moving average over time before the encoder, s (0: none)")


class EegProject(EncoderBase):
    """Linear projection with a residual block (UBP)."""

    kind: Literal["eegproject"] = "eegproject"
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability in the residual block")


class TsConv(EncoderBase):
    """Temporal then spatial convolution (NICE)."""

    convolves: ClassVar[bool] = True

    kind: Literal["tsconv"] = "tsconv"
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability")


Encoder = Annotated[
    Annotated[EegProject, Tag("eegproject")]
    | Annotated[TsConv, Tag("tsconv")]
    | Annotated[SerializeAsAny[EncoderBase], from_outside(EncoderBase), Tag(EXTERNAL)],
    Discriminator(tag("encoders", default="eegproject")),
]
