"""Stage ``timecourse``: accuracy over time of one subject, by ridge regression in windows of time.

The mean of every channel in a window predicts CLIP's joint embedding of the stimulus. Scales, means, weights and the
penalty (by leave-one-out error) are those of training trials; test trials are only ranked. Of pictures all
presentations are averaged; where stimuli are classes every trial is a response, and classes weigh the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.names import SPLITS
from brain2clip.retrieval import query_table, tasks

log = logging.getLogger("brain2clip")

#: Penalties, on standardised inputs.
ALPHAS = tuple(10.0**power for power in range(7))
TRIALS_AT_ONCE = 1024
#: Replaces the row of stimuli that are left out.
LEFT_OUT = -1
#: Columns of retrieval rows that are not needed here.
UNUSED = ["top_ids", "top_similarities"]


@dataclass(frozen=True)
class Averages:
    """Responses of one side of the split, in windows.

    Attributes
    ----------
    values : array [n, n_channels, n_windows]
        Means over the samples of a window, and over presentations.
    stimulus : array [n] int
        Row of the stimuli.
    """

    values: NDArray[np.float32]
    stimulus: NDArray[np.int64]


def run(job: stage.Job) -> None:
    """Fit and rank window by window; a row per window and query, none of a subject without training trials.

    With ``generalisation`` every window's model is tested in every window, and rows say where in time that begins.
    """
    path = job.input("stimuli")
    with artefact.open_h5(path, job.expects.get("features")) as file:
        ids, split, concept = (file[name].asstr()[:] for name in ("stimulus_id", "split", "concept"))
        unit, part = _unit(file["embedding"][:].astype(np.float64)), bool(file.attrs.get("part", False))
    classes = tasks.are_classes("stimulus", split)
    with artefact.open_h5(job.input("responses"), job.expects.get("responses")) as file:
        times, sfreq = file["times"][:], float(file.attrs["sfreq"])
        bounds = windows(len(times), job.settings["window"] * sfreq)
        place = {name: number for number, name in enumerate(ids)}
        lost = [name for name in file["stimulus_id"].asstr()[:] if name not in place]
        if lost and not part:
            raise stage.InputError(f"{path}: has no stimulus {lost[0]} of {job.input('responses')}; run snakemake")
        rows = np.array([place.get(name, LEFT_OUT) for name in file["stimulus_id"].asstr()[:]], np.int64)[
            file["stimulus"][:]
        ]
        training, test = (averages(file, side, rows, bounds, not classes) for side in SPLITS)
    if not len(test.stimulus):
        raise stage.InputError(f"{job.input('responses')}: no test trial; accuracy over time needs test trials")
    if not len(training.stimulus):
        log.warning("no training trial to fit windows to: no accuracy over time for this subject")
        artefact.write_table(job.output("rows"), pd.DataFrame(), job.provenance())
        return
    candidates = tasks.candidate_rows(split)
    shown = tasks.shown(candidates, test.stimulus.tolist())
    repetitions: int | Literal["all"] = 1 if classes else "all"
    labels = concept[training.stimulus] if classes else None
    tables = []
    generalise = job.settings.get("generalisation", False)
    for number, (first, end) in enumerate(bounds):
        tested = range(len(bounds)) if generalise else [number]
        asked = np.concatenate([test.values[..., other] for other in tested])
        predicted, centre = predictions(training.values[..., number], unit[training.stimulus], asked, labels)
        names = ids[candidates].tolist()
        gallery = tasks.gallery(_unit(unit[candidates] - centre), names, names, classes)
        for other, own in zip(tested, np.split(predicted, len(tested))):
            queries = tasks.of_brains("stimulus", repetitions, _unit(own - centre), shown, gallery)
            query_table.check(queries, job.settings["run"])
            table = query_table.table([queries], job.settings["run"]).drop(columns=UNUSED)
            table = table.assign(start=times[first], end=times[end - 1] + 1 / sfreq)
            tables.append(table.assign(test_start=times[bounds[other][0]]) if generalise else table)
    counts = len(bounds), len(training.stimulus), len(test.stimulus)
    log.info("timecourse: %d windows, %d training responses, %d queries", *counts)
    artefact.write_table(job.output("rows"), pd.concat(tables, ignore_index=True), job.provenance())


def windows(n_times: int, width: float) -> list[tuple[int, int]]:
    """First sample and end of each window: as many samples as are nearest to a width, half of that from start to start.

    Windows that do not fit into the response are left out; a response that is shorter than one window is one.
    """
    size = min(n_times, max(1, round(width)))
    return [(first, first + size) for first in range(0, n_times - size + 1, max(1, size // 2))]


def averages(
    file: h5py.File, side: str, rows: NDArray[np.int64], bounds: list[tuple[int, int]], by_stimulus: bool
) -> Averages:
    """Trials of one side of the split in windows, averaged over the presentations of a stimulus or not.

    Parameters
    ----------
    file : h5py.File
        Open responses artefact; some thousand trials at a time are read.
    side : str
    rows : array [n_trials] int
        Row of the stimuli that each trial shows, or :data:`LEFT_OUT`.
    bounds : list of (first, end)
    by_stimulus : bool
    """
    trials = np.flatnonzero((file["split"][:] == SPLITS.index(side)) & (rows != LEFT_OUT))
    shown, group = np.unique(rows[trials], return_inverse=True)
    if not by_stimulus:
        shown, group = rows[trials], np.arange(len(trials))
    total = np.zeros((len(shown), file["response"].shape[1], len(bounds)), np.float32)
    for at in range(0, len(trials), TRIALS_AT_ONCE):
        part = slice(at, at + TRIALS_AT_ONCE)
        values = file["response"][trials[part]].astype(np.float32)
        means = np.stack([values[..., first:end].mean(axis=-1) for first, end in bounds], axis=-1)
        np.add.at(total, group[part], means)
    total /= np.bincount(group, minlength=len(shown))[:, None, None]
    return Averages(total, shown)


def predictions(
    x: NDArray[np.floating], y: NDArray[np.floating], asked: NDArray[np.floating], labels: NDArray[np.object_] | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Predicted embeddings [n, d] of test responses, and the mean training embedding [d].

    Parameters
    ----------
    x, y : array [n_training, n_channels], [n_training, d]
    asked : array [n, n_channels]
    labels : array [n_training] of str or None
        Classes of the training responses, which then weigh the same.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.class_weight import compute_sample_weight

    weight = None if labels is None else compute_sample_weight("balanced", labels)
    scaler = StandardScaler().fit(x, sample_weight=weight)
    model = RidgeCV(alphas=ALPHAS).fit(scaler.transform(x), y, sample_weight=weight)
    return model.predict(scaler.transform(asked)), np.average(y, axis=0, weights=weight)


def _unit(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values / (np.linalg.norm(values, axis=-1, keepdims=True) + 1e-12)


if __name__ == "__main__":
    stage.main(run)
