"""BIDS on disk: recordings by name and tab-separated tables. Standard library only: the Snakefile imports this."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from brain2clip.readers import recording_files
from brain2clip.readers.contract import Recording
from brain2clip.stage import InputError

#: Files that MNE opens, in the order of preference of the BIDS specification.
SUFFIXES = (".vhdr", ".edf", ".bdf", ".set", ".fif")
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9]+)")

Table = dict[str, list[str]]


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'Oz'?)`` where a known name is close (upper and lower case alike), else nothing."""
    by_lower = {key.lower(): key for key in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def read_tsv(path: Path) -> Table:
    """Columns of a tab-separated table as text, in order; a byte order mark and blank lines are passed over.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, empty, not UTF-8, or has a row of another length than its header.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; BIDS wants this table beside its recording")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save the table as UTF-8") from None
    lines = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(lines, 1) if any(row)]
    if not rows:
        raise InputError(f"{path}: the table is empty; expected a header line with tab-separated column names")
    header = rows[0][1]
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} cells and the header {len(header)}; "
                "cells are separated by tabs, and an unknown value is written n/a"
            )
    return {name: [row[index] for _, row in rows[1:]] for index, name in enumerate(header)}


def column(table: Table, name: str, path: Path, setting: str) -> list[str]:
    """A column that a setting names.

    Raises
    ------
    brain2clip.stage.InputError
        When it is absent: names file, setting, the columns found and the closest one.
    """
    if name not in table:
        raise InputError(
            f"{path}: no column {name!r}{suggestion(name, table)}, which {setting} names\n"
            f"  columns found: {', '.join(table)}"
        )
    return table[name]


def find_subjects(root: Path) -> tuple[str, ...]:
    """Labels of the ``sub-*`` folders, sorted."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the folder of a BIDS dataset (setting root)")
    return tuple(sorted(path.name.removeprefix("sub-") for path in root.glob("sub-*") if path.is_dir()))


def find_recordings(root: Path, subject: str, tasks: Iterable[str]) -> list[Recording]:
    """EEG recordings of a subject and of the wanted tasks, in the order of session, task, run.

    Raises
    ------
    brain2clip.stage.InputError
        When there is none, or when two files claim the same session, task and run.
    """
    wanted = tuple(tasks)
    found: dict[tuple[str, str, str], Recording] = {}
    present: set[str] = set()
    for path in _eeg_files(root / f"sub-{subject}"):
        recording = _recording(root, path)
        present.add(recording.task)
        if recording.task not in wanted:
            continue
        key = (recording.session or "", recording.task, recording.run or "")
        if key in found:
            raise InputError(
                f"{path}: the same subject, session, task and run as {found[key].path.name}; "
                "keep one of the two, or give them different run labels"
            )
        found[key] = recording
    if not found:
        hints = "".join(suggestion(task, present) for task in wanted)
        raise InputError(
            f"{root}: sub-{subject} has no EEG recording of the tasks {', '.join(wanted)}{hints}\n"
            f"  tasks found: {', '.join(sorted(present)) or 'none'}; expected files such as "
            f"sub-{subject}/eeg/sub-{subject}_task-{wanted[0] if wanted else 'NAME'}_eeg.vhdr"
        )
    return [found[key] for key in sorted(found)]


def data_files(recording: Recording) -> list[Path]:
    """Header, data and sidecars of a recording: everything that its epochs depend on."""
    sidecars = [channels_file(recording), *coordinate_files(recording)]
    own = recording_files.data_files(recording.path)
    return [*own, recording.events, *(path for path in sidecars if path.exists())]


def channels_file(recording: Recording) -> Path:
    """The ``channels.tsv`` beside a recording (which may not exist)."""
    return sibling(recording.path, "channels.tsv")


def coordinate_files(recording: Recording) -> list[Path]:
    """``electrodes.tsv`` and ``coordsystem.json`` of a recording, where both exist."""
    stem = f"sub-{recording.subject}" + (f"_ses-{recording.session}" if recording.session else "")
    for electrodes in sorted(recording.path.parent.glob(f"{stem}_*electrodes.tsv")):
        entities = dict(_ENTITY.findall(electrodes.name))
        if any(entities.get(key, own) != own for key, own in (("task", recording.task), ("run", recording.run))):
            continue
        system = f"_space-{entities['space']}" if "space" in entities else ""
        for coordsystem in sorted(recording.path.parent.glob(f"{stem}*{system}*_coordsystem.json")):
            return [electrodes, coordsystem]
    return []


def sibling(path: Path, ending: str) -> Path:
    """The sidecar of an ``_eeg`` file, e.g. its ``events.tsv``."""
    return path.with_name(path.stem.removesuffix("_eeg") + "_" + ending)


def _eeg_files(folder: Path) -> list[Path]:
    patterns = [f"{level}eeg/sub-*_eeg{suffix}" for level in ("", "ses-*/") for suffix in SUFFIXES]
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _recording(root: Path, path: Path) -> Recording:
    entities = dict(_ENTITY.findall(path.name.rpartition("_")[0]))
    if "task" not in entities:
        raise InputError(f"{path}: no task in the file name; expected ..._task-NAME_..._eeg{path.suffix}")
    return Recording(
        subject=entities["sub"],
        task=entities["task"],
        session=entities.get("ses"),
        run=entities.get("run"),
        root=root,
        path=path,
        events=sibling(path, "events.tsv"),
    )
