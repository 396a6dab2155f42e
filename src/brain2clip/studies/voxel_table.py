"""Any voxel data on disk as a study, by settings alone (:class:`brain2clip.settings.VoxelTableStudy`).

A file of signals and a table of its rows for each subject. Stimuli are pictures of a table of the user or, without
pictures, named categories with text prompts. Values of the split may hold ``{subject}``: so one person's runs become
folds, each a "subject" whose label is the run that it leaves out.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import NO_LABEL, suggestion
from brain2clip.readers import user_files
from brain2clip.readers.attempts import Attempt, strictly
from brain2clip.readers.bids_files import Table, column
from brain2clip.readers.contract import VoxelStudy
from brain2clip.readers.user_stimuli import MISSING, UserStudy, check_case, side_of, some
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.signal_files import Signals

log = logging.getLogger("brain2clip")

#: Stands for the label of a subject in paths and in values of the split.
SUBJECT = "{subject}"
#: Usual names of a column of sessions.
SESSIONS = ("session", "sessions", "ses", "session_id")


class Study(UserStudy, VoxelStudy):
    """A user's voxel data."""

    Settings = schema.VoxelTableStudy
    block: schema.VoxelTableStudy

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        # Responses of one subject do not depend on which others there are, so their stage is not told.
        super().__init__(name, {"subjects": ["none"], **settings}, results)
        self._signals = cache(self._open_signals)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels, sorted."""
        return tuple(sorted(set(self.block.subjects)))

    def files(self, subject: str) -> list[str]:
        """Signals, table of rows, mask and masks of regions of a subject."""
        given = [self.block.signals, self.block.table, self.block.mask, *self.block.rois.values()]
        masks = [path for path in given[2:] if path is not None and path.endswith((".nii", ".nii.gz"))]
        return list(dict.fromkeys(_for(subject, path) for path in [*given[:2], *masks] if path is not None))

    # -------------------------------------------------------------------------------------------- rows

    def rows(self, subject: str) -> pd.DataFrame:
        """What each row of the signals is (:meth:`brain2clip.readers.contract.VoxelStudy.rows`).

        Rows of rest, and those that the split names on neither side, have no stimulus.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent, the table has another number of rows than the signals, a stimulus is unknown, or
            a picture is on another side of the split than its table says.
        """
        rows, path = self._labels(subject), Path(_for(subject, self.block.table))
        self._check_length(rows, path, subject)
        counts = Counter(rows["split"])
        log.info(
            "%s: %d rows, %d of training and %d of test trials; %d other rows (rest, or left out by the split)",
            *(path, len(rows), counts["train"], counts["test"], counts[""]),
        )
        return rows

    def _check_length(self, rows: pd.DataFrame, path: Path, subject: str) -> None:
        """Refuse a table of another number of rows than the signals have."""
        found = self._signals(subject).n_rows
        if found != len(rows):
            raise InputError(
                f"{path}: {len(rows)} rows (setting {self.setting('table')}), but {self._signals(subject).path} has "
                f"{found}; expected one line for each row of the signals"
                + ("" if self.block.columns else ", after a line with the names of the columns (or setting columns)")
            )

    def look_around(self, attempt: Attempt) -> tuple[str, ...]:
        """Subjects that can be looked at: those whose table is there."""
        found = self.subjects()
        for subject in found:
            with_table = Path(_for(subject, self.block.table))
            attempt(None, user_files.existing, with_table, "table", self.setting("table"))
        return tuple(one for one in found if Path(_for(one, self.block.table)).is_file())

    def check_rows(self, subject: str, attempt: Attempt) -> pd.DataFrame:
        """What :meth:`rows` asks of the table of a subject, each step on its own, without a look at the signals.

        Returns
        -------
        pandas.DataFrame
            As :meth:`rows`, where nothing was refused.
        """
        return self._labels(subject, attempt)

    def _shown_to(self, subject: str) -> list[pd.DataFrame]:
        return [self._labels(subject)]

    def _labels(self, subject: str, attempt: Attempt = strictly) -> pd.DataFrame:
        """The same by the table of the rows alone, without a look at the signals."""
        import pandas as pd

        path = Path(_for(subject, self.block.table))
        table = attempt({}, read_rows, path, self.block.columns, self.setting("table"))
        if not table:
            return pd.DataFrame()
        unknown = [NO_LABEL] * len(next(iter(table.values())))
        names = attempt([], column, table, self.block.stimulus, path, self.setting("stimulus"))
        runs = unknown if self.block.run is None else attempt(unknown, self._runs, table, self.block.run, path)
        sessions = unknown
        if self.block.session is not None:
            sessions = attempt(unknown, self._sessions, table, self.block.session, path)
        elif self.block.run is None or self.block.run in table:
            attempt(None, self._check_one_session, table, runs, path)
        if self.block.stimulus not in table:
            attempt([], self._sides, subject, table, [*range(len(unknown))], [], path)
            return pd.DataFrame()
        shown = [row for row, name in enumerate(names) if not (self.block.rest and self._is_rest(name))]
        attempt(None, self._check_named, table, shown, path)
        stimuli = [names[row] for row in shown]
        made_by = f"{self.setting('stimulus')} = {self.block.stimulus!r} (rest: {list(self.block.rest)})"
        concepts = attempt([], self.stimuli.known, stimuli, path, made_by)
        sides = attempt([], self._sides, subject, table, shown, concepts, path)
        if len(sides) == len(stimuli):
            attempt(None, self.stimuli.check_written, stimuli, sides, path)
        cells = [("", "", "")] * len(names)
        for row, stimulus, concept, side in zip(shown, stimuli, concepts, sides):
            if side is not None:
                cells[row] = (stimulus, concept, side)
        rows = pd.DataFrame(cells, columns=["stimulus", "concept", "split"], dtype=object)
        return rows.assign(session=sessions, run=runs)

    def _runs(self, table: Table, name: str, path: Path) -> list[str]:
        return column(table, name, path, self.setting("run"))

    def _is_rest(self, name: str) -> bool:
        return name in self.block.rest

    def _sessions(self, table: Table, name: str, path: Path) -> list[str]:
        return column(table, name, path, self.setting("session"))

    def _check_one_session(self, table: Table, runs: list[str], path: Path) -> None:
        """Refuse runs that a column of sessions tells apart, where no setting names it."""
        for name in table:
            if name.lower() not in SESSIONS or self.block.run is None:
                continue
            sessions: dict[str, set[str]] = {}
            for run, session in zip(runs, table[name]):
                sessions.setdefault(run, set()).add(session)
            run, found = max(sessions.items(), key=lambda item: len(item[1]))
            if len(found) > 1:
                raise InputError(
                    f"{path}: run {run!r} is in {len(found)} sessions by the column {name!r} "
                    f"({some(sorted(found))}), which makes them different runs\n  set {self.setting('session')} to "
                    f"{name}; remove the column from the table if it has another meaning"
                )

    def _check_named(self, table: Table, shown: list[int], path: Path) -> None:
        """Refuse rows with a stimulus that do not say which, or in which run and session."""
        rest = f"name the stimulus, or list the value in {self.setting('rest')}"
        for key, what, do in (
            ("stimulus", "their stimulus", rest),
            ("run", "their run", "name it"),
            ("session", "their session", "name it"),
        ):
            name = getattr(self.block, key)
            unknown = [row for row in shown if name in table and table[name][row] in MISSING]
            if unknown:
                raise InputError(
                    f"{path}: {len(unknown)} rows do not name {what} ({name} is empty or n/a, first in row "
                    f"{unknown[0] + 1}); {do}"
                )

    def _sides(self, subject: str, table: Table, shown: list[int], concepts: list[str], path: Path) -> list[str | None]:
        """``train``, ``test`` or None (left out) for each row with a stimulus."""
        split = _fold(self.block.split, subject)
        if split.by == "concepts":
            self.stimuli.check_concepts()
            return [side_of(split, concept) for concept in concepts]
        labels = [self._split_labels(split, table, row, path) for row in shown]
        found = {label for names in labels for label in names}
        for key in ("test", "train"):
            lost = [value for value in getattr(split, key) or () if value not in found]
            if lost:
                raise InputError(
                    f"{path}: no row with the {split.by} {lost[0]!r}{suggestion(lost[0], found)}, which "
                    f"{self.setting(f'split.{key}')} names; found {some(sorted(found))}"
                )
        wanted = (*split.test, *(split.train or ()))
        check_case([label for names in labels for label in names], wanted, str(path), self.setting("split"))
        return [side_of(split, *names) for names in labels]

    def _split_labels(self, split: schema.Split, table: Table, row: int, path: Path) -> tuple[str, ...]:
        """What values of the split may call a row: its run alone, or ``session/run``."""
        if split.by == "column":
            assert split.column is not None
            return (column(table, split.column, path, self.setting("split.column"))[row],)
        session = None if self.block.session is None else self._sessions(table, self.block.session, path)[row]
        if split.by == "session":
            assert session is not None
            return (session,)
        assert self.block.run is not None
        run = self._runs(table, self.block.run, path)[row]
        return (run,) if session is None else (run, f"{session}/{run}")

    # ------------------------------------------------------------------------------------------ voxels

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions by name: those of the settings, and those that the file itself names."""
        signals = self._signals(subject)
        own = {name: self._named_region(signals, subject, name, source) for name, source in self.block.rois.items()}
        return {**signals.own_regions(), **own}

    def _named_region(self, signals: Signals, subject: str, name: str, source: str) -> NDArray[np.bool_]:
        return signals.region(_for(subject, source), self.setting(f"rois.{name}"))

    def voxel_names(self, subject: str) -> list[str]:
        """Places on the grid, or numbers where there is none."""
        return self._signals(subject).names()

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] of some voxels."""
        return self._signals(subject).read(voxels)

    def _open_signals(self, subject: str) -> Signals:
        from brain2clip.readers import signal_files

        mask = None if self.block.mask is None else self._mask_of(subject, self.block.mask)
        path = Path(_for(subject, self.block.signals))
        return signal_files.open_signals(path, mask, f"studies.{self.name}", self.block.space)

    @staticmethod
    def _mask_of(subject: str, mask: str) -> str:
        return _for(subject, mask)


def _for(subject: str, text: str) -> str:
    return text.replace(SUBJECT, subject)


def _fold(split: schema.Split, subject: str) -> schema.Split:
    """The split of one subject."""
    train = None if split.train is None else tuple(_for(subject, value) for value in split.train)
    return split.model_copy(update={"test": tuple(_for(subject, value) for value in split.test), "train": train})


def _header(names: tuple[str, ...]) -> list[str]:
    """Names of the columns of a table that does not have them itself."""
    return list(names)


def read_rows(path: Path, names: tuple[str, ...] | None, setting: str) -> Table:
    """Columns of a table as text: separated by tabs, else by commas, else by spaces, as its first line is.

    Parameters
    ----------
    path : Path
        UTF-8 text.
    names : tuple of str or None
        Names of the columns where the table has no header.
    setting : str
        Setting that names the table, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, empty, no text, has two columns of one name, or a line of another length.
    """
    hint = f"(setting {setting})"
    user_files.existing(path, "table", setting)
    lines = [line for line in user_files.text(path, hint).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: the table is empty {hint}")
    delimiter = next((one for one in "\t," if one in lines[0]), None)
    with user_files.reading(path, "not a table", hint):
        rows = list(csv.reader(lines, delimiter=delimiter)) if delimiter else [line.split() for line in lines]
    header = _header(names) if names else [name.strip() for name in rows.pop(0)]
    user_files.check_columns(header, path, hint)
    for number, row in enumerate(rows, 1 if names else 2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} cells, expected {len(header)}: {', '.join(header)} "
                f"(setting {setting})"
            )
    return {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}
