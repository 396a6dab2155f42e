"""Figure ``cost``: accuracy against seconds of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes

    from brain2clip.plan import Plan, Run
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Methods of the main experiment whose histories say what training took."""

    order = 45
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all runs of the first signal, and histories of their models; where there are methods to compare."""
        runs = _timed(plan, study)
        if len({run.method for run in runs}) < 2 or not plan.shows_accuracy():
            return None
        models = list(dict.fromkeys(map(plan.model_of, runs)))
        return {
            "rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec),
            "history": plan.made_files("training", models, ".history.parquet", plan.train_spec),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of these methods, and what intervals depend on."""
        return {
            "methods": figure_base.labels(plan, (run.method for run in _timed(plan, study))),
            "retrieval": plan.config.retrieval.intervals(),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Retrieval rows and histories of the same methods."""
        import pandas as pd

        from brain2clip.reporting import accuracy, costs, reading

        rows = reading.together(job, "rows")
        parts = [
            accuracy.by_region(part, job.settings["retrieval"]).assign(title=title, protocol=part["protocol"].iloc[0])
            for title, part in blocks.split(rows)
        ]
        found = costs.read(job).dropna(subset=["seconds"])
        points = pd.concat(parts, ignore_index=True)
        return figure_cost(points, found, job.settings["methods"], accuracy.interval(job, points))


def _timed(plan: Plan, study: str) -> list[Run]:
    return [run for run in figure_base.main_runs(plan, study) if plan.config.methods[run.method].timed]


def figure_cost(points: pd.DataFrame, spent: pd.DataFrame, methods: Mapping[str, str], title: str) -> drawn.Figure:
    """One panel per protocol and task: a point with its interval per method, seconds on a logarithmic axis.

    Parameters
    ----------
    points : DataFrame
        From :func:`brain2clip.reporting.accuracy.by_region`, with the columns ``title`` and ``protocol``.
    spent : DataFrame
        From :func:`brain2clip.reporting.costs.read`.
    methods : mapping
        Name to label, in the order of the tables.
    title : str
        Subjects and intervals, in words.
    """
    from brain2clip.reporting import accuracy, costs, style

    numbers = blocks.ordered(methods, points["method"])
    panels = [(*names, part) for names, part in points.groupby(["title", "task"], sort=False)]
    made, axes = style.grid(len(panels))
    for axis, (block, task, part) in zip(axes, panels, strict=True):
        own = spent[spent["protocol"] == part["protocol"].iloc[0]].groupby("method")["seconds"].mean()
        _points(axis, part.assign(seconds=part["method"].map(own)).dropna(subset=["seconds"]), numbers)
        axis.set_title(f"{block}: {accuracy.TASKS[task]}, of {part['n_candidates'].max()}")
    style.legend_below(made, axes)
    style.title(made, f"{title}; trained on {costs.devices(spent['device']) or 'an unknown device'}")
    return made


def _points(axis: Axes, part: pd.DataFrame, numbers: Mapping[str, tuple[int, str]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    from brain2clip.reporting import accuracy, style

    for row in part.to_dict("records"):
        number, label = numbers[row["method"]]
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        error = [[max(value - low, 0)], [max(high - value, 0)]]
        look: dict[str, Any] = {"fmt": style.marker(number), "ms": 5, "color": style.colour(number), "elinewidth": 1.4}
        axis.errorbar(row["seconds"], value, yerr=error, label=label, **look)
    accuracy.scale(axis, part)
    # A factor of four at least, so that there is always a number on the axis.
    axis.set(xlabel="training of one model (s)", xscale="log")
    axis.set_xlim(part["seconds"].min() / 2, part["seconds"].max() * 2)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
