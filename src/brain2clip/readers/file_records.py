"""Records of files that the pipeline put on disk in formats without room for a digest: downloads, pictures, recordings.

A record is JSON with its own digest (:func:`brain2clip.artefact.write_json`) and the size and hash of each file. It is
the input of later stages, so their provenance has these hashes; readers compare each file with it first. Records of
downloads are in ``results/downloads``; other records are named :data:`NAME` and lie on top of their folder, so that
they are in every copy of it. Standard library only: the Snakefile imports this.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from brain2clip import artefact
from brain2clip.stage import InputError

NAME = "brain2clip-files.json"
#: How many folders above a file its record may be.
LEVELS = 3
CHUNK = 1 << 20


@dataclass(frozen=True)
class Listed:
    """A file of a record.

    Attributes
    ----------
    path : str
        Path inside of the root of the record, with ``/``.
    size : int or None
        Bytes, where known.
    algorithm : str
        One of those of manifests.
    hash : str
        Hexadecimal digits; empty where none is known.
    """

    path: str
    size: int | None
    algorithm: str
    hash: str


@dataclass(frozen=True)
class FileRecord:
    """Sizes and hashes of some files.

    Attributes
    ----------
    path : Path
        The record.
    root : Path
        Folder that its paths are relative to.
    files : mapping
        Path of each file, with ``/``, to its size and hash.
    """

    path: Path
    root: Path
    files: Mapping[str, Listed]
    # Sizes and times of files that were compared: each file is hashed once until it changes.
    _compared: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False, compare=False)

    def entry(self, path: Path) -> Listed | None:
        """Entry of a file, or None if it is not listed."""
        return self.files.get(Path(os.path.relpath(path, self.root)).as_posix())

    def check(self, path: Path) -> None:
        """Refuse a file that differs from its record.

        Raises
        ------
        brain2clip.stage.InputError
            If it is not listed, absent, or of another size or content.
        """
        entry = self.entry(path)
        if entry is None:
            raise InputError(
                f"{path}: not listed in {self.path}, so it does not come from the pipeline; remove the file, or "
                f"{self._again}"
            )
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected one of {entry.size} bytes ({self.path}); {self._again}")
        found = path.stat()
        signature = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if self._compared.get(entry.path) == signature:
            return
        if entry.size is not None and found.st_size != entry.size:
            raise InputError(
                f"{path}: {found.st_size} bytes, expected {entry.size} ({self.path}); it was changed or cut short "
                f"after it was written; {self._again}"
            )
        if entry.hash and digest(path, entry.algorithm) != entry.hash:
            raise InputError(
                f"{path}: its content does not match {self.path} (another {entry.algorithm}); it was changed or "
                f"damaged after it was written; {self._again}"
            )
        self._compared[entry.path] = signature

    def check_all(self) -> None:
        """The same for every file that is listed."""
        for name in self.files:
            self.check(self.root / name)

    @property
    def _again(self) -> str:
        return f"delete {self.path} and start snakemake again, which downloads or makes it again"


# ---------------------------------------------------------------------------------------------- reading


def read(path: Path, root: Path) -> FileRecord:
    """A record, verified.

    Parameters
    ----------
    path : Path
        The record.
    root : Path
        Folder that its paths are relative to.

    Raises
    ------
    brain2clip.stage.InputError
        When it is absent, damaged or no record.
    """
    state = path.stat() if path.is_file() else None
    return _read(path, root, state and (state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@functools.lru_cache(maxsize=256)
def _read(path: Path, root: Path, _: object) -> FileRecord:
    try:
        entries = [Listed(**one) for one in artefact.read_json(path)["files"]]
    except (artefact.ArtefactError, OSError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a record of files ({type(error).__name__}: {error}); delete it and start snakemake again, "
            "which downloads or makes the files again"
        ) from None
    return FileRecord(path, root, {entry.path: entry for entry in entries})


def above(path: Path) -> FileRecord | None:
    """The record in one of the folders above a file, or None if there is none."""
    for folder in list(path.parents)[:LEVELS]:
        if (folder / NAME).is_file():
            return read(folder / NAME, folder)
    return None


def check_own(path: Path) -> None:
    """Refuse a file of the pipeline that no record above it lists, or that differs from its record."""
    record = above(path)
    if record is None:
        raise InputError(
            f"{path}: no {NAME} in its folder or above, which records size and digest; delete the file and start "
            "snakemake again, which makes it again"
        )
    record.check(path)


def check_if_own(path: Path) -> None:
    """The same for a file that may be the user's: files without a record are accepted."""
    record = above(path)
    if record is not None and record.entry(path) is not None:
        record.check(path)


def listing(path: Path, records: Iterable[Path], root: Path) -> FileRecord:
    """The record that lists a file, of several with the same root."""
    found = [read(record, root) for record in records]
    for record in found:
        if record.entry(path) is not None:
            return record
    raise InputError(
        f"{path}: in no record of a download; records: {', '.join(str(one.path) for one in found) or 'none'}"
    )


# ---------------------------------------------------------------------------------------------- writing


def content(dataset: str, files: Iterable[Listed]) -> dict[str, Any]:
    """Content of a record: the files as they are now."""
    return {"dataset": dataset, "files": [asdict(file) for file in files]}


def write(path: Path, dataset: str, files: Iterable[Path]) -> None:
    """Write the record of files that are complete now, in the folder of the record or below."""
    names = sorted(file.relative_to(path.parent).as_posix() for file in files)
    artefact.write_json(path, content(dataset, [measured(path.parent, name) for name in names]))


def measured(root: Path, name: str) -> Listed:
    """A file as it is now."""
    path = root / name
    return Listed(name, path.stat().st_size, "sha256", digest(path, "sha256"))


def digest(path: Path, algorithm: str) -> str:
    """Hash of a file by one of the algorithms of manifests, hexadecimal."""
    found = hashlib.new("sha1" if algorithm == "git-sha1" else algorithm, usedforsecurity=False)
    if algorithm == "git-sha1":
        found.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
