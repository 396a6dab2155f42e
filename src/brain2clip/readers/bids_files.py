"""BIDS on disk: recordings by name and tab-separated tables. Standard library only: the Snakefile imports this."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brain2clip.names import suggestion
from brain2clip.readers import recording_files, sidecars
from brain2clip.readers.contract import PICKS, TYPES_FROM, Recording
from brain2clip.readers.fetched import check_here
from brain2clip.stage import InputError

#: What MNE opens, by datatype, in the order of preference of the BIDS specification; most may be in upper case. A
#: folder without an ending is one of BTi, too.
SUFFIXES = {
    "eeg": (".vhdr", ".edf", ".bdf", ".set", ".fif"),
    "meg": (".fif", ".ds", ".con", ".sqd", ".pdf"),
}
#: Those that are folders.
FOLDERS = (".ds", ".pdf")
#: Endings beside a recording that are no format of recordings: sidecars, and what belongs to a header.
NO_FORMATS = (".json", ".tsv", ".eeg", ".dat", ".vmrk", ".fdt")
#: Values of the entity acq of files in the folder meg that calibrate the device and are no recordings.
CALIBRATION = ("calibration", "crosstalk")
#: Label of recordings without a person, which BIDS reserves.
EMPTY_ROOM = "emptyroom"
_SUBJECT = re.compile(r"sub-[A-Za-z0-9+]+")

Table = dict[str, list[str]]
TAB = "\t"


# ---------------------------------------------------------------------------------------------- reading


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises
    ------
    brain2clip.stage.InputError
        When it is not there (nor fetched), cannot be read, or is no such text.
    """
    check_here(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise InputError(f"{path}: not UTF-8 text (it holds NUL characters, as UTF-16 does); save it as UTF-8")
    return text


def read_tsv(path: Path) -> Table:
    """Columns of a tab-separated table as text, in order; a byte order mark and blank lines are passed over.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, empty, not UTF-8, or has a row of another length than its header or two columns of the
        same name.
    """
    return read_table(path, TAB)


def read_table(path: Path, delimiter: str) -> Table:
    """The same with any delimiter; cells may be quoted where it is no tab. Columns of nothing are left out."""
    text = io.StringIO(read_text(path), newline=None)
    if delimiter == TAB:
        lines = csv.reader(text, delimiter=TAB, quoting=csv.QUOTE_NONE)
    else:
        lines = csv.reader(text, delimiter=delimiter)
    try:
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(lines, 1) if any(row)]
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error}); expected lines of cells with {delimiter!r} between") from None
    if not rows:
        raise InputError(f"{path}: not a table, the file is empty; expected a header line with column names")
    header = rows[0][1]
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} cells and the header {len(header)}; "
                f"cells are separated by {'tabs' if delimiter == TAB else repr(delimiter)}, and an unknown value is "
                "written n/a"
            )
    columns = [(name, [row[index] for _, row in rows[1:]]) for index, name in enumerate(header)]
    columns = [(name, cells) for name, cells in columns if name or any(cells)]
    twice = [name for name, count in Counter(name for name, _ in columns).items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: more than one column has the name {', '.join(map(repr, twice))}; expected each name once: rename "
            "or delete one of them, because they may differ"
        )
    return dict(columns)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    brain2clip.stage.InputError
        When the file cannot be read, is no JSON, or is a list or something else.
    """
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); fix the file") from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deeply; fix the file") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a JSON {type(found).__name__}, expected an object of keys and values, {{...}}")
    return found


def read_metadata(paths: Iterable[Path]) -> dict[str, Any]:
    """Keys of several JSON sidecars; a later one overrides."""
    return {key: value for path in paths for key, value in read_json(path).items()}


def column(table: Table, name: str, path: Path, setting: str) -> list[str]:
    """A column that a setting names.

    Raises
    ------
    brain2clip.stage.InputError
        When it is absent: names file, setting, the columns found and the closest one.
    """
    if name not in table:
        raise InputError(
            f"{path}: no column {name!r}{suggestion(name, table)}, which {setting} names\n  columns found: "
            f"{', '.join(table)}"
        )
    return table[name]


def names_once(table: Table, path: Path) -> list[str]:
    """Column ``name`` of a table with a row for each channel or electrode; refused where one occurs twice."""
    names = column(table, "name", path, "BIDS")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: {', '.join(twice)} occurs more than once in column name; expected one row for each: delete the "
            "wrong one"
        )
    return names


# ------------------------------------------------------------------------------------------- recordings


def find_subjects(root: Path) -> tuple[str, ...]:
    """Labels of the ``sub-*`` folders, sorted, without that of the empty room.

    Other folders of that kind are in :func:`stray_folders`.
    """
    found = (path.name.removeprefix("sub-") for path in _folders(root) if _SUBJECT.fullmatch(path.name))
    return tuple(sorted(label for label in found if label != EMPTY_ROOM))


def stray_folders(root: Path) -> list[str]:
    """Folders whose names begin as those of subjects and are none, such as ``sub-01_old``."""
    return sorted(path.name for path in _folders(root) if not _SUBJECT.fullmatch(path.name))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the folder of a BIDS dataset (setting root)")
    return [path for path in root.glob("sub-*") if path.is_dir()]


@dataclass(frozen=True)
class Wanted:
    """Which recordings of a dataset are read.

    Attributes
    ----------
    tasks : tuple of str
        Labels.
    entities : mapping
        Further entities with the label that a recording must have (None: it must not have the entity).
    extension : str or None
        The format, where there may be several.
    study : str
        Full name of the study's settings, for messages.
    datatype : {"eeg", "meg"}
        Folder and suffix of the recordings.
    picks : tuple of str or None
        Types of channels, see :class:`brain2clip.readers.contract.Recording` (None: those of the datatype).
    types_from : str or None
        Who tells the type of a channel (None: whoever does of the datatype).
    """

    tasks: tuple[str, ...]
    entities: Mapping[str, str | None] = field(default_factory=dict)
    extension: str | None = None
    study: str = "studies"
    datatype: str = "eeg"
    picks: tuple[str, ...] | None = None
    types_from: str | None = None


def find_recordings(root: Path, subject: str, wanted: Wanted) -> list[Recording]:
    """Recordings of a subject of the wanted datatype, in the order of session, task, run.

    Raises
    ------
    brain2clip.stage.InputError
        When there is none, or when two files claim the same session, task and run.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in wanted_files(root, subject, wanted):
        labels = sidecars.entities(path.name)
        groups.setdefault(tuple(item for item in labels.items() if item[0] != "split"), []).append(path)
    if not groups:
        kind = wanted.datatype.upper()
        raise InputError(f"{root}: sub-{subject} has no {kind} recording {_asked(root, subject, wanted)}")
    found: dict[tuple[str, str, str], Recording] = {}
    for group in groups.values():
        recording = _recording(root, group, wanted)
        key = (recording.session or "", recording.task, recording.run or "")
        if key in found:
            raise _same_run(found[key].path, recording.path, wanted)
        found[key] = recording
    return [found[key] for key in sorted(found)]


def wanted_files(root: Path, subject: str, wanted: Wanted) -> list[Path]:
    """Files of the wanted recordings of a subject, sorted by name."""
    every = _recorded(root, subject, wanted.datatype)
    found = [path for path in every if sidecars.entities(path.name)["task"] in wanted.tasks]
    for path in found:
        _check_name(path, subject)
    for key, label in wanted.entities.items():
        found = _chosen(found, key, label) if key != "space" else found  # which chooses among tables of electrodes
    return found if wanted.extension is None else _of_extension(found, wanted.extension)


def all_entities(root: Path, subjects: Iterable[str], datatype: str = "eeg") -> list[dict[str, str]]:
    """Entities in the names of all recordings of a datatype of some subjects, whatever is wanted of them."""
    files = (path for subject in subjects for path in _of_formats(root, subject, datatype))
    return [sidecars.entities(path.name) for path in files]


def format_of(path: Path) -> str:
    """Ending of a recording in lower case; that of BTi for a folder without one."""
    return path.suffix.lower() or (".pdf" if path.is_dir() else "")


def data_files(recording: Recording) -> list[Path]:
    """Header, data and sidecars of a recording: everything that its epochs depend on.

    Raises
    ------
    brain2clip.stage.InputError
        When one of them is a link to nothing or a pointer file, another recording's, or there is no events table.
    """
    if _nearest(recording, "events.tsv") is None:
        raise InputError(
            f"{recording.path}: no events.tsv beside it, nor one in a folder above that belongs to it; expected "
            f"{recording.events.name}, or for all recordings task-{recording.task}_events.tsv on top of the dataset"
        )
    found = [*recording_files.data_files(recording.path), recording.events, *sidecar_files(recording)]
    for path in found:
        check_here(path)
    return found


def sidecar_files(recording: Recording) -> list[Path]:
    """What describes a recording beside its events: tables of channels and electrodes, and their JSON files."""
    channels = _nearest(recording, "channels.tsv")
    return [*([channels] if channels else []), *coordinate_files(recording), *metadata_files(recording)]


def channels_file(recording: Recording) -> Path:
    """The ``channels.tsv`` that belongs to a recording, or its place beside it where there is none."""
    return _nearest(recording, "channels.tsv") or sibling(recording.path, "channels.tsv")


def channel_table(recording: Recording) -> tuple[Path, Table] | None:
    """The ``channels.tsv`` that belongs to a recording, and what is in it; None where there is none."""
    path = _nearest(recording, "channels.tsv")
    return None if path is None else (path, read_tsv(path))


def metadata_files(recording: Recording) -> list[Path]:
    """Every ``eeg.json`` (``meg.json``) that belongs to a recording, the farthest first."""
    ending = f"{recording.datatype}.json"
    return sidecars.chain(recording.path, recording.root, ending, sidecars.entities(recording.path.name))


def coordinate_files(recording: Recording) -> list[Path]:
    """``electrodes.tsv`` of a recording, then every ``coordsystem.json`` of it, the farthest first.

    None for MEG, whose sensors are where the file says.

    Raises
    ------
    brain2clip.stage.InputError
        When there are several tables and no setting chooses, or none in the space that is chosen.
    """
    if recording.datatype == "meg":
        return []
    own = sidecars.entities(recording.path.name)
    electrodes = _electrodes(recording, own)
    if electrodes is None:
        return []
    space = _space(electrodes)
    allowed = {**own, "space": space} if space else own
    return [electrodes, *sidecars.chain(recording.path, recording.root, "coordsystem.json", allowed, like=space)]


def _electrodes(recording: Recording, own: Mapping[str, str]) -> Path | None:
    levels = sidecars.by_level(recording.path, recording.root, "electrodes.tsv", {**own, "space": sidecars.ANY})
    there = [path for level in levels for path in level]
    if recording.space is not None:
        levels = [[path for path in level if _space(path) == recording.space] for level in levels]
        if there and not any(levels):
            raise InputError(
                f"{recording.path}: no electrodes.tsv of the space {recording.space or 'null'}"
                f"{suggestion(recording.space, map(_space, there))}, which the setting entities names; found "
                f"{', '.join(path.name for path in there)}"
            )
    return next((sidecars.only(level, recording.path) for level in levels if level), None)


def _space(path: Path) -> str:
    """Coordinate system that a name tells, or nothing."""
    return sidecars.entities(path.name).get("space", "")


def sibling(path: Path, ending: str) -> Path:
    """The sidecar beside a recording, e.g. its ``events.tsv``."""
    return path.with_name(_without_suffix(path) + "_" + ending)


def _without_suffix(path: Path) -> str:
    """Name of a recording before ``_eeg`` or ``_meg``."""
    return path.stem.removesuffix("_eeg").removesuffix("_meg")


def _nearest(recording: Recording, ending: str) -> Path | None:
    return sidecars.nearest(recording.path, recording.root, ending, sidecars.entities(recording.path.name))


def _all_of(root: Path, subject: str, datatype: str) -> Iterator[Path]:
    """Everything whose name ends with ``_eeg`` (``_meg``) and an extension in the folders ``eeg`` of a subject."""
    folder = root / f"sub-{subject}"
    for place in (folder / datatype, *sorted(folder.glob(f"ses-*/{datatype}"))):
        named = (path for path in place.glob(f"sub-*_{datatype}*") if path.name.partition(".")[0].endswith(datatype))
        yield from sorted(named)


def _of_formats(root: Path, subject: str, datatype: str) -> list[Path]:
    """Those that are recordings in formats that are read."""
    found = [path for path in _all_of(root, subject, datatype) if format_of(path) in SUFFIXES[datatype]]
    return found if datatype == "eeg" else _without_calibration(found)


def _without_calibration(files: list[Path]) -> list[Path]:
    return [path for path in files if sidecars.entities(path.name).get("acq") not in CALIBRATION]


def _recorded(root: Path, subject: str, datatype: str) -> list[Path]:
    """Recordings of a subject in formats that are read; refused where one does not tell its task."""
    found = _of_formats(root, subject, datatype)
    for path in found:
        if "task" not in sidecars.entities(path.name):
            raise InputError(f"{path}: no task in the file name; expected ..._task-NAME_..._{datatype}{path.suffix}")
    return found


def _chosen(files: list[Path], key: str, label: str | None) -> list[Path]:
    """Those whose names have a label of an entity (None: that lack the entity)."""
    return [path for path in files if sidecars.entities(path.name).get(key) == label]


def _of_extension(files: list[Path], extension: str) -> list[Path]:
    return [path for path in files if format_of(path) == extension]


def _check_name(path: Path, subject: str) -> None:
    """Refuse a name that is not made of entities, or that lies in the folder of another subject or session."""
    parts = _without_suffix(path).split("_")
    keys = [part.partition("-")[0] for part in parts]
    if any("-" not in part for part in parts) or len(set(keys)) < len(keys):
        raise InputError(
            f"{path}: no BIDS name; expected a name such as sub-{subject}_task-NAME_run-01{path.stem[-4:]}{path.suffix}"
            ", each entity once and with a hyphen before its label: rename the file, or remove it"
        )
    labels = sidecars.entities(path.name)
    session = path.parent.parent.name if path.parent.parent.name.startswith("ses-") else None
    for key, folder in (("sub", f"sub-{subject}"), ("ses", session)):
        own = f"{key}-{labels[key]}" if key in labels else None
        if own != folder:
            raise InputError(
                f"{path}: the name says {own or f'no {key}'}, the folder {folder or f'no {key}'}; expected both to "
                "agree (BIDS): rename the file, or remove it"
            )


def _recording(root: Path, files: list[Path], wanted: Wanted) -> Recording:
    """A recording from its one file, or from the parts of a split one."""
    formats = sorted(set(map(format_of, files)))
    if len(formats) > 1:
        raise InputError(
            f"{files[0].parent}: {' and '.join(path.name for path in files)} are one recording in {len(formats)} "
            f"formats; choose one by {wanted.study}.extension, e.g. extension: {formats[0]}"
        )
    if len(files) > 1 or "split" in sidecars.entities(files[0].name):
        files = _in_order(files)
    path = files[0]
    if formats == [".vhdr"] and path.suffix != ".vhdr":
        raise InputError(f"{path}: MNE opens BrainVision headers in lower case only; rename it to {path.stem}.vhdr")
    if path.is_dir() != (formats[0] in FOLDERS):
        raise InputError(
            f"{path}: {'a folder' if path.is_dir() else 'a file'}, but a recording of this ending is "
            f"{'a file' if path.is_dir() else 'a folder'}; get it again, or take it away"
        )
    labels = sidecars.entities(path.name)
    return Recording(
        subject=labels["sub"],
        task=labels["task"],
        session=labels.get("ses"),
        run=labels.get("run"),
        root=root,
        path=path,
        events=sidecars.nearest(path, root, "events.tsv", labels) or sibling(path, "events.tsv"),
        space=(wanted.entities["space"] or "") if "space" in wanted.entities else None,
        datatype=wanted.datatype,
        picks=wanted.picks or PICKS[wanted.datatype],
        types_from=wanted.types_from or TYPES_FROM[wanted.datatype],
    )


def _in_order(files: list[Path]) -> list[Path]:
    """Parts of a split recording in order, of which none may lack."""
    numbered: dict[int, list[Path]] = {}
    for path in files:
        label = sidecars.entities(path.name).get("split", "")
        numbered.setdefault(int(label) if label.isdecimal() else 0, []).append(path)
    names = ", ".join(path.name for path in files)
    if sorted(numbered) != list(range(1, len(files) + 1)):
        raise InputError(
            f"{files[0].parent}: {names} are one recording; expected one file, or parts split-01, split-02 and so on "
            "without a gap: get the missing part, or remove what is there twice"
        )
    if files[0].suffix.lower() != ".fif":
        raise InputError(
            f"{files[0].parent}: {names} are parts of one recording, which only FIF files can be (BIDS, entity split); "
            "join them in one file, or give them run labels if they are runs"
        )
    return [numbered[number][0] for number in sorted(numbered)]


def _same_run(one: Path, other: Path, wanted: Wanted) -> InputError:
    """Two recordings that no label of session, task or run tells apart."""
    labels = [sidecars.entities(path.name) for path in (one, other)]
    key = next(key for key in {**labels[0], **labels[1]} if key != "split" and labels[0].get(key) != labels[1].get(key))
    choices = " or ".join(f"{{{key}: {one.get(key, 'null')}}}" for one in labels)
    return InputError(
        f"{one.parent}: {one.name} and {other.name} have the same subject, session, task and run, and differ in {key}\n"
        f"  choose one by {wanted.study}.entities: {choices}; or give them different run labels if they are two runs"
    )


def _asked(root: Path, subject: str, wanted: Wanted) -> str:
    """What was asked for and what a subject has instead, for messages."""
    files = _recorded(root, subject, wanted.datatype)
    tasks = sorted({sidecars.entities(path.name)["task"] for path in files})
    asked = [f"{key} {label or 'null'}" for key, label in wanted.entities.items()]
    asked += [f"format {wanted.extension}"] if wanted.extension else []
    hints = "".join(suggestion(task, tasks) for task in wanted.tasks if task not in tasks)
    found = [f"tasks found: {', '.join(tasks) or 'none'}"]
    if files and asked:
        found.append(f"files found: {', '.join(path.name for path in files[:4])}")
    formats = SUFFIXES[wanted.datatype]
    every = {path.suffix for path in _all_of(root, subject, wanted.datatype)}
    others = {ending for ending in every if ending.lower() not in ("", *formats, *NO_FORMATS)}
    if others:
        found.append(f"files in formats that are not read: {', '.join(sorted(others))}, only {', '.join(formats)} are")
    other = "eeg" if wanted.datatype == "meg" else "meg"
    if not files and (beside := _of_formats(root, subject, other)):
        found.append(f"there are {len(beside)} {other.upper()} recordings: {wanted.study}.datatype: {other} reads them")
    folder = wanted.datatype
    name = f"sub-{subject}/{folder}/sub-{subject}_task-{(*wanted.tasks, 'NAME')[0]}_{folder}{formats[0]}"
    return (
        f"of the tasks {', '.join(wanted.tasks)}{hints}{', '.join(['', *asked])}\n"
        f"  {'; '.join(found)}; expected files such as {name}, or other labels in {wanted.study}.subjects"
    )
