"""What an edit would cost, before it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import Project, other_content, picture_of

from brain2clip import settings
from brain2clip.cli import why


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
def test_a_wrong_key_is_answered_with_a_suggestion(raw, key, message):
    with pytest.raises(why.EditError) as error:
        why.edited(raw, {key: 7}, "tiny.yaml")
    assert message in str(error.value)


def test_a_wrong_value_is_answered_by_the_settings(raw):
    with pytest.raises(settings.SettingsError, match="l_freq"):
        why.edited(raw, {"bands.slow.h_freq": 0.5}, "tiny.yaml")


def test_values_are_set_where_only_a_default_stood_and_nothing_else_changes(raw):
    before = yaml.safe_dump(raw)
    new = why.edited(raw, {"studies.simulated.noise.pink_uv": 7}, "tiny.yaml")
    assert new["studies"]["simulated"]["noise"] == {"pink_uv": 7}
    assert yaml.safe_dump(raw) == before
    assert why.edited(raw, {"bands.fast": {"l_freq": 3}}, "tiny.yaml")["bands"]["fast"] == {"l_freq": 3}


def test_hours_are_means_of_what_was_recorded(tmp_path):
    head = "s\th:m:s\tmax_rss\tmean_load\tcpu_time\n"
    for name, row in (("train/a/1", "10\t-\t-\t-\t20"), ("train/a/2", "30\t-\t-\t-\t40"), ("tables", "2\t-\t-\t-\t-")):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}{row}\n")
    costs = why.recorded(tmp_path)
    assert costs == {"train": why.Cost(20.0, 30.0, 2), "tables": why.Cost(2.0, 0.0, 1)}
    lines = why.report({"train": 360, "tables": 1, "figures": 3}, {"tables": 1}, costs, {"train": 240}).splitlines()
    assert lines[1].split() == ["train", "360", "0", "20.0", "3.0", "1.3"]
    assert lines[3].split() == ["figures", "3", "0", "no", "record"]
    assert lines[4].split() == ["total", "364", "1", "3.0", "1.3"]
    assert "3 jobs belong to stages without a benchmark and are not in the hours." in lines
    assert why.report({}, {}, costs, {}) == "Nothing would run."


def test_edits_are_written_in_either_way():
    assert why.edits_of(["bands.slow.h_freq", "7"]) == {"bands.slow.h_freq": 7}
    assert why.edits_of(["bands.slow.h_freq=7"]) == {"bands.slow.h_freq": 7}
    assert why.edits_of(["a.b=[0, 1]", "c=x=y"]) == {"a.b": [0, 1], "c": "x=y"}
    assert why.edits_of(["methods.frozen.label", "a=b"]) == {"methods.frozen.label": "a=b"}
    for words in (["bands.slow.h_freq"], ["a=1", "b"], ["a", "1", "2"]):
        with pytest.raises(why.EditError, match="expected KEY VALUE, or KEY=VALUE"):
            why.edits_of(words)


def test_several_edits_are_valid_together_or_not_at_all(raw):
    both = {"bands.slow.l_freq": 10, "bands.slow.h_freq": 12}
    assert why.edited(raw, both, "tiny.yaml")["bands"]["slow"] == {"l_freq": 10, "h_freq": 12}
    with pytest.raises(settings.SettingsError, match=r"tiny\.yaml with bands\.slow\.l_freq: 10"):
        why.edited(raw, {"bands.slow.l_freq": 10}, "tiny.yaml")


def test_an_option_at_its_neutral_value_is_a_setting(raw):
    """It is left out of what stages get, but not out of what can be edited."""
    key = "studies.simulated.responses.repetitions.train"
    config = settings.load(raw)
    assert "train" not in config.studies["simulated"].responses.repetitions.model_dump(mode="json")
    assert why.value_at(config, key) is None
    assert why.edited(raw, {key: 1}, "tiny.yaml")["studies"]["simulated"]["responses"]["repetitions"] == {"train": 1}


def told(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a copy of the project, as a user of that copy calls it."""
    command = [sys.executable, "-m", "brain2clip", "why", "tiny.yaml", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def counts(output: str) -> dict[str, int]:
    """Jobs by stage of the table, the total included."""
    rows = [line.split() for line in output.splitlines()]
    start = next((number for number, row in enumerate(rows) if row[:2] == ["stage", "jobs"]), len(rows))
    table = [row for row in rows[start + 1 :] if len(row) > 2 and row[1].isdigit()]
    return {row[0]: int(row[1]) for row in table if row[0].isidentifier()}


@pytest.mark.workflow
def test_the_command_tells_the_jobs_and_changes_nothing(project: Project):
    def state() -> dict[Path, int]:
        kept = (path for path in project.folder.rglob("*") if "__pycache__" not in path.parts)
        return {path: path.stat().st_mtime_ns for path in kept if path.is_file()}

    before = state()
    answer = told(project.folder, "bands.slow.h_freq", "7")
    assert answer.returncode == 0, answer.stderr
    assert "tiny.yaml: bands.slow.h_freq from 8.0 to 7" in answer.stdout
    found = counts(answer.stdout)
    assert {stage: found[stage] for stage in ("epochs", "train", "rank", "summaries", "tables")} == {
        **{"epochs": 2, "train": 2, "rank": 2, "summaries": 1, "tables": 1}
    }
    assert found.pop("total") == sum(found.values())
    assert told(project.folder, "bands.slow.h_freq", "8").stdout.strip().endswith("Nothing would run.")
    wrong = told(project.folder, "bands.slow.hfreq", "7")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "KEY: bands.slow.hfreq: no such setting (did you mean 'h_freq'?)"
    assert state() == before


@pytest.mark.workflow
def test_it_counts_what_snakemake_would_run(project: Project, monkeypatch: pytest.MonkeyPatch):
    """Whatever is edited, and whatever lies there: it reads no record of Snakemake."""
    monkeypatch.chdir(project.folder)  # whose source is ours
    raw = project.config

    def both(*words: str) -> tuple[dict[str, int], dict[str, int]]:
        """Jobs by stage as the command tells them, and from a dry run after the edit."""
        new = why.edited(raw, why.edits_of(words), "tiny.yaml")
        found = counts(why.told_of(settings.load(raw), settings.load(new)))
        assert found.pop("total", 0) == sum(found.values())
        project.write_config(new)
        try:
            return found, project.planned()
        finally:
            project.write_config(raw)

    edits = (
        ["bands.broad.h_freq", "19"],
        ["studies.simulated.subjects", "3"],
        ["studies.simulated.responses.whitening.kind", "mvnn"],
        ["experiments.main.seeds=[0, 1]", "methods.frozen.optimiser.epochs=2"],
        ["methods.ceiling.label", "Bound"],
        ["experiments.bands.methods", "[neuroclip]"],
        ["retrieval.level", "0.9"],
        ["tables.more", "{kind: methods, experiments: [bands], metric: top-1}"],
    )
    for words in edits:
        found, expected = both(*words)
        assert found == expected, words
        assert found, words
    # What no job makes counts by its content, and not by its time.
    (project.folder / "workflow/towers/grammar-vit/open_clip_model.safetensors").touch()
    assert both("retrieval.level", "0.9")[0] == both("retrieval.level", "0.9")[1]
    other_content(picture_of(project))
    found, expected = both("retrieval.level", "0.9")
    assert found == expected
    assert found["features"] == 1
    other_content(picture_of(project))  # as it was
    results = project.folder / "results"
    # What is not there and is not needed by what runs stays away; what is needed comes back.
    for gone in [*results.glob("responses/**/*.h5"), *results.glob("training/**/*_seed-0.safetensors")]:
        gone.unlink()
    (results / "tables" / "main.md").unlink()
    for words in (["tables.contrast.metric", "top-5"], ["methods.frozen.optimiser.epochs", "2"]):
        found, expected = both(*words)
        assert found == expected, words
