"""The results page."""

from __future__ import annotations

from typing import Literal

from brain2clip.settings.base import Block, neutral


class Page(Block):
    """What the results page shows."""

    pictures: Literal["hide", "show"] | None = neutral(
        None,
        description="pictures of the stimuli on the page. hide: names alone; show: also those of your own data, of "
        "which you say so that they may be passed on with the page; pictures of published datasets, which may not be, "
        "are never shown (null: those of simulated studies alone)",
    )
    queries: int = neutral(
        200,
        ge=1,
        le=100_000,
        description="queries of a run, task and number of averaged repetitions that the explorer holds at most; where "
        "there are more, the first ones of every stimulus, and of more stimuli evenly spaced ones",
    )
