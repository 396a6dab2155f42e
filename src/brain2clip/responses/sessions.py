"""Stage ``sessions``: responses of a subject as if training had ended after some sessions.

Training trials of the first sessions and all test trials are kept. Z-scores that were fitted to training trials of all
sessions (``voxels.normalise: training``) are fitted again to the trials that are kept, for training and test. Z-scores
of z-scores are the z-scores of the signals, so nothing of later training responses remains except rounding. Steps that
were fitted for each session do not change: test trials of later sessions stay normalised with training trials of their
own session.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brain2clip import artefact, stage
from brain2clip.names import NO_LABEL, SPLITS
from brain2clip.responses import writing
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")

ROWS_AT_ONCE = 1024
#: Group of the numbers that were fitted to all training trials.
FITTED = "normalisation/training"
#: Group of what was fitted to the training trials of each session.
OF_SESSIONS = "normalisation/session"
#: A voxel is constant if its deviation is below this part of its largest value: values are in single precision.
RESOLUTION = 2.0**-22
#: Datasets that describe the trials.
OF_TRIALS = ("response", "stimulus", "split", "session", "run", "onset", "stimulus_id")


def run(job: stage.Job) -> None:
    """Write the responses of one subject for the first sessions."""
    wanted, subject = job.settings["sessions"], job.settings["subject"]
    with artefact.open_h5(job.input("responses"), job.expects.get("responses")) as source:
        where = f"study {job.settings['name']}, subject {subject}"
        session, test = source["session"].asstr()[:], source["split"][:] == SPLITS.index("test")
        first = first_sessions(session[~test], wanted, where)
        kept = np.flatnonzero(test | np.isin(session, first))
        operator = source.get(f"whitening/{first[0]}/operator")
        if operator is not None and not np.array_equal(operator[:], np.eye(len(operator))):  # of kind none
            say_of_all(session, test, first, where)
        with artefact.create_h5(job.output("responses"), job.provenance()) as file:
            write(file, source, kept, first)
    log.info(
        "sessions: sub-%s, %s: %d of %d training trials, of %d of %d sessions; all %d test trials",
        subject, ", ".join(first), len(kept) - test.sum(), (~test).sum(), wanted, len(np.unique(session[~test])),
        test.sum(),
    )  # fmt: skip


def first_sessions(session: NDArray[np.object_], count: int, where: str) -> list[str]:
    """Names of the first sessions with training trials.

    Parameters
    ----------
    session : ndarray [n] of str
        Sessions of the training trials, in the order of the responses.
    count : int
        Number of sessions.
    where : str
        Study and subject, for messages.

    Raises
    ------
    InputError
        If a session has no name, or there are fewer sessions.
    """
    names = in_order(list(dict.fromkeys(session.tolist())))
    nameless = [name for name in names if name in ("", NO_LABEL)]
    if nameless or not names:
        found = "training trials without the name of a session" if names else "no training trial"
        raise InputError(
            f"{where}: protocols.*.sessions asks for the first {count}, found {found}; expected sessions with names "
            "(ses-LABEL in a BIDS dataset, studies.*.session in a voxel_table), or sessions: all"
        )
    if len(names) < count:
        raise InputError(
            f"{where}: protocols.*.sessions asks for the first {count}, found {len(names)} with training trials "
            f"({', '.join(names)}); expected at most {len(names)}, or sessions: all"
        )
    return names[:count]


def say_of_all(session: NDArray[np.object_], test: NDArray[np.bool_], first: Sequence[str], where: str) -> None:
    """Warn if test trials are whitened with training trials of later sessions, as their own session has none.

    Parameters
    ----------
    session, test : ndarray [n]
        Session of each trial, and whether it is a test trial.
    first : sequence of str
        Sessions whose training trials stay.
    where : str
        Study and subject, for the message.
    """
    trained = set(session[~test])
    alone = in_order(sorted(set(session[test]) - trained))
    if alone and trained - set(first):
        log.warning(
            "sessions: %s: %s without training trials: their test trials are whitened with the mean operator of all %d "
            "sessions with training, later ones too; whitening: {kind: none} uses nothing of later sessions",
            *(where, ", ".join(alone), len(trained)),
        )


def in_order(names: Sequence[str]) -> list[str]:
    """Sessions by the numbers in their names (2 before 10); unsorted if a name has none, or two have the same."""
    numbers = [tuple(map(int, re.findall(r"\d+", name))) for name in names]
    if not all(numbers) or len(set(numbers)) < len(numbers):
        return list(names)
    return [name for _, name in sorted(zip(numbers, names, strict=True))]


def write(file: h5py.File, source: h5py.File, kept: NDArray[np.int64], first: Sequence[str]) -> None:
    """Write rows of a responses artefact, and everything else that still holds for them.

    Parameters
    ----------
    file : h5py.File
        The new file.
    source : h5py.File
        Responses of all sessions.
    kept : ndarray [n_kept]
        Rows that stay, ascending.
    first : sequence of str
        Sessions whose training trials stay.
    """
    ids = source["stimulus_id"].asstr()[:]
    trials = pd.DataFrame({"stimulus": ids[source["stimulus"][:][kept]]})
    trials["split"] = np.array(SPLITS)[source["split"][:][kept]]
    for name in ("session", "run"):
        trials[name] = source[name].asstr()[:][kept]
    if "onset" in source:
        trials["onset"] = source["onset"][:][kept]
    writing.write_trials(file, trials)
    for name in source:
        if name not in (*OF_TRIALS, "normalisation", "whitening", "quality"):
            source.copy(name, file)
    file.attrs.update({name: value for name, value in source.attrs.items() if name != artefact.KEY})
    response = source["response"]
    written = writing.create_response(file, (len(kept), *response.shape[1:]), response.dtype)
    fitted: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    for name in source.get("normalisation", {}):
        if f"normalisation/{name}" not in (FITTED, OF_SESSIONS):
            source.copy(f"normalisation/{name}", file, f"normalisation/{name}")
    # What the model takes to have been fitted to its training: nothing of later sessions, as with whitening below.
    for name in (one.replace("/", "-") for one in first):
        if f"{OF_SESSIONS}/{name}" in source:
            source.copy(f"{OF_SESSIONS}/{name}", file, f"{OF_SESSIONS}/{name}")
    if FITTED in source:
        training = kept[(trials["split"] == "train").to_numpy()]
        mean, deviation, constant = statistics(response, training)
        fitted = mean, deviation
        file[f"{FITTED}/mean"] = source[f"{FITTED}/mean"][:] + source[f"{FITTED}/deviation"][:] * mean
        file[f"{FITTED}/deviation"] = source[f"{FITTED}/deviation"][:] * deviation
        file.attrs["constant"] = json.dumps({"training": constant} if constant else {})
        if constant:
            log.warning("sessions: %d of %d voxels are constant in training; kept as zeros", constant, len(mean))
    for name in first:
        if f"whitening/{name}" in source:
            source.copy(f"whitening/{name}", file, f"whitening/{name}")
    advice = "use voxels.dtype float32"
    for place, values in read(response, kept):
        made = values if fitted is None else (values.astype(np.float64) - fitted[0]) / fitted[1]
        written[place : place + len(made)] = writing.in_precision(made, written.dtype, advice)


def read(response: h5py.Dataset, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Chosen rows [n, ...] in parts, each with the place of its first row."""
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        yield begin, response[rows[begin : begin + ROWS_AT_ONCE]]


def statistics(response: h5py.Dataset, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean and deviation (n - 1) [n_voxels] of some rows, and the number of constant voxels; their deviation is 1."""
    mean = sum(values.sum(axis=0, dtype=np.float64) for _, values in read(response, rows)) / len(rows)
    square, largest = np.zeros_like(mean), np.zeros_like(mean)
    for _, values in read(response, rows):
        square += ((values.astype(np.float64) - mean) ** 2).sum(axis=0)
        largest = np.maximum(largest, np.abs(values).max(axis=0))
    deviation = np.sqrt(square / max(1, len(rows) - 1))
    constant = deviation <= RESOLUTION * largest
    return mean, np.where(constant, 1.0, deviation), int(constant.sum())


if __name__ == "__main__":
    stage.main(run)
