"""Stage ``download``: the files of one unit of a dataset, each with the size and hash of the manifest.

Output ``record`` (JSON: what is there now). Files are fetched into a hidden folder ``.download`` of the dataset,
checked, and renamed into place one by one, so that a name never stands for a part and nothing finished is fetched
again. How they are fetched is no setting of the stage, because no result depends on it: the environment variable
``BRAIN2CLIP_DOWNLOAD`` holds the block ``download`` of the configuration as JSON, and ``BRAIN2CLIP_MANIFESTS`` the
manifest of each dataset, where files are looked up that come without an address.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from pydantic import ValidationError

from brain2clip import artefact, settings, stage
from brain2clip.readers import file_records, manifests
from brain2clip.readers.manifests import Entry
from brain2clip.stage import InputError

log = stage.log

VARIABLE = "BRAIN2CLIP_DOWNLOAD"
MANIFESTS = "BRAIN2CLIP_MANIFESTS"
EXAMPLE = '{"sources": {"things-eeg2": "file:///data/nm000232"}, "retries": 5, "timeout_s": 60}'
PARTS = ".download"
#: Pause before the first further attempt, s; it doubles with each.
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
#: A server may ask for a longer pause than ours, up to this, s.
LONGEST_RETRY_AFTER_S = 300.0
#: Free space that is asked for beyond the files themselves.
SPARE = 1.05
PROGRESS_S = 10.0
CHUNK = 1 << 18
#: Parts of processes that cannot be seen from here (of another machine) are left alone until they are this old, s.
FOREIGN_AGE_S = 86400.0
#: Answers that other attempts at the same address may better; the other errors stop at once.
PASSING = frozenset({408, 425, 429})
#: What a server says in words, by how it begins (in lower case).
PAGES = {"an HTML page": rb"<(!doctype html|html)", "an XML message": rb"<\?xml", "a JSON message": rb'\{\s*"'}


class TransferError(Exception):
    """A transfer failed in a way that another attempt may better.

    Parameters
    ----------
    reason : str
        What was found.
    wait_s : float
        Pause that the server asked for, s.
    """

    def __init__(self, reason: str, wait_s: float = 0.0):
        super().__init__(reason)
        self.wait_s = wait_s


def run(job: stage.Job) -> None:
    """Fetch what is missing or wrong of a unit, then write its record."""
    how = _how()
    root, entries, record = Path(job.settings["root"]), _entries(job), job.output("record")
    source = how.sources.get(job.settings["dataset"])
    with _clear_disk_errors(job, root):
        with _part_folder(root, record.stem) as folder:
            missing = [entry for entry in entries if not _is_there(entry, root)]
            _check_space(missing, root)
            progress = _Progress([entry.size for entry in missing])
            for entry in missing:
                url = entry.url if source is None else f"{source.rstrip('/')}/{quote(entry.path)}"
                part = _fetch(_Transfer(entry, url, job.settings["dataset"], how.timeout_s, progress), folder, how)
                progress.end_file()
                _place(part, root / entry.path)
        for entry in entries:
            if entry.algorithm in manifests.WITHOUT_HASH:
                checked = "nothing was checked" if entry.size is None else "only its size was checked"
                log.warning("%s: %s, because the manifest has no hash for it", root / entry.path, checked)
        _write_record(record, file_records.content(job.settings["dataset"], [_listed(one, root) for one in entries]))


# ----------------------------------------------------------------------------------------------- settings


def _how() -> settings.Download:
    """The block ``download`` of the configuration, from the environment."""
    given = os.environ.get(VARIABLE, "").strip() or "{}"
    try:
        return settings.parse(settings.Download, given)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in error.errors())
        raise InputError(f"environment variable {VARIABLE}: {problems}\n  expected JSON such as {EXAMPLE}") from None


def _addresses(dataset: str) -> dict[str, str]:
    """Published address of each file by path, from the manifest that the environment names for a dataset."""
    given = os.environ.get(MANIFESTS, "").strip()
    manifest = json.loads(given).get(dataset) if given else None
    return {entry.path: entry.url for entry in manifests.read(manifest)} if manifest else {}


def _entries(job: stage.Job) -> tuple[Entry, ...]:
    """Files of the unit; checked again, for they decide where this process writes."""
    found: dict[str, Entry] = {}
    addresses = _addresses(job.settings["dataset"])
    for number, file in enumerate(job.settings["files"], 1):
        where = f"stage {job.stage}: file {number} of {job.settings['dataset']}"
        try:
            entry = Entry(**{"url": addresses.get(file.get("path"), ""), **file})
        except TypeError as error:
            raise InputError(f"{where}: {error}; expected path, size, algorithm, hash, url") from None
        manifests.check(entry, where)
        found[entry.path] = entry
    if not found:
        raise InputError(
            f"stage {job.stage}: no files to download for {job.settings['dataset']} (setting files is empty)"
        )
    return tuple(found[path] for path in sorted(found))


# ------------------------------------------------------------------------------------------------ transfer


def _fetch(transfer: _Transfer, folder: Path, how: settings.Download) -> Path:
    """A verified file in the folder of parts; several attempts with growing, jittered pauses."""
    for attempt in range(how.retries + 1):
        try:
            return transfer.run(folder)
        except TransferError as error:
            if attempt == how.retries:
                raise InputError(
                    f"{transfer.url}: {error} ({attempt + 1} attempts, path {transfer.entry.path})\n"
                    f"  {transfer.advice}, or start again later: finished files are kept"
                ) from None
            longest = min(FIRST_WAIT_S * 2.0 ** min(attempt, 16), LONGEST_WAIT_S)
            # Jobs that were turned away together must not come back together.
            wait = max(longest * random.uniform(0.5, 1.0), min(error.wait_s, LONGEST_RETRY_AFTER_S))
            log.info("%s: %s; attempt %d of %d in %.1f s", transfer.url, error, attempt + 2, how.retries + 1, wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


@dataclass
class _Transfer:
    """One file on its way. Pooch calls it to fill a file, then compares the hash and renames the file.

    Attributes
    ----------
    entry : Entry
        What is wanted.
    url : str
        Where from.
    dataset : str
        Name, for messages.
    timeout_s : float
        Longest silence of the server, s.
    progress : _Progress
        Counts the bytes.
    page : str
        What came instead of data, where it looks like an answer in words.
    """

    entry: Entry
    url: str
    dataset: str
    timeout_s: float
    progress: _Progress
    page: str = ""

    @property
    def advice(self) -> str:
        """What the user can do."""
        return f"Set download.sources.{self.dataset} to a mirror or a folder (file:///…), check the manifest"

    def run(self, folder: Path) -> Path:
        """One attempt.

        Raises
        ------
        TransferError
            Where another attempt may help.
        brain2clip.stage.InputError
            Where it may not.
        """
        import pooch
        import requests

        pooch.get_logger().setLevel(logging.WARNING)
        entry, self.page = self.entry, ""
        known = None if entry.algorithm in ("git-sha1", *manifests.WITHOUT_HASH) else f"{entry.algorithm}:{entry.hash}"
        self.progress.start_file()
        try:
            return Path(pooch.retrieve(self.url, known, Path(entry.path).name, folder.absolute(), downloader=self))
        except InputError:  # is a ValueError, as is what pooch raises for a wrong hash
            raise
        except requests.HTTPError as error:
            raise self._refused(error.response) from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
            raise InputError(f"{self.url}: {error} (path {entry.path})\n  {self.advice}") from None
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            raise TransferError(f"connection broken: {error}") from None
        except ValueError:
            raise self._wrong(f"wrong content: its {entry.algorithm} is not {entry.hash}") from None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fill the file that pooch made, and check all that pooch does not."""
        # Pooch makes it readable to its owner alone; one made anew has the permissions that the user's umask says.
        os.unlink(output_file)
        with contextlib.suppress(_TooLongError), open(output_file, "xb") as file:
            self._receive(url, _Counter(file, self.entry.size, self.progress))
            file.flush()
            os.fsync(file.fileno())
        self.page = _page(Path(output_file), self.entry)
        size = os.path.getsize(output_file)
        if self.entry.size is not None and size != self.entry.size:
            raise self._wrong(f"received {size} bytes, expected {self.entry.size}")
        if self.entry.algorithm in manifests.WITHOUT_HASH and self.page:
            raise self._wrong("there is no hash to check it by")
        if self.entry.algorithm == "git-sha1" and not _has_hash(Path(output_file), self.entry):
            raise self._wrong(f"wrong content: its git-sha1 is not {self.entry.hash}")

    def _receive(self, url: str, target: _Counter) -> None:
        from pooch import HTTPDownloader

        if url.startswith("file:"):
            self._copy(Path(url2pathname(urlsplit(url).path)), target)
        else:  # without compression on the way, the bytes that arrive are those of the file and can be counted
            headers = {"Accept-Encoding": "identity"}
            HTTPDownloader(chunk_size=CHUNK, timeout=self.timeout_s, headers=headers)(url, target, None)

    def _copy(self, source: Path, target: _Counter) -> None:
        try:
            file = source.open("rb")
        except OSError as error:
            raise InputError(f"{source}: {error.strerror} (path {self.entry.path})\n  {self.advice}") from None
        with file:
            shutil.copyfileobj(file, target, CHUNK)

    def _wrong(self, reason: str) -> Exception:
        """What came is not the file: a network may do better next time, a folder will not."""
        reason = f"{self.page}; {reason}" if self.page else reason
        if self.url.startswith("file:"):
            return InputError(f"{self.url}: {reason} (path {self.entry.path})\n  {self.advice}")
        return TransferError(reason)

    def _refused(self, response: Any) -> Exception:
        reason = f"the server answered {response.status_code} {response.reason}".rstrip()
        if response.status_code >= 500 or response.status_code in PASSING:
            return TransferError(reason, _retry_after(response.headers.get("Retry-After", "")))
        return InputError(f"{self.url}: {reason} (path {self.entry.path})\n  {self.advice}")


class _TooLongError(Exception):
    """More comes than the file has."""


@dataclass
class _Counter:
    """A file to write to that counts what comes, and ends a stream that is longer than the file."""

    file: BinaryIO
    size: int | None
    progress: _Progress
    count: int = 0

    def write(self, chunk: bytes) -> int:
        self.file.write(chunk)
        self.count += len(chunk)
        self.progress.add(len(chunk))
        if self.size is not None and self.count > self.size:
            raise _TooLongError
        return len(chunk)

    def flush(self) -> None:
        """Pooch asks for it after each chunk; once at the end is enough."""


class _Progress:
    """Lines in the log on how far the unit is, now and then."""

    def __init__(self, sizes: Sequence[int | None]):
        self.total = None if None in sizes else sum(size or 0 for size in sizes)
        self.finished = self.current = self.since = 0
        self.shown = time.perf_counter()

    def start_file(self) -> None:
        """Forget what a broken attempt brought."""
        self.current = 0

    def end_file(self) -> None:
        """Count the file as fetched."""
        self.finished, self.current = self.finished + self.current, 0

    def add(self, count: int) -> None:
        """Bytes came."""
        self.current += count
        self.since += count
        passed = time.perf_counter() - self.shown
        if passed < PROGRESS_S:
            return
        done = self.finished + self.current
        share = f" of {self.total / 1e6:.1f} MB ({done / self.total:.0%})" if self.total else " MB"
        log.info("downloaded %.1f%s, %.2f MB/s", done / 1e6, share, self.since / 1e6 / passed)
        self.since, self.shown = 0, time.perf_counter()


def _retry_after(value: str) -> float:
    """Seconds of a ``Retry-After`` header, which holds a number or a date; 0 for neither."""
    if re.fullmatch("[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


# ------------------------------------------------------------------------------------------------- content


def _is_there(entry: Entry, root: Path) -> bool:
    """Whether the file is in its place, complete and right."""
    path = root / entry.path
    if not path.is_file():
        return False
    if entry.size in (None, path.stat().st_size) and _has_hash(path, entry):
        log.info("%s: already there", path)
        return True
    log.info("%s: not the file that the manifest lists; downloaded again", path)
    return False


def _has_hash(path: Path, entry: Entry) -> bool:
    if entry.algorithm in manifests.WITHOUT_HASH:  # no more is known (but the size) than what the file is not
        return not _page(path, entry)
    return file_records.digest(path, entry.algorithm) == entry.hash


def _listed(entry: Entry, root: Path) -> file_records.Listed:
    """A file as the record lists it: where the manifest has no hash, as it came, so that readers notice a change."""
    if entry.algorithm in manifests.WITHOUT_HASH:
        return file_records.measured(root, entry.path)
    return file_records.Listed(entry.path, entry.size, entry.algorithm, entry.hash)


def _page(path: Path, entry: Entry) -> str:
    """What a server said in words instead of sending data, where the first bytes look like it."""
    if entry.path.lower().endswith((".json", ".html", ".htm", ".xml")):
        return ""  # begins like that in any case
    with path.open("rb") as file:
        start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kind = next((kind for kind, pattern in PAGES.items() if re.match(pattern, start)), "")
    return kind and f"the server sent {kind} instead of the file"


# -------------------------------------------------------------------------------------------------- places


@contextlib.contextmanager
def _part_folder(root: Path, unit: str) -> Iterator[Path]:
    """A folder of this process on the file system of the dataset, gone at the end."""
    parts = root / PARTS
    _remove_stale(parts)
    folder = parts / f"{unit}.{platform.node()}.{os.getpid()}"
    try:
        _make(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has its parts there
            parts.rmdir()


def _make(folder: Path) -> None:
    for attempt in range(10):
        try:
            folder.mkdir(parents=True)
            return
        except FileNotFoundError:  # another process ended just now and removed the folder above
            if attempt == 9:
                raise


def _remove_stale(parts: Path) -> None:
    """Remove what killed processes left; never the parts of a living one."""
    for folder in parts.glob("*.*.*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it, too
            if _is_stale(folder):
                log.info("%s: removed; it was left by a process that was killed", folder)
                shutil.rmtree(folder)


def _is_stale(folder: Path) -> bool:
    import psutil

    host, _, process = folder.name.partition(".")[2].rpartition(".")
    if host == platform.node() and process.isdecimal():
        return int(process) == os.getpid() or not psutil.pid_exists(int(process))
    changed = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    return time.time() - changed > FOREIGN_AGE_S


def _check_space(missing: Sequence[Entry], root: Path) -> None:
    needed, free = sum(entry.size or 0 for entry in missing) * SPARE, shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"{root}: {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed for {len(missing)} files (5 % to spare); "
            "make room, or choose another disk (setting results, or a symbolic link in place of this folder)"
        )


def _place(part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)
    log.info("%s: downloaded, %.1f MB", target, target.stat().st_size / 1e6)


def _write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record, also while another process that fetched the same unit writes it."""
    for attempt in range(10):
        try:
            artefact.write_json(path, record)
            return
        except FileNotFoundError:  # the other one took our part for that of a killed process
            if attempt == 9:
                raise
            time.sleep(random.uniform(0.0, 0.1))


@contextlib.contextmanager
def _clear_disk_errors(job: stage.Job, root: Path) -> Iterator[None]:
    """Tell them of the folder of the dataset, which may be a link to another disk than that of the record."""
    try:
        yield
    except OSError as error:
        if (told := stage.disk_error(error, job, root)) is None:
            raise
        raise InputError(f"{told}; finished files are kept") from None


if __name__ == "__main__":
    stage.main(run)
