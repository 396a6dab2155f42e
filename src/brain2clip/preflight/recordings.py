"""Check of the recordings of an EEG or MEG study: names, events, headers, and as many samples as can be read quickly.

All checks are those of the stage ``epochs``, by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip.preflight.looks import Budget, Look
from brain2clip.readers import bids_files
from brain2clip.readers.attempts import Attempts
from brain2clip.readers.contract import Recording
from brain2clip.readers.user_stimuli import some
from brain2clip.responses import checks, epoching, epochs, recording, samples
from brain2clip.settings import Band, Responses

if TYPE_CHECKING:
    import mne
    import pandas as pd

#: What is read of a recording that is too long to be read whole, s.
BEGINNING_S = 10.0
#: From peak to peak within a second, beside a line, in the unit of the setting that leaves such epochs out; and the
#: part of all seconds from which it is told.
ARTEFACTS, RESTLESS = {"reject_uv": 150.0, "reject_ft": 4000.0, "reject_ft_cm": 4000.0}, 0.03


@dataclass(frozen=True)
class Looker:
    """How recordings are looked at.

    Attributes
    ----------
    study : Any
        A study of EEG or MEG.
    responses : Responses
    bands : mapping
        Those of the study's experiments, by name.
    attempts : Attempts
        Collects what is wrong.
    look : Look
        Collects what is seen.
    budget : Budget or None
        Of samples that are read; None: headers of the first recordings alone, and no samples.
    """

    study: Any
    responses: Responses
    bands: Mapping[str, Band]
    attempts: Attempts
    look: Look
    budget: Budget | None

    def subject(self, subject: str) -> None:
        """Look at a subject."""
        found: list[Recording] = []
        with self.attempts.within(f"sub-{subject}"):
            found = self.attempts([], self.study.recordings, subject)
            before = self.attempts.count
            tables = [table for item in found if (table := self._events(item)) is not None]
            if hasattr(self.study, "check_values") and self.attempts.count == before:
                self.study.check_values(subject, self.attempts)
            raws = self._headers(found if self.budget else found[:1])
            if self.attempts.count > before or not tables or len(tables) < len(found):
                return
            trials = self.attempts(None, self._trials, subject, found, tables)
            if trials is None or self.budget is None:
                return
            kept = np.zeros(len(trials), dtype=bool)
            for index, raw in enumerate(raws):
                group = trials[trials["recording"] == index]
                onsets = group["onset"].to_numpy(float)
                with self._within(found[index]):
                    self.attempts(None, epoching.check_onsets, raw, onsets, found[index].events)
                kept[group.index] = epoching.complete(raw, onsets, self.responses)
            wanted, when = checks.sides(self.study, trials), "that fits into its recording"
            self.attempts(None, checks.check_split, self.study, subject, trials[kept], when, wanted)
            if self.attempts.count == before:
                self._seen(subject, trials[kept], raws)

    def promised(self, sfreq: float) -> None:
        """Look at the rate that recordings will have which are still to be made."""
        header: Any = SimpleNamespace(info={"sfreq": sfreq}, filenames=[])
        self.attempts(None, epoching.check_rate, header, self.responses)
        for band in self.bands.values():
            self.attempts(None, epoching.check_band, header, band)

    def _within(self, item: Recording) -> Any:
        """Faults of a recording are alike in all recordings."""
        names = (str(item.path), str(item.events), str(bids_files.channels_file(item)), item.path.name, item.name)
        return self.attempts.within(f"sub-{item.subject}", *names)

    def _events(self, item: Recording) -> pd.DataFrame | None:
        """Trials of a recording; None where something is wrong with them."""
        with self._within(item):
            before = self.attempts.count
            self.attempts(None, bids_files.data_files, item)
            if hasattr(self.study, "check_events") and (self.attempts.count == before or item.events.exists()):
                self.study.check_events(item, self.attempts)
            if self.attempts.count > before:
                return None
            table: pd.DataFrame | None = self.attempts(None, self.study.trials, item)
            if table is not None:
                self.attempts(None, checks.check_doubled, table, item.events)
            return table

    def _headers(self, items: list[Recording]) -> list[mne.io.BaseRaw]:
        """Recordings with fitting headers, samples not loaded; their channels, rates and, if wanted, samples."""
        opened: list[tuple[Recording, mne.io.BaseRaw]] = []
        for item in items:
            with self._within(item):
                if (raw := self.attempts(None, recording.open_recording, item)) is not None:
                    opened.append((item, raw))
                    self.look.bad.update(dict.fromkeys(raw.info["bads"]))
        bad: set[str] = set()
        if self.responses.bad_channels == "drop":
            bad.update(name for _, raw in opened for name in raw.info["bads"])
        first: tuple[Recording, Any] | None = None
        for item, raw in opened:
            with self._within(item):
                before = self.attempts.count
                if first is None:
                    names = self.attempts([], epoching.wanted_names, raw, self.responses)
                else:
                    names = self.attempts([], epoching.channel_names, raw, first[1].channels)
                names = [name for name in names if name not in bad]
                self.attempts(None, epoching.check_rate, raw, self.responses)
                for band in self.bands.values():
                    self.attempts(None, epoching.check_band, raw, band)
                if first is None and names:
                    first = item, self._first(item, raw, names)
                elif first is not None and names:
                    self.attempts(None, epochs.check_same, raw, item, first[1], first[0])
                    limit = self.responses.head_movement_mm
                    self.attempts(None, epochs.check_head, raw, item, first[1], first[0], limit)
                if self.budget is None:
                    continue
                if self.attempts.count == before:
                    self.attempts(None, epoching.epoch_times, raw.info["sfreq"], self.responses)
                if there := names or [name for name in raw.ch_names if name in self._listed() and name not in bad]:
                    self.attempts(None, self._samples, raw, item, there)
        if first is not None:
            self.look.moved = max([self.look.moved, *(moved for _, moved in first[1].heads)])
        return [raw for _, raw in opened]

    def _first(self, item: Recording, raw: mne.io.BaseRaw, names: list[str]) -> Any:
        """What the first recording says, with which the others are compared."""
        types = {name: kind for name, kind in recording.channel_types(raw).items() if name in names}
        self.attempts(None, epochs.check_scale, item, types, self.responses)
        self.attempts(None, epoching.reject_limits, raw, self.responses)
        grade, head = self.attempts(0, recording.compensation, raw), raw.info["dev_head_t"]
        return SimpleNamespace(sfreq=raw.info["sfreq"], channels=names, types=types, grade=grade, head=head, heads=[])

    def _listed(self) -> Sequence[str]:
        """Channels that the settings name; none where they take all."""
        wanted = self.responses.channels
        return epoching.CHANNEL_SETS.get(wanted, ()) if isinstance(wanted, str) else wanted

    def _samples(self, raw: mne.io.BaseRaw, item: Recording, names: list[str]) -> None:
        """Samples in V or T that are numbers, and could be EEG or MEG."""
        assert self.budget is not None
        size = 8 * len(raw.ch_names) * raw.n_times
        self.look.largest_bytes = max(self.look.largest_bytes, size)
        part = raw.copy()
        if self.budget.take(size):
            self.look.read("all of the wanted channels")
        else:
            part.crop(0, min(BEGINNING_S, raw.times[-1]))
            self.look.read(f"the first {BEGINNING_S:g} s")
        samples.load(part, item, names, self.responses.scale)
        self.look.seconds = tuple(np.add(self.look.seconds, _restless(part)).tolist())
        self.look.types.update(part.get_channel_types())

    def noted(self) -> list[str]:
        """What is no fault: channels that are used although they are marked as bad, artefacts that stay in training."""
        return [note for note in (self._marked(), self._artefacts()) if note is not None]

    def _marked(self) -> str | None:
        """A sentence where channels are marked as bad and used like the others."""
        left, wanted = self.responses.without or (), self._listed()
        bad = [name for name in self.look.bad if name not in left and (not wanted or name in wanted)]
        if self.responses.bad_channels != "keep" or not bad:
            return None
        return (
            f"study {self.study.name}: {some(bad)} marked as bad in some recording, but used like the other "
            "channels; responses.bad_channels: drop leaves such channels out, interpolate computes them from the others"
        )

    def _artefacts(self) -> str | None:
        """A sentence where artefacts are many and nothing leaves them out of training."""
        seconds, restless = self.look.seconds
        if any(getattr(self.responses, name) is not None for name in ARTEFACTS) or restless <= RESTLESS * seconds:
            return None
        limits = {name: ARTEFACTS[name] for name in ARTEFACTS if epoching.REJECT[name][0] in self.look.types}
        units = " or ".join(f"{limit:g} {epoching.REJECT_UNITS[name]}" for name, limit in limits.items())
        settings = ", ".join(f"responses.{name}: {limit:g}" for name, limit in limits.items())
        return (
            f"study {self.study.name}: in {100 * restless / seconds:.0f} % of the seconds that were read, some channel "
            f"changes by more than {units} (blinks, movement); {settings} leaves such training epochs out; "
            "responses.channels chooses other channels"
        )

    def _trials(self, subject: str, found: list[Recording], tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Trials of all recordings of a subject, as the stage takes them."""
        read = SimpleNamespace(trials=dict(zip(found, tables)).__getitem__)
        trials = epochs.all_trials(read, found)  # type: ignore[arg-type]
        checks.check_trials(self.study, subject, trials)
        self.look.took(subject, trials)
        return epochs.without_surplus(trials, self.responses)[0]

    def _seen(self, subject: str, trials: pd.DataFrame, raws: list[mne.io.BaseRaw]) -> None:
        counts = trials["split"].value_counts()
        self.look.trials[subject] = (int(counts.get("train", 0)), int(counts.get("test", 0)))
        sfreq = raws[0].info["sfreq"]
        channels = epoching.wanted_names(raws[0], self.responses)
        times = epoching.epoch_times(sfreq, self.responses)
        width = 2 if self.responses.dtype == "float16" else 4
        self.look.response_bytes += width * len(trials) * len(channels) * len(times)
        if not self.look.shape:
            self.look.shape = (
                f"{len(channels)} of {len(raws[0].ch_names)} {epoching.technique(raws[0])} channels, recorded at "
                f"{sfreq:g} Hz; responses of "
                f"{len(times)} samples at {self.responses.sfreq:g} Hz, {times[0]:g} to {times[-1]:g} s"
            )


def _restless(raw: mne.io.BaseRaw) -> tuple[int, int]:
    """Whole seconds of a loaded recording, and those in which some channel moves by more than an artefact does."""
    from scipy.signal import detrend

    length = round(raw.info["sfreq"])
    count = raw.n_times // length
    found = np.zeros(count, dtype=bool)
    limits = {kind: ARTEFACTS[name] * unit for name, (kind, unit) in epoching.REJECT.items()}
    types = raw.get_channel_types()
    for place in range(len(raw.ch_names)):  # one at a time, because they are copied
        values = raw.get_data(picks=[place])[0, : count * length].reshape(count, length)
        found |= np.ptp(detrend(values, axis=1), axis=1) > limits[types[place]]
    return count, int(found.sum())
