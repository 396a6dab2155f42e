"""Which jobs would run, judged by the files that lie there."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from brain2clip import artefact
from brain2clip.plan import Job, Spec
from brain2clip.plan.due import Disk, due, lacking


def chain(files: int = 1, edge: float = 8, width: int = 4, k: int = 1) -> dict[str, Job]:
    """A download, responses, a model, its rows and a table, as a configuration with these values asks for them."""
    download = Spec("download", {"files": files})
    epochs = Spec("epochs", {"edge": edge})
    train = Spec("train", {"width": width}, expects={"epochs": epochs.expected})
    rank = Spec("rank", {}, expects={"epochs": epochs.expected, "train": train.expected})
    tables = Spec("tables", {"k": k}, expects={"rows": [{"origin": rank.origin}]})
    jobs = [
        Job(download, {}, ("record.json",)),
        Job(epochs, {"signals": ["record.json"], "events": ["events.tsv"]}, ("epochs.parquet",)),
        Job(train, {"epochs": ["epochs.parquet"]}, ("model.parquet", "history.parquet")),
        Job(rank, {"epochs": ["epochs.parquet"], "model": ["model.parquet"]}, ("rows.parquet",)),
        Job(tables, {"rows": ["rows.parquet"]}, ("summary.parquet", "table.md")),
    ]
    return {job.outputs[0]: job for job in jobs}


TARGETS = ["summary.parquet", "table.md"]
ALL = ["download", "epochs", "train", "rank", "tables"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("events.tsv").write_text("onset\n")
    return tmp_path


def make(jobs: dict[str, Job]) -> None:
    """Files as the jobs would leave them."""
    for job in jobs.values():
        spec = job.spec
        for path in map(Path, job.outputs):
            if path.suffix == ".parquet":
                made = artefact.provenance(spec.stage, spec.settings, spec.code, {}, spec.origin)
                artefact.write_table(path, pa.table({"a": [1]}), made)
            else:
                path.write_text("{}")


def stages(jobs: dict[str, Job], before: dict[str, Job] | None = None) -> list[str]:
    return [job.stage for job in due(jobs, TARGETS, Disk(), before)]


def test_everything_where_nothing_is_and_nothing_where_everything_is():
    assert stages(chain()) == ALL
    make(chain())
    assert stages(chain()) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"edge": 7}, ["epochs", "train", "rank", "tables"]),
        ({"width": 8}, ["train", "rank", "tables"]),
        ({"k": 5}, ["tables"]),
    ],
)
def test_an_edit_costs_what_reads_it_and_what_follows(edit, expected):
    make(chain())
    assert stages(chain(**edit), chain()) == expected
    assert stages(chain(**edit)) == expected  # files say it themselves


def test_a_file_that_is_not_needed_is_not_made_again_until_somebody_reads_it():
    make(chain())
    for name in ("record.json", "epochs.parquet"):
        Path(name).unlink()
    assert stages(chain()) == []
    assert stages(chain(k=5)) == ["tables"]
    assert stages(chain(width=8)) == ALL
    Path("record.json").write_text("{}")
    assert stages(chain(width=8)) == ["epochs", "train", "rank", "tables"]


def test_a_missing_target_is_made_again():
    make(chain())
    Path("table.md").unlink()
    assert stages(chain()) == ["tables"]


def test_a_file_that_does_not_say_what_made_it_is_compared_with_the_plan_before():
    make(chain())
    assert stages(chain(files=2)) == []
    assert stages(chain(files=2), chain()) == ALL


def test_other_inputs_count_where_the_spec_stays():
    make(chain())
    jobs = chain()
    old = jobs["summary.parquet"]
    jobs["summary.parquet"] = Job(old.spec, {**old.inputs, "published": ["events.tsv"]}, old.outputs)
    assert stages(jobs, chain()) == ["tables"]


def test_an_edit_to_what_lies_there_costs_nothing():
    make(chain(width=8))
    assert stages(chain()) == ["train", "rank", "tables"]
    assert stages(chain(width=8), chain()) == []


def test_one_of_two_files_by_another_plan_is_enough():
    make(chain())
    spec = chain(width=8)["model.parquet"].spec
    made = artefact.provenance(spec.stage, spec.settings, spec.code, {}, spec.origin)
    artefact.write_table("history.parquet", pa.table({"a": [1]}), made)
    assert stages(chain()) == ["train", "rank", "tables"]


def test_a_damaged_file_is_made_again():
    make(chain())
    Path("rows.parquet").write_text("no table")
    assert stages(chain()) == ["rank", "tables"]


def test_files_that_nobody_makes_are_named():
    jobs = chain()
    assert lacking(jobs, jobs.values(), Disk()) == []
    Path("events.tsv").unlink()
    assert lacking(jobs, jobs.values(), Disk()) == ["events.tsv"]
    assert lacking(jobs, [jobs["rows.parquet"]], Disk()) == []


def test_other_content_of_what_no_job_makes_counts_and_its_time_does_not():
    jobs = chain()
    make(jobs)
    spec = jobs["epochs.parquet"].spec
    made = artefact.provenance(spec.stage, spec.settings, spec.code, {"events": "events.tsv"}, spec.origin)
    artefact.write_table("epochs.parquet", pa.table({"a": [1]}), made)
    times = Path("events.tsv").stat()
    os.utime("events.tsv", (2e9, 2e9))
    assert stages(jobs) == []
    Path("events.tsv").write_text("ONSET\n")
    os.utime("events.tsv", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert stages(jobs) == ["epochs", "train", "rank", "tables"]
