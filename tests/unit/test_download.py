"""Downloads: whatever the network does, nothing wrong is accepted and nothing finished is fetched again."""

from __future__ import annotations

import email.utils
import hashlib
import json
import logging
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import Loopback, drop, page, slow, stall, status, truncate, wrong

from brain2clip import artefact, stage
from brain2clip.downloads import download
from brain2clip.stage import InputError

UNIT = "sub-01_task-x"
BDF, TSV, JSON = (f"sub-01/eeg/{UNIT}_{ending}" for ending in ("eeg.bdf", "events.tsv", "eeg.json"))
ODD = "sub-01/eeg/a b#c%20ü?&.tsv"
CONTENT = {
    BDF: random.Random(0).randbytes(300_000),
    TSV: b"onset\tduration\n" * 200,
    JSON: b'{"SamplingFrequency": 1000}\n',
    ODD: b"odd\n",
}


def entry(path: str, url: str = "http://127.0.0.1:9", algorithm: str = "sha256", **changed: object) -> dict:
    content = CONTENT[path]
    blob = content if algorithm != "git-sha1" else f"blob {len(content)}\0".encode() + content
    digest = hashlib.new(algorithm.removeprefix("git-"), blob).hexdigest()
    return {
        "path": path,
        "size": len(content),
        "algorithm": algorithm,
        "hash": digest,
        "url": f"{url}/{quote(path)}",
        **changed,
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The dataset as it is published."""
    for name, content in CONTENT.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "source"


@pytest.fixture
def server(source: Path) -> Iterator[Loopback]:
    with Loopback(source) as running:
        yield running


@pytest.fixture
def how(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets how to download; pauses are short from the start."""
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.001)

    def set_to(**values: object) -> None:
        monkeypatch.setenv(download.VARIABLE, json.dumps(values))

    set_to(timeout_s=20)
    return set_to


def arguments(folder: Path, files: list[dict]) -> list[str]:
    values = {"dataset": "mine", "root": str(folder / "raw"), "files": files}
    spec = {"stage": "download", "format": artefact.FORMAT, "settings": values, "code": ""}
    return ["--spec", json.dumps(spec), "--output", f"record={folder / 'records' / UNIT}.json"]


def fetch(folder: Path, files: list[dict]) -> None:
    download.run(stage.parse(arguments(folder, files)))


def fetched(folder: Path) -> dict[str, bytes]:
    """All files below the dataset folder, hidden ones included."""
    root = folder / "raw"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def content(*paths: str) -> dict[str, bytes]:
    return {path: CONTENT[path] for path in paths}


def files(server: Loopback, *paths: str, **changed: object) -> list[dict]:
    return [entry(path, server.url, **changed) for path in paths or (BDF, JSON, TSV)]


# ------------------------------------------------------------------------------------------------ it works


def test_files_and_record(tmp_path, server, how):
    umask = os.umask(0o022)
    try:
        fetch(tmp_path, files(server))
    finally:
        os.umask(umask)
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert server.requests == [BDF, JSON, TSV]
    assert (tmp_path / "raw" / BDF).stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "raw" / download.PARTS).exists()
    record = json.loads((tmp_path / "records" / f"{UNIT}.json").read_text())
    assert record["dataset"] == "mine"
    keys = ("path", "size", "algorithm", "hash")
    assert record["files"] == [{key: file[key] for key in keys} for file in files(server)]


def test_the_record_tells_nothing_of_time_or_source(tmp_path, source, server, how):
    fetch(tmp_path / "one", files(server))
    how(sources={"mine": source.as_uri()})
    fetch(tmp_path / "two", list(reversed(files(server))))
    one, two = ((tmp_path / name / "records" / f"{UNIT}.json").read_bytes() for name in ("one", "two"))
    assert one == two
    assert str(tmp_path).encode() not in one
    assert b"127.0.0.1" not in one


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "git-sha1"])
@pytest.mark.parametrize("size", ["known", "unknown"])
def test_algorithms(tmp_path, server, how, algorithm, size):
    server.faults[BDF] = [wrong(), drop(1000), page(), truncate(1000, declared=False), page(b"x" * 400_000)]
    changed = {} if size == "known" else {"size": None}
    for _ in range(2):
        fetch(tmp_path, files(server, algorithm=algorithm, **changed))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert server.requests == [*[BDF] * 6, JSON, TSV]


def test_a_file_of_which_nothing_is_known_is_recorded_as_it_came(tmp_path, server, how, caplog):
    server.faults[BDF] = [page(), drop(1000)]
    unknown = [entry(BDF, server.url, size=None, algorithm="sha256") | {"algorithm": "none", "hash": ""}]
    for _ in range(2):
        fetch(tmp_path, unknown)
    assert fetched(tmp_path) == content(BDF)
    assert server.requests == [BDF] * 3, "an answer in words and half a file were not taken, and the whole one once"
    (found,) = json.loads((tmp_path / "records" / f"{UNIT}.json").read_text())["files"]
    assert found == {key: entry(BDF)[key] for key in ("path", "size", "algorithm", "hash")}
    assert "nothing was checked" in caplog.text


def test_what_is_there_stays(tmp_path, server, how, caplog):
    fetch(tmp_path, files(server))
    before = (tmp_path / "raw" / BDF).stat()
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        fetch(tmp_path, files(server))
    after = (tmp_path / "raw" / BDF).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(server.requests) == 3
    assert sum("already there" in record.message for record in caplog.records) == 3


@pytest.mark.parametrize("bad", ["other", "short", "empty", "broken link"])
def test_a_wrong_file_in_place_is_replaced(tmp_path, server, how, bad):
    path = tmp_path / "raw" / BDF
    path.parent.mkdir(parents=True)
    if bad == "broken link":
        path.symlink_to(tmp_path / "annex")
    else:
        path.write_bytes({"other": CONTENT[BDF][::-1], "short": CONTENT[BDF][:-1], "empty": b""}[bad])
    fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert not path.is_symlink()


# ------------------------------------------------------------------------------------------------- faults

FAULTS = {
    "drop": (lambda: drop(1000), "connection broken"),
    "truncated": (lambda: truncate(1000), "connection broken"),
    "truncated, no length": (lambda: truncate(1000, declared=False), "received 1000 bytes, expected 300000"),
    "nothing": (lambda: truncate(0, declared=False), "received 0 bytes, expected 300000"),
    "too long": (lambda: page(bytes(3_000_000)), f"received {2 * download.CHUNK} bytes, expected 300000"),  # stopped
    "wrong bytes": (wrong, "wrong content: its sha256 is not"),
    "html": (page, "the server sent an HTML page instead of the file; received 57 bytes"),
    "long html": (lambda: page(b"\n <HTML>" + b" " * 400_000), "the server sent an HTML page"),
    "html of right size": (lambda: page(b"<html>".ljust(300_000)), "the server sent an HTML page"),
    "json": (lambda: page(b'{ "error": "quota"}'), "the server sent a JSON message instead of the file"),
    "xml": (lambda: page(b'<?xml version="1.0"?><Error/>'), "the server sent an XML message instead of the file"),
    "500": (lambda: status(500), "the server answered 500 Internal Server Error"),
    "503": (lambda: status(503), "the server answered 503 Service Unavailable"),
    "429": (lambda: status(429, Retry_After="0"), "the server answered 429 Too Many Requests"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_passing_fault(tmp_path, server, how, name):
    make, _ = FAULTS[name]
    server.faults[BDF] = [make(), make()]
    fetch(tmp_path, files(server, JSON, BDF, TSV))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert [server.count(path) for path in (BDF, JSON, TSV)] == [3, 1, 1]


@pytest.mark.parametrize("name", FAULTS)
def test_a_lasting_fault(tmp_path, server, how, name):
    make, words = FAULTS[name]
    how(retries=1)
    server.faults[BDF] = [make(), make()]
    with pytest.raises(InputError) as error:
        fetch(tmp_path, files(server))
    message = str(error.value)
    assert words in message
    assert f"{server.url}/{BDF}" in message
    assert f"(2 attempts, path {BDF})" in message
    assert "download.sources.mine" in message
    assert fetched(tmp_path) == {}
    assert not (tmp_path / "records").exists()
    fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)


def test_what_is_finished_is_not_fetched_again(tmp_path, server, how):
    how(retries=0)
    server.faults[TSV] = [drop(10)]
    with pytest.raises(InputError, match="finished files are kept"):
        fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON)
    fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert server.requests == [BDF, JSON, TSV, TSV]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_stops_at_once(tmp_path, server, how, code):
    server.faults[BDF] = [status(code)]
    with pytest.raises(InputError) as error:
        fetch(tmp_path, files(server))
    message = str(error.value)
    assert f"{server.url}/{BDF}: the server answered {code} " in message
    assert f"path {BDF}" in message
    assert "Set download.sources.mine to a mirror or a folder (file:///…), check the manifest" in message
    assert server.requests == [BDF]
    assert fetched(tmp_path) == {}


def test_no_server_at_all(tmp_path, source, how):
    with Loopback(source) as server:
        url = server.url
    how(retries=1)
    with pytest.raises(InputError, match="connection broken"):
        fetch(tmp_path, [entry(BDF, url)])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(CONTENT[BDF]) - 1), st.sampled_from([drop, truncate]))
def test_an_end_at_any_byte(tmp_path, server, how, after, fault):
    shutil.rmtree(tmp_path / "raw", ignore_errors=True)
    server.faults[BDF] = [fault(after)]
    before = server.count(BDF)
    fetch(tmp_path, files(server, BDF))
    assert fetched(tmp_path) == content(BDF)
    assert server.count(BDF) - before == 2


def test_a_stalled_stream_is_given_up(tmp_path, server, how):
    how(timeout_s=1)
    server.faults[BDF] = [stall(0), stall(299_999)]
    started = time.perf_counter()
    fetch(tmp_path, files(server))
    assert time.perf_counter() - started < 15
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert server.count(BDF) == 3


def test_a_slow_stream_is_waited_for(tmp_path, server, how):
    how(timeout_s=1, retries=0)
    server.faults[BDF] = [slow(pieces=16, pause_s=0.1)]
    started = time.perf_counter()
    fetch(tmp_path, files(server))
    assert time.perf_counter() - started > 1.5
    assert fetched(tmp_path) == content(BDF, JSON, TSV)


# ------------------------------------------------------------------------------------------------- pauses


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr(download.time, "sleep", made.append)
    return made


def test_pauses_grow_to_a_limit(tmp_path, server, how, pauses, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_S", 1.0)
    how(retries=9)
    server.faults[BDF] = [status(503) for _ in range(9)]
    fetch(tmp_path, files(server, BDF))
    longest = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, longest, strict=True))


def test_retry_after(tmp_path, server, how, pauses):
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    given = ["7", soon, "100000", past, "later"]
    server.faults[BDF] = [status(429, Retry_After=value) for value in given]
    fetch(tmp_path, files(server, BDF))
    assert pauses[0] == 7
    assert 90 < pauses[1] <= 100
    assert pauses[2] == download.LONGEST_RETRY_AFTER_S
    assert max(pauses[3:]) < 1


def test_progress(tmp_path, server, how, monkeypatch, caplog):
    monkeypatch.setattr(download, "PROGRESS_S", 0.0)
    server.faults[BDF] = [drop(299_999)]
    with caplog.at_level(logging.INFO, logger="brain2clip"):
        fetch(tmp_path, files(server))
        fetch(tmp_path / "2", [entry(BDF, server.url, size=None)])
    lines = [record.message for record in caplog.records]
    assert any(line.startswith("downloaded 0.3 of 0.3 MB (100%), ") and line.endswith(" MB/s") for line in lines)
    assert any(line.startswith("downloaded 0.3 MB, ") for line in lines)
    assert not any(line.startswith("downloaded 0.5") for line in lines)  # a broken attempt does not count
    assert "pooch" not in {record.name for record in caplog.records}


# ------------------------------------------------------------------------------------------------ sources


def test_a_folder_as_source(tmp_path, source, how):
    how(sources={"mine": (source / "").as_uri() + "/"})
    fetch(tmp_path, [entry(path) for path in (BDF, ODD)])
    assert fetched(tmp_path) == content(BDF, ODD)


def test_a_folder_with_wrong_files(tmp_path, source, how):
    how(sources={"mine": source.as_uri(), "other": "https://example.org"}, retries=5)
    (source / BDF).write_bytes(CONTENT[BDF][::-1])
    with pytest.raises(InputError, match="wrong content: its sha256 is not") as error:
        fetch(tmp_path, [entry(BDF)])
    assert "attempts" not in str(error.value)
    (source / BDF).unlink()
    with pytest.raises(InputError, match=r"_eeg\.bdf: No such file or directory") as error:
        fetch(tmp_path, [entry(BDF)])
    assert "download.sources.mine" in str(error.value)
    assert fetched(tmp_path) == {}


def test_a_mirror_and_a_path_that_needs_quoting(tmp_path, source, how):
    with Loopback(source.parent) as server:
        how(sources={"mine": f"{server.url}/source/", "other": "https://example.org"})
        fetch(tmp_path, [entry(path) for path in (BDF, ODD)])
        assert sorted(server.requests) == sorted([f"source/{BDF}", f"source/{ODD}"])
    assert fetched(tmp_path) == content(BDF, ODD)


def test_an_address_of_the_manifest_may_be_a_folder(tmp_path, source, how):
    fetch(tmp_path, [entry(BDF, source.as_uri())])
    assert fetched(tmp_path) == content(BDF)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"retry": 5}', "retry Extra inputs are not permitted"),
        ('{"retries": -1}', "retries Input should be greater than or equal to 0"),
        ('{"timeout_s": 0}', "timeout_s Input should be greater than 0"),
        ('{"sources": {"mine": "/data"}}', "sources.mine: '/data' is not an address"),
    ],
)
def test_wrong_settings_of_downloads(tmp_path, server, monkeypatch, value, words):
    monkeypatch.setenv(download.VARIABLE, value)
    with pytest.raises(InputError, match=download.VARIABLE) as error:
        fetch(tmp_path, files(server))
    assert words in str(error.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"path": "../x"}, "file 1 of mine: path '../x'"),
        ({"hash": "0"}, "expected 64 lower-case"),
        ({"md5": "0"}, "unexpected keyword argument 'md5'"),
    ],
)
def test_a_wrong_spec(tmp_path, server, how, changed, words):
    with pytest.raises(InputError, match="stage download: file 1 of mine") as error:
        fetch(tmp_path, [entry(BDF, server.url) | changed])
    assert words in str(error.value)
    with pytest.raises(InputError, match="no files to download for mine"):
        fetch(tmp_path, [])
    assert server.requests == []


# --------------------------------------------------------------------------------------------------- disk


def test_space_is_checked_first(tmp_path, server, how, monkeypatch):
    fetch(tmp_path, files(server, TSV))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=310_000))
    with pytest.raises(InputError, match=r"0\.00 GB free, 0\.00 GB needed for 2 files"):
        fetch(tmp_path, files(server))
    assert server.requests == [TSV]
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=320_000))
    fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs (root), to fill a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up(small_disk, server, how):
    with pytest.raises(
        InputError, match=r"/raw: cannot be read or written: the disk is full; .* finished files are kept"
    ):
        fetch(small_disk, [*files(server, BDF, size=None), *files(server, JSON)])
    assert fetched(small_disk) == {}
    assert not (small_disk / "raw" / download.PARTS).exists()
    with pytest.raises(InputError, match="GB needed for 1 files"):
        fetch(small_disk, files(server, BDF))
    assert server.count(BDF) == 1  # neither tried again when full, nor asked for where the room is known to lack
    fetch(small_disk, files(server, TSV))
    assert fetched(small_disk) == content(TSV)


def test_a_folder_in_place_of_a_file(tmp_path, server, how):
    (tmp_path / "raw" / BDF / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be read or written"):
        fetch(tmp_path, files(server))
    assert fetched(tmp_path) == {}


# ---------------------------------------------------------------------------------------------- processes


def start(folder: Path, files: list[dict]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "brain2clip.downloads.download", *arguments(folder, files)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # a few lines, which the pipe holds


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def part_folders(folder: Path) -> list[Path]:
    return sorted((folder / "raw" / download.PARTS).glob("*"))


@pytest.fixture
def in_the_middle(tmp_path, server) -> Iterator[subprocess.Popen[str]]:
    """A process that has fetched the first file and is at the second."""
    server.faults[JSON] = [slow(pieces=10_000, pause_s=0.05)]
    process = start(tmp_path, files(server))
    try:
        wait_for(lambda: server.count(JSON) == 1)
        wait_for(lambda: any(path.is_file() for folder in part_folders(tmp_path) for path in folder.glob("*")))
        yield process
    finally:
        process.kill()
        process.wait()


def test_kill_leaves_a_hidden_folder_that_the_next_start_removes(tmp_path, server, how, in_the_middle):
    in_the_middle.kill()
    in_the_middle.wait()
    assert [path.name for path in part_folders(tmp_path)] == [f"{UNIT}.{platform.node()}.{in_the_middle.pid}"]
    assert not (tmp_path / "raw" / JSON).exists()
    assert not (tmp_path / "records").exists()
    fetch(tmp_path, files(server))
    assert fetched(tmp_path) == content(BDF, JSON, TSV)
    assert part_folders(tmp_path) == []
    assert server.requests == [BDF, JSON, JSON, TSV]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_removes_the_parts(tmp_path, server, how, in_the_middle, number):
    in_the_middle.send_signal(number)
    in_the_middle.wait(timeout=30)
    assert in_the_middle.returncode != 0
    assert fetched(tmp_path) == content(BDF)
    assert not (tmp_path / "raw" / download.PARTS).exists()
    assert not (tmp_path / "records").exists()


def test_parts_of_a_living_process_stay(tmp_path, server, how, in_the_middle):
    fetch(tmp_path, files(server))
    assert [path.name.rpartition(".")[2] for path in part_folders(tmp_path)] == [str(in_the_middle.pid)]
    for path in (BDF, JSON, TSV):
        assert (tmp_path / "raw" / path).read_bytes() == CONTENT[path]


def test_parts_of_another_machine_stay_for_a_day(tmp_path, server, how):
    young, old, mine = (tmp_path / "raw" / download.PARTS / f"u.{name}" for name in ("a.b.1", "c.2", "x.3"))
    mine = mine.with_name(f"u.{platform.node()}.{os.getpid()}")
    for folder in (young, old, mine):
        folder.mkdir(parents=True)
        (folder / "part").touch()
    for path in (old / "part", old, young):  # a part that grows is younger than its folder
        os.utime(path, (time.time() - 90_000,) * 2)
    fetch(tmp_path, files(server))
    assert part_folders(tmp_path) == [young]


def test_two_processes_at_once(tmp_path, server, how):
    paths = (BDF, JSON, TSV)
    for path in paths:
        server.faults[path] = [slow(pieces=4, pause_s=0.1) for _ in range(2)]
    both = [start(tmp_path, files(server)) for _ in range(2)]
    messages = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    assert fetched(tmp_path) == content(*paths)
    assert not (tmp_path / "raw" / download.PARTS).exists()
    assert [path.name for path in (tmp_path / "records").iterdir()] == [f"{UNIT}.json"]


def test_the_record_survives_another_writer(tmp_path, monkeypatch):
    calls = []

    def write(path, text):
        calls.append(path)
        if len(calls) == 1:
            raise FileNotFoundError(path)

    monkeypatch.setattr(download.artefact, "write_text", write)
    download._write_record(tmp_path / "x.json", {"files": []})
    assert len(calls) == 2


def test_the_command_says_what_is_wrong_in_one_message(tmp_path, server):
    server.faults[BDF] = [status(404)]
    process = start(tmp_path, files(server))
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "download: stopped" in message
    assert "the server answered 404 Not Found" in message
    assert "Traceback" not in message


def test_loading_the_module_is_light():
    code = "import sys, brain2clip.downloads.download; print(*{'mne', 'torch', 'pooch', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
