"""Figure ``gains``: what the dynamic filter learned, as a curve over spatial frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip import artefact
from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

_QUANTILES = (0.05, 0.25, 0.75, 0.95)


class Figure(figure_base.FigureBase):
    """Gains of the shown method."""

    order = 80

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """What stage inspect found in the runs of the shown method, where it has prompts."""
        if not plan.is_inspected(plan.shown_method(study)):
            return None
        runs = figure_base.shown_runs(plan, study)
        return {
            "gains": plan.made_files("retrieval", runs, ".gains.parquet", plan.inspect_spec),
            "stimuli": plan.stimuli_file(study, plan.shown_method(study)),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of the shown method."""
        return {"methods": figure_base.labels(plan, [plan.shown_method(study)])}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Gains over the windows of the stimuli file."""
        from brain2clip.reporting import reading

        table = reading.of_shown(job, "gains")
        with artefact.open_h5(*job.each("stimuli")[0]) as file:
            window, frequency = file["band_window"][:], file["band_frequency"][:]
        return figure_gains(table, window, frequency, reading.averaged(job, table))


def figure_gains(
    gains: pd.DataFrame, window: NDArray[np.float64], frequency: NDArray[np.float64], title: str
) -> drawn.Figure:
    """Gain curve over pictures, with the windows that it is a sum of.

    Parameters
    ----------
    gains : DataFrame
        Columns ``method, subject, seed, stimulus_id, band_index, gain`` of one method.
    window : array [K, F]
        Bands of the picture; they sum to one at every frequency.
    frequency : array [F]
        Parts of the Nyquist frequency.
    title : str
        Method and what is averaged.
    """
    import numpy as np
    from matplotlib.ticker import NullFormatter

    from brain2clip.reporting import style

    curves = gain_curves(gains, window)
    kept = frequency > 0
    low, lower, upper, high = np.quantile(curves, _QUANTILES, axis=0)[:, kept]
    x, blue = frequency[kept], style.PALETTE[0]
    made = style.figure(6.0, 4.6)
    top, bottom = made.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.fill_between(x, low, high, color=blue, alpha=0.15, linewidth=0, label="5 to 95 % of pictures")
    top.fill_between(x, lower, upper, color=blue, alpha=0.3, linewidth=0, label="25 to 75 % of pictures")
    top.plot(x, curves[:, kept].mean(axis=0), color=blue, label="mean over pictures")
    top.axhline(1, color="black", linewidth=1, linestyle=(0, (4, 3)), label="all-pass (start of training)")
    top.set(ylabel="gain", title=title)
    top.legend(loc="best")
    for number, band in enumerate(window):
        bottom.plot(x, band[kept], color=style.GREY, linewidth=1)
        peak = x[band[kept].argmax()]
        bottom.annotate(f"{number + 1}", (peak, 1), ha="center", va="bottom", fontsize=7, color=style.GREY)
    bottom.set_xscale("log")
    bottom.xaxis.set_major_formatter("{x:g}")
    bottom.xaxis.set_minor_formatter(NullFormatter())
    bottom.set(xlabel="spatial frequency (fraction of the Nyquist frequency)", ylabel="band window", ylim=(0, 1.25))
    return made


def gain_curves(gains: pd.DataFrame, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain over frequency of every picture, mean over subjects and seeds: sum_k gain_k * window_k, [n_pictures, F]."""
    by_picture = gains.pivot_table(index="stimulus_id", columns="band_index", values="gain", aggfunc="mean")
    if by_picture.shape[1] != len(window):
        raise ValueError(f"gains of {by_picture.shape[1]} bands, but {len(window)} band windows")
    return by_picture.sort_index(axis=1).to_numpy() @ window
