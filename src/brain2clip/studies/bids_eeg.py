"""Any BIDS EEG dataset on disk as a study, by settings alone (:class:`brain2clip.settings.BidsEegStudy`).

What an event shows is read from ``events.tsv``, never from trigger codes. Pictures come from a table of the user;
without pictures, named categories with text prompts are the candidates.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.readers import bids_files, labels
from brain2clip.readers.bids_files import Table, column, read_tsv
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.readers.user_stimuli import MISSING, UserStudy, some
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("subject", "session", "task", "run")


class Study(UserStudy, EegStudy):
    """A user's BIDS EEG dataset."""

    Settings = schema.BidsEegStudy
    block: schema.BidsEegStudy

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.root = Path(self.block.root)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        found = bids_files.find_subjects(self.root)
        if not found:
            raise InputError(f"{self.root}: no folder sub-*; expected a BIDS dataset ({self.setting('root')})")
        return labels.wanted(self.setting("subjects"), self.block.subjects, found, f"the folders sub-* of {self.root}")

    def files(self, subject: str) -> list[str]:
        """Headers, data, events, channel and electrode tables of a subject."""
        return [str(path) for recording in self.recordings(subject) for path in bids_files.data_files(recording)]

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run."""
        labels.check(self.name, subject, bids_files.find_subjects(self.root))
        return bids_files.find_recordings(self.root, subject, self.block.tasks)

    def _shown_to(self, subject: str) -> Iterator[pd.DataFrame]:
        return map(self.trials, self.recordings(subject))

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (id), ``concept``, ``split`` (``train`` or
            ``test``). Trials that the split names on neither side are left out.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent, no trial is left after ``keep``, an onset is not a number, or a label has no
            row in the stimulus table.
        """
        import pandas as pd

        events = read_tsv(recording.events)
        kept = self._kept(events, recording)
        onsets = self._onsets(events, kept, recording)
        names = self._names(events, kept, recording)
        made_by = f"{self.setting('stimulus')} = {self.block.stimulus!r}"
        concepts = self.stimuli.known(names, recording.events, made_by)
        sides = self._sides(events, kept, concepts, recording)
        self.stimuli.check_written(names, sides, recording.events)
        trials = pd.DataFrame({"onset": onsets, "stimulus": names, "concept": concepts, "split": sides})
        trials = trials[trials["split"].notna()]
        return trials.sort_values("onset", kind="stable", ignore_index=True)

    def _kept(self, events: Table, recording: Recording) -> list[int]:
        """Numbers of the rows that are trials."""
        path = recording.events
        kept = list(range(len(column(events, "onset", path, "BIDS"))))
        for name, values in self.block.keep.items():
            kept = self._only(kept, column(events, name, path, self.setting("keep")), values)
        if not kept:
            found = "; ".join(f"{name}: {some(sorted(set(events[name])))}" for name in self.block.keep)
            raise InputError(
                f"{path}: no trial is left of {len(events['onset'])} events\n"
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
                    "expected a number of seconds from the start of the recording"
                )
            onsets.append(onset)
        return onsets

    def _names(self, events: Table, kept: list[int], recording: Recording) -> list[str]:
        """Stimulus id of each trial from the column or the template of the settings."""
        setting, wanted = self.setting("stimulus"), self.block.stimulus
        plain = "{" not in wanted
        fields = [wanted] if plain else _fields(wanted, setting)
        entities = {key: getattr(recording, key) for key in ENTITIES}
        columns = {}
        for name in fields:
            if plain or name in events or name not in ENTITIES:
                columns[name] = column(events, name, recording.events, setting)
            elif entities[name] is None:
                raise InputError(f"{recording.path}: no {name} in the file name, which {setting} = {wanted!r} wants")
        unknown = [row for row in kept if any(cells[row] in MISSING for cells in columns.values())]
        if unknown:
            raise InputError(
                f"{recording.events}: {len(unknown)} of {len(kept)} trials do not say what was shown "
                f"({', '.join(columns)} is n/a, first in event {unknown[0] + 1})\n"
                f"  expected a stimulus in each trial; leave other events out by {self.setting('keep')}"
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
            return [self.stimuli.side(cells[row]) for row in kept]
        if split.by == "concepts":
            self.stimuli.check_concepts()
            return [self.stimuli.side(concept) for concept in concepts]
        label = getattr(recording, split.by)
        if label is None:
            raise InputError(
                f"{recording.path}: no {split.by} in the file name, so {self.setting('split')} by {split.by} "
                "cannot tell training from test; split by another entity, a column or concepts"
            )
        both = f"{recording.session}/{recording.run}"
        return [self.stimuli.side(label, both)] * len(kept)


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
