"""The picture side."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.settings.adapters import Adapter
from brain2clip.settings.base import EXTERNAL, Block, Kind, from_outside, neutral, tag
from brain2clip.settings.filters import Filter, Gains
from brain2clip.settings.heads import Head
from brain2clip.settings.readouts import OneVector, Readout, outside
from brain2clip.settings.vectors import Vector


class Fusion(Block):
    """Token-level fusion of the raw and the filtered stream into instance prompts."""

    kind: Literal["cross-attention", "concat", "add", "none"] = Field(
        "cross-attention",
        description="cross-attention: raw tokens attend to filtered tokens; concat: both tokens at a place go "
        "through an MLP; add: the sum of both goes through an MLP; none: no instance prompts",
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
        "deep", description="deep: separate prompts at every block; shallow: at the first block only; off: no prompts"
    )
    tokens: int = Field(8, ge=1, description="prompt tokens m")
    last_blocks: int | None = neutral(None, ge=1, description="deep prompts only in the last n blocks (null: in all)")
    dropout: float = neutral(0.0, ge=0, lt=1, description="dropout of the prompts")


class VisualBase(Kind):
    """The picture side: settings of all kinds."""

    family: ClassVar[str] = "visuals"
    #: Whether it runs the frozen tower from patch tokens; else it reads cached embeddings only.
    drives_tower: ClassVar[bool] = False
    #: Whether it is told in training how similar pictures are to their responses, and changes by it.
    watches: ClassVar[bool] = False

    kind: str
    head: Head = Field(default_factory=Head, description="projection of the output of the readout")

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Vectors of pictures that it reads beside the joint embedding, each a file."""
        return ()

    @property
    def frozen_vectors(self) -> tuple[Vector, ...]:
        """Those that it reads where the frozen tower alone sees pictures (``optimiser.frozen_epochs``)."""
        return self.vectors

    @property
    def fitted(self) -> bool:
        """Whether it is fitted to training pictures, with all its vectors in memory, before anything trains."""
        return False

    @property
    def leaves_joint_space(self) -> str | None:
        """The setting by which pictures leave CLIP's joint space; None: they stay."""
        return None

    @property
    def without_texts(self) -> str | None:
        """The setting by which texts cannot be compared with pictures; None: they can."""
        return self.leaves_joint_space

    @property
    def tunes(self) -> tuple[str, ...]:
        """The settings by which the tower differs from the frozen tower."""
        return (f"visual.kind: {self.kind}",) if self.drives_tower else ()

    @property
    def moved(self) -> tuple[str, ...]:
        """The settings by which its embeddings differ from those of the frozen tower; none: they do not."""
        away = () if self.leaves_joint_space is None else (self.leaves_joint_space,)
        head = () if self.head.kind == "none" else (f"visual.head.kind: {self.head.kind}",)
        return (*away, *self.tunes, *head, *(("visual.head.norm: true",) if self.head.norm else ()))

    @property
    def by_subject(self) -> bool:
        """Whether pictures differ by the subject that sees them, in training."""
        return False

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """Part of the readout that is a patch grid and its rows, where weights of the head are weights of places."""
        return None


class ReadVisual(VisualBase):
    """A picture side that reads its embedding out of vectors of the picture."""

    readout: Readout = Field(
        default_factory=OneVector,
        description="how one vector, which responses are compared with, is made of the vectors of a picture",
    )

    @property
    def frozen_vectors(self) -> tuple[Vector, ...]:
        """All of its readout."""
        return self.readout.further

    @property
    def fitted(self) -> bool:
        """Its readout."""
        return self.readout.fitted

    @property
    def leaves_joint_space(self) -> str | None:
        """Its readout."""
        found = self.readout.leaves_joint_space
        return None if found is None else f"visual.{found}"

    @property
    def without_texts(self) -> str | None:
        """Its readout."""
        found = self.readout.without_texts
        return None if found is None else f"visual.{found}"

    @property
    def by_subject(self) -> bool:
        """Its readout."""
        return self.readout.by_subject

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """That of the readout, under a linear head."""
        return self.readout.grid_part if self.head.kind == "linear" else None


class FrozenVisual(ReadVisual):
    """Cached vectors of the frozen CLIP."""

    kind: Literal["frozen"] = "frozen"

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """All of its readout."""
        return self.readout.further


class UncertaintyVisual(VisualBase):
    """Three levels of blur: in training by how well responses fit their picture, in tests the medium one."""

    watches: ClassVar[bool] = True

    kind: Literal["uncertainty"] = "uncertainty"
    low: Vector = Field(description="view of pictures whose responses fit unusually well")
    medium: Vector = Field(description="view of all other pictures, and of all pictures in tests")
    high: Vector = Field(description="view of pictures whose responses fit unusually badly")
    unit: bool = Field(True, description="set each vector to unit length before the head")
    update: float = Field(
        0.3, gt=0, le=1, description="weight of a new similarity in the running mean of a picture, at each step"
    )
    deviations: float = Field(
        1.96,
        ge=0,
        description="number of standard deviations over the training pictures from which on a fit is "
        "unusual; computed in every epoch",
    )

    @property
    def levels(self) -> tuple[Vector, Vector, Vector]:
        """From the least blurred to the most."""
        return self.low, self.medium, self.high

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Those that are not the joint embedding, each once."""
        return tuple(dict.fromkeys(one for one in self.levels if not one.is_embedding))

    @property
    def leaves_joint_space(self) -> str | None:
        """A vector from elsewhere."""
        named = ((name, outside((getattr(self, name),))) for name in ("low", "medium", "high"))
        return next((f"visual.{name}.{found}" for name, found in named if found is not None), None)


class NeuroClipVisual(ReadVisual):
    """The prompted tower; vectors of other views and ready vectors come from the frozen tower."""

    drives_tower: ClassVar[bool] = True

    kind: Literal["neuroclip"] = "neuroclip"
    filter: Filter = Field(default_factory=Gains, description="dynamic filter (filtered stream)")
    fusion: Fusion = Field(default_factory=Fusion, description="token-level fusion (instance prompts)")
    prompts: SharedPrompts = Field(default_factory=SharedPrompts, description="shared prompt tokens")
    adapter: Adapter | None = neutral(None, description="trained change of the tower's weights (null: none)")

    @property
    def tunes(self) -> tuple[str, ...]:
        """Prompts of either sort, and an adapter."""
        kinds = {
            "prompts.depth": None if self.prompts.depth == "off" else self.prompts.depth,
            "fusion.kind": None if self.fusion.kind == "none" else self.fusion.kind,
            "adapter.kind": None if self.adapter is None else self.adapter.kind,
        }
        return tuple(f"visual.{name}: {kind}" for name, kind in kinds.items() if kind is not None)

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """What its prompted tower does not give; all, where the readout is fitted to unprompted pictures."""
        return tuple(one for one in self.readout.further if self.readout.fitted or not one.from_tower)


Visual = Annotated[
    Annotated[FrozenVisual, Tag("frozen")]
    | Annotated[UncertaintyVisual, Tag("uncertainty")]
    | Annotated[NeuroClipVisual, Tag("neuroclip")]
    | Annotated[SerializeAsAny[VisualBase], from_outside(VisualBase), Tag(EXTERNAL)],
    Discriminator(tag("visuals", default="neuroclip")),
]
