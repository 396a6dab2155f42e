"""Figures of the report."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from brain2clip import kinds
from brain2clip.settings.base import Block, EachOnce, Name, neutral


def file_name(kind: str) -> str:
    """What the file of a figure is called: its kind, of one from outside the class in lower case."""
    return kind.partition(":")[2].lower() or kind


class Figures(Block):
    """What the figures show."""

    method: Name | None = Field(None, description="method of gallery, gains and prompt figures (null: the first)")
    topography_times: Annotated[tuple[Annotated[float, Field(ge=-60, le=60)], ...], EachOnce] = Field(
        (0.1, 0.17, 0.3), min_length=1, description="times of the scalp maps, s"
    )
    window: float = Field(
        0.05, gt=0, le=60, description="width of the windows of accuracy over time (they start half a width apart), s"
    )
    generalisation: bool = neutral(
        False,
        description="temporal generalisation: the models of accuracy over time are tested in every window, and the "
        "figure generalisation shows training window by test window",
    )
    also: tuple[str, ...] = neutral(
        (),
        description="figures of your own, package.module:Class; the file is named after the class, in lower case",
    )

    @field_validator("also")
    @classmethod
    def _are_there(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        taken = set(kinds.shipped("figures"))
        for kind in also:
            if ":" not in kind:
                raise ValueError(f"found {kind!r}; expected package.module:Class (the project's own are always drawn)")
            figure = kinds.load("figures", kind)
            if not (hasattr(figure, "inputs") and hasattr(figure, "draw")):
                raise ValueError(
                    f"{kind!r}: its class needs inputs and draw, as a subclass of "
                    "brain2clip.reporting.figure_base.FigureBase has"
                )
            name = file_name(kind)
            if not (name.isascii() and name.isalnum()):
                raise ValueError(
                    f"{kind!r}: the name of its class becomes the name of a file; use letters and digits only"
                )
            if name in taken:
                raise ValueError(f"{kind!r}: there is already a figure named {name!r}; give the class another name")
            taken.add(name)
        return also
