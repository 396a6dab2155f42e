"""Contract of studies. Light to import: the plan asks studies for their files.

A kind of study is one module ``brain2clip.studies.<kind>`` with a class ``Study``, or a class from outside
(``package.module:Class``), derived from :class:`EegStudy` or :class:`VoxelStudy`; :func:`load` finds it by the ``kind``
of its settings. Heavy libraries are imported inside methods.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from brain2clip import kinds
from brain2clip.settings import StudyBase, canonical, parse
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


#: Environment variable with the subjects of studies whose split comes from the trials of all subjects, as JSON: study
#: to labels. The subjects are not a setting of a stage, else a new subject would rerun the results of the first ones.
SUBJECTS = "BRAIN2CLIP_SUBJECTS"
#: Columns of a stimulus table, see :meth:`Study.stimulus_table`.
STIMULUS_COLUMNS = ("stimulus_id", "split", "concept", "image", "captions", "prompts")
#: Between several sentences in one cell of a table on disk.
SEPARATOR = " | "
#: What is read of a recording where no setting says it, by datatype: types of channels as MNE calls them, and who tells
#: the type of a channel. Tables of MEG are often wrong (ds004212 calls every sensor OTHER), files of MEG never are.
PICKS: dict[str, tuple[str, ...]] = {"eeg": ("eeg",), "meg": ("mag", "grad")}
TYPES_FROM = {"eeg": "table", "meg": "file"}


def sentences(cell: str) -> list[str]:
    """Sentences of a cell; none if it is empty."""
    return [text for text in cell.split(SEPARATOR) if text]


@dataclass(frozen=True)
class Recording:
    """One continuous recording and its events table.

    Attributes
    ----------
    subject, task : str
        BIDS labels without prefix.
    session, run : str or None
        BIDS labels; None if the dataset has no such level.
    root : Path
        Folder of the BIDS dataset.
    path : Path
        File that MNE opens (for BrainVision the ``.vhdr``), or folder (CTF, BTi).
    events : Path
        The ``events.tsv``.
    space : str or None
        Coordinate system of the table of electrodes to take, where there are several; empty: that without one.
    datatype : {"eeg", "meg"}
        What was recorded, as BIDS calls it: the folder and the suffix of its names.
    picks : tuple of str
        Types of the channels that are read, as MNE calls them: ``eeg``, or ``mag`` and ``grad``, of which a MEG
        recording may have one only. Reference channels of MEG are none of them.
    types_from : {"table", "file"}
        Whose word counts for the type of a channel: that of ``channels.tsv``, or of the file. Names and status are
        those of ``channels.tsv`` in either case.
    dropouts : tuple of (float, float)
        Start and length (s) of stretches in which all channels drop out, and which are replaced before the filter.
    """

    subject: str
    task: str
    session: str | None
    run: str | None
    root: Path
    path: Path
    events: Path
    space: str | None = None
    datatype: str = "eeg"
    picks: tuple[str, ...] = ("eeg",)
    types_from: str = "table"
    dropouts: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """BIDS base name, e.g. ``sub-01_ses-01_task-train_run-02``."""
        parts = {"sub": self.subject, "ses": self.session, "task": self.task, "run": self.run}
        return "_".join(f"{key}-{value}" for key, value in parts.items() if value is not None)


class Study:
    """Base of studies of all modalities; :class:`EegStudy` and :class:`VoxelStudy` have the rest.

    The identity of a stimulus is its id, in tables, in trials and in every artefact.

    Parameters
    ----------
    name : str
        Name in the configuration and in paths.
    settings : dict
        Settings of the kind as JSON-like dict: all of them, or what a stage reads (``for_responses()``,
        ``for_stimuli()`` of their class).
    results : Path
        Folder of everything that the pipeline writes.

    Attributes
    ----------
    Settings : type
        Class of the settings.
    modality : str
        ``"eeg"`` or ``"fmri"``.
    licence, citation : str
        Of the data, for reports.
    zero_shot : bool
        Whether training and test concepts must be disjoint.
    both_sides : bool
        Whether a stimulus may be shown in training and in the test (as categories are).
    shown_again : str
        Advice if the test shows stimuli or concepts of training on purpose; empty if this is impossible.
    training_optional : bool
        Whether a subject may have no training trial.
    split_from_events : bool
        Whether the stimulus table's split comes from the events of all subjects, so that it changes with them.
    asked : tuple of str
        Stimuli that are candidates for every subject (categories); each must be shown.

    Notes
    -----
    Downloaded studies have further methods (:class:`brain2clip.readers.downloaded.DownloadedStudy`) that the plan uses.
    """

    Settings: ClassVar[type[StudyBase]]
    modality: ClassVar[str]
    licence: str
    citation: str
    zero_shot: bool = True
    both_sides: bool = False
    shown_again: str = ""
    training_optional: bool = False
    split_from_events: bool = False
    asked: tuple[str, ...] = ()

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        self.name = name
        self.block: Any = parse(self.Settings, settings)
        self.results = Path(results)

    def setting(self, key: str) -> str:
        """Full name of a setting of the study, for messages."""
        return f"studies.{self.name}.{key}"

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        raise NotImplementedError

    def files(self, subject: str) -> list[str]:
        """Paths that must exist before the responses of a subject can be made (inputs of the rule)."""
        raise NotImplementedError

    def stimulus_files(self) -> list[str]:
        """Paths that must exist before the table of stimuli can be made (inputs of the stage ``catalogue``).

        Files of a user that :meth:`catalogue_digest` covers need not be among them.
        """
        raise NotImplementedError

    def label_files(self) -> list[str]:
        """Further paths that assign stimuli to events, besides the subject's own files (inputs of the rule)."""
        return []

    def label_digest(self) -> str | None:
        """Digest of the part of a user's table that responses read: ids, concepts, the written split.

        Captions, pictures and prompts are not included. None if there is no such table: the pipeline writes it, it is
        committed with the project, or labels are in the subjects' own files.
        """
        return None

    def catalogue_digest(self) -> str | None:
        """Digest of the whole stimulus table if it comes from files that the user may edit, else None."""
        return None

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per stimulus; the order of its rows is that of the features.

        Columns: ``stimulus_id`` (str, unique), ``split`` (``train``, ``test`` or ``both``), ``concept`` (str),
        ``image`` (path, or empty where there is no picture), ``captions`` (list of str, sentences about this picture),
        ``prompts`` (list of str, sentences about its class: equal within a concept).
        """
        raise NotImplementedError

    def known_stimuli(self) -> pd.DataFrame | None:
        """Stimuli as tables of the project tell them before anything is fetched, or None where only the data do.

        Columns: ``stimulus_id``, ``split``, ``concept``, ``image`` (as for :meth:`stimulus_table`; the picture need not
        be there, its name counts), and ``source_picture`` where :meth:`source_pictures` has some.
        """
        return None

    def source_pictures(self) -> dict[str, str]:
        """Picture of a public collection that a stimulus is, or is cut out of, by the id of the stimulus.

        Values are made by :func:`brain2clip.readers.overlap.source` (``coco:123456``; with an unknown number
        ``coco:?``). Names of COCO's files need not be told. Stimuli of two studies with the same value are the same
        picture, whatever they are called: see :mod:`brain2clip.readers.overlap`.
        """
        return {}

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Expected number of trials per split (``{"train": n, "test": m}``), or None where it is not known."""
        return None


class EegStudy(Study):
    """A study of EEG or MEG recordings."""

    modality: ClassVar[str] = "eeg"

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run."""
        raise NotImplementedError

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in the order of time, without targets and other events.

        Columns: ``onset`` (s from the start of the recording), ``stimulus`` (its id), ``concept`` (of the stimulus),
        ``split`` (``train`` or ``test``). No file of other subjects is read.

        Raises
        ------
        brain2clip.stage.InputError
            If a label is not an id of the stimulus table, an onset is not a number, or a needed column is absent.
        """
        raise NotImplementedError


class VoxelStudy(Study):
    """A study of voxel signals: rows (volumes or trials) by voxels."""

    modality: ClassVar[str] = "fmri"

    def rows(self, subject: str) -> pd.DataFrame:
        """Description of each row of the subject's signals, in their order; no file of other subjects is read.

        Columns: ``stimulus`` (its id, empty where none is shown), ``concept``, ``split`` (``train`` or ``test``; both
        empty without a stimulus), ``session``, ``run`` (str, ``n/a`` where there is no such level).

        Raises
        ------
        brain2clip.stage.InputError
            If a label is not an id of the stimulus table, or the file has another layout.
        """
        raise NotImplementedError

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions by name, each a mask [n_voxels] over all voxels of the file."""
        raise NotImplementedError

    def voxel_names(self, subject: str) -> list[str]:
        """A name for each voxel of the file, unique and always the same."""
        raise NotImplementedError

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] of some voxels (ascending numbers); other voxels are not read if possible."""
        raise NotImplementedError


def load(name: str, settings: dict[str, Any], results: str | Path) -> Any:
    """The study of a validated settings block (as JSON-like dict): an :class:`EegStudy` or a :class:`VoxelStudy`.

    If the settings name no subjects and :data:`SUBJECTS` lists some for this study, these are used.
    """
    listed = json.loads(os.environ.get(SUBJECTS, "{}")).get(name)
    if listed is not None and "subjects" not in settings:
        settings = {**settings, "subjects": listed}
    return kinds.load("studies", settings["kind"])(name=name, settings=settings, results=Path(results))


def digest(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of something's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def table_digest(table: pd.DataFrame) -> str:
    """Digest of a stimulus table, or of some columns of one."""
    return digest({str(name): table[name].tolist() for name in table})


def check_labels(study: Study, planned: str | None) -> None:
    """Refuse labels that were edited between the planning of a job and its start, because its record would be wrong."""
    _check(study.label_digest(), planned, study.label_files())


def check_catalogue(study: Study, planned: str | None) -> None:
    """The same for the whole stimulus table."""
    _check(study.catalogue_digest(), planned, study.stimulus_files())


def _check(found: str | None, planned: str | None, files: list[str]) -> None:
    if planned is not None and found != planned:
        raise InputError(
            f"{', '.join(files)}: changed since snakemake planned this job (digest {planned} then, {found} now); "
            "start snakemake again"
        )
