"""Figures of the report."""

from __future__ import annotations

from pydantic import Field

from brain2clip.settings.base import Block, Name


class Figures(Block):
    """What the figures show."""

    method: Name | None = Field(None, description="method of gallery, gains and prompt figures (null: the first)")
    topography_times: tuple[float, ...] = Field((0.1, 0.17, 0.3), description="times of the topographies, s")
