"""A small world of every kind of study: files as its reader wants them, and the settings that name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bids_fixtures
import bold5000_world
import download_records
import nsd_world
import numpy as np
import pandas as pd
import test_simulated
import test_things_eeg1
import test_things_fmri
import things_meg_files as meg
import voxel_tables
import voxel_world
from bdata_files import write_god

from brain2clip.readers import contract, file_records, manifests, things_index
from brain2clip.studies import things_eeg2

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "workflow" / "manifests"


@dataclass(frozen=True)
class World:
    """A study on disk.

    Attributes
    ----------
    settings : dict
        Complete settings of the study.
    results : Path
        Folder of results.
    subject : str
        A subject that is there.
    table : Path or None
        The user's table of pictures, where there is one.
    wrong : tuple
        Changes of the settings that must be refused.
    """

    settings: dict[str, Any]
    results: Path
    subject: str = "01"
    table: Path | None = None
    wrong: tuple[dict[str, Any], ...] = field(default=({"no_such_key": 1},))

    def study(self, **changes: Any) -> Any:
        """The study, with some settings changed."""
        return contract.load("mine", {**self.settings, **changes}, self.results)


def write_tsv(path: Path, columns: dict[str, list[str]]) -> Path:
    bids_fixtures.write_tsv(path, columns)
    return path


def picture_table(folder: Path, **columns: list[str]) -> Path:
    """A table of four pictures of four concepts, captions included."""
    names = ["cat-1", "dog-1", "cup-1", "key-1"]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "images" / f"{name}.png").write_bytes(b"png")
    table = {
        "stimulus_id": names,
        "concept": [name[:3] for name in names],
        "image": [f"images/{name}.png" for name in names],
        "caption": ["a cat", "a dog | it barks", "n/a", "a key"],
        **columns,
    }
    return write_tsv(folder / "pictures.tsv", table)


def simulated(folder: Path) -> World:
    given = {**test_simulated.TINY, "subjects": 1}
    study = contract.load("mine", given, folder)
    test_simulated.make_pictures(study, given)
    test_simulated.make_recordings(study, given, "01")
    return World(given, folder, wrong=({"subjects": 0}, {"soa": 0.0}))


def simulated_fmri(folder: Path) -> World:
    given = {**voxel_world.TINY, "subjects": 1}
    study = contract.load("mine", given, folder)
    table = Path(study.stimulus_files()[0])
    features, record = voxel_world.features_of(study), table.with_name(file_records.NAME)
    outputs = {"stimuli": table, "features": features, "record": record}
    voxel_world.simulate_pictures.run(voxel_world.job("simulate_pictures", {"study": given}, {}, outputs))
    voxel_world.make_voxels(study, given, "01")
    return World(given, folder, wrong=({"noise_correlation": 1.0}, {"voxels": {"delay": -1}}))


def bids(folder: Path, subjects: tuple[str, ...] = ("01", "02")) -> World:
    root = folder / "bids"
    for subject in subjects:
        for run, names in (("01", ["cat-1", "dog-1"]), ("02", ["cup-1"])):
            events = bids_fixtures.regular_events(6, names=names)
            bids_fixtures.write_run(
                root, bids_fixtures.noise(10 * int(subject) + int(run), 10), events, run=run, subject=subject
            )
    table = picture_table(root)
    given = bids_fixtures.study_settings(root, stimuli=str(table))
    del given["categories"]
    return World(given, folder, table=table, wrong=({"stimuli": None}, {"split": {"by": "moon", "test": ["1"]}}))


def voxel_table(folder: Path) -> World:
    data = voxel_tables.write(folder / "data")
    shown, runs = voxel_tables.labels()
    pairs = {("face", False): "cat-1", ("house", False): "dog-1", ("face", True): "cup-1", ("house", True): "key-1"}
    names = [name if name == "rest" else pairs[name, run == "4"] for name, run in zip(shown, runs)]
    (data / "rows.csv").write_text("\n".join(["condition,run", *map(",".join, zip(names, runs))]) + "\n")
    table = picture_table(data)
    given = voxel_tables.study(data, categories=None, stimuli=str(table))
    return World(given, folder, table=table, wrong=({"subjects": []}, {"split": {"by": "task", "test": ["1"]}}))


def god(folder: Path) -> World:
    write_god(folder / "raw/god/figshare/Subject1.h5", 1)
    given = {"kind": "god", "subjects": ["01"], "manifest": str(MANIFESTS / "god.csv")}
    world = World(given, folder, wrong=({"source": "moon"},))
    download_records.write(world.study())
    return world


def things_fmri(folder: Path) -> World:
    root = test_things_fmri.write(folder / "betas")
    return World({"kind": "things_fmri", "root": str(root), "subjects": ["01"]}, folder, wrong=({"root": None},))


def nsd(folder: Path) -> World:
    root = nsd_world.write(folder / "bucket")
    nsd_world.unpack(root, folder, "mine")
    return World(nsd_world.settings(root), folder, wrong=({"accept_terms": False}, {"root": None}, {"test": "100"}))


def bold5000(folder: Path) -> World:
    root = bold5000_world.write_arrays(folder / "betas", "CSI4")
    given = {"kind": "bold5000", "root": str(root), "trials": str(MANIFESTS / "bold5000-trials.csv.gz")}
    return World({**given, "subjects": ["CSI4"]}, folder, "CSI4", wrong=({"root": None}, {"betas": "TYPEB-FITHRF"}))


def things_eeg1(folder: Path) -> World:
    manifest = test_things_eeg1.manifest(folder)
    given = {
        "kind": "things_eeg1",
        "subjects": ["02"],
        "manifest": str(manifest),
        "test_concepts": str(MANIFESTS / "things-eeg2-images.csv"),
    }
    world = World(given, folder, "02", wrong=({"test": "moon"}, {"subjects": ["a/b"]}))
    (one,) = world.study().recordings("02")
    test_things_eeg1.write(test_things_eeg1.made_up("02", unit="ms"), one.events)
    fill(world.study(), one)
    download_records.write(world.study())
    return world


def things_eeg2_(folder: Path) -> World:
    given = {
        "kind": "things_eeg2",
        "subjects": ["01"],
        "sessions": ["01"],
        "runs": ["01"],
        "manifest": str(MANIFESTS / "things-eeg2.csv"),
        "images": str(MANIFESTS / "things-eeg2-images.csv"),
    }
    world = World(given, folder, wrong=({"source": "moon"}, {"runs": ["a/b"]}))
    study = world.study()
    for one in study.recordings("01"):
        rng, counts = np.random.default_rng(len(one.name)), things_eeg2.EVENTS[one.task]
        index = study.index[study.index["split"] == one.task].reset_index(drop=True)
        shown = np.sort(rng.permutation(sum(counts.values()))[: counts["image"]])
        rows = rng.integers(0, len(index), counts["image"])
        columns = {
            "onset": [f"{5 + 0.2 * event:.3f}" for event in range(sum(counts.values()))],
            **{name: ["n/a"] * sum(counts.values()) for name in ("tot_img_number", "img_category", "category_name")},
            "trial_type": ["target"] * sum(counts.values()),
        }
        for event, row in zip(shown, rows):
            columns["trial_type"][event] = "image"
            columns["tot_img_number"][event] = str(row + 1)
            columns["category_name"][event] = index["folder"][row]
            columns["img_category"][event] = str(int(index["folder"][row][:5]))
        write_tsv(one.events, columns)
        fill(study, one)
    stimuli = things_index.stimulus_rows(study.index)
    Path(study.stimulus_files()[0]).parent.mkdir(parents=True, exist_ok=True)
    table = Path(study.stimulus_files()[0])
    stimuli.to_csv(table, sep="\t", index=False)
    file_records.write(table.with_name(file_records.NAME), study.dataset, [table])
    download_records.write(study)
    return world


def things_meg(folder: Path) -> World:
    root, given = folder / "raw/things-meg", {"kind": "things_meg", "subjects": ["BIGMEG1"], "sessions": ["01"]}
    for run, events in enumerate(meg.session(1)[:2], 1):
        stem = meg.stem("BIGMEG1", "01", f"{run:02d}")
        meg.write_events(root / f"{stem}_events.tsv", events)
        meg.write_fif(root / f"{stem}_meg.fif", events, sensors=1)
    manifest = meg.write_manifest(root, folder / "manifest.csv")
    given |= {"manifest": str(manifest), "images": str(MANIFESTS / "things-meg-images.csv"), "runs": ["01", "02"]}
    world = World(given, folder, "BIGMEG1", wrong=({"onset": "moon"}, {"subjects": ["a/b"]}))
    download_records.write(world.study())
    return world


def fill(study: Any, one: contract.Recording) -> None:
    """Signals of a recording as small files of zeros, and the other files of its unit as empty ones."""
    for unit in study.subject_units(one.subject):
        entries: tuple[manifests.Entry, ...] = study.units[unit]
        for entry in entries:
            path = study.root / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".bdf", ".eeg", ".vhdr", ".vmrk") and path.stem == one.path.stem:
                path.write_bytes(bytes(1000))
            elif not path.is_file():
                path.touch()


WORLDS: dict[str, Callable[[Path], World]] = {
    "bids": bids,
    "bold5000": bold5000,
    "god": god,
    "nsd": nsd,
    "simulated": simulated,
    "simulated_fmri": simulated_fmri,
    "things_eeg1": things_eeg1,
    "things_eeg2": things_eeg2_,
    "things_fmri": things_fmri,
    "things_meg": things_meg,
    "voxel_table": voxel_table,
}


def trials_of(study: Any, subject: str) -> pd.DataFrame:
    """What a subject is shown: ``stimulus``, ``concept``, ``split``; of voxels the rows with a stimulus."""
    if study.modality == "eeg":
        return pd.concat([study.trials(one) for one in study.recordings(subject)], ignore_index=True)
    rows = study.rows(subject)
    return rows[rows["stimulus"] != ""].reset_index(drop=True)
