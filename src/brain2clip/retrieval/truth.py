"""The noise-free responses of a simulated subject after the same processing as its responses artefact.

A trial is ``evoked[g] + weights[stimulus] @ basis[g]`` plus noise, where g is the group of trials that were processed
alike: a recording session of EEG, a run of fMRI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import mne
import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend

from brain2clip.names import SPLITS
from brain2clip.responses.epoching import epochs_of
from brain2clip.settings import Band, Responses, Voxels, parse
from brain2clip.stage import InputError

#: Silence around each response of the EEG, s, so that filters do not carry one into the next.
SILENCE = 8.0
#: Groups of what was fitted to training responses of voxels: of all, and of each session.
TRAINING, SESSION, RUN = "training", "session", "run"


@dataclass(frozen=True)
class Trials:
    """Single trials of one split.

    Attributes
    ----------
    values : array [n, P]
        Channels and times, or voxels, in one row.
    stimulus : array [n], int
        Row of the stimuli file.
    group : array [n], int
    """

    values: NDArray[np.float32]
    stimulus: NDArray[np.int64]
    group: NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """Knowledge of an ideal observer about a subject, and the test trials.

    Attributes
    ----------
    training, test : Trials
    weights : array [n_stimuli, K]
        By row of the stimuli file.
    evoked : array [S, P]
        By group, in units of the responses.
    basis : array [S, K, P]
    pool : array [S], int
        Groups of the same number have the same mean of the noise.
    """

    training: Trials
    test: Trials
    weights: NDArray[np.float32]
    evoked: NDArray[np.float32]
    basis: NDArray[np.float32]
    pool: NDArray[np.int64]

    def templates(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Noise-free responses [S, len(rows), P] to stimuli by their row."""
        return self.evoked[:, None] + np.einsum("gk,skp->sgp", self.weights[rows], self.basis)

    def noise(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Noise of the training trials [n, P], its mean taken away, and that mean by group [S, P].

        A group without training trials has the mean of its pool.
        """
        left = self.training.values.copy()
        for group in np.unique(self.training.group):
            chosen = self.training.group == group
            left[chosen] -= self.evoked[group] + self.weights[self.training.stimulus[chosen]] @ self.basis[group]
        mean = np.zeros_like(self.evoked)
        pool = self.pool[self.training.group]
        for number in np.unique(pool):
            mean[self.pool == number] = left[pool == number].mean(axis=0)
        return left - mean[self.training.group], mean


def known(truth: h5py.File, responses: h5py.File, ids: Sequence[str], given: dict[str, Any]) -> Known:
    """Truth and trials of a subject of EEG or of fMRI.

    Parameters
    ----------
    truth, responses : h5py.File
        The two artefacts (their layouts are in docs/architecture.md).
    ids : sequence of str
        Identities of the stimuli in the order of the stimuli file.
    given : dict
        Settings that made the responses: ``responses`` and ``band``, or ``voxels`` and ``roi``.
    """
    return (of_voxels if "voxels" in given else of_sensors)(truth, responses, ids, given)


# -------------------------------------------------------------------------------------------------- EEG


def of_sensors(truth: h5py.File, responses: h5py.File, ids: Sequence[str], given: dict[str, Any]) -> Known:
    """Filtered, epoched and whitened by the operators of each session; their means are left to the noise."""
    evoked, basis = through_epochs(truth, given)
    sessions, group = np.unique(responses["session"].asstr()[:], return_inverse=True)
    operators = np.stack([responses[f"whitening/{name}/operator"][:] for name in sessions])
    parts = np.einsum("sce,ket->skct", operators, np.concatenate([evoked[None], basis])).astype(np.float32)
    parts = parts.reshape(*parts.shape[:2], -1)
    values = responses["response"][:].astype(np.float32)
    return Known(
        *_splits(responses, ids, values.reshape(len(values), -1), group),
        weights=truth["weights"][:][_rows_of(ids, truth)].astype(np.float32),
        evoked=parts[:, 0],
        basis=parts[:, 1:],
        pool=np.arange(len(sessions)),
    )


def through_epochs(truth: h5py.File, given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Common part [C, T] and components [K, C, T] of the noise-free responses, through the same filter and epoching.

    Filtering, epoching and baseline correction are linear, so the few components stand for all pictures.
    """
    sfreq = float(truth.attrs["sfreq"])
    times = truth["times"][:]
    parts = np.concatenate([truth["evoked"][:][None], truth["basis"][:]]).astype(np.float64)
    gap = round(SILENCE * sfreq)
    length = parts.shape[-1]
    signal = np.zeros((parts.shape[1], gap + len(parts) * (length + gap)))
    onsets = []
    for index, part in enumerate(parts):
        start = gap + index * (length + gap)
        signal[:, start : start + length] = part
        onsets.append((start - round(times[0] * sfreq)) / sfreq)
    info = mne.create_info(list(truth["channel"].asstr()[:]), sfreq, "eeg")
    raw = mne.io.RawArray(signal, info, verbose="error")
    data, _ = epochs_of(raw, onsets, parse(Band, given["band"]), parse(Responses, given["responses"]))
    return data[0].astype(np.float32), data[1:].astype(np.float32)


# ------------------------------------------------------------------------------------------------- fMRI


def of_voxels(truth: h5py.File, responses: h5py.File, ids: Sequence[str], given: dict[str, Any]) -> Known:
    """Voxels of the region, scaled by the gain of each run and by the deviations of the normalisation.

    What detrending and the mean of a run take away depends on all pictures of the run. It is given back to the trials,
    so that every run has its templates and no more: see :func:`taken`.
    """
    voxels = parse(Voxels, given["voxels"])
    shown, number = truth["shown"][:], truth["shown_run"][:].astype(np.int64)
    trial = shown >= 0
    told, found = _ids(truth)[shown[trial]], _ids(responses)[responses["stimulus"][:]]
    if voxels.delay or not np.array_equal(told, found):
        raise InputError(
            f"{responses.filename}: {len(responses['stimulus'])} responses are not the {trial.sum()} trials of "
            f"{truth.filename}, one by one; in a simulated study every row is the response to its own picture. Set "
            f"voxels.delay to 0 (found {voxels.delay}) and voxels.average to none (found {voxels.average})"
        )
    chosen = _places(truth, responses)
    factors = np.concatenate([truth["evoked"][:][None], truth["basis"][:]])[:, chosen].astype(np.float64)
    runs = truth["run"].asstr()[:]
    parts = truth["gain"][:][:, None, None] * factors / deviations(responses, runs)[:, None]
    weights = truth["weights"][:].astype(np.float64)
    clean = np.zeros((len(shown), len(chosen)))
    for run, part in enumerate(parts):
        rows = trial & (number == run)
        clean[rows] = part[0] + weights[shown[rows]] @ part[1:]
    values = responses["response"][:] + taken(clean, number, voxels)[trial]
    pool = np.zeros(len(runs), np.int64)
    if voxels.normalise == SESSION:  # each lost a mean of its own, which is left to the noise
        pool = np.unique([session_of(run) for run in runs], return_inverse=True)[1]
    return Known(
        *_splits(responses, ids, values.astype(np.float32), number[trial]),
        weights=weights[_rows_of(ids, truth)].astype(np.float32),
        evoked=parts[:, 0].astype(np.float32),
        basis=parts[:, 1:].astype(np.float32),
        pool=pool,
    )


def _places(truth: h5py.File, responses: h5py.File) -> NDArray[np.int64]:
    """Number in the truth of every voxel of the responses."""
    place = {name: number for number, name in enumerate(truth["voxel"].asstr()[:])}
    names = responses["voxel"].asstr()[:]
    unknown = [name for name in names if name not in place]
    if unknown:
        raise InputError(
            f"{responses.filename}: voxel {unknown[0]} ({len(unknown)} in all) is not among the {len(place)} of "
            f"{truth.filename}; the two files come from different subjects or settings. Delete both and run snakemake"
        )
    return np.array([place[name] for name in names])


def deviations(responses: h5py.File, runs: NDArray[np.object_]) -> NDArray[np.float64]:
    """Deviation that each voxel was divided by in each run, [n_runs, n_voxels]; 1 where there is no normalisation."""
    stored = responses.get("normalisation", {})
    ones = np.ones(responses["response"].shape[1])
    wanted = [(f"{RUN}/{run}", f"{SESSION}/{session_of(run)}", TRAINING) for run in runs]
    found = [next((group for group in groups if group in stored), None) for groups in wanted]
    return np.stack([ones if group is None else stored[group]["deviation"][:] for group in found])


def session_of(run: str) -> str:
    """Session of a run by its name, SESSION/RUN; empty where there is one session, which has no name."""
    return run.rpartition("/")[0]


def taken(clean: NDArray[np.float64], run: NDArray[np.int64], voxels: Voxels) -> NDArray[np.float64]:
    """Part of noise-free signals [n_rows, P] that detrending and normalisation by run take away, row by row.

    The mean of normalisation by training responses is the same for all rows (of a session) and is left to the noise.
    """
    left = clean.copy()
    for one in np.unique(run):
        rows = run == one
        if voxels.detrend == "linear":
            left[rows] = detrend(left[rows], axis=0)
        if voxels.normalise == "run":
            left[rows] -= left[rows].mean(axis=0)
    return clean - left


def _splits(responses: h5py.File, ids: Sequence[str], values: np.ndarray, group: np.ndarray) -> tuple[Trials, Trials]:
    """Training and test trials."""
    place = {name: row for row, name in enumerate(ids)}
    rows_of = np.array([place.get(name, -1) for name in _ids(responses)], np.int64)
    if (rows_of < 0).any():
        raise InputError(
            f"{responses.filename}: shows {_ids(responses)[rows_of < 0][0]}, which is not among the {len(ids)} "
            "stimuli of the features; run snakemake, which makes both again"
        )
    stimulus, split = rows_of[responses["stimulus"][:]], responses["split"][:]
    parts = [np.flatnonzero(split == number) for number in range(len(SPLITS))]
    training, test = (Trials(values[rows], stimulus[rows], group[rows].astype(np.int64)) for rows in parts)
    return training, test


def _ids(file: h5py.File) -> NDArray[np.object_]:
    return file["stimulus_id"].asstr()[:]


def _rows_of(ids: Sequence[str], truth: h5py.File) -> NDArray[np.int64]:
    """Row of the truth of each stimulus."""
    place = {name: row for row, name in enumerate(_ids(truth))}
    lost = [name for name in ids if name not in place]
    if lost:
        raise InputError(
            f"{truth.filename}: has no {lost[0]} ({len(lost)} stimuli in all); pictures and recordings were made "
            "with different settings. Delete the older of the two and run snakemake"
        )
    return np.array([place[name] for name in ids], np.int64)
