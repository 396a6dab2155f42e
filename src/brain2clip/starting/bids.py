"""Inspection of a BIDS dataset of EEG or MEG: tasks, events, rates, channels, sessions and runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip.names import counted
from brain2clip.readers import bids_files
from brain2clip.readers.bids_files import Wanted, read_tsv
from brain2clip.readers.contract import Recording
from brain2clip.readers.user_stimuli import some
from brain2clip.responses import recording
from brain2clip.stage import InputError
from brain2clip.starting import shown
from brain2clip.starting.found import Found
from brain2clip.starting.shown import Asked, Pictures, Rows

if TYPE_CHECKING:
    import mne

#: What is looked for, the first that is there.
DATATYPES = ("eeg", "meg")
#: Rate of responses that is wanted, about, Hz; and the epoch, s.
RATE, EPOCH = 100.0, (-0.2, 0.8)
#: The band: its low edge, and its high edge if the rate allows it, Hz. A filter takes 3.3 s over its low edge (Hz).
BAND, FILTER_S = (0.5, 40.0), 3.4


def is_dataset(path: Path) -> bool:
    """Whether a folder holds recordings of EEG or MEG as BIDS lays them."""
    return path.is_dir() and any(_has(path, datatype) for datatype in DATATYPES)


def _has(path: Path, datatype: str) -> bool:
    ends = (f"sub-*/{datatype}/*_{datatype}*", f"sub-*/ses-*/{datatype}/*_{datatype}*")
    return any(True for end in ends for _ in path.glob(end))


def look(root: Path, given: str, tasks: Sequence[str], asked: Asked) -> Found:
    """Look at a dataset.

    Parameters
    ----------
    root : Path
    given : str
        Path of the dataset in the configuration.
    tasks : sequence of str
        Tasks to read; none: the only one, or a training and a test task.
    asked : Asked
        Choices by flags.

    Raises
    ------
    brain2clip.stage.InputError
        On errors of readers, or if a flag must choose.
    """
    datatype, *others = [one for one in DATATYPES if _has(root, one)]
    subjects = bids_files.find_subjects(root)
    every = bids_files.all_entities(root, subjects, datatype)
    there = Counter(one["task"] for one in every if "task" in one)
    chosen = tuple(tasks) or _tasks(there)
    wanted = Wanted(chosen, study=f"studies.{root.name}", datatype=datatype)
    recordings = {
        subject: bids_files.find_recordings(root, subject, wanted)
        for subject in subjects
        if bids_files.wanted_files(root, subject, wanted)
    }
    formats = sorted({bids_files.format_of(item.path) for items in recordings.values() for item in items})
    if not recordings:
        raise InputError(
            f"{root}: no recording of the tasks {', '.join(chosen)}; found {some(sorted(there)) or 'no task'}; choose "
            "by --task"
        )
    rows = [_rows(subject, items) for subject, items in recordings.items()]
    choice = shown.chosen(rows, asked, Pictures(_folders(root, asked)))
    headers = {subject: recording.open_recording(items[0]) for subject, items in recordings.items()}
    steps, signal, said = _steps(headers)
    names = _channels(headers)
    alone = tuple(sorted(recordings)) if len(recordings) < len(subjects) else ()
    settings: dict[str, object] = {
        "root": given,
        **({"datatype": datatype} if datatype != "eeg" else {}),
        **({"subjects": list(alone)} if alone else {}),
        "tasks": list(chosen),
        **({"keep": {name: list(values) for name, values in choice.keep.items()}} if choice.keep else {}),
        "stimulus": choice.stimulus,
    }
    entities = {key: Counter(one[key] for one in every if key in one) for key in ("ses", "run")}
    counts = "; ".join(f"{key}: {_counted(found)}" for key, found in entities.items() if found)
    n_recordings = sum(map(len, recordings.values()))
    who = f"{counted(len(recordings), 'subject')}, {counted(n_recordings, 'recording')}"
    seen = {
        "": [
            f"{who} of {', '.join(formats)} ({counts or 'no runs'})",
            *(f"There is {other.upper()} as well: datatype: {other} reads it." for other in others),
            f"Columns of events.tsv, {sum(map(len, rows))} events of these tasks, values with their counts:",
            *(f"  {line}" for line in shown.described(rows)),
        ],
        "tasks": [f"Recordings by task: {_counted(there)}"],
        "responses": said,
    }
    if len(names) < max(len(raw.ch_names) for raw in headers.values()):
        steps["channels"] = names
    tmin, tmax = EPOCH
    n_times = round((tmax - tmin) * float(str(steps["sfreq"])))
    return Found(
        *("bids", choice, tuple(sorted(recordings)), settings, seen, steps, signal),
        n_inputs=len(names) * n_times,
        alike=True,
    )


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{label} {count}" for label, count in sorted(found.items()))


def _tasks(there: Counter[str]) -> tuple[str, ...]:
    """All tasks, if there is one, or a training and a test task; else a flag must choose."""
    tests = [task for task in there if shown.TEST.search(task)]
    if len(there) <= 1 or (len(there) == 2 and len(tests) == 1):
        return tuple(sorted(there))
    raise InputError(
        f"several tasks, with the number of their recordings: {_counted(there)}; choose by --task NAME, more than "
        "once if several tasks are one experiment"
    )


def _folders(root: Path, asked: Asked) -> list[Path]:
    """Folders that are searched for pictures."""
    if asked.pictures is not None:
        folder = Path(asked.pictures)
        if not folder.is_dir():
            raise InputError(f"--pictures: {folder} is not a folder")
        return [folder.resolve()]
    return [root / "stimuli", root / "sourcedata" / "stimuli", root.parent / "stimuli"]


def _rows(subject: str, items: Sequence[Recording]) -> Rows:
    """Events of all recordings of a subject; a column that one table lacks is left out."""
    tables = []
    for item in items:
        bids_files.data_files(item)
        tables.append(read_tsv(item.events))
    names = [name for name in tables[0] if all(name in table for table in tables)]
    columns = {name: [cell for table in tables for cell in table[name]] for name in names}
    entities = {}
    for entity in shown.ENTITIES:
        labels = [getattr(item, entity) for item in items]
        if None not in labels:
            entities[entity] = [label for label, table in zip(labels, tables) for _ in next(iter(table.values()), [])]
    return Rows(subject, columns, entities)


def _channels(headers: dict[str, mne.io.BaseRaw]) -> list[str]:
    """Channels that all subjects have, in the order of the first."""
    first, *others = headers.values()
    return [name for name in first.ch_names if all(name in raw.ch_names for raw in others)]


def _steps(
    headers: dict[str, mne.io.BaseRaw],
) -> tuple[dict[str, object], tuple[str, dict[str, object]], list[str]]:
    """Settings of the responses and of the band that fit the rates, and findings."""
    rates = Counter(float(raw.info["sfreq"]) for raw in headers.values())
    slowest = min(rates)
    channels = Counter(len(raw.ch_names) for raw in headers.values())
    bad = Counter(name for raw in headers.values() for name in raw.info["bads"])
    steps: dict[str, object] = {"tmin": EPOCH[0], "tmax": EPOCH[1], "baseline": [None, 0.0]}
    if len(rates) == 1:
        factors = range(1, 1 + max(1, math.floor(slowest / 20)))
        plain = [slowest / factor for factor in factors if slowest / factor == round(slowest / factor)]
        steps["sfreq"] = min(plain or [slowest], key=lambda rate: abs(math.log(rate / RATE)))
        possible = ", ".join(f"{rate:g}" for rate in sorted(plain, reverse=True)[:8])
        rate = f"Recorded at {slowest:g} Hz. Rates of responses without interpolation: {possible or f'{slowest:g}'} Hz"
    else:
        steps["sfreq"], steps["resampling"] = min(RATE, slowest), "epochs"
        rate = f"Recorded at {', '.join(f'{found:g} ({count} subjects)' for found, count in sorted(rates.items()))} Hz"
    steps["channels"] = "all"
    steps["whitening"] = {"kind": "mvnn"}
    nyquist = min(float(str(steps["sfreq"])), slowest) / 2
    high = min(BAND[1], math.floor(0.8 * nyquist))
    shortest = min(raw.n_times / raw.info["sfreq"] for raw in headers.values())
    low = max(BAND[0], math.ceil(100 * FILTER_S / shortest) / 100)
    first = next(iter(headers.values()))
    kinds = Counter(first.get_channel_types())
    kind = "EEG" if "eeg" in kinds else "MEG"
    said = [
        f"{rate}.",
        f"{kind} channels: {', '.join(f'{count} ({number} subjects)' for count, number in sorted(channels.items()))}: "
        f"{some(list(first.ch_names), 70)}",
    ]
    if kind == "MEG":
        types = ", ".join(f"{count} {name}" for name, count in kinds.items())
        said.append(f"Types by the files: {types}. without: [NAME] leaves one out; picks chooses a type")
    if bad:
        said.append(f"Marked as bad somewhere: {some(sorted(bad))}; see bad_channels: interpolate or drop")
    return steps, ("broad", {"l_freq": low, "h_freq": float(high)}), said
