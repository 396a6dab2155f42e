"""Values that a loaded Python reads once for the jobs that it forks (:mod:`brain2clip.preloaded`).

Jobs that rank and train models of one subject read the same responses and the same tower. ``share(job)`` of a stage's
module is called in the loaded Python; values that it reads through :func:`kept` are in the memory of every job that is
forked afterwards. The latest value of each name is kept. A job gets it once, and its changes stay in the job. In any
other process :func:`kept` only makes the value.
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
    """A value that depends on files and settings: what is kept of that, else made now.

    Parameters
    ----------
    name : str
        What it is; of each name one value is kept.
    files : iterable of path
        Their time, size and number decide with the settings whether what is kept is the same.
    settings : hashable
    make : callable
    """
    key = (settings, tuple(_state(path) for path in files))
    there = _KEPT.get(name)
    if there is not None and there[0] == key:
        if not _KEEPING:  # who gets it may change it: it is handed out once
            del _KEPT[name]
        found: T = there[1]
        return found
    if _KEEPING:
        _KEPT.pop(name, None)  # both at once might not fit
    made = make()
    if _KEEPING:
        _KEPT[name] = (key, made)
    return made


@contextmanager
def keeping() -> Iterator[None]:
    """Within it, values are kept; who draws random numbers afterwards draws what it would have drawn without."""
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
