"""The tiny study, run to the end once: what tests of several folders start from."""

import os

import pytest
from filelock import FileLock
from project import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny study, run to the end once for all workers; do not edit, copy."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / "finished", shared / "finished.done"
    with FileLock(shared / "finished.lock"):
        if not done.exists():
            Project.create(folder).run_preloaded()
            done.touch()
    return Project(folder)
