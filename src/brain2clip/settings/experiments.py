"""What is run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from brain2clip.settings.base import Block, EachOnce, Name, Seed


class Experiment(Block):
    """A block of runs: every combination of what is listed."""

    renamed: ClassVar[dict[str, str]] = {"bands": "signals"}

    study: Name = Field(description="name of a study")
    signals: Annotated[tuple[Name, ...], EachOnce] = Field(
        min_length=1, description="brain signals: names of bands for a study of EEG, of rois for one of fMRI"
    )
    protocols: Annotated[tuple[Name, ...], EachOnce] = Field(min_length=1, description="names of protocols")
    methods: Annotated[tuple[Name, ...], EachOnce] = Field(min_length=1, description="names of methods")
    seeds: Annotated[tuple[Seed, ...], EachOnce] = Field((0,), min_length=1, description="seeds of training")
