"""What is run."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from brain2clip.settings.base import Block, EachOnce, Name, Seed, neutral


class Experiment(Block):
    """A block of runs: every combination of the listed values."""

    renamed: ClassVar[dict[str, str]] = {"bands": "signals"}

    study: Name = Field(description="name of a study")
    signals: Annotated[tuple[Name, ...], EachOnce] = Field(
        min_length=1, description="brain signals: names of bands for a study of EEG, of rois for one of fMRI"
    )
    protocols: Annotated[tuple[Name, ...], EachOnce] = Field(min_length=1, description="names of protocols")
    methods: Annotated[tuple[Name, ...], EachOnce] = Field(min_length=1, description="names of methods")
    sweep: dict[str, tuple[Any, ...]] = neutral(
        {},
        description="settings of a method with lists of values, such as {inputs.repetitions: [1, 2, 4]}: every method "
        "is run with every combination of them, under the name METHOD-KEY-VALUE",
    )
    generators: Annotated[tuple[Name, ...], EachOnce] = neutral(
        (), description="names of generators that make pictures from the predictions of every run of the experiment"
    )
    seeds: Annotated[tuple[Seed, ...], EachOnce] = Field((0,), min_length=1, description="seeds of training")

    def __hash__(self) -> int:
        """Of what it runs: its sweep is written out in its methods."""
        return hash((self.study, self.signals, self.protocols, self.methods, self.seeds, self.generators))
