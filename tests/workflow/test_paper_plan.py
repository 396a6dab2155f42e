"""The paper as it stands in config.yaml: what a run of it would do, counted without any data."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from project import SNAKEMAKE, Project

pytestmark = pytest.mark.workflow

SUBJECTS, SEEDS = 10, 5
#: 4 sessions of 5 training runs, test run and common sidecars; the top of the dataset; two archives and a licence.
DOWNLOADS = SUBJECTS * 4 * (5 + 1 + 1) + 1 + 3
#: Intra: NeuroCLIP and frozen CLIP (with two budgets) with every seed, ridge once; inter the same with other encoders;
#: five ablations; one control.
MODELS = SUBJECTS * (2 * (3 * SEEDS + 1) + 5 * SEEDS + 1)
SNAPSHOT = {
    "download": DOWNLOADS,
    "images": 1,
    "epochs": SUBJECTS,
    "catalogue": 1,
    "features": 1,
    "train": MODELS,
    "rank": MODELS,
    "inspect": SUBJECTS * SEEDS,
    "embed": 1,
    "summaries": 14,
    "timecourse": SUBJECTS,
    "figures": 13,
    "tables": 1,
    "page": 1,
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> str:
    """What ``snakemake -n -p`` says in a fresh copy of the project, with its own config.yaml."""
    project = Project.create(tmp_path_factory.mktemp("paper") / "project")
    command = [*SNAKEMAKE, "-n", "-p"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not Path(project.folder / "results").exists()
    return done.stdout + done.stderr


def test_jobs_of_the_paper(plan):
    table = re.search(r"Job stats:\njob\s+count\n[- ]+\n(.*?)\ntotal", plan, re.DOTALL)
    assert table is not None
    counts = {line.split()[0]: int(line.split()[1]) for line in table[1].splitlines() if line.strip()}
    assert counts.pop("all") == 1
    assert counts == SNAPSHOT
    assert (counts["download"], counts["train"]) == (284, 580)


def test_a_dry_run_says_how_much_will_move(plan):
    total = re.search(r"Still to download: (\d+) files, ([\d.]+) GB", plan)
    assert total is not None
    # A recording is five files (signal, events and three sidecars); a session has three of its own, the top five.
    assert int(total[1]) == SUBJECTS * 4 * (6 * 5 + 3) + 5 + 3
    assert 50 < float(total[2]) < 60
    assert re.search(r"Download sub-01_ses-01_task-train_run-01 of things-eeg2: 5 files, 0\.2\d+ GB", plan)
    assert not re.search(r"Download \S*task-rest", plan)
