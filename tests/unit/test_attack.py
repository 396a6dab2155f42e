"""A short version of each part of ``make attack``; what needs a run of the pipeline is left to that."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import damage
import disks
import numpy as np
import pandas as pd
import pytest
import torch
from report import Report

from brain2clip import artefact, stage
from brain2clip.responses import export
from brain2clip.stage import Job

ROOT = Path(__file__).resolve().parents[2]
MADE = artefact.Provenance("made-by-a-test", {}, "code")


def test_damage_is_refused_or_noted():
    assert damage.run(24, 0).failures == []


def test_the_attack_sees_what_gets_through(tmp_path, monkeypatch):
    """With readers that do not look at the digests, bits that flip are read."""
    monkeypatch.setattr(damage, "of_users", lambda folder: damage.ours(folder / "again"))
    monkeypatch.setattr(artefact.sealing.SealedH5, "_verify", lambda self, block: True)
    monkeypatch.setattr(artefact, "_is_sealed", lambda verify, content, path: True)
    assert len(damage.run(60, 0).failures) > 5


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


def write_h5(path: Path) -> None:
    with artefact.create_h5(path, MADE) as file:
        for number in range(4):  # more than the buffers of the library
            file[f"response/{number}"] = np.random.default_rng(number).random((100, 1000))


def write_table(path: Path) -> None:
    artefact.write_table(path, pd.DataFrame({"a": np.random.default_rng(0).random(100_000)}), MADE)


def write_tensors(path: Path) -> None:
    artefact.write_tensors(path, {"weight": torch.rand(1000, 200)}, MADE)


def write_text(path: Path) -> None:
    artefact.write_text(path, "x" * 500_000)


def write_figure(path: Path) -> None:
    from brain2clip.reporting import style

    made = style.figure(4, 4)
    made.subplots().plot(np.random.default_rng(0).random(20_000))
    style.save(made, path)


def write_export(path: Path) -> None:
    content = {"preprocessed_eeg_data": np.random.default_rng(0).random((10, 10, 10, 100)), "ch_names": ["Oz"]}
    with artefact.aside(path) as part:
        (export._write_pickle if path.suffix == ".npy" else export._write_torch)(part, content)


def write_scratch(path: Path) -> None:
    with tempfile.TemporaryFile(dir=path.parent) as scratch:
        np.zeros(100_000).tofile(scratch)


WRITERS = {
    "a.h5": write_h5,
    "a.parquet": write_table,
    "a.safetensors": write_tensors,
    "a.md": write_text,
    "a.svg": write_figure,
    "a.npy": write_export,
    "a.pt": write_export,
    "scratch": write_scratch,
}
#: Stages with such a disk under their feet, in a process of their own: files may not become large in it any more.
STAGES = """
import sys
from pathlib import Path
import disks, test_attack
from brain2clip import artefact, stage
spec = '{"stage": "x", "format": %d, "settings": {}, "code": ""}' % artefact.FORMAT
for read_only in (False, True):
    with disks.disk(Path(sys.argv[1]), 40_000, read_only) as place:
        for name, write in test_attack.WRITERS.items():
            try:
                stage.main(lambda job: write(job.output("out")), ["--spec", spec, "--output", f"out={place / name}"])
                print("well", name, read_only)
            except SystemExit as end:
                print("stopped", name, read_only)
        print("left", [path.name for path in place.rglob("*") if path.name != "fill"])
"""


def test_a_disk_without_room_is_a_sentence_for_every_way_to_write_and_nothing_is_left(tmp_path):
    """With root rights on small file systems, one of them read-only; else with a limit on the size of files."""
    command = [sys.executable, "-c", STAGES, str(tmp_path / "disk")]
    path = os.pathsep.join([*map(str, (ROOT / "tests/unit", ROOT / "tests/attack")), os.environ["PYTHONPATH"]])
    path = os.pathsep.join([path, str(ROOT / "tests/workflow")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("stopped")] == [
        f"stopped {name} {read_only}" for read_only in (False, True) for name in WRITERS
    ]
    assert [line for line in lines if line.startswith("left")] == ["left []"] * 2
    told = [line for line in done.stderr.splitlines() if "cannot be read or written" in line]
    assert len(told) == 2 * len(WRITERS)
    assert all(any(words in line for words in disks.TOLD) and "start again then" in line for line in told)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "results/a.tsv"),
            "results/a.tsv: .* the disk is full; make room",
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
        (OSError(errno.EIO, "Input/output error"), "out: .* input/output error; look at the disk"),
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
