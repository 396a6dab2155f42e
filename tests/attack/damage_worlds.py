"""Files of MEG, and of the large fMRI datasets with pictures of COCO: a user's, downloaded, and unpacked by a stage."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import bids_fixtures
import bold5000_world
import download_records
import meg_files
import nsd_world
import numpy as np
import study_worlds
import test_bold5000
import test_meg
import test_nsd
import test_things_meg_epochs
import things_meg_files
from damage_studies import PICTURES, told
from study_worlds import MANIFESTS, World
from targets import Target, arrays

from brain2clip import settings
from brain2clip.readers import contract, file_records, nsd_files, pictures
from brain2clip.responses import epochs, ready_epochs, recording, voxels
from brain2clip.settings import parse
from brain2clip.stage import Job

#: Ids of epochs as the authors have them are so many that fewer are no file of theirs.
PARTS = ("preprocessed_P1-epo.fif", "preprocessed_P1-epo-3.fif")
#: Betas of the second format.
BETAS = re.compile(r"betas_session\d+\.nii\.gz")


def users(name: str, world: World, paths: Iterable[Path], read: Callable[[], Any]) -> list[Target]:
    """Files of a user, of which a study is made."""
    inputs = partial(told, world)
    return [Target(f"{name}: {path.name}", path, read, False, inputs) for path in paths]


def files(folder: Path) -> list[Path]:
    """Every file in a folder with something in it."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]


def fetched(name: str, paths: Iterable[Path], read: Callable[[], Any]) -> list[Target]:
    """Files that the pipeline downloaded or made."""
    return [Target(f"{name}: {path.name}", path, read, True) for path in paths]


# ----------------------------------------------------------------------------------------------------- MEG


def meg(folder: Path) -> list[Target]:
    """Recordings of MEG in a folder of a user, in FIF and CTF."""
    meg_files.write_dataset(folder / "fif")
    for run in ("01", "02"):
        test_meg.ctf(folder / "ctf", run)
    found = []
    for name in ("fif", "ctf"):
        world = World(meg_files.study_settings(folder / name), folder / f"results-{name}")
        found += users(name, world, files(folder / name), partial(epochs_of, world, folder))
    return found


def epochs_of(world: World, folder: Path) -> Any:
    """What the stage makes of a subject, and what else is read of its recordings."""
    study, found = world.study(), []
    for one in study.recordings(world.subject):
        raw = recording.open_recording(one)
        found += [raw.ch_names, raw.info["sfreq"], recording.positions(raw, one), recording.compensation(raw)]
        found += [study.trials(one), recording.head_movement(raw, raw.info["dev_head_t"])]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        job = bids_fixtures.job(Path(place) / "responses.h5", world.settings)
        job.settings.update(name="mine", results=str(world.results))
        epochs.run(job)
        return [found, arrays(job.output("responses"))]


def things_meg(folder: Path) -> list[Target]:
    """Downloads in FIF and CTF, the manifest, and the authors' epochs in a folder of a user."""
    found = []
    for name, make in (("fif", study_worlds.things_meg), ("ctf", of_ctf)):
        world = make(folder / name)
        manifest, read = folder / name / "manifest.csv", partial(recordings_of, world)
        found += fetched(name, (path for path in files(folder / name) if path != manifest), read)
        found += users(name, world, [manifest], read)
    things_meg_files.write_epochs(folder / "epochs", things_meg_files.epoch_values())
    given = {"kind": "things_meg", "source": "preprocessed", "epochs": str(folder / "epochs"), "subjects": ["BIGMEG1"]}
    given |= {"images": str(things_meg_files.IMAGES), "manifest": str(folder / "fif/manifest.csv")}
    world = World(given, folder / "results", "BIGMEG1")
    return found + users("epochs", world, [folder / "epochs" / name for name in PARTS], partial(epochs_read, world))


def of_ctf(folder: Path) -> World:
    """Two runs in the format of the dataset."""
    root, stems = folder / "raw/things-meg", []
    for run, events in enumerate(things_meg_files.session(1)[:2], 1):
        stem = things_meg_files.stem("BIGMEG1", "01", f"{run:02d}")
        things_meg_files.write_events(root / f"{stem}_events.tsv", events)
        things_meg_files.write_channels(root / f"{stem}_channels.tsv", 1)
        patterns = {int(float(value)): np.ones(1) for value in events["value"] if value != "N/A"}
        things_meg_files.write_ctf(root / f"{stem}_meg.ds", events, patterns, 1)
        stems.append(stem)
    given = {"kind": "things_meg", "subjects": ["BIGMEG1"], "sessions": ["01"], "runs": ["01", "02"]}
    given |= {"images": str(things_meg_files.IMAGES)}
    given["manifest"] = str(things_meg_files.write_manifest(root, folder / "manifest.csv"))
    world = World(given, folder, "BIGMEG1")
    download_records.write(world.study())
    return world


def recordings_of(world: World) -> Any:
    """Trials of a subject, and samples of the recordings."""
    study, found = world.study(), []
    for one in study.recordings(world.subject):
        found += [one.name, study.trials(one)]
        raw = recording.open_recording(one)
        found += [raw.ch_names, raw.info["sfreq"], raw.get_data(), recording.positions(raw, one)]
    return [study.known_stimuli(), found]


def epochs_read(world: World) -> Any:
    """Every epoch that is kept."""
    responses = parse(settings.Responses, test_things_meg_epochs.PRESET)
    source = ready_epochs.Source.open(world.study(), world.subject, responses)
    return [source.trials, source.channels, *(values for _, values in source.chunks())]


# ---------------------------------------------------------------------------------------------------- fMRI


def nsd(folder: Path) -> list[Target]:
    """Betas, masks, design and tables of a user; the pictures that are unpacked of an array; sentences of COCO."""
    root = nsd_world.write(folder / "bucket", subjects=("01",))
    unpacked = nsd_world.unpack(root, folder, "mine", subjects=["01"])
    (folder / "captions").mkdir()
    test_nsd.coco(folder / "captions")
    curated = folder / "curated.npy"
    np.save(curated, np.array([[f"picture {number}", "sentence"] for number in range(nsd_world.N_PICTURES)]))
    given = nsd_world.settings(root, subjects=["01"], regions=["prf-visualrois", "floc-faces"])
    worlds = {
        "hdf5": World({**given, "captions": str(folder / "captions")}, folder),
        "nifti": World({**given, "captions": str(curated), "format": "nifti"}, folder),
    }
    brick, found = root / nsd_files.BRICK, []
    every = [path for path in files(root) if path != brick]
    by_format = {"nifti": [path for path in every if BETAS.fullmatch(path.name)]}
    by_format["hdf5"] = [path for path in every if path not in by_format["nifti"]]
    for name, world in worlds.items():
        found += users(name, world, by_format[name], partial(voxels_of, world, folder))
    read = partial(table_of, worlds["hdf5"])
    found += users("captions", worlds["hdf5"], files(folder / "captions"), read)
    found += users("captions", worlds["nifti"], [curated], partial(table_of, worlds["nifti"]))
    found.append(Target("bricks", brick, lambda: bricks_of(root, folder), False, lambda: ([str(brick)], 0)))
    shown = [Path(path) for path in worlds["hdf5"].study().stimulus_table()["image"][:PICTURES]]
    return found + fetched("pictures", [*shown, unpacked / file_records.NAME], read)


def voxels_of(world: World, folder: Path) -> Any:
    """What the stage makes of a subject, the table of pictures, and what is compared between studies."""
    study = world.study()
    found: list[Any] = [study.stimulus_table(), study.coco_ids()]
    found += [study.in_bold5000()] if hasattr(study, "in_bold5000") else []
    found += [study.regions(world.subject), study.voxel_names(world.subject)]
    given = {"name": "mine", "study": study.block.for_responses(), "subject": world.subject, "labels": None}
    given |= {"results": str(world.results), "voxels": {"normalise": "session"}, "roi": {}}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        output = Path(place) / "responses.h5"
        voxels.run(Job("voxels", given, "code", {}, {}, {"responses": output}))
        return [found, arrays(output)]


def table_of(world: World) -> Any:
    """The table of pictures, and some of them."""
    study = world.study()
    table = study.stimulus_table()
    shown = [one for one in table["image"][:PICTURES] if one]
    return [table, study.coco_ids(), [np.asarray(pictures.read(one)) for one in shown]]


def bricks_of(root: Path, folder: Path) -> Any:
    """Pictures as they are unpacked."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        unpacked = nsd_world.unpack(root, Path(place), "mine", subjects=["01"])
        return [(path.name, path.read_bytes()) for path in sorted(unpacked.rglob("*.png"))]


def bold5000(folder: Path) -> list[Target]:
    """Arrays of regions, volumes with masks, the table of trials, sentences and names of classes."""
    arrays_, volumes, trials = folder / "arrays", folder / "volumes", folder / "trials.csv.gz"
    bold5000_world.write_arrays(arrays_, "CSI4")
    counts = Counter(f"{int(row['session']):02d}" for row in test_bold5000.events() if row["subject"] == "CSI4")
    bold5000_world.write_volumes(volumes, "CSI4", dict(sorted(counts.items())))
    shutil.copy(MANIFESTS / "bold5000-trials.csv.gz", trials)
    given = {"kind": "bold5000", "root": str(arrays_), "trials": str(trials), "subjects": ["CSI4"]}
    plain = contract.load("mine", given, folder)
    (folder / "captions").mkdir()
    notes = [{"image_id": one, "caption": f"of {one}"} for one in plain.coco_ids().values()]
    (folder / "captions/captions_train2014.json").write_text(json.dumps({"annotations": notes}))
    classes = sorted({one[:9] for one in plain.stimulus_table()["stimulus_id"] if one[0] == "n" and one[1:9].isdigit()})
    names = folder / "classes.txt"
    names.write_text("".join(f"{one}\tthing {one[5:]}\n" for one in classes))
    given |= {"captions": str(folder / "captions"), "class_names": str(names)}
    worlds = {"arrays": World(given, folder, "CSI4")}
    worlds["volumes"] = World({**given, "root": str(volumes), "source": "volumes"}, folder, "CSI4")
    found = []
    for name, world in worlds.items():
        found += users(name, world, files(Path(world.settings["root"])), partial(voxels_of, world, folder))
    tables = [trials, names, folder / "captions/captions_train2014.json"]
    return found + users("tables", worlds["arrays"], tables, found[0].read)
