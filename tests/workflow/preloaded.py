"""A loaded Python for all runs of these tests: of libraries alone, for each test has sources of its own."""

from __future__ import annotations

import functools
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

#: A process that nobody refers to would lose its standard input.
KEPT: list[subprocess.Popen[bytes]] = []
#: Environment variable with the Python that commands which are typed in a test start in their turn.
TYPED = "BRAIN2CLIP_TYPED"


@functools.cache
def preloaded(*more: str) -> dict[str, str]:
    """Environment variables with which the shells of jobs use one loaded Python, for as long as this process lives."""
    from brain2clip import preloaded as product

    environment: dict[str, str] = {}
    server = product.start(None, environment, more)
    assert server is not None, "the loaded Python did not start"
    KEPT.append(server)
    return environment


@functools.cache
def python(*more: str) -> Path:
    """A Python with these libraries loaded, too; commands that it runs start such a one in their turn."""
    from brain2clip import preloaded as product

    path = Path(tempfile.mkdtemp(prefix="typed-")) / "python"
    socket = preloaded(*more)[product.SOCKET]
    client = f"{sys.executable} -I -S {product.CLIENT} {socket}"
    given = f"PYTHONPATH={Path(__file__).parent}:$PYTHONPATH {TYPED}={path} {product.SOCKET}={socket} OMP_NUM_THREADS=1"
    loaded = f'[ "$1" = -m ] && {given} exec {client} -m preloaded "$@"'
    path.write_text(f'#!/bin/sh\n{loaded}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def typed(arguments: list[str]) -> None:
    """Be ``python -m MODULE ARGUMENT…``, and what that calls its Python is the loaded one."""
    assert arguments[0] == "-m", arguments
    sys.executable = os.environ.pop(TYPED)
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(":")[2]
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    typed(sys.argv[1:])
