"""Files of datasets: those that the pipeline simulated or downloaded, and those of users."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import study_worlds
from PIL import Image
from targets import Target

from brain2clip import artefact, stage
from brain2clip.readers import file_records, manifests, pictures, things_index
from brain2clip.reporting import published
from brain2clip.responses import recording
from brain2clip.settings import SettingsError
from brain2clip.stimuli import ready

#: Studies of a user's own files, and those whose files the pipeline simulated or downloaded.
KINDS = ("bids", "voxel_table", "things_fmri")
RECORDED = ("simulated", "simulated_fmri", "god", "things_eeg1", "things_eeg2")
#: Of many pictures of a folder so many are damaged.
PICTURES = 3
ROOT = Path(__file__).resolve().parents[2]


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
        read = partial(read_study, world)
        there = {*map(Path, study.files(world.subject)), *study.root.rglob("*")}.difference(unread)
        for path in sorted(one for one in there if one.is_file() and one.stat().st_size):
            name = f"{kind}: {path.relative_to(folder / kind)}"
            found.append(Target(name, path, read, True))
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
        read, inputs = partial(read_study, world), partial(told, world)
        for path in (one for one in paths if one.suffix not in (".png", ".json") and "sub-02" not in one.name):
            name = f"{kind}: {path.relative_to(folder / kind)}"
            found.append(Target(name, path, read, False, inputs))
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
    except (stage.InputError, artefact.ArtefactError, SettingsError) as error:
        return files, str(error)
