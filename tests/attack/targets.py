"""What is damaged, who reads it, and what of it can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from brain2clip import artefact


@dataclass(frozen=True)
class Target:
    """A file and who reads it.

    Attributes
    ----------
    name : str
    path : Path
    read : callable
        Everything that stages take from the file.
    ours : bool
        Whether the pipeline wrote it, or fetched it.
    inputs : callable
        Files whose digests results carry, and digests of others.
    """

    name: str
    path: Path
    read: Callable[[], Any]
    ours: bool
    inputs: Callable[[], tuple[Iterable[str], Any]] = lambda: ((), None)


def noted(target: Target) -> str:
    """Digest of what results would carry of the inputs."""
    files, digests = target.inputs()
    there = [path for path in sorted(set(files)) if Path(path).is_file()]
    return digest([*(artefact.identity(path) for path in there), digests])


def arrays(path: Path) -> dict[str, Any]:
    """Everything in one of our HDF5 files, apart from how it was made."""
    found: dict[str, Any] = {}
    with artefact.open_h5(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()] if hasattr(item, "dtype") else None}))
        return {**found, "attributes": {name: one for name, one in file.attrs.items() if name != artefact.KEY}}


def digest(value: Any) -> str:
    """Of anything that a reader gives."""
    found = hashlib.sha256()

    def add(one: Any) -> None:
        if isinstance(one, torch.Tensor):
            one = one.numpy()
        if isinstance(one, h5py.Dataset):
            one = one[()]
        if isinstance(one, pd.DataFrame):
            one = {str(name): one[name].tolist() for name in one}
        if isinstance(one, np.ndarray) and one.dtype.kind != "O":
            found.update(f"{one.dtype}{one.shape}".encode() + np.ascontiguousarray(one).tobytes())
        elif isinstance(one, Mapping):
            for key in one:
                found.update(str(key).encode())
                add(one[key])
        elif isinstance(one, (list, tuple, np.ndarray)):
            found.update(f"[{len(one)}".encode())
            for item in one:
                add(item)
        else:
            found.update(repr(one).encode())

    add(value)
    return found.hexdigest()
