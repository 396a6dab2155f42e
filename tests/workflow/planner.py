"""Snakemake without the seconds that importing it takes: a process that has imported it is forked for each run."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Planner:
    """The process that is forked. It ends with the one that started it, because its standard input does."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, folder: Path, arguments: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Call snakemake with these arguments in a folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        given = dict(os.environ if environment is None else environment)
        given.pop("PYTHONPATH", None)
        print(json.dumps([str(folder), arguments, given]), file=self.process.stdin, flush=True)
        return subprocess.CompletedProcess(arguments, *json.loads(self.process.stdout.readline()))


@functools.cache
def planner() -> Planner:
    """The one of this process."""
    return Planner()


def serve() -> None:
    import snakemake.cli

    for line in sys.stdin:
        folder, arguments, environment = json.loads(line)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            child = os.fork()
            if not child:
                call(snakemake.cli.main, folder, arguments, environment, (output.fileno(), errors.fileno()))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said = []
            for stream in (output, errors):
                stream.seek(0)
                said.append(stream.read())
            print(json.dumps([code, *said]), flush=True)


def call(main: Any, folder: str, arguments: list[str], environment: dict[str, str], streams: tuple[int, int]) -> None:
    """In the child: never returns."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["snakemake", *arguments]
        main(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
