"""Real fMRI by configuration alone: eight categories, text prompts as candidates, runs that are left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from project import Project

pytestmark = pytest.mark.workflow

# Four of the twelve folds and one control: each job starts a process, and all of them take minutes.
RUNS = ["0", "1", "2", "3"]
METHODS = ["lda", "mapping", "ridge", "ridge-shuffled"]
CHANCE = 1 / 8
# Of 32 blocks with eight answers that are guessed, more than ten are right in one case of 500.
SHUFFLED = 10 / 32


def top_1(data: Path, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Top-1 of the blocks of each run, and what the table says of the mean (one seed)."""
    project = Project.create(folder)
    config = yaml.safe_load((project.folder / "workflow/studies/haxby.yaml").read_text())
    study = config["studies"]["haxby"]
    for key in ("signals", "mask", "table"):
        study[key] = str(data / Path(study[key]).name)
    study["subjects"] = RUNS
    config["experiments"]["main"].update(seeds=[0], methods=METHODS)
    del config["tables"]["against-ridge"]
    project.write_config(config)
    tables = "results/haxby/tables"
    project.run_preloaded(f"{tables}/main.md")
    print((project.folder / tables / "main.md").read_text())
    summary = pd.read_parquet(project.folder / tables / "summary.parquet")
    means = pd.read_parquet(project.folder / tables / "main.parquet").query("level == 'mean'").set_index("method")
    return summary[summary["metric"] == "top-1@1"].set_index(["method", "subject"]).sort_index(), means


# One test, because the run behind it takes minutes and would be made again by every worker that has a part of it.
def test_categories_of_a_run_that_was_left_out(shared_data, tmp_path):
    found, means = top_1(shared_data("haxby").resolve(), tmp_path / "project")

    assert list(found.index) == [(method, run) for method in METHODS for run in RUNS]
    assert (found["n_queries"] == 8).all(), "one block of each category in a run"
    assert found["chance"].to_numpy() == pytest.approx(CHANCE)

    accuracy = found["value"].groupby("method").mean()
    for method in METHODS:
        mean = means.loc[method]
        assert mean["value"] == pytest.approx(accuracy[method])
        assert mean["ci_low"] < mean["value"] < mean["ci_high"]
    assert accuracy["ridge-shuffled"] <= SHUFFLED
    assert accuracy["lda"] > accuracy["mapping"], "what the responses allow, without prompts"
    assert means.loc["lda", "ci_low"] > 0.3, "well above chance"
    for method in ("lda", "mapping", "ridge"):
        assert means.loc[method, "ci_low"] > CHANCE, "above chance; the prompts of this tower differ by little"
        assert accuracy[method] > accuracy["ridge-shuffled"] + 0.25
