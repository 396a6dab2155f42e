"""Readouts: from the vectors of a picture to the one vector that brain responses are compared with."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.settings.base import EXTERNAL, EachOnce, Kind, from_outside, neutral, tag
from brain2clip.settings.vectors import Vector


class ReadoutBase(Kind):
    """From the vectors of a picture to one vector: settings of all kinds."""

    family: ClassVar[str] = "readouts"
    #: Whether it has parameters that train with the model.
    learned: ClassVar[bool] = False
    #: Whether it is fitted to the unprompted vectors of training pictures before anything trains.
    fitted: ClassVar[bool] = False

    kind: str

    @property
    def inputs(self) -> tuple[Vector, ...]:
        """Vectors that it is made of, in its order."""
        raise NotImplementedError

    @property
    def further(self) -> tuple[Vector, ...]:
        """Those of its vectors that are not the joint embedding, each once."""
        return tuple(dict.fromkeys(one for one in self.inputs if not one.is_embedding))

    @property
    def leaves_joint_space(self) -> str | None:
        """The setting by which pictures leave CLIP's joint space; None: they stay."""
        return f"readout.kind: {self.kind}"

    @property
    def without_texts(self) -> str | None:
        """The setting by which texts have no place beside pictures; None: they have one."""
        return self.leaves_joint_space

    @property
    def by_subject(self) -> bool:
        """Whether pictures differ by the subject that sees them, in training."""
        return False

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """Of parts one after the other, the first that is a patch grid, and its rows; None: there is none."""
        return None


Vectors = Annotated[tuple[Vector, ...], Field(min_length=1), EachOnce]


def outside(vectors: tuple[Vector, ...]) -> str | None:
    """The first of some vectors that is none of CLIP's joint space, as a setting; None: all are."""
    for one in vectors:
        if not one.in_joint_space:
            if one.ready is not None:
                return f"ready: {one.ready}"
            return "pool: grid" if one.block is None else f"block: {one.block}"
    return None


class OneVector(Vector, ReadoutBase):
    """One vector; by default the joint embedding."""

    kind: Literal["one"] = "one"

    @property
    def inputs(self) -> tuple[Vector, ...]:
        """The vector."""
        return (Vector.model_construct(**{name: getattr(self, name) for name in Vector.model_fields}),)

    @property
    def leaves_joint_space(self) -> str | None:
        """A vector from elsewhere."""
        found = outside(self.inputs)
        return None if found is None else f"readout.{found}"


class MeanOfVectors(ReadoutBase):
    """Mean of vectors of one width, as of the embeddings of several views."""

    kind: Literal["mean"] = "mean"
    vectors: Vectors = Field(description="the vectors that are averaged")
    unit: bool = Field(False, description="set each to unit length before")

    @property
    def inputs(self) -> tuple[Vector, ...]:
        """All."""
        return self.vectors

    @property
    def leaves_joint_space(self) -> str | None:
        """A vector from elsewhere."""
        found = outside(self.vectors)
        return None if found is None else f"readout.vectors.{found}"


class Part(Vector):
    """A vector of a concatenation."""

    components: int | None = Field(
        None, ge=1, description="keep this many principal components, fitted on training pictures (null: all numbers)"
    )
    weight: float = Field(
        1.0, gt=0, description="factor on this part, which is scaled to a mean square length of 1 before"
    )

    @property
    def vector(self) -> Vector:
        """The vector alone."""
        return Vector.model_validate({name: getattr(self, name) for name in Vector.model_fields})


class InParts(ReadoutBase):
    """What readouts of several parts have: texts stand in those of the joint space, the others being at their mean."""

    fitted: ClassVar[bool] = True

    def listed(self) -> tuple[Part, ...]:
        """The parts."""
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[Vector, ...]:
        """Of all parts."""
        return tuple(part.vector for part in self.listed())

    @property
    def without_texts(self) -> str | None:
        """That no part is of the joint space."""
        return None if any(part.in_joint_space for part in self.listed()) else self.leaves_joint_space

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """The first grid."""
        listed = enumerate(self.listed())
        return next(((number, part.grid) for number, part in listed if part.grid is not None), None)


class Concatenation(InParts):
    """Concatenated parts, each centred and scaled to a mean square length of 1 on training pictures."""

    kind: Literal["concat"] = "concat"
    parts: Annotated[tuple[Part, ...], Field(min_length=1), EachOnce] = Field(
        description="the vectors that are concatenated"
    )

    def listed(self) -> tuple[Part, ...]:
        """As they are given."""
        return self.parts


class Spatial(InParts):
    """The joint embedding and principal components of a grid of patch tokens, which hold the picture's layout."""

    kind: Literal["spatial"] = "spatial"
    block: int | None = Field(
        None, ge=1, description="patch tokens after this block (null: after the last, through norm and projection)"
    )
    grid: int = Field(4, ge=1, le=64, description="rows and columns of the grid")
    components: int = Field(64, ge=1, description="principal components of the grid, fitted on training pictures")
    weight: float = Field(1.0, gt=0, description="factor on the components; the factor on the embedding is 1")

    def listed(self) -> tuple[Part, ...]:
        """Embedding and grid."""
        own = {"block": self.block, "pool": "grid", "grid": self.grid, "components": self.components}
        return (Part(), Part.model_validate({**own, "weight": self.weight}))


class Mix(ReadoutBase):
    """Weighted mean of vectors; the weights are a learned softmax."""

    learned: ClassVar[bool] = True

    kind: Literal["mix"] = "mix"
    vectors: Vectors = Field(description="the vectors that are mixed")
    unit: bool = Field(True, description="set each to unit length before")
    width: int | None = Field(
        None, ge=2, description="each vector has a linear layer that maps it to this many numbers (null: none)"
    )
    shared_width: int | None = neutral(
        None,
        ge=2,
        description="before these layers, one linear layer maps all vectors to this many numbers (null: none)",
    )
    learned_vectors: int = neutral(
        0, ge=0, description="number of further vectors, the same for all pictures, which start at zero and are learned"
    )
    per_dimension: bool = Field(False, description="separate weights for every number of the vectors")
    start: Literal["prior", "uniform"] = neutral(
        "prior", description="logarithms of weights at the start: prior, as below; uniform: drawn from 0 to 1"
    )
    prior_block: float | None = Field(
        None, description="weights at the start fall with the distance from this block (null: all are equal)"
    )
    prior_places: tuple[float, ...] | None = neutral(
        None,
        min_length=1,
        description="block of each vector, for vectors that do not name one, such as ready ones (null: the blocks "
        "that the vectors name)",
    )
    prior_spread: float = Field(
        4.0, gt=0, description="number of blocks over which the logarithm of a weight falls by one"
    )
    subject_dropout: float | None = Field(
        None,
        ge=0,
        le=1,
        description="every subject has a bias on the weights in training, which is left out with this probability, "
        "and always in tests (null: no such bias)",
    )
    subject_dropout_by: Literal["batch", "picture"] = neutral(
        "batch",
        description="batch: the bias is left out for all pictures of a step or for none; picture: for each "
        "picture independently",
    )

    @property
    def places(self) -> tuple[float | None, ...]:
        """Block of each vector, for the prior."""
        return tuple(one.block for one in self.vectors) if self.prior_places is None else self.prior_places

    @model_validator(mode="after")
    def _blocks_known(self) -> Mix:
        if self.prior_places is not None and len(self.prior_places) != len(self.vectors):
            raise ValueError(
                f"prior_places: found {len(self.prior_places)}; expected one for each of the {len(self.vectors)} "
                "vectors"
            )
        if self.prior_block is not None and None in self.places:
            raise ValueError(
                "prior_block: expected a block in every vector, or prior_places; found a vector without a block"
            )
        if self.start == "uniform" and self.prior_block is not None:
            raise ValueError("start: uniform draws the weights at random; expected no prior_block with it")
        if self.shared_width is not None and self.width is None:
            raise ValueError("shared_width: expected width as well, for the layer of each vector after the shared one")
        return self

    @property
    def inputs(self) -> tuple[Vector, ...]:
        """All."""
        return self.vectors

    @property
    def leaves_joint_space(self) -> str | None:
        """A layer of its own, learned vectors, or a vector from elsewhere."""
        found = outside(self.vectors)
        if self.width is not None:
            found = f"width: {self.width}"
        elif self.learned_vectors:
            found = f"learned_vectors: {self.learned_vectors}"
        return None if found is None else f"readout.{found}"

    @property
    def by_subject(self) -> bool:
        """Whether there is a bias of subjects."""
        return self.subject_dropout is not None


Readout = Annotated[
    Annotated[OneVector, Tag("one")]
    | Annotated[MeanOfVectors, Tag("mean")]
    | Annotated[Concatenation, Tag("concat")]
    | Annotated[Spatial, Tag("spatial")]
    | Annotated[Mix, Tag("mix")]
    | Annotated[SerializeAsAny[ReadoutBase], from_outside(ReadoutBase), Tag(EXTERNAL)],
    Discriminator(tag("readouts", default="one")),
]
