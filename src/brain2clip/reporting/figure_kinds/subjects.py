"""Figure ``subjects``: accuracy of every subject with its interval, and the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip.names import SOUGHT
from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

#: Widest panel, inches; more subjects than fit in go on below.
WIDEST = 9.0


class Figure(figure_base.FigureBase):
    """The main experiment, all its protocols and methods."""

    order = 32
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all runs of the first signal."""
        if not set(SOUGHT) & set(plan.config.retrieval.tasks):
            return None
        runs = figure_base.main_runs(plan, study)
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of the methods, and what intervals depend on."""
        return {
            "methods": figure_base.labels(plan, plan.main_experiment(study).methods),
            "retrieval": plan.config.retrieval.intervals(),
            "repetitions": figure_base.shown_repetitions(plan),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """A block of panels per protocol."""
        import pandas as pd

        from brain2clip.reporting import accuracy, reading

        rows = reading.together(job, "rows")
        rows = rows[rows["task"] == next(task for task in accuracy.TASKS if (rows["task"] == task).any())]
        given = {"by": "place", "repetitions": job.settings.get("repetitions", "all")}
        parts = []
        for title, block in blocks.split(rows):
            everyone = block.assign(place="all")
            own = block.assign(place="sub-" + block["subject"].astype(str))
            title += figure_base.repetitions_in_words(given["repetitions"])
            for part in (own, everyone):
                parts.append(accuracy.by_region(part, job.settings["retrieval"], **given).assign(title=title))
        level = f"{job.settings['retrieval']['level'] * 100:g} % CI"
        words = f"{level}: for a subject over stimuli, for the mean as in the tables"
        return figure_subjects(pd.concat(parts, ignore_index=True), job.settings["methods"], words)


def figure_subjects(points: pd.DataFrame, methods: Mapping[str, str], words: str) -> drawn.Figure:
    """Subjects side by side and all together behind them: a point with its interval per method, chance dashed.

    Parameters
    ----------
    points : DataFrame
        From :func:`brain2clip.reporting.accuracy.by_region` by ``place``, with the column ``title``, of one task.
    methods : mapping
        Name to label, in the order of the tables.
    words : str
        What the intervals are.
    """
    from brain2clip.reporting import accuracy, style

    numbers = blocks.ordered(methods, points["method"])
    task = points["task"].iloc[0]
    most = max(4, int((WIDEST - 0.7) / (0.13 * (len(numbers) + 1.5))))
    panels = []
    for title, part in points.groupby("title", sort=False):
        places = list(dict.fromkeys(sorted(part["place"], key=lambda name: (name == "all", name))))
        panels += [(str(title), part, places[first : first + most]) for first in range(0, len(places), most)]
    longest = max(len(places) for _, _, places in panels)
    width = max(4.0, 0.7 + 0.13 * longest * (len(numbers) + 1.5))
    made, axes = style.grid(len(panels), columns=1 if width > 5 else 2, width=width, height=2.6)
    for axis, (title, part, places) in zip(axes, panels, strict=True):
        accuracy.dots(axis, part[part["place"].isin(places)], places, numbers, by="place")
        axis.set_ylim(top=1.05 * 100 * float(part[["high", "value"]].max(axis=None)))
        axis.set_title(f"{title}: {accuracy.TASKS[task]}, of {part['n_candidates'].max()}")
    style.legend_below(made, axes)
    style.title(made, words)
    return made
