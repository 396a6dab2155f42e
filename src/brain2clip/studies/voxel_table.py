"""Any voxel data on disk as a study, by settings alone (:class:`brain2clip.settings.VoxelTableStudy`).

A file of signals and a table of its rows per subject. What is shown is a picture of a table of the user or, without
pictures, a named category with text prompts. Values of the split may hold ``{subject}``: so one person's runs become
folds, each a "subject" whose label is the run that it leaves out.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import NO_LABEL
from brain2clip.readers.bids_files import Table, column, suggestion
from brain2clip.readers.contract import VoxelStudy
from brain2clip.readers.user_stimuli import MISSING, UserStudy, side_of, some
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.signal_files import Signals

#: Stands for the label of a subject in paths and in values of the split.
SUBJECT = "{subject}"


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
        found = self._signals(subject).n_rows
        if found != len(rows):
            raise InputError(
                f"{path}: {len(rows)} rows (setting {self.setting('table')}), but {self._signals(subject).path} has "
                f"{found}; expected one line for each row of the signals"
                + ("" if self.block.columns else ", after a line with the names of the columns (or setting columns)")
            )
        return rows

    def _shown_to(self, subject: str) -> list[pd.DataFrame]:
        return [self._labels(subject)]

    def _labels(self, subject: str) -> pd.DataFrame:
        """The same by the table of the rows alone, without a look at the signals."""
        import pandas as pd

        path = Path(_for(subject, self.block.table))
        table = read_rows(path, self.block.columns, self.setting("table"))
        names = column(table, self.block.stimulus, path, self.setting("stimulus"))
        runs = [NO_LABEL] * len(names) if self.block.run is None else self._runs(table, self.block.run, path)
        shown = [row for row, name in enumerate(names) if not (self.block.rest and self._is_rest(name))]
        self._check_named(names, shown, path)
        stimuli = [names[row] for row in shown]
        made_by = f"{self.setting('stimulus')} = {self.block.stimulus!r} (rest: {list(self.block.rest)})"
        concepts = self.stimuli.known(stimuli, path, made_by)
        sides = self._sides(subject, table, shown, concepts, runs, path)
        self.stimuli.check_written(stimuli, sides, path)
        rows = pd.DataFrame({"stimulus": "", "concept": "", "split": "", "session": NO_LABEL, "run": runs})
        for row, *found in zip(shown, stimuli, concepts, sides):
            if found[-1] is not None:
                rows.loc[row, ["stimulus", "concept", "split"]] = found
        return rows

    def _runs(self, table: Table, name: str, path: Path) -> list[str]:
        return column(table, name, path, self.setting("run"))

    def _is_rest(self, name: str) -> bool:
        return name in self.block.rest

    def _check_named(self, names: list[str], shown: list[int], path: Path) -> None:
        unknown = [row for row in shown if names[row] in MISSING]
        if unknown:
            raise InputError(
                f"{path}: {len(unknown)} rows do not say what was shown ({self.block.stimulus} is empty or n/a, first "
                f"in row {unknown[0] + 1}); name the stimulus, or list the value in {self.setting('rest')}"
            )

    def _sides(
        self, subject: str, table: Table, shown: list[int], concepts: list[str], runs: list[str], path: Path
    ) -> list[str | None]:
        """``train``, ``test`` or None (left out) for each row with a stimulus."""
        split = _fold(self.block.split, subject)
        if split.by == "concepts":
            self.stimuli.check_concepts()
            return [side_of(split, concept) for concept in concepts]
        labels = runs
        if split.by == "column":
            assert split.column is not None
            labels = column(table, split.column, path, self.setting("split.column"))
        lost = [value for value in split.test if value not in labels]
        if lost:
            raise InputError(
                f"{path}: no row with the {split.by} {lost[0]!r}{suggestion(lost[0], labels)}, which "
                f"{self.setting('split.test')} names; found {some(sorted(set(labels)))}"
            )
        return [side_of(split, labels[row]) for row in shown]

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
        return signal_files.open_signals(Path(_for(subject, self.block.signals)), mask, f"studies.{self.name}")

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
        When the file is absent, empty, no text, or has a line of another length.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such table (setting {setting})")
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}) (setting {setting})") from None
    if not lines:
        raise InputError(f"{path}: the table is empty (setting {setting})")
    delimiter = next((one for one in "\t," if one in lines[0]), None)
    rows = list(csv.reader(lines, delimiter=delimiter)) if delimiter else [line.split() for line in lines]
    header = _header(names) if names else rows.pop(0)
    if len(set(header)) != len(header):
        raise InputError(f"{path}: two columns of the same name: {', '.join(header)} (setting {setting})")
    for number, row in enumerate(rows, 1 if names else 2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} cells, expected {len(header)}: {', '.join(header)} "
                f"(setting {setting})"
            )
    return {name.strip(): [row[place].strip() for row in rows] for place, name in enumerate(header)}
