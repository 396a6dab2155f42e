"""BOLD5000 (configs/bold5000.yaml): what a run would do, counted without any number of the betas."""

from __future__ import annotations

import shutil
from pathlib import Path

import bold5000_world as world
import pytest
from project import Project

pytestmark = pytest.mark.workflow

REGIONS = 4


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A fresh copy of the project with that configuration."""
    made = Project.create(tmp_path_factory.mktemp("bold5000") / "project")
    shutil.copy2(Path(__file__).resolve().parents[2] / "configs/bold5000.yaml", made.config_file)
    return made


def test_without_the_betas_the_missing_file_is_named(project):
    done = project.run("-n", check=False)
    assert done.returncode
    assert f"data/bold5000/CSI1_GLMbetas-{world.TYPE}_allses_LHEarlyVis.npy" in done.stdout + done.stderr


def test_it_plans_with_the_betas_of_release_2(project):
    for subject in world.TRIALS:
        for name in world.SIZES:
            path = project.folder / f"data/bold5000/py/{subject}_GLMbetas-{world.TYPE}_allses_{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    counts = project.planned()
    assert counts["voxels"] == 4 * REGIONS
    assert counts["catalogue"] == counts["features"] == 1
    assert counts["train"] == counts["rank"] == 4 * (3 * 3 + REGIONS)
    assert not {"download", "bricks"} & set(counts)
    assert not (project.folder / "results").exists()
