from pathlib import Path

import pytest
from project import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny study, run to the end once; do not edit, copy."""
    project = Project.create(tmp_path_factory.mktemp("finished") / "project")
    project.run("--show-failed-logs")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished study, to edit."""
    return finished.copy(tmp_path / "project")
