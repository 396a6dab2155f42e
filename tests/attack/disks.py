"""Disks that are full or read-only, under every stage: a sentence, and no half of a file.

With root rights the outputs of a job lie on a small file system of their own; else files may not become large
(``ulimit -f``), which libraries meet as they meet a full disk.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import disk_worlds
import small
import yaml
from disk_worlds import Case
from preloaded import preloaded
from project import Project
from report import Report

from brain2clip import artefact, settings
from brain2clip.plan import Job, Plan
from brain2clip.preloaded import function

#: Outputs of a stage as its command names them, in the order of the plan.
NAMES = {
    "simulate_pictures": ("stimuli", "features", "record"),
    "simulate_recordings": ("record", "truth"),
    "simulate_voxels": ("signals", "truth"),
    "simulate_dataset": ("description",),
    "catalogue": ("catalogue",),
    "features": ("stimuli",),
    "export": ("training", "test"),
    "train": ("checkpoint", "history"),
    "inspect": ("gains", "prompts"),
    "embed": ("embeddings",),
    "summaries": ("summary",),
    "figures": ("figure",),
    **dict.fromkeys(("epochs", "voxels"), ("responses",)),
    **dict.fromkeys(("rank", "apply", "ceiling", "timecourse"), ("rows",)),
}
#: Without root rights, bytes that every stage writes into some file.
LARGEST = 512
TOLD = ("the disk is full", "read-only", "the quota", "larger files are not allowed", "GB free")


def run(count: int, seed: int) -> Report:
    """Try so many disks, on one stage after the other."""
    with tempfile.TemporaryDirectory() as name:
        project = small.create(Path(name) / "project")
        project.run_preloaded()
        return attack(project, count, seed)


def attack(project: Project, count: int, seed: int) -> Report:
    """The same on a study that was run to the end."""
    rng, report = random.Random(seed), Report("disks")
    with contextlib.chdir(project.folder), contextlib.ExitStack() as kept:
        plan = Plan(settings.load(yaml.safe_load(project.config_file.read_text())))
        jobs = {job.stage: planned(job) for job in plan.jobs().values()}
        cases = sorted([*jobs.values(), *disk_worlds.cases(kept)], key=lambda case: case.stage)
        for number in range(count):
            case, read_only = cases[number % len(cases)], (number + number // len(cases)) % 2 == 1
            room = 0 if read_only else rng.randrange(0, max(1, case.wanted * 2 // 3))
            report.tried += 1
            if wrong := judged(project, case, room, read_only):
                kind = "a read-only disk" if read_only else f"a disk with {room} of {case.wanted} bytes"
                report.failures.append(f"{case.stage} on {kind}, number {number} of seed {seed}: {wrong}")
    return report


def planned(job: Job) -> Case:
    """A job of a plan, its outputs on the disk."""

    def command(place: Path) -> list[str]:
        names = NAMES.get(job.stage) or ("summary", *(Path(path).name for path in job.outputs[1:]))
        pairs = [f"{name}={place / path}" for name, path in zip(names, job.outputs, strict=True)]
        given = [f"{name}={path}" for name, paths in job.inputs.items() for path in paths]
        return ["-m", job.spec.modules[0], "--spec", job.spec.json, "--input", *given, "--output", *pairs]

    return Case(job.stage, sum(Path(path).stat().st_size for path in job.outputs), command, as_without_trouble)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Callable[[int, bool], None]]:
    """A disk at a folder; what is yielded leaves it so many free bytes (pages of 4 KB), or makes it read-only."""
    place.mkdir(exist_ok=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", place]).returncode:
        try:
            yield lambda room, _: resource.setrlimit(resource.RLIMIT_FSIZE, (min(room, LARGEST), before[1]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            shutil.rmtree(place)
        return

    def leave(room: int, read_only: bool) -> None:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            return
        with (place / "fill").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(place).free - room // 4096 * 4096)

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def judged(project: Project, case: Case, room: int, read_only: bool) -> str | None:
    """What is wrong about how a stage ends on such a disk."""
    with small_disk(project.folder / "disk") as leave:
        place = (project.folder / "disk").absolute()
        command = case.command(place)
        before = content(place)
        leave(room, read_only)
        python = f'PATH={Path(sys.executable).parent}:$PATH; {function()}; python "$@"'
        done = subprocess.run(
            ["bash", "-c", python if command[0] == "-m" else f'{sys.executable} "$@"', "bash", *command],
            cwd=project.folder, capture_output=True, text=True,
            env={**project.environment(), **preloaded(), "PYTHONPATH": str(project.folder / "src")},
        )  # fmt: skip
        told = done.stdout + done.stderr
        if done.returncode == 0:
            return "it ended as if all were well"
        if "Traceback" in told or done.returncode < 0:
            return f"no sentence (code {done.returncode}): {told[-600:]!r}"
        if not any(words in told for words in TOLD):
            return f"the sentence does not say what is wrong: {told[-300:]!r}"
        now = content(place)
        if lost := before.keys() - now.keys():
            return f"lost: {sorted(lost)}"
        left = [path for path, found in now.items() if before.get(path) != found and not case.whole(place, path)]
        return f"half files stay: {left}" if left else None


def content(place: Path) -> dict[str, bytes]:
    """Files on a disk."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != "fill"
    }


def as_without_trouble(place: Path, path: str) -> bool:
    """Whether a file is what a run without trouble leaves there, or a part of its own that was finished."""
    if Path(path).is_file():
        return Path(path).read_bytes() == (place / path).read_bytes()
    try:
        with artefact.open_h5(place / path) as file:
            file.visititems(lambda _, item: item[()] if hasattr(item, "dtype") else None)
    except (artefact.ArtefactError, OSError):
        return False
    return True
