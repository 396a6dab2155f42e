"""Figure ``training``: loss per epoch of every method, and what else was measured in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, stage
from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes

    from brain2clip.plan import Plan, Run
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

_PANELS = {
    "loss": ("training loss (nats)", 1.0),
    "held_out_top1": ("held-out concepts, Top-1 (%)", 100.0),
    "perplexity": ("perplexity of the soft target (pictures)", 1.0),
}


class Figure(figure_base.FigureBase):
    """Histories of the main experiment's methods that are trained epoch by epoch."""

    order = 40

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Histories of all models of the first signal."""
        models = list(dict.fromkeys(plan.model_of(run) for run in _learning(plan, study)))
        return {"history": plan.made_files("training", models, ".history.parquet", plan.train_spec)} if models else None

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of these methods."""
        return {"methods": figure_base.labels(plan, (run.method for run in _learning(plan, study)))}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """All history tables."""
        import pandas as pd

        tables = []
        for path, expected in job.each("history"):
            table = artefact.read_table(path, expected)
            if len(table):
                tables.append(table.assign(**blocks.from_run_path(path)))
        if not tables:
            raise stage.InputError("figure training: all history tables are empty, so there is no curve to draw")
        return figure_training(pd.concat(tables, ignore_index=True), job.settings["methods"])


def _learning(plan: Plan, study: str) -> list[Run]:
    return [run for run in figure_base.main_runs(plan, study) if plan.config.methods[run.method].by_epoch]


def figure_training(history: pd.DataFrame, methods: Mapping[str, str]) -> drawn.Figure:
    """Mean over subjects and seeds per epoch, one standard deviation shaded.

    Parameters
    ----------
    history : DataFrame
        Columns ``study, signal, protocol, method, subject, seed, epoch`` and those of :data:`_PANELS` that there are.
    methods : mapping
        Name to label, in the order of the tables.
    """
    from brain2clip.reporting import style

    numbers = blocks.ordered(methods, history["method"])
    panels = [
        (title, part, column)
        for title, part in blocks.split(history)
        for column in _PANELS
        if column in part and part[column].notna().any()
    ]
    made, axes = style.grid(len(panels))
    for axis, (title, part, column) in zip(axes, panels, strict=True):
        _curves(axis, part, column, numbers)
        axis.set_title(title)
    style.legend_below(made, axes)
    return made


def _curves(axis: Axes, part: pd.DataFrame, column: str, numbers: Mapping[str, tuple[int, str]]) -> None:
    from matplotlib.ticker import MaxNLocator

    from brain2clip.reporting import style

    label, factor = _PANELS[column]
    for method, (number, name) in numbers.items():
        runs = part[(part["method"] == method) & part[column].notna()]
        if runs.empty:
            continue
        by_epoch = (runs.set_index("epoch")[column] * factor).groupby(level=0)
        mean, spread = by_epoch.mean(), by_epoch.std().fillna(0.0)
        colour = style.colour(number)
        axis.plot(mean.index, mean, color=colour, linestyle=style.line(number), label=name)
        axis.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="epoch", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
