"""Stage ``voxels``: voxel signals of one subject to single-trial brain responses in one named region.

Everything is done voxel by voxel, so that signals are read and written some thousand voxels at a time and memory does
not grow with the region. The statistics of a test run (its drift and deviation, for ``normalise: run``) are never used
for another run, and statistics over runs come from training responses only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import numpy as np
import pandas as pd

from brain2clip import artefact, settings, stage
from brain2clip.names import NO_LABEL, SPLITS, suggestion
from brain2clip.readers import contract
from brain2clip.readers.contract import VoxelStudy
from brain2clip.responses import checks, same_samples, writing
from brain2clip.settings import Roi, Voxels
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")

#: Bytes of the signals (in double precision) that are worked on at the same time.
PART_BYTES = 2**28
#: Signals are float32: a deviation below this part of the largest value is rounding, and the voxel constant.
RESOLUTION = 2.0**-22
UNITS = {**dict.fromkeys(("training", "session", "run"), "standard deviation"), "none": "signal"}
#: Group of the statistics over training responses, and groups of those of each session and run: a run or a session may
#: have any name, also one of these.
TRAINING, SESSION, RUN = "training", "session", "run"


def run(job: stage.Job) -> None:
    """Make the responses of one subject and region."""
    given = job.settings
    study: VoxelStudy = contract.load(given["name"], given["study"], given["results"])
    steps: Voxels = settings.parse(Voxels, given["voxels"])
    subject = given["subject"]
    contract.check_labels(study, given.get("labels"))
    rows = study.rows(subject)
    shown = rows[rows["stimulus"] != ""]
    checks.check_trials(study, subject, shown)
    names, regions = study.voxel_names(subject), study.regions(subject)
    chosen = voxels_of(settings.parse(Roi, given["roi"]), regions, len(names), f"study {study.name}, subject {subject}")
    plan = plan_responses(rows, steps)
    checks.check_split(study, subject, plan.trials, "with the delay voxels.delay", checks.sides(study, shown))
    alone = steps.normalise in (TRAINING, SESSION) and not (plan.trials["split"] == "train").any()
    if alone:
        log.warning(
            "voxels: no training trial: not normalised here; z-scored later with mean and deviation from the "
            "training of the model that ranks them"
        )
        steps = steps.model_copy(update={"normalise": "none", "dtype": "float32"})
    check_runs(study, subject, rows, plan, steps)
    _say_late(rows, plan, steps.delay)
    n_chosen = len(chosen)
    if steps.not_finite == "drop":
        chosen = finite(study, subject, chosen, len(rows))
    elif steps.not_finite != "refuse":
        assert_never(steps.not_finite)
    with artefact.create_h5(job.output("responses"), job.provenance()) as file:
        writing.write_trials(file, plan.trials)
        writing.write_text(file, "voxel", [names[voxel] for voxel in chosen])
        for name, mask in sorted(regions.items()):
            if mask[chosen].any():
                file[f"region/{name.replace('/', '-')}"] = mask[chosen]
        constant = write_responses(file, study, subject, chosen, rows, plan, steps)
        file.attrs.update(kind="voxels", unit=UNITS[steps.normalise])
        file.attrs["constant"] = json.dumps(constant)
        file.attrs["not_finite"] = n_chosen - len(chosen)
        if alone:
            writing.write_not_normalised(file)
    counts = ((plan.trials["split"] == side).sum() for side in SPLITS)
    log.info("voxels: %d training and %d test responses of %d voxels", *counts, len(chosen))


# ---------------------------------------------------------------------------------------------- regions


def voxels_of(roi: Roi, regions: dict[str, NDArray[np.bool_]], n_voxels: int, where: str) -> NDArray[np.int64]:
    """Numbers of the voxels of a region, ascending.

    Parameters
    ----------
    roi : Roi
        Names of regions to take and to leave out.
    regions : dict
        Mask [n_voxels] by name.
    n_voxels : int
        Voxels of the file.
    where : str
        Study and subject, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When a region is unknown (names the closest one and all), or no voxel is left.
    """
    for key in ("include", "exclude"):
        for name in getattr(roi, key):
            if name not in regions:
                raise InputError(
                    f"{where}: no region {name!r}{suggestion(name, regions)}, which rois.*.{key} names\n"
                    f"  regions found: {', '.join(sorted(regions)) or 'none; leave include and exclude out'}"
                )
    kept = _union(regions, roi.include) if roi.include else np.ones(n_voxels, dtype=bool)
    empty = [name for name in roi.include if not regions[name].any()]
    for name in roi.exclude:
        if not (kept & regions[name]).any():
            log.warning("%s: rois.*.exclude names %s, which contains no voxel: nothing left out", where, name)
    if roi.exclude:
        kept = _without(kept, _union(regions, roi.exclude))
    if empty and kept.any():
        raise InputError(
            f"{where}: no voxel in the region {empty[0]!r}, which is one of several in rois.*.include; remove it "
            "from include, or fix its mask"
        )
    if not kept.any():
        sizes = ", ".join(f"{name}: {int(mask.sum())}" for name, mask in sorted(regions.items()))
        raise InputError(
            f"{where}: no voxel in rois with include {list(roi.include)} and exclude {list(roi.exclude)}\n"
            f"  voxels by region: {sizes or 'no regions'}, {n_voxels} in all; expected at least one"
        )
    return np.flatnonzero(kept)


def _union(regions: dict[str, NDArray[np.bool_]], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Voxels of any of some regions, a mask of its own."""
    return np.logical_or.reduce([regions[name] for name in names])


def _without(kept: NDArray[np.bool_], excluded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return kept & ~excluded


# ------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Plan:
    """Which rows make each response.

    Attributes
    ----------
    runs : dict
        Rows of each run by its label, in the order of the file; runs of one number in two sessions are two.
    trials : pandas.DataFrame
        One per response, in the order of the file: ``stimulus``, ``split``, ``session``, ``run``.
    rows : ndarray [n_kept]
        Rows that go into responses, those of one response together.
    starts : ndarray [n_responses]
        Place in ``rows`` of the first row of each response.
    """

    runs: dict[str, NDArray[np.int64]]
    trials: pd.DataFrame
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    def averaged(self, signals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Responses [n_responses, n_voxels]: mean of the rows of each, of signals [n_rows, n_voxels]."""
        counts = np.diff(self.starts, append=len(self.rows))
        return np.add.reduceat(signals[self.rows], self.starts, axis=0) / counts[:, None]


def plan_responses(rows: pd.DataFrame, steps: Voxels) -> Plan:
    """Delay, average and drop rows without a stimulus, on the labels alone."""
    stimulus, split = (rows[name].to_numpy(object) for name in ("stimulus", "split"))
    runs = _runs(rows)
    found: list[tuple[NDArray[np.int64], int]] = []
    for own in runs.values():
        answering, answered = (own, own) if steps.delay == 0 else _delayed(own, steps.delay)
        if steps.average == "none":
            blocks = [np.array([row]) for row in range(len(answered))]
        elif steps.average == "block":
            blocks = _blocks(answering, stimulus[answered], split[answered])
        else:
            assert_never(steps.average)
        for block in blocks:
            if stimulus[answered[block[0]]] != "":
                found.append((answering[block], answered[block[0]]))
    found.sort(key=lambda one: one[0][0])
    trials = rows.iloc[[label for _, label in found]].reset_index(drop=True)
    lengths = [len(block) for block, _ in found]
    kept = np.concatenate([block for block, _ in found]) if found else np.zeros(0, int)
    return Plan(runs, trials, kept, np.cumsum([0, *lengths[:-1]]) if found else np.zeros(0, int))


def _say_late(rows: pd.DataFrame, plan: Plan, delay: int) -> None:
    """Count rows with a stimulus whose response would come after the end of their run."""
    shown = (rows["stimulus"] != "").to_numpy()
    late = sum(int(shown[own[len(own) - min(delay, len(own)) :]].sum()) for own in plan.runs.values())
    if late:
        log.warning(
            "voxels: %d rows with a stimulus left out, because the run ends before the response (voxels.delay: %d)",
            late,
            delay,
        )


def _delayed(rows: NDArray[np.int64], delay: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a run with responses, and the rows of their stimuli."""
    return rows[delay:], rows[: max(len(rows) - delay, 0)]


def _blocks(
    answering: NDArray[np.int64], stimulus: NDArray[np.object_], split: NDArray[np.object_]
) -> list[NDArray[np.int64]]:
    """Places of neighbouring rows that show the same; a row of another run between them ends a block, too."""
    if not len(answering):
        return []
    ends = (stimulus[1:] != stimulus[:-1]) | (split[1:] != split[:-1]) | (np.diff(answering) != 1)
    return np.split(np.arange(len(answering)), np.flatnonzero(ends) + 1)


def check_runs(study: VoxelStudy, subject: str, rows: pd.DataFrame, plan: Plan, steps: Voxels) -> None:
    """Refuse runs that a step would misinterpret.

    These are runs with training and test trials, whose test rows would change training responses, and runs with rows of
    another run between their own: most likely two runs of two sessions with the same number.
    """
    ordered = [f"voxels.detrend: {steps.detrend}"] if steps.detrend != "none" else []
    by_run = [*ordered, "voxels.normalise: run"] if steps.normalise == "run" else ordered
    if steps.delay:
        ordered = [*ordered, f"voxels.delay: {steps.delay}"]
    where = f"study {study.name}, subject {subject}"
    split, stimulus, session = (rows[name].to_numpy(object) for name in ("split", "stimulus", "session"))
    mixed = [label for label, own in plan.runs.items() if set(SPLITS) <= set(split[own])]
    if mixed and by_run:
        raise InputError(
            f"{where}: {len(mixed)} runs hold training and test trials, the first is {mixed[0]}; voxels.detrend: "
            "linear and voxels.normalise: run use all rows of a run, so that test rows would change training "
            "responses\n  take detrend: none and normalise: training, or split by run"
        )
    for label, own in plan.runs.items():
        # Mean and deviation do not ask for an order: with a session named, the pieces are known to be one run.
        asking = ordered or (by_run if session[own[0]] == NO_LABEL else [])
        gaps = np.flatnonzero(np.diff(own) != 1)
        if len(gaps) and asking and (stimulus[own] != "").any():
            raise InputError(
                f"{where}: run {label} is in several pieces (up to row {own[gaps[0]] + 1}, again from row "
                f"{own[gaps[0] + 1] + 1}), and {' and '.join(asking)} would treat them as one run\n  expected the "
                "rows of a run together, in the order of time; if each session numbers its runs from the start, "
                f"name the session of the rows (studies.{study.name}.session of a voxel_table), or give every run a "
                "different name"
            )


def _runs(rows: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Rows of each run by its label: a run is that of a session, and its label a path of HDF5."""
    found: dict[str, NDArray[np.int64]] = {}
    for (session, run), group in rows.reset_index(drop=True).groupby(["session", "run"], sort=False, dropna=False):
        label = "/".join(str(part).replace("/", "-") for part in ((run,) if session == NO_LABEL else (session, run)))
        if label in found:
            raise InputError(
                f"session {session}, run {run}: without the slashes, its name ({label}) is the name of another run; "
                "rename one of them"
            )
        found[label] = group.index.to_numpy()
    return found


# -------------------------------------------------------------------------------------------- responses


def write_responses(
    file: h5py.File,
    study: VoxelStudy,
    subject: str,
    chosen: NDArray[np.int64],
    rows: pd.DataFrame,
    plan: Plan,
    steps: Voxels,
) -> dict[str, int]:
    """Write ``response``, the statistics of its normalisation, and sketches of the samples of the runs.

    Returns
    -------
    dict
        Number of voxels that are constant, by group of the normalisation; groups without any are left out.

    Raises
    ------
    brain2clip.stage.InputError
        When a signal is NaN or infinite: the number of such voxels, the first, and its first row; when two runs hold
        the same samples.
    """
    digests = same_samples.RowDigests(len(rows))
    response = writing.create_response(file, (len(plan.trials), len(chosen)), steps.dtype)
    is_training = (plan.trials["split"] == "train").to_numpy()
    constant: dict[str, int] = {}
    bad = Bad()
    parts = list(_parts(len(chosen), len(rows)))
    for part in stage.progress(parts, "parts of the voxels"):
        signals = study.signals(subject, chosen[part]).astype(float)
        if bad.found(signals, part, chosen):
            continue
        digests.add(signals)
        if steps.detrend == "linear":
            detrend(signals, plan)
        elif steps.detrend != "none":
            assert_never(steps.detrend)
        statistics: dict[str, Statistics] = {}
        if steps.normalise == "run":
            statistics = normalise_runs(signals, plan)
        values = plan.averaged(signals)
        if steps.normalise == "training":
            statistics[TRAINING] = statistics_of(values[is_training])
            values = statistics[TRAINING].apply(values)
        elif steps.normalise == "session":
            statistics = normalise_sessions(values, plan.trials, is_training)
        elif steps.normalise != "run" and steps.normalise != "none":
            assert_never(steps.normalise)
        advice = "use voxels.dtype float32, or another voxels.normalise"
        response[:, part] = writing.in_precision(values, response.dtype, advice)
        for group, one in statistics.items():
            one.write(file, group, part, len(chosen))
            constant[group] = constant.get(group, 0) + int(one.constant.sum())
    bad.refuse(study, subject)
    sketches = [(f"sub-{subject}, run {label}", digests.sketch(own)) for label, own in plan.runs.items()]
    same_samples.checked(study, subject, sketches).write(file)
    constant = {group: count for group, count in constant.items() if count}
    for group, count in constant.items():
        log.warning(
            "voxels: %d of %d voxels are constant in %s; they are kept, with zeros there", count, len(chosen), group
        )
    return constant


def _parts(n_voxels: int, n_rows: int) -> Iterator[slice]:
    """Slices of the chosen voxels whose signals fit into memory."""
    size = max(1, PART_BYTES // (8 * n_rows))
    for begin in range(0, n_voxels, size):
        yield slice(begin, min(begin + size, n_voxels))


class Bad:
    """Voxels whose signals are no numbers; all are counted before the first is named."""

    def __init__(self) -> None:
        self.count = 0
        self.first: tuple[int, int] | None = None

    def found(self, signals: NDArray[np.float64], part: slice, chosen: NDArray[np.int64]) -> bool:
        """Whether some of these signals [n_rows, n_part] are NaN or infinite."""
        wrong = ~np.isfinite(signals)
        voxels = np.flatnonzero(wrong.any(axis=0))
        self.count += len(voxels)
        if len(voxels) and self.first is None:
            self.first = (int(chosen[part][voxels[0]]), int(wrong[:, voxels[0]].argmax()))
        return bool(len(voxels))

    def refuse(self, study: VoxelStudy, subject: str) -> None:
        """Stop where there were any."""
        if self.first is None:
            return
        voxel, row = self.first
        raise InputError(
            f"study {study.name}, subject {subject}: {self.count} voxels have NaN or infinite signals, the first is "
            f"{study.voxel_names(subject)[voxel]} in row {row + 1}\n"
            "  expected numbers; leave these voxels out (voxels.not_finite: drop, a mask or rois.*.exclude), or fix "
            "the file"
        )


def finite(study: VoxelStudy, subject: str, chosen: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Voxels without NaN or infinite signals, at least one; the others are counted in the log."""
    good = np.ones(len(chosen), dtype=bool)
    for part in _parts(len(chosen), n_rows):
        good[part] = np.isfinite(study.signals(subject, chosen[part])).all(axis=0)
    if not good.any():
        raise InputError(
            f"study {study.name}, subject {subject}: all {len(chosen)} voxels have NaN or infinite signals, so that "
            "voxels.not_finite: drop leaves none; fix the file"
        )
    log.log(
        logging.INFO if good.all() else logging.WARNING,
        "voxels: %d of %d voxels left out, because of NaN or infinite signals",
        *((~good).sum(), len(good)),
    )
    return chosen[good]


def detrend(signals: NDArray[np.float64], plan: Plan) -> None:
    """Subtract the least-squares line of each run, in place; rounding errors become zero."""
    from scipy import signal

    for own in plan.runs.values():
        largest = np.abs(signals[own]).max(axis=0)
        rest = signal.detrend(signals[own], axis=0, type="linear")
        rest[:, rest.std(axis=0) <= RESOLUTION * largest] = 0
        signals[own] = rest


def normalise_runs(signals: NDArray[np.float64], plan: Plan) -> dict[str, Statistics]:
    """Z-score each run by its own mean and deviation, in place; those by ``run/LABEL``."""
    found = {}
    for label, own in plan.runs.items():
        if len(own) < 2:
            raise InputError(
                f"run {label}: found one row, which has no standard deviation; expected more rows for "
                "voxels.normalise: run (which column names the run of a row?), or take normalise: training"
            )
        one = found[f"{RUN}/{label}"] = statistics_of(signals[own])
        signals[own] = one.apply(signals[own])
    return found


def normalise_sessions(
    values: NDArray[np.float64], trials: pd.DataFrame, is_training: NDArray[np.bool_]
) -> dict[str, Statistics]:
    """Z-score each session by mean and deviation of its training responses, in place; those by ``session/LABEL``.

    Parameters
    ----------
    values : ndarray [n_responses, n_voxels]
    trials : pandas.DataFrame
        One per response, with ``session``.
    is_training : ndarray [n_responses] of bool
        The only responses that are looked at.

    Raises
    ------
    brain2clip.stage.InputError
        Where responses name no session, or a session has fewer than two training responses.
    """
    found = {}
    for session, group in trials.reset_index(drop=True).groupby("session", sort=False):
        own = group.index.to_numpy()
        training = own[is_training[own]]
        if session == NO_LABEL or len(training) < 2:
            raise InputError(
                f"session {session}: {len(training)} training responses of {len(own)}; voxels.normalise: session needs "
                "sessions with names, and two training responses at least in each; take normalise: training"
            )
        one = found[f"{SESSION}/{str(session).replace('/', '-')}"] = statistics_of(values[training])
        values[own] = one.apply(values[own])
    return found


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of voxels.

    Attributes
    ----------
    mean, deviation : ndarray [n_voxels]
        In units of the signals; the deviation of a constant voxel is one.
    constant : ndarray [n_voxels] of bool
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    constant: NDArray[np.bool_]

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Z-scores of values [n, n_voxels]."""
        return (values - self.mean) / self.deviation

    def write(self, file: h5py.File, group: str, part: slice, n_voxels: int) -> None:
        """Add a part of the voxels to ``normalisation/{group}``."""
        for name in ("mean", "deviation"):
            data = file.require_dataset(f"normalisation/{group}/{name}", (n_voxels,), float)
            data[part] = getattr(self, name)


def statistics_of(values: NDArray[np.float64]) -> Statistics:
    """Mean and deviation (n - 1) over the rows of values [n, n_voxels]."""
    mean = values.mean(axis=0)
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    constant = deviation <= RESOLUTION * np.abs(values).max(axis=0)
    return Statistics(mean, np.where(constant, 1.0, deviation), constant)


if __name__ == "__main__":
    stage.main(run)
