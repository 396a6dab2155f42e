"""Ranking of candidates and its statistics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from brain2clip.settings.base import Block

Task = Literal["stimulus", "category", "caption", "stimulus-to-brain", "caption-to-brain"]


class Pools(Block):
    """Candidates drawn at random: metrics for galleries of another size than the test set."""

    size: int = Field(ge=2, description="candidates of a pool, the true one included, e.g. 300")
    draws: int = Field(30, ge=1, description="pools drawn; a metric is the mean over all queries of all pools")
    seed: int = Field(0, ge=0, description="seed of the draws, the same pools for every method")


class Retrieval(Block):
    """Ranking of candidates and its statistics."""

    tasks: tuple[Task, ...] = Field(
        ("stimulus",),
        min_length=1,
        description="what is looked for. stimulus: the seen picture among the test pictures (the prompts where a study "
        "has no pictures); category: the class of the picture, by its text prompts; caption: its caption; "
        "stimulus-to-brain and caption-to-brain: the brain response to a picture or caption among those to all",
    )
    pools: Pools | None = Field(None, description="also rank in random pools of candidates (null: all candidates only)")

    repetitions: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(
        ("all",),
        min_length=1,
        description="numbers of averaged test repetitions; each number forms disjoint groups of trials",
    )
    top_k: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 3, 5, 10), description="k of Top-k")
    n_way: tuple[int, ...] = Field(
        (2, 4, 10, 50, 100, 200),
        description="n of n-way accuracy: the true one among n-1 random others (exact mean)",
    )
    bootstrap: int = Field(2000, ge=100, description="bootstrap samples of an interval")
    level: float = Field(0.95, gt=0, lt=1, description="coverage of an interval")
    seed: int = Field(0, description="seed of trial groups and bootstrap")
