"""Processes of a run: its jobs, by the run's name in their environment, and its snakemake, by a locked file."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

#: Environment variable with the name of a run.
RUN = "BRAIN2CLIP_RUN"
#: Environment variable with which a failed job stops its run; else the jobs go on that do not need its files.
STOP_AT_FIRST_FAILURE = "BRAIN2CLIP_STOP_AT_FIRST_FAILURE"
#: Ending of the file that says whose a lock of Snakemake's is. The kernel locks it (flock) as long as that lives.
OWNER = ".owner"
#: Changes with each start of the machine; not there on all systems.
BOOT = Path("/proc/sys/kernel/random/boot_id")


def word(pid: int, name: str) -> dict[str, Any]:
    """What a run leaves word of: where its snakemake runs, and what its jobs are known by."""
    return {"host": platform.node(), "pid": pid, "session": os.getsid(0), "name": name}


def own(path: Path) -> IO[str]:
    """Leave word of this process in a file, which is locked as long as what is returned is open."""
    file = path.open("w", encoding="utf-8")
    json.dump({**word(os.getpid(), os.environ[RUN]), "boot": _boot()}, file)
    file.flush()
    _lock(file)
    return file


def dead_owners(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files of owners in a folder that are dead, with their words; each is locked by us while it is looked at.

    Only those of this machine since its last start: some file systems do not lock between machines.
    """
    for path in sorted(folder.glob(f"*{OWNER}")):
        with path.open("r+", encoding="utf-8") as file:
            try:
                made = dict(json.load(file))
            except (ValueError, TypeError):  # not written to its end
                continue
            if (made.get("host"), made.get("boot")) == (platform.node(), _boot()) and _lock(file):
                yield path, made


def jobs(made: Mapping[str, Any]) -> list[psutil.Process]:
    """Jobs of a run on this machine, by the word that it left.

    Those of a cluster have the name as well, but not the session.
    """
    return [process for process in psutil.process_iter() if _is_job(process, made)]


def _is_job(process: psutil.Process, made: Mapping[str, Any]) -> bool:
    if "name" not in made or made.get("host") != platform.node() or process.pid == os.getpid():
        return False
    try:
        return process.environ().get(RUN) == made["name"] and os.getsid(process.pid) == made.get("session")
    except (psutil.Error, OSError):
        return False


def _lock(file: IO[str]) -> bool:
    """Lock a file as long as it is open; whether that was possible."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _boot() -> str | None:
    """Which start of the machine this is."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return None
