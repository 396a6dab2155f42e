"""What a person sees of a run, told to a screen by hand (on a terminal: tests/workflow/test_terminal.py)."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from brain2clip import screen
from brain2clip.screen import Screen, Step

STOPPED = "12:00:01 epochs: start (process 7)\n12:00:09 epochs: stopped\n{}\n"
TRACEBACK = (
    "12:00:01 train: start (process 7)\nTraceback (most recent call last):\n"
    "  File \"a.py\", line 1, in <module>\n    run()\nKeyError: 'x'\n"
)


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


def steps(stage: str, count: int) -> dict[int, Step]:
    return {number: Step(stage) for number in range(1, count + 1)}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown(clock) -> Screen:
    """A run of four trainings and a table, on one machine."""
    made = Screen(io.StringIO(), costs=lambda: {"train": 100.0}, lanes=2, now=clock)
    made.begin({**steps("train", 4), 5: Step("tables", [1, 2, 3, 4])})
    yield made
    made.close()


def log(folder: Path, name: str, text: str, clock: Clock | None = None) -> str:
    path = folder / name
    path.write_text(text)
    if clock is not None:
        os.utime(path, (clock(), clock()))
    return str(path)


def text(of: Screen) -> str:
    return of.stream.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (STOPPED.format("a.vhdr: no EEG channel 'Pz9'\n  found: Oz"), "a.vhdr: no EEG channel 'Pz9'\n  found: Oz"),
        (TRACEBACK, "KeyError: 'x'"),
        ("12:00:01 rank: start (process 7)\n12:00:02 rank: epochs: 1 of 3\n", ""),
        ("", ""),
    ],
)
def test_the_own_sentence_of_a_job_is_found_in_its_log(said, expected):
    assert screen.sentence(said) == expected


def test_a_log_that_is_cut_says_nothing_of_its_end_and_a_shell_does():
    assert screen.last_words("12:00:01 rank: start (process 7)\n12:00:02 rank: epochs: 1 of 3\n") == ""
    assert screen.last_words("bash: python: command not found\n") == "bash: python: command not found"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("12:00:01 train: epochs: 20 of 50, 30 s left", ("train: epochs 20 of 50", 0.4, 30.0)),
        ("12:00:01 fetched 12.5 of 50.0 MB, 3.00 MB/s", ("fetched 12.5 of 50.0", 0.25, None)),
        ("12:00:01 pictures: 50 of 50, 0 s left", None),
        ("12:00:01 train: start (process 7)", None),
    ],
)
def test_a_job_says_in_its_log_how_far_it_is(line, expected):
    assert screen.share(f"12:00:00 x: 1 of 9, 3 s left\n{line}\n" if expected else line) == expected


def test_a_line_for_each_running_job_and_one_for_all(shown, clock, tmp_path):
    shown.started(1, "train", "Train A", [log(tmp_path, "a", "12:00:01 train: epochs: 20 of 50, 30 s left\n", clock)])
    shown.started(2, "train", "Train B", [log(tmp_path, "b", "12:00:01 train: start (process 7)\n", clock)])
    shown.lines()
    clock.time += 10
    assert shown.lines() == [
        "  40%    20 s left  Train A  [train: epochs 20 of 50]",
        " ~10%   2 min left  Train B",
        "0 of 5 steps (0%) done, 2 running, more than 3 min left",  # (20 + 90 + 2 x 100) / 2 s, and a table
    ]
    shown.finished(1)
    assert "Done in 10 s: Train A\n1 of 5 steps (20%) done, 1 running" in text(shown)


@pytest.mark.parametrize(
    ("cores", "alone", "expected"),
    [
        (4, 4, "about 4 min left"),  # a training, its ranks and the table follow each other, whatever else is done
        (1, 4, "about 11 min left"),  # (5 x 100 + 100 + 40) s, one after the other
    ],
)
def test_the_time_left_is_that_of_the_longest_chain_or_of_all_work(clock, cores, alone, expected):
    made = Screen(io.StringIO(), costs=lambda: {"train": 100.0, "rank": 100.0, "tables": 40.0}, lanes=cores, now=clock)
    chain = {10: Step("all", [9]), 9: Step("tables", [8]), 8: Step("rank", [7]), 7: Step("train")}
    made.begin({**steps("train", alone), **chain})
    made.started(7, "train", "Train", [])
    assert made.total().endswith(f"1 running, {expected}")
    clock.time += 50
    made.failed(7, "train", "Train", [], code=1)
    made.started(1, "train", "Train", [])
    if cores > 1:  # what waits for it will not run
        assert made.total().endswith("1 running, 1 failed, about 2 min left")
    made.close()


def test_jobs_of_a_cluster_that_have_no_log_yet_wait_for_their_turn(shown, clock, tmp_path):
    shown.lanes = None
    old = log(tmp_path, "a", "12:00:01 train: epochs: 20 of 50, 30 s left\n", clock)
    clock.time += 1000  # the log is that of an earlier attempt
    shown.started(1, "train", "Train A", [old])
    shown.started(2, "train", "Train B", [str(tmp_path / "not there")])
    assert shown.lines()[0].strip() == "2 waiting for their turn"


def test_what_failed_is_said_last_and_once_with_the_jobs_that_say_the_same(shown, clock, tmp_path):
    said = STOPPED.format("mine.yaml: no such column")
    for number in (1, 2):
        shown.started(number, "train", f"Train {number}", [log(tmp_path, f"{number}", said, clock)])
        shown.failed(number, "train", f"Train {number}", [str(tmp_path / f"{number}")], code=1)
    shown.started(3, "train", "Train 3", [str(tmp_path / "none")])
    shown.failed(3, "train", "Train 3", [str(tmp_path / "none")], code=137)
    shown.started(4, "train", "Train 4", [])
    shown.finished(4)
    shown.close()
    assert text(shown).count("no such column") == 1
    assert text(shown).rpartition("\n\n")[2].splitlines() == [
        "3 of 5 steps failed, 1 done, 1 did not run:",
        f"Train 1 and 1 more (log: {tmp_path / '1'})",
        "  mine.yaml: no such column",
        f"Train 3 (log: {tmp_path / 'none'})",
        "  killed (signal 9), maybe because memory ran out: give it more memory, or run fewer jobs at once (--cores)",
    ]


def test_many_different_failures_stay_a_glance(clock, tmp_path):
    made = Screen(io.StringIO(), now=clock)
    made.begin(steps("epochs", 17))
    for number in range(17):
        path = log(
            tmp_path, f"{number}.log", STOPPED.format(f"sub-{number}: wrong\n  found: this\n  expected: that"), clock
        )
        made.started(number, "epochs", f"Epochs {number}", [path])
        made.failed(number, "epochs", f"Epochs {number}", [path], code=1)
    made.close()
    lines = text(made).rpartition("\n\n")[2].splitlines()
    assert len(lines) <= screen.LINES
    assert lines[2] == "  sub-0: wrong"
    assert lines[-1] == f"and 15 more for other reasons (logs in {tmp_path})"


def test_a_job_that_succeeds_in_another_attempt_did_not_fail(clock, tmp_path):
    made = Screen(io.StringIO(), now=clock, ending=lambda: "here it is")
    made.begin(steps("train", 1))
    for ended in (False, True):
        made.started(1, "train", "Train", [])
        if ended:
            made.finished(1)
        else:
            made.failed(1, "train", "Train", [], code=1)
    made.close()
    assert text(made).endswith("\n\nhere it is\n")


def test_jobs_that_were_stopped_are_not_called_errors(shown, tmp_path, clock):
    for number in (1, 2, 3):
        shown.started(number, "train", f"Train {number}", [log(tmp_path, f"{number}", TRACEBACK, clock)])
    shown.failed(1, "train", "Train 1", [str(tmp_path / "1")], code=-2)  # it heard Ctrl-C before snakemake did
    shown.interrupt()
    shown.failed(2, "train", "Train 2", [str(tmp_path / "2")], code=1)
    shown.started(4, "train", "Train 4", [])  # and one that was quicker than the signal
    shown.finished(4)
    shown.close()
    told = text(shown)
    assert "ailed" not in told
    assert "KeyError" not in told
    assert "Stopped on request: 1 of 5 steps done and kept; 3 running stopped." in told
    assert told.rstrip().endswith("The same command continues from here.")


def test_a_job_that_somebody_killed_is_an_error(shown, tmp_path, clock):
    shown.started(1, "train", "Train 1", [log(tmp_path, "1", "", clock)])
    shown.failed(1, "train", "Train 1", [str(tmp_path / "1")], code=-15)
    shown.close()
    assert "ended by signal 15" in text(shown)


def test_of_a_group_those_that_say_why_failed(shown, tmp_path, clock):
    words = {1: STOPPED.format("no such column"), 2: "12:00:02 rank: done in 1.0 s, peak memory 0.10 GB\n", 3: ""}
    for number, said in words.items():
        shown.started(number, "train", f"Train {number}", [log(tmp_path, f"{number}", said, clock)])
    for number in words:
        shown.failed(number, "train", f"Train {number}", [str(tmp_path / f"{number}")], group=True)
    shown.close()
    assert "1 of 5 steps failed" in text(shown)
    assert text(shown).endswith("no such column\n")


def test_on_a_terminal_lines_are_drawn_in_place(clock):
    made = Screen(io.StringIO(), live=True, now=clock, lanes=1)
    made.begin(steps("train", 2))
    made.started(1, "train", "Train A", [])
    made.say("a word")
    made.finished(1)
    made.close()
    drawn = text(made).split("\x1b[2F\x1b[J")
    assert len(drawn) == 3  # the two lines of a running job were taken away twice
    assert drawn[1].startswith("a word\n               1 s  Train A\n0 of 2 steps")
    assert "Train A" not in drawn[2]


def test_a_run_that_never_began_says_nothing():
    made = Screen(io.StringIO())
    made.close()
    assert text(made) == ""


def test_places_are_those_that_are_there(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "report.zip").touch()
    (tmp_path / "page").mkdir()
    (tmp_path / "page/page.html").touch()
    assert screen.places(tmp_path, "results").split() == [
        "Page:",
        "results/page/page.html",
        "Tables:",
        "results/tables",
        "Report:",
        "results/report.zip",
        *screen.UNPACK.split(),
    ]
