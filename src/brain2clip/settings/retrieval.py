"""Ranking of candidates and its statistics."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from brain2clip import kinds
from brain2clip.names import MetricName, Task, scoring_of
from brain2clip.settings.base import Block, EachOnce, Seed


def _known(text: str) -> str:
    """A metric without task and repetitions, whose kind exists."""
    name = MetricName.read(text)
    if text != name.base:
        raise ValueError(
            f"found {text!r}; expected a metric alone, as in {name.base!r}: each metric is computed for all of "
            "retrieval.tasks, retrieval.pools and retrieval.repetitions"
        )
    lacking = name.number is None and ":" not in text and (text.endswith("-k") or text.startswith("n-"))
    if name.kind == "n-way" and name.number is not None and name.number < 2:
        raise ValueError(f"found {text!r}; expected at least 2-way: the right candidate and another one")
    if lacking:
        raise ValueError(f"found {text!r}; expected a number in place of the letter, as in top-5 or 10-way")
    if kinds.is_external("metrics", name.kind):
        kinds.load("metrics", name.kind)
    return text


Metric = Annotated[str, AfterValidator(_known)]


class Pools(Block):
    """Candidates drawn at random: metrics for other numbers of candidates than the test set."""

    size: int = Field(ge=2, description="number of candidates in a pool, including the right one, e.g. 300")
    draws: int = Field(
        30,
        ge=1,
        le=100_000,
        description="number of pools that are drawn; a metric is the mean over all queries of all pools",
    )
    seed: Seed = Field(0, description="seed of the draws, the same pools for every method")


class Retrieval(Block):
    """Ranking of candidates and its statistics."""

    renamed: ClassVar[dict[str, str]] = {"top_k": "metrics", "n_way": "metrics"}

    tasks: Annotated[tuple[Task, ...], EachOnce] = Field(
        ("stimulus",),
        min_length=1,
        description="what is looked for. stimulus: the seen picture among the test pictures (among the prompts if a "
        "study has no pictures); category: the class of the picture, by its text prompts; caption: the caption of "
        "the picture; stimulus-to-brain and caption-to-brain: the brain response to a picture or caption, among all "
        "test responses; template: the class of the picture, by the mean of other pictures of the concept "
        "(studies.*.templates); stimulus-csls, category-csls and caption-csls: the same as without -csls, but scored "
        "by CSLS from all queries of the test at once; this is transductive and is shown in separate tables",
    )
    csls_neighbours: int = Field(
        10, ge=1, description="CSLS: number of nearest candidates of a query, and of nearest queries of a candidate"
    )
    pools: Pools | None = Field(
        None, description="also rank in random pools of candidates (null: rank among all candidates only)"
    )

    repetitions: Annotated[tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...], EachOnce] = Field(
        ("all",),
        min_length=1,
        description="numbers of averaged test repetitions; each number forms disjoint groups of trials",
    )
    metrics: tuple[Metric, ...] = Field(
        (
            *("top-1", "top-3", "top-5", "top-10", "median-rank", "mean-rank"),
            *("2-way", "4-way", "10-way", "50-way", "100-way", "200-way", "balanced-accuracy", "auc"),
        ),
        description="metrics, in the order of the summaries: top-K, N-way (the right one among N-1 random others, "
        "exact mean), median-rank, mean-rank; for classes, which may have unequal numbers of queries, "
        "balanced-accuracy and (two classes) auc; or package.module:Class for your own. A metric that needs classes, "
        "or more candidates than a task has, is not computed for that task",
    )
    bootstrap: int = Field(2000, ge=100, le=1_000_000, description="bootstrap samples of an interval")
    level: float = Field(0.95, gt=0, lt=1, description="coverage of an interval")
    seed: Seed = Field(0, description="seed of trial groups and bootstrap")

    @field_validator("metrics")
    @classmethod
    def _some_each_once(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({metric for metric in metrics if metrics.count(metric) > 1})
        if twice or not metrics:
            found = f"{', '.join(twice)} more than once" if twice else "none"
            raise ValueError(f"expected at least one metric, each once; found {found}")
        return metrics

    def ranking(self) -> dict[str, Any]:
        """What the stages that rank candidates read, as JSON."""
        scored = ["csls_neighbours"] if self.scoring_modules() else []
        return self._only("tasks", "pools", "repetitions", "seed", *scored)

    def statistics(self) -> dict[str, Any]:
        """What the stage that summarises rows reads, as JSON."""
        return self._only("metrics", "bootstrap", "level", "seed")

    def intervals(self) -> dict[str, Any]:
        """What an interval depends on, as JSON."""
        return self._only("bootstrap", "level", "seed")

    def metric_modules(self) -> list[str]:
        """Modules of the metrics, sorted: roots of the fingerprint of what computes them all."""
        return sorted({kinds.module_of("metrics", MetricName(metric).kind) for metric in self.metrics})

    def scoring_modules(self) -> list[str]:
        """Modules of the scorings at the end of tasks, sorted: roots of the fingerprint of the stages that rank."""
        found = {scoring_of(task) for task in self.tasks} - {None}
        return sorted(kinds.module_of("scorings", str(name)) for name in found)

    def _only(self, *names: str) -> dict[str, Any]:
        return {name: value for name, value in self.model_dump(mode="json").items() if name in names}
