"""``brain2clip init``: a first configuration for data of one's own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brain2clip import settings
from brain2clip.cli.run import ROOT, shown
from brain2clip.names import counted
from brain2clip.readers.bids_files import TAB
from brain2clip.settings import files
from brain2clip.stage import InputError
from brain2clip.starting import bids, configuration, voxels
from brain2clip.starting.found import Found
from brain2clip.starting.shown import Asked, parsed


@dataclass(frozen=True)
class Flags:
    """The flags of the command."""

    out: Path | None
    name: str | None
    results: str | None
    tasks: Sequence[str]
    stimulus: str | None
    keep: Sequence[str]
    split: str | None
    pictures: Path | None
    tower: str | None


def init(path: Path, flags: Flags) -> None:
    """Look at data and write a configuration; existing files are not overwritten.

    Parameters
    ----------
    path : Path
        A BIDS dataset, a folder of voxel signals, or a file of them.
    flags : Flags
    """
    try:
        written = write(path, flags)
    except (InputError, settings.SettingsError) as error:
        sys.exit(str(error))
    for line in written:
        print(line)


def write(path: Path, flags: Flags) -> list[str]:
    """The same; returns the text for the terminal."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a BIDS dataset or voxel signals")
    path = path.resolve()
    name = _name(flags.name or (path if path.is_dir() else path.parent).name)
    out = (flags.out or Path(f"{name}.yaml")).resolve()
    table = out.with_name(f"{out.stem}-pictures.tsv")
    for there in (out, table):
        if there.exists():
            raise InputError(f"{there}: this file exists and is not overwritten; choose another name with --out")
    found = looked(path, flags)
    pictures = shown(table) if found.choice.pictures else None
    results = flags.results or _free_results(_name(out.stem))
    text = configuration.text(found, name, results, flags.tower, pictures, shown(path))
    settings.load(files.parsed(text, str(out)), source=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    if pictures is not None:
        _write_table(table, found)
    out.write_text(text, encoding="utf-8")
    choice = found.choice
    listed = ", ".join(list(choice.concepts)[:6]) + (", ..." if len(choice.concepts) > 6 else "")
    what = f"{len(choice.pictures)} pictures" if choice.pictures else f"{len(choice.concepts)} categories ({listed})"
    given = os.path.relpath(out)
    who = counted(len(found.subjects), "subject")
    return [
        f"{found.kind}: {who}, {what} by the column {choice.stimulus}, test: {choice.split}",
        f"Written: {given}"
        + ("" if pictures is None else f" and {os.path.relpath(table)}")
        + f"; results go to {results}",
        f"Next: brain2clip check {given}, then brain2clip run {given}",
    ]


def looked(path: Path, flags: Flags) -> Found:
    """What lies there."""
    asked = Asked(
        stimulus=flags.stimulus,
        keep=dict(map(_kept, flags.keep)),
        split=flags.split,
        pictures=None if flags.pictures is None else str(flags.pictures),
    )
    if flags.split is not None:
        parsed(flags.split)
    if bids.is_dataset(path):
        return bids.look(path, shown(path), flags.tasks, asked)
    below = [one for one in sorted(path.iterdir()) if bids.is_dataset(one)] if path.is_dir() else []
    if below:
        raise InputError(f"{path}: no folders sub-*; the BIDS dataset is in {below[0]}, so give that folder")
    return voxels.look(path, shown(path if path.is_dir() else path.parent), asked)


def _kept(text: str) -> tuple[str, tuple[str, ...]]:
    name, equal, values = text.partition("=")
    if not equal or not name or not values:
        raise InputError(f"--keep: found {text!r}; expected COLUMN=VALUE[,VALUE...]")
    return name, tuple(values.split(","))


def _name(text: str) -> str:
    """A name of a study: letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "mine"


def _free_results(name: str) -> str:
    """A folder of results that does not exist yet and is not in a configuration of the project."""
    taken = {path.stem: files.read(path).get("results") for path in ROOT.glob("workflow/studies/*.yaml")}.values()
    names = (f"results/{name}", *(f"results/{name}-{number}" for number in range(2, 1000)))
    return next(one for one in names if one not in taken and not (ROOT / one).exists())


def _write_table(path: Path, found: Found) -> None:
    """Table of the pictures."""
    choice = found.choice
    rows = [("stimulus_id", "concept", "image")]
    rows += [(name, choice.concepts[name], str(choice.pictures[name])) for name in choice.concepts]
    path.write_text("".join(TAB.join(row) + "\n" for row in rows), encoding="utf-8")
