"""What every study provides. Light to import: the Snakefile asks studies for their files.

A study kind is one module ``brain2clip.studies.<kind>`` with a class ``Study`` of this shape; :func:`load` finds it by
the ``kind`` of its settings. Heavy libraries are imported inside methods.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


#: Columns of a stimulus table, see :meth:`Study.stimulus_table`.
STIMULUS_COLUMNS = ("stimulus_id", "split", "concept", "image", "captions", "prompts")
#: Between several sentences in one cell of a table on disk.
SEPARATOR = " | "


def sentences(cell: str) -> list[str]:
    """Sentences of a cell, none for an empty one."""
    return [text for text in cell.split(SEPARATOR) if text]


@dataclass(frozen=True)
class Recording:
    """One continuous recording and its events table.

    Attributes
    ----------
    subject, task : str
        BIDS labels without prefix.
    session, run : str or None
        BIDS labels; None where the dataset has no such level.
    root : Path
        Folder of the BIDS dataset.
    path : Path
        File that MNE opens (for BrainVision the ``.vhdr``).
    events : Path
        The ``events.tsv``.
    """

    subject: str
    task: str
    session: str | None
    run: str | None
    root: Path
    path: Path
    events: Path

    @property
    def name(self) -> str:
        """BIDS base name, e.g. ``sub-01_ses-01_task-train_run-02``."""
        parts = {"sub": self.subject, "ses": self.session, "task": self.task, "run": self.run}
        return "_".join(f"{key}-{value}" for key, value in parts.items() if value is not None)


class Study(Protocol):
    """What studies of all modalities provide; see :class:`EegStudy` and :class:`VoxelStudy` for the rest.

    Attributes
    ----------
    name : str
        Name in the configuration and in paths.
    licence, citation : str
        Of the data, for reports.
    modality : str
        ``"eeg"`` or ``"fmri"``.
    zero_shot : bool
        Whether training and test concepts must be disjoint.
    split_from_events : bool
        Whether the stimulus table's split comes from the events of all subjects, so that it changes with them.

    Notes
    -----
    A study that is downloaded has more, which the rules look for: ``dataset`` (name of the folder in ``results/raw``,
    shared by all studies of that dataset), ``downloads()`` (unit to files of the manifest), ``record(unit)`` (path that
    a finished download leaves) and, where it brings its pictures, ``archive_files()`` (records of their archives).
    """

    name: str
    licence: str
    citation: str
    modality: str
    zero_shot: bool
    split_from_events: bool

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""

    def files(self, subject: str) -> list[str]:
        """Paths that must exist before the responses of a subject can be made (inputs of the rule)."""

    def stimulus_files(self) -> list[str]:
        """Paths that must exist before stimulus features can be made (inputs of the rule)."""

    def label_files(self) -> list[str]:
        """Paths that tell which stimulus an event shows (inputs of the rule that makes responses); often the same."""

    def stimulus_table(self) -> pd.DataFrame:
        """One row per stimulus; the row number is the stimulus' identity in every artefact.

        Columns: ``stimulus_id`` (str, unique), ``split`` (``train``, ``test`` or ``both``), ``concept`` (str),
        ``image`` (path, or empty where there is no picture), ``captions`` (list of str, sentences about this picture),
        ``prompts`` (list of str, sentences about its class: equal within a concept).
        """

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Expected number of trials per split (``{"train": n, "test": m}``), or None where it is not known."""


class EegStudy(Study, Protocol):
    """A study of EEG recordings."""

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run."""

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order; targets and other events are left out.

        Columns: ``onset`` (s from the start of the recording), ``stimulus`` (row of the stimulus table), ``split``
        (``train`` or ``test``).

        Raises
        ------
        brain2clip.stage.InputError
            When a label has no row in the stimulus table, an onset is not a number, or a needed column is absent.
        """


class VoxelStudy(Study, Protocol):
    """A study of voxel signals: rows (volumes or trials) by voxels."""

    def rows(self, subject: str) -> pd.DataFrame:
        """What each row of the subject's signals is, in the order of the file.

        Columns: ``stimulus`` (row of the stimulus table, -1 where no stimulus is shown), ``split`` (``train``,
        ``test``; empty without a stimulus), ``session``, ``run`` (str, ``n/a`` where there is no such level).

        Raises
        ------
        brain2clip.stage.InputError
            When a label has no row in the stimulus table, or the file has another layout.
        """

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions by name, each a mask [n_voxels] over all voxels of the file."""

    def voxel_names(self, subject: str) -> list[str]:
        """A name per voxel of the file, unique and the same at every reading."""

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] of some voxels (ascending numbers); reads no more than it must."""


def module_name(kind: str) -> str:
    """Dotted module of a study kind, for imports by name and for fingerprints."""
    return f"brain2clip.studies.{kind}"


def load(name: str, settings: dict[str, Any], results: str) -> Any:
    """The study of a validated settings block (as JSON-like dict): an :class:`EegStudy` or a :class:`VoxelStudy`."""
    module = importlib.import_module(module_name(settings["kind"]))
    return module.Study(name=name, settings=settings, results=Path(results))
