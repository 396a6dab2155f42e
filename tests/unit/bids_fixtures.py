"""Small BIDS EEG datasets for tests, written by pybv, with sidecars as plain text."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pybv

from brain2clip.artefact import FORMAT
from brain2clip.stage import Job

SFREQ = 250.0
CHANNELS = ("Fz", "Pz", "O1", "O2")
NAME = "tiny"
#: Real data beside the repository; tests that need it are skipped where it is not.
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
N170 = SHARED / "n170"
THINGS = SHARED / "things-eeg2"
N170_STUDY = {
    "kind": "bids",
    "root": str(N170),
    "tasks": ["n170"],
    "stimulus": "trial_type",
    "split": {"by": "run", "test": ["02", "04", "06"]},
    "categories": {"face": ["a photo of a face"], "house": ["a photo of a house"]},
}


def noise(seed: int, seconds: float = 30.0, sfreq: float = SFREQ, channels: int = len(CHANNELS)) -> np.ndarray:
    """Correlated noise of about 10 µV, [channels, samples], V."""
    random = np.random.default_rng(seed)
    mixing = np.eye(channels) + 0.5 * np.random.default_rng(0).normal(size=(channels, channels))
    return 1e-5 * mixing @ random.normal(size=(channels, int(seconds * sfreq)))


def regular_events(count: int, start: float = 1.0, step: float = 0.5, names: Sequence[str] = ("face", "house")) -> dict:
    """Columns of an events table: stimuli in turn."""
    return {
        "onset": [f"{start + step * index:.4f}" for index in range(count)],
        "duration": ["0.1"] * count,
        "trial_type": [names[index % len(names)] for index in range(count)],
        "value": [str(index % 7) for index in range(count)],
    }


def write_tsv(path: Path, columns: Mapping[str, Sequence[Any]], bom: bool = False) -> Path:
    """A tab-separated table."""
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in zip(*columns.values()))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig" if bom else "utf-8")
    return path


def write_run(
    root: Path,
    data: np.ndarray,
    events: Mapping[str, Sequence[Any]],
    *,
    subject: str = "01",
    session: str | None = None,
    task: str = "see",
    run: str | None = "01",
    sfreq: float = SFREQ,
    channels: Sequence[str] = CHANNELS,
    bom: bool = False,
) -> Path:
    """One recording with events.tsv and channels.tsv; returns the header's path."""
    parts = [f"sub-{subject}", session and f"ses-{session}", f"task-{task}", run and f"run-{run}"]
    name = "_".join(part for part in parts if part)
    folder = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "eeg"
    folder.mkdir(parents=True, exist_ok=True)
    pybv.write_brainvision(
        data=data,
        sfreq=sfreq,
        ch_names=list(channels),
        fname_base=f"{name}_eeg",
        folder_out=folder,
        fmt="binary_float32",
        resolution=1e-3,
        unit="µV",
        overwrite=True,
    )
    write_tsv(folder / f"{name}_events.tsv", events, bom=bom)
    kinds = ["EOG" if channel.startswith("EOG") else "EEG" for channel in channels]
    write_tsv(
        folder / f"{name}_channels.tsv",
        {"name": channels, "type": kinds, "units": ["µV"] * len(channels), "status": ["good"] * len(channels)},
        bom=bom,
    )
    return folder / f"{name}_eeg.vhdr"


def write_dataset(root: Path, runs: Sequence[str] = ("01", "02"), trials: int = 40, **options: Any) -> Path:
    """One subject, runs of 30 s with alternating faces and houses."""
    for index, run in enumerate(runs):
        seed = index + 10 * int(options.get("session") or 0)
        write_run(root, noise(seed), regular_events(trials), run=run, **options)
    return root


def study_settings(root: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a study of faces and houses, the last run being the test."""
    study = copy.deepcopy({**N170_STUDY, "root": str(root), "tasks": ["see"]})
    study["split"] = {"by": "run", "test": ["02"]}
    study.update(changes)
    return study


def job(
    output: Path,
    study: dict[str, Any],
    responses: dict[str, Any] | None = None,
    band: dict[str, Any] | None = None,
    subject: str = "01",
) -> Job:
    """A run of the stage ``epochs``."""
    settings = {
        "name": NAME,
        "study": study,
        "responses": {"tmin": -0.1, "tmax": 0.4, "sfreq": 125, **(responses or {})},
        "band": {"l_freq": 1.0, "h_freq": 40.0} if band is None else band,
        "subject": subject,
        "results": "results",
    }
    return Job("epochs", settings, "code", {}, {}, {"responses": output})


def command(made: Job) -> list[str]:
    """The same run as a command line."""
    from brain2clip.settings import canonical

    spec = canonical({"stage": made.stage, "format": FORMAT, "settings": made.settings, "code": made.code})
    output = f"responses={made.output('responses')}"
    return [sys.executable, "-m", "brain2clip.responses.epochs", "--spec", spec, "--output", output]
