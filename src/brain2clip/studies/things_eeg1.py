r"""THINGS-EEG1 (Grootswagers, Zhou, Robinson, Hebart, Carlson 2022) as its BIDS version, OpenNeuro ds003825, has it.

50 subjects, one recording each at 1000 Hz. All 1854 concepts of THINGS are shown with 12 pictures each, every picture
once, in rapid streams: one picture every 0.1 s, so that an epoch of 0.7 s overlaps with the next six. A test block
follows: 200 other pictures, 12 times each. Details that the tables do not show:

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
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip import settings as schema
from brain2clip.names import SPLITS, suggestion
from brain2clip.readers import bids_files, labels, things
from brain2clip.readers.bids_files import Table, column
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.readers.downloaded import DownloadedStudy, PublishedTable
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")

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


class Study(DownloadedStudy, EegStudy):
    """THINGS-EEG1.

    Candidates are the pictures, where the user has them (setting ``pictures``), else a text prompt for each concept:
    then a stimulus is a concept, and the presentations of its 12 pictures count as repetitions.
    """

    Settings = schema.ThingsEeg1Study
    block: schema.ThingsEeg1Study
    dataset = "things-eeg1"
    description = "README"
    licence = "recordings: CC0; pictures: of the THINGS database, for research only, not to be passed on"
    citation = (
        "Grootswagers, Zhou, Robinson, Hebart, Carlson (2022). Human EEG recordings for 1,854 concepts presented in "
        "rapid serial visual presentation streams. Scientific Data 9, 3, doi:10.1038/s41597-021-01102-7; BIDS version: "
        "OpenNeuro ds003825; pictures: Hebart et al. (2019). THINGS. PLOS ONE 14, e0223792"
    )

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self._shown_to = cache(self._read_shown)

    @property
    def split_from_events(self) -> bool:  # type: ignore[override]
        """Whether the stimulus table is read from the events: for pictures, and for the concepts of the test block."""
        return self.block.pictures is not None or self.block.test == "block"

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted; ``all`` are those that the authors do not exclude."""
        wanted = self.wanted("subjects", self._listed)
        if self.block.subjects == "all":
            return tuple(subject for subject in wanted if subject not in EXCLUDED)
        for subject in wanted:
            self._check_test_block(subject)
        return wanted

    def stimulus_files(self) -> list[str]:
        """The table of concepts, and the records of all wanted subjects where their events make the stimulus table.

        The pictures themselves are not listed (there are 22,248): :meth:`stimulus_table` checks that they exist.
        """
        files = [self.block.test_concepts]
        if self.split_from_events:
            files += [path for subject in self.subjects() for path in self.files(subject)]
        return files

    def label_files(self) -> list[str]:
        """The table of concepts; which pictures there are is in a subject's own events."""
        return [self.block.test_concepts]

    def recordings(self, subject: str) -> list[Recording]:
        """The one recording of a subject; from the manifest, whether downloaded or not."""
        labels.check(self.name, subject, self._listed)  # any of them: not all stages are told the wanted subjects
        return [self._listed[subject]]

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split where targets are kept; else None, because their number differs from subject to subject."""
        if self.block.targets == "drop" or INCOMPLETE.get(subject, COMPLETE)[0] != COMPLETE[0]:
            return None
        of_test = len(self._test_concepts(self._shown_to(subject))) * PER_CONCEPT
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
        return things.with_prompts(table)

    def known_stimuli(self) -> pd.DataFrame | None:
        """Concepts and their sides; those of the test block, and which pictures there are, only the events tell."""
        return None if self.block.test == "block" else self._concept_rows()

    def _concept_rows(self) -> pd.DataFrame:
        import pandas as pd

        names = list(self.concepts)
        # Where the table of concepts tells the test, no events are read.
        of_test = self._test_concepts(self._all_shown if self.block.test == "block" else None)
        sides = ["test" if concept in of_test else "train" for concept in names]
        return pd.DataFrame({"stimulus_id": names, "split": sides, "concept": names, "image": ""})

    def _picture_rows(self, folder: str) -> pd.DataFrame:
        table = self._pictures.reset_index(drop=True)
        pictures = zip(table["concept"], table["file"])
        return table.assign(image=things.picture_files(folder, pictures, self.setting("pictures")))

    @cached_property
    def concepts(self) -> dict[str, str]:
        """All concepts in alphabetical order, each with its split in the table of concepts (:func:`read_concepts`)."""
        return read_concepts(Path(self.block.test_concepts), f"studies.{self.name}.test_concepts")

    def _test_concepts(self, shown: pd.DataFrame | None) -> frozenset[str]:
        """Concepts of which training sees nothing; for ``test: block`` those of the test block in what was shown."""
        if self.block.test == "concepts":
            return frozenset(concept for concept, split in self.concepts.items() if split == "test")
        assert shown is not None
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
                "folder and one side of the split for each name of a picture; check which table is not the published "
                "one"
            )
        return table.set_index("stimulus_id", drop=False).sort_index()

    @cached_property
    def _all_shown(self) -> pd.DataFrame:
        """``is_test``, ``concept``, ``file``: what the events of all wanted subjects name, each once."""
        import pandas as pd

        found = pd.DataFrame({"is_test": pd.Series(dtype=bool), "concept": [], "file": []})
        for subject in self.subjects():
            found = pd.concat([found, self._shown_to(subject)]).drop_duplicates()
        return found.reset_index(drop=True)

    def _read_shown(self, subject: str) -> pd.DataFrame:
        """What the events of a subject name."""
        (recording,) = self.recordings(subject)
        return self._events(recording).shown()

    def _sides(self, shown: pd.DataFrame) -> np.ndarray:
        """``train``, ``test`` or nothing (no trial) for each row."""
        is_test = shown["is_test"].to_numpy(bool)
        of_test = shown["concept"].isin(self._test_concepts(shown)).to_numpy(bool)
        if self.block.test == "block":
            return np.select([is_test, ~of_test], ["test", "train"], "").astype(object)
        return np.select([is_test, of_test], ["", "test"], "train").astype(object)

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order; what they show is read from ``stim``.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (id), ``concept``, ``split``.

        Raises
        ------
        brain2clip.stage.InputError
            When a file is absent or not as it was downloaded, a column is absent, the unit of the
            onsets is neither seconds nor milliseconds or disagrees with ``sample``, the numbers of rows are not those
            of this subject, or a picture is unknown, not of the object beside it, or shown another number of times.
        """
        import pandas as pd

        self._check_test_block(recording.subject)
        self.check_recording(recording)
        events = self._events(recording)
        onsets, shown = events.onsets(), events.shown()
        events.check_rows(shown, list(self.concepts))
        sides = self._sides(shown)
        kept = sides != ""
        if self.block.targets == "drop":
            kept &= ~events.flags("istarget")
        stimulus = shown["concept"] if self.block.pictures is None else _stems(shown["file"])
        columns = {"onset": onsets, "stimulus": stimulus, "concept": shown["concept"], "split": sides}
        trials = pd.DataFrame(columns)[kept]
        if recording.subject in LARGE_CAPS:
            log.warning(
                "%s: a cap of 128 channels, other subjects have 63; a model of both (leave-one-subject-out) needs "
                "studies.%s.responses.channels with names that all caps have",
                *(recording.name, self.name),
            )
        return trials.sort_values("onset", kind="stable", ignore_index=True)

    def _events(self, recording: Recording) -> Events:
        """The events table of a recording, with the columns that it must have."""
        self.check_there(recording.events)
        events = Events(
            path=recording.events,
            subject=recording.subject,
            table=bids_files.read_tsv(recording.events),
            record=self.files(recording.subject)[0],
        )
        events.check_columns()
        events.check_concepts(events.shown(), self.concepts, self.block.test_concepts)
        return events

    def _check_test_block(self, subject: str) -> None:
        if self.block.test == "block" and not INCOMPLETE.get(subject, COMPLETE)[1]:
            raise InputError(
                f"studies.{self.name}: sub-{subject} has no test block, which test: block needs\n  remove the "
                f"subject from studies.{self.name}.subjects (subjects: all leaves it out), or set test: concepts"
            )

    # ---------------------------------------------------------------------------------------- manifest

    @cached_property
    def _listed(self) -> dict[str, Recording]:
        """Recordings of the manifest by subject."""
        found = {}
        for path in self.entries:
            if match := _RECORDING.fullmatch(path):
                signal = self.root / path
                events = bids_files.sibling(signal, "events.tsv")
                found[match["subject"]] = Recording(
                    match["subject"], match["task"], None, None, self.root, signal, events
                )
        return found

    def subject_units(self, subject: str) -> list[str]:
        """The unit of a subject's recording and events."""
        (recording,) = self.recordings(subject)
        return [self.unit(self.relative(recording.path))]


def _stems(files: pd.Series) -> pd.Series:
    return files.str.removesuffix(".jpg")


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
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table of the concepts of THINGS (setting {setting})")
    table = things.read_table(path, ",")
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
class Events(PublishedTable):
    """The events table of a subject, and its checks.

    Attributes
    ----------
    subject : str
        Label; subjects differ in columns and rows.
    """

    subject: str

    def check_columns(self) -> None:
        """Refuse a table without a column that is needed; only subjects without a test block may lack its two."""
        expected = INCOMPLETE.get(self.subject, COMPLETE)
        self.require((*NEEDED, *(NEEDED_FOR_TEST if expected[1] else ())))

    # ---------------------------------------------------------------------------------------- onsets

    def onsets(self) -> np.ndarray:
        """Onsets of all events [n_events], s from the start of the recording.

        The unit is what the median step from row to row says: compared with that of ``time_stimon`` (s), where the
        table has it, else with the known distance of pictures.
        """
        written = self.numbers("onset")
        bad = ~np.isfinite(written) | (written < 0)
        if bad.any():
            raise self.wrong(f"{self.cell('onset', bad)} (and {bad.sum() - 1} more); expected a time")
        if len(written) < 2:
            raise self.wrong(f"{len(written)} events; expected {sum(COMPLETE)}, a complete recording")
        steps = np.diff(written)
        onsets = written / UNITS[self.unit(float(np.median(steps)))]
        if (steps < 0).any():
            bad = np.append(False, steps < 0)
            before = self.table["onset"][int(bad.argmax()) - 1]
            raise self.wrong(f"{self.cell('onset', bad)}, after {before!r}; expected events in time order")
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
        steps = np.diff(self.numbers("time_stimon"))
        steps = steps[np.isfinite(steps)]
        return float(np.median(steps)) if len(steps) else None

    def _check_samples(self, onsets: np.ndarray) -> None:
        """Refuse onsets that are not where the recording's sample numbers say."""
        apart = onsets * SFREQ - self.numbers("sample")
        bad = ~(np.abs(apart) <= SAMPLE_TOLERANCE + 1e-6)  # NaN is bad, too
        if bad.any():
            row = int(bad.argmax())
            raise self.wrong(
                f"onset and sample disagree in {bad.sum()} of {len(bad)} events: in event {row + 1} onset is "
                f"{self.table['onset'][row]} (understood as {onsets[row]:.6g} s) and sample is "
                f"{self.table['sample'][row]}, at {SFREQ:g} Hz; expected a difference of at most "
                f"{SAMPLE_TOLERANCE:g} samples"
            )

    # ---------------------------------------------------------------------------------------- labels

    def shown(self) -> pd.DataFrame:
        """What each event shows: ``is_test`` (of the test block), ``concept`` and ``file`` by the path in ``stim``."""
        import pandas as pd

        parts = pd.Series(self.table["stim"], dtype=object).str.extract(_STIM)
        bad = parts["concept"].isna().to_numpy()
        if bad.any():
            raise self.wrong(
                f"{self.cell('stim', bad)} (and {bad.sum() - 1} more); expected paths such as "
                r"stimuli\aardvark\aardvark_01b.jpg"
            )
        is_test = self.flags("isteststim") if "isteststim" in self.table else np.zeros(len(parts), dtype=bool)
        return parts.assign(is_test=is_test)[["is_test", "concept", "file"]]

    def flags(self, name: str) -> np.ndarray:
        """A column of zeros and ones as bool [n_events]."""
        numbers = self.numbers(name)
        bad = ~np.isin(numbers, (0, 1))
        if bad.any():
            raise self.wrong(f"{self.cell(name, bad)} (and {bad.sum() - 1} more); expected 0 or 1")
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
                f"object and stim disagree in {bad.sum()} of {main.sum()} main rows: {self.cell('object', bad)}, but "
                f"stim is {self.value('stim', bad)!r}"
            )
        places = shown["concept"].map({name: place for place, name in enumerate(concepts)}).to_numpy(float)
        bad = main & (self.numbers("objectnumber") != places)
        if bad.any():
            raise self.wrong(
                f"{self.cell('objectnumber', bad)} (and {bad.sum() - 1} more); expected {places[bad.argmax()]:g}, "
                f"the position of {self.value('object', bad)} in alphabetical order, from 0"
            )
        bad = main & shown.duplicated().to_numpy()
        if bad.any():
            raise self.wrong(
                f"{bad.sum()} main pictures occur again, first {self.cell('stim', bad)}; expected each once"
            )

    def check_test(self, shown: pd.DataFrame) -> None:
        """Refuse a test block in which not every picture has its number and is shown as often as the others."""
        is_test = shown["is_test"].to_numpy(bool)
        if not is_test.any():
            return
        rows = shown[is_test].assign(number=self.numbers("teststimnumber")[is_test])
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
