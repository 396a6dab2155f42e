"""Foundation targets on THINGS-EEG2 (configs/foundation.yaml): planned with sizes, without any data but the vectors."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from project import Project

from brain2clip.readers import things_index

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).resolve().parents[2]
SUBJECTS, SEEDS = 10, 3


def vectors(path: Path, width: int = 1536) -> None:
    """A file of ready vectors as it must look, all zero."""
    index = things_index.read_index(ROOT / "workflow/manifests/things-eeg2-images.csv")
    names = things_index.stimulus_rows(index)["stimulus_id"].tolist()
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["stimulus_id"] = names
        file.create_dataset("embedding", (len(names), width), "f2", fillvalue=0.0)
    assert np.unique(names).size == 16740


def test_it_is_planned_with_sizes(tmp_path):
    project = Project.create(tmp_path / "project")
    shutil.copy2(ROOT / "configs/foundation.yaml", project.config_file)
    vectors(project.folder / "data/things/dinov2-giant_block-27.h5")
    done = project.run("-n")
    told = done.stdout + done.stderr
    counts = project.counted(done)
    assert not (project.folder / "results").exists()
    assert counts["epochs"] == SUBJECTS
    assert counts["vectors"] == 1
    # Three methods within subjects, two across.
    assert counts["train"] == counts["rank"] == SEEDS * SUBJECTS * (3 + 2)
    size = re.search(r"Still to download: \d+ files, ([\d.]+) GB", told)
    assert size is not None
    assert 50 < float(size[1]) < 60


def test_without_the_vectors_their_setting_is_said(tmp_path):
    project = Project.create(tmp_path / "project")
    shutil.copy2(ROOT / "configs/foundation.yaml", project.config_file)
    done = project.run("-n", check=False)
    assert done.returncode
    assert "dinov2-giant_block-27.h5" in done.stdout + done.stderr
