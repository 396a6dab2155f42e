"""Stage ``simulate_voxels``: the fMRI of one simulated subject, and its truth.

Voxels of visual areas respond to the features of the picture: in V1 to V3 to low-level features at one place of the
visual field; in V4 and LOC to mid-level features; in LOC, FFA and PPA to semantic features. FFA and PPA also have
preferred categories. Each row of the signals is a trial, or rest. Noise that neighbouring voxels share, slow drift and
differences between runs are added. The response to a picture is linear in its features and the same at every
presentation (except for the gain of the run), so the truth is known exactly.

Inputs ``stimuli`` and ``features``; outputs ``truth`` (:func:`write_truth`) and ``signals`` (:func:`write_signals`).
The same settings give the same signals. The unit of the signals is the standard deviation of the noise of a trial.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from brain2clip import artefact, settings, stage
from brain2clip.readers import drawn_pictures
from brain2clip.simulation import world

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.floating]


# ------------------------------------------------------------------------------------------------ brain


@dataclass(frozen=True)
class Region:
    """A visual area.

    Attributes
    ----------
    name : str
        As in the data of Horikawa and Kamitani (2017).
    size : float
        Number of voxels relative to the mean over regions.
    levels : dict of float
        Share of the variance of a voxel's response that is due to each level of features.
    field : float
        Standard deviation of a voxel's receptive field, picture widths; it grows from V1 to higher areas (Dumoulin and
        Wandell, 2008). It limits the low-level features, which have places in the picture.
    prefers : tuple of str
        Names of semantic features to which all voxels of the region respond.
    """

    name: str
    size: float
    levels: dict[str, float]
    field: float
    prefers: tuple[str, ...] = ()


REGIONS = (
    Region("V1", 1.5, {"low": 1.0}, 0.10),
    Region("V2", 1.3, {"low": 0.9, "mid": 0.1}, 0.15),
    Region("V3", 1.1, {"low": 0.75, "mid": 0.25}, 0.22),
    Region("V4", 0.9, {"low": 0.3, "mid": 0.6, "semantic": 0.1}, 0.30),
    # Objects at any place (Malach et al., 1995).
    Region("LOC", 1.0, {"low": 0.1, "mid": 0.4, "semantic": 0.5}, 0.40),
    # Faces (Kanwisher et al., 1997); these pictures have none, and animals are nearest to them.
    Region("FFA", 0.6, {"mid": 0.2, "semantic": 0.8}, 0.40, ("category_animal",)),
    # Places and buildings (Epstein and Kanwisher, 1998).
    Region("PPA", 0.6, {"low": 0.1, "mid": 0.1, "semantic": 0.8}, 0.40, ("scene_city", "category_vehicle")),
)
AGGREGATES = {"LVC": ("V1", "V2", "V3"), "HVC": ("LOC", "FFA", "PPA"), "VC": tuple(one.name for one in REGIONS)}
FEWEST_VOXELS = 2
TUNING_LENGTH = 0.2
"""Distance over which tuning changes, in widths of a region (retinotopic regions: in picture widths)."""
NOISE_LENGTH = 0.15
"""Distance over which the noise that neighbouring voxels share changes, in the same unit."""
WAVES = 64
"""Number of plane waves that are summed to a random field."""
PREFERENCE = 1.0
"""Size of the response to a preferred feature, relative to the random tuning to all semantic features."""
EVOKED = 1.5
"""Mean response that every picture evokes, compared with rest."""

# Differences between voxels, subjects and runs: standard deviations.
OWN_MIXING = 0.5
"""Correlation of a subject's tuning with its individual part; 0.87 with the part common to all subjects."""
VOXELS = 0.12
"""Standard deviation of the logarithm of the number of voxels of a region."""
RELIABILITY = 0.5
"""Standard deviation of the logarithm of a voxel's picture-driven part: voxels of one region differ widely."""
GAIN = 0.1
"""Standard deviation of the logarithm of a subject's picture-driven part."""
RUN_GAIN = 0.05
"""Standard deviation of the logarithm of the gain of a run."""
RUN_MEAN = 0.5
"""Standard deviation of a voxel's mean between runs."""

# Rows of a run without a picture.
REST_BEFORE, REST_AFTER = 3, 3


@dataclass(frozen=True)
class Brain:
    """A simulated subject.

    Attributes
    ----------
    weights : array, shape (n_stimuli, n_components)
        Features of each picture.
    basis : array, shape (n_components, n_voxels)
        Response to a feature of strength 1.
    evoked : array, shape (n_voxels,)
        Mean response to a picture, compared with rest.
    level : tuple of str, length n_components
        Level of each feature.
    region : array of str, shape (n_voxels,)
        Region of each voxel.
    place : array, shape (n_voxels, 2)
        Place within the region, from 0 to 1. For low-level features it is also the centre of the voxel's receptive
        field, in picture widths.
    """

    weights: NDArray[np.float32]
    basis: NDArray[np.float32]
    evoked: NDArray[np.float32]
    level: tuple[str, ...]
    region: NDArray[np.str_]
    place: Floats


def make_brain(study: settings.SimulatedFmriStudy, subject: str, features: dict[str, Floats], n_training: int) -> Brain:
    """Draw a subject.

    Parameters
    ----------
    study : SimulatedFmriStudy
        Settings; ``seed`` determines the part that all subjects share.
    subject : str
        Label of the subject, a number.
    features : dict of array, shape (n_stimuli, n_features)
        Standardised features by level.
    n_training : int
        Number of training pictures, which are the first rows. Amplitudes are set on these only.
    """
    common, own = generator(study, "brain"), generator(study, "subject", int(subject))
    gain = study.snr * float(np.exp(own.normal(0, GAIN)))
    regions, places, bases = [], [], []
    for region in REGIONS:
        size = study.voxels_per_roi * region.size / np.mean([one.size for one in REGIONS])
        count = max(FEWEST_VOXELS, round(size * float(np.exp(own.normal(0, VOXELS)))))
        place = own.uniform(0, 1, (count, 2))
        weight = tuning(region, place, features, n_training, common, own)
        reliability = np.exp(own.normal(0, RELIABILITY, count) - RELIABILITY**2 / 2)
        bases.append(weight * gain * reliability)
        regions += [region.name] * count
        places.append(place)
    return Brain(
        weights=np.concatenate([features[level] for level in drawn_pictures.LEVELS], axis=1).astype(np.float32),
        basis=np.concatenate(bases, axis=1).astype(np.float32),
        evoked=(EVOKED * np.exp(own.normal(0, 0.3, len(regions)))).astype(np.float32),
        level=tuple(level for level in drawn_pictures.LEVELS for _ in range(features[level].shape[1])),
        region=np.array(regions),
        place=np.concatenate(places),
    )


def tuning(
    region: Region,
    place: Floats,
    features: dict[str, Floats],
    n_training: int,
    common: np.random.Generator,
    own: np.random.Generator,
) -> Floats:
    """Weight of every feature in every voxel, [n_components, n_voxels].

    Tuning is a smooth random field over the region, mostly common to all subjects. The response of a voxel has standard
    deviation 1 over the training pictures; the levels of features contribute to it as set in ``region.levels``.
    """
    parts = []
    for level in drawn_pictures.LEVELS:
        names, values = world.feature_names()[level], features[level]
        shared, private = smooth_field(place, len(names), common), smooth_field(place, len(names), own)
        weight = np.sqrt(1 - OWN_MIXING**2) * shared + OWN_MIXING * private
        if level == "low":
            weight = weight * np.exp(-(cdist(place, world.receptive_fields()[:, :2]) ** 2) / (2 * region.field**2))
        weight = weight.T / (values[:n_training] @ weight.T).std(0)
        if level == "semantic":
            weight[[name in region.prefers for name in names]] += PREFERENCE
            weight /= (values[:n_training] @ weight).std(0)
        parts.append(weight * np.sqrt(region.levels.get(level, 0.0)))
    together = np.concatenate([features[level][:n_training] for level in drawn_pictures.LEVELS], axis=1)
    basis = np.concatenate(parts)
    return basis / (together @ basis).std(0)


def smooth_field(place: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Smooth random functions of the place, of unit variance, [n_places, n]; correlated over :data:`TUNING_LENGTH`.

    Each is a sum of random plane waves and has a Gaussian covariance (Rahimi and Recht, 2007). It is defined at every
    place, so subjects can share it although their voxels are at different places.
    """
    wave = rng.normal(0, 1 / TUNING_LENGTH, (2, WAVES))
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    return np.sqrt(2 / WAVES) * np.cos(place @ wave + phase) @ rng.standard_normal((WAVES, n))


# ------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True)
class Run:
    """Rows (trials and rest) of one run.

    Attributes
    ----------
    split : str
        ``train`` or ``test``.
    label : str
        Such as ``train-01``.
    shown : array of int, shape (n_rows,)
        Row of the stimulus table, -1 for rest.
    session : str
        Such as ``01``; empty if there is only one session.
    """

    split: str
    label: str
    shown: NDArray[np.int64]
    session: str = ""

    @property
    def name(self) -> str:
        """Label with the session, if there are several sessions; normalisation uses this name."""
        return f"{self.session}/{self.label}" if self.session else self.label


def plan(study: settings.SimulatedFmriStudy, subject: str) -> list[Run]:
    """Runs of a subject in the order of the file, of nearly equal length, with at most ``run_trials`` trials each.

    All pictures are shown once in random order, then all once more, and so on. The trials are divided among the
    sessions as equally as possible. In a session, the training runs come before the test runs.
    """
    rng = generator(study, "order", int(subject))
    n_training = study.training_concepts * study.pictures_per_concept
    shown = {
        "train": (np.arange(n_training), study.training_repetitions),
        "test": (n_training + np.arange(study.test_concepts), study.test_repetitions),
    }
    orders = {
        split: np.concatenate([rng.permutation(pictures) for _ in range(repetitions)])
        for split, (pictures, repetitions) in shown.items()
    }
    runs = []
    numbers = {split: itertools.count(1) for split in shown}
    for session in range(study.sessions):
        name = "" if study.sessions == 1 else f"{session + 1:02d}"
        for split, whole in orders.items():
            order = np.array_split(whole, study.sessions)[session]
            for part in np.array_split(order, -(-len(order) // study.run_trials)):
                rows = np.pad(part, (REST_BEFORE, REST_AFTER), constant_values=-1)
                runs.append(Run(split, f"{split}-{next(numbers[split]):02d}", rows, name))
    return runs


def simulate(study: settings.SimulatedFmriStudy, subject: str, brain: Brain) -> tuple[list[Run], Floats, Floats]:
    """Runs of a subject, their gains [n_runs], and the signals of all rows [n_rows, n_voxels]."""
    runs = plan(study, subject)
    gains = np.exp(generator(study, "gain", int(subject)).normal(0, RUN_GAIN, len(runs)))
    sharing = neighbours(brain)
    signals = []
    for number, (run, gain) in enumerate(zip(runs, gains)):
        rng = generator(study, "noise", int(subject), number)
        trial = run.shown >= 0
        driven = np.zeros((len(run.shown), len(brain.evoked)))
        driven[trial] = gain * (brain.evoked + brain.weights[run.shown[trial]].astype(float) @ brain.basis)
        signals.append(driven + disturbances(study, sharing, len(run.shown), rng))
    return runs, gains, np.concatenate(signals)


def disturbances(study: settings.SimulatedFmriStudy, sharing: Floats, n_rows: int, rng: np.random.Generator) -> Floats:
    """Noise, drift and mean of each voxel in one run, [n_rows, n_voxels]."""
    shared, private, slow, mean = (rng.standard_normal((rows, len(sharing))) for rows in (n_rows, n_rows, 2, 1))
    noise = np.sqrt(study.noise_correlation) * shared @ sharing + np.sqrt(1 - study.noise_correlation) * private
    # A linear and a quadratic trend (Legendre polynomials of standard deviation 1), with variances 0.7 and 0.3.
    time = np.linspace(-1, 1, n_rows)
    shapes = np.stack([np.sqrt(0.7 * 3) * time, np.sqrt(0.3 * 5) * (1.5 * time**2 - 0.5)], axis=1)
    return noise + study.drift * shapes @ (slow @ sharing) + RUN_MEAN * mean


def neighbours(brain: Brain) -> Floats:
    """Matrix [n_voxels, n_voxels] that smooths white noise over each region; its columns have length 1."""
    weight = np.exp(-(cdist(brain.place, brain.place) ** 2) / (2 * (NOISE_LENGTH / np.sqrt(2)) ** 2))
    weight *= brain.region[:, None] == brain.region
    return weight / np.linalg.norm(weight, axis=0)


# ------------------------------------------------------------------------------------------------- stage


def run(job: stage.Job) -> None:
    """Draw the subject, write its truth, then its signals."""
    study = settings.parse(settings.SimulatedFmriStudy, job.settings["study"])
    stimuli, features = drawn_pictures.with_features(job)
    brain = make_brain(study, job.settings["subject"], features, int((stimuli["split"] == "train").sum()))
    runs, gains, signals = simulate(study, job.settings["subject"], brain)
    write_truth(job, brain, runs, gains, stimuli)
    write_signals(job, brain, runs, signals, stimuli)


def generator(study: settings.SimulatedFmriStudy, purpose: str, *numbers: int) -> np.random.Generator:
    """Separate random numbers for each purpose, subject and run; they differ from those of the simulated EEG."""
    purposes = ("brain", "subject", "order", "gain", "noise")
    return np.random.default_rng([study.seed, 100 + purposes.index(purpose), *numbers])


def voxel_names(brain: Brain) -> list[str]:
    """Names of the voxels: region and number within the region, such as ``V1-001``."""
    names, seen = [], dict.fromkeys(brain.region.tolist(), 0)
    for region in brain.region.tolist():
        seen[region] += 1
        names.append(f"{region}-{seen[region]:03d}")
    return names


def write_truth(job: stage.Job, brain: Brain, runs: list[Run], gains: Floats, stimuli: pd.DataFrame) -> None:
    """Write the noise-free responses as factors: picture i evokes ``gain * (evoked + weights[i] @ basis)``.

    Datasets: ``stimulus_id [n_stimuli]``; ``weights [n_stimuli, n_components]``; ``basis [n_components, n_voxels]``;
    ``evoked [n_voxels]``; ``level [n_components]``; ``voxel [n_voxels]``; ``place [n_voxels, 2]``; ``run [n_runs]`` and
    ``gain [n_runs]``. For each row of the signals: ``shown [n_rows]`` (row of ``stimulus_id``, -1 for rest) and
    ``shown_run [n_rows]`` (index of the run). Attribute ``unit``.
    """
    with artefact.create_h5(job.output("truth"), job.provenance()) as file:
        file["stimulus_id"] = stimuli["stimulus_id"].to_list()
        file["weights"], file["basis"], file["evoked"] = brain.weights, brain.basis, brain.evoked
        file["level"] = list(brain.level)
        file["voxel"] = voxel_names(brain)
        file["place"] = brain.place
        file["run"] = [run.name for run in runs]
        file["gain"] = gains
        file["shown"] = np.concatenate([run.shown for run in runs]).astype(np.int32)
        file["shown_run"] = np.repeat(np.arange(len(runs)), [len(run.shown) for run in runs])
        file.attrs["unit"] = "noise of a trial"


def write_signals(job: stage.Job, brain: Brain, runs: list[Run], signals: Floats, stimuli: pd.DataFrame) -> None:
    """Write the signals in the form that studies read.

    Datasets: ``signal [n_rows, n_voxels]`` float32, chunked by voxels; ``stimulus [n_rows]`` (its id, or ``rest``),
    ``split [n_rows]`` (empty for rest), ``run [n_rows]``; ``voxel [n_voxels]``; ``region/{name} [n_voxels]`` bool;
    if there are several sessions, ``session [n_rows]``. Attribute ``unit``.
    """
    names = np.array([*stimuli["stimulus_id"], drawn_pictures.REST])
    shown = np.concatenate([run.shown for run in runs])
    splits = np.repeat([run.split for run in runs], [len(run.shown) for run in runs])
    groups = {one.name: (one.name,) for one in REGIONS} | AGGREGATES
    with artefact.create_h5(job.output("signals"), job.provenance()) as file:
        chunks = (len(shown), min(16, signals.shape[1]))
        file.create_dataset("signal", data=signals.astype(np.float32), chunks=chunks)
        file["stimulus"] = names[shown].tolist()  # index -1 is the last name, rest
        file["split"] = np.where(shown >= 0, splits, "").tolist()
        file["run"] = np.repeat([run.label for run in runs], [len(run.shown) for run in runs]).tolist()
        if runs[0].session:
            file["session"] = np.repeat([run.session for run in runs], [len(run.shown) for run in runs]).tolist()
        file["voxel"] = voxel_names(brain)
        for name, members in groups.items():
            file[f"region/{name}"] = np.isin(brain.region, members)
        file.attrs["unit"] = "noise of a trial"


if __name__ == "__main__":
    stage.main(run)
