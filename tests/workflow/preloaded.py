"""A Python that has the libraries loaded already, for runs of many small jobs.

A job of the tiny studies computes for about a second and imports torch and its like for four. Here one process imports
them once and forks for each job; in the shell of the jobs, ``python`` is a function that hands command line, folder,
environment and streams to it; :func:`python` is the same as a file, for commands that a person types. Our own modules
are imported by each job, from the project's own source. Runs whose jobs are killed or whose starting is looked at do
without it.
"""

from __future__ import annotations

import array
import contextlib
import functools
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

LIBRARIES = (
    "h5py", "matplotlib.pyplot", "mne", "mne_bids", "open_clip", "pandas", "pyarrow.parquet", "pydantic",
    "safetensors.torch", "scipy.special", "sklearn.covariance", "sklearn.linear_model", "torch", "yaml",
)  # fmt: skip
#: A process that nobody refers to would lose its standard input.
KEPT: list[subprocess.Popen[str]] = []
#: Starts fast: no site-packages, no environment.
CLIENT = """
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    streams = array.array("i", [0, 1, 2])
    server.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    with server.makefile("rwb") as file:
        file.write(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
        file.flush()
        sys.exit(int(file.readline() or b"70"))
"""


def preloaded() -> dict[str, str]:
    """Environment variables with which the shells of jobs use one loaded Python, for as long as this process lives."""
    return {"BASH_FUNC_python%%": f'() {{ {python()} "$@"\n}}'}


@functools.cache
def python(*more: str) -> Path:
    """A Python with these libraries loaded, too; commands that it runs start such a one in their turn."""
    # Not pytest's folder: the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    path, client, shown = folder / "socket", folder / "client.py", folder / "python"
    client.write_text(CLIENT)
    shown.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {client} {path} "$@"\n')
    shown.chmod(0o755)
    command = [sys.executable, __file__, str(path), *more]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    KEPT.append(server)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n", "the loaded Python did not start"
    return shown


def serve(path: str) -> None:
    """Fork for each job that comes, until who started us is gone, however that was: then our standard input ends."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            job, _ = listening.accept()
            # Forked twice, so that nobody has to wait for the job here.
            if (child := os.fork()) == 0:
                if os.fork() == 0:
                    listening.close()
                    run(job)
                os._exit(0)
            os.waitpid(child, 0)
            job.close()


def run(job: socket.socket) -> None:
    """Be ``python -m MODULE ARGUMENT…`` for a client, and tell it the exit code."""
    streams = array.array("i")
    _, given, _, _ = job.recvmsg(1, socket.CMSG_SPACE(3 * streams.itemsize))
    streams.frombytes(given[0][2])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    code = 1
    with job.makefile("rwb") as file:
        arguments, folder, environment = json.loads(file.readline())
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[0:1] = ["", *environment.get("PYTHONPATH", "").split(os.pathsep)]
        assert arguments[0] == "-m", arguments
        if arguments[1] in ("brain2clip", "snakemake"):  # what these start by it starts as fast
            sys.executable = str(Path(sys.argv[1]).with_name("python"))
        sys.argv = arguments[1:]
        try:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            file.write(f"{code}\n".encode())
            file.flush()
            os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for library in (*LIBRARIES, *sys.argv[2:]):
        __import__(library)
    serve(sys.argv[1])
    shutil.rmtree(Path(sys.argv[1]).parent)
