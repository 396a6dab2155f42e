"""Dry runs without the seconds that importing snakemake takes: a process that has imported it is forked for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from project import Project


class Planner:
    """The process that is forked."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Call snakemake with these arguments in a folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(folder), arguments]), file=self.process.stdin, flush=True)
        code, output = json.loads(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, output, "")

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(timeout=60)


class PlannedProject(Project):
    """A project whose dry runs the planner makes."""

    def __init__(self, folder: Path, planner: Planner) -> None:
        super().__init__(folder)
        self.planner = planner

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        if "-n" not in arguments:
            return super().run(*arguments, check=check)
        done = self.planner.run(self.folder, self.command(*arguments)[3:])
        assert not check or done.returncode == 0, done.stdout[-8000:]
        return done


def serve() -> None:
    import snakemake.cli

    for line in sys.stdin:
        folder, arguments = json.loads(line)
        with tempfile.TemporaryFile("w+") as output:
            child = os.fork()
            if not child:
                call(snakemake.cli.main, folder, arguments, output.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            print(json.dumps([code, output.read()]), flush=True)


def call(main: Any, folder: str, arguments: list[str], output: int) -> None:
    """In the child: never returns."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        os.chdir(folder)
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
