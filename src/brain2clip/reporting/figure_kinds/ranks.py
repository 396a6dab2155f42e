"""Figure ``ranks``: distribution of the rank of the right candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Ranks of the main experiment."""

    order = 30

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all runs of the first signal."""
        runs = figure_base.main_runs(plan, study)
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of these methods."""
        return {"methods": figure_base.labels(plan, plan.main_experiment(study).methods)}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """All retrieval rows."""
        from brain2clip.reporting import reading

        return figure_ranks(reading.together(job, "rows"), job.settings["methods"])


def figure_ranks(rows: pd.DataFrame, methods: Mapping[str, str]) -> drawn.Figure:
    """Share of queries per bin of rank (1, 2, 3-4, …): a panel per block and task, a line per method, chance dashed.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows; those with all repetitions averaged, among all candidates, are used, of all subjects and seeds.
    methods : mapping
        Name to label, in the order of the tables.
    """
    from brain2clip.reporting import style

    rows = rows[(rows["repetitions"].astype(str) == "all") & (rows["pool"] == 0)]
    numbers = blocks.ordered(methods, rows["method"])
    several = rows["task"].nunique() > 1
    panels = [
        (f"{title}: {task}" if several else title, part)
        for title, block in blocks.split(rows)
        for task, part in block.groupby("task", sort=False)
    ]
    made, axes = style.grid(len(panels))
    for axis, (title, part) in zip(axes, panels, strict=True):
        _histogram(axis, part, numbers)
        axis.set_title(title)
    style.legend_below(made, axes)
    return made


def binned(rank: ArrayLike, n_candidates: int) -> NDArray[np.float64]:
    """Share of ranks in each bin whose upper ends are the powers of two, [n_bins]."""
    import numpy as np

    bins = np.ceil(np.log2(np.asarray(rank))).astype(np.int64)
    return np.bincount(bins, minlength=_n_bins(n_candidates)) / max(bins.size, 1)


def _histogram(axis: Axes, part: pd.DataFrame, numbers: Mapping[str, tuple[int, str]]) -> None:
    import numpy as np

    from brain2clip.reporting import style

    n_candidates = int(part["n_candidates"].max())
    places = np.arange(_n_bins(n_candidates))
    for method, (number, name) in numbers.items():
        rank = part.loc[part["method"] == method, "rank"]
        if len(rank):
            share = 100 * binned(rank, n_candidates)
            axis.plot(places, share, "o", ms=4, color=style.colour(number), ls=style.line(number), label=name)
    chance = 100 * binned(np.arange(1, n_candidates + 1), n_candidates)
    axis.plot(places, chance, color="black", linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    axis.set_xticks(places, _labels(n_candidates), rotation=45 if len(places) > 7 else 0)
    axis.set(xlabel=f"rank of the right candidate, of {n_candidates}", ylabel="queries (%)", ylim=(0, None))


def _n_bins(n_candidates: int) -> int:
    import numpy as np

    return int(np.ceil(np.log2(n_candidates))) + 1


def _labels(n_candidates: int) -> list[str]:
    ends = [min(2**number, n_candidates) for number in range(_n_bins(n_candidates))]
    starts = [1, *(end + 1 for end in ends[:-1])]
    return [str(end) if start == end else f"{start}–{end}" for start, end in zip(starts, ends, strict=True)]
