from pathlib import Path

import pytest
from finished import finished  # noqa: F401  a fixture
from project import Project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:  # noqa: F811
    """A copy of the finished study, to edit."""
    return finished.copy(tmp_path / "project")
