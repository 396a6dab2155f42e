"""What a person sees: the command as it is typed, in a pseudo-terminal."""

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
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from planner import planner
from preloaded import preloaded
from project import Project

pytestmark = pytest.mark.workflow

#: Long: nothing here is measured.
PATIENCE_S = 600
WIDTH = 200
BRAIN2CLIP = [sys.executable, "-m", "brain2clip", "run", "tiny.yaml", "--cores", "2"]


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


def test_success_ends_with_the_tables_and_where_everything_is(project):
    (project.folder / "results/tables/main.md").unlink()
    code, said, shown = on_terminal(project, BRAIN2CLIP, preloaded())
    assert code == 0, shown
    assert re.search(
        r"\x1b\[J +\S.*  Tables\r\n0 of 2 steps \(0%\) done, 1 running", said
    )  # a line for the job, one for all
    assert "a file was deleted: 1 job" in shown
    assert " running" not in shown  # these lines are gone
    assert "--spec" not in said
    ending = shown[shown.index("== main (results/tables/main.md)") :]
    assert "| NeuroCLIP" in ending
    for word in ("results/tables", "results/figures", "results/logs", "Report: results/report.zip", "Elapsed time"):
        assert word in last(shown)


def test_failures_end_with_their_own_sentences_and_others_went_on(project):
    project.replace("tiny.yaml", "channels: occipital-parietal-17", "channels: [O1, Pz9]")
    code, said, shown = on_terminal(project, [*BRAIN2CLIP, "--", "--until", "epochs"], preloaded())
    assert code == 1
    assert "studies.simulated.responses.channels occipital-parietal-17 -> [O1, Pz9]: 4 jobs" in shown
    assert "--spec" not in said
    ending = last(shown).strip()
    # Two at a time, and the others although these had failed.
    assert ending.startswith("4 of 4 steps failed, 0 done:\n")
    for subject in ("01", "02"):
        found = re.findall(rf"^  .*/sub-{subject}_ses-01_task-test_eeg.eeg: no EEG channel 'Pz9'", said, re.MULTILINE)
        assert len(found) == 1
        assert "log: results/logs/epochs/simulated/" in ending
    assert ending.splitlines()[-1].startswith("    channels found: Fp1,")


def test_what_a_person_stops_ends_quietly(tmp_path):
    project = Project.create(tmp_path / "project")
    project.edit(lambda config: config["studies"]["simulated"].update(pictures_per_concept=5000))
    share = re.compile(r" \d+%  +\d\S* \w+ left  Draw the pictures of simulated  \[pictures \d+ of 60008\]")
    pressed: list[str] = []

    def press(said: str) -> bytes:
        if pressed or not share.search(said):
            return b""
        pressed.append(said)
        return b"\x03"

    command = [*BRAIN2CLIP, "--", "--until", "simulate_pictures"]
    code, _, shown = on_terminal(project, command, {}, press)  # jobs that a signal reaches
    assert pressed, shown
    assert code
    assert "Stopping: the running jobs are being ended." in shown
    assert last(shown, 1) == (
        "Stopped on request: 0 of 1 steps done, which stay; 1 running ended. The same command goes on from here."
    )
    assert not re.search("error|failed", shown, re.IGNORECASE)
    assert not list((project.folder / "results").rglob("*.part*"))


def test_without_a_terminal_there_are_plain_lines(project):
    """Plain snakemake, and a command that stage after stage says the same of each edit."""
    config: Path = project.folder / "tiny.yaml"
    text = config.read_text()
    config.write_text(text.replace("h_freq: 20", "h_freq: 19").replace("h_freq: 8", "h_freq: 7"))
    dry = project.run("-n").stdout
    assert re.search(r"^  bands.broad.h_freq 20 -> 19: \d+ jobs, about .*", dry, re.MULTILINE)
    assert re.search(r"^  bands.slow.h_freq 8 -> 7: \d+ jobs, about .*", dry, re.MULTILINE)
    assert len(dry) < 2500
    assert "--spec" in project.run("-n", "-p", "--until", "epochs").stdout
    config.write_text(text.replace("occipital-parietal-17", "[O1, Pz9]"))
    target = "results/responses/simulated/slow/sub-01.h5"
    arguments = ["--configfile", "tiny.yaml", "--cores", "1", "--printshellcmds", "--", target]
    done = planner().run(project.folder, arguments, {**project.environment(), **preloaded()})
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "Started: Brain responses of simulated sub-01, slow\n" in done.stderr
    assert "python -m brain2clip.responses.epochs --spec ... --input" in done.stderr
    assert done.stderr.count("no EEG channel 'Pz9'") == 1
    assert "channels found: " in last(done.stderr, 2)
    assert len(done.stderr) < 3000
