"""Damaged files through all readers: bits that flip, ends that are missing, blocks of zeros, parts that change places.

What must be: of a file of ours every damage is refused, in a sentence. A file of a user's may hold anything its format
allows, so another content is read as such; but then it is an input whose digest the results carry, so that nothing made
of it passes for what was made of the other. Never a traceback.
"""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brain_files
import h5py
import numpy as np
import pandas as pd
import study_worlds
import torch
from PIL import Image
from report import Report

from brain2clip import artefact, stage
from brain2clip.readers import file_records, manifests, pictures, things_index
from brain2clip.reporting import published
from brain2clip.responses import recording
from brain2clip.settings import SettingsError, Vector
from brain2clip.stimuli import catalogue, ready
from brain2clip.training.data import load_responses, open_stimuli

MADE = artefact.Provenance("made-by-a-test", {"a": 1}, "code")
#: A vector that is no embedding.
GRID = Vector(pool="grid", grid=2)
#: Studies of a user's own files, and those whose files the pipeline simulated or downloaded.
KINDS = ("bids", "voxel_table", "things_fmri")
RECORDED = ("simulated", "simulated_fmri", "god", "things_eeg1", "things_eeg2")
#: Of many pictures of a folder so many are damaged.
PICTURES = 3
REFUSALS = (stage.InputError, artefact.ArtefactError, SettingsError)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Target:
    """A file and who reads it.

    Attributes
    ----------
    name : str
    path : Path
    read : callable
        Everything that stages take from the file.
    ours : bool
        Whether the pipeline wrote it, or fetched it.
    inputs : callable
        Files whose digests results carry, and digests of others.
    """

    name: str
    path: Path
    read: Callable[[], Any]
    ours: bool
    inputs: Callable[[], tuple[Iterable[str], Any]] = lambda: ((), None)


# ----------------------------------------------------------------------------------------------- the damage


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content))]


def blank(content: bytes, rng: random.Random) -> bytes:
    """A block of zeros, as of a disk."""
    size = rng.choice((16, 512, 4096))
    place = rng.randrange(len(content)) // 16 * 16
    return content[:place] + bytes(len(content[place : place + size])) + content[place + size :]


def swap(content: bytes, rng: random.Random) -> bytes:
    """Two neighbouring parts change places."""
    size = rng.choice((1, 8, 64, 512))
    place = rng.randrange(len(content))
    one, other = content[place : place + size], content[place + size : place + 2 * size]
    return content[:place] + other + one + content[place + 2 * size :]


DAMAGES = (flip, cut, blank, swap)


def run(count: int, seed: int) -> Report:
    """Damage files in turn, so many in all."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rng, report = random.Random(seed), Report("damage")
    with tempfile.TemporaryDirectory() as name:
        sides = (ours(Path(name) / "ours"), recorded(Path(name)), of_users(Path(name)))
        targets = [target for side in sides for target in side]
        right = {target.name: (digest(target.read()), noted(target)) for target in targets}
        for number in range(count):
            target, damage = rng.choice(sides[number % len(sides)]), rng.choice(DAMAGES)
            content = target.path.read_bytes()
            damaged = damage(content, rng)
            if damaged == content:
                damaged = flip(content, rng)
            target.path.write_bytes(damaged)
            report.tried += 1
            if wrong := judged(target, *right[target.name]):
                report.failures.append(f"{target.name}, {damage.__name__}, number {number} of seed {seed}: {wrong}")
            target.path.write_bytes(content)
    logging.disable(logging.NOTSET)
    return report


def judged(target: Target, right: str, noted_before: Any) -> str | None:
    """What is wrong about how a damaged file was read."""
    try:
        if digest(target.read()) == right:
            return None
        if not target.ours and noted(target) != noted_before:
            return None
    except REFUSALS:
        return None
    except Exception as error:
        return f"traceback {type(error).__name__}: {str(error)[:200]!r}"
    return "another content was read in silence"


def noted(target: Target) -> Any:
    """What results would carry of the inputs."""
    files, digests = target.inputs()
    return [*(artefact.identity(path) for path in sorted(set(files)) if Path(path).is_file()), digests]


def digest(value: Any) -> str:
    """Of anything that a reader gives."""
    found = hashlib.sha256()

    def add(one: Any) -> None:
        if isinstance(one, torch.Tensor):
            one = one.numpy()
        if isinstance(one, h5py.Dataset):
            one = one[()]
        if isinstance(one, pd.DataFrame):
            one = {str(name): one[name].tolist() for name in one}
        if isinstance(one, np.ndarray) and one.dtype.kind != "O":
            found.update(f"{one.dtype}{one.shape}".encode() + np.ascontiguousarray(one).tobytes())
        elif isinstance(one, Mapping):
            for key in one:
                found.update(str(key).encode())
                add(one[key])
        elif isinstance(one, (list, tuple, np.ndarray)):
            found.update(f"[{len(one)}".encode())
            for item in one:
                add(item)
        else:
            found.update(repr(one).encode())

    add(value)
    return found.hexdigest()


# ------------------------------------------------------------------------------------------------ our files


def ours(folder: Path) -> list[Target]:
    """A file of every kind that stages write and read."""
    folder.mkdir()
    stimuli, responses, voxels = (folder / f"{name}.h5" for name in ("stimuli", "responses", "voxels"))
    shown, model = folder / "catalogue.parquet", folder / "model.safetensors"
    embedding = brain_files.write_stimuli(stimuli)
    brain_files.write_responses(responses, embedding)
    brain_files.write_voxels(voxels, embedding, 40)
    rows = pd.DataFrame({"target": brain_files.stimulus_ids(), "rank": np.arange(50), "similarity": np.arange(50) / 50})
    rows["top_ids"] = [["a", "b"]] * len(rows)
    artefact.write_table(folder / "rows.parquet", rows, MADE)
    artefact.write_tensors(model, {"weight": torch.arange(3000.0).reshape(30, 100)}, MADE)
    artefact.write_json(
        folder / "record.json", {"dataset": "d", "files": [{"path": f"{n}", "size": n} for n in range(9)]}
    )
    table = pd.DataFrame({name: ["x", "y"] for name in catalogue.STIMULUS_COLUMNS})
    table["captions"] = table["prompts"] = [["a"], ["b"]]
    further = folder / "vectors.h5"
    with artefact.create_h5(further, MADE) as file:
        file.attrs["name"] = GRID.name
        file["stimulus_id"], file["vector"] = brain_files.stimulus_ids(), embedding @ np.ones((24, 9), np.float32)
    artefact.write_table(shown, catalogue._typed(table), MADE)

    def whole(path: Path) -> Any:
        with artefact.open_h5(path) as file:
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item[()] if hasattr(item, "dtype") else None}))
            return [found, dict(file.attrs)]

    def stimuli_as_read() -> Any:
        with open_stimuli(stimuli, None) as file:
            names = [name for name in ("pictures", "band_tokens", "nothing of that name") if name in file]
            return [file["stimulus_id"].asstr()[:], file["embedding"][:], names]

    def vectors_as_read() -> Any:
        with open_stimuli(stimuli, None, [(further, None)]) as file:
            return file.vector(GRID)[:]

    return [
        *(Target(path.name, path, lambda path=path: whole(path), True) for path in (stimuli, responses, voxels)),
        Target("responses.h5 by training", responses, lambda: vars(load_responses([responses], "train", None)), True),
        Target("responses.h5 by ranking", responses, lambda: vars(load_responses([responses], "test", None)), True),
        Target("stimuli.h5 by training", stimuli, stimuli_as_read, True),
        Target("vectors.h5 by training", further, vectors_as_read, True),
        Target("rows", folder / "rows.parquet", lambda: artefact.read_table(folder / "rows.parquet"), True),
        Target("catalogue", shown, lambda: catalogue.read(shown, None), True),
        Target("model", model, lambda: artefact.read_tensors(model), True),
        Target("record", folder / "record.json", lambda: artefact.read_json(folder / "record.json"), True),
    ]  # fmt: skip


def recorded(folder: Path) -> list[Target]:
    """Every file of datasets that the pipeline simulates or downloads, the records and unpacked pictures as well."""
    found = []
    for kind in RECORDED:
        (folder / kind).mkdir()
        world = study_worlds.WORLDS[kind](folder / kind)
        if kind == "things_eeg2":
            unpack_pictures(world)
        study = world.study()
        pictures = study.stimulus_table()["image"]
        # The truth is one of our HDF5 files, and no study reads it.
        unread = [*map(Path, pictures[PICTURES:]), *study.root.glob("derivatives/truth/*")]
        there = {*map(Path, study.files(world.subject)), *study.root.rglob("*")}.difference(unread)
        for path in sorted(one for one in there if one.is_file() and one.stat().st_size):
            name = f"{kind}: {path.relative_to(folder / kind)}"
            found.append(Target(name, path, lambda world=world: read_study(world), True))
    return found


def unpack_pictures(world: study_worlds.World) -> None:
    """The first unpacked pictures of a study."""
    table = Path(world.study().stimulus_files()[0])
    paths = [Path(path) for path in world.study().stimulus_table()["image"][:PICTURES]]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path, "PNG")
    file_records.write(table.with_name(file_records.NAME), world.study().dataset, [table, *paths])


# ---------------------------------------------------------------------------------------------- users' files


def of_users(folder: Path) -> list[Target]:
    """Every file of a dataset of the kinds that are a user's, and tables and arrays that settings name."""
    found = []
    for kind in KINDS:
        (folder / kind).mkdir()
        world = study_worlds.WORLDS[kind](folder / kind)
        paths = (path for path in sorted((folder / kind).rglob("*")) if path.is_file())
        for path in (one for one in paths if one.suffix not in (".png", ".json") and "sub-02" not in one.name):
            name = f"{kind}: {path.relative_to(folder / kind)}"
            found.append(
                Target(name, path, lambda world=world: read_study(world), False, lambda world=world: told(world))
            )
    arrays = folder / "arrays"
    arrays.mkdir()
    ids, values = [f"p{number}" for number in range(20)], np.random.default_rng(0).random((20, 8))
    np.savez(arrays / "ready.npz", stimulus_id=np.array(ids), embedding=values)
    with h5py.File(arrays / "ready.h5", "w") as file:
        file["stimulus_id"], file["embedding"] = ids, values
    for name in ("ready.npz", "ready.h5"):
        path = arrays / name
        found.append(
            Target(name, path, lambda path=path: ready.read(path, ids), False, lambda path=path: ([str(path)], 0))
        )
    tables: dict[str, Callable[[Path], Any]] = {
        "manifests/things-eeg2-images.csv": things_index.read_index,
        "manifests/god.csv": read_manifest,
        "published/god.csv": lambda path: published.read([path]),
    }
    for source, read in tables.items():
        path = arrays / source
        path.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "workflow" / source, path)
        found.append(
            Target(source, path, lambda path=path, read=read: read(path), False, lambda path=path: ([str(path)], 0))
        )
    return found


def read_manifest(path: Path) -> Any:
    """Entries, whatever this process has read before."""
    manifests._read.cache_clear()
    return [vars(one) for one in manifests.read(path)]


def read_study(world: study_worlds.World) -> Any:
    """What the stages before training read of a study."""
    study, subject = world.study(), world.subject
    table = study.stimulus_table()
    found: list[Any] = [table, study_worlds.trials_of(study, subject)]
    if study.block.kind in RECORDED:
        found += [np.asarray(pictures.read(path)) for path in table["image"][:PICTURES] if Path(path).is_file()]
    if study.modality == "fmri":
        names = study.voxel_names(subject)
        found += [names, study.regions(subject), study.signals(subject, np.arange(len(names)))]
    elif study.block.kind in ("bids", "simulated"):
        for one in study.recordings(subject):
            raw = recording.open_recording(one)
            found += [raw.ch_names, raw.info["sfreq"], raw.get_data(), recording.positions(raw, one)]
    return found


def told(world: study_worlds.World) -> tuple[list[str], Any]:
    """Inputs of the jobs of a study, and the digests in their settings."""
    study = world.study()
    files = [*study.files(world.subject), *study.stimulus_files(), *study.label_files()]
    try:
        return files, [study.label_digest(), study.catalogue_digest()]
    except REFUSALS as error:
        return files, str(error)
