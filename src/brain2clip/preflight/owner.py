"""Owner of a folder of results: two configurations with the same folder would overwrite each other's results.

A run leaves the names of its configuration's files in the folder. Another configuration is refused there as long as
those files are where they were and still name that folder. So an edited configuration keeps its results, one that was
moved or renamed as well, and so does a checkout that was moved, because names are relative to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brain2clip import sealing
from brain2clip.settings import SettingsError, files
from brain2clip.stage import InputError

#: Name of the file in a folder of results.
NAME = "brain2clip-configuration.json"


def check(results: str, given: Sequence[str]) -> None:
    """Refuse a folder of results that another configuration made.

    Parameters
    ----------
    results : str
        The folder.
    given : sequence of str
        Files of the configuration, from where snakemake is started; one that is among those of the folder will do.

    Raises
    ------
    brain2clip.stage.InputError
        With both names, and what to do.
    """
    written, names = _written(Path(results)), [_name(path) for path in given]
    if not written or not {*names}.isdisjoint(written):
        return
    others = [name for name in written if _names_folder(name, results)]
    if not others:
        return
    raise InputError(
        f"results: the folder {results} belongs to another configuration, {others[0]}; found {', '.join(names)}\n"
        "  expected a separate folder for each configuration, because tables and figures of one would overwrite those "
        f"of the other: set results to another name, such as results/{Path(given[0]).stem}; or, if {others[0]} no "
        f"longer needs the folder, set its results to another name, or delete {Path(results, NAME)}"
    )


def claim(results: str, given: Sequence[str], made: Mapping[str, Any] | None = None) -> None:
    """Note the configuration of a folder of results. If the disk is not writable, the first job reports it.

    Parameters
    ----------
    results : str
    given : sequence of str
    made : mapping, optional
        The whole configuration, for which the next plan says what was changed (:func:`last`).
    """
    path, content = Path(results, NAME), {"configuration": sorted(map(_name, given)), "settings": made}
    if _content(Path(results)) == content:
        return
    part = path.with_name(f".{NAME}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(sealing.sealed_json(content)) + "\n", encoding="utf-8")
        part.replace(path)


def last(results: str) -> dict[str, Any] | None:
    """The whole configuration of the last run into a folder of results; None where nothing says so."""
    return _content(Path(results)).get("settings")


def _written(results: Path) -> list[str]:
    """Files of the configuration that made a folder; none where nothing says so."""
    return list(_content(results).get("configuration", []))


def _content(results: Path) -> dict[str, Any]:
    """What a folder says of its configuration; nothing where it is damaged."""
    try:
        return dict(sealing.verified_json(json.loads((results / NAME).read_text(encoding="utf-8"))))
    except (OSError, ValueError, sealing.UnsealedError, sealing.DamagedError):
        return {}


def _name(path: str) -> str:
    """A file relative to where snakemake is started, or whole where it lies elsewhere."""
    whole = Path(path).resolve()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)


def _names_folder(path: str, results: str) -> bool:
    """Whether a file is a configuration with this folder; one of several files need not name it."""
    try:
        named = files.read(path).get("results", "results")
    except SettingsError:
        return False
    return isinstance(named, str) and Path(named).resolve() == Path(results).resolve()
