"""Filter bands of the brain signal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, EachOnce, neutral


class Band(Block):
    """A named filter band of the brain signal; its name is part of every path that depends on it."""

    l_freq: float | None = neutral(
        None, ge=0, description="high-pass edge in Hz (null: none beyond the recording's own)"
    )
    h_freq: float | None = neutral(None, gt=0, description="low-pass edge in Hz (null: none beyond anti-aliasing)")
    notch: Annotated[tuple[Annotated[float, Field(gt=0)], ...], EachOnce] = neutral(
        (), description="mains frequencies in Hz to notch out, e.g. [50, 100]"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise ValueError(
                f"l_freq ({self.l_freq} Hz) must be below h_freq ({self.h_freq} Hz); "
                "a band keeps what lies between them"
            )
        return self
