"""Recognise and remove the locks of a killed Snakemake.

Snakemake's lock is a list of files. It does not say which process owns it, and it stays if the process is killed. So we
put an owner file beside the lock: it names the process, and its file lock is free as soon as the process is dead
(:mod:`brain2clip.processes`). Locks of living processes, locks of other machines and locks without an owner file stay;
Snakemake then says what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from brain2clip import processes
from brain2clip.internals import snakemake, versions

#: File in Snakemake's folder that a process locks while it checks locks or takes one.
LOOKING = "brain2clip-looking.lock"
#: How long jobs that were killed together with their run may take to end, s.
ENDING_S = 1.0


def watch(workflow: Any) -> None:
    """Remove locks of killed processes before Snakemake takes its own lock, and write an owner file beside it."""
    os.environ.setdefault(processes.RUN, uuid.uuid4().hex)
    prepare = snakemake.needed(workflow, "_prepare_dag")._prepare_dag

    def prepared(*given: Any, **named: Any) -> None:
        prepare(*given, **named)
        lacking = versions.lacking(workflow.persistence, "_lockdir", "_lockfile")  # e.g. with records in a database
        if not workflow.dryrun and not lacking:
            _precede(workflow.persistence, found_again(workflow))

    workflow._prepare_dag = prepared


def found_again(workflow: Any) -> bool:
    """Whether the next run finds the jobs of a killed run: they run on this machine, or in SLURM."""
    plugin = snakemake.needed(workflow, "executor_plugin").executor_plugin
    return plugin is None or plugin.cli_prefix == "slurm" or not plugin.common_settings.non_local_exec


def _precede(persistence: Any, found_again: bool) -> None:
    take = snakemake.needed(persistence, "lock").lock
    folder = Path(persistence._lockdir)

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        with contextlib.ExitStack() as kept:  # stays open after `_looking`, until the run ends
            with _looking(folder.parent / LOOKING) as alone:
                if alone:
                    remove_dead(folder)
                kept.enter_context(take())
                for lock in persistence._lockfile.values() if alone and found_again else ():
                    kept.enter_context(processes.own(Path(f"{lock}{processes.OWNER}")))
            yield

    persistence.lock = locked


def remove_dead(folder: Path) -> None:
    """Remove the locks in a folder whose processes are dead.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        If jobs of such a process still run: they could write the same files as the jobs of this run.
    """
    for path, made in processes.dead_owners(folder):
        if left := psutil.wait_procs(processes.jobs(made), timeout=ENDING_S)[1]:
            raise snakemake.refusal(
                f"Jobs of a snakemake that was killed (process {made['pid']}) still run: wait for them, or stop them "
                f"with: kill {' '.join(str(process.pid) for process in left)}"
            )
        for gone in (path.with_name(path.name.removesuffix(processes.OWNER)), path):
            gone.unlink(missing_ok=True)
        snakemake.log().info(f"Removed a lock of a snakemake that was killed (process {made['pid']}).")


@contextlib.contextmanager
def _looking(path: Path) -> Iterator[bool]:
    """Wait until no other process checks the locks; False if the file system has no file locks."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
