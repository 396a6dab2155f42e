"""Work in chunks of rows, so that a stopped job can be continued.

Rows of numbers go to their place in the HDF5 file that becomes the artefact: it lies in a folder beside the target, all
its datasets allocated. What says that a chunk is there is a record of its own, with digests of what was written. HDF5
itself takes no part in that, for a file that it was writing to when the job was killed cannot be opened any more.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from brain2clip import artefact, sealing, stage

SIZE = 256


@dataclass(frozen=True)
class Begun:
    """What all chunks together made.

    Attributes
    ----------
    file : Path
        HDF5 file with the arrays of numbers, for :func:`brain2clip.artefact.create_h5`.
    texts : dict
        Arrays of strings by name.
    """

    file: Path
    texts: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a dataset stands in its file.

    Attributes
    ----------
    offset, row : int
        Of its first row and length of a row, bytes.
    """

    offset: int
    row: int


def made(
    output: Path,
    provenance: artefact.Provenance,
    n: int,
    arrays: Callable[[int, int], Mapping[str, np.ndarray]],
    label: str,
    size: int | None = None,
) -> Begun:
    """All chunks of ``n`` rows, those that are there from an earlier try included.

    Parameters
    ----------
    output : Path
        Target, beside which they lie.
    provenance : Provenance
        Its; names of files say that they were made by the same settings and code.
    n : int
    arrays : callable
        First and last row (which does not belong to it) to the arrays of a chunk: numbers, or strings (dtype object).
    label : str
        For the log.
    size : int, optional
        Rows of a chunk, where they are not :data:`SIZE`; the same in every try.
    """
    size = SIZE if size is None else size
    folder, identity = _folder(output), provenance.identity.removeprefix("made:")
    begun = Begun(folder / f"{identity}.h5")
    places = _places(begun.file)
    for start in stage.progress(list(range(0, n, size)), f"{label}: chunks"):
        stop, record = min(start + size, n), folder / f"{identity}_{start:06d}.json"
        texts = _finished(begun.file, record, places, start, stop)
        if texts is None:
            values = arrays(start, stop)
            try:
                places = places or _begin(begun.file, values, n)
                texts = _store(begun.file, record, places, start, values)
            except OSError:
                if not any(folder.glob(f"{identity}_*.json")):  # nothing to go on from
                    begun.file.unlink(missing_ok=True)
                raise
        for name, lines in texts.items():
            begun.texts.setdefault(name, []).extend(lines)
    return begun


def remove(output: Path) -> None:
    """Throw away what is left beside a finished target."""
    shutil.rmtree(_folder(output))


def _folder(output: Path) -> Path:
    return output.with_name(f".{output.stem}.parts")


def _begin(file: Path, values: Mapping[str, np.ndarray], n: int) -> dict[str, Place]:
    """Make the file with room for all rows, none of which is written."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)
    with artefact.aside(file) as part:
        written = sealing.WrittenH5(part)
        try:
            with h5py.File(written, "w", libver="latest") as target:
                for name, one in values.items():
                    if one.dtype != object:
                        space = h5py.h5s.create_simple((n, *one.shape[1:]))
                        h5py.h5d.create(target.id, name.encode(), h5py.h5t.py_create(one.dtype), space, plan)
        finally:
            if written.error is not None:
                raise OSError(written.error.errno, written.error.strerror, str(file)) from None
    return _places(file)


def _places(file: Path) -> dict[str, Place]:
    """Where the datasets of the file stand; none of a file that is not there or not whole."""
    try:
        with h5py.File(file, "r") as source:
            return {name: Place(one.id.get_offset(), one.nbytes // len(one)) for name, one in source.items()}
    except (OSError, RuntimeError, KeyError, TypeError, ZeroDivisionError):
        return {}


def _store(
    file: Path, record: Path, places: Mapping[str, Place], start: int, values: Mapping[str, np.ndarray]
) -> dict[str, list[str]]:
    """Write the rows of a chunk, then its record; its strings."""
    texts = {name: [str(text) for text in one] for name, one in values.items() if one.dtype == object}
    sums = {}
    try:
        with file.open("r+b") as target:
            for name, place in places.items():
                content = np.ascontiguousarray(values[name]).tobytes()
                target.seek(place.offset + start * place.row)
                target.write(content)
                sums[name] = zlib.crc32(content)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    artefact.write_json(record, {"sums": sums, "texts": texts})
    return texts


def _finished(
    file: Path, record: Path, places: Mapping[str, Place], start: int, stop: int
) -> dict[str, list[str]] | None:
    """Strings of a chunk that an earlier try finished; None where it did not, or something became of its rows."""
    try:
        told: dict[str, Any] = artefact.read_json(record)
    except artefact.ArtefactError:
        return None
    if set(told["sums"]) != set(places):
        return None
    with file.open("rb") as source:
        for name, place in places.items():
            source.seek(place.offset + start * place.row)
            if zlib.crc32(source.read((stop - start) * place.row)) != told["sums"][name]:
                return None
    texts: dict[str, list[str]] = told["texts"]
    return texts
