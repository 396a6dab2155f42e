"""Why jobs run, by the settings that were changed; results are stood in for by what they would carry."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brain2clip import artefact, records, settings
from brain2clip.plan import Job, Plan, reasons
from brain2clip.plan.costs import Cost
from brain2clip.plan.due import Disk, due

ROOT = Path(__file__).resolve().parents[2]
RAW: dict[str, Any] = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
Edit = Callable[[dict[str, Any]], None]


class Finished:
    """Results of the tiny study, which only say what made them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        (folder / "workflow").symlink_to(ROOT / "workflow")
        monkeypatch.chdir(folder)
        self.made = {}
        for job in Plan(settings.load(RAW)).jobs().values():
            for path in map(Path, job.outputs):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                carried = (job.stage, reasons.to_jsonable_python(job.spec.settings), job.spec.code)
                self.made[path] = artefact.Provenance(*carried, {}, {}, job.spec.origin)
        monkeypatch.setattr(records, "provenance", self.made.get)

    def asked(self, edit: Edit) -> dict[str, list[Job]]:
        """The reasons after an edit, where the configuration before is known."""
        raw = copy.deepcopy(RAW)
        edit(raw)
        plan = Plan(settings.load(raw))
        running = due(plan.jobs(), plan.targets(), Disk())
        return reasons.causes(plan, raw, running, last=json.loads(settings.canonical(settings.load(RAW))))

    def why(self, edit: Edit) -> tuple[dict[str, list[Job]], list[Job]]:
        """The reasons after an edit, and the jobs that run."""
        raw = copy.deepcopy(RAW)
        edit(raw)
        plan = Plan(settings.load(raw))
        running = due(plan.jobs(), plan.targets(), Disk())
        return reasons.causes(plan, raw, running), running


@pytest.fixture
def finished(monkeypatch, tmp_path) -> Finished:
    return Finished(monkeypatch, tmp_path)


def both(raw: dict[str, Any]) -> None:
    raw["bands"]["broad"]["h_freq"] = 30
    raw["bands"]["slow"]["h_freq"] = 7.5


def bases(raw: dict[str, Any]) -> None:
    raw["methods"]["neuroclip"]["encoder"]["width"] = 64


def default(raw: dict[str, Any]) -> None:
    raw["studies"]["simulated"]["seed"] = 1


def together(raw: dict[str, Any]) -> None:
    raw["bands"]["slow"] = {"l_freq": 10, "h_freq": 12}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (both, {"bands.broad.h_freq 20 -> 30", "bands.slow.h_freq 8 -> 7.5"}),
        (bases, {"methods.neuroclip.encoder.width 32 -> 64"}),  # and not that of who inherits it
        (default, {"studies.simulated.seed 20251112 -> 1"}),
        (together, {"bands.slow.h_freq 8 -> 12", "bands.slow.l_freq 1 -> 10"}),  # neither is valid alone
    ],
)
def test_the_changed_key_is_named_with_both_values(finished, edit, expected):
    found, running = finished.why(edit)
    assert set(found) == expected
    assert {job.outputs for jobs in found.values() for job in jobs} == {job.outputs for job in running}


def test_jobs_count_for_the_reasons_of_what_they_read(finished):
    found, _ = finished.why(both)
    stages = {cause.split(".")[1]: [job.stage for job in jobs] for cause, jobs in found.items()}
    assert stages["slow"].count("train") == 2
    assert stages["broad"].count("train") == 8
    for listed in stages.values():  # both bands are in there
        assert listed.count("tables") == 1


def test_new_jobs_count_for_the_key_that_asks_for_them(finished):
    def seeds(raw: dict[str, Any]) -> None:
        raw["experiments"]["main"]["seeds"] = [0, 1]

    found, running = finished.why(seeds)
    assert set(found) == {"experiments.main.seeds [0] -> [0, 1]"}
    assert len(running) > 16
    assert sum(job.stage == "train" for job in running) == 8


def subjects(raw: dict[str, Any]) -> None:
    raw["studies"]["simulated"]["subjects"] = 3


def more(raw: dict[str, Any]) -> None:
    subjects(raw)
    raw["experiments"]["main"]["seeds"] = [0, 1]
    raw["experiments"]["third"] = {**raw["experiments"]["bands"], "protocols": ["inter"]}


def test_jobs_that_were_not_asked_for_before_have_the_key_that_asks_for_them(finished):
    (found,) = finished.asked(subjects).items()
    assert found[0] == "studies.simulated.subjects 2 -> 3"
    new = finished.asked(more)
    assert set(new) == {
        "studies.simulated.subjects 2 -> 3",
        "experiments.main.seeds [0] -> [0, 1]",
        "experiments.third is new",
    }
    path = "results/training/simulated/slow/inter/frozen/sub-01_seed-0.safetensors"
    assert path in {job.outputs[0] for job in new["experiments.third is new"]}


def test_jobs_that_the_configuration_before_asked_for_are_not_made_yet(finished):
    path = "results/training/simulated/broad/intra/frozen/sub-02_seed-0.safetensors"
    for ending in ("safetensors", "history.parquet"):
        Path(path).with_name(f"sub-02_seed-0.{ending}").unlink()
    new = finished.asked(subjects)
    assert path in {job.outputs[0] for job in new[reasons.NOT_MADE]}


def test_what_is_no_setting_has_its_own_words(finished, monkeypatch):
    nothing = lambda raw: None  # noqa: E731
    assert finished.why(nothing) == ({}, [])
    Path("results/tables/main.md").unlink()
    (gone,) = finished.why(nothing)[0].items()
    assert (gone[0], [job.stage for job in gone[1]]) == ("a file was deleted", ["tables", "page"])
    Path("results/tables/main.md").touch()
    for path in Path("results/responses/simulated/slow").glob("*.h5"):
        old = finished.made[path]
        carried = (old.stage, old.settings, "another", {}, {}, "another")
        finished.made[path] = artefact.Provenance(*carried)
    found, running = finished.why(nothing)
    assert set(found) == {"other code of epochs"}
    assert len(found["other code of epochs"]) == len(running) > 6


def test_results_that_are_not_there_run_anyway(finished):
    """An edit is not the reason for them."""
    gone = [
        f"results/training/simulated/broad/intra/frozen/sub-02_seed-0.{end}"
        for end in ("safetensors", "history.parquet")
    ]
    for path in gone:
        Path(path).unlink()
    found, _ = finished.why(both)
    assert tuple(gone) in {job.outputs for job in found[reasons.NOT_MADE]}
    assert tuple(gone) not in {job.outputs for job in found["bands.broad.h_freq 20 -> 30"]}


def test_a_reason_has_its_price(finished):
    jobs = finished.why(both)[0]["bands.slow.h_freq 8 -> 7.5"]
    epochs, training = ([job for job in jobs if job.stage == stage] for stage in ("epochs", "train"))
    costs = {"epochs": Cost(100.0, 0.0, 3), "train": Cost(40.0, 0.0, 3)}
    assert reasons.priced(epochs[:1], {}) == "1 job, no GPU"
    assert reasons.priced(epochs, costs) == "2 jobs, about 3 min, no GPU"
    assert reasons.priced([*epochs, *training], costs) == "4 jobs, about 5 min, 80 s of this on a GPU"
    assert reasons.priced(jobs, costs).startswith(f"{len(jobs)} jobs, more than ")
    assert reasons.priced(training, {}) == "2 jobs, 2 of them on a GPU"
