"""Clusters, and the project on them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, running
from finished import finished  # noqa: F401  a fixture


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes, states by squeue."""
    # Not pytest's folder: the path of a socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        with running(Path(folder) / "cluster") as cluster:
            yield cluster


@pytest.fixture(scope="session")
def accounted() -> Iterator[Cluster]:
    """The same with a database of jobs: accounts are enforced, states by sacct."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        with running(Path(folder) / "cluster", accounting=True) as cluster:
            yield cluster
