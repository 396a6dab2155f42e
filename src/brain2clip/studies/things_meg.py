"""THINGS-MEG (Hebart et al. 2023) in its BIDS version, OpenNeuro ds004212.

4 subjects, 12 recording sessions of 10 runs each: CTF, 1200 Hz, 272 sensors. Each session shows one picture of each of
the 1,854 concepts of THINGS and 200 further pictures, the same in every session, with catch trials between them. What
is not obvious from the tables:

- Numbers are written as floats (``24812.0``), and a missing value is ``N/A``, not the ``n/a`` of BIDS. ``value`` is the
  picture: its place in the alphabetical list of the 26,107 pictures of THINGS, from 1. No table of the dataset has the
  names of the files; they are in ``workflow/manifests/things-meg-images.csv``. ``things_category_nr`` is the place of
  the concept, which is checked against the picture.
- The 200 repeated pictures show concepts of training pictures: retrieval is zero-shot only without the 12 training
  pictures of each of these concepts (setting ``keep_test_concepts``). The 200 pictures are the test pictures of
  THINGS-EEG1. 178 of the 200 test pictures of THINGS-EEG2 are shown here once, 155 of them as training pictures. All
  training pictures of THINGS-EEG2 are training pictures here, too.
- Since version 2.0.0 onsets are those of the optical sensor on the projector; ``sample`` is onset x 1200, counted from
  0.
  The trigger channel ``UPPT001`` (64 at a picture, 32 at the end) is another clock (setting ``onset``).
- ``channels.tsv`` gives the sensors the type ``OTHER``, so types come from the recording. It marks MRO11-1609 as good,
  but
  the authors leave this sensor out. The table is missing in sub-BIGMEG4 ses-02, and some other sidecars are missing,
  too.
- All sensors drop out for 0.2 s in two runs (:data:`DROPOUTS`).
- Pictures come every 1.25 to 1.7 s: epochs of 1.4 s overlap a little with the next.

Downloads go to ``results/raw/things-meg``, so studies with other settings share them. A
manifest may list FIF files (``…_meg.fif``) in place of the folders of CTF.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip import settings as schema
from brain2clip.names import NO_LABEL, suggestion
from brain2clip.readers import bids_files, labels, manifests, things, things_meg_index, triggers
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.readers.downloaded import DownloadedStudy, PublishedTable
from brain2clip.readers.things_meg_index import CONCEPTS, PER_CONCEPT, TEST_PICTURES
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("brain2clip")

#: Sampling rate of the recordings, Hz, and largest difference between ``onset`` and ``sample``, samples.
SFREQ, SAMPLE_TOLERANCE = 1200.0, 0.1
#: Number of events of a run by kind, as in all 480 runs.
EVENTS = {"exp": (185, 186), "test": (20,), "catch": (20,)}
#: Sessions, and runs of each.
SESSIONS, RUNS = 12, 10
#: Texts of missing values.
MISSING = ("N/A", "n/a")
#: Trigger channel, and its value at a picture.
TRIGGER, PULSE = "UPPT001", 64
#: Largest distance of a trigger from its event, s (pictures are at least 1.25 s apart), and from the median distance.
TRIGGER_S, JITTER_S = 0.3, 0.05
#: How recordings are read: sensors are axial gradiometers of CTF, which are ``mag`` for MNE, by the file's own types.
READ: dict[str, Any] = {"datatype": "meg", "picks": ("mag",), "types_from": "file"}
#: Where all sensors drop out: session and run of a subject to start and length, s.
DROPOUTS: dict[tuple[str, str, str], tuple[tuple[float, float], ...]] = {
    ("BIGMEG1", "11", "05"): ((13.4, 0.2),),
    ("BIGMEG2", "10", "03"): ((59.8, 0.2),),
}
#: Event id of a catch trial in the authors' epochs, and how many there are.
CATCH, CATCHES = 999999, 2400
#: Number of a subject in the names of the authors' epochs.
NUMBERS = {f"BIGMEG{number}": number for number in range(1, 5)}

NEEDED = ("onset", "duration", "trial_type", "things_category_nr", "value", "sample")
_RECORDING = re.compile(
    r"sub-(?P<subject>\w+)/ses-(?P<session>\w+)/meg/"
    r"(?P<base>sub-(?P=subject)_ses-(?P=session)_task-main_run-(?P<run>\w+))_meg(\.ds/(?P=base)_meg\.meg4|\.fif)"
)
_EPOCHS = re.compile(r"derivatives/preprocessed/preprocessed_P(?P<number>[0-9]+)-epo(-[0-9]+)?\.fif")
_WHOLE = r"[0-9]+(\.0*)?"


class Study(DownloadedStudy, EegStudy):
    """THINGS-MEG.

    Candidates are the pictures if the user has them (setting ``pictures``), else a text prompt for each picture: the
    test pictures show 200 different concepts.
    """

    Settings = schema.ThingsMegStudy
    block: schema.ThingsMegStudy
    dataset = "things-meg"
    licence = "recordings: CC0; pictures: of the THINGS database, for research only, not to be passed on"
    citation = (
        "Hebart, Contier, Teichmann, et al. (2023). THINGS-data, a multimodal collection of large-scale datasets for "
        "investigating object representations in human brain and behavior. eLife 12, e82580, doi:10.7554/eLife.82580; "
        "BIDS version: OpenNeuro ds004212; pictures: Hebart et al. (2019). THINGS. PLOS ONE 14, e0223792"
    )

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.zero_shot = not self.block.keep_test_concepts
        self._events = cache(self._read_events)
        self._check_shown = cache(self._check_subject)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        if self.block.source == "preprocessed":
            return self.wanted("subjects", NUMBERS)
        return self.wanted("subjects", {recording.subject for recording in self._listed.values()})

    def stimulus_files(self) -> list[str]:
        """The index of the pictures; the pictures themselves are not listed, :meth:`stimulus_table` checks them."""
        return [self.block.images]

    def label_files(self) -> list[str]:
        """The index of the pictures."""
        return [self.block.images]

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session and run; from the manifest, whether downloaded or not."""
        labels.check(self.name, subject, self.subjects())
        found = []
        for session in self._sessions:
            for run in self._runs:
                if (subject, session, run) not in self._listed:
                    raise InputError(
                        f"{self.block.manifest}: recording sub-{subject}_ses-{session}_task-main_run-{run} is not "
                        f"listed, but studies.{self.name} reads it (settings sessions, runs); expected its .meg4 or "
                        ".fif: complete the manifest, or name other labels"
                    )
                found.append(self._listed[subject, session, run])
        return found

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split of whole sessions; None for single runs, whose numbers of training pictures differ."""
        if self.block.source == "raw" and len(self._runs) != RUNS:
            return None
        sessions = SESSIONS if self.block.source == "preprocessed" else len(self._sessions)
        concepts = CONCEPTS if self.block.keep_test_concepts else CONCEPTS - TEST_PICTURES
        return {"train": concepts * sessions, "test": TEST_PICTURES * sessions}

    # ----------------------------------------------------------------------------------------- stimuli

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index of the pictures (:func:`brain2clip.readers.things_meg_index.read_index`) with their ``split``.

        ``split`` is empty for training pictures of test concepts, unless these are kept.
        """
        index = things_meg_index.read_index(Path(self.block.images), self.setting("images"))
        is_test = (index["trial_type"] == "test").to_numpy(bool)
        left_out = index["concept"].isin(index.loc[is_test, "concept"]).to_numpy(bool) & (not self._keeps)
        return index.assign(split=np.select([is_test, left_out], ["test", ""], "train").astype(object))

    @property
    def _keeps(self) -> bool:
        return self.block.keep_test_concepts

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture that is training or test, in the order of their numbers.

        Raises
        ------
        brain2clip.stage.InputError
            If the index is wrong, or a picture is missing.
        """
        table = self.index[self.index["split"] != ""].reset_index(drop=True).assign(image="")
        if self.block.pictures is not None:
            named = zip(table["concept"], table["file"])
            table["image"] = things.picture_files(self.block.pictures, named, self.setting("pictures"))
        return things.with_prompts(table)

    def known_stimuli(self) -> pd.DataFrame:
        """Ids, sides and concepts, all from the index."""
        index = self.index[self.index["split"] != ""]
        return index[["stimulus_id", "split", "concept"]].reset_index(drop=True).assign(image="")

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order; their pictures are read from ``value``.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (id), ``concept``, ``split``.

        Raises
        ------
        brain2clip.stage.InputError
            If a file is missing or was changed after the download, a column is missing, or the number of events of a
            run or session is wrong; if a label is not the number of a picture, contradicts its concept, or does not
            occur as often as it must; if onsets contradict ``sample``, or wanted triggers do not match the events.
        """
        import pandas as pd

        self.check_recording(recording)
        self._check_shown(recording.subject)
        events = self._events(recording)
        shown = self.index.loc[events.pictures()]
        columns = {"stimulus": shown["stimulus_id"], "concept": shown["concept"], "split": shown["split"]}
        onsets = self._onsets(recording, events)[events.shows()]
        trials = pd.DataFrame({"onset": onsets, **{name: column.to_numpy(object) for name, column in columns.items()}})
        return trials[trials["split"] != ""].reset_index(drop=True)

    def _read_events(self, recording: Recording) -> Events:
        """The events table of a recording, checked by itself and against the index of the pictures."""
        self.check_there(recording.events)
        record = self.record(manifests.unit_of(self.relative(recording.events)))
        events = Events(recording.events, bids_files.read_tsv(recording.events), record)
        events.check(self.index, self.block.images)
        return events

    def _check_subject(self, subject: str) -> None:
        """Refuse sessions without the pictures that every session shows, and pictures that occur twice."""
        import pandas as pd

        earlier: dict[int, str] = {}
        for session in self._sessions:
            of_session = [one for one in self.recordings(subject) if one.session == session]
            tables = [self._events(one) for one in of_session]
            where = f"sub-{subject} ses-{session}: "
            numbers = np.concatenate([events.pictures() for events in tables])
            shown = self.index.loc[numbers]
            is_test = (shown["trial_type"] == "test").to_numpy(bool)
            for kind, some, what in (("exp", ~is_test, "concept"), ("test", is_test, "stimulus_id")):
                counts = pd.Series(shown.loc[some, what]).value_counts()
                if (counts > 1).any():
                    raise tables[-1].wrong(
                        f"{where}{kind} events show {what.partition('_')[0]} {counts.index[0]} {counts.iloc[0]} times "
                        f"in runs {', '.join(self._runs)}; expected once in a session"
                    )
                expected = CONCEPTS if kind == "exp" else TEST_PICTURES
                if len(self._runs) == RUNS and len(counts) != expected:
                    raise tables[-1].wrong(
                        f"{where}{len(counts)} {kind} events in {RUNS} runs; expected {expected}, each once"
                    )
            again = [number for number in numbers[~is_test].tolist() if number in earlier]
            if again:
                raise tables[-1].wrong(
                    f"{where}picture {self.index.loc[again[0], 'file']} ({again[0]}) was shown in ses-"
                    f"{earlier[again[0]]} already; expected each exp picture once in all sessions"
                )
            earlier |= dict.fromkeys(numbers[~is_test].tolist(), session)

    # ------------------------------------------------------------------------------------------ onsets

    def _onsets(self, recording: Recording, events: Events) -> np.ndarray:
        """Onsets of all events [n_events], s, by the clock of the setting; logs how far triggers are from events."""
        onsets = events.onsets()
        wanted = self.block.onset == "trigger"
        times = triggers.pulses(recording.path, TRIGGER, PULSE)
        matched = None if times is None else triggers.nearest(times, onsets)
        problem = f"no channel {TRIGGER}" if times is None else _mismatch(times, onsets, matched)
        if matched is not None and problem is None:
            apart = (matched - onsets) * SFREQ
            log.info(
                "%s: trigger minus event: median %+.1f samples (%+.2f ms), from %+.1f to %+.1f; onsets by %s",
                *(recording.name, np.median(apart), np.median(apart) / SFREQ * 1000, apart.min(), apart.max()),
                self.block.onset,
            )
            return matched if wanted else onsets
        if wanted:
            raise InputError(
                f"{recording.path}: {problem}\n  expected exactly one pulse of {PULSE} in {TRIGGER} for each of the "
                f"{len(onsets)} events of {recording.events.name}; set {self.setting('onset')}: events, "
                "or get the recording again"
            )
        log.warning("%s: triggers cannot be compared with the events: %s", recording.name, problem)
        return onsets

    # ----------------------------------------------------------------------------------------- signals

    def check_recording(self, recording: Recording) -> None:
        """Refuse files of a recording that were changed after the download, or that were not downloaded."""
        inside = sorted(recording.path.rglob("*")) if recording.path.is_dir() else [recording.path]
        for path in (*(one for one in inside if not one.is_dir()), *bids_files.sidecar_files(recording)):
            self.check_there(path)
        self._record_of(recording.path).check_all()

    # ---------------------------------------------------------------------------------------- manifest

    @cached_property
    def _listed(self) -> dict[tuple[str, str, str], Recording]:
        """Recordings of the manifest by subject, session, run."""
        found = {}
        for path in self.entries:
            if match := _RECORDING.fullmatch(path):
                subject, session, run = match["subject"], match["session"], match["run"]
                folder = self.root / f"sub-{subject}/ses-{session}/meg"
                signal = folder / f"{match['base']}_meg{'.fif' if path.endswith('.fif') else '.ds'}"
                events = folder / f"{match['base']}_events.tsv"
                names = (subject, "main", session, run)
                lost = () if self.block.dropouts == "keep" else DROPOUTS.get((subject, session, run), ())
                one = Recording(*names, self.root, signal, events, **READ, dropouts=lost)
                found[subject, session, run] = one
        return found

    @cached_property
    def _sessions(self) -> tuple[str, ...]:
        return self.wanted("sessions", {session for _, session, _ in self._listed})

    @cached_property
    def _runs(self) -> tuple[str, ...]:
        return self.wanted("runs", {run for _, _, run in self._listed})

    def subject_units(self, subject: str) -> list[str]:
        """One unit per recording, or one per file of the authors' epochs."""
        labels.check(self.name, subject, self.subjects())
        if self.block.source == "preprocessed":
            self._check_whole()
            return [] if self.block.epochs else [manifests.unit_of(path) for path in self._epoch_entries(subject)]
        return [self.unit(self.relative(self._signal(one))) for one in self.recordings(subject)]

    def files(self, subject: str) -> list[str]:
        """Records of the downloads of a subject, or the authors' epochs in a folder of the user."""
        if self.block.source == "preprocessed" and self.block.epochs:
            return [str(path) for path in self._own_epochs(subject)]
        return super().files(subject)

    def _signal(self, recording: Recording) -> Path:
        """File of the manifest that identifies a recording."""
        if recording.path.suffix == ".fif":
            return recording.path
        return recording.path / f"{recording.path.stem}.meg4"

    # ------------------------------------------------------------------------------- the authors' epochs

    def epoch_files(self, subject: str) -> list[Path]:
        """Files of the authors' epochs of a subject, in the order of their parts, downloaded or in the user's folder.

        Raises
        ------
        brain2clip.stage.InputError
            If a file is missing or was changed after the download.
        """
        if self.block.epochs:
            return self._own_epochs(subject)
        paths = [self.root / path for path in self._epoch_entries(subject)]
        for path in paths:
            self.check_there(path)
        return paths

    def epoch_trials(self, subject: str, values: np.ndarray, where: str) -> pd.DataFrame:
        """Pictures of the authors' epochs of a subject.

        Parameters
        ----------
        values : ndarray [n_epochs]
            Event ids: numbers of pictures, or :data:`CATCH`.
        where : str
            Their file, for messages.

        Returns
        -------
        pandas.DataFrame
            ``stimulus``, ``concept``, ``split`` (all empty if an epoch is left out) and ``session`` (unknown if epochs
            are not in the order of whole sessions); a row per epoch.

        Raises
        ------
        brain2clip.stage.InputError
            If the number of epochs is not that of the recordings, or a picture is unknown or does not occur as often
            as in the recordings.
        """
        import pandas as pd

        catch = values == CATCH
        expected = (CATCHES, CONCEPTS * PER_CONCEPT, TEST_PICTURES * SESSIONS)
        known = np.isin(values, self.index.index)
        if (~known & ~catch).any():
            raise InputError(
                f"{where}: {int((~known & ~catch).sum())} epochs have ids that are not numbers of pictures, the first "
                f"is {values[~known & ~catch][0]}; expected numbers of {self.block.images} (setting "
                f"{self.setting('images')}), and {CATCH} for catch trials; get all parts of the file again"
            )
        shown = self.index.loc[values[known]]
        is_test = (shown["trial_type"] == "test").to_numpy(bool)
        found = (int(catch.sum()), int((~is_test).sum()), int(is_test.sum()))
        if found != expected:
            raise InputError(
                f"{where}: {len(values)} epochs: {found[0]} catch, {found[1]} exp and {found[2]} test; "
                f"expected {sum(expected)}: {expected[0]}, {expected[1]} and {expected[2]}. Get all parts of the file "
                "again"
            )
        for kind, some, times in (("exp", ~is_test, 1), ("test", is_test, SESSIONS)):
            counts = shown.loc[some, "stimulus_id"].value_counts()
            if not (counts == times).all():
                other = counts[counts != times]
                raise InputError(
                    f"{where}: {kind} picture {other.index[0]} has {other.iloc[0]} epochs; expected {times} of each. "
                    "Get all parts of the file again"
                )
        trials = pd.DataFrame("", index=range(len(values)), columns=["stimulus", "concept", "split", "session"])
        columns = {"stimulus": "stimulus_id", "concept": "concept", "split": "split"}
        for name, column in columns.items():
            trials.loc[known, name] = shown[column].to_numpy(object)
        trials.loc[trials["split"] == "", ["stimulus", "concept"]] = ""
        return trials.assign(session=self._sessions_of(values, known, where))

    def _sessions_of(self, values: np.ndarray, known: np.ndarray, where: str) -> list[str]:
        """Session of each epoch, if the epochs are in the order of whole sessions."""
        length = len(values) // SESSIONS
        for session in range(SESSIONS):
            some = slice(session * length, (session + 1) * length)
            shown = self.index.loc[values[some][known[some]]]
            exp = shown.loc[shown["trial_type"] == "exp", "concept"]
            test = shown.loc[shown["trial_type"] == "test", "stimulus_id"]
            if (len(exp), exp.nunique(), len(test), test.nunique()) != (CONCEPTS, CONCEPTS, *[TEST_PICTURES] * 2):
                log.warning("%s: epochs are not in the order of whole sessions, so their sessions are unknown", where)
                return [NO_LABEL] * len(values)
        return [f"{place // length + 1:02d}" for place in range(len(values))]

    def _epoch_entries(self, subject: str) -> list[str]:
        number = str(NUMBERS[subject])
        found = [path for path in self.entries if (match := _EPOCHS.fullmatch(path)) and match["number"] == number]
        if not found:
            raise InputError(
                f"{self.block.manifest}: derivatives/preprocessed/preprocessed_P{number}-epo.fif is not listed, but "
                f"studies.{self.name} needs it (source: preprocessed); make a manifest with it (brain2clip manifest "
                "ds004212 --derivatives preprocessed), or name the folder of the files (setting "
                f"{self.setting('epochs')})"
            )
        return sorted(found, key=lambda path: (len(path), path))

    def _own_epochs(self, subject: str) -> list[Path]:
        folder, stem = Path(self.block.epochs or ""), f"preprocessed_P{NUMBERS[subject]}-epo"
        first = folder / f"{stem}.fif"
        if not first.is_file():
            raise InputError(
                f"{first}: no such file (setting {self.setting('epochs')}); expected the authors' epochs of "
                "derivatives/preprocessed of ds004212, all parts beside each other"
            )
        return [first, *sorted(folder.glob(f"{stem}-[0-9].fif"))]

    def _check_whole(self) -> None:
        for setting in ("sessions", "runs"):
            if getattr(self.block, setting) != "all":
                raise InputError(
                    f"studies.{self.name}.{setting}: the authors' epochs (source: preprocessed) contain all sessions "
                    f"and runs; leave {setting} out, or take source: raw"
                )


def _mismatch(times: np.ndarray, onsets: np.ndarray, matched: np.ndarray | None) -> str | None:
    """Why triggers do not match the events; None if they do."""
    if matched is None:
        return f"{len(times)} pulses of {PULSE} and {len(onsets)} events, which do not match one to one"
    apart = matched - onsets
    far = float(np.abs(apart).max())
    if far > TRIGGER_S:
        return f"a pulse of {PULSE} is {far:.3f} s from its event; expected at most {TRIGGER_S} s"
    off = float(np.abs(apart - np.median(apart)).max())
    if off > JITTER_S:
        return (
            f"pulses of {PULSE} are {np.median(apart):+.3f} s from their events (median), but one differs from this by "
            f"{off:.3f} s; expected at most {JITTER_S} s"
        )
    return None


# ----------------------------------------------------------------------------------------------- events


@dataclass(frozen=True)
class Events(PublishedTable):
    """The events table of a run, and its checks."""

    def check(self, index: pd.DataFrame, source: str) -> None:
        """Refuse numbers of events that no run has, and labels that contradict the index of the pictures."""
        self.require(NEEDED)
        types = self.types()
        names, counts = np.unique(types, return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist()))
        unknown = sorted(set(found) - set(EVENTS))
        if unknown:
            raise self.wrong(
                f"trial_type {', '.join(map(repr, unknown))}{suggestion(unknown[0], EVENTS)} in "
                f"{sum(found[name] for name in unknown)} of {len(types)} events; expected exp, test or catch"
            )
        wrong = [name for name, allowed in EVENTS.items() if found.get(name, 0) not in allowed]
        if wrong:
            listing = ", ".join(f"{found.get(name, 0)} {name}" for name in EVENTS)
            expected = ", ".join(f"{' or '.join(map(str, allowed))} {name}" for name, allowed in EVENTS.items())
            raise self.wrong(f"{listing} events; expected {expected} in a run")
        self.onsets()
        self._check_labels(index, source)

    def types(self) -> np.ndarray:
        """Kind of each event [n_events]."""
        return np.array(self.table["trial_type"], dtype=str)

    def shows(self) -> np.ndarray:
        """Which events show a picture of THINGS [n_events]; catch trials show an artificial picture."""
        return self.types() != "catch"

    def pictures(self) -> np.ndarray:
        """Numbers of the pictures shown [n_trials]."""
        return self.numbers("value")[self.shows()].astype(int)

    def onsets(self) -> np.ndarray:
        """Onsets of all events [n_events], s from the start of the recording, checked against ``sample``."""
        onsets, samples = self.numbers("onset"), self.numbers("sample")
        bad = ~np.isfinite(onsets) | (onsets < 0)
        if bad.any():
            raise self.wrong(f"{self.cell('onset', bad)}; expected seconds from the start of the recording")
        bad = np.append(False, np.diff(onsets) <= 0)
        if bad.any():
            before = self.table["onset"][int(bad.argmax()) - 1]
            raise self.wrong(f"{self.cell('onset', bad)}, after {before!r}; expected increasing onsets")
        bad = ~(np.abs(onsets * SFREQ - samples) <= SAMPLE_TOLERANCE)  # NaN is bad, too
        if bad.any():
            row = int(bad.argmax())
            raise self.wrong(
                f"onset and sample disagree in {bad.sum()} of {len(bad)} events: in event {row + 1} onset is "
                f"{self.table['onset'][row]} s and sample is {self.table['sample'][row]}; expected sample = onset x "
                f"{SFREQ:g}, counted from 0"
            )
        return onsets

    def _check_labels(self, index: pd.DataFrame, source: str) -> None:
        """Refuse labels that are not numbers or are unknown, or that contradict kind or concept of the event."""
        import pandas as pd

        shows = self.shows()
        for name, what in (("value", "picture"), ("things_category_nr", "concept")):
            cells = pd.Series(self.table[name], dtype=object)
            whole = cells.str.fullmatch(_WHOLE).to_numpy(bool)
            bad = np.where(shows, ~whole, ~cells.isin(MISSING).to_numpy(bool))
            if bad.any():
                raise self.wrong(
                    f"{self.cell(name, bad)} (and {bad.sum() - 1} more), a {self.value('trial_type', bad)} event; "
                    f"expected the whole number of a {what}, such as 1760.0, and {MISSING[0]} in catch events"
                )
        numbers = self.numbers("value")
        bad = shows & ~np.isin(numbers, index.index)
        if bad.any():
            raise self.wrong(
                f"{self.cell('value', bad)} (and {bad.sum() - 1} more); expected a number of {source}, from "
                f"{index.index.min()} to {index.index.max()}"
            )
        known = index.loc[numbers[shows].astype(int)]
        self._agree(shows, "trial_type", self.types(), known["trial_type"], known["file"], source)
        categories = self.numbers("things_category_nr")
        self._agree(shows, "things_category_nr", categories, known["category"], known["file"], source)

    def _agree(
        self, shows: np.ndarray, name: str, found: np.ndarray, expected: pd.Series, files: pd.Series, source: str
    ) -> None:
        """Refuse a column that contradicts the index."""
        wrong = found[shows] != expected.to_numpy()
        if wrong.any():
            first = int(wrong.argmax())
            bad = np.zeros(len(shows), dtype=bool)
            bad[shows.nonzero()[0][first]] = True
            raise self.wrong(
                f"value and {name} disagree in {wrong.sum()} of {len(wrong)} events: {self.cell('value', bad)}, "
                f"{files.iloc[first]} in {source}, but {name} is {self.value(name, bad)!r}; expected "
                f"{expected.iloc[first]}"
            )
