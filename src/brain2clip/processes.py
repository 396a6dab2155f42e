"""Find the processes of a run: its jobs by the name of the run in their environment, its snakemake by a locked file."""

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
#: Environment variable: if it is set, a failed job stops the run. Otherwise jobs that do not need its files continue.
STOP_AT_FIRST_FAILURE = "BRAIN2CLIP_STOP_AT_FIRST_FAILURE"
#: Ending of the owner file, which names the process that owns a lock of Snakemake. The process locks the file (flock);
#: when it dies, the kernel releases this lock.
OWNER = ".owner"
#: File with an id that changes at each start of the machine; some systems do not have it.
BOOT = Path("/proc/sys/kernel/random/boot_id")


def word(pid: int, name: str) -> dict[str, Any]:
    """Content of an owner file: host, process and session of the run's snakemake, and the name of the run."""
    return {"host": platform.node(), "pid": pid, "session": os.getsid(0), "name": name}


def own(path: Path) -> IO[str]:
    """Write an owner file for this process; it is locked as long as the returned file is open."""
    file = path.open("w", encoding="utf-8")
    json.dump({**word(os.getpid(), os.environ[RUN]), "boot": _boot()}, file)
    file.flush()
    _lock(file)
    return file


def dead_owners(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Owner files of dead processes in a folder, with their content; each is locked while the caller handles it.

    Only owners on this machine since its last start are found, because some file systems do not lock between machines.
    """
    for path in sorted(folder.glob(f"*{OWNER}")):
        with path.open("r+", encoding="utf-8") as file:
            try:
                made = dict(json.load(file))
            except (ValueError, TypeError):  # not written completely
                continue
            if (made.get("host"), made.get("boot")) == (platform.node(), _boot()) and _lock(file):
                yield path, made


def jobs(made: Mapping[str, Any]) -> list[psutil.Process]:
    """Jobs of a run on this machine, by the content of its owner file.

    Jobs on a cluster have the same name of the run, but another session.
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
    """Lock a file until it is closed; return whether that was possible."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _boot() -> str | None:
    """Id of the present start of the machine."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return None
