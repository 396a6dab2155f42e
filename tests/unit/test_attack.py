"""A short version of each part of ``make attack``; what needs a run of the pipeline is left to that."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import damage
import damage_studies
import disks
import pytest
import writers
from report import Report

from brain2clip import artefact, stage
from brain2clip.readers import file_records
from brain2clip.stage import Job

ROOT = Path(__file__).resolve().parents[2]


def test_damage_is_refused_or_noted(monkeypatch):
    monkeypatch.setattr(damage_studies, "KINDS", ("bids",))
    monkeypatch.setattr(damage_studies, "RECORDED", ("simulated",))
    monkeypatch.setattr(damage, "SIDES", {name: damage.SIDES[name] for name in ("ours", "recorded", "users")})
    report = damage.run(24, 0)
    assert report.failures == []
    assert report.tried_of == {"ours": 8, "recorded": 8, "users": 8}


@pytest.mark.parametrize("side", ["nsd:captions", "meg:ctf", "manifests:loose"])
def test_damage_of_one_side_alone(side):
    report = damage.run(4, 0, side)
    assert (report.tried, report.failures) == (4, [])
    assert list(report.tried_of) == [side.partition(":")[0]]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: "told", "told"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "the process ended with -11"),
        (lambda: time.sleep(60), "no end after 1 s"),
    ],
)
def test_readers_that_crash_or_do_not_end_are_failures(monkeypatch, work, said):
    monkeypatch.setattr(damage, "LIMIT_S", 1)
    assert damage.apart(work) == said


def test_the_attack_sees_what_gets_through(tmp_path, monkeypatch):
    """With readers that do not look at the digests, bits that flip are read.

    With some seeds HDF5 goes round in circles over structures that nobody verified.
    """
    sides = {"ours": damage.ours, "recorded": damage.recorded, "again": damage.ours}
    monkeypatch.setattr(damage, "SIDES", sides)
    monkeypatch.setattr(damage, "LIMIT_S", 5)
    monkeypatch.setattr(damage_studies, "RECORDED", ("simulated",))
    monkeypatch.setattr(artefact.sealing.SealedH5, "_verify", lambda self, block: True)
    monkeypatch.setattr(artefact, "_is_sealed", lambda verify, content, path: True)
    monkeypatch.setattr(file_records.FileRecord, "check", lambda self, path: None)
    failures = damage.run(48, 1).failures
    assert len(failures) > 3
    assert any(line.startswith("simulated: ") for line in failures)


def test_the_command_names_what_failed_and_how_to_try_it_again(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from report import Report\n"
        "def run(count, seed):\n"
        "    return Report('mine', count, [f'number {n} of seed {seed}' for n in range(seed)])\n"
    )
    command = [sys.executable, str(ROOT / "tests/attack"), "--seed"]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for seed, code, words in (("0", 0, "mine: 3 tried, 0 failed"), ("22", 1, "number 19 of seed 22\n  and 2 more")):
        done = subprocess.run([*command, seed, "mine=3"], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == code, done.stderr
        assert words in done.stdout
    assert Report("mine").failures == []


# ------------------------------------------------------------------------------------------------ disks


def test_a_disk_without_room_is_a_sentence_for_every_way_to_write_and_nothing_is_left(tmp_path):
    """With root rights on small file systems, one of them read-only; else with a limit on the size of files."""
    told, errors = tmp_path / "told", tmp_path / "errors"
    if (child := os.fork()) == 0:  # has loaded everything already; files may not become large in it any more
        code = 1
        with told.open("w") as out, errors.open("w") as log:
            os.dup2(out.fileno(), 1)
            os.dup2(log.fileno(), 2)
            sys.stdout, sys.stderr = out, log
            try:
                writers.main(tmp_path / "disk")
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                out.flush()
                log.flush()
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, errors.read_text()
    assert "Traceback" not in errors.read_text()
    lines = told.read_text().splitlines()
    assert [line for line in lines if line.startswith("stopped")] == [
        f"stopped {name} {read_only}" for read_only in (False, True) for name in writers.WRITERS
    ]
    assert [line for line in lines if line.startswith("left")] == ["left []"] * 2
    sentences = [line for line in errors.read_text().splitlines() if "cannot be read or written" in line]
    assert len(sentences) == 2 * len(writers.WRITERS)
    assert all(any(words in line for words in disks.TOLD) and "start again then" in line for line in sentences)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "results/a.tsv"),
            "results/a.tsv: .* the disk is full; free some space",
        ),
        (
            OSError("Can't write data (file write failed: time = x, errno = 28, error message = 'No')"),
            "the disk is full",
        ),
        (RuntimeError("Unable to flush file (errno = 122)"), "the quota is used up"),
        (OSError("100 requested and 17 written"), "the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x.eeg"),
            "/data/x.eeg: .*permission denied; make it",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/x.eeg"), "/data/x.eeg: .*No such file or directory"),
        (OSError(errno.EIO, "Input/output error"), "out: .* input/output error; check the disk"),
        (ValueError("exit code: 28"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_errors_of_disks_are_known_whatever_they_are_wrapped_in(error, words):
    job = Job("x", {}, "", {}, {}, {"a": Path("out/a.h5")})
    wrapped = RuntimeError("of a library")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        told = stage.disk_error(one, job)
        assert told is None if words is None else re.search(words, told)
