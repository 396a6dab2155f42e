"""Stage ``images``: unpack the pictures of THINGS-EEG2, and check that they match the labels.

Inputs ``record`` (records of the downloads, among them those of both archives); outputs ``stimuli`` (stimuli.tsv: one
row per picture in the order of the stimulus table, ``image`` relative to the table) and ``record`` (size and hash of
the table and of every picture; written last). A folder of pictures is unpacked aside and renamed when every picture was
read, so what a killed job leaves is never taken for the whole.

The archives tell which picture a number means: training picture e is file (e - 1) % 10 in alphabetical order of folder
(e - 1) // 10 + 1, test picture e the file in folder e. The index of the study must agree, but for file names that it
only infers.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from brain2clip import artefact, stage
from brain2clip.names import SPLITS
from brain2clip.readers import contract, file_records, things_index
from brain2clip.readers.downloaded import DownloadedStudy
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

log = stage.log

SUFFIXES = (".jpg", ".jpeg", ".png")
#: Unpacked, an archive is not larger than this, bytes (the training pictures: 0.7 GB).
LARGEST = 4_000_000_000
#: ... nor than this many times its packed size; pictures hardly shrink.
LARGEST_RATIO = 20
#: Free space that is asked for beyond the pictures themselves.
SPARE = 1.05

#: What zipfile raises at damaged archives; OSError and ValueError come from offsets beyond the file.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
)

#: Folder and file name of a picture.
Name = tuple[str, str]


@dataclass(frozen=True)
class Archive:
    """A downloaded archive of pictures.

    Attributes
    ----------
    path : Path
        The zip file.
    record : Path
        Record of its download.
    """

    path: Path
    record: Path

    def wrong(self, what: str) -> InputError:
        """A refusal of a file that is not what was downloaded."""
        return InputError(
            f"{self.path}: {what}\n  delete {self.record} and start snakemake again, which downloads it again"
        )


def run(job: stage.Job) -> None:
    """Unpack both archives, then write the table and the record."""
    given = job.settings
    study = contract.load(given["name"], given["study"], given["results"])
    output, made = job.output("stimuli"), job.output("record")
    for path in (output, made):
        path.unlink(missing_ok=True)
    records = [record for record, _ in job.each("record")]
    index, parts = study.index, []
    for split in SPLITS:
        rows = index[index["split"] == split]
        archive = find_archive(study, f"stimuli/{things_index.FOLDERS[split]}.zip", records)
        files = unpack(archive, rows, output.parent / things_index.FOLDERS[split], study.block.images)
        parts.append(things_index.stimulus_rows(rows.assign(file=files)))
    text = "".join(
        part.to_csv(sep="\t", index=False, header=not n, lineterminator="\n") for n, part in enumerate(parts)
    )
    artefact.write_text(output, text)
    pictures = [output.parent / path for part in parts for path in part["image"]]
    file_records.write(made, study.dataset, [output, *pictures])


# ---------------------------------------------------------------------------------------------- archives


def find_archive(study: DownloadedStudy, path: str, records: list[Path]) -> Archive:
    """An archive that is as it was downloaded.

    Parameters
    ----------
    study : DownloadedStudy
        Says where the dataset is.
    path : str
        Path of the archive inside the dataset.
    records : list of Path
        Records of downloads.

    Raises
    ------
    brain2clip.stage.InputError
        When no record names the archive, or it is absent or another file.
    """
    record = file_records.listing(study.root / path, records, study.root)
    record.check(study.root / path)
    return Archive(study.root / path, record.path)


def _open(archive: Archive) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive.path)
    except DAMAGE as error:
        raise archive.wrong(f"not a complete zip archive ({type(error).__name__}: {error})") from None


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Archive) -> bytes:
    """Content of a member, whose checksum zipfile compares."""
    try:
        return file.read(member)
    except DAMAGE as error:
        raise archive.wrong(f"{member.filename} cannot be read ({type(error).__name__}: {error})") from None


def pictures_in(file: zipfile.ZipFile, archive: Archive) -> dict[Name, zipfile.ZipInfo]:
    """Pictures of an archive by folder and file name, with or without one folder around them all.

    Raises
    ------
    brain2clip.stage.InputError
        When a member could be written elsewhere, is a link or encrypted, when all of them are too large, or when a
        picture does not lie in a folder of its concept.
    """
    members = file.infolist()
    for member in members:
        _check_safe(member, archive)
    unpacked, packed = (sum(getattr(member, key) for member in members) for key in ("file_size", "compress_size"))
    if unpacked > min(LARGEST, LARGEST_RATIO * packed):
        raise archive.wrong(
            f"{unpacked / 1e6:.1f} MB unpacked from {packed / 1e6:.1f} MB; expected at most {LARGEST_RATIO} times the "
            f"packed size, and {LARGEST / 1e9:g} GB"
        )
    found: dict[Name, zipfile.ZipInfo] = {}
    around = set()
    for member in filter(_is_picture, members):
        parts = PurePosixPath(member.filename).parts
        around.add(parts[:-2])
        if len(parts) not in (2, 3) or len(around) > 1:
            raise archive.wrong(
                f"{member.filename!r}; expected all pictures to have paths such as 00001_aardvark/aardvark_01b.jpg"
            )
        folder, name = parts[-2:]
        if (folder, name) in found:
            raise archive.wrong(f"{member.filename!r} occurs twice")
        found[folder, name] = member
    return found


def _check_safe(member: zipfile.ZipInfo, archive: Archive) -> None:
    """Refuse what an archive of pictures has no reason to hold."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/") or not name.isprintable():
        raise archive.wrong(f"member {name!r}; expected paths inside the archive, with '/' between folders")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise archive.wrong(f"member {name!r} is a link or device; expected files and folders")
    if member.flag_bits & 0x1:
        raise archive.wrong(f"member {name!r} is encrypted; expected plain pictures")


def _is_picture(member: zipfile.ZipInfo) -> bool:
    """Whether a member counts; what macOS leaves in archives does not."""
    parts = PurePosixPath(member.filename).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not member.is_dir() and not hidden and member.filename.lower().endswith(SUFFIXES)


# ------------------------------------------------------------------------------------------------- order


def in_order(found: dict[Name, zipfile.ZipInfo], rows: pd.DataFrame, archive: Archive, index: str) -> list[Name]:
    """Pictures in the order of their numbers.

    Parameters
    ----------
    found : dict
        From :func:`pictures_in`.
    rows : pandas.DataFrame
        Rows of the split in the index (:func:`brain2clip.readers.things_index.read_index`).
    archive : Archive
        For messages.
    index : str
        Path of the index, for messages.

    Returns
    -------
    list of (str, str)
        Folder and file name of picture 1, 2, ….

    Raises
    ------
    brain2clip.stage.InputError
        When folders, numbers of files, or names that are published differ from the index.
    """
    files: dict[str, list[str]] = defaultdict(list)
    for folder, name in sorted(found):
        files[folder].append(name)
    expected = rows.groupby("folder", sort=False).size()
    _check_folders(set(files), set(expected.index), archive, index)
    other = {folder: len(files[folder]) for folder in expected.index if len(files[folder]) != expected[folder]}
    if other:
        folder, count = next(iter(other.items()))
        raise _disagree(
            archive, index, f"{count} pictures in {folder}, expected {expected[folder]} ({len(other)} such folders)"
        )
    order = [(folder, name) for folder in expected.index for name in files[folder]]
    _check_names(order, rows, archive, index)
    return order


def _check_folders(found: set[str], expected: set[str], archive: Archive, index: str) -> None:
    for what, names in (("missing", expected - found), ("not in the index", found - expected)):
        if names:
            raise _disagree(
                archive,
                index,
                f"{len(found)} folders of pictures, expected {len(expected)}; {len(names)} {what}: "
                f"{', '.join(sorted(names)[:5])}",
            )


def _check_names(order: list[Name], rows: pd.DataFrame, archive: Archive, index: str) -> None:
    """Refuse other names than the published ones; log other names than the inferred ones, for the archive is right."""
    names = [name for _, name in order]
    other = rows.assign(found=names)[[found != name for found, name in zip(names, rows["file"])]]
    texts = [f"{row.number}: {row.folder}/{row.found} (index: {row.file})" for row in other.itertuples()]
    published = [text for text, listed in zip(texts, other["listed"]) if listed]
    if published:
        raise _disagree(
            archive,
            index,
            f"{len(published)} pictures differ in name from the published list, e.g. {'; '.join(published[:5])}",
        )
    if texts:
        log.warning(
            "images: %s: %d of %d file names differ from those that %s infers; the names in the archive are used: %s",
            *(archive.path, len(texts), len(names), index, "; ".join(texts[:5])),
        )


def _disagree(archive: Archive, index: str, what: str) -> InputError:
    return InputError(
        f"{archive.path}: {what}\n  archive and index ({index}, setting images of the study) are of different versions "
        "of the dataset, so that labels would belong to other pictures; correct the index or the manifest"
    )


# --------------------------------------------------------------------------------------------- unpacking


def unpack(archive: Archive, rows: pd.DataFrame, folder: Path, index: str) -> list[str]:
    """Unpack an archive into a folder, unless its pictures are there already.

    Parameters
    ----------
    archive : Archive
        What to unpack.
    rows : pandas.DataFrame
        Rows of the split in the index.
    folder : Path
        Where to; pictures come to ``folder/00001_aardvark/aardvark_01b.jpg``.
    index : str
        Path of the index, for messages.

    Returns
    -------
    list of str
        File names in the order of the rows.
    """
    with _open(archive) as file:
        found = pictures_in(file, archive)
        order = in_order(found, rows, archive, index)
        sizes = {name: member.file_size for name, member in found.items()}
        if _sizes(folder) == sizes and _sums(folder, sizes) == {name: member.CRC for name, member in found.items()}:
            log.info("images: %s: all %d pictures found", folder, len(order))
        else:
            _extract(file, archive, {name: found[name] for name in order}, folder)
    return [name for _, name in order]


def _sizes(folder: Path) -> dict[Name, int]:
    """Size of what is in the folders of a folder, bytes; hidden files do not count."""
    if not folder.is_dir():
        return {}
    return {
        (inner.name, file.name): file.stat().st_size
        for inner in os.scandir(folder)
        if inner.is_dir()
        for file in os.scandir(inner.path)
        if not file.name.startswith(".")
    }


def _sums(folder: Path, names: Iterable[Name]) -> dict[Name, int]:
    """Checksums of pictures as archives have them: those of an earlier run may be damaged."""
    return {name: zlib.crc32(folder.joinpath(*name).read_bytes()) for name in names}


def _extract(file: zipfile.ZipFile, archive: Archive, pictures: dict[Name, zipfile.ZipInfo], folder: Path) -> None:
    """Write all pictures aside, then put them in their place."""
    _check_space(folder, sum(member.file_size for member in pictures.values()))
    aside = folder.with_name(f".{folder.name}.part")
    _remove(aside)
    try:
        for (concept, name), member in stage.progress(list(pictures.items()), f"images: {folder.name}"):
            content = _read(file, member, archive)
            _check_picture(content, member.filename, archive)
            path = aside / concept / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _remove(folder)
        aside.rename(folder)
    finally:
        _remove(aside)


def _check_picture(content: bytes, name: str, archive: Archive) -> None:
    """Refuse what does not open as a picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise archive.wrong(f"{name} is not a picture ({type(error).__name__}: {error})") from None


def _check_space(folder: Path, needed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < needed * SPARE:
        raise InputError(
            f"{folder.parent}: {free / 1e9:.2f} GB free, {needed * SPARE / 1e9:.2f} GB are needed to unpack the "
            "pictures; make room, or set results to a folder on another disk"
        )


def _remove(path: Path) -> None:
    """Remove a folder; of a link only the link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


if __name__ == "__main__":
    stage.main(run)
