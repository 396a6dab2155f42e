"""Common parts of studies whose files are downloaded from a manifest, unit by unit.

Downloads go to ``results/raw/{dataset}``, by the name of the dataset: studies with other settings share them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from brain2clip.names import suggestion
from brain2clip.readers import bids_files, contract, file_records, labels, manifests
from brain2clip.readers.bids_files import Table
from brain2clip.readers.contract import Recording
from brain2clip.readers.manifests import Entry
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np


class DownloadedStudy(contract.Study):
    """Base of studies whose settings name a manifest.

    Attributes
    ----------
    dataset : str
        Name of the folder in ``results/raw``, shared by all studies of that dataset.
    description : str or None
        A file on top of the dataset, whose unit describes it.
    root : Path
        Folder of the dataset.
    """

    dataset: ClassVar[str]
    description: ClassVar[str | None] = None

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.root = self.results / "raw" / self.dataset

    def subject_units(self, subject: str) -> list[str]:
        """Download units of a subject."""
        raise NotImplementedError

    def shared_units(self) -> list[str]:
        """Download units that belong to all subjects."""
        return [] if self.description is None else [self.unit(self.description)]

    def downloads(self) -> dict[str, tuple[Entry, ...]]:
        """All that this study may need: name of each download unit to its files of the manifest."""
        wanted = {*self.shared_units(), *(unit for subject in self.subjects() for unit in self.subject_units(subject))}
        return {unit: self.units[unit] for unit in sorted(wanted)}

    def record(self, unit: str) -> str:
        """Path of the record that a finished download leaves."""
        return str(self.results / "downloads" / self.dataset / f"{unit}.json")

    def description_files(self) -> list[str]:
        """Record of the files on top: the dataset's description, participants, changes."""
        return [] if self.description is None else [self.record(self.unit(self.description))]

    def files(self, subject: str) -> list[str]:
        """Records of the downloads of a subject."""
        return [self.record(unit) for unit in self.subject_units(subject)]

    # ---------------------------------------------------------------------------------------- manifest

    @cached_property
    def manifest(self) -> Path:
        """The manifest that the settings name, by its path or by an accession."""
        return manifests.find(self.block.manifest, self.setting("manifest"))

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Files of the manifest by path."""
        return {entry.path: entry for entry in manifests.read(self.manifest)}

    @cached_property
    def units(self) -> dict[str, tuple[Entry, ...]]:
        """Files of the manifest by download unit."""
        return manifests.units(self.entries.values(), self.unit_of)

    def unit_of(self, path: str) -> str:
        """Name of the download unit of a file."""
        return manifests.unit_of(path)

    def unit(self, path: str) -> str:
        """Download unit of a file that the manifest must list."""
        if path not in self.entries:
            raise InputError(
                f"{self.manifest}: does not list {path}, which studies.{self.name} needs; complete the "
                f"manifest (setting {self.setting('manifest')})"
            )
        return self.unit_of(path)

    def wanted(self, setting: str, known: Iterable[str], source: str = "") -> tuple[str, ...]:
        """Labels that a setting asks for, sorted. A label that the manifest does not know is refused."""
        given = getattr(self.block, setting)
        return labels.wanted(self.setting(setting), given, known, f"{self.manifest}{source}")

    def relative(self, path: Path) -> str:
        """Path inside the dataset."""
        return path.relative_to(self.root).as_posix()

    def check_recording(self, recording: Recording) -> None:
        """Refuse files of a recording that are not as they came, and sidecars that no download brought.

        The responses would not say that they were read.
        """
        for path in (recording.path, *bids_files.sidecar_files(recording)):
            self.check_there(path)
        self._record_of(recording.path).check_all()  # samples and markers, and what should be there and is not

    def check_there(self, path: Path) -> None:
        """Refuse a file that no download brought, or that is not as it came."""
        if self.relative(path) not in self.entries:
            raise InputError(
                f"{path}: not listed in {self.manifest} (setting {self.setting('manifest')}), so it is never "
                "downloaded; complete the manifest, or remove the file"
            )
        self._record_of(path).check(path)

    def _record_of(self, path: Path) -> file_records.FileRecord:
        return file_records.read(Path(self.record(self.unit_of(self.relative(path)))), self.root)


@dataclass(frozen=True)
class PublishedTable:
    """A downloaded table whose content is checked against what was published.

    Attributes
    ----------
    path : Path
        Where it lies.
    table : dict of list of str
        Its columns as text.
    record : str
        Record of its download, for messages.
    """

    path: Path
    table: Table
    record: str

    def wrong(self, what: str) -> InputError:
        """A refusal with what to do about it."""
        return InputError(
            f"{self.path}: {what}\n  this is not the published table; delete {self.record} and start snakemake "
            "again, which downloads it"
        )

    def require(self, names: Iterable[str]) -> None:
        """Refuse a table without a column that is needed."""
        for name in names:
            if name not in self.table:
                raise self.wrong(f"no column {name!r}{suggestion(name, self.table)}; found {', '.join(self.table)}")

    def numbers(self, name: str) -> np.ndarray:
        """A column as numbers [n_rows], NaN where it holds none."""
        import pandas as pd

        return pd.to_numeric(pd.Series(self.table[name], dtype=object), errors="coerce").to_numpy(float)

    def value(self, name: str, bad: np.ndarray) -> str:
        """Text of a column in the first bad row."""
        return self.table[name][int(bad.argmax())]

    def cell(self, name: str, bad: np.ndarray) -> str:
        """The same with its place, for messages."""
        return f"{name} of event {int(bad.argmax()) + 1} is {self.value(name, bad)!r}"
