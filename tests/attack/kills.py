"""Kills (SIGKILL) of snakemake, of jobs, of all at once, at any time: the next run goes on and asks nobody.

Each attack starts ``brain2clip run`` as ``make`` does, lets it run for a moment, kills something and starts again; the
last one must come to its end.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import small
from project import Project
from report import Report

REFUSALS = ("locked", "Another run", "Another snakemake", "LockException", "IncompleteFiles", "--unlock", "Traceback")
LONGEST_S = 15.0


def run(count: int, seed: int) -> Report:
    """Kill so many runs."""
    rng, report = random.Random(seed), Report("kills")
    with tempfile.TemporaryDirectory() as name:
        project = small.create(Path(name) / "project")
        log = Path(name) / "run.log"
        for number in range(count):
            with started(project, log) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.5, LONGEST_S))
                what = rng.choice(("snakemake", "jobs", "all", "us"))
                report.tried += 1
                told = log.read_text(errors="replace")
                refused = [words for words in REFUSALS if words in told]
                if refused or process.poll() not in (None, 0):
                    report.failures.append(f"before kill {number} of {what}, seed {seed}: {told[-800:]!r}")
                kill(process, what)
        with started(project, log) as process:
            if process.wait() != 0:
                report.failures.append(
                    f"the run after all kills, seed {seed}: {log.read_text(errors='replace')[-2000:]!r}"
                )
    return report


@contextlib.contextmanager
def started(project: Project, log: Path):
    """A run in a session of its own; at the end what a kill left of it is not touched, as on a real machine."""
    environment = {**project.environment(), "PYTHONPATH": str(project.folder / "src")}
    command = [sys.executable, "-m", "brain2clip", "run", "--cores", "2", project.config_file.name]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=project.folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    yield process
    process.wait()


def kill(process: subprocess.Popen[bytes], what: str) -> None:
    """SIGKILL to snakemake, to what it started, to us, or to all of them."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    leaders = [one for one in below if one.ppid() == process.pid]
    if what == "all":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    chosen = {"snakemake": leaders, "jobs": [one for one in below if one not in leaders]}.get(what, [])
    for one in chosen:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    if what == "us":
        process.kill()
        for one in leaders:  # snakemake goes on, and holds the lock by right: wait until it has ended, then go on
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
                one.wait(60)
    elif what == "jobs":  # the run ends by itself then
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.05)
