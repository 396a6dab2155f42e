"""Miniatures of THINGS-MEG: events as the dataset has them, recordings with a planted pattern for each picture."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import meg_files
import mne
import numpy as np
import pandas as pd

from brain2clip.readers import things_meg_index

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "workflow/manifests/things-meg-images.csv"
REAL = ROOT / "tests/data/things-meg/sub-BIGMEG1_ses-01_task-main_run-01_events.tsv"
SFREQ = 1200
#: When a planted pattern is there, s after the onset.
PLANTED_S = (0.1, 0.6)
#: Tesla.
AMPLITUDE, NOISE = 4e-13, 2e-14
#: Event id of a catch trial in the authors' epochs.
CATCH = 999999
COLUMNS = ("onset", "duration", "trial_type", "things_category_nr", "value", "sample")

_index: list[pd.DataFrame] = []


def index() -> pd.DataFrame:
    """The index of the pictures that is kept, read once."""
    if not _index:
        _index.append(things_meg_index.read_index(IMAGES, "images"))
    return _index[0]


def session(number: int) -> list[pd.DataFrame]:
    """Events of the ten runs of a session (from 1), made up by the rules of the dataset, all cells as text."""
    known = index()
    rng = np.random.default_rng(number)
    exp, test = known[known["trial_type"] == "exp"], known[known["trial_type"] == "test"]
    chosen = exp.groupby("category").nth((number - 1) % things_meg_index.PER_CONCEPT).index.to_numpy()
    exp_runs = np.array_split(rng.permutation(chosen), 10)  # four of 186 and six of 185
    test_runs = np.array_split(rng.permutation(test.index.to_numpy()), 10)
    return [_run(known, *parts, rng) for parts in zip(exp_runs, test_runs)]


def _run(known: pd.DataFrame, exp: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    values = rng.permutation(np.concatenate([exp, test, np.zeros(20, int)]))
    samples = 3425 + np.cumsum(rng.integers(1501, 2041, len(values)))
    rows = []
    for value, sample in zip(values.tolist(), samples.tolist()):
        labels = ["catch", "N/A", "N/A"]
        if value:
            row = known.loc[value]
            labels = [row["trial_type"], f"{row['category']}.0", f"{value}.0"]
        rows.append([repr(sample / SFREQ), "0.5", *labels, str(sample)])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def real() -> pd.DataFrame:
    """The one table of the dataset that lies with the tests."""
    return pd.read_csv(REAL, sep="\t", dtype=str, keep_default_na=False)


def write_events(path: Path, events: pd.DataFrame) -> None:
    """An events table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events.to_csv(path, sep="\t", index=False, lineterminator="\n")


def names(sensors: int) -> list[str]:
    """Names of the channels of a recording: sensors, the one that is left out, a reference, the trigger."""
    return [f"MLC{place + 11}-1609" for place in range(sensors)] + ["MRO11-1609", "BG1-1609", "UPPT001"]


def recorded(
    events: pd.DataFrame, patterns: dict[int, np.ndarray] | None = None, sensors: int = 2, delay: int = 6
) -> np.ndarray:
    """Noise, pulses of the trigger ``delay`` samples after the events, and what is planted, [channels, samples].

    Parameters
    ----------
    patterns : dict, optional
        Number of a picture to its pattern [sensors]; catch trials get one of their own.
    """
    rng = np.random.default_rng(len(events))
    onsets = events["sample"].astype(int).to_numpy()
    length = int(onsets[-1]) + 3 * SFREQ
    data = np.zeros((sensors + 3, length), np.float32)
    data[:-1] = NOISE * rng.standard_normal((sensors + 2, length), dtype=np.float32)
    begin, end = (round(edge * SFREQ) for edge in PLANTED_S)
    for onset, value in zip(onsets, events["value"]):
        data[-1, onset + delay : onset + delay + 20] = 64
        if patterns is not None:
            pattern = np.ones(sensors) if value == "N/A" else patterns[int(float(value))]
            data[:sensors, onset + begin : onset + end] += AMPLITUDE * np.asarray(pattern)[:, None]
    data[-1, -600:-580] = 32
    return data


def types(sensors: int) -> dict[str, str]:
    """Type of each channel by its name."""
    return dict(zip(names(sensors), ["mag"] * (sensors + 1) + ["ref_meg", "stim"]))


def write_ctf(path: Path, events: pd.DataFrame, patterns: dict[int, np.ndarray], sensors: int) -> None:
    """A recording as the dataset has it, a folder ``.ds`` (:func:`recorded`)."""
    meg_files.write_ctf(path, recorded(events, patterns, sensors), types(sensors), SFREQ)


def write_fif(
    path: Path, events: pd.DataFrame, patterns: dict[int, np.ndarray] | None = None, sensors: int = 2, delay: int = 6
) -> None:
    """A recording in FIF (:func:`recorded`)."""
    data = recorded(events, patterns, sensors, delay)
    info = mne.create_info(names(sensors), SFREQ, list(types(sensors).values()), verbose="ERROR")
    for place, channel in enumerate(info["chs"][: sensors + 1]):
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
        angle = 2 * np.pi * place / (sensors + 1)
        channel["loc"][:3] = 0.1 * np.cos(angle), 0.1 * np.sin(angle), 0.05
        channel["loc"][3:12] = np.eye(3).ravel()
    info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    path.parent.mkdir(parents=True, exist_ok=True)
    mne.io.RawArray(data, info, verbose="ERROR").save(path, fmt="single", overwrite=True, verbose="ERROR")


def write_channels(path: Path, sensors: int = 2) -> None:
    """A table of channels with the types of the dataset: sensors are ``OTHER``, all are good."""
    kinds = ["OTHER"] * (sensors + 1) + ["MEGREFMAG", "MISC"]
    units = ["T"] * (sensors + 2) + ["V"]
    rows = [f"{name}\t{kind}\t{unit}\tgood" for name, kind, unit in zip(names(sensors), kinds, units)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["name\ttype\tunits\tstatus", *rows]) + "\n")


def stem(subject: str, session_: str, run: str) -> str:
    """Path of the files of a run without their ending."""
    name = f"sub-{subject}_ses-{session_}_task-main_run-{run}"
    return f"sub-{subject}/ses-{session_}/meg/{name}"


def write_manifest(served: Path, path: Path, base: str | None = None) -> Path:
    """Manifest of everything below a folder, at its own place or at another address."""
    rows = ["path,size_bytes,hash_algorithm,hash,url"]
    for one in sorted(one for one in served.rglob("*") if one.is_file()):
        name = one.relative_to(served).as_posix()
        digest = hashlib.sha256(one.read_bytes()).hexdigest()
        rows.append(f"{name},{one.stat().st_size},sha256,{digest},{base or served.as_uri()}/{name}")
    path.write_text("\n".join(rows) + "\n")
    return path


@functools.cache
def _epoch_values() -> np.ndarray:
    """Event ids of the authors' epochs: twelve sessions of ten runs, catch trials among them."""
    runs = [pd.to_numeric(run["value"], errors="coerce") for number in range(1, 13) for run in session(number)]
    return pd.concat(runs).fillna(CATCH).to_numpy(int)


def write_epochs(folder: Path, values: np.ndarray, sensors: int = 2, scale: float = 1.0) -> Path:
    """Epochs of a subject in four parts; each has the number of its picture in its first sensor."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((len(values), sensors, 281), dtype=np.float32)
    data[:, 0, 100:180] = (values % 1000)[:, None]
    data[:, 1, 100:180] = (values // 1000)[:, None]
    info = mne.create_info([f"MLC{place + 11}-1609" for place in range(sensors)], 200.0, "mag", verbose="ERROR")
    events = np.stack([np.arange(len(values)) * 400, np.zeros(len(values), int), values], axis=1)
    epochs = mne.EpochsArray(data * np.float32(scale), info, events, tmin=-0.1, baseline=None, verbose="ERROR")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "preprocessed_P1-epo.fif"
    size = f"{data.nbytes // 3 // 2**20 + 1}MB"
    epochs.save(path, split_size=size, fmt="single", overwrite=True, verbose="ERROR")
    return path


def epoch_values() -> np.ndarray:
    """A copy of them."""
    return _epoch_values().copy()
