"""Stage ``ceiling``: the ideal observer of a simulated study, on the very test trials that the methods see.

It knows the noise-free response of the subject to every candidate and, from the residuals of the training trials, the
covariance of everything else (background, artefacts, overlapping neighbours). With Gaussian noise the candidate of
highest posterior is that of the largest linear discriminant t' S^-1 x - t' S^-1 t / 2; no method that has to learn
responses from data can do better on average, up to the noise not being exactly Gaussian and its covariance being
estimated (Ledoit-Wolf).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import mne
import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from brain2clip import artefact, stage
from brain2clip.responses.preprocess import epochs_of
from brain2clip.retrieval import ranks, rows, tasks
from brain2clip.retrieval.rank import candidate_rows
from brain2clip.settings import Band, Responses, Retrieval, parse

log = logging.getLogger("brain2clip")
#: Silence around each response, s, so that filters do not carry one into the next.
SILENCE = 8.0


def run(job: stage.Job) -> None:
    """Rank the candidates by the discriminant and write rows and summary."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    with artefact.open_h5(job.input("truth"), job.expects.get("truth")) as truth:
        evoked, basis = processed_truth(truth, job.settings)
        weights = truth["weights"][:].astype(np.float32)
    trials = _Trials(job.input("responses"), job.expects.get("responses"))
    evoked, basis = trials.whiten(evoked[None])[:, 0], trials.whiten(basis)
    precision, noise_mean = _noise(trials, weights, evoked, basis)
    with artefact.open_h5(job.input("stimuli"), job.expects.get("features")) as stimuli:
        candidates = candidate_rows(stimuli["split"].asstr()[:])
        columns = {"stimulus": "stimulus_id", "category": "concept", "caption": "caption"}
        labels = {kind: stimuli[name].asstr()[:][candidates] for kind, name in columns.items()}
    templates = evoked[:, None] + np.einsum("gk,skct->sgct", weights[candidates], basis)
    templates = templates.reshape(*templates.shape[:2], -1)  # [session, candidate, channel * time]
    values, stimulus, session = trials.read("test")
    values -= noise_mean[session]
    queries = []
    for repetitions in retrieval.repetitions:
        groups = ranks.trial_groups(stimulus, repetitions, retrieval.seed)
        if not groups:
            continue
        mean = np.stack([values[members].mean(axis=0) for _, members in groups])
        share = np.stack(
            [np.bincount(session[members], minlength=len(templates)) / len(members) for _, members in groups]
        )
        # The noise of a mean over n trials has the n-th part of the covariance.
        count = np.array([len(members) for _, members in groups])
        scores = count[:, None] * discriminants(mean, share, templates, precision)
        target = np.searchsorted(candidates, [row for row, _ in groups])
        queries += tasks.of_observer(retrieval.tasks, repetitions, scores, target, labels)
        log.info("ceiling: %d averages of %s repetitions", len(groups), repetitions)
    rows.write(job, queries)


def discriminants(mean: np.ndarray, share: np.ndarray, templates: np.ndarray, precision: Any) -> np.ndarray:
    """Linear discriminant of each candidate for each averaged response.

    Parameters
    ----------
    mean : ndarray [Q, P]
        Averaged whitened responses, channels and times in one row.
    share : ndarray [Q, S]
        Share of each recording session in the average; sessions are whitened by different operators.
    templates : ndarray [S, G, P]
        Noise-free responses to the candidates in each session.
    precision : tuple
        Cholesky factor of the noise covariance of single trials.

    Returns
    -------
    ndarray [Q, G]
        Logarithm of the likelihood, up to a constant per response, divided by the number of averaged trials.
    """
    scores = np.empty((len(mean), templates.shape[1]))
    for mixture in np.unique(share, axis=0):
        chosen = (share == mixture).all(axis=1)
        mixed = np.tensordot(mixture, templates, axes=1)
        solved = cho_solve(precision, mixed.T)
        scores[chosen] = mean[chosen] @ solved - 0.5 * np.einsum("gp,pg->g", mixed, solved)
    return scores


def processed_truth(truth: h5py.File, given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
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


class _Trials:
    """Single trials of a responses artefact, with the whitening operators of their sessions."""

    def __init__(self, path: Path, expected: Any) -> None:
        with artefact.open_h5(path, expected) as file:
            self.values = file["response"][:].astype(np.float32)
            self.stimulus = file["stimulus"][:].astype(np.int64)
            self.split = file["split"][:]
            labels = file["session"].asstr()[:]
            self.sessions, self.session = np.unique(labels, return_inverse=True)
            self.operators = np.stack([file[f"whitening/{name}/operator"][:] for name in self.sessions])
            self.means = np.stack([file[f"whitening/{name}/mean"][:] for name in self.sessions])

    def whiten(self, parts: np.ndarray) -> np.ndarray:
        """Signals [K, C, T] as each session sees them: [S, K, C, T]. Means are left to the residuals."""
        return np.einsum("sce,ket->skct", self.operators, parts).astype(np.float32)

    def read(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows [n, C*T], stimulus and session number of the trials of a split."""
        chosen = np.flatnonzero(self.split == (0 if split == "train" else 1))
        return self.values[chosen].reshape(len(chosen), -1), self.stimulus[chosen], self.session[chosen]


def _noise(trials: _Trials, weights: np.ndarray, evoked: np.ndarray, basis: np.ndarray) -> tuple[Any, np.ndarray]:
    """Noise of single training trials: Cholesky factor of its covariance [P, P], and its mean per session [S, P]."""
    values, stimulus, session = trials.read("train")
    mean = np.zeros((len(trials.sessions), values.shape[1]), np.float32)
    for number in range(len(trials.sessions)):
        chosen = session == number
        clean = evoked[number] + np.einsum("nk,kct->nct", weights[stimulus[chosen]], basis[number])
        values[chosen] -= clean.reshape(len(clean), -1)
        mean[number] = values[chosen].mean(axis=0)
        values[chosen] -= mean[number]
    covariance, shrinkage = ledoit_wolf(values, assume_centered=True)
    log.info("ceiling: noise covariance of %d features from %d trials, shrinkage %.4f", *values.shape[::-1], shrinkage)
    return cho_factor(covariance.astype(np.float64)), mean


if __name__ == "__main__":
    stage.main(run)
