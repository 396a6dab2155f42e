"""A Python process that has loaded the libraries of jobs, and forks for each job (the *loaded Python*).

A small job computes for one second, but importing torch and other libraries takes three. So a run on this machine
starts ``python -P preloaded.py HOW SOCKET SOURCE``. In the shells of its jobs, ``python`` is a function
(:func:`function`) that calls ``preloaded_client.py``. This client sends the job's command line, folder, environment,
streams, umask, CPUs and limits to the loaded Python, which forks and runs the job. Nothing else changes: a job is a
separate process with its own log, outputs and exit code. The client runs the ordinary Python instead if the loaded
Python has ended, was started for another number of threads, has fewer CPUs or lower limits than the job, or has loaded
sources that were edited since.

If a run on this machine is killed, its running jobs still finish. Jobs of a group that SLURM runs (HOW is ``bound``)
are ended when the process that started the loaded Python ends, or when SLURM ends their step. We have to end them
ourselves, because they are not child processes of SLURM's steps, and SLURM would miss some.

More is loaded over time. Before a job is forked, the module of its stage is imported here. When a job ends, it reports
which other modules (of :data:`LIBRARIES` and of this package) it has imported, and these are imported here, too. Data
that the jobs of a stage have in common are also read here (:mod:`brain2clip.shared`). None of this needs threads or a
GPU, and none is started here. If SOURCE is empty, only libraries are loaded, all of them at the start: tests share one
such process among many copies of the sources.

This file is run by its path and imports nothing of this package at the top; modules are imported when a job needs them.
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
#: Libraries that are worth loading once, in the order of loading.
LIBRARIES = (
    "numpy", "pandas", "yaml", "pydantic", "h5py", "pyarrow.parquet", "pyarrow.pandas_compat", "torch",
    "safetensors.torch", "PIL.Image", "scipy.special", "scipy.signal", "scipy.stats", "sklearn.covariance",
    "sklearn.linear_model", "open_clip", "mne", "mne_bids", "matplotlib.pyplot",
)  # fmt: skip
#: Environment variables with numbers of threads; libraries read them when they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Answer to a client that has to run the job itself.
NOT_HERE = "not here"
#: Largest length of the path of a socket, characters.
LONGEST = 107
#: Value of the argument HOW if jobs end together with the loaded Python.
BOUND = "bound"
#: How long jobs may take to end after they are asked to, s.
GRACE_S = 10.0
PR_SET_PDEATHSIG = 1
PACKAGE = Path(__file__).parent.name
CLIENT = Path(__file__).with_name("preloaded_client.py")


# ---------------------------------------------------------------------------------------- who runs the jobs


def function() -> str:
    """``python`` as a bash function that uses the loaded Python if there is one; the text contains no braces."""
    client = f'command python -I -S {shlex.quote(str(CLIENT))} "${SOCKET}" "$@"'
    return f'python() if [[ -v {SOCKET} && -S ${SOCKET} ]]; then {client}; else command python "$@"; fi'


def folder() -> Path | None:
    """Folder of the loaded Python that the environment names; None if it names none."""
    path = Path(os.environ.get(SOCKET, ""))
    return path.parent if path.is_absolute() else None


def running(client: int) -> int | None:
    """From the id of a client process to the id of the process that runs its job; None for other processes."""
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
    """Start a loaded Python that lives as long as this process, and name it in the environment of jobs.

    If the environment of this process already has the variable, no other one is started.

    Parameters
    ----------
    source : Path or None
        Folder of this package as jobs see it; None: only libraries are loaded.
    environment : dict, optional
        Gets the path of the socket, instead of this process's environment.
    more : sequence of str
        Further libraries to load if `source` is None.
    bound : bool
        Whether the jobs and the loaded Python end when this process ends.

    Returns
    -------
    subprocess.Popen or None
        Keep it: when its standard input is closed, the loaded Python knows that this process has ended. None if no
        loaded Python was started.
    """
    if environment is None and os.environ.get(SOCKET):
        return None
    if not hasattr(socket, "AF_UNIX") or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        place = Path(tempfile.mkdtemp(prefix="brain2clip-"))
    except OSError:  # no folder for temporary files, or no space in it
        return None
    path = place / "socket"
    if len(str(path)) > LONGEST:
        shutil.rmtree(place)
        return None
    # The name of the run is in this environment, too: it identifies the jobs after the run was killed.
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
    """End a loaded Python and wait for it; if SLURM killed it, its folder would not be removed."""
    assert server.stdin is not None
    server.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(2 * GRACE_S)


# ------------------------------------------------------------------------------------------ the loaded Python


class Asked(NamedTuple):
    """Request of a client: the properties that the job's process must have.

    Attributes
    ----------
    streams : list of int
        Descriptors for standard input, output and error.
    arguments : list of str
        ``-m``, the module and its arguments.
    folder : str
        Working directory.
    environment : dict
        All environment variables.
    umask : int
    cpus : list of int
        CPUs on which it may run.
    limits : dict
        Soft and hard limit by name (``RLIMIT_…``).
    """

    streams: list[int]
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    umask: int
    cpus: list[int]
    limits: dict[str, tuple[int, int]]

    def may_be_forked(self) -> bool:
        """Whether a forked process can have the CPUs and limits of the client."""
        may = {name: _size(resource.getrlimit(getattr(resource, name))[1]) for name in self.limits}
        return os.sched_getaffinity(0).issuperset(self.cpus) and all(
            _size(hard) <= may[name] for name, (_, hard) in self.limits.items()
        )

    def become(self) -> None:
        """Give this process the client's streams, umask, CPUs, limits, folder and environment."""
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
        Connection to the client, which waits for the exit code.
    told : file
        Pipe into which the job writes the names of the modules that it has loaded.
    word : Path
        File with the id of the job's process.
    """

    client: socket.socket
    told: IO[bytes]
    word: Path


@dataclass
class Server:
    """The part of the loaded Python that accepts jobs and forks for them.

    Attributes
    ----------
    source : Path or None
        Folder of this package, from which modules are loaded; None: only libraries are loaded.
    folder : Path
        Has a file for each job: its name is the process id of the client, its content the process id of the job.
    listening : socket.socket
        Socket on which clients connect.
    bound : bool
        Whether jobs end when this process ends, and this process ends on SIGTERM.
    jobs : dict
        Running jobs by process id.
    files : dict
        Times and sizes of the loaded source files.
    number : int
        Number of jobs that were forked.
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
        """Fork for each job, until the process that started this one has ended and all jobs have ended."""
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
        """Accept no more jobs; return the time until which running jobs may continue."""
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
        """Accept one job, and fork for it."""
        client, _ = self.listening.accept()
        try:
            asked = received(client)
        except (OSError, ValueError, IndexError, TypeError):  # the client has ended, or is from other sources
            client.close()
            return
        try:
            forked = self.forked(client, asked)
            with contextlib.suppress(OSError):  # the client has ended meanwhile
                client.sendall(f"{NOT_HERE if forked is None else f'process {forked}'}\n".encode())
            if forked is None:
                client.close()
        finally:
            for stream in asked.streams:
                os.close(stream)

    def forked(self, client: socket.socket, asked: Asked) -> int | None:
        """Fork for a job and return the id of its process; None if it cannot run here."""
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
        with contextlib.suppress(OSError):  # without this file, the benchmark measures only the client
            word.write_text(str(pid))
        self.jobs[pid] = Forked(client, os.fdopen(reading, "rb"), word)
        self.selector.register(client, selectors.EVENT_READ, data=pid)
        self.number += 1
        return pid

    def fits(self, arguments: list[str], environment: dict[str, str]) -> bool:
        """Whether a job may run here; if so, the module of its stage is loaded."""
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
        """Import modules; return whether all could be imported. The job itself will report a failed import."""
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
        """Whether the loaded source files have not been edited since."""
        return all(state(file) == before for file, before in self.files.items())

    def leave(self) -> None:
        """In a forked job: close the sockets and reset the signals of the loaded Python."""
        if self.bound:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # if the loaded Python ends
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for key in list(self.selector.get_map().values()):
            if key.fileobj is not sys.stdin:
                key.fileobj.close()  # type: ignore[union-attr]
        self.selector.close()

    def abandoned(self, pid: int) -> None:
        """End a job whose client has ended: whoever killed the client meant the job."""
        job = self.jobs[pid]
        self.selector.unregister(job.client)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def reap(self) -> None:
        """Send the exit codes of ended jobs to their clients, and load the modules that these jobs reported."""
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
    """Read data that the jobs of a stage have in common. Errors are ignored here; the job itself will report them."""
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
    """Time and size of a file; zeros if it does not exist."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def caller(client: socket.socket) -> int:
    """Id of the process at the other end of a connection."""
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


def received(client: socket.socket) -> Asked:
    """Receive the request of a client."""
    streams = array.array("i")
    _, given, _, _ = client.recvmsg(1, socket.CMSG_SPACE(3 * streams.itemsize))
    streams.frombytes(given[0][2])
    with client.makefile("rb") as file:
        return Asked(list(streams), **json.loads(file.readline()))


def be(asked: Asked, telling: int, runs: str | None) -> None:
    """Run ``python -m MODULE ARGUMENT…`` in a forked process, then end the process.

    Parameters
    ----------
    asked : Asked
        Request of the client.
    telling : int
        Descriptor to which the names of all loaded modules are written at the end.
    runs : str or None
        Module of the stage, if it is loaded already.
    """
    asked.become()
    arguments = asked.arguments
    tempfile.tempdir = None  # depends on the environment, so it is determined again
    logging.root.handlers.clear()  # a library that calls logging.info has added a handler
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
    """Names of modules that should be loaded for the next jobs."""
    return [
        *(name for name in LIBRARIES if name in sys.modules),
        *(name for name in sys.modules if name.startswith(f"{PACKAGE}.")),
    ]


def main(how: str, path: str, source: str, *more: str) -> None:
    """Listen at `path`. If `source` is empty, load libraries at once, and no modules of this package."""
    for number in (signal.SIGINT, signal.SIGTERM):  # for jobs or the process that started us; we notice when it ends
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
            os.dup2(2, 1)  # nobody reads standard output any more
            server = Server(Path(source).resolve() if source else None, Path(path).parent, listening, how == BOUND)
            server.serve()
            if server.bound:
                print(f"{server.number} jobs were forked from one loaded Python", flush=True)
    finally:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
