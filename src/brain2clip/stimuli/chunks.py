"""Work in chunks of rows, artefacts of their own beside the target, so that a stopped job goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from brain2clip import artefact, stage

SIZE = 256


def made(
    output: Path,
    provenance: artefact.Provenance,
    n: int,
    arrays: Callable[[int, int], Mapping[str, np.ndarray]],
    label: str,
) -> list[Path]:
    """Files of all chunks of ``n`` rows, those that lie there from an earlier try included.

    Parameters
    ----------
    output : Path
        Target, beside which they lie.
    provenance : Provenance
        Its; the name of a chunk says that it was made by the same settings and code.
    n : int
    arrays : callable
        First and last row (which does not belong to it) to the arrays of a chunk.
    label : str
        For the log.
    """
    starts = range(0, n, SIZE)
    folder, identity = _folder(output), provenance.identity.removeprefix("made:")
    files = [folder / f"{identity}_{start:06d}.h5" for start in starts]
    for start, file in stage.progress(list(zip(starts, files)), f"{label}: chunks"):
        if not _complete(file):
            values = arrays(start, min(start + SIZE, n))
            with artefact.create_h5(file, provenance) as target:
                for name, one in values.items():
                    target.create_dataset(name, data=one)
    return files


def read(file: Path, name: str) -> np.ndarray:
    """An array of a finished chunk."""
    with artefact.open_h5(file) as source:
        values: np.ndarray = source[name][:]
        return values


def remove(output: Path) -> None:
    """Throw the chunks of a finished target away."""
    shutil.rmtree(_folder(output))


def _folder(output: Path) -> Path:
    return output.with_name(f".{output.stem}.parts")


def _complete(file: Path) -> bool:
    """Whether a chunk was finished earlier by the same settings and code (its name says so)."""
    try:
        return artefact.stored_provenance(file) is not None
    except artefact.ArtefactError:
        return False
