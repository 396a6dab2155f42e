"""Debug versions: valid and small for every configuration that is shipped, and called what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_tables import make_job  # noqa: F401  # a fixture

from brain2clip import artefact, settings
from brain2clip.cli import main, run
from brain2clip.plan import Plan, needs
from brain2clip.reporting import tables
from brain2clip.reporting.wording import DEBUG
from brain2clip.settings.study_base import FEW_CONCEPTS, FEW_SUBJECTS
from brain2clip.stimuli.catalogue import of_first_concepts
from brain2clip.training.data import Responses

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [
    "config.yaml",
    *(f"workflow/studies/{name}.yaml" for name in ("demo", "development", "god", "n170", "study", "study-fmri")),
    *(f"workflow/studies/{name}.yaml" for name in ("haxby", "things-eeg1")),
    "configs/things-meg.yaml",
    *(f"tests/workflow/{name}.yaml" for name in ("tiny", "tiny-fmri")),
]
#: Labels of studies whose data lie nowhere here.
LABELS = ("01", "02", "03")


def whole(path: str) -> settings.Config:
    return settings.load(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), path)


def labels(config: settings.Config) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, block in config.studies.items():
        given = getattr(block, "subjects", "all")
        found[name] = given if isinstance(given, tuple) else LABELS
    return found


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_configuration_has_a_small_version(path: str) -> None:
    config = whole(path)
    small = settings.debug(config, labels(config))
    assert small.debug
    assert small.results == f"{config.results}/debug"
    assert settings.debug(small, labels(config)) == small
    # What stands in the file that is run is the same configuration.
    assert settings.load(yaml.safe_load(yaml.safe_dump(settings.dump(small)))) == small
    assert small.methods.keys() == config.methods.keys()
    assert (small.tables, small.protocols, small.bands, small.rois) == (
        *(config.tables, config.protocols, config.bands, config.rois),
    )
    for name, study in small.studies.items():
        own = study.subjects
        assert (own if isinstance(own, int) else len(own)) <= FEW_SUBJECTS
        assert study.simulated or FEW_CONCEPTS <= study.first_concepts <= 10 * FEW_CONCEPTS
        assert type(study) is type(config.studies[name])
    for method in small.methods.values():
        assert not hasattr(method, "optimiser") or method.optimiser.epochs <= 2
    assert {len(one.seeds) for one in small.experiments.values()} == {1}
    assert small.exports == {}


def test_of_a_training_in_two_stages_both_are_left() -> None:
    config = whole("tests/workflow/tiny.yaml")
    raw = settings.dump(config)
    raw["methods"]["frozen"]["optimiser"] |= {"epochs": 60, "second": {"after": 20, "lr": 5e-5, "freeze": ["encoder"]}}
    small = settings.debug(settings.load(raw), labels(config)).methods["frozen"].optimiser
    assert (small.epochs, small.second.after, small.second.freeze) == (2, 1, ("encoder",))


@pytest.mark.parametrize("path", ["config.yaml", "workflow/studies/demo.yaml", "workflow/studies/god.yaml"])
def test_a_small_version_can_be_planned(path: str) -> None:
    config = whole(path)
    before = Plan(config)
    plan = Plan(settings.debug(config, {name: before.subjects(name) for name in config.studies}))
    needs.check(plan)
    jobs = plan.jobs()
    assert len(jobs) <= len(before.runs()) * 5
    assert {job.stage for job in jobs.values()} >= {"catalogue", "features", "train", "rank", "summaries", "tables"}
    paths = [path for job in jobs.values() for path in job.outputs]
    assert all(path.startswith(f"{config.results}/debug/") for path in paths), "nothing is mixed"


def test_who_asks_for_no_debug_version_is_given_what_he_was_given() -> None:
    plan = Plan(whole("workflow/studies/demo.yaml"))
    texts = [plan.tables_spec().json, *(plan.catalogue_spec(name).json for name in plan.studies_run)]
    texts += [plan.features_spec(*one).json for one in plan.towers_run()]
    assert not any("debug" in text or "first_concepts" in text for text in texts)


def test_the_part_is_told_to_the_stimuli_and_to_no_response() -> None:
    config = whole("config.yaml")
    before = Plan(config)
    plan = Plan(settings.debug(config, {name: before.subjects(name) for name in config.studies}))
    for spec in (plan.catalogue_spec("things-eeg2"), plan.features_spec("things-eeg2", "vit-b-32")):
        assert spec.settings["first_concepts"] == FEW_CONCEPTS
    assert "first_concepts" not in plan.responses_spec("things-eeg2", "recorded", "01").json


def test_both_sides_keep_their_first_concepts() -> None:
    concepts = [f"c{number // 2:02d}" for number in range(40)]
    split = ["train"] * 24 + ["test"] * 16
    table = pd.DataFrame({"stimulus_id": range(40), "split": split, "concept": concepts})
    kept = of_first_concepts(table, 3)
    assert kept["stimulus_id"].tolist() == [*range(6), *range(24, 30)]
    classes = table.iloc[:8].assign(split="both")
    assert of_first_concepts(classes, 20).equals(classes)


def test_trials_of_what_was_left_out_are_left_out() -> None:
    values = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
    stimulus = np.array([0, 1, 2, 0, 1, 2])
    responses = Responses(values, stimulus, np.zeros(6, int), np.zeros(1), 1.0, ["Cz"], ["a", "b", "c"])
    found = responses.without(["b"])
    assert found.values.ravel().tolist() == [0, 2, 3, 5]
    assert [found.stimulus_id[number] for number in found.stimulus] == ["a", "c", "a", "c"]


def test_every_table_says_that_it_is_a_debug_version(make_job, tmp_path: Path) -> None:  # noqa: F811
    job = make_job()
    job.settings["debug"] = True
    tables.run(job)
    pages = [path for name, path in job.outputs.items() if name.endswith((".md", ".tex"))]
    for path in pages:
        text = " ".join(path.read_text().replace("\\\\", "").split())
        assert text.count(DEBUG) >= (text.count("## ") or 1), path
    for name, path in job.outputs.items():
        if name.endswith(".parquet") and name != "summary.parquet":
            assert artefact.read_table(path)["note"].str.startswith(DEBUG).all()


def test_the_command_writes_the_version_that_it_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = {}
    monkeypatch.setattr(run, "snakemake", lambda config, *arguments, **_: asked.update(config=config, more=arguments))
    config = tmp_path / "mine.yaml"
    config.write_text((ROOT / "tests/workflow/tiny.yaml").read_text())
    monkeypatch.setattr(main, "ROOT", ROOT)
    main.main(["run", str(config), "--debug", "--dry-run"])
    assert asked["config"] == tmp_path / "results/debug/configuration.yaml"
    assert "--dry-run" in asked["more"]
    made = settings.load(settings.read(asked["config"]))
    assert made.debug
    assert "Debug version: results/debug/configuration.yaml" in capsys.readouterr().out
