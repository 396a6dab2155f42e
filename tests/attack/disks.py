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
import tempfile
from collections.abc import Iterator
from pathlib import Path

import small
import yaml
from preloaded import preloaded
from project import Project
from report import Report

from brain2clip import artefact, settings
from brain2clip.plan import Job, Plan

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
    **dict.fromkeys(("rank", "ceiling"), ("rows",)),
}
TOLD = ("the disk is full", "read-only", "the quota", "larger files are not allowed")


def run(count: int, seed: int) -> Report:
    """Try so many disks, on one stage after the other."""
    with tempfile.TemporaryDirectory() as name:
        project = small.create(Path(name) / "project")
        project.run_preloaded()
        return attack(project, count, seed)


def attack(project: Project, count: int, seed: int) -> Report:
    """The same on a study that was run to the end."""
    rng, report = random.Random(seed), Report("disks")
    with contextlib.chdir(project.folder):
        plan = Plan(settings.load(yaml.safe_load(project.config_file.read_text())))
        jobs = {job.stage: job for job in plan.jobs().values()}
        stages = sorted(jobs)
        for number in range(count):
            job, read_only = jobs[stages[number % len(stages)]], number // len(stages) % 2 == 1
            wanted = sum(Path(path).stat().st_size for path in job.outputs)
            room = 0 if read_only else rng.randrange(0, max(1, wanted * 2 // 3))
            report.tried += 1
            with disk(project.folder / "disk", room, read_only) as place:
                if wrong := judged(project, job, place):
                    kind = "a read-only disk" if read_only else f"a disk with {room} of {wanted} bytes"
                    report.failures.append(f"{job.stage} on {kind}, number {number} of seed {seed}: {wrong}")
    return report


@contextlib.contextmanager
def disk(place: Path, room: int, read_only: bool) -> Iterator[Path]:
    """A folder on a disk with so many free bytes (pages of 4 KB)."""
    place.mkdir(exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", place]).returncode:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            yield place
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            shutil.rmtree(place)
        return
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        else:
            with (place / "fill").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(place).free - room // 4096 * 4096)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def judged(project: Project, job: Job, place: Path) -> str | None:
    """What is wrong about how a job ends whose outputs lie there."""
    outputs = [(place / path).absolute() for path in job.outputs]
    names = NAMES.get(job.stage) or ("summary", *(Path(path).name for path in job.outputs[1:]))
    pairs = [f"{name}={path}" for name, path in zip(names, outputs, strict=True)]
    given = [f"{name}={path}" for name, paths in job.inputs.items() for path in paths]
    command = ["-m", job.spec.modules[0], "--spec", job.spec.json, "--input", *given, "--output", *pairs]
    done = subprocess.run(
        ["bash", "-c", 'python "$@"', "bash", *command], cwd=project.folder, capture_output=True, text=True,
        env={**project.environment(), **preloaded(), "PYTHONPATH": str(project.folder / "src")},
    )  # fmt: skip
    told = done.stdout + done.stderr
    if done.returncode == 0:
        return "it ended as if all were well"
    if "Traceback" in told or done.returncode < 0:
        return f"no sentence (code {done.returncode}): {told[-600:]!r}"
    if not any(words in told for words in TOLD):
        return f"the sentence does not say what is wrong: {told[-300:]!r}"
    left = [path for path in place.rglob("*") if path.is_file() and path.name != "fill" and not whole(path, place)]
    return f"half files stay: {[str(path.relative_to(place)) for path in left]}" if left else None


def whole(path: Path, place: Path) -> bool:
    """Whether a file is what a run without trouble leaves there, or a part of its own that was finished."""
    twin = Path(path.relative_to(place))
    if twin.is_file():
        return twin.read_bytes() == path.read_bytes()
    try:
        with artefact.open_h5(path) as file:
            file.visititems(lambda _, item: item[()] if hasattr(item, "dtype") else None)
    except (artefact.ArtefactError, OSError):
        return False
    return True
