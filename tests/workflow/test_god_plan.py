"""BrainCLIP on Generic Object Decoding (workflow/studies/god.yaml): what a run would do, counted without any data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from project import Project

pytestmark = pytest.mark.workflow

SUBJECTS, REGIONS = 5, 10
MODULES = ("responses.voxels", "stimuli.features")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A fresh copy of the project with that configuration."""
    made = Project.create(tmp_path_factory.mktemp("god") / "project")
    shutil.copy2(made.folder / "workflow/studies/god.yaml", made.config_file)
    return made


def test_it_plans_with_nothing_but_downloads(project):
    counts = project.planned()
    assert not Path(project.folder / "results").exists()
    assert counts["download"] == SUBJECTS
    assert counts["voxels"] == SUBJECTS * REGIONS
    assert counts["features"] == 1
    assert counts["train"] == counts["rank"]


def test_pictures_and_captions_are_nothing_to_the_responses(project, tmp_path):
    """Their jobs are the same, letter by letter, so that new captions re-run no responses."""

    def commands() -> list[str]:
        """Shell lines of the responses of a subject and of the features."""
        targets = ("results/god/responses/god/vc/sub-02.h5", "results/god/stimuli/god/vit-b-32.h5")
        lines = project.run("-n", "-p", *targets).stdout.splitlines()
        return [next(line for line in lines if f"brain2clip.{name} " in line) for name in MODULES]

    voxels, features = commands()
    captions = tmp_path / "captions.json"
    captions.write_text("{}")
    project.edit(lambda config: config["studies"]["god"].update(captions=str(captions), pictures="elsewhere"))
    changed = commands()
    assert changed[0] == voxels
    assert changed[1] != features
