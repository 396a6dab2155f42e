"""The part of the responses that a method gets: fewer channels, times, repetitions or pictures."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, EachOnce, Filled, Seed

#: Channels by name, or all of a set: of one that is named in ``studies.*.responses.channels``, or of a region.
Channels = Annotated[tuple[Filled, ...], EachOnce]
Window = tuple[float, float]


class Inputs(Block):
    """Part of the responses of a study that a method trains on and is tested with."""

    channels: Channels | None = Field(
        None,
        min_length=1,
        description="EEG: names of channels, or of sets: occipital-parietal-17, nice-63, or the regions frontal, "
        "central, temporal, parietal, occipital (null: all channels of the study; whitening always uses all of them)",
    )
    without: Channels | None = Field(
        None, min_length=1, description="EEG: channels or sets, as for channels, that are left out"
    )
    window: Window | None = Field(
        None,
        description="EEG: part of the epoch that is used, from and to (which is left out), s (null: the whole epoch)",
    )
    test_window: Window | None = Field(
        None, description="EEG: another window of the same length for test responses (null: the window of training)"
    )
    repetitions: int | None = Field(
        None, ge=1, description="training trials used for each stimulus and subject (null: all)"
    )
    draw: Literal["first", "random"] = Field(
        "first", description="which repetitions: the first in time, or drawn with the seed"
    )
    concepts: int | None = Field(None, ge=2, description="number of training concepts, drawn with the seed (null: all)")
    pictures_per_concept: int | None = Field(
        None, ge=1, description="number of training pictures of each concept, drawn with the seed (null: all)"
    )
    seed: Seed = Field(0, description="seed of the draws; with the same seed, a smaller draw is part of a larger one")

    @model_validator(mode="after")
    def _windows_go_together(self) -> Self:
        for name in ("window", "test_window"):
            window = getattr(self, name)
            if window is not None and window[0] >= window[1]:
                raise ValueError(f"{name}: expected [from, to] in this order; found {list(window)}")
        if self.test_window is not None and self.window is None:
            raise ValueError("test_window: expected beside it the window of training, of the same length")
        return self
