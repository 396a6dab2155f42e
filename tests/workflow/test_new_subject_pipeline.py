"""New subjects through snakemake: what is planned, what a finished study holds, what runs again, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from project import Project

from brain2clip import artefact
from brain2clip.training.inputs import names_from_tensor

pytestmark = pytest.mark.workflow

#: Three subjects: a start without each, two numbers of sessions, one from random weights, one alone.
WHOLE = {
    **{"simulate_pictures": 1, "simulate_voxels": 3, "voxels": 3, "sessions": 3, "catalogue": 1, "features": 1},
    **{"train": 3 + 3 + 3, "tune": 2 * 3, "rank": 4 * 3, "summaries": 4, "tables": 1, "page": 1},
}
#: Rules whose number depends on what figures there are.
DRAWN = ("figures", "embed")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("new-subject") / "project", "tiny-new-subject.yaml")
    assert without_figures(project.planned()) == WHOLE
    project.run_preloaded()
    return project


@pytest.fixture
def edited(done: Project) -> Any:
    before = done.config_file.read_text(encoding="utf-8")
    yield done
    done.config_file.write_text(before, encoding="utf-8")


def without_figures(counts: dict[str, int]) -> dict[str, int]:
    return {rule: count for rule, count in counts.items() if rule not in DRAWN}


def results(project: Project, path: str) -> Path:
    return project.folder / "results" / path


def test_the_table_has_the_curves_and_what_the_others_bring(done):
    frame = artefact.read_table(results(done, "tables/curve.parquet"))
    means = frame[frame["level"] == "mean"]
    assert set(zip(means["protocol"], means["method"], strict=True)) == {
        *(("few-1", "brainclip"), ("few-all", "brainclip"), ("fresh", "brainclip"), ("alone", "ridge")),
    }
    (difference,) = frame[frame["level"] == "difference"].to_dict("records")
    assert difference["protocol"] == "few-1"
    assert difference["reference"] == "BrainCLIP, from random weights, the same network"
    text = results(done, "tables/curve.md").read_text(encoding="utf-8")
    assert "after other subjects" in text
    page = results(done, "page/page.html").read_text(encoding="utf-8")
    assert "a joint model of all other subjects learns on from the training trials of the first session" in page


def test_a_start_knows_the_others_and_a_tuned_model_the_new_subject(done):
    folder = results(done, "training/voxels/vc")
    for subject in ("01", "02", "03"):
        start = artefact.read_tensors(folder / f"without-{subject}/brainclip/sub-all_seed-0.safetensors")
        assert names_from_tensor(start["subjects"]) == sorted({"01", "02", "03"} - {subject})
        assert not [name for name in names_from_tensor(start["recordings"]) if f"sub-{subject}" in name]
        tuned = artefact.read_tensors(folder / f"few-1/brainclip/sub-{subject}_seed-0.safetensors")
        assert names_from_tensor(tuned["subjects"]) == [subject]
    with artefact.open_h5(results(done, "responses/voxels/vc/sub-01.sessions-1.h5")) as file:
        training = file["split"][:] == 0
        assert set(file["session"].asstr()[:][training]) == {"01"}
        assert set(file["session"].asstr()[:][~training]) == {"01", "02", "03"}
    log = results(done, "logs/sessions/voxels/vc/sub-01.sessions-1.log").read_text(encoding="utf-8")
    assert "sub-01, 01: 8 of 24 training trials, of 1 of 3 sessions; all 24 test trials" in log


def test_nothing_runs_again_without_a_change(done):
    assert done.planned() == {}


def test_another_number_of_sessions_trains_on_and_nothing_else(edited):
    def change(config: dict[str, Any]) -> None:
        config["protocols"]["few"]["sessions"] = [1, 2, "all"]

    edited.edit(change)
    more = {"sessions": 3, "tune": 3, "rank": 3, "summaries": 1, "tables": 1, "page": 1}
    assert without_figures(edited.planned()) == more


def test_what_of_it_trains_is_no_matter_of_the_start(edited):
    def change(config: dict[str, Any]) -> None:
        config["protocols"]["few"]["tune"] = "input"

    edited.edit(change)
    assert without_figures(edited.planned()) == {"tune": 6, "rank": 6, "summaries": 2, "tables": 1, "page": 1}


def test_a_fourth_subject_makes_the_starts_again_and_no_model_of_one_subject(edited):
    def change(config: dict[str, Any]) -> None:
        config["studies"]["voxels"]["subjects"] = 4

    edited.edit(change)
    found = without_figures(edited.planned())
    own = {"simulate_voxels": 1, "voxels": 1, "sessions": 1, "train": 4 + 1 + 1, "tune": 2 * 4, "rank": 2 * 4 + 2}
    assert found == {**own, "summaries": 4, "tables": 1, "page": 1}


def test_more_sessions_than_there_are_stop_the_plan_with_one_sentence(edited):
    def change(config: dict[str, Any]) -> None:
        config["protocols"]["few"]["sessions"] = [1, 4]

    edited.edit(change)
    said = edited.run("-n", check=False)
    assert said.returncode
    assert "protocols.few-4.sessions: found 4; expected at most the 3 that studies.voxels has, or all" in (
        said.stdout + said.stderr
    )
