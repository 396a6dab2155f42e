"""What an edit would cost, before it is made."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from project import ROOT, Project


@pytest.fixture(scope="module")
def why() -> ModuleType:
    spec = importlib.util.spec_from_file_location("why", ROOT / "workflow" / "why.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["why"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def raw() -> dict:
    return yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("bandss.slow.h_freq", "KEY: bandss: no such setting (did you mean 'bands'?)"),
        ("bands.slo.h_freq", "KEY: bands.slo: no such setting (did you mean 'slow'?)"),
        ("bands.slow.hfreq", "KEY: bands.slow.hfreq: no such setting (did you mean 'h_freq'?)"),
        ("methods.neuroclip.optimiser.epoch", "did you mean 'epochs'?"),
        ("methods.neuroclip.visual.filter.forms", "known: kind, init, reduction"),
        ("bands.fast", "KEY: bands.fast: no such setting (known: broad, slow)"),
        ("bands.slow.h_freq.unit", "KEY: bands.slow.h_freq.unit: no such setting"),
    ],
)
def test_a_wrong_key_is_answered_with_a_suggestion(why, raw, key, message):
    with pytest.raises(why.EditError) as error:
        why.edited(raw, key, 7, "tiny.yaml")
    assert message in str(error.value)


def test_a_wrong_value_is_answered_by_the_settings(why, raw):
    with pytest.raises(why.settings.SettingsError, match="l_freq"):
        why.edited(raw, "bands.slow.h_freq", 0.5, "tiny.yaml")


def test_values_are_set_where_only_a_default_stood_and_nothing_else_changes(why, raw):
    before = yaml.safe_dump(raw)
    new = why.edited(raw, "studies.simulated.noise.pink_uv", 7, "tiny.yaml")
    assert new["studies"]["simulated"]["noise"] == {"pink_uv": 7}
    assert yaml.safe_dump(raw) == before
    assert why.edited(raw, "bands.fast", {"l_freq": 3}, "tiny.yaml")["bands"]["fast"] == {"l_freq": 3}


def test_hours_are_means_of_what_was_recorded(why, tmp_path):
    head = "s\th:m:s\tmax_rss\tmean_load\tcpu_time\n"
    for name, row in (("train/a/1", "10\t-\t-\t-\t20"), ("train/a/2", "30\t-\t-\t-\t40"), ("tables", "2\t-\t-\t-\t-")):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}{row}\n")
    costs = why.recorded(tmp_path)
    assert costs == {"train": why.Cost(20.0, 30.0, 2), "tables": why.Cost(2.0, 0.0, 1)}
    lines = why.report({"train": 360, "tables": 1, "figures": 3}, {"tables": 1}, costs, {"train"}).splitlines()
    assert lines[1].split() == ["train", "360", "0", "20.0", "3.0", "2.0"]
    assert lines[3].split() == ["figures", "3", "0", "no", "record"]
    assert lines[4].split() == ["total", "364", "1", "3.0", "2.0"]
    assert "3 jobs are of rules without a benchmark and not in the hours." in lines
    assert why.report({}, {}, costs, set()) == "Nothing would run."


def test_rules_that_ask_for_a_gpu(why):
    assert why.gpu_rules() == {"train", "features"}


@pytest.mark.workflow
def test_the_command_tells_the_jobs_and_changes_nothing(project: Project):
    def state() -> dict[Path, int]:
        kept = [project.config_file, *(project.folder / "results").rglob("*")]
        return {path: path.stat().st_mtime_ns for path in kept}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "workflow/why.py", "tiny.yaml", *arguments]
        return subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True)

    before = state()
    told = run("bands.slow.h_freq", "7")
    assert told.returncode == 0, told.stderr
    assert "bands.slow.h_freq from 8.0 to 7" in told.stdout
    counts = {line.split()[0]: line.split()[1] for line in told.stdout.splitlines() if line[:1].isalpha()}
    assert {rule: counts[rule] for rule in ("epochs", "train", "rank", "tables", "figures", "total")} == {
        **{"epochs": "2", "train": "2", "rank": "2", "tables": "1", "figures": "1", "total": "8"}
    }
    assert run("bands.slow.h_freq", "8").stdout.strip().endswith("Nothing would run.")
    wrong = run("bands.slow.hfreq", "7")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "KEY: bands.slow.hfreq: no such setting (did you mean 'h_freq'?)"
    assert state() == before
    assert not [name for name in os.listdir(project.folder) if name.endswith(".yaml") and name not in KNOWN]


KNOWN = {"tiny.yaml", "config.yaml"}
