"""Figure ``place``: when sensors respond to pictures (EEG), and which regions distinguish pictures (fMRI)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brain2clip import artefact, stage
from brain2clip.reporting import blocks, figure_base, sensors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

_PICTURES_AT_ONCE = 256
_MOST_NAMES = 24
_TITLE = 44
"""Characters of a line that fit above the right side."""


class Figure(figure_base.FigureBase):
    """An EEG study beside an fMRI study."""

    order = 100
    of_both = True
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Responses of the EEG study's first signal, and rows of all regions of the fMRI study by one method."""
        both = plan.both_studies()
        if both is None or not plan.shows_accuracy():
            return None
        eeg, fmri = both
        runs = [run for run in plan.region_runs(fmri) if run.method == _method(plan, fmri)]
        return {
            "responses": plan.responses_files(eeg, plan.main_experiment(eeg).signals[:1]),
            "rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Order of the regions, label of the method, and what intervals depend on."""
        both = plan.both_studies()
        assert both is not None
        _, fmri = both
        return {
            "rois": list(plan.regions_of(fmri)),
            "methods": figure_base.labels(plan, [_method(plan, fmri)]),
            "retrieval": plan.config.retrieval.intervals(),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Reliability of the responses, accuracy of the rows."""
        from brain2clip.reporting import accuracy, reading

        rows = reading.together(job, "rows")
        points = accuracy.by_region(rows, job.settings["retrieval"])
        words = {
            "study": rows["study"].iloc[0],
            "method": f"{job.settings['methods'][rows['method'].iloc[0]]}, {accuracy.interval(job, points)}",
        }
        return figure_place(reliability(job), points, job.settings["rois"], words)


def _method(plan: Plan, study: str) -> str:
    """The shown method where it was run in all regions and has to learn them, else the first of these."""
    methods = [name for name in plan.regions_experiment(study).methods if not plan.config.methods[name].knows_truth]
    return plan.shown_method(study) if plan.shown_method(study) in methods else methods[0]


@dataclass(frozen=True)
class Reliability:
    """Split-half reliability of the responses to pictures, by sensor and time.

    Attributes
    ----------
    title : str
    channels : list of str
    times : array [n_times]
        s.
    correlation : array [n_channels, n_times]
        Mean over subjects of :func:`split_half`; NaN where no picture was shown twice.
    position : array [n_channels, 3]
        m, NaN where unknown.
    n_pictures, n_subjects : int
    technique : str
        EEG or MEG.
    """

    title: str
    channels: list[str]
    times: NDArray[np.float64]
    correlation: NDArray[np.float64]
    position: NDArray[np.float64]
    n_pictures: int
    n_subjects: int
    technique: str = "EEG"


def split_half(response: Any, rows: NDArray[np.int64], stimulus: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Correlation over pictures between the means of the odd and of the even presentations.

    Pearson's, for every channel and time; presentations in the order of the file, pictures that were shown at least
    twice. It is the reliability of half the presentations: no correction for length is applied.

    Parameters
    ----------
    response : array or h5py.Dataset [n_trials, n_channels, n_times]
        Read some hundred pictures at a time.
    rows : array [n] int
        Trials to use, ascending.
    stimulus : array [n] int
        Picture of each of these trials.

    Returns
    -------
    correlation : array [n_channels, n_times]
        NaN below three pictures.
    n_pictures : int
    """
    import numpy as np

    shape = response.shape[1:]
    pictures, counts = np.unique(stimulus, return_counts=True)
    pictures = pictures[counts > 1]
    sums = np.zeros((5, *shape))
    for start in range(0, len(pictures), _PICTURES_AT_ONCE):
        chosen = np.isin(stimulus, pictures[start : start + _PICTURES_AT_ONCE])
        first, second = _half_means(np.asarray(response[rows[chosen]], dtype=np.float64), stimulus[chosen])
        for total, value in zip(sums, (first, second, first**2, second**2, first * second), strict=True):
            total += value.sum(axis=0)
    n = len(pictures)
    if n < 3:
        return np.full(shape, np.nan), n
    a, b, aa, bb, ab = sums / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ab - a * b) / np.sqrt((aa - a**2) * (bb - b**2)), n


def figure_place(
    eeg: Reliability, regions: pd.DataFrame, names: Sequence[str], labels: Mapping[str, str]
) -> drawn.Figure:
    """Left: sensors by time; right: regions by accuracy.

    Parameters
    ----------
    eeg : Reliability
    regions : DataFrame
        From :func:`brain2clip.reporting.accuracy.by_region`, of one method; its first task is shown, classes
        before pictures.
    names : sequence of str
        Order of the regions.
    labels : mapping
        ``study`` of the fMRI side and ``method``, in words, with what points and intervals are.
    """
    from brain2clip.reporting import accuracy, style

    made = style.figure(9.2, 4.4)
    left, right = made.subplots(1, 2, width_ratios=(1.35, 1))
    _sensors(left, eeg)
    task = next(name for name in ("category", *accuracy.TASKS) if (regions["task"] == name).any())
    part = regions[regions["task"] == task]
    accuracy.dots(right, part, names, {part["method"].iloc[0]: (0, labels["method"])}, upright=False)
    head = f"fMRI, {labels['study']}: {accuracy.TASKS[task]}, of {part['n_candidates'].max()}"
    right.set_title("\n".join(textwrap.fill(line, _TITLE) for line in (head, labels["method"])))
    handles, names = right.get_legend_handles_labels()
    right.legend([handles[names.index("chance")]], ["chance"], loc="best")
    return made


# ----------------------------------------------------------------------------------------------- inside


def _half_means(values: NDArray[np.float64], stimulus: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Means over the odd and over the even presentations of each picture, [n_pictures, n_channels, n_times] each."""
    import numpy as np
    import pandas as pd

    number = np.unique(stimulus, return_inverse=True)[1]
    turn = pd.Series(number).groupby(number).cumcount().to_numpy() % 2
    means = []
    for half in (0, 1):
        own = number[turn == half]
        total = np.zeros((number.max() + 1, *values.shape[1:]))
        np.add.at(total, own, values[turn == half])
        means.append(total / np.bincount(own)[:, None, None])
    return tuple(means)


def _sensors(axis: Axes, eeg: Reliability) -> None:
    import numpy as np

    from brain2clip.reporting import style

    if not np.isfinite(eeg.correlation).any():
        style.note(axis, f"{eeg.technique}, {eeg.title}: no training picture\nwas shown twice")
        return
    known = np.isfinite(eeg.position[:, 1])
    order = np.argsort(-eeg.position[:, 1], kind="stable") if known.all() else np.arange(len(eeg.channels))
    times = eeg.times * 1e3
    step = times[1] - times[0] if len(times) > 1 else 1.0
    image = axis.imshow(
        eeg.correlation[order],
        aspect="auto",
        extent=(times[0] - step / 2, times[-1] + step / 2, len(order) - 0.5, -0.5),
        cmap="viridis",
        vmin=0,
        vmax=max(float(np.nanmax(eeg.correlation)), 0.01),
    )
    every = -(-len(order) // _MOST_NAMES)
    axis.set_yticks(range(0, len(order), every), [eeg.channels[place] for place in order[::every]], fontsize=7)
    axis.grid(visible=False)
    axis.axvline(0, color="white", linewidth=0.8)
    axis.set(xlabel="time from picture onset (ms)", ylabel="sensors, from front to back" if known.all() else "sensors")
    plural = "" if eeg.n_subjects == 1 else "s"
    axis.set_title(
        f"{eeg.technique}, {eeg.title}: odd against even presentations\n"
        f"{eeg.n_pictures} training pictures, mean of {eeg.n_subjects} subject{plural}"
    )
    bar = axis.figure.colorbar(image, ax=axis, shrink=0.8, aspect=25)
    bar.set_label("correlation over pictures")


def reliability(job: stage.Job) -> Reliability:
    """Split-half reliability of training pictures, mean over the subjects on the channels that all have."""
    import numpy as np

    files = stage.progress(job.each("responses"), "reading responses")
    channels: list[list[str]] = []
    found, positions, counts = [], [], []
    for path, expected in files:
        names = blocks.from_response_path(path)
        with artefact.open_h5(path, expected) as file:
            rows = np.flatnonzero(file["split"][:] == 0)
            correlation, count = split_half(file["response"], rows, file["stimulus"][:][rows])
            channels.append([str(name) for name in file["channel"].asstr()[:]])
            times, technique = file["times"][:].astype(np.float64), sensors.technique(sensors.types(file))
            positions.append(file["position"][:].astype(np.float64))
        found.append(correlation)
        counts.append(count)
    common = [name for name in channels[0] if all(name in own for own in channels)]
    order = [[own.index(name) for name in common] for own in channels]
    mean = np.mean([one[own] for one, own in zip(found, order, strict=True)], axis=0)
    title = f"{names['study']}, {names['signal']}"
    return Reliability(title, common, times, mean, positions[0][order[0]], max(counts), len(found), technique)
