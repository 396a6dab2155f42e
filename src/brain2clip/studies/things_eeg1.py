r"""THINGS-EEG1 (Grootswagers, Zhou, Robinson, Hebart, Carlson 2022) as its BIDS version, OpenNeuro ds003825, has it.

50 subjects, one recording each at 1000 Hz. All 1854 concepts of THINGS are shown with 12 pictures each, every picture
once, in rapid streams: one picture every 0.1 s, so that an epoch of 0.7 s overlaps with the next six. A test block
follows: 200 other pictures, 12 times each. What the tables do not tell at first sight:

- ``onset`` is in milliseconds in the version of 2021 (against BIDS) and in seconds since version 1.2.0, which also has
  a column ``sample``. ``duration`` is 50 in both, milliseconds. 19 tables are of 2021 and pinned by their hash; of the
  others only the size in 1.2.0 is known. So the unit is recognised table by table, from the distance between pictures
  on the stimulus computer's clock (``time_stimon``), and anything but seconds and milliseconds is refused.
- Columns come in three layouts and are read by name. sub-01 has neither ``isteststim`` nor ``teststimnumber``; sub-06
  ends with ``istarget`` (and ``sample``), without ``stimname``, answers and clock times.
- Rows: 24,648 = 22,248 main + 2400 test. sub-01 has no test block (22,248); sub-06 stopped early (12,360, main only).
- In the test block ``object``, ``objectnumber`` and ``stimnumber`` are -1: what was shown is only in ``stim``, a path
  with the backslashes of Windows. Its pictures are none of the main 12 of their concept (numbers from 13 on).
- A target (``istarget`` 1) is a change of the fixation point during a picture, not a picture that is absent.
- In 36 and 38 there is an interruption, so that ``onset`` is no linear function of ``time_stimon`` there. Some subjects
  (39 is one) saw a picture every 0.094 s.
- sub-49 and sub-50 were recorded with caps of 128 channels, the others with 63 (reference Cz). With
  ``responses.channels: all`` each subject keeps its own: right within subjects, refused by leave-one-subject-out (one
  model cannot read both). Leave the two out there, or name channels that all caps have. A named set works where all its
  names are in the recording: ``nice-63`` holds Cz, which is the reference of the caps with 63 channels and no channel.
- ``participants.tsv`` excludes 01, 06, 18 and 23; so does ``subjects: all``. They can be had by name.

Downloads go to ``results/raw/things-eeg1``, by the name of the dataset: studies with other settings share them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip import settings as schema
from brain2clip.readers import bids_files, manifests, things
from brain2clip.readers.bids_files import Table, column, suggestion
from brain2clip.readers.contract import STIMULUS_COLUMNS, Recording
from brain2clip.readers.manifests import Entry
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")

SPLITS = ("train", "test")
#: Subjects that the authors exclude (column ``exclude`` of participants.tsv).
EXCLUDED = frozenset({"01", "06", "18", "23"})
#: Subjects with caps of 128 channels.
LARGE_CAPS = frozenset({"49", "50"})
#: Concepts of THINGS; ``objectnumber`` is their place in alphabetical order.
CONCEPTS = 1854
#: Main pictures of a concept.
PER_CONCEPT = 12
#: Pictures of the test block, and how often each is shown.
TEST_PICTURES, TEST_REPETITIONS = 200, 12
#: Rows of the main part and of the test block: of complete subjects, and of the others.
COMPLETE = (CONCEPTS * PER_CONCEPT, TEST_PICTURES * TEST_REPETITIONS)
INCOMPLETE = {"01": (CONCEPTS * PER_CONCEPT, 0), "06": (12360, 0)}
#: Onsets per second in each unit that is recognised.
UNITS = {"seconds": 1.0, "milliseconds": 1000.0}
#: How far the ratio of onset to clock may be off.
RATIO_TOLERANCE = 0.02
#: Shortest and longest time from picture to picture (median), s.
SOA = (0.08, 0.12)
#: Sampling rate of the recordings, Hz, and largest difference between ``onset`` and ``sample``, samples.
SFREQ, SAMPLE_TOLERANCE = 1000.0, 2.0

NEEDED = ("onset", "stim", "istarget", "object", "objectnumber")
NEEDED_FOR_TEST = ("isteststim", "teststimnumber")
CONCEPT_COLUMNS = ("split", "concept_folder")
_RECORDING = re.compile(r"sub-(?P<subject>\w+)/eeg/sub-(?P=subject)_task-(?P<task>rsvp)_eeg\.vhdr")
_STIM = r"^stimuli[\\/](?P<concept>[^\\/]+)[\\/](?P<file>[^\\/]+\.jpg)$"


class Study:
    """THINGS-EEG1; see :class:`brain2clip.readers.contract.Study` for the contract.

    Candidates are the pictures, where the user has them (setting ``pictures``), else a text prompt for each concept:
    then a row of the stimulus table is a concept, and the presentations of its 12 pictures count as repetitions.

    Parameters
    ----------
    name : str
        Name in the configuration.
    settings : dict
        A :class:`brain2clip.settings.ThingsEeg1Study` as JSON-like dict.
    results : Path
        Folder of everything that the pipeline writes.

    Attributes
    ----------
    dataset : str
        Name in the paths of downloads.
    root : Path
        Folder of the BIDS dataset.
    """

    dataset = "things-eeg1"
    licence = "recordings: CC0; pictures: of the THINGS database, for research only, not to be passed on"
    citation = (
        "Grootswagers, Zhou, Robinson, Hebart, Carlson (2022). Human EEG recordings for 1,854 concepts presented in "
        "rapid serial visual presentation streams. Scientific Data 9, 3, doi:10.1038/s41597-021-01102-7; BIDS version: "
        "OpenNeuro ds003825; pictures: Hebart et al. (2019). THINGS. PLOS ONE 14, e0223792"
    )
    modality = "eeg"
    zero_shot = True

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        self.name = name
        self.block: schema.ThingsEeg1Study = schema.parse(schema.ThingsEeg1Study, settings)
        self.results = Path(results)
        self.root = self.results / "raw" / self.dataset

    @property
    def split_from_events(self) -> bool:
        """Whether the stimulus table is read from the events: for pictures, and for the concepts of the test block."""
        return self.block.pictures is not None or self.block.test == "block"

    # --------------------------------------------------------------------------------------- downloads

    def downloads(self) -> dict[str, tuple[Entry, ...]]:
        """All that this study may need: name of each download unit to its files.

        The recordings of the wanted subjects with their events, and the files on top of the dataset.
        """
        wanted = {self._unit("README"), *(self._subject_unit(subject) for subject in self.subjects())}
        return {unit: self._units[unit] for unit in sorted(wanted)}

    def record(self, unit: str) -> str:
        """Path of the record that a finished download leaves."""
        return str(self.results / "downloads" / self.dataset / f"{unit}.json")

    def description_files(self) -> list[str]:
        """Record of the files on top: README, changes, description of the columns."""
        return [self.record(self._unit("README"))]

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted; ``all`` are those that the authors do not exclude."""
        known = tuple(sorted(self._listed))
        if self.block.subjects == "all":
            return tuple(subject for subject in known if subject not in EXCLUDED)
        where = f"studies.{self.name}.subjects"
        for subject in self.block.subjects:
            if subject not in known:
                raise InputError(
                    f"{where}: {subject!r} is not in {self.block.manifest}{_meant(subject, known)}\n"
                    f"  expected 'all' or labels of {', '.join(known) or 'nothing: the manifest lists none'}"
                )
            self._check_test_block(subject)
        if not self.block.subjects:
            raise InputError(f"{where}: names none; expected 'all' or labels such as '02'")
        return tuple(sorted(set(self.block.subjects)))

    def files(self, subject: str) -> list[str]:
        """Record of the download of a subject's recording and events."""
        return [self.record(self._subject_unit(subject))]

    def stimulus_files(self) -> list[str]:
        """The table of concepts, and the records of all wanted subjects where their events make the stimulus table.

        The pictures themselves are not listed (there are 22,248): :meth:`stimulus_table` checks that they exist.
        """
        files = [self.block.test_concepts]
        if self.split_from_events:
            files += [path for subject in self.subjects() for path in self.files(subject)]
        return files

    def label_files(self) -> list[str]:
        """What :meth:`stimulus_files` says: the number of a trial is a row of the stimulus table."""
        return self.stimulus_files()

    def recordings(self, subject: str) -> list[Recording]:
        """The one recording of a subject; from the manifest, whether downloaded or not."""
        if subject not in self._listed:  # any of them, because `subjects` is not always among the settings of a job
            known = sorted(self._listed)
            raise InputError(
                f"studies.{self.name}: no subject {subject!r}{_meant(subject, known)}; expected one of "
                f"{', '.join(known)}"
            )
        return [self._listed[subject]]

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split where targets are kept; else None, because their number differs from subject to subject."""
        if self.block.targets == "drop" or INCOMPLETE.get(subject, COMPLETE)[0] != COMPLETE[0]:
            return None
        of_test = len(self._test_concepts) * PER_CONCEPT
        return {"train": COMPLETE[0] - of_test, "test": COMPLETE[1] if self.block.test == "block" else of_test}

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture, or (without pictures) per concept; in alphabetical order.

        Pictures are those that the events of the wanted subjects name, without those that are on neither side of the
        split: of the test block for ``test: concepts``, main pictures of its concepts for ``test: block``.

        Raises
        ------
        brain2clip.stage.InputError
            When the table of concepts or an events table is wrong, or a picture is not in its place.
        """
        table = self._concept_rows() if self.block.pictures is None else self._picture_rows(self.block.pictures)
        return table[list(STIMULUS_COLUMNS)]

    def _concept_rows(self) -> pd.DataFrame:
        import pandas as pd

        names = list(self.concepts)
        return pd.DataFrame(
            {
                "stimulus_id": names,
                "split": ["test" if concept in self._test_concepts else "train" for concept in names],
                "concept": names,
                "image": "",
                "captions": [[] for _ in names],
                "prompts": [[things.prompt(concept)] for concept in names],
            }
        )

    def _picture_rows(self, folder: str) -> pd.DataFrame:
        table = self._pictures.reset_index(drop=True)
        pictures = zip(table["concept"], table["file"])
        table["image"] = things.picture_files(folder, pictures, f"studies.{self.name}.pictures")
        table["captions"] = [[] for _ in range(len(table))]
        table["prompts"] = [[things.prompt(concept)] for concept in table["concept"]]
        return table

    @cached_property
    def concepts(self) -> dict[str, str]:
        """All concepts in alphabetical order, each with its split in the table of concepts (:func:`read_concepts`)."""
        return read_concepts(Path(self.block.test_concepts), f"studies.{self.name}.test_concepts")

    @cached_property
    def _test_concepts(self) -> frozenset[str]:
        """Concepts of which training sees nothing."""
        if self.block.test == "concepts":
            return frozenset(concept for concept, split in self.concepts.items() if split == "test")
        shown = self._all_shown
        return frozenset(shown.loc[shown["is_test"], "concept"])

    @cached_property
    def _pictures(self) -> pd.DataFrame:
        """``stimulus_id`` (file without ending), ``concept``, ``file``, ``split`` of each picture, by the first."""
        shown = self._all_shown
        table = shown.assign(split=self._sides(shown), stimulus_id=_stems(shown["file"]))
        table = table[table["split"] != ""].drop(columns="is_test").drop_duplicates()
        twice = table[table["stimulus_id"].duplicated(keep=False)].sort_values(["stimulus_id", "concept", "split"])
        if len(twice):
            one, other = (f"{row.concept}/{row.file} ({row.split})" for row in twice.iloc[:2].itertuples())
            raise InputError(
                f"studies.{self.name}: the events of {', '.join(self.subjects())} name {one} and {other}; expected one "
                "folder and one side of the split for each name of a picture; see which table is not the published one"
            )
        return table.set_index("stimulus_id", drop=False).sort_index()

    @cached_property
    def _all_shown(self) -> pd.DataFrame:
        """``is_test``, ``concept``, ``file``: what the events of all wanted subjects name, each once."""
        import pandas as pd

        found = pd.DataFrame({"is_test": pd.Series(dtype=bool), "concept": [], "file": []})
        for subject in self.subjects():
            for recording in self.recordings(subject):
                found = pd.concat([found, self._events(recording).shown()]).drop_duplicates()
        return found.reset_index(drop=True)

    def _sides(self, shown: pd.DataFrame) -> np.ndarray:
        """``train``, ``test`` or nothing (no trial) for each row."""
        is_test = shown["is_test"].to_numpy(bool)
        of_test = shown["concept"].isin(self._test_concepts).to_numpy(bool)
        if self.block.test == "block":
            return np.select([is_test, ~of_test], ["test", "train"], "").astype(object)
        return np.select([is_test, of_test], ["", "test"], "train").astype(object)

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order; what they show is read from ``stim``.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (row of the stimulus table), ``split``.

        Raises
        ------
        brain2clip.stage.InputError
            When the signal is absent or has another size than the manifest says, a column is absent, the unit of the
            onsets is neither seconds nor milliseconds or disagrees with ``sample``, the numbers of rows are not those
            of this subject, or a picture is unknown, not of the object beside it, or shown another number of times.
        """
        import pandas as pd

        self._check_test_block(recording.subject)
        self._check_signal(recording)
        events = self._events(recording)
        onsets, shown = events.onsets(), events.shown()
        events.check_rows(shown, list(self.concepts))
        sides = self._sides(shown)
        kept = sides != ""
        if self.block.targets == "drop":
            kept &= ~events.flags("istarget")
        trials = pd.DataFrame({"onset": onsets, "stimulus": self._rows(shown, kept, recording), "split": sides})[kept]
        if recording.subject in LARGE_CAPS:
            log.warning(
                "%s: a cap of 128 channels, other subjects have 63; a model of both (leave-one-subject-out) needs "
                "studies.%s.responses.channels with names that all caps have",
                *(recording.name, self.name),
            )
        return trials.sort_values("onset", kind="stable", ignore_index=True)

    def _rows(self, shown: pd.DataFrame, kept: np.ndarray, recording: Recording) -> np.ndarray:
        """Rows of the stimulus table; -1 where no trial is."""
        if self.block.pictures is None:
            names, labels = list(self.concepts), shown["concept"]
        else:
            names, labels = self._pictures.index, _stems(shown["file"])
        numbers = {name: row for row, name in enumerate(names)}
        rows = labels.map(numbers).fillna(-1).to_numpy(int)
        lost = labels[kept & (rows < 0)]
        if len(lost):
            raise InputError(
                f"{recording.events}: {len(lost)} trials show pictures that no wanted subject sees, e.g. "
                f"{lost.iloc[0]}; expected sub-{recording.subject} among studies.{self.name}.subjects"
            )
        return rows

    def _events(self, recording: Recording) -> Events:
        """The events table of a recording, with the columns that it must have."""
        self._check_there(recording.events, size=False)  # its content is checked row by row
        events = Events(
            path=recording.events,
            subject=recording.subject,
            table=bids_files.read_tsv(recording.events),
            record=self.record(self._subject_unit(recording.subject)),
        )
        events.check_columns()
        events.check_concepts(events.shown(), self.concepts, self.block.test_concepts)
        return events

    def _check_test_block(self, subject: str) -> None:
        if self.block.test == "block" and not INCOMPLETE.get(subject, COMPLETE)[1]:
            raise InputError(
                f"studies.{self.name}: sub-{subject} has no test block, which test: block asks for\n"
                f"  take the subject out of studies.{self.name}.subjects (all leaves it out), or set test: concepts"
            )

    def _check_signal(self, recording: Recording) -> None:
        for entry in self._units[self._subject_unit(recording.subject)]:
            if Path(entry.path).stem == recording.path.stem:
                self._check_there(self.root / entry.path)

    def _check_there(self, path: Path, size: bool = True) -> None:
        """Refuse a file that is not in its place, or not of the size that the manifest lists."""
        entry = self._entries.get(path.relative_to(self.root).as_posix())
        if entry is None:
            raise InputError(
                f"{path}: not listed in {self.block.manifest} (setting studies.{self.name}.manifest), so it is never "
                "downloaded; complete the manifest"
            )
        again = f"delete {self.record(manifests.unit_of(entry.path))} and start snakemake again, so that it is fetched"
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected one of {entry.size or 'unknown'} bytes; {again}")
        found = path.stat().st_size
        if size and entry.size is not None and found != entry.size:
            raise InputError(
                f"{path}: {found} bytes, expected {entry.size} ({self.block.manifest}); it was changed or cut after "
                f"its download; {again}"
            )

    # ---------------------------------------------------------------------------------------- manifest

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        """Files of the manifest by path."""
        return {entry.path: entry for entry in manifests.read(Path(self.block.manifest))}

    @cached_property
    def _units(self) -> dict[str, tuple[Entry, ...]]:
        return manifests.units(self._entries.values())

    @cached_property
    def _listed(self) -> dict[str, Recording]:
        """Recordings of the manifest by subject."""
        found = {}
        for path in self._entries:
            if match := _RECORDING.fullmatch(path):
                signal = self.root / path
                events = bids_files.sibling(signal, "events.tsv")
                found[match["subject"]] = Recording(
                    match["subject"], match["task"], None, None, self.root, signal, events
                )
        return found

    def _subject_unit(self, subject: str) -> str:
        (recording,) = self.recordings(subject)
        return self._unit(recording.path.relative_to(self.root).as_posix())

    def _unit(self, path: str) -> str:
        """Download unit of a file that the manifest must list."""
        if path not in self._entries:
            raise InputError(
                f"{self.block.manifest}: does not list {path}, which studies.{self.name} needs; complete the "
                f"manifest (setting studies.{self.name}.manifest)"
            )
        return manifests.unit_of(path)


def _stems(files: pd.Series) -> pd.Series:
    return files.str.removesuffix(".jpg")


def _meant(label: str, known: Iterable[str]) -> str:
    """Labels are numbers of two digits: 1 and sub-01 mean 01, which is not the closest in spelling."""
    digits = re.sub(r"\D", "", label)
    likely = f"{int(digits):02d}" if digits else label
    return f" (did you mean {likely!r}?)" if likely in known else suggestion(label, known)


# ---------------------------------------------------------------------------------------------- concepts


def read_concepts(path: Path, setting: str) -> dict[str, str]:
    """The concepts of THINGS and the side of the split on which each stands.

    Parameters
    ----------
    path : Path
        CSV table with the columns :data:`CONCEPT_COLUMNS`; a folder is ``00001_aardvark`` or ``aardvark`` and may come
        in any number of rows.
    setting : str
        Setting that names the table, for messages.

    Returns
    -------
    dict
        Concept (``aardvark``) to ``train`` or ``test``, in alphabetical order.

    Raises
    ------
    brain2clip.stage.InputError
        When the table is absent, lacks a column, has another split or a concept on both sides, or another number of
        concepts than THINGS.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table of the concepts of THINGS (setting {setting})")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a table ({error}); expected UTF-8 text with a header line") from None
    cells: Table = {str(name): table[name].tolist() for name in table}
    folders, sides = (column(cells, name, path, setting) for name in reversed(CONCEPT_COLUMNS))
    names = [re.sub("^[0-9]{5}_", "", folder) for folder in folders]
    pairs = sorted(set(zip(names, sides)))
    found = dict(pairs)
    wrong = sorted(set(sides) - set(SPLITS))
    if wrong or len(pairs) != len(found) or set(found.values()) != set(SPLITS) or len(found) != CONCEPTS:
        counts = {side: sum(other == side for _, other in pairs) for side in sorted(set(sides))}
        raise InputError(
            f"{path}: {len(found)} concepts, {counts} by column split (setting {setting}); expected the {CONCEPTS} "
            "concepts of THINGS, each either train or test, and some of both"
        )
    return found


# ------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True)
class Events:
    """The events table of a subject, and its checks.

    Attributes
    ----------
    path : Path
        Where it lies.
    subject : str
        Label; subjects differ in columns and rows.
    table : dict of list of str
        Its columns as text.
    record : str
        Record of its download, for messages.
    """

    path: Path
    subject: str
    table: Table
    record: str

    def wrong(self, what: str) -> InputError:
        """A refusal with what to do about it."""
        return InputError(
            f"{self.path}: {what}\n  this is not the table that was published; delete {self.record} and start "
            "snakemake again, so that it is fetched"
        )

    def check_columns(self) -> None:
        """Refuse a table without a column that is needed; only subjects without a test block may lack its two."""
        expected = INCOMPLETE.get(self.subject, COMPLETE)
        for name in (*NEEDED, *(NEEDED_FOR_TEST if expected[1] else ())):
            if name not in self.table:
                raise self.wrong(f"no column {name!r}{suggestion(name, self.table)}; found {', '.join(self.table)}")

    # ---------------------------------------------------------------------------------------- onsets

    def onsets(self) -> np.ndarray:
        """Onsets of all events [n_events], s from the start of the recording.

        The unit is what the median step from row to row says: compared with that of ``time_stimon`` (s), where the
        table has it, else with the known distance of pictures.
        """
        written = self._numbers("onset")
        bad = ~np.isfinite(written) | (written < 0)
        if bad.any():
            raise self.wrong(f"{self._cell('onset', bad)} (and {bad.sum() - 1} more); expected a time")
        if len(written) < 2:
            raise self.wrong(f"{len(written)} events; expected the {sum(COMPLETE)} of a whole recording")
        steps = np.diff(written)
        onsets = written / UNITS[self.unit(float(np.median(steps)))]
        if (steps < 0).any():
            bad = np.append(False, steps < 0)
            before = self.table["onset"][int(bad.argmax()) - 1]
            raise self.wrong(f"{self._cell('onset', bad)}, after {before!r}; expected events in time order")
        if "sample" in self.table:
            self._check_samples(onsets)
        return onsets

    def unit(self, step: float) -> str:
        """Unit of the onsets, by name.

        Parameters
        ----------
        step : float
            Median distance of onsets, as written.

        Raises
        ------
        brain2clip.stage.InputError
            When it is neither of :data:`UNITS`.
        """
        clock = self._clock_step()
        for unit, per_second in UNITS.items():
            soa = step / per_second
            agrees = clock is None or abs(soa - clock) <= RATIO_TOLERANCE * clock
            if agrees and SOA[0] <= soa <= SOA[1]:
                return unit
        beside = "no column time_stimon to compare with" if clock is None else f"time_stimon {clock:.6g} s"
        ratio = "" if not clock else f"; their ratio is {step / clock:.4g}, expected 1 (seconds) or 1000 (milliseconds)"
        raise self.wrong(
            f"onsets are {step:.6g} apart (median), {beside}{ratio}\n  expected one picture every {SOA[0]} to {SOA[1]} "
            "s, with onsets in seconds or milliseconds"
        )

    def _clock_step(self) -> float | None:
        """Median distance of pictures by the stimulus computer's clock, s; None where it is not in the table."""
        if "time_stimon" not in self.table:
            return None
        steps = np.diff(self._numbers("time_stimon"))
        steps = steps[np.isfinite(steps)]
        return float(np.median(steps)) if len(steps) else None

    def _check_samples(self, onsets: np.ndarray) -> None:
        """Refuse onsets that are not where the recording's sample numbers say."""
        apart = onsets * SFREQ - self._numbers("sample")
        bad = ~(np.abs(apart) <= SAMPLE_TOLERANCE + 1e-6)  # NaN is bad, too
        if bad.any():
            row = int(bad.argmax())
            raise self.wrong(
                f"onset and sample disagree in {bad.sum()} of {len(bad)} events: in event {row + 1} onset is "
                f"{self.table['onset'][row]} (understood as {onsets[row]:.6g} s) and sample is "
                f"{self.table['sample'][row]}, at {SFREQ:g} Hz; expected at most {SAMPLE_TOLERANCE:g} samples between"
            )

    # ---------------------------------------------------------------------------------------- labels

    def shown(self) -> pd.DataFrame:
        """What each event shows: ``is_test`` (of the test block), ``concept`` and ``file`` by the path in ``stim``."""
        import pandas as pd

        parts = pd.Series(self.table["stim"], dtype=object).str.extract(_STIM)
        bad = parts["concept"].isna().to_numpy()
        if bad.any():
            raise self.wrong(
                f"{self._cell('stim', bad)} (and {bad.sum() - 1} more); expected paths such as "
                r"stimuli\aardvark\aardvark_01b.jpg"
            )
        is_test = self.flags("isteststim") if "isteststim" in self.table else np.zeros(len(parts), dtype=bool)
        return parts.assign(is_test=is_test)[["is_test", "concept", "file"]]

    def flags(self, name: str) -> np.ndarray:
        """A column of zeros and ones as bool [n_events]."""
        numbers = self._numbers(name)
        bad = ~np.isin(numbers, (0, 1))
        if bad.any():
            raise self.wrong(f"{self._cell(name, bad)} (and {bad.sum() - 1} more); expected 0 or 1")
        return numbers == 1

    def check_concepts(self, shown: pd.DataFrame, known: Iterable[str], source: str) -> None:
        """Refuse concepts that the table ``source`` does not know."""
        lost = sorted(set(shown["concept"]) - set(known))
        if lost:
            count = int(shown["concept"].isin(lost).sum())
            raise self.wrong(
                f"{count} events show {len(lost)} concepts that are not in {source}: {', '.join(lost[:8])}"
                f"{suggestion(lost[0], known)}"
            )

    def check_rows(self, shown: pd.DataFrame, concepts: list[str]) -> None:
        """Refuse other numbers of rows than this subject has, and labels that contradict each other.

        Parameters
        ----------
        shown : pandas.DataFrame
            From :meth:`shown`.
        concepts : list of str
            All concepts in alphabetical order.
        """
        is_test = shown["is_test"].to_numpy(bool)
        found, expected = (int((~is_test).sum()), int(is_test.sum())), INCOMPLETE.get(self.subject, COMPLETE)
        if found != expected:
            raise self.wrong(
                f"{found[0]} main and {found[1]} test rows; expected {expected[0]} and {expected[1]} for "
                f"sub-{self.subject}"
            )
        self.check_main(shown, concepts)
        self.check_test(shown)

    def check_main(self, shown: pd.DataFrame, concepts: list[str]) -> None:
        """Refuse main rows whose object is not that of the picture, and pictures that come twice."""
        main = ~shown["is_test"].to_numpy(bool)
        named = np.array(self.table["object"], dtype=object)
        bad = main & (named != shown["concept"].to_numpy(object))
        if bad.any():
            raise self.wrong(
                f"object and stim disagree in {bad.sum()} of {main.sum()} main rows: {self._cell('object', bad)}, but "
                f"stim is {self._value('stim', bad)!r}"
            )
        places = shown["concept"].map({name: place for place, name in enumerate(concepts)}).to_numpy(float)
        bad = main & (self._numbers("objectnumber") != places)
        if bad.any():
            raise self.wrong(
                f"{self._cell('objectnumber', bad)} (and {bad.sum() - 1} more); expected {places[bad.argmax()]:g}, the "
                f"place of {self._value('object', bad)} in alphabetical order, from 0"
            )
        bad = main & shown.duplicated().to_numpy()
        if bad.any():
            raise self.wrong(
                f"{bad.sum()} main pictures come once more, first {self._cell('stim', bad)}; expected each once"
            )

    def check_test(self, shown: pd.DataFrame) -> None:
        """Refuse a test block in which not every picture has its number and is shown as often as the others."""
        is_test = shown["is_test"].to_numpy(bool)
        if not is_test.any():
            return
        rows = shown[is_test].assign(number=self._numbers("teststimnumber")[is_test])
        counts = rows.groupby(["concept", "file", "number"], dropna=False).size()
        numbers = np.sort(counts.index.get_level_values("number").to_numpy(float))
        pictures = counts.groupby(["concept", "file"]).size()
        if len(pictures) != TEST_PICTURES or not np.array_equal(numbers, np.arange(TEST_PICTURES)):
            raise self.wrong(
                f"{len(pictures)} pictures with {len(counts)} pairs of picture and teststimnumber in the test block; "
                f"expected {TEST_PICTURES}, numbered from 0"
            )
        if not (counts == TEST_REPETITIONS).all():
            concept, file, _ = counts.index[int((counts != TEST_REPETITIONS).to_numpy().argmax())]
            raise self.wrong(
                f"test picture {concept}/{file} is shown {counts[counts != TEST_REPETITIONS].iloc[0]} times; expected "
                f"{TEST_REPETITIONS}"
            )

    def _numbers(self, name: str) -> np.ndarray:
        """A column as numbers [n_events], NaN where it holds none."""
        import pandas as pd

        return pd.to_numeric(pd.Series(self.table[name], dtype=object), errors="coerce").to_numpy(float)

    def _cell(self, name: str, bad: np.ndarray) -> str:
        return f"{name} of event {int(bad.argmax()) + 1} is {self._value(name, bad)!r}"

    def _value(self, name: str, bad: np.ndarray) -> str:
        """Text of the first bad row."""
        return self.table[name][int(bad.argmax())]
