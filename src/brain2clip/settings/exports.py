"""Responses in other projects' formats."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from brain2clip.settings.base import Block, EachOnce, Name


class Export(Block):
    """Responses in other projects' formats, written beside the tables."""

    renamed: ClassVar[dict[str, str]] = {"bands": "signals"}

    study: Name = Field(description="name of a study")
    signals: Annotated[tuple[Name, ...], EachOnce] = Field(min_length=1, description="names of bands")
    formats: Annotated[tuple[Literal["nice", "ubp"], ...], EachOnce] = Field(
        min_length=1, description="nice: pickled dictionaries as NICE and ATM read; ubp: torch files as UBP reads"
    )
