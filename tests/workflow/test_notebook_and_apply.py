"""The example scripts of docs/notebook.md, and models applied to other recordings, on the finished tiny study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from preloaded import preloaded
from project import ROOT, Project

pytestmark = pytest.mark.workflow
ENTRY = {"again": {"experiment": "main", "study": "simulated"}}


def called(project: Project, *words: str) -> str:
    """What a command prints that is started in a project, with its own code."""
    environment = {**project.environment(), **preloaded(), "PYTHONPATH": str(project.folder / "src")}
    done = subprocess.run(
        [sys.executable, *words], cwd=project.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(project: Project, name: str, *words: str) -> str:
    return called(project, str(ROOT / "docs/examples" / f"{name}.py"), "tiny.yaml", *words)


def test_the_example_of_responses(finished: Project):
    told = example(finished, "responses")
    assert "<EpochsArray" in told
    assert "4 trials, largest at" in told
    assert told.count("unseen") == 7  # lines of the table: signal, protocol, method


def test_the_example_of_a_model_ranks_as_the_run_did(finished: Project):
    told = example(finished, "model", "neuroclip")
    rows = pd.read_parquet(finished.folder / "results/retrieval/simulated/broad/inter/neuroclip/sub-01_seed-0.parquet")
    top1 = (rows.loc[rows["repetitions"] == "all", "rank"] == 1).mean()
    assert f"Top-1 {top1:.3f}, the run has {top1:.3f}" in told
    assert "32 trials, 16 numbers each, among 8 candidates" in told


def test_models_applied_to_their_own_test_recordings_rank_as_the_workflow_did(project: Project):
    project.edit(lambda config: config.update(apply=ENTRY))
    assert project.planned() == {"apply": 8}  # nothing else runs again
    told = called(project, "-m", "brain2clip", "apply", "tiny.yaml", "again", "--cores", "2")
    assert "again: simulated" in told
    assert "seen concepts" not in told.lower()
    made = sorted((project.folder / "results/apply/again").rglob("*.parquet"))
    assert len(made) == 8
    for path in made:
        rows = Path(str(path).replace("/apply/again/", "/retrieval/simulated/"))
        found = pd.read_parquet(path)
        assert not found.pop("seen").any()
        pd.testing.assert_frame_equal(found, pd.read_parquet(rows))
    told = example(project, "applied", "again")
    assert told.startswith("concepts that training did not show")
    assert project.planned() == {}
