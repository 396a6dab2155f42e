"""Figure ``prompts``: effect of prompts on the similarity between a picture and the response to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Effect of the prompts of the shown method."""

    order = 90

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """What stage inspect found in the runs of the shown method, where it has prompts."""
        if not plan.is_inspected(plan.shown_method(study)):
            return None
        runs = figure_base.shown_runs(plan, study)
        return {"prompts": plan.made_files("retrieval", runs, ".prompts.parquet", plan.inspect_spec)}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of the shown method."""
        return {"methods": figure_base.labels(plan, [plan.shown_method(study)])}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Effect of the prompts."""
        from brain2clip.reporting import reading

        table = reading.of_shown(job, "prompts")
        return figure_prompts(table, reading.averaged(job, table))


def figure_prompts(effect: pd.DataFrame, title: str) -> drawn.Figure:
    """Cosine with the own brain embedding without and with prompts, and how far prompts move the patch tokens.

    Parameters
    ----------
    effect : DataFrame
        Columns ``method, subject, seed, stimulus_id, cosine_before, cosine_after, token_shift`` of one method;
        ``token_shift`` is the norm of the instance prompt as a part of the norm of the patch tokens.
    title : str
        Method and what is averaged.
    """
    import numpy as np

    from brain2clip.reporting import style

    columns = ["cosine_before", "cosine_after", "token_shift"]
    pictures = effect.groupby("stimulus_id")[columns].mean()
    made = style.figure(8.0, 3.6)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.25, 1, 1))
    both = pictures.dropna(subset=["cosine_before", "cosine_after"])
    before, after = both["cosine_before"].to_numpy(), both["cosine_after"].to_numpy()
    if both.empty:
        style.note(left, "no embedding without prompts\nfor this readout")
        _histogram(middle, pictures["cosine_after"].to_numpy(), "cosine with prompts", style.PALETTE[0])
    else:
        _pairs(left, before, after)
        _histogram(middle, after - before, "change of cosine", style.PALETTE[0])
        middle.axvline(0, color="black", linewidth=1, linestyle=(0, (4, 3)))
        middle.set_title(f"closer for {100 * np.mean(after > before):.0f} % of pictures")
    _histogram(right, 100 * pictures["token_shift"].to_numpy(), "token shift (% of token norm)", style.PALETTE[2])
    right.set_title("size of instance prompts")
    style.title(made, title)
    return made


def _pairs(axis: Axes, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
    import numpy as np

    from brain2clip.reporting import style

    axis.plot(before, after, "o", ms=3.5, mew=0, alpha=0.6, color=style.PALETTE[0])
    axis.plot(before.mean(), after.mean(), "D", ms=7, color=style.PALETTE[1], mec="white", label="mean", ls="none")
    both = np.concatenate([before, after])
    margin = 0.05 * (np.ptp(both) or 1.0)
    limits = (both.min() - margin, both.max() + margin)
    axis.plot(limits, limits, color="black", linewidth=1, linestyle=(0, (4, 3)), label="no change")
    axis.set(xlim=limits, ylim=limits, xlabel="cosine without prompts", ylabel="cosine with prompts")
    axis.set_aspect("equal")
    axis.set_title("one point for each picture")
    axis.legend(loc="upper left")


def _histogram(axis: Axes, values: NDArray[np.float64], label: str, colour: str) -> None:
    from brain2clip.reporting import style

    axis.hist(values, bins=min(30, max(5, len(values) // 4)), color=colour, alpha=0.8)
    axis.axvline(values.mean(), color=style.PALETTE[1], linewidth=1.6)
    axis.set(xlabel=label, ylabel="pictures")
