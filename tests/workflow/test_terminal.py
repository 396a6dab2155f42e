"""What a person sees: the command as it is typed, in a pseudo-terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from planner import planner
from preloaded import preloaded
from project import Project
from terminal import last, on_terminal

pytestmark = pytest.mark.workflow

BRAIN2CLIP = [sys.executable, "-m", "brain2clip", "run", "tiny.yaml", "--cores", "2"]


def test_success_ends_with_the_tables_and_where_everything_is(project):
    (project.folder / "results/tables/main.md").unlink()
    code, said, shown = on_terminal(project, BRAIN2CLIP, preloaded())
    assert code == 0, shown
    assert re.search(
        r"\x1b\[J +\S.*  Tables\r\n0 of 2 steps \(0%\) done, 1 running", said
    )  # a line for the job, one for all
    assert "a file was deleted: 2 jobs" in shown
    assert " running" not in shown  # these lines are gone
    assert "--spec" not in said
    ending = shown[shown.index("== main (results/tables/main.md)") :]
    assert "| NeuroCLIP" in ending
    assert ending.count("Report: ") == 1
    for word in (
        "Page:    results/page/page.html",
        "results/tables",
        "results/figures",
        "results/logs",
        "Report:  results/report.zip",
        "Elapsed time",
    ):
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
    assert "Stopping: the running jobs are being stopped." in shown
    assert last(shown, 1) == (
        "Stopped on request: 0 of 1 steps done and kept; 1 running stopped. The same command continues from here."
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
    config.write_text(text.replace("subjects: 2", "subjects: 3"))
    assert re.search(r"^  studies.simulated.subjects 2 -> 3: \d+ jobs, ", project.run("-n").stdout, re.MULTILINE)
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
