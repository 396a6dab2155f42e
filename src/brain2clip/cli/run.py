"""Run a study for ``make``: snakemake, then the report where it is out of date, then the tables on the terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / ".snakemake" / "locks"
MARKER = ROOT / ".snakemake" / "brain2clip-run.json"
"""Host and process of the snakemake that was started here; gone when it has ended and we saw it end."""
WITNESS_S = 0.5
"""How long a signal to the whole process group may take to reach all of it, s."""


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="a complete configuration, e.g. workflow/demo.yaml")
    parser.add_argument("--cores", default="all", help="CPU cores to use")
    parser.add_argument("--report-only", action="store_true", help="make the report of what was run, and no more")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    config = given.config.resolve()
    settings = read(config)
    results = ROOT / (settings.get("results") or "results")
    report = results / "report.zip"
    if not given.report_only:
        remove_stale_lock()
        snakemake(config, "--cores", given.cores, "--rerun-incomplete", "--show-failed-logs")
    if given.report_only or out_of_date(report, results):
        make_report(config, report)
    if not given.report_only:
        show_tables(results / "tables", settings.get("tables") or {})
    print(f"\nReport: {shown(report)} (unpack it and open report.html in a browser)")
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"Elapsed time: {minutes} min {seconds} s")


def read(config: Path) -> dict[str, Any]:
    """The configuration as it stands; snakemake is the one to validate it."""
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        sys.exit(f"{shown(config)}: not a readable configuration: {error}")
    return settings if isinstance(settings, dict) else {}


def shown(path: Path) -> str:
    """A path as it is printed and passed on: below the root of the repository, or whole where it lies outside."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


# -------------------------------------------------------------------------------------------- snakemake


def snakemake(config: Path, *arguments: str) -> None:
    """Call snakemake in the root of the repository; its failure is ours."""
    command = [sys.executable, "-m", "snakemake", "--configfile", shown(config), *arguments]
    with contextlib.ExitStack() as stack:
        # Dies of whatever signal goes to the whole process group, and with us.
        witness = stack.enter_context(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        interrupted = stack.enter_context(leaving_signals_to_snakemake(witness))
        process = interrupted.process = subprocess.Popen(command, cwd=ROOT)
        if interrupted.by:  # before there was anyone to pass it on to
            pass_on(interrupted.by, process.pid)
        stack.enter_context(marked(process.pid))
        code = process.wait()
    if code or interrupted.by:
        sys.exit(128 - code if code < 0 else code or 128 + interrupted.by)


class Interrupted:
    """The snakemake that a signal is for, and the first signal that came (0: none)."""

    process: subprocess.Popen[bytes] | None = None
    by: int = 0


@contextlib.contextmanager
def leaving_signals_to_snakemake(witness: subprocess.Popen[bytes]) -> Iterator[Interrupted]:
    """While snakemake runs, Ctrl-C and SIGTERM end its jobs, then it, then us, whoever they were sent to.

    A terminal sends Ctrl-C to the whole process group, so snakemake and its jobs have it already; twice would disturb
    snakemake while it cleans up. A signal that the witness did not get was for us alone and is passed on, once.
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

    # A signal that is ignored (in the background of a script) stays so, for us and for snakemake.
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
def marked(pid: int) -> Iterator[None]:
    """Leave word of a running snakemake, for the run after one that is killed."""
    MARKER.parent.mkdir(exist_ok=True)
    MARKER.write_text(json.dumps({"host": platform.node(), "pid": pid}) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        if marker().get("pid") == pid:
            MARKER.unlink()


def marker() -> dict[str, Any]:
    """What the marker says; nothing where there is none."""
    try:
        return dict(json.loads(MARKER.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def remove_stale_lock() -> None:
    """Unlock the folder where a killed run of ours left it locked; any other lock is left to the user."""
    locks = list(LOCKS.glob("*"))
    if not locks:
        return
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if runs_snakemake(process.info["cmdline"] or []) and process.info["cwd"] == str(ROOT):
            sys.exit(f"Another snakemake (process {process.pid}) is running in this folder; wait for it or stop it.")
    made = marker()
    if made.get("host") != platform.node() or is_snakemake(made.get("pid", 0)):
        where = f"on {made['host']} (process {made.get('pid')})" if "host" in made else "without make"
        sys.exit(
            f"This folder is locked by a snakemake that was started {where}. Make sure that it no longer runs, then "
            "remove the lock with: snakemake --unlock"
        )
    for lock in locks:
        lock.unlink(missing_ok=True)


def is_snakemake(pid: int) -> bool:
    """Whether a process is there and runs snakemake; numbers of processes are used again."""
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
    """Write the report aside and move it to its place, so that a killed run leaves no half of it there."""
    report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=report.parent, prefix=".report-") as folder:
        part = Path(folder) / report.name
        snakemake(config, "--cores", "1", "--report", shown(part), "--quiet")
        part.replace(report)


def show_tables(folder: Path, names: Iterable[str]) -> None:
    """Print the Markdown tables that the configuration names; others may lie there from before."""
    for name in names:
        table = folder / f"{name}.md"
        print(f"\n== {name} ({shown(table)})\n")
        print(table.read_text(encoding="utf-8").strip())


if __name__ == "__main__":
    main()
