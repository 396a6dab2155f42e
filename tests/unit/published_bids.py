"""A BIDS dataset as an archive publishes it: a folder of files, and the repository that tells of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import annex_repository
import numpy as np
from bids_fixtures import CHANNELS, SFREQ, noise, regular_events, write_run, write_tsv

from brain2clip.cli import main

ACCESSION = "ds000999"
TRIALS = 24
NAMES = ("face", "house")
PICTURES = ("cat-1", "dog-1", "cup-1", "key-1")
#: What a face and a house leave in the first two channels, V: ten times the noise.
STRENGTH = 2e-4


def write(root: Path, subjects: Sequence[str] = ("01", "02"), runs: Sequence[str] = ("01", "02")) -> Path:
    """Recordings in which each event left what it shows; other tasks, MRI and derivatives lie beside them."""
    for subject in subjects:
        for run in runs:
            events = regular_events(TRIALS, start=1.0, step=0.6, names=NAMES)
            # Run 01 shows the first two pictures, run 02 the others.
            shown = PICTURES[:2] if run == "01" else PICTURES[2:]
            events["picture"] = [shown[index % 2] for index in range(TRIALS)]
            data = noise(10 * int(subject) + int(run), 20)
            for onset, name in zip(events["onset"], events["trial_type"]):
                begin = int(float(onset) * SFREQ)
                data[NAMES.index(name), begin : begin + int(0.3 * SFREQ)] += STRENGTH
            write_run(root, data, events, subject=subject, run=run)
        write_run(root, noise(1, 5), regular_events(4), subject=subject, task="rest")
        for path, content in (
            (f"anat/sub-{subject}_T1w.nii.gz", b"large"),
            (f"func/sub-{subject}_task-see_run-01_bold.nii.gz", b"larger"),
        ):
            place = root / f"sub-{subject}" / path
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        write_tsv(root / f"sub-{subject}/sub-{subject}_scans.tsv", {"filename": ["x"]})
    (root / "dataset_description.json").write_text('{"Name": "Faces", "BIDSVersion": "1.9.0"}')
    (root / "task-see_eeg.json").write_text('{"PowerLineFrequency": 50}')
    (root / "derivatives").mkdir()
    (root / "derivatives/x.txt").write_text("x")
    return root


def repository(root: Path) -> annex_repository.Repository:
    """Its repository: signals are in the annex, texts in git."""
    made = annex_repository.Repository()
    line = annex_repository.remote(prefix=f"{ACCESSION}/") + "\n"
    made.logs["remote.log"] = line.encode()
    for path in sorted(one for one in root.rglob("*") if one.is_file()):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        if path.suffix in (".eeg", ".gz", ".png"):
            key = f"SHA256E-s{len(content)}--{hashlib.sha256(content).hexdigest()}{path.suffix}"
            made.annexed(name, key, annex_repository.version("v1", f"{ACCESSION}/{name}"))
        else:
            made.put(name, content)
    return made


def publish(root: Path, folder: Path, manifest: Path, *options: str) -> Path:
    """Make the repository in a folder, and the manifest by the command."""
    repository(root).write(folder)
    main.main(["manifest", ACCESSION, "--source", str(folder), "--out", str(manifest), *options])
    return manifest


def other_byte(path: Path) -> None:
    """Change the last byte of a file."""
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[-1] ^= 1
    path.write_bytes(content.tobytes())


CHANNEL_NAMES = list(CHANNELS)
