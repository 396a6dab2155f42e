"""The results page."""

from __future__ import annotations

from typing import Literal

from brain2clip.settings.base import Block, neutral


class Page(Block):
    """Settings of the results page."""

    pictures: Literal["hide", "show"] | None = neutral(
        None,
        description="pictures of the stimuli on the page. hide: names only; show: also the pictures of your own "
        "data, by which you declare that they may be passed on with the page; pictures of published datasets may not "
        "be passed on and are never shown (null: only the pictures of simulated studies)",
    )
    queries: int = neutral(
        200,
        ge=1,
        le=100_000,
        description="largest number of queries of a run, task and number of averaged repetitions in the explorer; if "
        "there are more, it shows the first ones of every stimulus, and if there are more stimuli, evenly spaced ones",
    )
