"""Vectors of a picture: from which view, and from which part of the tower."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, Name
from brain2clip.settings.views import View


class Vector(Block):
    """One vector of every picture: from a place in the frozen tower, or from a file."""

    view: View | None = Field(None, description="change of the picture before the tower reads it (null: no change)")
    block: int | None = Field(
        None,
        ge=1,
        description="take the output of this block, each vector scaled by a layer norm without parameters (null: the "
        "output of the last block, after the tower's norm and projection)",
    )
    pool: Literal["tower", "class", "patches", "grid"] = Field(
        "tower",
        description="tower: the tower's own pooling; class: the class token; patches: mean of the patch tokens; grid: "
        "means over a grid of the patch tokens, one after the other",
    )
    grid: int | None = Field(None, ge=1, le=64, description="rows and columns of pool: grid")
    ready: Name | None = Field(
        None, description="instead of the tower: the name of a file of vectors of the study (studies.*.ready_vectors)"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Vector:
        if self.ready is not None:
            of_tower = [key for key in ("view", "block", "grid") if getattr(self, key) is not None]
            if self.pool != "tower":
                of_tower.append("pool")
            if of_tower:
                raise ValueError(f"ready ({self.ready}) comes from a file; expected no {' and no '.join(of_tower)}")
        if self.block is not None and self.pool == "tower":
            raise ValueError("block (an early exit) needs pool: patches, class or grid")
        if (self.pool == "grid") != (self.grid is not None):
            raise ValueError("grid (a number of rows) goes with pool: grid, and only with it")
        return self

    @property
    def is_embedding(self) -> bool:
        """Whether it is the joint embedding of the picture itself, which every study has."""
        return self.ready is None and self.view is None and self.block is None and self.pool == "tower"

    @property
    def from_tower(self) -> bool:
        """Whether it is taken from the tower while that sees the picture as it is, so that prompts can change it."""
        return self.ready is None and self.view is None

    @property
    def in_joint_space(self) -> bool:
        """Whether it is a direction of CLIP's joint space, as far as is known."""
        return self.ready is None and self.block is None and self.pool != "grid"

    @property
    def name(self) -> str:
        """Name of its file; the same for the same vector, another for another."""
        if self.ready is not None:
            return f"ready-{self.ready}"
        view = "picture" if self.view is None else self.view.name
        where = [] if self.block is None else [f"block-{self.block}"]
        pooled = [] if self.pool == "tower" else [f"grid-{self.grid}" if self.pool == "grid" else self.pool]
        return "_".join([view, *where, *pooled])
