"""Figure ``timecourse``: accuracy of ridge regression in windows of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """All subjects, on the main experiment's first signal."""

    order = 15
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows by windows of all subjects."""
        if not plan.has_timecourse(study):
            return None
        signal = plan.main_experiment(study).signals[0]
        subjects = plan.subjects(study)
        rows = {plan.timecourse(study, signal, one): plan.timecourse_spec(study, signal, one) for one in subjects}
        return {"rows": rows}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """What intervals depend on."""
        return {"retrieval": plan.config.retrieval.intervals()}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Mean over subjects, and each of them."""
        from brain2clip.reporting import reading

        rows = reading.together(job, "rows")
        if "test_start" in rows:  # of temporal generalisation the diagonal
            rows = rows[rows["start"] == rows["test_start"]]
        return figure_timecourse(by_window(rows, job.settings["retrieval"]), rows)


def by_window(rows: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy of every window: mean over subjects with its interval, as in the tables.

    Returns
    -------
    DataFrame
        ``time`` (middle of the window, s), columns of :func:`brain2clip.reporting.accuracy.by_region`, and the value
        of each subject, ``sub-XX``.
    """
    from brain2clip.reporting import accuracy

    rows = rows.assign(time=(rows["start"] + rows["end"]) / 2)
    given = {"by": "time", "repetitions": str(rows["repetitions"].iloc[0])}
    points = accuracy.by_region(rows, options, **given).set_index("time").sort_index()
    for subject, own in rows.groupby("subject"):  # its interval is not shown
        found = accuracy.by_region(own, {**options, "bootstrap": 1}, **given).set_index("time")
        points[f"sub-{subject}"] = found["value"]
    return points.reset_index()


def figure_timecourse(points: pd.DataFrame, rows: pd.DataFrame) -> drawn.Figure:
    """A thick line for the mean over subjects with its interval, thin ones for subjects, chance dashed.

    Parameters
    ----------
    points : DataFrame
        From :func:`by_window`.
    rows : DataFrame
        Rows of all windows, for the title.
    """
    from brain2clip.reporting import style
    from brain2clip.reporting.wording import Numbers

    made = style.figure(7.5, 3.4)
    axis = made.add_subplot()
    time = 1e3 * points["time"]
    subjects = [name for name in points if str(name).startswith("sub-")]
    for number, name in enumerate(subjects if len(subjects) > 1 else []):
        label = "single subjects" if number == 0 else None
        axis.plot(time, 100 * points[name], color=style.GREY, linewidth=0.7, alpha=0.8, label=label)
    if len(subjects) != 2:  # Student's interval of two is many times as wide as all that is to be seen
        low, high = 100 * points["low"], 100 * points["high"]
        axis.fill_between(time, low, high, color=style.colour(0), alpha=0.2, linewidth=0, label="interval")
    label = f"mean of {len(subjects)} subjects" if len(subjects) > 1 else subjects[0]
    axis.plot(time, 100 * points["value"], color=style.colour(0), linewidth=2, label=label)
    chance = 100 * float(points["chance"].mean())
    axis.axhline(chance, color="black", linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    if time.min() < 0 < time.max():
        axis.axvline(0, color="black", linewidth=0.8)
    top = 100 * float(points[["value", "chance", *subjects]].max(axis=None))
    axis.set(xlabel="middle of the window, from picture onset (ms)", ylim=(-0.03 * top, 1.15 * top))
    axis.set(ylabel=Numbers(str(points["metric"].iloc[0])).short)
    width = 1e3 * float((rows["end"] - rows["start"]).iloc[0])
    first, count = rows.iloc[0], int(rows["n_candidates"].max())
    axis.set_title(
        f"{first['study']}, {first['signal']}: ridge regression on windows of {width:.0f} ms, among {count} candidates"
    )
    style.legend_below(made, [axis])
    return made
