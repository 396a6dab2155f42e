"""The picture side."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.settings.adapters import Adapter
from brain2clip.settings.base import EXTERNAL, Block, Kind, from_outside, neutral, tag
from brain2clip.settings.filters import Filter, Gains
from brain2clip.settings.heads import Head


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
    last_blocks: int | None = neutral(None, ge=1, description="deep prompts only in the last n blocks (null: in all)")
    dropout: float = neutral(0.0, ge=0, lt=1, description="dropout of the prompts")


class Readout(Block):
    """Where the picture embedding is taken from the tower."""

    block: int | None = neutral(
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


class VisualBase(Kind):
    """The picture side: what all kinds have."""

    family: ClassVar[str] = "visuals"
    #: Whether it drives the frozen tower from patch tokens; else the cached embedding is all that it takes.
    drives_tower: ClassVar[bool] = False

    kind: str
    head: Head = Field(default_factory=Head, description="projection of the picture embedding")

    @property
    def leaves_joint_space(self) -> str | None:
        """The setting by which pictures leave CLIP's joint space; None: they stay."""
        return None


class FrozenVisual(VisualBase):
    """The cached CLIP embedding."""

    kind: Literal["frozen"] = "frozen"


class NeuroClipVisual(VisualBase):
    """The prompted tower."""

    drives_tower: ClassVar[bool] = True

    kind: Literal["neuroclip"] = "neuroclip"
    filter: Filter = Field(default_factory=Gains, description="dynamic filter (filtered stream)")
    fusion: Fusion = Field(default_factory=Fusion, description="token-level fusion (instance prompts)")
    prompts: SharedPrompts = Field(default_factory=SharedPrompts, description="shared prompt tokens")
    adapter: Adapter | None = neutral(None, description="trained change of the tower's weights (null: none)")
    readout: Readout = Field(default_factory=Readout, description="where the embedding is taken")

    @property
    def leaves_joint_space(self) -> str | None:
        """An early exit."""
        return None if self.readout.block is None else f"visual.readout.block: {self.readout.block}"


Visual = Annotated[
    Annotated[FrozenVisual, Tag("frozen")]
    | Annotated[NeuroClipVisual, Tag("neuroclip")]
    | Annotated[SerializeAsAny[VisualBase], from_outside(VisualBase), Tag(EXTERNAL)],
    Discriminator(tag("visuals", default="neuroclip")),
]
