"""Every way in which stages write files, on a disk without room; run in a process of its own."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import disks
import numpy as np
import pandas as pd
import torch

from brain2clip import artefact, stage
from brain2clip.responses import export

MADE = artefact.Provenance("made-by-a-test", {}, "code")


def write_h5(path: Path) -> None:
    with artefact.create_h5(path, MADE) as file:
        for number in range(4):  # more than the buffers of the library
            file[f"response/{number}"] = np.random.default_rng(number).random((100, 1000))


def write_table(path: Path) -> None:
    artefact.write_table(path, pd.DataFrame({"a": np.random.default_rng(0).random(100_000)}), MADE)


def write_tensors(path: Path) -> None:
    artefact.write_tensors(path, {"weight": torch.rand(1000, 200)}, MADE)


def write_text(path: Path) -> None:
    artefact.write_text(path, "x" * 500_000)


def write_figure(path: Path) -> None:
    from brain2clip.reporting import style

    made = style.figure(4, 4)
    made.subplots().plot(np.random.default_rng(0).random(2_000))
    style.save(made, path)


def write_export(path: Path) -> None:
    content = {"preprocessed_eeg_data": np.random.default_rng(0).random((10, 10, 10, 100)), "ch_names": ["Oz"]}
    with artefact.aside(path) as part:
        (export._write_pickle if path.suffix == ".npy" else export._write_torch)(part, content)


def write_scratch(path: Path) -> None:
    with tempfile.TemporaryFile(dir=path.parent) as scratch:
        np.zeros(100_000).tofile(scratch)


WRITERS = {
    "a.h5": write_h5,
    "a.parquet": write_table,
    "a.safetensors": write_tensors,
    "a.md": write_text,
    "a.svg": write_figure,
    "a.npy": write_export,
    "a.pt": write_export,
    "scratch": write_scratch,
}


def main(folder: Path) -> None:
    """Tell on which disk what stopped, and what is left there."""
    logging.basicConfig(force=True, format="%(message)s", stream=sys.stderr)
    spec = f'{{"stage": "x", "format": {artefact.FORMAT}, "settings": {{}}, "code": ""}}'
    for read_only in (False, True):
        with disks.small_disk(folder) as leave:
            leave(40_000, read_only)
            for name, write in WRITERS.items():
                given = ["--spec", spec, "--output", f"out={folder / name}"]
                try:
                    stage.main(lambda job, write=write: write(job.output("out")), given)
                except SystemExit:
                    print("stopped", name, read_only)
            print("left", [path.name for path in folder.rglob("*") if path.name != "fill"])
