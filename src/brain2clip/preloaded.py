"""One Python that has loaded the libraries of jobs, and forks for each job.

A small job computes for a second and would import torch and other libraries for three. So a run on this machine
starts ``python -P preloaded.py HOW SOCKET SOURCE`` beside itself; in the shell of the jobs, ``python`` is then a
function (:func:`function`) that calls ``preloaded_client.py``, which hands command line, folder, environment, streams,
umask, CPUs and limits of the job to it. Nothing else changes: a job is a process of its own, with its log, its outputs
and its exit code. Where this process is gone, was started for another number of threads, may have less than the job
(CPUs, limits), or has loaded sources that were edited since, the client becomes the Python that was asked for.

A run on this machine that is killed lets its jobs end well. Jobs of a group that SLURM runs (HOW is ``bound``) end with
who started this process, and when SLURM ends theirs: it would not find all of them, for they are not below its steps.

What is loaded grows: before a job is forked, the module of its stage is imported here, and what it imports later (of
:data:`LIBRARIES`, and of this package) is told by the job when it ends. What jobs of a stage have in common is read
here as well (:mod:`brain2clip.shared`). Nothing of it needs threads or a GPU: none is started here. With an empty
SOURCE, libraries alone are loaded, all of them and at once: tests share such a one among many copies of the sources.

This file runs by its path and imports nothing of this package at its top: its process does when a job needs it.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import importlib
import json
import logging
import math
import os
import resource
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

#: Environment variable with the path of the socket.
SOCKET = "BRAIN2CLIP_PRELOADED"
#: What is worth loading once. The order is that of loading.
LIBRARIES = (
    "numpy", "pandas", "yaml", "pydantic", "h5py", "pyarrow.parquet", "pyarrow.pandas_compat", "torch",
    "safetensors.torch", "PIL.Image", "scipy.special", "scipy.signal", "scipy.stats", "sklearn.covariance",
    "sklearn.linear_model", "open_clip", "mne", "mne_bids", "matplotlib.pyplot",
)  # fmt: skip
#: Numbers of threads, which libraries read when they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Answer to a client that has to be that Python itself; other answers are exit codes, negative ones signals.
NOT_HERE = "not here"
#: The path of a socket may have 107 characters.
LONGEST = 107
#: What the process is told whose jobs end with it.
BOUND = "bound"
#: How long jobs that end with this process may take to, s.
GRACE_S = 10.0
PR_SET_PDEATHSIG = 1
PACKAGE = Path(__file__).parent.name
CLIENT = Path(__file__).with_name("preloaded_client.py")


# ---------------------------------------------------------------------------------------- who runs the jobs


def function() -> str:
    """``python`` as a function of bash that asks a loaded Python, where there is one; without braces."""
    client = f'command python -I -S {shlex.quote(str(CLIENT))} "${SOCKET}" "$@"'
    return f'python() if [[ -v {SOCKET} && -S ${SOCKET} ]]; then {client}; else command python "$@"; fi'


def folder() -> Path | None:
    """Folder of the loaded Python that the environment names; None where it names none."""
    path = Path(os.environ.get(SOCKET, ""))
    return path.parent if path.is_absolute() else None


def running(client: int) -> int | None:
    """Number of the process that runs a job for a client, by the number of the client's process; None for others."""
    if (found := folder()) is None:
        return None
    try:
        return int((found / str(client)).read_text())
    except (OSError, ValueError):
        return None


def start(
    source: Path | None,
    environment: dict[str, str] | None = None,
    more: Sequence[str] = (),
    bound: bool = False,
) -> subprocess.Popen[bytes] | None:
    """Start a loaded Python that lives as long as this process, and let the environment of jobs name it.

    Where one is named there already, it is used; where something else stands there, there is none.

    Parameters
    ----------
    source : Path or None
        Folder of this package as jobs see it; None loads libraries alone.
    environment : dict, optional
        Takes the name of the socket, in place of this process's environment.
    more : sequence of str
        Libraries to load with the others, where there is no folder.
    bound : bool
        Whether its jobs end with this process, and it before.

    Returns
    -------
    subprocess.Popen or None
        To be kept: its standard input is what tells it that this process is gone. None where there can be none.
    """
    if environment is None and os.environ.get(SOCKET):
        return None
    if not hasattr(socket, "AF_UNIX") or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        place = Path(tempfile.mkdtemp(prefix="brain2clip-"))
    except OSError:  # no folder for temporary files that has room
        return None
    path = place / "socket"
    if len(str(path)) > LONGEST:
        shutil.rmtree(place)
        return None
    # What jobs have as well: by the name of the run they are known when it is killed.
    given = {**os.environ, **dict.fromkeys(THREADS, "1")}
    how = BOUND if bound else "free"
    command = [sys.executable, "-P", __file__, how, str(path), str(source or ""), *more]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given)
    assert server.stdout is not None
    if server.stdout.readline() != b"ready\n":
        return None
    (os.environ if environment is None else environment)[SOCKET] = str(path)
    if bound:
        atexit.register(end, server)
    return server


def end(server: subprocess.Popen[bytes]) -> None:
    """Let a loaded Python go, and wait for it: what SLURM kills does not remove its folder."""
    assert server.stdin is not None
    server.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(2 * GRACE_S)


# ------------------------------------------------------------------------------------------ the loaded Python


class Asked(NamedTuple):
    """What a client would be.

    Attributes
    ----------
    streams : list of int
        Descriptors that become standard input, output and error.
    arguments : list of str
        ``-m``, the module and what follows.
    folder : str
    environment : dict
    umask : int
    cpus : list of int
        Those that it may run on.
    limits : dict
        By name (``RLIMIT_…``), soft and hard.
    """

    streams: list[int]
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    umask: int
    cpus: list[int]
    limits: dict[str, tuple[int, int]]

    def may_be_forked(self) -> bool:
        """Whether a process that this one forks may have as much as the client."""
        may = {name: _size(resource.getrlimit(getattr(resource, name))[1]) for name in self.limits}
        return os.sched_getaffinity(0).issuperset(self.cpus) and all(
            _size(hard) <= may[name] for name, (_, hard) in self.limits.items()
        )

    def become(self) -> None:
        """Make this process the client's equal; its streams are taken."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.umask(self.umask)
        os.sched_setaffinity(0, self.cpus)
        for name, limit in self.limits.items():
            resource.setrlimit(getattr(resource, name), limit)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)


def _size(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


@dataclass
class Forked:
    """A job that was forked.

    Attributes
    ----------
    client : socket.socket
        Waits for the exit code.
    told : file
        Where the job writes what it has loaded.
    word : Path
        Says which process this is.
    """

    client: socket.socket
    told: IO[bytes]
    word: Path


@dataclass
class Server:
    """What forks.

    Attributes
    ----------
    source : Path or None
        Folder of this package, of which modules are loaded.
    folder : Path
        A file for each job, named by the number of its client's process, holds the number of its own.
    listening : socket.socket
    bound : bool
        Whether jobs end with this process, and it when it is asked to.
    jobs : dict
        By the number of the process.
    files : dict
        Times and sizes of the sources that were loaded.
    number : int
        Of jobs that were forked.
    """

    source: Path | None
    folder: Path
    listening: socket.socket
    bound: bool = False
    jobs: dict[int, Forked] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    number: int = 0
    _asked_to_end: bool = False

    def serve(self) -> None:
        """Fork for each job that comes, until who started us is gone, and our jobs have ended."""
        awake, waker = socket.socketpair()
        for end in (awake, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for readable in (self.listening, awake, sys.stdin):
            self.selector.register(readable, selectors.EVENT_READ)
        if self.bound:
            signal.signal(signal.SIGTERM, self._end)
        last: float | None = None
        while last is None or (self.jobs and time.monotonic() < last):
            for key, _ in self.selector.select(None if last in (None, math.inf) else GRACE_S):
                if key.fileobj is self.listening:
                    self.accept()
                elif key.fileobj is awake:
                    with contextlib.suppress(BlockingIOError):
                        awake.recv(4096)
                elif key.fileobj is sys.stdin:
                    self._end()
                else:
                    self.abandoned(key.data)
            self.reap()
            if self._asked_to_end and last is None:
                last = self.close()

    def _end(self, *_: object) -> None:
        self._asked_to_end = True

    def close(self) -> float:
        """Take no more jobs; until when those that run may go on."""
        self.selector.unregister(sys.stdin)
        self.selector.unregister(self.listening)
        self.listening.close()
        if not self.bound:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return math.inf
        for pid in self.jobs:
            os.kill(pid, signal.SIGTERM)
        return time.monotonic() + GRACE_S

    def accept(self) -> None:
        """Take one job, and fork for it."""
        client, _ = self.listening.accept()
        try:
            asked = received(client)
        except (OSError, ValueError, IndexError, TypeError):  # it has gone already, or is of other sources
            client.close()
            return
        try:
            forked = self.forked(client, asked)
            with contextlib.suppress(OSError):  # it has gone meanwhile
                client.sendall(f"{NOT_HERE if forked is None else f'process {forked}'}\n".encode())
            if forked is None:
                client.close()
        finally:
            for stream in asked.streams:
                os.close(stream)

    def forked(self, client: socket.socket, asked: Asked) -> int | None:
        """Number of the process of a job that runs here now; None where it cannot."""
        if not asked.may_be_forked() or not self.fits(asked.arguments, asked.environment):
            return None
        try:
            reading, writing = os.pipe()
            pid = os.fork()
        except OSError:  # too many processes, or no memory
            return None
        if pid == 0:
            try:
                os.close(reading)
                client.close()
                self.leave()
                be(asked, writing, runs=None if self.source is None else asked.arguments[1])
            finally:
                os._exit(70)
        os.close(writing)
        word = self.folder / str(caller(client))
        with contextlib.suppress(OSError):  # then its benchmark is of the client alone
            word.write_text(str(pid))
        self.jobs[pid] = Forked(client, os.fdopen(reading, "rb"), word)
        self.selector.register(client, selectors.EVENT_READ, data=pid)
        self.number += 1
        return pid

    def fits(self, arguments: list[str], environment: dict[str, str]) -> bool:
        """Whether a job may run here; the module of its stage is loaded then."""
        if arguments[:1] != ["-m"] or any(environment.get(name, "1") != "1" for name in THREADS):
            return False
        if self.source is None:
            return True
        first = environment.get("PYTHONPATH", "").split(os.pathsep)[0]
        if not first or Path(first).resolve() != self.source or not arguments[1].startswith(f"{PACKAGE}."):
            return False
        if not self.load([arguments[1]]) or not self.unchanged():
            return False
        share(arguments)
        return True

    def load(self, names: list[str]) -> bool:
        """Import modules; whether all could be. What a job cannot import, it says itself."""
        for name in names:
            if name in sys.modules:
                continue
            try:
                importlib.import_module(name)
            except BaseException:
                return False
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] == PACKAGE and file is not None and file not in self.files:
                self.files[file] = state(file)
        return True

    def unchanged(self) -> bool:
        """Whether the sources that were loaded are still as they were."""
        return all(state(file) == before for file, before in self.files.items())

    def leave(self) -> None:
        """In a job: close what belongs to the loaded Python."""
        if self.bound:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # when the loaded Python is gone
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for key in list(self.selector.get_map().values()):
            if key.fileobj is not sys.stdin:
                key.fileobj.close()  # type: ignore[union-attr]
        self.selector.close()

    def abandoned(self, pid: int) -> None:
        """End a job whose client is gone: it was killed in place of the job."""
        job = self.jobs[pid]
        self.selector.unregister(job.client)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def reap(self) -> None:
        """Tell the clients of jobs that have ended how these ended, and load what they had to load."""
        ended = []
        for pid in list(self.jobs):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append((self.jobs.pop(pid), os.waitstatus_to_exitcode(status)))
        for job, code in ended:
            job.word.unlink(missing_ok=True)
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(job.client)
            with contextlib.suppress(OSError):
                job.client.sendall(f"{code}\n".encode())
            job.client.close()
        for job, _ in ended:
            with job.told, contextlib.suppress(ValueError):
                told = json.loads(job.told.read() or b"[]")
                self.load([name for name in told if self.source is not None or name in LIBRARIES])


def share(arguments: list[str]) -> None:
    """Read what the jobs of a stage have in common. What is wrong with it, a job says itself."""
    if (found := getattr(sys.modules[arguments[1]], "share", None)) is None:
        return
    stage: Any = importlib.import_module(f"{PACKAGE}.stage")
    shared: Any = importlib.import_module(f"{PACKAGE}.shared")
    logging.disable()
    try:
        with shared.keeping(), warnings.catch_warnings(action="ignore"):
            found(stage.parse(arguments[2:]))
    except BaseException:  # SystemExit of a wrong command line as well
        pass
    finally:
        logging.disable(logging.NOTSET)


def state(file: str) -> tuple[int, int]:
    """Time and size of a file; zeros where it is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def caller(client: socket.socket) -> int:
    """Number of the process at the other end."""
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


def received(client: socket.socket) -> Asked:
    """What a client sends."""
    streams = array.array("i")
    _, given, _, _ = client.recvmsg(1, socket.CMSG_SPACE(3 * streams.itemsize))
    streams.frombytes(given[0][2])
    with client.makefile("rb") as file:
        return Asked(list(streams), **json.loads(file.readline()))


def be(asked: Asked, telling: int, runs: str | None) -> None:
    """Be ``python -m MODULE ARGUMENT…`` in a forked process, and end it.

    Parameters
    ----------
    asked : Asked
    telling : int
        Descriptor for the names of what is loaded in the end.
    runs : str or None
        Module of a stage that is loaded already.
    """
    asked.become()
    arguments = asked.arguments
    tempfile.tempdir = None  # it depends on the environment
    logging.root.handlers.clear()  # what logs without being asked to (logging.info) has put one there
    sys.path[0:0] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = arguments[1:]
    code, ending = 1, 0
    try:
        if runs is None:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            stage: Any = importlib.import_module(f"{PACKAGE}.stage")
            stage.main(sys.modules[runs].run, arguments[2:])
        code = 0
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        ending = signal.SIGINT
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.write(telling, json.dumps(loaded()).encode())
    if ending:
        signal.signal(ending, signal.SIG_DFL)
        os.kill(os.getpid(), ending)
    os._exit(code)


def loaded() -> list[str]:
    """What the next job should find loaded."""
    return [
        *(name for name in LIBRARIES if name in sys.modules),
        *(name for name in sys.modules if name.startswith(f"{PACKAGE}.")),
    ]


def main(how: str, path: str, source: str, *more: str) -> None:
    """Listen at a path; nothing of a folder of sources is loaded where it is empty, but libraries."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the jobs, or for who started us, whose end we see
        signal.signal(number, signal.SIG_IGN)
    if source:
        sys.path.insert(0, source)
    else:
        for library in (*LIBRARIES, *more):
            importlib.import_module(library)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(128)
            print("ready", flush=True)
            os.dup2(2, 1)  # nobody reads on
            server = Server(Path(source).resolve() if source else None, Path(path).parent, listening, how == BOUND)
            server.serve()
            if server.bound:
                print(f"{server.number} jobs were forked from one loaded Python", flush=True)
    finally:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
