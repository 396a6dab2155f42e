"""Values that a loaded Python reads once for the jobs that it forks (:mod:`brain2clip.preloaded`).

Jobs that rank and train models of one subject read the same responses and the same tower. The loaded Python calls
``share(job)`` of the stage's module. Values that this function reads through :func:`kept` are then in the memory of
every job that is forked afterwards. For each name, the latest value is kept. A job can get it once; if the job changes
it, other jobs do not see the change. In any other process, :func:`kept` only makes the value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_KEPT: dict[str, tuple[Hashable, Any]] = {}
_KEEPING: list[bool] = []


def kept(name: str, files: Iterable[Path | str], settings: Hashable, make: Callable[[], T]) -> T:
    """Return the kept value for these files and settings, or make it now.

    Parameters
    ----------
    name : str
        Name of the value; one value is kept for each name.
    files : iterable of path
        Files that the value is made from. If their times, sizes and inode numbers and the settings are the same, the
        kept value is used.
    settings : hashable
        Settings that the value depends on.
    make : callable
        Makes the value.
    """
    key = (settings, tuple(_state(path) for path in files))
    there = _KEPT.get(name)
    if there is not None and there[0] == key:
        if not _KEEPING:  # a job may change the value, so it gets the value only once
            del _KEPT[name]
        found: T = there[1]
        return found
    if _KEEPING:
        _KEPT.pop(name, None)  # old and new value together may not fit into memory
    made = make()
    if _KEEPING:
        _KEPT[name] = (key, made)
    return made


@contextmanager
def keeping() -> Iterator[None]:
    """Keep the values that are made in this context; torch's random state afterwards is as before."""
    _KEEPING.append(True)
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        _KEEPING.pop()
        if torch is not None:
            torch.set_rng_state(state)


def _state(path: Path | str) -> tuple[str, int, int, int]:
    found = os.stat(path)
    return os.path.realpath(path), found.st_mtime_ns, found.st_size, found.st_ino
