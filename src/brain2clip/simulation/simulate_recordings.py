"""Stage ``simulate_recordings``: the EEG of one simulated subject, as BIDS, and its truth.

Dipoles in a spherical head respond to the features of the picture on three levels, at the positions and latencies of
visual areas; overlapping responses, brain background, alpha, blinks, hum and drift are added. The response to a picture
is linear in its features and the same at every presentation, so the truth is known exactly.

Inputs ``stimuli`` and ``features``; outputs ``truth`` (see :func:`write_truth`) and ``record`` (size and hash of every
file of the subject, in whose folder it lies).
The same settings always give the same signal.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from brain2clip import artefact, settings, stage
from brain2clip.names import SPLITS
from brain2clip.readers import drawn_pictures, file_records, simulated_recordings
from brain2clip.readers.contract import Recording

if TYPE_CHECKING:
    import mne
    import pandas as pd

Floats = NDArray[np.floating]

CHANNELS = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8", "TP7", "CPz", "TP8",
    "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2",
)  # fmt: skip
REFERENCE = "FCz"
MONTAGE = "biosemi64"
"""Electrodes of the 10-10 system on a true sphere, as the head model is."""
EPOCH = (-0.2, 1.0)
"""Window of the truth around picture onset, s; the last sample is left out."""
MARGIN = 3.0
"""Rest before the first onset and after the end of the last response, s."""
PAUSE = 1.5
"""Rest between sequences, s."""
SEQUENCES_PER_BLOCK = 20
TARGET = 255
"""Trigger of a catch trial."""
LINE_HZ = 50.0
UV = 1e-6


# ------------------------------------------------------------------------------------------------ brain


@dataclass(frozen=True)
class Level:
    """A stage of visual processing.

    Attributes
    ----------
    name : str
        Group of features that it responds to.
    window : tuple of float
        First and last latency of its response components, s.
    width : float
        Standard deviation of a component in time, s.
    places : tuple
        Dipoles of the right hemisphere, mm from the centre of the head (right, front, up); the left ones mirror them.
    picture_uv : float
        Largest standard deviation over pictures at any channel and time, microvolt, for ``snr`` 1.
    evoked_uv : float
        Peak of the part that all pictures have in common, microvolt.
    """

    name: str
    window: tuple[float, float]
    width: float
    places: tuple[tuple[float, float, float], ...]
    picture_uv: float
    evoked_uv: float


LEVELS = (
    # V1 to V3, around the calcarine sulcus.
    Level("low", (0.087, 0.113), 0.010, ((8, -70, 2), (20, -66, 14), (24, -64, -8), (10, -66, -20)), 3.0, 4.0),
    # V4 and lateral occipital cortex.
    Level("mid", (0.157, 0.193), 0.014, ((44, -54, -6), (38, -58, 12), (34, -56, -24), (52, -44, 6)), 2.5, -5.0),
    # Fusiform and inferior temporal cortex, intraparietal sulcus, posterior superior temporal sulcus.
    Level("semantic", (0.26, 0.39), 0.030, ((38, -42, -38), (50, -28, -32), (42, -44, 36), (60, -30, 8)), 2.0, 3.0),
)  # fmt: skip
COMPONENTS_PER_DIPOLE = 4
"""Response components in time of one dipole, spread over the window of its level."""
ALPHA_PLACES = ((12, -62, 20), (26, -58, 10), (30, -44, 40))
TARGET_PLACE = (0, -20, 62)
"""Parietal source of the positive wave after a catch trial."""
TARGET_UV, TARGET_LATENCY, TARGET_WIDTH = 6.0, 0.42, 0.08
BACKGROUND_DIPOLES = 80

# Differences between subjects: standard deviations.
PLACE_MM = 5.0
TILT = 0.5
"""Of the dipole orientation, relative to its length: about 25 degrees: gyri differ from person to person."""
LATENCY_S, LATENCY_MAX_S = 0.004, 0.006
GAIN = 0.15
"""Of the logarithm of the response amplitude."""
OWN_MIXING = 0.5
"""Correlation of a subject's mixing of features with a part of its own; 0.87 with the part common to all."""
SESSION_GAIN = 0.1
"""Of the logarithm of the strength of background and alpha, from session to session."""


@dataclass(frozen=True)
class Brain:
    """A simulated subject.

    Attributes
    ----------
    info : mne.Info
        Channels with positions.
    weights : array, shape (n_stimuli, n_components)
        How strongly each picture drives each component; standard deviation 1 over the training pictures.
    basis : array, shape (n_components, n_channels, n_times)
        EEG of a component of strength 1 around picture onset, V.
    evoked : array, shape (n_channels, n_times)
        Response to every picture, V.
    target : array, shape (n_channels, n_times)
        Additional response to a catch trial, V.
    level : tuple of str, length n_components
        Level of each component.
    times : array, shape (n_times,)
        Relative to picture onset, s.
    background : array, shape (n_channels, n_background)
        Field of each background dipole, scaled to a mean standard deviation of 1 over channels.
    alpha : array, shape (n_channels, n_alpha)
        Field of each alpha dipole, scaled to a mean amplitude of 1 at the best channel.
    alpha_hz : float
        Alpha frequency.
    blink : array, shape (n_channels,)
        Field of a blink, mean 1 over Fp1 and Fp2.
    """

    info: mne.Info
    weights: NDArray[np.float32]
    basis: NDArray[np.float32]
    evoked: NDArray[np.float32]
    target: NDArray[np.float32]
    level: tuple[str, ...]
    times: Floats
    background: Floats
    alpha: Floats
    alpha_hz: float
    blink: Floats


def make_brain(study: settings.SimulatedStudy, subject: str, features: dict[str, Floats], n_training: int) -> Brain:
    """Draw a subject.

    Parameters
    ----------
    study : SimulatedStudy
        Settings; ``seed`` fixes what all subjects share.
    subject : str
        Label, a number.
    features : dict of array, shape (n_stimuli, n_features)
        Standardised features by level.
    n_training : int
        The first rows are the training pictures; amplitudes are set over them.
    """
    common, own = generator(study, "brain"), generator(study, "subject", int(subject))
    info, leadfield = head()
    first, last = (round(edge * study.sfreq) for edge in EPOCH)
    times = np.arange(first, last) / study.sfreq
    shift = float(np.clip(own.normal(0, LATENCY_S), -LATENCY_MAX_S, LATENCY_MAX_S))
    gain = study.snr * float(np.exp(own.normal(0, GAIN)))

    weights, bases, evoked, names = [], [], np.zeros((len(CHANNELS), len(times))), []
    for level in LEVELS:
        field = leadfield(*dipoles(level.places, common, own))
        centres = np.linspace(*level.window, COMPONENTS_PER_DIPOLE) + shift
        kernels = bump(times, centres[:, None], level.width)
        basis = np.einsum("cd,kt->dkct", field, kernels).reshape(-1, len(CHANNELS), len(times))
        strength = mix(features[level.name], len(basis), common, own, n_training)
        spread = np.cov(strength[:n_training], rowvar=False, bias=True)
        deviation = np.sqrt(np.einsum("act,ab,bct->ct", basis, spread, basis, optimize=True).max())
        together = field.sum(1)[:, None] * bump(times, np.mean(level.window) + shift, 1.5 * level.width)
        bases.append(basis * (gain * level.picture_uv * UV / deviation))
        evoked += together * (level.evoked_uv * UV / np.abs(together).max())
        weights.append(strength)
        names += [level.name] * len(basis)

    wave = leadfield(*dipoles((TARGET_PLACE,), common, own, mirrored=False))
    wave = wave * bump(times, TARGET_LATENCY + shift, TARGET_WIDTH)
    background = leadfield(*scattered(own))
    alpha = leadfield(*dipoles(ALPHA_PLACES, common, own))
    return Brain(
        info=info,
        weights=np.concatenate(weights, axis=1).astype(np.float32),
        basis=np.concatenate(bases).astype(np.float32),
        evoked=evoked.astype(np.float32),
        target=(wave * (TARGET_UV * UV / np.abs(wave).max())).astype(np.float32),
        level=tuple(names),
        times=times,
        background=background / np.linalg.norm(background, axis=1).mean(),
        # The envelope of a narrow-band Gaussian signal of unit deviation has mean sqrt(pi / 2).
        alpha=alpha / (np.linalg.norm(alpha, axis=1).max() * np.sqrt(np.pi / 2)),
        alpha_hz=float(np.clip(own.normal(10.2, 0.6), 8.5, 12.0)),
        blink=blink_field(info),
    )


def head() -> tuple[mne.Info, Callable[[Floats, Floats], Floats]]:
    """Channels with positions, and the field of dipoles in a three-shell spherical head.

    Returns
    -------
    info : mne.Info
        Of the recorded channels, without sampling rate of its own (1 Hz).
    leadfield : callable
        From places [n, 3] (m from the centre of the head) and orientations [n, 3] to potentials [n_channels, n]
        against the reference electrode, V per A m.

    Notes
    -----
    The three-shell sphere is MNE's (Berg and Scherg, 1994): radii 0.90, 0.97 and 1 of 95 mm.
    """
    import mne

    montage = mne.channels.make_standard_montage(MONTAGE)
    info = mne.create_info([*CHANNELS, REFERENCE], 1.0, "eeg", verbose="error").set_montage(montage)
    sphere = mne.make_sphere_model("auto", "auto", info, verbose="error")

    def leadfield(places: Floats, orientations: Floats) -> Floats:
        ones = np.ones(len(places))
        given = mne.Dipole(np.arange(len(places)), places + sphere["r0"], ones, orientations, ones)
        forward, _ = mne.make_forward_dipole(given, sphere, info, verbose="error")
        # The dipoles come as one forward solution in their order (its columns are the given orientations).
        potentials = np.asarray(forward["sol"]["data"], dtype=float)
        return potentials[:-1] - potentials[-1]

    return mne.pick_info(info, np.arange(len(CHANNELS))), leadfield


def dipoles(
    places: tuple[tuple[float, float, float], ...],
    common: np.random.Generator,
    own: np.random.Generator,
    mirrored: bool = True,
) -> tuple[Floats, Floats]:
    """Places (m) and unit orientations of dipoles, each [n, 3].

    Orientations point outwards with a tangential part that all subjects share, mirrored between the hemispheres; a
    subject moves and tilts each dipole a little.
    """
    right = np.asarray(places, dtype=float) / 1000
    outward = right / np.linalg.norm(right, axis=1, keepdims=True)
    pointing = outward + 0.5 * common.standard_normal(right.shape)
    if mirrored:
        mirror = np.array([-1.0, 1.0, 1.0])
        right, pointing = np.concatenate((right, right * mirror)), np.concatenate((pointing, pointing * mirror))
    pointing = pointing / np.linalg.norm(pointing, axis=1, keepdims=True)
    pointing = pointing + TILT / np.sqrt(3) * own.standard_normal(pointing.shape)
    moved = right + PLACE_MM / 1000 / np.sqrt(3) * own.standard_normal(right.shape)
    return moved, pointing / np.linalg.norm(pointing, axis=1, keepdims=True)


def scattered(own: np.random.Generator) -> tuple[Floats, Floats]:
    """Places (m) and unit orientations of the background dipoles, all over the upper part of the brain."""
    direction = own.standard_normal((BACKGROUND_DIPOLES, 3))
    direction[:, 2] = np.abs(direction[:, 2]) - 0.4
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    pointing = own.standard_normal((BACKGROUND_DIPOLES, 3))
    depth = own.uniform(0.030, 0.075, (BACKGROUND_DIPOLES, 1))
    return direction * depth, pointing / np.linalg.norm(pointing, axis=1, keepdims=True)


def mix(
    features: Floats, n_components: int, common: np.random.Generator, own: np.random.Generator, n_training: int
) -> Floats:
    """Strength of each component for each picture, [n_stimuli, n_components]: a random mixture of the features.

    Most of the mixture is common to all subjects. Mean 0 and standard deviation 1 over the training pictures.
    """
    shape = (features.shape[1], n_components)
    shared, private = common.standard_normal(shape), own.standard_normal(shape)
    strength = features @ (np.sqrt(1 - OWN_MIXING**2) * shared + OWN_MIXING * private)
    training = strength[:n_training]
    return (strength - training.mean(0)) / training.std(0)


def bump(times: Floats, centre: Any, width: float) -> Floats:
    """Gaussian in time with peak 1, zero before and at picture onset."""
    return np.exp(-(((times - centre) / width) ** 2) / 2) * (times > 0)


def blink_field(info: mne.Info) -> Floats:
    """Field of a blink, [n_channels]: falls off from the forehead (space constant 35 mm), mean 1 at Fp1 and Fp2."""
    import mne

    electrodes = mne.channels.make_standard_montage(MONTAGE).get_positions()["ch_pos"]
    forehead = (electrodes["Fp1"] + electrodes["Fp2"]) / 2
    strength = {
        name: float(np.exp(-np.linalg.norm(electrodes[name] - forehead) / 0.035)) for name in (*CHANNELS, REFERENCE)
    }
    field = np.array([strength[name] - strength[REFERENCE] for name in info.ch_names])
    return field / field[[info.ch_names.index("Fp1"), info.ch_names.index("Fp2")]].mean()


# ------------------------------------------------------------------------------------------------ trials


def order(plan: simulated_recordings.Plan, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pictures (from 0) of a session in the order of presentation.

    All pictures are shown once in random order, then all once more, and so on; surplus ones come at random places.
    """
    times = np.asarray(plan.times)
    rounds = [rng.permutation(np.flatnonzero(times > count)) for count in range(times.max())]
    shown = np.concatenate(rounds)
    again = rng.choice(np.flatnonzero(times), plan.surplus, replace=False)
    return np.insert(shown, rng.integers(0, len(shown) + 1, plan.surplus), again)


def events_table(
    shown: NDArray[np.int64], stimuli: pd.DataFrame, study: settings.SimulatedStudy, task: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Events of one recording, targets included.

    Parameters
    ----------
    shown : array of int, shape (n,)
        Pictures (from 0 within the split) in order.
    stimuli : DataFrame
        Rows of the stimulus table of this split.

    Returns
    -------
    DataFrame
        Columns :data:`brain2clip.readers.simulated_recordings.COLUMNS`; None stands for ``n/a``.
    """
    import pandas as pd

    catch = round(len(shown) * study.catch_trials / (1 - study.catch_trials))
    trials = np.insert(shown, rng.integers(0, len(shown) + 1, catch), -1)
    place = np.arange(len(trials))
    sequence, within = place // study.sequence, place % study.sequence
    onset = MARGIN + sequence * (study.sequence * study.soa + PAUSE) + within * study.soa
    sample = np.round(onset * study.sfreq).astype(int)
    image = trials >= 0
    folders = [Path(path).parent.name for path in stimuli["image"]]

    def images_only(values: list[Any]) -> list[Any]:
        return [values[trial] if trial >= 0 else None for trial in trials]

    soa = np.diff(sample, prepend=sample[0]) / study.sfreq
    value = trials + 1 if task == "test" else place % 99 + 1
    columns = {
        "onset": sample / study.sfreq,
        "duration": np.full(len(trials), study.soa / 2),
        "sample": sample,
        "value": np.where(image, value, TARGET),
        "trial_type": np.where(image, "image", "target"),
        "tot_img_number": images_only(list(range(1, len(stimuli) + 1))),
        "img_category": images_only([int(folder.split("_")[0]) for folder in folders]),
        "category_name": images_only(folders),
        "block": sequence // SEQUENCES_PER_BLOCK + 1,
        "sequence": sequence + 1,
        "img_in_sequence": within + 1,
        "soa": [None if k == 0 else 0.0 if first else round(float(gap), 6)
                for k, (first, gap) in enumerate(zip(within == 0, soa))],
    }  # fmt: skip
    return pd.DataFrame({name: pd.Series(columns[name], dtype=object) for name in simulated_recordings.COLUMNS})


# ------------------------------------------------------------------------------------------------ signal


def responses(brain: Brain, events: pd.DataFrame, first_row: int, n_samples: int) -> Floats:
    """Sum of the overlapping responses to all trials, [n_channels, n_samples], V.

    Parameters
    ----------
    first_row : int
        Row of the stimulus table of picture 1 of this recording's split.
    """
    signal = np.zeros((len(CHANNELS), n_samples))
    before, length = int(np.sum(brain.times < 0)), len(brain.times)
    starts = events["sample"].to_numpy(dtype=int) - before
    rows = np.array([-1 if number is None else first_row + number - 1 for number in events["tot_img_number"]])
    for part in np.array_split(np.arange(len(rows)), len(rows) // 200 + 1):
        pictures = np.tensordot(brain.weights[rows[part]], brain.basis, axes=1)
        for start, row, picture in zip(starts[part], rows[part], pictures):
            signal[:, start : start + length] += brain.evoked + (picture if row >= 0 else brain.target)
    return signal


def disturbances(
    brain: Brain,
    noise: settings.SimulatedNoise,
    n_samples: int,
    sfreq: float,
    strength: float,
    rng: np.random.Generator,
) -> Floats:
    """Background and noise, [n_channels, n_samples], V.

    Parameters
    ----------
    strength : float
        Factor of the session on background and alpha.
    """
    signal = np.zeros((len(CHANNELS), n_samples))

    # Brain background: 1/f power above 0.5 Hz from dipoles all over the brain, so correlated between channels.
    for part in np.array_split(np.arange(brain.background.shape[1]), 8):
        sources = coloured(rng, len(part), n_samples, sfreq, lambda f: 1 / np.sqrt(np.maximum(f, 0.5)))
        signal += (noise.pink_uv * strength) * (brain.background[:, part] @ sources)

    # Alpha: a narrow band waxes and wanes by itself; a slow gate makes bursts of it.
    rhythm = coloured(
        rng, brain.alpha.shape[1], n_samples, sfreq, lambda f: np.exp(-(((f - brain.alpha_hz) / 0.7) ** 2) / 4)
    )
    gate = np.exp(0.6 * coloured(rng, 1, n_samples, sfreq, lambda f: (f < 0.2) * 1.0))
    signal += (noise.alpha_uv * strength) * (brain.alpha @ (rhythm * (gate / np.exp(0.18))))

    signal += noise.blink_uv * brain.blink[:, None] * blinks(noise.blinks_per_minute, n_samples, sfreq, rng)

    # The amplifier keeps out what lies above half its rate.
    if sfreq > 2 * LINE_HZ:
        height = noise.mains_uv * rng.uniform(0.5, 1.5, (len(CHANNELS), 1))
        phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, (len(CHANNELS), 1))
        signal += height * np.sin(2 * np.pi * LINE_HZ * np.arange(n_samples) / sfreq + phase)

    signal += noise.drift_uv * coloured(rng, len(CHANNELS), n_samples, sfreq, lambda f: (f < 0.2) / np.maximum(f, 0.01))
    signal += noise.sensor_uv * rng.standard_normal(signal.shape)
    return signal * UV


def coloured(
    rng: np.random.Generator, n: int, n_samples: int, sfreq: float, amplitude: Callable[[Floats], Floats]
) -> Floats:
    """Gaussian noise of unit expected deviation, [n, n_samples], of a given amplitude over frequency (Hz)."""
    from scipy import fft

    length = fft.next_fast_len(n_samples + round(10 * sfreq), real=True)
    shape = amplitude(fft.rfftfreq(length, 1 / sfreq))
    shape[0] = 0
    # Each frequency but the last stands for two, so the variance of the shaped noise is the mean of the square.
    power = (2 * np.sum(shape**2) - (shape[-1] ** 2 if length % 2 == 0 else 0)) / length
    spectrum = fft.rfft(rng.standard_normal((n, length))) * (shape / np.sqrt(power))
    return fft.irfft(spectrum, length)[:, :n_samples]


def blinks(per_minute: float, n_samples: int, sfreq: float, rng: np.random.Generator) -> Floats:
    """Time course of random blinks with peaks around 1, [n_samples]: closing 0.1 s, opening 0.2 s."""
    course = np.zeros(n_samples)
    count = rng.poisson(per_minute * n_samples / sfreq / 60)
    time = np.arange(round(0.3 * sfreq)) / sfreq
    shape = np.sin(np.pi / 2 * np.where(time < 0.1, time / 0.1, (0.3 - time) / 0.2)) ** 2
    starts = rng.integers(0, max(n_samples - len(shape), 1), count)
    for start, height in zip(starts, np.exp(rng.normal(0, 0.2, count))):
        course[start : start + len(shape)] += height * shape[: n_samples - start]
    return course


# ------------------------------------------------------------------------------------------------- stage


def run(job: stage.Job) -> None:
    """Simulate all recordings of a subject beside their place, with their record, and move them there as one."""
    study = settings.parse(settings.SimulatedStudy, job.settings["study"])
    subject = job.settings["subject"]
    if study.sfreq < 100:
        raise stage.InputError(
            f"simulated study: sfreq is {study.sfreq:g} Hz; expected at least 100 Hz, for the earliest responses last "
            "some 20 ms. Set a higher sfreq."
        )
    stimuli, features = drawn_pictures.with_features(job)
    n_training = int((stimuli["split"] == "train").sum())
    brain = make_brain(study, subject, features, n_training)
    write_truth(job, brain, stimuli)

    place = job.output("record").parent
    root = scratch_folder(place)
    folder = root / place.name
    counts: dict[str, int] = {}
    try:
        todo = recordings(study, subject, stimuli, root)
        for recording, events in stage.progress(todo, f"sub-{subject} recordings"):
            write_recording(recording, events, signal_of(study, brain, recording, events, n_training), study, brain)
            counts[f"ses-{recording.session}"] = counts.get(f"ses-{recording.session}", 0) + len(events)
        described = {"n_trials": {"Description": "Trials shown, catch trials included."}}
        write_json(folder / f"{place.name}_sessions.json", described)
        rows = "".join(f"{session}\t{count}\n" for session, count in counts.items())
        artefact.write_text(folder / f"{place.name}_sessions.tsv", "session_id\tn_trials\n" + rows)
        files = [path for path in folder.rglob("*") if path.is_file()]
        file_records.write(folder / job.output("record").name, place.parent.name, files)
        shutil.rmtree(place, ignore_errors=True)
        folder.rename(place)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def recordings(
    study: settings.SimulatedStudy, subject: str, stimuli: pd.DataFrame, root: Path
) -> list[tuple[Recording, pd.DataFrame]]:
    """Every recording of a subject with its events."""
    plans = {split: simulated_recordings.plan(study, split) for split in SPLITS}
    tables = {split: stimuli[stimuli["split"] == split] for split in plans}
    done = []
    for session in range(1, study.sessions + 1):
        rng = generator(study, "order", int(subject), session)
        shown = {split: order(plans[split][session - 1], rng) for split in plans}
        runs = dict(enumerate(np.array_split(shown["train"], simulated_recordings.TRAINING_RUNS), 1))
        for task, label in simulated_recordings.recordings_of_session():
            recording = simulated_recordings.recording(root, subject, f"{session:02d}", task, label)
            pictures = shown["test"] if label is None else runs[int(label)]
            done.append((recording, events_table(pictures, tables[task], study, task, rng)))
    return done


def signal_of(
    study: settings.SimulatedStudy, brain: Brain, recording: Recording, events: pd.DataFrame, n_training: int
) -> Floats:
    """EEG of one recording, [n_channels, n_samples], V."""
    subject, session = int(recording.subject), int(recording.session or 0)
    n_samples = int(events["sample"].iloc[-1]) + round((EPOCH[1] + MARGIN) * study.sfreq)
    strength = float(np.exp(generator(study, "session", subject, session).normal(0, SESSION_GAIN)))
    rng = generator(study, "noise", subject, session, int(recording.run or 0))
    driven = responses(brain, events, n_training if recording.task == "test" else 0, n_samples)
    return driven + disturbances(brain, study.noise, n_samples, study.sfreq, strength, rng)


def generator(study: settings.SimulatedStudy, purpose: str, *numbers: int) -> np.random.Generator:
    """Random numbers of their own for each purpose, subject, session and run."""
    purposes = ("brain", "subject", "order", "session", "noise")
    return np.random.default_rng([study.seed, purposes.index(purpose), *numbers])


# ------------------------------------------------------------------------------------------------- files


def scratch_folder(place: Path) -> Path:
    """Path beside a folder to make it at, of this process alone: the job of a killed run may still be writing.

    What processes of this host that are no more left for the same folder is removed.
    """
    left = re.compile(rf"\.{re.escape(place.name)}\.{re.escape(platform.node())}-(\d+)\.part")
    for entry in place.parent.glob(f".{place.name}.*.part"):
        found = left.fullmatch(entry.name)
        if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
            shutil.rmtree(entry, ignore_errors=True)
    return place.with_name(f".{place.name}.{platform.node()}-{os.getpid()}.part")


def write_recording(
    recording: Recording, events: pd.DataFrame, signal: Floats, study: settings.SimulatedStudy, brain: Brain
) -> None:
    """Write one recording as BrainVision with its BIDS sidecars, events in the columns of the real study."""
    import mne
    import mne_bids

    info = mne.create_info(list(CHANNELS), study.sfreq, "eeg", verbose="error")
    raw = mne.io.RawArray(signal, info, verbose="error")
    raw.set_montage(brain.info.get_montage(), verbose="error")
    raw.info["line_freq"] = LINE_HZ
    target = mne_bids.BIDSPath(
        subject=recording.subject, session=recording.session, task=recording.task, run=recording.run,
        datatype="eeg", root=recording.root,
    )  # fmt: skip
    value = events["value"].to_numpy(dtype=int)
    markers = np.column_stack((events["sample"].to_numpy(dtype=int), np.zeros_like(value), value))
    names = {"target" if code == TARGET else f"image/{code}": int(code) for code in np.unique(value)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Converting data files to BrainVision format")
        mne_bids.write_raw_bids(
            raw, target, events=markers, event_id=names, allow_preload=True, format="BrainVision",
            overwrite=True, verbose="error",
        )  # fmt: skip
    events.to_csv(recording.events, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    write_json(recording.events.with_suffix(".json"), describe_events())
    sidecar = target.copy().update(suffix="eeg", extension=".json")
    mne_bids.update_sidecar_json(sidecar, describe_recording(recording.task), verbose="error")


def describe_recording(task: str) -> dict[str, Any]:
    """Fields of eeg.json that MNE-BIDS cannot know."""
    kind = "training pictures" if task == "train" else "test pictures of concepts that are not in training"
    return {
        "TaskDescription": f"Simulated rapid serial visual presentation of {kind}.",
        "EEGReference": REFERENCE,
        "EEGGround": "n/a",
        "EEGPlacementScheme": "10-10",
        "Manufacturer": "brain2clip (simulated)",
        "SoftwareFilters": "n/a",
        "HardwareFilters": "n/a",
        "RecordingType": "continuous",
    }


def describe_events() -> dict[str, Any]:
    """events.json."""
    texts = {
        "sample": "Sample of the onset, from 0.",
        "value": "Trigger. In training it goes round from 1 to 99 and is no label; in test it is tot_img_number.",
        "tot_img_number": "Number of the picture within the task, from 1: row of the split in stimuli/stimuli.tsv.",
        "img_category": "Number of the concept within the task, from 1.",
        "category_name": "Folder of the concept.",
        "block": "Block of sequences, from 1.",
        "sequence": "Sequence of pictures within the recording, from 1.",
        "img_in_sequence": "Place within the sequence, from 1.",
    }
    kinds = {"image": "A picture.", "target": "A catch trial; it has no picture number."}
    described: dict[str, Any] = {name: {"Description": text} for name, text in texts.items()}
    described["onset"] = {"Description": "Onset of the picture.", "Units": "s"}
    described["duration"] = {"Description": "How long the picture stands.", "Units": "s"}
    described["trial_type"] = {"Description": "Kind of event.", "Levels": kinds}
    described["soa"] = {"Description": "Time since the onset before, 0 at the start of a sequence.", "Units": "s"}
    return {name: described[name] for name in simulated_recordings.COLUMNS}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as MNE-BIDS does."""
    import json

    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def write_truth(job: stage.Job, brain: Brain, stimuli: pd.DataFrame) -> None:
    """Write the noise-free responses as factors: that to picture i is ``evoked + weights[i] @ basis``.

    Datasets: ``stimulus_id [n_stimuli]``; ``weights [n_stimuli, n_components]``; ``basis [n_components, n_channels,
    n_times]`` V; ``evoked [n_channels, n_times]`` V; ``level [n_components]``; ``channel``; ``times`` s. Attribute
    ``sfreq`` Hz, ``unit``.
    """
    with artefact.create_h5(job.output("truth"), job.provenance()) as file:
        file["stimulus_id"] = stimuli["stimulus_id"].to_list()
        file["weights"] = brain.weights
        file["basis"] = brain.basis
        file["evoked"] = brain.evoked
        file["level"] = list(brain.level)
        file["channel"] = list(CHANNELS)
        file["times"] = brain.times
        file.attrs["sfreq"] = float(round(1 / (brain.times[1] - brain.times[0]), 6))
        file.attrs["unit"] = "V"


if __name__ == "__main__":
    stage.main(run)
