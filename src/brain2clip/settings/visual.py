"""The picture side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block
from brain2clip.settings.heads import Head


class DynamicFilter(Block):
    """Content-adaptive gains over the picture's frequency bands: the filtered stream."""

    form: Literal["gains", "softmax", "fixed", "off"] = Field(
        "gains",
        description="gains: 2*sigmoid per band from the picture's content; softmax: bands compete; fixed: learned "
        "gains that are the same for all pictures; off: the filtered stream equals the raw one",
    )
    init: Literal["allpass", "lowpass"] = Field("allpass", description="gains at the start of training")
    reduction: int = Field(16, ge=1, description="bottleneck of the gain network: width / reduction")


class Fusion(Block):
    """Token-level fusion of the raw and the filtered stream into instance prompts."""

    kind: Literal["cross-attention", "concat", "add", "none"] = Field(
        "cross-attention",
        description="cross-attention: raw tokens look at filtered ones; concat: both tokens at a place through an MLP; "
        "add: sum of the streams through an MLP; none: no instance prompts",
    )
    target: Literal["patches", "extra"] = Field(
        "patches", description="patches: the prompt is added to the patch tokens; extra: it becomes extra tokens"
    )
    extra_tokens: int = Field(4, ge=1, description="number of extra tokens for target: extra")
    width: int = Field(128, ge=4, description="width of the cross-attention")
    heads: int = Field(4, ge=1, description="heads of the cross-attention")
    reduction: int = Field(16, ge=1, description="bottleneck: width / reduction")

    @model_validator(mode="after")
    def _heads_divide(self) -> Fusion:
        if self.width % self.heads:
            raise ValueError(f"fusion.width ({self.width}) must be a multiple of fusion.heads ({self.heads})")
        return self


class SharedPrompts(Block):
    """Visual prompt tokens inside the Transformer, the same for all pictures."""

    depth: Literal["deep", "shallow", "off"] = Field(
        "deep", description="deep: own prompts at every block; shallow: at the first only; off: none"
    )
    tokens: int = Field(8, ge=1, description="prompt tokens m")
    last_blocks: int | None = Field(None, ge=1, description="deep prompts only in the last n blocks (null: in all)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the prompts")


class Readout(Block):
    """Where the picture embedding is taken from the tower."""

    block: int | None = Field(
        None, ge=1, description="leave the tower after this many blocks (null: after the last, through its projection)"
    )
    pool: Literal["tower", "patches"] = Field(
        "tower", description="tower: the tower's own pooling; patches: mean of the patch tokens"
    )

    @model_validator(mode="after")
    def _exit_pool(self) -> Readout:
        if self.block is not None and self.pool == "tower":
            raise ValueError("readout.block (an early exit) needs readout.pool: patches")
        return self


class Visual(Block):
    """The picture side."""

    kind: Literal["frozen", "neuroclip"] = Field(
        "neuroclip", description="frozen: the cached CLIP embedding; neuroclip: the prompted tower"
    )
    filter: DynamicFilter = Field(default_factory=DynamicFilter, description="dynamic filter (filtered stream)")
    fusion: Fusion = Field(default_factory=Fusion, description="token-level fusion (instance prompts)")
    prompts: SharedPrompts = Field(default_factory=SharedPrompts, description="shared prompt tokens")
    readout: Readout = Field(default_factory=Readout, description="where the embedding is taken")
    head: Head = Field(default_factory=Head, description="projection of the picture embedding")
