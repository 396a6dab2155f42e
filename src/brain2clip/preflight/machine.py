"""Disk, memory, GPU and weights of towers on this machine, without importing torch, which takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from brain2clip.internals import open_clip_files
from brain2clip.names import suggestion
from brain2clip.settings import Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import weights


def gpu() -> str | None:
    """Name of the first GPU that the driver shows; None where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    asked = [command, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.splitlines() or [""])[0].strip() or None if done.returncode == 0 else None


def check_weights(name: str, tower: Tower) -> str | None:
    """Whether the weights of a tower are on this machine.

    Returns
    -------
    str or None
        A sentence if they must still be downloaded from the hub.

    Raises
    ------
    brain2clip.stage.InputError
        If a named file does not exist, or downloads are forbidden.
    """
    for path in map(Path, weights.of(tower.model, tower.pretrained)):
        if not path.is_file():
            there = sorted(one.name for one in path.parent.glob("*")) if path.parent.is_dir() else []
            raise InputError(
                f"towers.{name}: needs the file {path}, which does not exist{suggestion(path.name, there)}; "
                "copy the weights there, or fix the path"
            )
    if tower.pretrained is None or weights.is_path(tower.pretrained) or cached(tower.model, tower.pretrained):
        return None
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise InputError(
            f"towers.{name}: the weights {tower.pretrained!r} of {tower.model} are not on this machine, and "
            "HF_HUB_OFFLINE forbids downloads; download them where there is a network, and give the path of the "
            "file as pretrained"
        )
    return f"weights {tower.pretrained!r} of {tower.model} are not on this machine yet: the first run downloads them"


def cached(model: str, tag: str) -> bool:
    """Whether the hub's cache holds the weights of a tag."""
    from huggingface_hub import try_to_load_from_cache

    known = open_clip_files.known()
    found = known.tags.get(model, {}).get(tag) if known else None
    repository, _, file = (found.hub if found else "").rpartition("/")
    names = (file,) if file else open_clip_files.FILES
    return bool(repository) and any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)


def room(results: str, needed: int) -> tuple[str, str | None]:
    """Free room for results in words; and a fault where the least that is needed does not fit, bytes."""
    there = next(path for path in (Path(results), *Path(results).absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    said = f"disk: {free / 1e9:.3g} GB free at {there.absolute()}, responses take {needed / 1e9:.2g} GB"
    if needed <= free:
        return said, None
    return said, (
        f"results: {results} is on a disk with {free / 1e9:.3g} GB free, but the responses alone take "
        f"{needed / 1e9:.3g} GB; free some space, or set results to a folder (or a link to one) on another disk"
    )


def memory(needed: int) -> tuple[str, str | None]:
    """Memory in words; and a note where the largest thing that a job holds at once does not fit, bytes."""
    whole = psutil.virtual_memory().total
    said = f"memory: {whole / 1e9:.3g} GB, the largest job takes about {max(needed / 1e9, 0.5):.2g} GB"
    if needed <= whole:
        return said, None
    return said, (
        f"memory: this machine has {whole / 1e9:.3g} GB, but a job would need about {needed / 1e9:.3g} GB at once; "
        "use a machine with more memory, fewer channels (responses.channels), or shorter recordings"
    )


def told() -> Iterator[str]:
    """Lines on processors and GPU."""
    found = gpu()
    yield f"processors: {os.cpu_count()}; GPU: {found or 'none found; features and trainings run on the CPU'}"
