"""Manifests: what a dataset consists of, and in which units it is downloaded.

A manifest is a CSV table ``path,size_bytes,hash_algorithm,hash,url``, plain or compressed by gzip (a name that ends in
``.gz``). Standard library only: the Snakefile imports this. ``python -m brain2clip.readers.manifests SOURCE DEST``
checks and sorts a table and writes it where it is kept.
"""

from __future__ import annotations

import argparse
import csv
import functools
import gzip
import hashlib
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from brain2clip import artefact
from brain2clip.stage import InputError

COLUMNS = ("path", "size_bytes", "hash_algorithm", "hash", "url")
#: Hexadecimal digits of each algorithm; git-sha1 is that of a git blob: ``blob <size>``, a null byte, the content.
#: ``size`` is not a hash: only the size of the file is known, so other content of the same length is not noticed.
#: ``none``: the size is not known either; the code that reads the file has to check that it is the right one.
DIGITS = {"sha256": 64, "md5": 32, "git-sha1": 40, "size": 0, "none": 0}
#: Algorithms that do not check the content.
WITHOUT_HASH = ("size", "none")

#: Which manifests are shipped: accession, version, file, what it lists.
SHIPPED = Path("workflow/manifests/datasets.tsv")
#: Where ``brain2clip manifest`` writes.
MADE = Path("manifests")
#: Accession of a dataset of OpenNeuro or NEMAR.
ACCESSION = re.compile(r"(ds|nm|on)[0-9]{6}")

_ENTITY = re.compile(r"(task|acq|run)-[A-Za-z0-9]+")
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_SESSION = re.compile(r"ses-[A-Za-z0-9]+")
# Paths that can be read back from their name with "-" for "/" and "--" for ".": no dash but in a name sub-….
_PLAIN = re.compile(r"((?!sub/)\w+/)+(sub(-\w+)+|\w+)\.[A-Za-z0-9]+", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One file of a dataset.

    Attributes
    ----------
    path : str
        Path inside the dataset, with ``/``.
    size : int or None
        Bytes, where known.
    algorithm : str
        One of :data:`DIGITS`.
    hash : str
        Lower-case hexadecimal digits; empty for the algorithms ``size`` and ``none``.
    url : str
        Where the file is published.
    """

    path: str
    size: int | None
    algorithm: str
    hash: str
    url: str


def find(given: str, setting: str) -> Path:
    """The manifest that a setting names: by its path, or by the accession of a dataset.

    For an accession it is the shipped manifest, else the one that ``brain2clip manifest`` wrote.

    Parameters
    ----------
    given : str
        Value of the setting.
    setting : str
        Its full name, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        If there is no manifest of that dataset (with the command that makes it), or there are two.
    """
    if not ACCESSION.fullmatch(given):
        if re.fullmatch("(ds|nm|on)[0-9]+", given, re.IGNORECASE):
            raise InputError(
                f"{setting}: {given!r} is not an accession; expected two letters in lower case and six digits, as "
                "ds004212 or nm000134"
            )
        return Path(given)
    kept = shipped(given)
    if kept is not None:
        return kept
    own = [one for one in (place(given), place(given).with_suffix("")) if one.is_file()]
    if len(own) > 1:
        raise InputError(
            f"{setting}: {' and '.join(map(str, own))} are both manifests of {given}; expected one: remove one, or "
            "name the path of one"
        )
    if not own:
        raise InputError(
            f"{setting}: no manifest of {given} is shipped, and the folder {MADE} has none; make it with\n"
            f"  brain2clip manifest {given}\n"
            "without a network: add --source with a clone of its repository, or an archive of a clone "
            "(docs/datasets.md)"
        )
    return own[0]


def place(accession: str) -> Path:
    """Where ``brain2clip manifest`` writes the manifest of a dataset by default."""
    return MADE / f"{accession}.csv.gz"


def shipped(accession: str, root: Path | None = None) -> Path | None:
    """The shipped manifest of a dataset, or None; ``root`` is the folder of the project (None: working directory)."""
    table = (root or Path()) / SHIPPED
    if not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as file:
        names = {row["accession"]: row["file"] for row in csv.DictReader(file, delimiter="\t")}
    return SHIPPED.parent / names[accession] if accession in names else None


def read(path: Path | str) -> tuple[Entry, ...]:
    """All entries of a manifest, in its order.

    Raises
    ------
    brain2clip.stage.InputError
        If the table is missing, is not a complete gzip file although its name ends in ``.gz``, or has another header;
        or if a path is not inside the dataset or occurs twice, an algorithm is unknown, a hash has the wrong length, a
        size is not a number (or is missing for algorithm ``size``), or an address is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; expected a CSV table with the columns {','.join(COLUMNS)}")
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


def check(entry: Entry, where: str) -> None:
    """Stop at an entry that cannot be fetched safely.

    Parameters
    ----------
    entry : Entry
        What to check.
    where : str
        File and line, for the message.

    Raises
    ------
    brain2clip.stage.InputError
        See :func:`read`.
    """
    plain = PurePosixPath(entry.path)
    if entry.path != str(plain) or plain.is_absolute() or ".." in plain.parts or not plain.parts:
        raise InputError(
            f"{where}: path {entry.path!r}; expected a relative path without '..', such as sub-01/eeg/x.bdf"
        )
    if "\\" in entry.path or not entry.path.isprintable():
        raise InputError(f"{where}: path {entry.path!r}; expected '/' between folders and no control characters")
    if entry.size is not None and entry.size < 0:
        raise InputError(f"{where}: size {entry.size} of {entry.path}; expected bytes, or nothing if it is unknown")
    if entry.algorithm not in DIGITS:
        raise InputError(f"{where}: hash algorithm {entry.algorithm!r}; expected one of {', '.join(DIGITS)}")
    digits = DIGITS[entry.algorithm]
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", entry.hash):
        raise InputError(
            f"{where}: hash {entry.hash!r} of {entry.path}; "
            f"expected {digits} lower-case hexadecimal digits for {entry.algorithm}"
        )
    if entry.algorithm == "size" and entry.size is None:
        raise InputError(
            f"{where}: no size_bytes of {entry.path}; expected bytes, because hash algorithm 'size' checks nothing else"
        )
    if not _is_address(entry.url):
        raise InputError(f"{where}: url {entry.url!r} of {entry.path}; expected https://…, http://… or file:///…")


def unit_of(path: str) -> str:
    """Name of the download unit of a file: what is fetched by one job.

    A recording with its sidecars is one unit. The common files of a session (or of a subject) are another unit, and so
    are the files at the top. Every other file, such as an archive, is a unit of its own.

    Parameters
    ----------
    path : str
        Path inside the dataset.

    Returns
    -------
    str
        ``sub-01_ses-01_task-train_run-01``, ``sub-01_ses-01``, ``dataset``, ``stimuli-training_images`` (of a .zip),
        ``stimuli-LICENSE--txt`` (of another file).
    """
    folders, name = path.split("/")[:-1], path.rpartition("/")[2]
    if not folders:
        return "dataset"
    if _SUBJECT.fullmatch(folders[0]):
        return _recording_unit(folders, name)
    if _PLAIN.fullmatch(path):
        return path.removesuffix(".zip").replace("/", "-").replace(".", "--")
    # Names of the form above never have three dashes, so the two forms cannot be equal.
    return re.sub(r"[^A-Za-z0-9_]+", "-", path).strip("-") + "---" + hashlib.sha256(path.encode()).hexdigest()[:10]


def units(entries: Iterable[Entry], name: Callable[[str], str] | None = None) -> dict[str, tuple[Entry, ...]]:
    """Entries by download unit, both sorted; ``name`` gives the unit of a path (None: :func:`unit_of`)."""
    name = name or unit_of
    grouped: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        grouped.setdefault(name(entry.path), []).append(entry)
    return {unit: tuple(grouped[unit]) for unit in sorted(grouped)}


def text(entries: Iterable[Entry]) -> str:
    """A manifest as CSV text, sorted by path."""
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(COLUMNS)
    for entry in sorted(entries, key=lambda entry: entry.path):
        size = "" if entry.size is None else entry.size
        table.writerow([entry.path, size, entry.algorithm, entry.hash, entry.url])
    return lines.getvalue()


def write(path: Path | str, entries: Iterable[Entry]) -> None:
    """Write a manifest, sorted by path; it is compressed if its name ends in ``.gz``.

    The same entries give the same bytes: a compressed file has no time stamp and no name.
    """
    path = Path(path)
    if path.suffix != ".gz":
        artefact.write_text(path, text(entries))
        return
    with artefact.aside(path) as part:
        part.write_bytes(gzip.compress(text(entries).encode(), mtime=0))


def main(arguments: list[str] | None = None) -> None:
    """Make a manifest from a table with the same columns."""
    parser = argparse.ArgumentParser(prog="python -m brain2clip.readers.manifests", description=main.__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="table to check and sort")
    parser.add_argument("dest", type=Path, metavar="DEST", help="manifest to write")
    given = parser.parse_args(arguments)
    try:
        entries = read(given.source)
    except InputError as error:
        sys.exit(str(error))
    write(given.dest, entries)
    unknown = sum(entry.size is None for entry in entries)
    total = sum(entry.size or 0 for entry in entries) / 1e9
    print(f"{given.dest}: {len(entries)} files, {total:.1f} GB" + (f", {unknown} of unknown size" if unknown else ""))


# ----------------------------------------------------------------------------------------------- inside


@functools.lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int, size: int) -> tuple[Entry, ...]:
    """Read once per state of the file: the Snakefile asks for it again and again."""
    try:
        content = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save the table as UTF-8") from None
    lines = csv.reader(io.StringIO(content, newline=""))
    try:
        rows = [(lines.line_num, row) for row in lines]
    except csv.Error as error:
        raise InputError(
            f"{path}: line {lines.line_num}: not a table ({error}); expected rows of {','.join(COLUMNS)}, and quotes "
            "in pairs"
        ) from None
    header = rows[0][1] if rows else []
    if tuple(header) != COLUMNS:
        raise InputError(f"{path}: header {','.join(header)!r}; expected {','.join(COLUMNS)!r}")
    found: dict[str, Entry] = {}
    for number, row in rows[1:]:
        if not row:
            continue
        where = f"{path}: line {number}"
        entry = _entry(row, where)
        if entry.path in found:
            raise InputError(f"{where}: path {entry.path!r} occurs twice; keep one of the two rows")
        found[entry.path] = entry
    if not found:
        raise InputError(f"{path}: no row below the header; a manifest lists at least one file")
    return tuple(found.values())


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: not a complete gzip file ({error}), but its name ends in .gz\n"
            "  fetch or make it again; the name of a plain table must end in .csv"
        ) from None


def _entry(row: list[str], where: str) -> Entry:
    if len(row) != len(COLUMNS):
        raise InputError(f"{where}: {len(row)} cells; expected {len(COLUMNS)}: {','.join(COLUMNS)}")
    path, size, algorithm, digest, url = row
    if size and not re.fullmatch("[0-9]+", size):
        raise InputError(f"{where}: size_bytes {size!r}; expected bytes, or nothing if the size is unknown")
    entry = Entry(path, int(size) if size else None, algorithm, digest, url)
    check(entry, where)
    return entry


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not url.isprintable() or " " in url or not parts.path:
        return False
    return bool(parts.netloc) if parts.scheme in ("http", "https") else url.startswith("file:///")


def _recording_unit(folders: list[str], name: str) -> str:
    """Subject and session by folder; task, acquisition and run by name (space, split and the like are left out).

    If a folder is the recording (CTF, BTi), the name of the folder counts, because its files may have any name.
    """
    name = next((folder for folder in folders[1:] if folder.startswith(f"{folders[0]}_")), name)
    session = [folder for folder in folders[1:2] if _SESSION.fullmatch(folder)]
    entities = dict(part.split("-") for part in name.split("_")[:-1] if _ENTITY.fullmatch(part))
    recording = [f"{key}-{entities[key]}" for key in ("task", "acq", "run") if "task" in entities and key in entities]
    return "_".join([folders[0], *session, *recording])


if __name__ == "__main__":
    main()
