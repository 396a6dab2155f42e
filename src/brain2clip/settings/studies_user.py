"""Data on disk that the settings describe."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from brain2clip.settings.base import EachOnce, Filled, neutral, suggest
from brain2clip.settings.study_base import (
    EegStudyBase,
    Labels,
    Split,
    UserStudyBase,
    Values,
    VoxelStudyBase,
)

#: Formats of recordings by datatype.
_FORMATS = {"eeg": (".vhdr", ".edf", ".bdf", ".set", ".fif"), "meg": (".fif", ".ds", ".con", ".sqd", ".pdf")}


class BidsStudy(UserStudyBase, EegStudyBase):
    """Any BIDS dataset of EEG or MEG on disk."""

    formerly: ClassVar[tuple[str, ...]] = ("bids_eeg",)

    kind: Literal["bids"] = "bids"
    root: Filled | None = Field(
        None, description="folder of the BIDS dataset, relative to the working directory or absolute"
    )
    manifest: Filled | None = neutral(
        None,
        description="in place of root, a dataset to download: its accession at OpenNeuro or NEMAR (ds004212, nm000232) "
        "if the manifest is shipped or was made with `brain2clip manifest ACCESSION`, or the path of a manifest. "
        "Only files of the chosen subjects and tasks are fetched",
    )
    subjects: Labels | Literal["all"] = Field("all", description="BIDS subject labels without 'sub-'")
    datatype: Literal["eeg", "meg"] = neutral("eeg", description="what was recorded: the folder of the recordings")
    picks: Literal["eeg", "mag", "grad", "meg"] | None = neutral(
        None,
        description="types of the channels to read. eeg; for MEG mag (magnetometers, and the axial gradiometers of CTF "
        "and KIT, which MNE calls mag), grad (planar gradiometers), meg (both, if there are both); reference "
        "channels are never read (null: eeg or meg, as the datatype)",
    )
    channel_types: Literal["table", "file"] | None = neutral(
        None,
        description="where the type of a channel is read: table (channels.tsv) or file (the recording). Names and "
        "status are read from channels.tsv in both cases (null: table for EEG; file for MEG, because its tables are "
        "often wrong)",
    )
    tasks: Labels = Field(description="BIDS task labels to read")
    stimulus: Filled = Field(
        description="what names the stimulus of an event: a column of events.tsv, or a template with columns and the "
        "entities subject, session, task, run in braces, e.g. '{task}-{tot_img_number}'"
    )
    keep: dict[Filled, Values] = neutral(
        {},
        description="events.tsv columns and the values that make an event a trial, e.g. {trial_type: [image]}",
    )
    entities: dict[str, str | None] = neutral(
        {},
        description="further BIDS entities (acq, desc, ses, run, space of electrodes ...) with the label of the "
        "files to read, if there are several files, e.g. {acq: clean}; null: the files without this entity",
    )
    extension: Literal[".vhdr", ".edf", ".bdf", ".set", ".fif", ".ds", ".con", ".sqd", ".pdf"] | None = neutral(
        None, description="format to read if a recording exists in several (null: it exists in one)"
    )

    @property
    def technique(self) -> str:
        """EEG or MEG."""
        return self.datatype

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.root is None) == (self.manifest is None):
            raise ValueError(
                "give either root (a folder) or manifest (what to download, e.g. ds004212), and only one of them"
            )
        return self

    @model_validator(mode="after")
    def _of_datatype(self) -> Self:
        if self.picks is not None and (self.picks == "eeg") != (self.datatype == "eeg"):
            raise ValueError(
                f"picks: {self.picks} does not fit datatype: {self.datatype}; leave picks out, or change one of them"
            )
        if self.extension is not None and self.extension not in _FORMATS[self.datatype]:
            known = ", ".join(_FORMATS[self.datatype])
            raise ValueError(
                f"extension: found {self.extension}, not a format of {self.datatype}; expected one of {known}"
            )
        return self

    @field_validator("entities")
    @classmethod
    def _entities_of_files(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        own = {"sub": "subjects", "task": "tasks", "split": "nothing: all parts of a recording are read"}
        for key in value:
            if key in own:
                raise ValueError(f"entities: {key} cannot be chosen here; set {own[key]} instead")
            if not (key.isascii() and key.isalpha()):
                raise ValueError(f"entities: {key!r} is not a BIDS entity; expected a short name, such as acq or desc")
        return value


class VoxelTableStudy(UserStudyBase, VoxelStudyBase):
    """Any voxel data on disk: a file of voxel signals and a table of its rows per subject."""

    kind: Literal["voxel_table"] = "voxel_table"
    signals: Filled = Field(
        description="file of voxel signals, {subject} stands for the label: .nii or .nii.gz (x, y, z, rows), .npz "
        "(array 'data' [rows, voxels]), .npy, or .h5 (dataset 'data'; BData files by their own layout)"
    )
    table: Filled = Field(
        description="table of the rows of the signals with a header, tab, comma or space separated; {subject} stands "
        "for the label"
    )
    columns: Values | None = neutral(None, description="names of the table's columns where it has no header")
    subjects: Labels = Field(description="subject labels")
    mask: Filled | None = neutral(None, description="NIfTI mask of the voxels to read, {subject} stands for the label")
    rois: dict[Filled, Filled] = neutral(
        {},
        description="regions by name: NIfTI mask, or the name of a mask [voxels] in an .npz or .h5 file of signals",
    )
    space: Literal["affine", "grid"] = neutral(
        "affine",
        description="how NIfTI masks and regions are matched with the voxels of the signals. affine: by their "
        "position in space, from the headers (another order of the axes is corrected; another grid is an error); "
        "grid: by the shape alone, voxel by voxel",
    )
    stimulus: Filled = Field(description="column that names the stimulus of a row")
    rest: Annotated[tuple[Filled, ...], EachOnce] = neutral(
        (), description="values of that column that mean no stimulus, e.g. [rest]"
    )
    run: Filled | None = neutral(None, description="column that names the run of a row (null: one run)")
    session: Filled | None = neutral(
        None,
        description="column that names the session of a row, needed if each session numbers its runs from the start "
        "(null: one session)",
    )
    split: Split = Field(
        description="what is training and what is test (by: column, run, session or concepts; a run may be named "
        "with its session, as in 01/2); {subject} in its values stands for the label, so that runs of one person can "
        "be folds, each a subject named after the run it leaves out"
    )

    @model_validator(mode="after")
    def _split_of_rows(self) -> Self:
        by = self.split.by
        if by == "task":
            raise ValueError(
                "split.by: task works for recordings only; for a voxel table expected column, run, session or concepts"
            )
        if by in ("run", "session") and getattr(self, by) is None:
            raise ValueError(f"split.by: {by} needs the setting {by}, the column that names the {by} of a row")
        named = {"stimulus": self.stimulus, "run": self.run, "session": self.session, "split.column": self.split.column}
        for key, column in named.items():
            if self.columns is not None and column is not None and column not in self.columns:
                raise ValueError(f"{key}: {column!r} is not in columns{suggest(column, self.columns)}")
        return self
