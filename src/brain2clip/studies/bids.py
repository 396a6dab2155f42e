"""Any BIDS dataset of EEG or MEG as a study, by settings alone (:class:`brain2clip.settings.BidsStudy`).

It is on disk, or is downloaded with a manifest (:class:`Fetched`).

The stimulus of an event is read from ``events.tsv``, never from trigger codes. Pictures come from a table of the user;
without pictures, named categories with text prompts are the candidates.
"""

from __future__ import annotations

import logging
import os
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import SPLITS, suggestion
from brain2clip.readers import bids_files, bids_manifest, known_datasets, labels
from brain2clip.readers.attempts import Attempt, strictly
from brain2clip.readers.bids_files import Table, column, read_tsv
from brain2clip.readers.contract import PICKS, EegStudy, Recording
from brain2clip.readers.downloaded import DownloadedStudy
from brain2clip.readers.user_stimuli import MISSING, UserStudy, check_case, some
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")

ENTITIES = ("subject", "session", "task", "run")
#: Entities that may split trials, with their keys in file names.
SPLIT_BY = {"session": "ses", "task": "task", "run": "run"}


class Study(UserStudy, EegStudy):
    """A user's BIDS dataset."""

    Settings = schema.BidsStudy
    block: schema.BidsStudy

    def __new__(cls, name: str, settings: dict[str, Any], results: Path) -> Study:
        """A study of files on disk or, if the settings name a manifest, of files that are downloaded."""
        return super().__new__(_fetched() if cls is Study and settings.get("manifest") is not None else cls)

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        if self.block.root is None and not isinstance(self, DownloadedStudy):  # a kind from outside made of this one
            raise InputError(f"{self.setting('manifest')}: {type(self).__name__} cannot download; set root instead")
        self.root = Path(self.block.root or "")
        self.selection = bids_files.Wanted(
            self.block.tasks,
            self.block.entities,
            self.block.extension,
            study=f"studies.{self.name}",
            datatype=self.block.datatype,
            picks=None if self.block.picks is None else _picked(self.block.picks),
            types_from=self.block.channel_types,
        )
        self._checked: set[str] = set()

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted.

        Raises
        ------
        brain2clip.stage.InputError
            If a subject is unknown; for ``all`` also if a folder is not that of a subject, or a subject has no such
            recording.
        """
        found = bids_files.find_subjects(self.root)
        known_datasets.check_folder(self.root, self.setting("root"))
        if not found:
            raise InputError(f"{self.root}: no folder sub-*; expected a BIDS dataset ({self.setting('root')})")
        if self.block.subjects == "all":
            self._check_all(found)
        return labels.wanted(self.setting("subjects"), self.block.subjects, found, f"the folders sub-* of {self.root}")

    def _check_all(self, found: tuple[str, ...]) -> None:
        stray = bids_files.stray_folders(self.root)
        if stray:
            raise InputError(
                f"{self.root}: {some(list(map(repr, stray)))} looks like the folder of a subject, but labels may have "
                f"only letters and digits\n  remove it, or name the subjects: {self._naming(found)}"
            )
        having = tuple(one for one in found if bids_files.wanted_files(self.root, one, self.selection))
        if having and having != found:
            lost = [one for one in found if one not in having]
            raise InputError(
                f"{self.root}: {len(lost)} of {len(found)} subjects have no {self.block.datatype.upper()} recording "
                f"that the settings ask for (tasks {', '.join(self.block.tasks)}): {some(lost)}\n"
                f"  name the other subjects: {self._naming(having)}"
            )

    @property
    def listing(self) -> Path:
        """What lists the recordings, for messages."""
        return self.root

    def _naming(self, found: tuple[str, ...]) -> str:
        return f"{self.setting('subjects')}: [{', '.join(map(repr, found))}]"

    def files(self, subject: str) -> list[str]:
        """Headers, data and sidecars of a subject, inherited ones too."""
        if "" not in self._checked:  # once for all subjects
            self._check_entities()
            self._checked.add("")
        files = [path for recording in self.recordings(subject) for path in bids_files.data_files(recording)]
        return list(dict.fromkeys(map(str, files)))

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run."""
        labels.check(self.name, subject, bids_files.find_subjects(self.root))
        return bids_files.find_recordings(self.root, subject, self.selection)

    def _check_entities(self, attempt: Attempt = strictly) -> None:
        """Refuse tasks and labels of the split that occur in no file name of a recording."""
        split = self.block.split
        every = self._all_entities()
        if not every:
            return  # the check of the first subject reports this
        self._check_labels("tasks", self.block.tasks, {one.get("task", "") for one in every}, attempt)
        if split.by in SPLIT_BY:
            entity = SPLIT_BY[split.by]
            asked = [one for one in every if one.get("task") in self.selection.tasks]
            known = {one[entity] for one in asked if entity in one}
            if entity != "task":
                known |= {f"{one['ses']}/{one['run']}" for one in asked if {"ses", "run"} <= set(one)}
            for side in SPLITS:
                self._check_labels(f"split.{side}", getattr(split, side) or (), known, attempt)

    def _all_entities(self) -> list[dict[str, str]]:
        """Entities in the names of all recordings of the datatype, wanted or not."""
        return bids_files.all_entities(self.root, bids_files.find_subjects(self.root), self.block.datatype)

    def _check_labels(self, key: str, wanted: Iterable[str], known: set[str], attempt: Attempt) -> None:
        for label in wanted:
            attempt(None, self._check_label, key, label, known)

    def _check_label(self, key: str, label: str, known: set[str]) -> None:
        if label not in known:
            raise InputError(
                f"{self.setting(key)}: no recording of {self.listing} has the label {label!r}"
                f"{labels.meant(label, known)}\n  labels found: {some(sorted(known)) or 'none'}"
            )

    def look_around(self, attempt: Attempt) -> tuple[str, ...]:
        """Check the names of files; returns subjects whose data can be checked.

        If none of the wanted tasks exists, the existing tasks are used instead in this check, so that other errors can
        be reported, too.
        """
        found = attempt((), bids_files.find_subjects, self.root)
        if not found:
            return attempt((), self.subjects) if self.root.is_dir() else ()
        every = attempt([], bids_files.all_entities, self.root, found, self.block.datatype)
        there = {one["task"] for one in every if "task" in one}
        if there and there.isdisjoint(self.block.tasks):
            self.selection = replace(self.selection, tasks=tuple(sorted(there)))
        attempt(None, self._check_entities, attempt)
        self._checked.add("")
        if attempt((), self.subjects):
            return self.subjects()
        asked = found if self.block.subjects == "all" else [one for one in self.block.subjects if one in found]
        return tuple(one for one in asked if attempt([], bids_files.wanted_files, self.root, one, self.selection))

    def _shown_to(self, subject: str) -> Iterator[pd.DataFrame]:
        return map(self.trials, self.recordings(subject))

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (id), ``concept``, ``split`` (``train`` or
            ``test``). Trials that are neither training nor test are left out.

        Raises
        ------
        brain2clip.stage.InputError
            If a column is missing, no trial is left after ``keep``, an onset is not a number, or a label has no row in
            the stimulus table.
        """
        import pandas as pd

        onsets, names, concepts, sides = self._read(recording, strictly)
        if recording.subject not in self._checked:
            self._check_values(recording.subject)
            self._checked.add(recording.subject)
        trials = pd.DataFrame({"onset": onsets, "stimulus": names, "concept": concepts, "split": sides})
        if None in sides:
            log.info(
                "%s: %d trials left out, because they are neither training nor test", recording.name, sides.count(None)
            )
        trials = trials[trials["split"].notna()]
        return trials.sort_values("onset", kind="stable", ignore_index=True)

    def check_events(self, recording: Recording, attempt: Attempt) -> None:
        """The checks of :meth:`trials` on the events of a recording, each step separately."""
        self._read(recording, attempt)

    def check_values(self, subject: str, attempt: Attempt) -> None:
        """Checks of all events of a subject together."""
        attempt(None, self._check_values, subject)

    def _read(
        self, recording: Recording, attempt: Attempt
    ) -> tuple[list[float], list[str], list[str], list[str | None]]:
        """Onset, stimulus, concept and side of the trials of a recording."""
        events = attempt({}, read_tsv, recording.events)
        if not events:
            return [], [], [], []
        # If it is unknown which events are trials, cells of other events are not errors: only columns are checked.
        kept = attempt([], self._kept, events, recording)
        onsets = attempt([], self._onsets, events, kept, recording)
        names = attempt([], self._names, events, kept, recording)
        made_by = f"{self.setting('stimulus')} = {self.block.stimulus!r}"
        concepts = attempt([], self.stimuli.known, names, recording.events, made_by)
        rows = kept if len(concepts) == len(kept) else []
        sides = attempt([], self._sides, events, rows, concepts, recording)
        if len(sides) == len(names):
            attempt(None, self.stimuli.check_written, names, sides, recording.events)
        return onsets, names, concepts, sides

    def _check_values(self, subject: str) -> None:
        """Refuse values in settings that no event has; log what ``keep`` leaves out.

        If only events of other subjects have a value, this is a warning, because the recording may be right.
        """
        if not self._wanted_values():
            return
        own, left_out, count = self._values(self.recordings(subject))
        if self.block.keep:
            cells = ", ".join(f"{name} {value!r} {number}" for (name, value), number in left_out.most_common(12))
            log.info(
                "sub-%s: %s keeps %d of %d events as trials; left out: %s",
                *(subject, self.setting("keep"), count - left_out.total(), count, cells or "none"),
            )
        for setting, wanted in self._wanted_values().items():
            absent = [value for value in wanted if value not in own[setting]]
            everywhere = self._values_of_all()[setting] if absent else set()
            for value in absent:
                if value not in everywhere:
                    known = own[setting] | everywhere
                    raise InputError(
                        f"{self.setting(setting)}: no event of sub-{subject} has "
                        f"{value!r}{suggestion(value, known)}, nor has any event of another subject in {self.root}\n  "
                        f"values found: {some(sorted(known))}; fix the name, or remove it"
                    )
                log.warning("sub-%s: no event has %r, which is in %s", subject, value, self.setting(setting))

    def _wanted_values(self) -> dict[str, tuple[str, ...]]:
        """Values that settings name, by setting."""
        split = self.block.split
        found = {f"keep.{name}": values for name, values in self.block.keep.items()}
        if split.by == "column":
            found |= {f"split.{side}": getattr(split, side) or () for side in SPLITS}
        return found

    def _values(self, recordings: Iterable[Recording]) -> tuple[dict[str, set[str]], Counter[tuple[str, str]], int]:
        """Values of some recordings' events for these settings; values that ``keep`` leaves out; number of events."""
        found: dict[str, set[str]] = {setting: set() for setting in self._wanted_values()}
        left_out: Counter[tuple[str, str]] = Counter()
        count = 0
        for recording in recordings:
            if not recording.events.exists():  # told by the recording that lacks it
                continue
            events = read_tsv(recording.events)
            kept = list(range(len(column(events, "onset", recording.events, "BIDS"))))
            count += len(kept)
            for name, values in self.block.keep.items():
                cells = column(events, name, recording.events, self.setting("keep"))
                found[f"keep.{name}"].update(cells)
                left_out.update((name, cells[row]) for row in kept if cells[row] not in values)
                kept = self._only(kept, cells, values)
            if self.block.split.column is not None:
                cells = column(events, self.block.split.column, recording.events, self.setting("split.column"))
                for side in SPLITS:
                    found[f"split.{side}"].update(cells[row] for row in kept)
        return found, left_out, count

    def _values_of_all(self) -> dict[str, set[str]]:
        """The same for every subject on disk whose events can be read."""
        every: dict[str, set[str]] = {setting: set() for setting in self._wanted_values()}
        for subject in bids_files.find_subjects(self.root):
            try:
                values, _, _ = self._values(self.recordings(subject))
            except InputError:  # is reported when this subject is read
                continue
            for setting, some_values in values.items():
                every[setting] |= some_values
        return every

    def _kept(self, events: Table, recording: Recording) -> list[int]:
        """Numbers of the rows that are trials."""
        path = recording.events
        kept = list(range(len(column(events, "onset", path, "BIDS"))))
        for name, values in self.block.keep.items():
            cells = column(events, name, path, self.setting("keep"))
            check_case(cells, values, f"{path}: column {name}", self.setting("keep"))
            kept = self._only(kept, cells, values)
        if not kept:
            found = "; ".join(f"{name}: {some(sorted(set(events[name])))}" for name in self.block.keep)
            raise InputError(
                f"{path}: none of {len(events['onset'])} events is a trial\n"
                f"  {self.setting('keep')} wants {_plain(self.block.keep)}\n"
                f"  values found: {found or 'none'}"
            )
        return kept

    @staticmethod
    def _only(kept: list[int], cells: list[str], values: tuple[str, ...]) -> list[int]:
        """Rows whose cell is one of some values."""
        return [row for row in kept if cells[row] in values]

    def _onsets(self, events: Table, kept: list[int], recording: Recording) -> list[float]:
        """Onsets of the trials, s."""
        onsets = []
        for row in kept:
            text = events["onset"][row]
            try:
                onset = float(text)
            except ValueError:
                onset = float("nan")
            if not abs(onset) < float("inf"):
                raise InputError(
                    f"{recording.events}: the onset of trial {row + 1} is {text!r}; "
                    "expected a number of seconds from the start of the recording; correct it, remove the row, or "
                    f"let {self.setting('keep')} leave it out"
                )
            onsets.append(onset)
        return onsets

    def _names(self, events: Table, kept: list[int], recording: Recording) -> list[str]:
        """Stimulus id of each trial, from the column or template in the settings."""
        setting, wanted = self.setting("stimulus"), self.block.stimulus
        plain = "{" not in wanted
        fields = [wanted] if plain else _fields(wanted, setting)
        entities = {key: getattr(recording, key) for key in ENTITIES}
        columns = {}
        for name in fields:
            if plain or name in events or name not in ENTITIES:
                columns[name] = column(events, name, recording.events, setting)
            elif entities[name] is None:
                raise InputError(f"{recording.path}: no {name} in the file name, which {setting} = {wanted!r} needs")
        unknown = [row for row in kept if any(cells[row] in MISSING for cells in columns.values())]
        if unknown:
            raise InputError(
                f"{recording.events}: {len(unknown)} of {len(kept)} trials have no stimulus "
                f"({', '.join(columns)} is n/a, first in event {unknown[0] + 1})\n"
                f"  expected a stimulus in each trial; leave other events out with {self.setting('keep')}"
            )
        if plain:
            return [columns[wanted][row] for row in kept]
        return [wanted.format(**{**entities, **{name: columns[name][row] for name in columns}}) for row in kept]

    def _sides(self, events: Table, kept: list[int], concepts: list[str], recording: Recording) -> list[str | None]:
        """``train``, ``test`` or None (left out) for each trial."""
        split = self.block.split
        if split.by == "column":
            assert split.column is not None
            cells = column(events, split.column, recording.events, self.setting("split.column"))
            self._check_split_case([cells[row] for row in kept], f"{recording.events}: column {split.column}")
            return [self.stimuli.side(cells[row]) for row in kept]
        if split.by == "concepts":
            self.stimuli.check_concepts()
            return [self.stimuli.side(concept) for concept in concepts]
        label = getattr(recording, split.by)
        if label is None:
            raise InputError(
                f"{recording.path}: no {split.by} in the file name, so {self.setting('split')} by {split.by} "
                "cannot separate training from test; split by another entity, a column or concepts"
            )
        self._check_split_case([label], f"{recording.path}: {split.by}")
        both = f"{recording.session}/{recording.run}"
        return [self.stimuli.side(label, both)] * len(kept)

    def _check_split_case(self, found: list[str], where: str) -> None:
        split = self.block.split
        check_case(found, (*split.test, *(split.train or ())), where, self.setting("split"))


class Fetched(DownloadedStudy, Study):
    """A BIDS dataset that is downloaded with a manifest.

    Subjects and recordings are read from the manifest, so that runs can be planned before anything is downloaded.
    Everything else is read from disk as for any dataset, after each file was compared with its record.
    """

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self._units_of: dict[str, list[str]] = {}

    @cached_property
    def dataset(self) -> str:  # type: ignore[override]
        """Accession, or name of the manifest without its ending."""
        name = Path(self.block.manifest or "").name
        return re.sub(r"[^A-Za-z0-9_.-]", "-", re.sub(r"\.csv(\.gz)?$", "", name))

    @cached_property
    def description(self) -> str | None:  # type: ignore[override]
        """The dataset's description, if the manifest lists it."""
        return "dataset_description.json" if "dataset_description.json" in self.entries else None

    def shared_units(self) -> list[str]:
        """Units of the files at the top, and of pictures if they are in the dataset."""
        return sorted({*self._top_units, *map(self.unit, self._own_pictures.values())})

    @cached_property
    def _top_units(self) -> list[str]:
        """Units of the files at the top, which include sidecars of all recordings."""
        return sorted({self.unit_of(path) for path in self.entries if "/" not in path})

    @cached_property
    def _own_pictures(self) -> dict[Path, str]:
        """Pictures of the table that are in the dataset, with their paths there."""
        if self.block.stimuli is None:
            return {}
        base = os.path.abspath(self.root) + os.sep
        named = {path: os.path.abspath(path) for path in self.stimuli.pictures_named()}
        return {path: Path(full).relative_to(base).as_posix() for path, full in named.items() if full.startswith(base)}

    def subject_units(self, subject: str) -> list[str]:
        """Units of the recordings that are read, and of common files of all of them or of a session."""
        labels.check(self.name, subject, self._having)
        if subject not in self._units_of:
            found = bids_manifest.units_for(self.units, subject, self._read_ones, self.block.datatype)
            if not found:
                raise InputError(
                    f"{self.manifest}: files of sub-{subject} cannot be downloaded, because labels with '+' name no "
                    f"download; name the other subjects ({self.setting('subjects')}), or fetch the dataset yourself "
                    f"and name its folder ({self.setting('root')})"
                )
            self._units_of[subject] = found
        return self._units_of[subject]

    def unit_of(self, path: str) -> str:
        """Name of the download unit of a file, by datatype."""
        return bids_manifest.unit_of(path)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted, from the manifest; errors as for a dataset on disk."""
        known_datasets.check(self.dataset, self.setting("manifest"))
        for accession in known_datasets.REFUSED:  # under another name
            if any(f"/{accession}/" in entry.url for entry in self.entries.values()):
                known_datasets.check(accession, self.setting("manifest"))
        if not self._recordings:
            raise self._no_recording()
        every = {one.subject for one in self._recordings} | {one.subject for one in self._places}
        asked = every if self.block.subjects == "all" else every.intersection(self.block.subjects)
        lost = sorted(asked.difference(self._having))
        if lost:
            tasks = sorted({one.labels.get("task", "") for one in self._recordings})
            found = f"tasks found: {', '.join(tasks) or 'none'}"
            name = self._naming(tuple(sorted(self._having))) if self._having else f"change {self.setting('tasks')}"
            kind = self.block.datatype.upper()
            raise InputError(
                f"{self.manifest}: {len(lost)} of {len(asked)} subjects have no {kind} recording that the settings ask "
                f"for (tasks {', '.join(self.block.tasks)}; {found}): {some(lost)}\n"
                f"  name the others: {name}"
            )
        return labels.wanted(self.setting("subjects"), self.block.subjects, self._having, str(self.manifest))

    def _no_recording(self) -> InputError:
        """Error if the manifest lists no recording of the datatype; says which it lists instead."""
        datatypes = [one for one in bids_files.SUFFIXES if one != self.block.datatype]
        others = {one: len(bids_manifest.recordings(self.entries, one)) for one in datatypes}
        found = [f"{count} of {one.upper()}" for one, count in others.items() if count]
        formats = ", ".join(bids_files.SUFFIXES[self.block.datatype])
        advice = next((f"set {self.setting('datatype')}: {one}" for one, count in others.items() if count), None)
        return InputError(
            f"{self.manifest}: lists no {self.block.datatype.upper()} recording ({formats}) in a folder "
            f"{self.block.datatype} of a subject (setting {self.setting('manifest')}); found "
            f"{' and '.join(found) or 'none of another datatype either'}; "
            + (advice or "expected the manifest of a dataset of EEG or MEG in BIDS: name another one")
        )

    def files(self, subject: str) -> list[str]:
        """Records of the downloads of a subject, and of the files at the top."""
        if "" not in self._checked:  # once for all subjects
            self._check_entities()
            self._checked.add("")
        return [self.record(unit) for unit in [*self._top_units, *self.subject_units(subject)]]

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run, after they were downloaded.

        Raises
        ------
        brain2clip.stage.InputError
            If a file is missing.
        """
        for unit in [*self._top_units, *self.subject_units(subject)]:
            there = Path(self.record(unit)).is_file()
            lost = [one.path for one in self.units[unit] if not (self.root / one.path).is_file()]
            if lost or not there:
                raise InputError(
                    f"{self.root / self.units[unit][0].path}: {some(lost) or 'the record of the download'} is "
                    f"missing; "
                    + (f"delete {self.record(unit)} and " if there else "")
                    + "run snakemake, which fetches it"
                )
        found = bids_files.find_recordings(self.root, subject, self.selection)
        for recording in found:
            path = self.relative(recording.path)
            if path not in self.entries and not recording.path.is_dir():
                self.check_there(recording.path)  # left by another manifest
        return found

    def check_recording(self, recording: Recording) -> None:
        """Refuse files of a recording that were changed after the download, or that were not downloaded."""
        files = bids_files.data_files(recording)
        for path in files:
            self.check_there(path)
        self._record_of(files[0]).check_all()

    def fetched(self, subject: str) -> bool:
        """Whether all files of a subject are there."""
        return all(Path(path).is_file() for path in self.files(subject))

    def look_around(self, attempt: Attempt) -> tuple[str, ...]:
        """Check the manifest; returns subjects that are already downloaded and can be checked."""
        attempt(None, self._check_entities, attempt)
        self._checked.add("")
        pictures = attempt({}, lambda: self._own_pictures)
        self.stimuli.coming = frozenset(
            path for path, name in pictures.items() if not Path(self.record(attempt("", self.unit, name))).is_file()
        )
        return tuple(one for one in attempt((), self.subjects) if self.fetched(one))

    def absent(self) -> list[str]:
        """Subjects that are not downloaded yet."""
        return [one for one in self.subjects() if not self.fetched(one)]

    @property
    def listing(self) -> Path:
        """What lists the recordings, for messages."""
        return self.manifest

    def _all_entities(self) -> list[dict[str, str]]:
        return [one.labels for one in self._recordings]

    @cached_property
    def _places(self) -> list[bids_manifest.Place]:
        """Places of all files of the datatype."""
        found = map(bids_manifest.place, self.entries)
        own = [one for one in found if one is not None and one.datatype == self.block.datatype]
        return [one for one in own if one.subject != bids_files.EMPTY_ROOM]

    @cached_property
    def _recordings(self) -> list[bids_manifest.Named]:
        return bids_manifest.recordings(self.entries, self.block.datatype)

    @cached_property
    def _read_ones(self) -> list[bids_manifest.Named]:
        return bids_manifest.wanted(self._recordings, self.selection)

    @cached_property
    def _having(self) -> frozenset[str]:
        """Subjects with a recording that is read."""
        return frozenset(one.subject for one in self._read_ones)

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_files(self) -> list[str]:
        """The table of pictures, and records of downloaded pictures, and of events if the split is read from them."""
        records = [path for one in self.subjects() for path in self.files(one)] if self.split_from_events else []
        pictures = sorted({self.record(self.unit(name)) for name in self._own_pictures.values()})
        return [*self.label_files(), *pictures, *dict.fromkeys(records)]

    def catalogue_digest(self) -> str | None:
        """Digest of the stimulus table if it is known before anything is downloaded."""
        return None if self.split_from_events or self._own_pictures else super().catalogue_digest()

    def stimulus_table(self) -> pd.DataFrame:
        """As for a dataset on disk, after downloaded pictures were compared with their records."""
        for name in self._own_pictures.values():
            self.check_there(self.root / name)
        return super().stimulus_table()

    def trials(self, recording: Recording) -> pd.DataFrame:
        """As for a dataset on disk, after all files of the recording were compared with their records."""
        self.check_recording(recording)
        return super().trials(recording)

    def _shown_to(self, subject: str) -> Iterator[pd.DataFrame]:
        for recording in self.recordings(subject):
            self.check_there(recording.events)  # the samples are not read for it
            yield super().trials(recording)

    def _values_of_all(self) -> dict[str, set[str]]:
        """Values of downloaded subjects; while other subjects are missing, every wanted value may still occur."""
        every = super()._values_of_all()
        if not all(self.fetched(one) for one in self._having):
            for setting, values in self._wanted_values().items():
                every[setting].update(values)
        return every


def _fetched() -> type[Study]:
    return Fetched


def _picked(picks: str) -> tuple[str, ...]:
    """Types of channels of a setting."""
    return PICKS["meg"] if picks == "meg" else (picks,)


def _fields(template: str, setting: str) -> list[str]:
    """Names in the braces of a template."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{setting} = {template!r}: {error}; expected column names in braces") from None
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise InputError(f"{setting} = {template!r}: expected plain column names in braces, without format")
    fields = [name for _, name, _, _ in parts if name is not None]
    if any(not name or set(name) & set(".[]") for name in fields):
        raise InputError(f"{setting} = {template!r}: expected plain column names in braces")
    return fields


def _plain(keep: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{name}: {' or '.join(values)}" for name, values in keep.items()) or "every event"
