"""Inspection of voxel signals with a table of their rows: files that belong together, columns, runs, masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from brain2clip.names import counted
from brain2clip.readers import signal_files, user_files
from brain2clip.readers.bids_files import Table
from brain2clip.readers.user_stimuli import MISSING, some
from brain2clip.stage import InputError
from brain2clip.starting import shown
from brain2clip.starting.found import Found
from brain2clip.starting.shown import Asked, Pictures, Rows
from brain2clip.studies.voxel_table import SESSIONS, SUBJECT, read_rows

ENDINGS = (".nii", ".nii.gz", ".npz", ".npy", ".h5", ".hdf5")
TABLES = (".tsv", ".csv", ".txt")
RUNS = ("run", "runs", "chunk", "chunks", "run_id", "block")
#: Labels of subjects in names of files.
LABEL = re.compile(r"(?:sub|subj|subject|s|p)[-_]?([A-Za-z]*\d+)", re.IGNORECASE)
#: Time series of fMRI as BIDS names them; the events beside them have no line for each volume.
SERIES, EVENTS = "_bold.nii", "_events.tsv"
#: Most files that are looked at.
MOST = 2000


def look(path: Path, given: str, asked: Asked) -> Found:
    """Look at a folder of voxel signals, or at one file of them, as :func:`brain2clip.starting.bids.look` at EEG.

    Parameters
    ----------
    path : Path
    given : str
        How the configuration is to name the folder.
    asked : Asked
    """
    folder = path if path.is_dir() else path.parent
    listed = sorted(one for one in folder.rglob("*") if one.is_file() and not one.name.startswith("."))[:MOST]
    opened = dict(_opened([path] if path.is_file() else listed))
    if not opened:
        raise InputError(
            f"{path}: neither a BIDS dataset of EEG (sub-*/eeg/*_eeg.vhdr, .edf, .bdf, .set, .fif) or MEG "
            "(sub-*/meg/*_meg.fif, .ds, .con, .sqd, BTi folders) nor voxel signals: "
            "NIfTI of four dimensions, .npz or .h5 with an array 'data' [rows, voxels], or .npy; MATLAB arrays: save "
            "them as one of these"
        )
    pairs = {}
    for file, signals in opened.items():
        table = _table(file, signals.n_rows, [one for one in listed if one.suffix in TABLES])
        if table is not None:
            pairs[file] = table
    if not pairs and (bold := [file for file in opened if _is_series(file)]):
        raise InputError(_no_responses(folder, bold, opened[bold[0]].n_rows))
    if not pairs:
        rows = ", ".join(f"{file.name} ({signals.n_rows} rows)" for file, signals in opened.items())
        raise InputError(
            f"{folder}: no table ({', '.join(TABLES)}) with one line for each row of the signals, {rows}; expected "
            "one that names the stimulus of each row, with a header"
        )
    labels = _labels(list(pairs))
    names = {
        "signals": _template(pairs.keys(), labels, folder, given),
        "table": _template(pairs.values(), labels, folder, given),
    }
    tables = {labels[file]: _read(table) for file, table in pairs.items()}
    columns = next(iter(tables.values()))[1]
    rows_of = [_rows(label, table) for label, (table, _) in sorted(tables.items())]
    choice = shown.chosen(
        rows_of, asked, Pictures([Path(asked.pictures)] if asked.pictures else [folder / "stimuli"]), True
    )
    first = opened[next(iter(pairs))]
    mask = _mask(listed, first, labels, next(iter(pairs)))
    run = next((name for name in RUNS if name in rows_of[0].columns), None)
    session = next((name for name in SESSIONS if name in rows_of[0].columns), None)
    series = bool(choice.rest) or _in_blocks(rows_of, choice.stimulus)
    settings: dict[str, object] = {
        **names,
        **({"columns": columns} if columns else {}),
        **({"mask": _template([mask], labels, folder, given)} if mask else {}),
        "subjects": sorted(labels.values()),
        "stimulus": choice.stimulus,
        **({"rest": list(choice.rest)} if choice.rest else {}),
        **({"run": run} if run else {}),
        **({"session": session} if session else {}),
    }
    steps: dict[str, object] = {"normalise": "training"}
    if series and run:
        steps = {"detrend": "linear", "normalise": "run", "delay": 0, "average": "block"}
    elif series:
        steps = {"normalise": "training", "delay": 0, "average": "block"}
    masked = first if mask is None else signal_files.open_signals(first.path, str(mask), "studies")
    said = [
        "Rows are volumes of a time series: delay is the number of volumes from a stimulus to the response (0 if the "
        "table is shifted already)."
        if series
        else "Rows seem to be single trials, by the table."
    ]
    seen = {
        "": [
            f"{counted(len(pairs), 'subject')}; {first.path.name}: {first.n_rows} rows of {masked.n_voxels} voxels",
            "Columns of the table of rows, values with their counts:",
            *(f"  {line}" for line in shown.described(rows_of)),
        ],
        "voxels": said,
    }
    return Found(
        *("voxel_table", choice, tuple(sorted(labels.values())), settings, seen, steps, ("all-voxels", {})),
        n_inputs=masked.n_voxels,
        alike=False,
    )


def _opened(files: Sequence[Path]) -> Iterator[tuple[Path, signal_files.Signals]]:
    """Files that are voxel signals; what is none is passed over where several are looked at."""
    for file in files:
        if not file.name.endswith(ENDINGS):
            if len(files) == 1:
                raise InputError(f"{file}: no file of voxel signals; expected one of {', '.join(ENDINGS)}, or a folder")
            continue
        try:
            signals = signal_files.open_signals(file, None, "studies")
        except InputError:
            if len(files) == 1:
                raise
            continue
        if signals.n_rows > 1:
            yield file, signals


def _table(file: Path, n_rows: int, tables: Sequence[Path]) -> Path | None:
    """The table with a line for each row of a file: that of the same label, then the nearest."""
    fitting = [one for one in tables if _length(one) in (n_rows, n_rows + 1)]
    if _is_series(file):  # as many events as volumes would be chance
        fitting = [one for one in fitting if not one.name.endswith(EVENTS)]
    own = LABEL.search(file.name)

    def far(one: Path) -> tuple[bool, bool, bool, str]:
        other = LABEL.search(one.name)
        return (
            (own and own[1]) != (other and other[1]),
            one.parent != file.parent,
            _length(one) == n_rows,  # one without a header, which may hold codes in place of names
            str(len(one.name)).zfill(4),
        )

    worded = [one for one in fitting if (table := _if_table(one)) and not all(map(_numbers, table.values()))]
    return min(worded, key=far, default=None)


def _is_series(file: Path) -> bool:
    return SERIES in file.name


def _no_responses(folder: Path, series: Sequence[Path], n_rows: int) -> str:
    """What a dataset of runs with events lacks, and the two ways in which it can be given."""
    runs = f"{len(series)} time series (as {series[0].relative_to(folder)}, {n_rows} volumes)"
    return (
        f"{folder}: {runs} of fMRI with events in seconds: the response to each trial must be estimated first, and "
        "brain2clip does not fit a haemodynamic response\n"
        "  either estimate a beta image for each trial (GLMsingle; nilearn's FirstLevelModel with a condition for each "
        "trial), of runs that are aligned to each other, and give a folder with, for each subject,\n"
        "    sub-01_betas.nii.gz   4D, a volume for each trial, all runs one after the other\n"
        "    sub-01_trials.tsv     a line for each volume, with a header: stimulus, run (and session)\n"
        "    sub-01_mask.nii.gz    the voxels to take, if not all of them\n"
        "  or, for blocks, join the runs of a subject in one file and write a table with a line for each volume "
        "(condition, run; rest between the blocks): voxels.delay, detrend and average make responses from it\n"
        "  then: brain2clip init THAT FOLDER"
    )


def _if_table(path: Path) -> Table | None:
    """A table; None where the file is none."""
    try:
        return _read(path)[0]
    except InputError:
        return None


def _length(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(bool(line.strip()) for line in file)


def _numbers(cells: list[str]) -> bool:
    return all(shown.is_number(cell) for cell in cells if cell not in MISSING)


def _read(path: Path) -> tuple[Table, list[str]]:
    """A table; and names for its columns where it has no header, because its first line stands again below."""
    first = next((line for line in user_files.text(path, "(a table)").splitlines() if line.strip()), "")
    cells = first.split(next((one for one in "\t," if one in first), None))
    plain = read_rows(path, tuple(f"column{number}" for number in range(1, len(cells) + 1)), "table")
    if not all(shown.is_number(column[0]) or column[0] in column[1:] for column in plain.values()):
        return read_rows(path, None, "table"), []
    names = list(plain)
    worded = next((name for name, column in plain.items() if not _numbers(column)), None)
    numbered = next((name for name, column in plain.items() if _numbers(column)), None)
    known = {worded: "condition", numbered: "run"}
    named = [known.get(name, name) for name in names]
    return dict(zip(named, plain.values())), named


def _rows(label: str, table: Table) -> Rows:
    """Rows of a subject, runs and sessions by their columns."""
    entities = {}
    for entity, known in (("run", RUNS), ("session", SESSIONS)):
        name = next((one for one in known if one in table), None)
        if name is not None:
            entities[entity] = table[name]
    return Rows(label, table, entities)


def _labels(files: Sequence[Path]) -> dict[Path, str]:
    """Label of the subject of each file."""
    found = {file: match[1] if (match := LABEL.search(file.name)) else "" for file in files}
    if len(files) == 1:
        return {file: label or "01" for file, label in found.items()}
    if "" in found.values() or len(set(found.values())) < len(files):
        raise InputError(
            f"several files of signals: {some([file.name for file in files])}; expected one for each subject with a "
            "label in its name, such as sub-01_bold.nii.gz: join the runs of a subject in one file, or give the path "
            "of one file"
        )
    return found


def _template(files: object, labels: dict[Path, str], folder: Path, given: str) -> str:
    """Path of the files of all subjects, with ``{subject}`` for the label where there are several."""
    paths = list(dict.fromkeys(files))  # type: ignore[call-overload]
    relative = [path.relative_to(folder).as_posix() for path in paths]
    base = "" if given == "." else f"{given}/"
    if len(labels) == 1 or (len(relative) == 1 and LABEL.search(relative[0]) is None):
        return f"{base}{relative[0]}"
    if len(relative) == 1:  # of the first subject, with others beside it
        return base + relative[0].replace(LABEL.findall(relative[0])[-1], SUBJECT)
    made = {name.replace(label, SUBJECT) for name, label in zip(sorted(relative), sorted(labels.values()))}
    if len(made) > 1:
        raise InputError(
            f"{folder}: the names of the files differ in more than the subject: {some(sorted(relative))}; rename them"
        )
    return f"{base}{made.pop()}"


def _mask(files: Sequence[Path], signals: signal_files.Signals, labels: dict[Path, str], first: Path) -> Path | None:
    """A NIfTI mask on the grid of the signals of the first subject, whose name says so."""
    if not isinstance(signals, signal_files.Volumes):
        return None
    for file in files:
        if "mask" not in file.name.lower() or not file.name.endswith(signal_files.NIFTI):
            continue
        label = LABEL.search(file.name)
        if len(labels) > 1 and label and label[1] != labels[first]:
            continue
        try:
            signal_files.open_signals(signals.path, str(file), "studies")
        except InputError:
            continue
        return file
    return None


def _in_blocks(rows: Sequence[Rows], column: str) -> bool:
    """Whether most rows show what the row before them shows, as volumes of a block do."""
    cells = np.array(rows[0].columns[column], dtype=object)
    return len(cells) > 1 and float(np.mean(cells[1:] == cells[:-1])) > 0.5
