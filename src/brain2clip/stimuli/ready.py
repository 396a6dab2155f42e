"""Ready vectors of stimuli: embeddings in place of pictures that are not available, or vectors of other models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brain2clip.readers import hdf5, user_files
from brain2clip.stage import InputError

NAMES = ("stimulus_id", "embedding")


def read(path: Path, stimulus_id: Sequence[str], where: str = "ready_features") -> np.ndarray:
    """Embeddings [n, d] float32 in the order of the stimulus table.

    Parameters
    ----------
    path : Path
        HDF5 or npz with ``stimulus_id [m]`` (text) and ``embedding [m, d]``; rows for other stimuli are left out.
    stimulus_id : sequence of str
        Identities of the stimulus table.
    where : str
        Setting that names the file, for messages.

    Raises
    ------
    InputError
        Where the file cannot be read, lacks an array or a stimulus, or holds a value that is not finite.
    """
    names, values = _arrays(path)
    if values.ndim != 2 or len(names) != len(values):
        raise InputError(
            f"{path}: stimulus_id has {len(names)} entries, embedding is {values.shape}; expected [n] and [n, d]"
        )
    place = {name: row for row, name in enumerate(names)}
    if len(place) < len(names):
        twice = next(name for row, name in enumerate(names) if place[name] != row)
        raise InputError(f"{path}: stimulus_id {twice} occurs more than once; expected one embedding per stimulus")
    lost = [name for name in stimulus_id if name not in place]
    if lost:
        raise InputError(
            f"{path}: no embedding for {len(lost)} of {len(stimulus_id)} stimuli, the first is {lost[0]}; {where} "
            "needs an embedding for each stimulus of the study"
        )
    chosen = values[[place[name] for name in stimulus_id]].astype(np.float32)
    if not np.isfinite(chosen).all() or (np.linalg.norm(chosen, axis=1) == 0).any():
        raise InputError(f"{path}: an embedding is zero, infinite or not a number; make the file again")
    return chosen


def _arrays(path: Path) -> tuple[list[str], np.ndarray]:
    hint = f"; expected HDF5 or npz with the arrays {', '.join(NAMES)}"
    what = "not readable as ready features"
    with user_files.reading(path, what, hint):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return [str(name) for name in file[NAMES[0]]], _numbers(file[NAMES[1]])
        with hdf5.opened(path, hint, what) as file:
            hdf5.check_written(file[NAMES[1]], path, hint)
            return list(file[NAMES[0]].asstr()[:]), _numbers(file[NAMES[1]][:])


def _numbers(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{NAMES[1]} is of type {values.dtype}, expected numbers")
    return values
