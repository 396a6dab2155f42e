"""Figure ``regions``: accuracy by region of the brain, with intervals and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """All regions of a study, by the methods of the experiment with the most regions."""

    order = 70
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all regions of a study of voxels that has several."""
        if not plan.is_voxels(study) or len(plan.regions_of(study)) < 2 or not plan.shows_accuracy():
            return None
        return {"rows": plan.made_files("retrieval", plan.region_runs(study), ".parquet", plan.retrieval_spec)}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Order of the regions, labels of the methods, and what intervals depend on."""
        return {
            "rois": list(plan.regions_of(study)),
            "methods": figure_base.labels(plan, (run.method for run in plan.region_runs(study))),
            "retrieval": plan.config.retrieval.intervals(),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Retrieval rows of all regions of a study."""
        from brain2clip.reporting import accuracy, reading

        rows = reading.together(job, "rows")
        points = accuracy.by_region(rows, job.settings["retrieval"])
        title = f"{rows['study'].iloc[0]}, {rows['protocol'].iloc[0]}: {accuracy.interval(job, points)}"
        return figure_regions(points, job.settings["rois"], job.settings["methods"], title)


def figure_regions(
    points: pd.DataFrame, regions: Sequence[str], methods: Mapping[str, str], title: str
) -> drawn.Figure:
    """One panel per task: regions side by side, a point with its interval per method, chance as a dashed line.

    Parameters
    ----------
    points : DataFrame
        From :func:`brain2clip.reporting.accuracy.by_region`.
    regions : sequence of str
        Order of the regions.
    methods : mapping
        Name to label, in the order of the tables.
    title : str
        Study, protocol, subjects.
    """
    from brain2clip.reporting import accuracy, style

    numbers = blocks.ordered(methods, points["method"])
    tasks = [task for task in accuracy.TASKS if (points["task"] == task).any()]
    width = max(4.0, 0.7 + 0.16 * len(regions) * (len(numbers) + 1.5))
    # As many panels in a row as fit; four are two rows of two, so that no place stays empty.
    columns = 1 if width > 5 else 2 if len(tasks) == 4 else min(len(tasks), 3)
    made, axes = style.grid(len(tasks), columns=columns, width=min(width, 12 / columns), height=2.7)
    for axis, task in zip(axes, tasks, strict=True):
        part = points[points["task"] == task]
        accuracy.dots(axis, part, regions, numbers)
        if part["high"].max() > 0.5:  # half of what there is, or more: the end of the scale belongs to it
            axis.set_ylim(top=103)
        axis.set_title(f"{accuracy.TASKS[task]}, of {part['n_candidates'].max()}")
    style.legend_below(made, axes)
    style.title(made, title)
    return made
