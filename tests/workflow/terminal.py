"""A command as a person types it, in a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from project import Project

#: Long: nothing here is measured.
PATIENCE_S = 600
WIDTH = 200


def on_terminal(
    project: Project,
    command: Sequence[str],
    variables: Mapping[str, str],
    press: Callable[[str], bytes] = lambda shown: b"",
) -> tuple[int, str, str]:
    """Run a command in a pseudo-terminal, and press keys at what is written.

    Returns
    -------
    code : int
    said : str
        All that was written.
    shown : str
        What stands there in the end.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    source = {"PYTHONPATH": str(project.folder / "src"), "TERM": "xterm"}
    environment = {**project.environment(), **variables, **source}
    process = subprocess.Popen(
        command, cwd=project.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said, end = b"", time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < end:
            ended = process.poll() is not None
            if ours in select.select([ours], [], [], 0.2)[0]:
                try:
                    said += os.read(ours, 1 << 16)
                except OSError:  # nobody has it open any more
                    break
                os.write(ours, press(said.decode(errors="replace")))
            elif ended:
                break
        assert process.poll() is not None or time.monotonic() < end, screen(said.decode())
        return process.wait(timeout=PATIENCE_S), said.decode(), screen(said.decode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def screen(said: str) -> str:
    """What a terminal shows, without colours: lines that were drawn again stand there once."""
    lines = [""]
    for part in re.split(r"(\x1b\[\d*[A-Za-z]|\r?\n)", said):
        if part.endswith("\n"):
            lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d+)F", part):
            lines = lines[: len(lines) - int(up[1])]
            lines[-1:] = [""]
        elif not part.startswith("\x1b"):
            lines[-1] += part
    return "\n".join(line.rstrip() for line in lines).strip()


def last(shown: str, number: int = 10) -> str:
    return "\n".join(shown.splitlines()[-number:])
