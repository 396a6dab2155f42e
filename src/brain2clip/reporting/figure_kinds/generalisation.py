"""Figure ``generalisation``: the model of one window of time tested in another, by ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """All subjects, on the main experiment's first signal; where ``figures.generalisation`` asks for it."""

    order = 16

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows by windows of all subjects."""
        if not plan.has_timecourse(study) or not plan.config.figures.generalisation:
            return None
        signal = plan.main_experiment(study).signals[0]
        subjects = plan.subjects(study)
        return {
            "rows": {plan.timecourse(study, signal, one): plan.timecourse_spec(study, signal, one) for one in subjects}
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Mean over subjects."""
        from brain2clip.reporting import reading

        rows = reading.together(job, "rows")
        return figure_generalisation(by_windows(rows), rows)


def by_windows(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by the beginnings of training and test window: mean over queries, then subjects; classes count the same.

    Returns
    -------
    DataFrame
        Training windows by test windows, whose beginnings (s) are the index and the columns.
    """
    keys = ["start", "test_start", "subject"]
    right = rows.assign(right=rows["rank"] == 1)
    if rows["classes"].any():
        right = right.groupby([*keys, "target"])["right"].mean().reset_index()
    by_subject = right.groupby(keys)["right"].mean()
    return by_subject.groupby(["start", "test_start"]).mean().unstack()


def figure_generalisation(found: pd.DataFrame, rows: pd.DataFrame) -> drawn.Figure:
    """A matrix: where the model was fitted upwards, where it was tested to the right; colours begin at chance.

    Parameters
    ----------
    found : DataFrame
        From :func:`by_windows`.
    rows : DataFrame
        Rows of all windows, for the title.
    """
    from brain2clip.reporting import style
    from brain2clip.reporting.wording import Numbers

    made = style.figure(5.6, 4.6)
    axis = made.add_subplot()
    width = float((rows["end"] - rows["start"]).iloc[0])
    values = 100 * found
    middle = 1e3 * (values.index.to_numpy() + width / 2)
    half = (middle[1] - middle[0]) / 2 if len(middle) > 1 else 500 * width
    edges = (middle[0] - half, middle[-1] + half)
    chance = 100 * float((1 / rows["n_candidates"]).mean())
    highest = max(float(values.max(axis=None)), chance + 1e-6)
    shown: dict[str, Any] = {"origin": "lower", "cmap": "viridis", "vmin": chance, "vmax": highest}
    image = axis.imshow(values.to_numpy(), extent=(*edges, *edges), **shown)
    words = Numbers("balanced-accuracy" if rows["classes"].any() else "top-1").short
    made.colorbar(image, ax=axis, label=f"{words}, from chance ({chance:.1f})")
    axis.grid(visible=False)
    axis.set(xlabel="middle of the test window, from picture onset (ms)", ylabel="middle of the training window (ms)")
    first, count = rows.iloc[0], int(rows["n_candidates"].max())
    subjects = rows["subject"].nunique()
    text = (
        f"{first['study']}, {first['signal']}: ridge regression on windows of {1e3 * width:.0f} ms, among {count} "
        f"candidates; mean of {subjects} subject{'' if subjects == 1 else 's'}"
    )
    style.title(made, text)
    return made
