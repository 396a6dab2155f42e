"""Real EEG by configuration alone: faces against houses, text prompts as candidates, three people."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from project import Project

pytestmark = pytest.mark.workflow

METHODS = ("lda", "lda-shuffled", "prompts", "prompts-shuffled", "ridge", "ridge-shuffled")
# Events of the even runs: three of sub-01, one of sub-02 (its first event has no baseline before it), one (session 02)
# of sub-03. Test trials are never rejected.
TEST_TRIALS = {"01": 195 + 194 + 199, "02": 198 - 1, "03": 196}
# Test trials share one direction learnt from chance, so their hits are not independent: over 1000 permutations the
# mean of ridge over the three people has a standard deviation of 0.020 and is never further than 0.069 from 0.5.
SHUFFLED = 0.08


def single_trials(root: Path, folder: Path) -> pd.DataFrame:
    """Balanced accuracy of single trials by method and subject, from ``workflow/studies/n170.yaml`` with one seed."""
    project = Project.create(folder)
    config = yaml.safe_load((project.folder / "workflow/studies/n170.yaml").read_text())
    config["studies"]["n170"]["root"] = str(root)
    config["experiments"]["main"]["seeds"] = [0]
    project.write_config(config)
    table = "results/n170/tables/main.md"
    project.run_preloaded(table)
    print((project.folder / table).read_text())
    summary = pd.read_parquet(project.folder / "results/n170/tables/summary.parquet")
    return summary[summary["metric"] == "balanced-accuracy@1"].set_index(["method", "subject"]).sort_index()


# One test, because the run behind it takes minutes and would be made again by every worker that has a part of it.
def test_faces_and_houses_by_configuration_alone(shared_data, tmp_path):
    found = single_trials(shared_data("n170").resolve(), tmp_path / "project")

    assert list(found.index) == [(method, subject) for method in METHODS for subject in TEST_TRIALS]
    for (_, subject), count in found["n_queries"].items():
        assert count == TEST_TRIALS[subject]

    assert (found["chance"] == 0.5).all()
    assert (found["ci_low"] < found["value"]).all()
    assert (found["value"] < found["ci_high"]).all()
    # 95 % of a share near one half spans 3.92 * sqrt(0.25 / n).
    width = (found["ci_high"] - found["ci_low"]) * found["n_queries"] ** 0.5
    assert width.between(1.7, 2.2).all()

    above_chance = found["ci_low"] > 0.5
    assert above_chance["prompts", "01"] or above_chance["ridge", "01"]

    means = found["value"].groupby("method").mean()
    for method in METHODS:
        if method.endswith("shuffled"):
            assert abs(means[method] - 0.5) < SHUFFLED
        else:
            assert means[method] > means[f"{method}-shuffled"]
