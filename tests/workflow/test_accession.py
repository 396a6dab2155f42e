"""A dataset by its accession: from the metadata of its repository and a mirror to tables, by configuration alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import published_bids as published
import pytest
from bids_fixtures import write_tsv
from PIL import Image
from project import Project

pytestmark = pytest.mark.workflow

TABLE = "results/tables/main.md"
STUDY = {
    "kind": "bids",
    "manifest": published.ACCESSION,
    "tasks": ["see"],
    "stimulus": "trial_type",
    "split": {"by": "run", "test": ["02"]},
    "categories": {"face": ["a photo of a face"], "house": ["a photo of a house"]},
    "responses": {
        **{"tmin": -0.1, "tmax": 0.4, "baseline": [None, 0.0], "sfreq": 125, "channels": published.CHANNEL_NAMES},
        "whitening": {"kind": "none"},
    },
}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return published.write(tmp_path_factory.mktemp("mirror") / published.ACCESSION)


def make(folder: Path, mirror: Path) -> Project:
    """A project with a study of faces and houses, whose dataset is on a mirror."""
    project = Project.create(folder)
    published.publish(mirror, folder / "clone", folder / "manifests" / f"{published.ACCESSION}.csv.gz")
    main = {"study": "faces", "signals": ["raw"], "protocols": ["intra"], "methods": ["lda"]}
    project.write_config(
        {
            "results": "results",
            "download": {"sources": {published.ACCESSION: f"file://{mirror}"}},
            "studies": {"faces": STUDY},
            "bands": {"raw": {}},
            "towers": {"small": {"model": "local-dir:workflow/towers/grammar-vit"}},
            "protocols": {"intra": {"kind": "intra-subject"}},
            "methods": {"lda": {"kind": "lda", "tower": "small"}, "ridge": {"kind": "ridge", "tower": "small"}},
            "experiments": {"main": main},
            "retrieval": {"repetitions": [1, "all"], "metrics": ["balanced-accuracy", "top-1"]},
            "tables": {"main": {"kind": "methods", "experiments": ["main"], "metric": "balanced-accuracy@1"}},
        }
    )
    return project


def add_pictures(project: Project) -> None:
    """A study of the same dataset that shows pictures, of which only the events tell on which side they stand."""
    (project.folder / "images").mkdir()
    for index, name in enumerate(published.PICTURES):
        Image.new("RGB", (32, 32), (40 * index, 200, 20 * index)).save(project.folder / "images" / f"{name}.png")
    concepts = [name[:3] for name in published.PICTURES]
    images = [f"images/{name}.png" for name in published.PICTURES]
    table = {"stimulus_id": published.PICTURES, "concept": concepts, "image": images}
    write_tsv(project.folder / "pictures.tsv", table)
    study = {**STUDY, "stimulus": "picture", "stimuli": "pictures.tsv"}
    del study["categories"]

    def change(config: dict[str, Any]) -> None:
        config["studies"]["pictures"] = study
        config["experiments"]["pictures"] = {**config["experiments"]["main"], "study": "pictures", "methods": ["ridge"]}

    project.edit(change)


@pytest.fixture(scope="module")
def project(tmp_path_factory, mirror) -> Project:
    return make(tmp_path_factory.mktemp("accession") / "project", mirror)


def test_it_is_planned_with_sizes_before_anything_is_there(project, mirror):
    done = project.run("-n")
    told = done.stdout + done.stderr
    counts = project.counted(done)
    # Files on top; of each subject its scans.tsv and two runs. Neither rest, MRI nor derivatives.
    assert counts["download"] == 1 + 2 * (1 + 2)
    assert counts["epochs"] == 2
    assert not (project.folder / "results").exists()
    fetched = [
        path for path in mirror.rglob("*") if path.is_file() and not re.search("rest|nii|derivatives", str(path))
    ]
    size = sum(path.stat().st_size for path in fetched)
    assert f"Still to download: {len(fetched)} files, {size / 1e9:.3g} GB" in told


def test_from_a_mirror_to_tables(project):
    project.run_preloaded(TABLE)
    raw = project.folder / "results/raw" / published.ACCESSION
    assert not list(raw.rglob("*rest*"))
    assert not list(raw.rglob("*.nii.gz"))
    record = json.loads((project.folder / "results/downloads/ds000999/sub-01_task-see_run-01_eeg.json").read_text())
    assert {Path(one["path"]).suffix for one in record["files"]} == {".vhdr", ".vmrk", ".eeg", ".tsv"}
    # Every trial of either side holds what its event left.
    for subject in ("01", "02"):
        with h5py.File(project.folder / f"results/responses/faces/raw/sub-{subject}.h5") as file:
            late = file["response"][:, :2, -20:].mean(axis=2)
            names = file["stimulus_id"].asstr()[:][file["stimulus"][:]]
            sides = file["split"][:].tolist()
        assert sides == [0] * published.TRIALS + [1] * published.TRIALS
        assert (np.array(published.NAMES)[late.argmax(axis=1)] == names).all()
    summary = pd.read_parquet(project.folder / "results/tables/summary.parquet")
    values = summary[summary["metric"] == "balanced-accuracy@1"].set_index("subject")["value"]
    assert values.to_dict() == {"01": 1.0, "02": 1.0}
    assert project.planned("--", TABLE) == {}


def test_pictures_whose_side_the_events_tell(project, mirror, tmp_path):
    """Planned before there are events; their table is made of those that came."""
    catalogue = "results/catalogue/pictures.parquet"
    fresh = make(tmp_path / "fresh", mirror)
    add_pictures(fresh)
    assert fresh.planned("--", catalogue) == {"download": 7, "catalogue": 1}
    if not (project.folder / "results").exists():
        project.run_preloaded("--until", "download")
    add_pictures(project)
    project.run(catalogue)
    table = pd.read_parquet(project.folder / catalogue)
    assert dict(zip(table["stimulus_id"], table["split"])) == {
        **{"cat-1": "train", "dog-1": "train", "cup-1": "test", "key-1": "test"}
    }


def test_one_subject_after_the_other(mirror, tmp_path):
    project = make(tmp_path / "project", mirror)
    project.edit(lambda config: config["studies"]["faces"].update(subjects=["01"]))
    assert project.planned()["download"] == 1 + 3
    project.run("results/responses/faces/raw/sub-01.h5")
    project.edit(lambda config: config["studies"]["faces"].pop("subjects"))
    planned = project.planned()
    assert (planned["download"], planned["epochs"]) == (3, 1)


def test_a_changed_byte_is_refused(mirror, tmp_path):
    damaged = Path(shutil.copytree(mirror, tmp_path / "mirror"))
    project = make(tmp_path / "project", mirror)
    signal = "sub-01/eeg/sub-01_task-see_run-01_eeg.eeg"
    published.other_byte(damaged / signal)
    project.edit(lambda config: config["download"]["sources"].update(ds000999=f"file://{damaged}"))
    unit = "results/downloads/ds000999/sub-01_task-see_run-01_eeg.json"
    done = project.run("--show-failed-logs", unit, check=False)
    assert done.returncode
    assert "wrong content: its sha256 is not" in done.stdout + done.stderr
    # And one that is changed after it came.
    project.edit(lambda config: config["download"]["sources"].update(ds000999=f"file://{mirror}"))
    project.run(unit, "results/downloads/ds000999/dataset.json")
    published.other_byte(project.folder / "results/raw/ds000999" / signal)
    done = project.run("--show-failed-logs", "results/responses/faces/raw/sub-01.h5", check=False)
    assert "its content is not what" in done.stdout + done.stderr


def test_without_a_manifest_the_command_is_said(mirror, tmp_path):
    project = make(tmp_path / "project", mirror)
    shutil.rmtree(project.folder / "manifests")
    done = project.run("-n", check=False)
    assert done.returncode
    assert "brain2clip manifest ds000999" in done.stdout + done.stderr
