"""What is done about jobs that an earlier run left in the queue; the real queue is in tests/slurm."""

from __future__ import annotations

import stat
from types import SimpleNamespace

import pytest

from brain2clip import slurm


class Job(SimpleNamespace):
    """A job as Snakemake has it, as far as it is looked at."""

    def __init__(self, name, outputs, spec="{}", **resources):
        super().__init__(
            name=name, rule=SimpleNamespace(name=name), output=outputs, params={"spec": spec}, resources=resources
        )

    def is_group(self):
        return False


class Group(SimpleNamespace):
    def is_group(self):
        return True


@pytest.fixture
def journal(tmp_path):
    return slurm.Journal(tmp_path / "logs" / "submitted.jsonl")


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A queue that says what it is told to say, and fails where that is None."""
    monkeypatch.setattr(slurm, "PAUSE_S", 0)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def says(text):
        command = tmp_path / "squeue"
        command.write_text("#!/bin/sh\nexit 1\n" if text is None else f"#!/bin/sh\nprintf '{text}'\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    return says


def submitted(job, outputs, run="run", spec="{}"):
    plans = slurm.plan(Job("train", outputs, spec))
    return slurm.Submitted(run=run, job=job, plans=plans, log="")


def test_what_was_noted_is_read(journal):
    one = submitted("12_3", ["a", "b"])
    journal.note(run="run")
    journal.note(run=one.run, job=one.job, plans=one.plans, log=one.log)
    with journal.path.open("a") as file:
        file.write('{"run": "run", "job": "13", "pla')  # killed while it wrote
    assert journal.submissions() == ({"run"}, {"12_3": one})
    journal.forget()
    assert journal.submissions() == (set(), {})


def test_jobs_that_wait_or_run_are_left_over_and_unknown_ones_are_told_apart(journal, squeue):
    for job in ("1", "2", "3_1", "3_2"):
        one = submitted(job, [job])
        journal.note(run=one.run, job=one.job, plans=one.plans, log=one.log)
    squeue("1|COMPLETED\\n2|RUNNING\\n3_1|CANCELLED\\n3_2|PENDING\\n4|RUNNING\\n5|FAILED\\n")
    left, unknown = slurm.left_over(journal)
    assert set(left) == {"2", "3_2"}
    assert unknown == ["4"]


def test_nothing_is_asked_where_nothing_was_submitted(journal, squeue):
    squeue(None)
    assert slurm.left_over(journal) == ({}, [])


def test_a_queue_that_does_not_answer_stops_the_run(journal, squeue):
    journal.note(run="run")
    squeue(None)
    with pytest.raises(slurm.QueueError, match="jobs could run twice"):
        slurm.left_over(journal)


def test_the_same_plan_is_taken_over_once():
    one = submitted("7", ["a", "b"])
    left = slurm.LeftOver({"7": one})
    plans = slurm.plan(Job("train", ["a", "b"]))
    assert left.take(plans) == (one, [])
    assert left.take(plans) == (None, [])


@pytest.mark.parametrize(
    "job", [Job("train", ["a", "b"], spec='{"epochs":2}'), Job("rank", ["a", "b"]), Job("train", ["a", "c"])]
)
def test_another_plan_for_the_same_files_is_in_the_way(job):
    one = submitted("7", ["a", "b"])
    assert slurm.LeftOver({"7": one}).take(slurm.plan(job)) == (None, [one])


def test_part_of_a_group_is_done_by_the_whole_group_and_two_jobs_by_neither():
    whole = submitted("7", ["a", "b", "c"])
    group = Group(jobs=[Job("train", ["a"]), Job("train", ["c"])])
    assert slurm.LeftOver({"7": whole}).take(slurm.plan(group)) == (whole, [])
    parts = {"7": submitted("7", ["a"]), "8": submitted("8", ["c"])}
    assert slurm.LeftOver(parts).take(slurm.plan(group)) == (None, list(parts.values()))


def test_an_array_asks_for_one_amount():
    first = [Job("train", [str(number)], mem_mb=8000) for number in range(3)]
    second = Job("train", ["3"], mem_mb=16000)
    other = Job("rank", ["4"], mem_mb=8000)
    batches = [[job.output[0] for job in batch] for batch in slurm.alike([first[0], second, *first[1:], other])]
    assert sorted(batches) == [["0", "1", "2"], ["3"], ["4"]]
