"""What is run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from brain2clip.settings.base import Block, Name


class Experiment(Block):
    """A block of runs: every combination of what is listed."""

    study: Name = Field(description="name of a study")
    bands: tuple[Name, ...] = Field(min_length=1, description="names of bands; of rois for a study of fMRI")
    protocols: tuple[Name, ...] = Field(min_length=1, description="names of protocols")
    methods: tuple[Name, ...] = Field(min_length=1, description="names of methods")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1, description="seeds of training")
