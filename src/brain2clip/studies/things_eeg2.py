"""THINGS-EEG2 (Gifford et al. 2022) as its BIDS version, NEMAR nm000232 v1.0.1, has it.

10 subjects, 4 recording sessions each, 63 electrodes at 1000 Hz. A session has 5 training runs and a test run (and rest
runs, which are not read). Pictures come every 0.2 s, so that epochs of a second overlap. Details that the tables do not
show:

- The label of an event is ``tot_img_number`` (from 1 within the task). The trigger ``value`` is none: in training it
  goes round from 1 to 99, so that up to 1111 pictures share a code; only in the test it equals the number.
- Presentations are not even. A training session shows 8270 of the 16,540 pictures, most twice, about 170 three or four
  times; a test session shows 144 of the 200 pictures 20 times and 56 of them 21 times
  (:class:`brain2clip.settings.Repetitions` says what happens to the surplus).
- Targets (catch trials) stand between the pictures and show none: 18 in a training run, 24 in the test run.
- ``channels.tsv``, ``electrodes.tsv`` and ``scans.tsv`` begin with a byte order mark.
- ``eeg.json`` says that FCz was the online reference, but FCz is one of the 63 channels.
- The online high-pass is 0.01 Hz in ``eeg.json`` and 0.1 Hz in ``channels.tsv``.
- The README of the dataset counts about 32,540 training trials per subject; the tables hold 66,840.
- sub-04 has no second rest run in session 04.
- The pictures are not named in the tables. Training picture e is file (e - 1) % 10 of folder (e - 1) // 10 + 1 in
  alphabetical order; test picture e is the file in folder e. Concepts of training and test are disjoint.

Downloads go to ``results/raw/things-eeg2``, by the name of the dataset: studies with other settings share them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip import settings as schema
from brain2clip.names import SPLITS, suggestion
from brain2clip.readers import bids_files, file_records, labels, manifests, things
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.readers.downloaded import DownloadedStudy, PublishedTable
from brain2clip.readers.things_index import FOLDERS, TABLE_COLUMNS, read_index, stimulus_rows
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Events of a run by task, the same in all 240 runs.
EVENTS = {"train": {"image": 3342, "target": 18}, "test": {"image": 4056, "target": 24}}
#: Sampling rate of the recordings, Hz.
SFREQ = 1000.0
#: Largest difference between ``onset`` and ``sample``, s: onsets are rounded to 1 ms, so half of that.
TOLERANCE_S = 0.0006
#: Where events are further apart than this in the median, onsets are no seconds (in the data: 0.2 s).
LONGEST_STEP_S = 10.0

NEEDED = ("onset", "trial_type", "tot_img_number", "img_category", "category_name")
_RECORDING = re.compile(
    r"sub-(?P<subject>\w+)/ses-(?P<session>\w+)/eeg/"
    r"sub-(?P=subject)_ses-(?P=session)_task-(?P<task>train|test)(_run-(?P<run>\w+))?_eeg\.bdf"
)
_ARCHIVE = re.compile(r"derivatives/preprocessed_eeg/sub-(\w+)\.zip")


class Study(DownloadedStudy, EegStudy):
    """THINGS-EEG2."""

    Settings = schema.ThingsEeg2Study
    block: schema.ThingsEeg2Study
    dataset = "things-eeg2"
    description = "dataset_description.json"
    licence = "recordings: CC BY 4.0; pictures: of the THINGS database, for research only, not to be passed on"
    citation = (
        "Gifford, Dwivedi, Roig, Cichy (2022). A large and rich EEG dataset for modeling human visual object "
        "recognition. NeuroImage 264, 119754, doi:10.1016/j.neuroimage.2022.119754; BIDS version: NEMAR nm000232 "
        "v1.0.1, doi:10.82901/nemar.nm000232; pictures: Hebart et al. (2019). THINGS. PLOS ONE 14, e0223792"
    )

    # --------------------------------------------------------------------------------------- downloads

    def shared_units(self) -> list[str]:
        """The files on top of the dataset, and the pictures with their licence."""
        return [*super().shared_units(), *self._picture_units()]

    def archive_files(self) -> list[str]:
        """Records of the picture archives and of their licence (inputs of the rule that unpacks them)."""
        for split in SPLITS:
            self.unit(f"stimuli/{FOLDERS[split]}.zip")
        return [self.record(unit) for unit in self._picture_units()]

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        if self.block.source == "preprocessed":
            known = {match[1] for path in self.entries if (match := _ARCHIVE.fullmatch(path))}
        else:
            known = {recording.subject for recording in self._listed.values()}
        return self.wanted("subjects", known)

    def stimulus_files(self) -> list[str]:
        """The table that stage ``images`` writes when all pictures are unpacked."""
        return [str(self._stimuli)]

    def label_files(self) -> list[str]:
        """The index of the pictures, so that responses need not wait for the pictures themselves."""
        return [self.block.images]

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run; from the manifest, whether downloaded or not."""
        labels.check(self.name, subject, self.subjects())
        found = []
        for session in self._sessions:
            for task, run in (("test", None), *(("train", run) for run in self._runs)):
                if (subject, session, task, run) not in self._listed:
                    what = f"ses-{session}_task-{task}" + (f"_run-{run}" if run else "")
                    raise InputError(
                        f"{self.block.manifest}: lists no recording sub-{subject}_{what}, which studies.{self.name} "
                        "needs (settings sessions, runs); expected a .bdf; complete the manifest, or set other labels"
                    )
                found.append(self._listed[subject, session, task, run])
        return found

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Picture trials per split, surplus included; None for the authors' epochs, which hold averages or a choice."""
        if self.block.source == "preprocessed":
            return None
        sessions = len(self._sessions)
        return {
            "train": EVENTS["train"]["image"] * len(self._runs) * sessions,
            "test": EVENTS["test"]["image"] * sessions,
        }

    # ----------------------------------------------------------------------------------------- stimuli

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index of the pictures (:func:`read_index`), checked once."""
        return read_index(Path(self.block.images))

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures by number, then test pictures.

        Image paths are those of the unpacked pictures; before they are unpacked, those that the index gives.
        """
        index = self.index
        table = stimulus_rows(index)
        table["image"] = self._unpacked(table) if self._stimuli.is_file() else table["image"]
        table["image"] = [str(self._stimuli.parent / path) for path in table["image"]]
        return things.with_prompts(table)

    def known_stimuli(self) -> pd.DataFrame:
        """Ids, sides, concepts and names of the pictures, all from the index."""
        return stimulus_rows(self.index)

    def _unpacked(self, table: pd.DataFrame) -> pd.Series:
        """Paths in the table of the unpacked pictures, which must have the rows of the index."""
        file_records.check_own(self._stimuli)
        found = things.read_table(self._stimuli, "\t")
        keys = [name for name in TABLE_COLUMNS if name != "image"]
        if not set(TABLE_COLUMNS) <= set(found) or not found[keys].equals(table[keys]):
            raise InputError(
                f"{self._stimuli}: {len(found)} pictures, unpacked with another index than {self.block.images} "
                f"({len(table)} pictures; setting studies.{self.name}.images)\n"
                "  expected the same pictures in the same order; delete the table and start snakemake again, and give "
                f"all studies of {self.dataset} the same index"
            )
        return found["image"]

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Picture trials of a recording in time order; what they show is read from ``tot_img_number``.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (id), ``concept``, ``split`` (the task).

        Raises
        ------
        brain2clip.stage.InputError
            When a file is absent or not as it was downloaded, a column is absent, the numbers of
            pictures and targets are not those of every run, onsets are no increasing seconds or differ from
            ``sample``, or a label is out of range or not of the concept that stands beside it.
        """
        import pandas as pd

        self.check_recording(recording)
        events = Events(
            path=recording.events,
            task=recording.task,
            table=bids_files.read_tsv(recording.events),
            record=self.record(manifests.unit_of(self.relative(recording.events))),
        )
        events.require(NEEDED)
        shown = events.shown()
        onsets = events.onsets()[shown]
        named = stimulus_rows(self.index).iloc[self._rows(events, shown)]
        stimulus, concept = (named[name].to_numpy(object) for name in ("stimulus_id", "concept"))
        return pd.DataFrame({"onset": onsets, "stimulus": stimulus, "concept": concept, "split": recording.task})

    def _rows(self, events: Events, shown: np.ndarray) -> np.ndarray:
        """Rows of the index [n_trials], checked against the concepts that the events name."""
        rows = (self.index["split"] == events.task).to_numpy().nonzero()[0]
        numbers = events.picture_numbers(shown, len(rows), self.block.images)
        stimulus = rows[numbers - 1]
        events.check_concepts(shown, numbers, self.index["folder"].to_numpy()[stimulus], self.block.images)
        return stimulus

    # ---------------------------------------------------------------------------------------- manifest

    @property
    def _stimuli(self) -> Path:
        return self.root / "stimuli" / "stimuli.tsv"

    @cached_property
    def _listed(self) -> dict[tuple[str, str, str, str | None], Recording]:
        """Training and test recordings of the manifest by subject, session, task, run."""
        found = {}
        for path in self.entries:
            if match := _RECORDING.fullmatch(path):
                key = (match["subject"], match["session"], match["task"], match["run"])
                subject, session, task, run = key
                signal = self.root / path
                events = bids_files.sibling(signal, "events.tsv")
                found[key] = Recording(subject, task, session, run, self.root, signal, events)
        return found

    @cached_property
    def _sessions(self) -> tuple[str, ...]:
        return self.wanted("sessions", {recording.session or "" for recording in self._listed.values()})

    @cached_property
    def _runs(self) -> tuple[str, ...]:
        """Training runs of each session."""
        return self.wanted("runs", {one.run for one in self._listed.values() if one.task == "train" and one.run})

    def _check_whole(self) -> None:
        for setting in ("sessions", "runs"):
            if getattr(self.block, setting) != "all":
                raise InputError(
                    f"studies.{self.name}.{setting}: the authors' epochs (source: preprocessed) combine all sessions "
                    f"and runs; leave {setting} out, or take source: raw"
                )

    def subject_units(self, subject: str) -> list[str]:
        """One unit per recording and session, or one of the authors' epochs."""
        labels.check(self.name, subject, self.subjects())
        if self.block.source == "preprocessed":
            self._check_whole()
            return [self.unit(f"derivatives/preprocessed_eeg/sub-{subject}.zip")]
        sessions = [f"sub-{subject}_ses-{session}" for session in self._sessions]
        recordings = [manifests.unit_of(self.relative(one.path)) for one in self.recordings(subject)]
        return [unit for unit in sessions if unit in self.units] + recordings

    def _picture_units(self) -> list[str]:
        """Archives of pictures and their licence, as far as listed: responses can do without."""
        paths = [*(f"stimuli/{FOLDERS[split]}.zip" for split in SPLITS), "stimuli/LICENSE.txt"]
        return [manifests.unit_of(path) for path in paths if path in self.entries]


# ----------------------------------------------------------------------------------------------- events


@dataclass(frozen=True)
class Events(PublishedTable):
    """An events table of a training or test run, and its checks.

    Attributes
    ----------
    task : str
        ``train`` or ``test``.
    """

    task: str

    def shown(self) -> np.ndarray:
        """Which events show a picture [n_events]; refuses other events and other numbers of them than in every run."""
        types = np.array(self.table["trial_type"], dtype=str)
        names, counts = np.unique(types, return_counts=True)
        found, expected = dict(zip(names.tolist(), counts.tolist())), EVENTS[self.task]
        unknown = sorted(set(found) - set(expected))
        if unknown:
            raise self.wrong(
                f"trial_type {', '.join(map(repr, unknown))}{suggestion(unknown[0], expected)} in "
                f"{sum(found[name] for name in unknown)} of {len(types)} events; expected image or target"
            )
        if found != expected:
            raise self.wrong(
                f"{found.get('image', 0)} image and {found.get('target', 0)} target events; expected "
                f"{expected['image']} and {expected['target']} in a {self.task} run"
            )
        return types == "image"

    def onsets(self) -> np.ndarray:
        """Onsets of all events [n_events], s from the start of the recording."""
        onsets = self.numbers("onset")
        bad = ~np.isfinite(onsets) | (onsets < 0)
        if bad.any():
            raise self.wrong(f"{self.cell('onset', bad)}; expected seconds from the start of the recording")
        steps = np.diff(onsets)
        if (steps <= 0).any():
            bad = np.append(False, steps <= 0)
            before = self.table["onset"][int(bad.argmax()) - 1]
            raise self.wrong(f"{self.cell('onset', bad)}, after {before!r}; expected increasing onsets")
        if np.median(steps) > LONGEST_STEP_S:
            raise self.wrong(
                f"onsets are {np.median(steps):g} apart (median), so they are in milliseconds or samples; expected "
                "seconds (0.2 s from picture to picture)"
            )
        if "sample" in self.table:
            self._check_samples(onsets)
        return onsets

    def _check_samples(self, onsets: np.ndarray) -> None:
        """Refuse onsets that are not where the recording's sample numbers say."""
        apart = onsets - self.numbers("sample") / SFREQ
        bad = ~(np.abs(apart) <= TOLERANCE_S + 1e-9)  # NaN is bad, too
        if bad.any():
            row = int(bad.argmax())
            raise self.wrong(
                f"onset and sample disagree in {bad.sum()} of {len(bad)} events: in event {row + 1} onset is "
                f"{self.table['onset'][row]} s and sample is {self.table['sample'][row]}, at {SFREQ:g} Hz; expected a "
                f"difference of at most {TOLERANCE_S} s"
            )

    def picture_numbers(self, shown: np.ndarray, count: int, index: str) -> np.ndarray:
        """Numbers of the pictures shown [n_trials], from 1 to ``count``."""
        numbers = self.numbers("tot_img_number")
        whole = np.isfinite(numbers) & (numbers == np.round(numbers))
        bad = shown & ~(whole & (numbers >= 1) & (numbers <= count))
        if bad.any():
            raise self.wrong(
                f"{self.cell('tot_img_number', bad)} (and {bad.sum() - 1} more); expected numbers from 1 to {count}, "
                f"the {self.task} pictures of {index}"
            )
        return numbers[shown].astype(int)

    def check_concepts(self, shown: np.ndarray, numbers: np.ndarray, folders: np.ndarray, index: str) -> None:
        """Refuse labels whose concept by the index is not the one that the event names.

        Parameters
        ----------
        shown : ndarray of bool [n_events]
            Which events show a picture.
        numbers : ndarray [n_trials]
            Their labels.
        folders : ndarray of str [n_trials]
            Concept folder of each label by the index.
        index : str
            Path of the index, for the message.
        """
        named = np.array(self.table["category_name"], dtype=object)[shown]
        wrong = named != folders
        if wrong.any():
            first = int(wrong.argmax())
            raise self.wrong(
                f"labels and concepts disagree in {wrong.sum()} of {len(wrong)} trials: in event "
                f"{shown.nonzero()[0][first] + 1} tot_img_number {numbers[first]} is {folders[first]} by {index}, but "
                f"category_name is {named[first]!r}{self._trigger_hint(shown, numbers)}"
            )
        categories = self.numbers("img_category")
        bad = np.zeros(len(shown), dtype=bool)
        bad[shown] = categories[shown] != np.array([int(folder[:5]) for folder in folders])
        if bad.any():
            row = int(bad.argmax())
            raise self.wrong(
                f"{self.cell('img_category', bad)} (and {bad.sum() - 1} more), but category_name is "
                f"{self.table['category_name'][row]!r}; expected the number in that name"
            )

    def _trigger_hint(self, shown: np.ndarray, numbers: np.ndarray) -> str:
        if self.task == "train" and "value" in self.table and (self.numbers("value")[shown] == numbers).all():
            return "; tot_img_number repeats the column value, a trigger that cycles from 1 to 99 and is not a label"
        return ""
