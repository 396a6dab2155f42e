"""``brain2clip run``: snakemake, the report if it is out of date, the tables; and ``brain2clip report``."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from brain2clip import processes
from brain2clip.kinds import KindError
from brain2clip.processes import RUN
from brain2clip.screen import UNPACK, places
from brain2clip.settings import SettingsError, files

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ROOT / ".snakemake" / "locks"
HELD = ROOT / ".snakemake" / "brain2clip.lock"
"""Locked (flock) by a run and by its snakemake, so that the lock dies with the last of them, however that dies."""
MARKER = ROOT / ".snakemake" / "brain2clip-run.json"
"""Host, process, session and name of the run that holds the lock; it stays where snakemake's own locks stay."""
ENDING_S = 10
"""How long jobs that a killed snakemake left may take to end, s; then they are killed."""
FULL = 1 << 20
"""A disk with less room than this is full, bytes."""
WITNESS_S = 0.5
"""How long a signal to the whole process group may take to reach all of it, s."""
DRY = frozenset({"-n", "--dry-run", "--dryrun"})
"""Arguments of snakemake with which nothing runs."""
PLACES = ("--profile", "--executor", "-e", "--cores", "-c", "--jobs", "-j")
"""Arguments of snakemake that say where jobs run and how many at once: of this machine's cores is no talk then."""


def run(config: Path, cores: str | None = None, dry: bool = False, further: Sequence[str] = ()) -> None:
    """Run a configuration and show its tables.

    Parameters
    ----------
    config : path
    cores : str, optional
        CPU cores to use; without it all, or what the further arguments say.
    dry : bool
        Only show what would run.
    further : sequence of str
        Arguments for snakemake.
    """
    started = time.monotonic()
    config = config.resolve()
    settings = read(config)
    if cores is None and not any(word.split("=")[0] in PLACES for word in further):
        cores = "all"
    also = ["--cores", cores] if cores else []
    if dry or not DRY.isdisjoint(further):
        snakemake(config, *also, *([] if not DRY.isdisjoint(further) else ["--dry-run"]), *further)
        return
    results = results_of(settings)
    tables = {name: results / "tables" / f"{name}.md" for name in settings.get("tables") or {}}
    with held() as lock:
        clear_away()
        arguments = [*also, "--rerun-incomplete", "--show-failed-logs", *further]
        snakemake(config, *arguments, lock=lock, places=(ROOT, results))
    missing = [name for name, path in tables.items() if not path.is_file()]
    if missing and further:  # asked for something else, as for one stage
        print(f"\nTables that are still to be made: {', '.join(missing)}")
    else:
        if out_of_date(results / "report.zip", results):
            make_report(config, results / "report.zip")
        if silent(further):
            return
        show_tables(tables)
        print(f"\n{places(results, told(results))}")
    tell_time(started)


def silent(further: Sequence[str]) -> bool:
    """Whether the arguments for snakemake ask for failures only (``--quiet all``)."""
    words = [part for word in further for part in word.split("=")]
    at = next((place for place, word in enumerate(words) if word in ("--quiet", "-q")), len(words))
    return "all" in itertools.takewhile(lambda word: not word.startswith("-"), words[at + 1 :])


def report(config: Path) -> None:
    """Make only the report of a run."""
    started = time.monotonic()
    config = config.resolve()
    path = results_of(read(config)) / "report.zip"
    make_report(config, path)
    print(f"\nReport: {told(path)}{UNPACK}")
    tell_time(started)


def read(config: Path) -> dict[str, Any]:
    """The configuration as it is written; snakemake validates it."""
    try:
        return files.read(config)
    except SettingsError as error:
        sys.exit(str(error))


def debug_version(config: Path) -> Path:
    """Write the debug version of a configuration into the folder of its own results, as configuration.yaml."""
    import yaml

    from brain2clip import settings
    from brain2clip.plan import Plan
    from brain2clip.stage import InputError

    sys.path.append(str(ROOT))  # kinds from outside
    raw = read(config.resolve())
    try:
        with contextlib.chdir(ROOT):
            whole = settings.load(raw, str(config))
            plan = Plan(whole)
            small = settings.debug(whole, {name: plan.subjects(name) for name in whole.studies})
    except (SettingsError, InputError, KindError) as error:
        sys.exit(str(error))
    path = ROOT / small.results / "configuration.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings.dump(small), sort_keys=False, allow_unicode=True)
    path.write_text(
        f"# Debug version of {shown(config.resolve())}, written by brain2clip run --debug\n{text}", encoding="utf-8"
    )
    print(f"Debug version: {told(path)}")
    return path


def results_of(settings: dict[str, Any]) -> Path:
    """Folder of the results of a configuration."""
    return ROOT / (settings.get("results") or "results")


def shown(path: Path) -> str:
    """A path as it is printed and passed on: relative to the root of the repository, or absolute outside of it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def told(path: Path) -> str:
    """A path for people: as :func:`shown` in the root of the repository, absolute where that would not be found."""
    return shown(path) if Path.cwd() == ROOT else str(path)


# -------------------------------------------------------------------------------------------- snakemake


def snakemake(config: Path, *arguments: str, lock: int | None = None, places: Sequence[Path] = ()) -> None:
    """Call snakemake in the root of the repository; the program ends with its exit code.

    Parameters
    ----------
    config : path
    arguments : str
        Of snakemake.
    lock : int, optional
        The lock of this folder (:func:`held`), if jobs run; snakemake inherits it.
    places : sequence of path
        Folders that it writes to. After a failure their disks are checked, because a log on a full disk cannot report
        it.
    """
    command = [sys.executable, "-m", "snakemake", "--configfile", shown(config), *arguments]
    name = uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        # It dies from any signal to the whole process group, and with this process.
        witness = stack.enter_context(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        interrupted = stack.enter_context(leaving_signals_to_snakemake(witness))
        kept = [] if lock is None else [lock]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, RUN: name}, pass_fds=kept)
        interrupted.process = process
        if interrupted.by:  # before there was anyone to pass it on to
            pass_on(interrupted.by, process.pid)
        if lock is not None:
            stack.enter_context(marked(process.pid, name))
        code = process.wait()
        if code < 0 and lock is not None:
            print(f"\nsnakemake was killed (signal {-code}). Start again: finished results are kept.", file=sys.stderr)
            end_jobs(marker())
    if code:
        tell_full_disks(places)
    if code or interrupted.by:
        sys.exit(128 - code if code < 0 else code or 128 + interrupted.by)


def tell_full_disks(places: Sequence[Path]) -> None:
    """A sentence on each place without room."""
    for place in places:
        there = next(path for path in (place, *place.parents) if path.exists())
        if shutil.disk_usage(there).free < FULL:
            print(f"\n{there}: the disk is full; free some space, or set results to a folder (or a link to one) on "
            "another disk, then start again: finished results are kept.", file=sys.stderr)  # fmt: skip


class Interrupted:
    """The snakemake that a signal is for, and the first signal that was received (0: none)."""

    process: subprocess.Popen[bytes] | None = None
    by: int = 0


@contextlib.contextmanager
def leaving_signals_to_snakemake(witness: subprocess.Popen[bytes]) -> Iterator[Interrupted]:
    """While snakemake runs, Ctrl-C and SIGTERM stop its jobs, then snakemake, then this process.

    A terminal sends Ctrl-C to the whole process group, so snakemake and its jobs have already received it; a second
    signal would disturb snakemake while it cleans up. A signal that the witness process did not get was sent to this
    process only, and is passed on once.
    """
    state = Interrupted()

    def handle(number: int, _: FrameType | None) -> None:
        if state.by:
            return
        state.by = number
        try:
            witness.wait(WITNESS_S)
        except subprocess.TimeoutExpired:
            if state.process is not None:
                pass_on(number, state.process.pid)

    # A signal that is ignored (in the background of a script) stays ignored, here and in snakemake.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pass_on(number: int, pid: int) -> None:
    """Send a signal to a process and all below it, as a terminal would: snakemake alone would wait for its jobs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


# ------------------------------------------------------------------------------------------------- lock


@contextlib.contextmanager
def held() -> Iterator[int | None]:
    """Hold the lock of this folder; None if its file system has no locks.

    The lock belongs to an open file, which snakemake inherits. It is held until both processes have ended, and need not
    be removed after a kill. Jobs do not inherit it (see :func:`end_jobs`).
    """
    try:
        HELD.parent.mkdir(exist_ok=True)
        file = os.open(HELD, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}; snakemake keeps its records there, so make it writable")
    lock: int | None = file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        by = {"pid": "unknown", "host": "an unknown host", **marker()}
        sys.exit(
            f"Another run (process {by['pid']} on {by['host']}) is running in this folder; wait for it or stop it."
        )
    except OSError:
        lock = None
    try:
        yield lock
    finally:
        os.close(file)


@contextlib.contextmanager
def marked(pid: int, name: str) -> Iterator[None]:
    """Note the running snakemake in a file, for the next run in case this one is killed."""
    MARKER.write_text(json.dumps(processes.word(pid, name)) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        # Snakemake removes its locks when it ends; the locks of a killed one can be removed while the note exists.
        if not any(LOCKS.glob("*")):
            MARKER.unlink(missing_ok=True)


def marker() -> dict[str, Any]:
    """Content of the marker; empty if there is none."""
    try:
        return dict(json.loads(MARKER.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def clear_away() -> None:
    """Stop the jobs that a killed run left and remove its locks; any other lock is left to the user.

    A lock with a note of its owner is left to the snakemake that starts now.
    """
    owners = {path.name.removesuffix(processes.OWNER) for path in LOCKS.glob(f"*{processes.OWNER}")}
    locks = [path for path in LOCKS.glob("*.lock") if path.name not in owners]
    made = marker()
    if not locks and not made and not owners:
        return
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if runs_snakemake(process.info["cmdline"] or []) and process.info["cwd"] == str(ROOT):
            sys.exit(f"Another snakemake (process {process.pid}) is running in this folder; wait for it or stop it.")
    if locks and (made.get("host") != platform.node() or is_snakemake(made.get("pid", 0))):
        where = f"on {made['host']} (process {made.get('pid')})" if "host" in made else "without brain2clip run"
        sys.exit(
            f"This folder is locked by a snakemake that was started {where}. Make sure that it no longer runs, then "
            "remove the lock with: snakemake --unlock"
        )
    for left in (made, *(word for _, word in processes.dead_owners(LOCKS))):
        end_jobs(left)
    for lock in locks:
        lock.unlink(missing_ok=True)


def end_jobs(made: Mapping[str, Any]) -> None:
    """Stop jobs on this machine that outlived their snakemake: the next one would start them a second time.

    Jobs of a cluster are not stopped; the next run takes them over.
    """
    left = processes.jobs(made)
    if not left:
        return
    print(f"Stopping {len(left)} processes of jobs that a killed run left behind.", file=sys.stderr)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=ENDING_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=ENDING_S)


def is_snakemake(pid: int) -> bool:
    """Whether a process exists and runs snakemake; process numbers are used again."""
    try:
        return runs_snakemake(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def runs_snakemake(words: list[str]) -> bool:
    """Whether a command line is that of Python with snakemake as its script or module."""
    program = next((word for word in words[1:] if not word.startswith("-")), "")
    return Path(words[0] if words else "").name.startswith("python") and Path(program).name == "snakemake"


# ----------------------------------------------------------------------------------------------- results


def out_of_date(report: Path, results: Path) -> bool:
    """Whether the report is missing or older than a table or a figure."""
    if not report.is_file():
        return True
    made = report.stat().st_mtime_ns
    shown_there = [path for folder in ("tables", "figures") for path in (results / folder).rglob("*") if path.is_file()]
    return any(path.stat().st_mtime_ns > made for path in shown_there)


def make_report(config: Path, report: Path) -> None:
    """Write the report to a temporary path and rename it, so that a killed run leaves no partial file."""
    report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=report.parent, prefix=".report-") as folder:
        part = Path(folder) / report.name
        snakemake(config, "--cores", "1", "--report", shown(part), "--quiet")
        part.replace(report)


def show_tables(tables: Mapping[str, Path]) -> None:
    """Print the Markdown tables of the configuration; the folder may have older ones, too."""
    for name, table in tables.items():
        print(f"\n== {name} ({told(table)})\n")
        print(table.read_text(encoding="utf-8").strip())


def tell_time(started: float) -> None:
    """Elapsed time since a time of the monotonic clock."""
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"Elapsed time: {minutes} min {seconds} s")
