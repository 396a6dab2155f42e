"""What is done about jobs in the queue, left by an earlier run or forgotten; the real queue is in tests/slurm."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shlex
import stat
import subprocess
import sys
import zlib
from contextlib import nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest

from brain2clip import artefact, slurm
from brain2clip.internals import slurm_plugin


class Job(SimpleNamespace):
    """A job as Snakemake has it, as far as it is looked at."""

    def __init__(self, name, outputs, spec="{}", inputs=(), **resources):
        super().__init__(
            name=name,
            rule=SimpleNamespace(name=name),
            output=outputs,
            input=inputs,
            params={"spec": spec},
            resources=resources,
            restart_times=2,
            attempt=1,
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
def command(tmp_path, monkeypatch):
    """Commands of SLURM that do what they are told to do."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setattr(slurm, "PAUSE_S", 0)
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def does(name, script):
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    return does


@pytest.fixture
def squeue(command):
    """A queue that says what it is told to say, and fails where that is None."""
    return lambda text: command("squeue", "exit 1" if text is None else f"printf '{text}'")


@pytest.fixture
def sacct(command):
    """An accounting that says what it is told to say, and fails where that is None."""
    return lambda text: command("sacct", "echo silent >&2; exit 1" if text is None else f"printf '{text}'")


def listed(*jobs):
    """What squeue says of jobs in such states."""
    return "".join(f"{number}|{state}|2026-01-31T12:00:00|None\\n" for number, state in jobs)


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
    squeue(
        listed(
            *(("1", "COMPLETED"), ("2", "RUNNING"), ("3_1", "CANCELLED"), ("3_2", "PENDING")),
            *(("4", "RUNNING"), ("5", "FAILED")),
        )
    )
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


# ------------------------------------------------------------------------------- jobs that are waited for


def test_no_habit_of_the_user_hides_a_job(command, monkeypatch):
    command(
        "squeue", """[ -z "$SQUEUE_PARTITION$SLURM_TIME_FORMAT" ] && printf '7|PENDING|N/A|launch failed | held\\n'"""
    )
    monkeypatch.setenv("SQUEUE_PARTITION", "cpu")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    assert slurm.queue(["run"]) == {"7": slurm.Listed("PENDING", "N/A", "launch failed | held")}


def test_the_controller_says_what_is_alive_and_the_accounting_how_it_ended(squeue, sacct):
    squeue(listed(("1_2", "RUNNING"), ("2", "COMPLETING"), ("3", "COMPLETING"), ("4", "PENDING")))
    sacct(
        "1_1|CANCELLED by 1000\\n1_2|CANCELLED\\n2|COMPLETED\\n3|RUNNING\\n4|NODE_FAIL\\n5|RUNNING\\n"
        "6|PENDING\\n7|TIMEOUT\\n\\n"
    )
    look = slurm.Look.at("run", accounting=True)
    states = {number: one.state for number, one in look.jobs.items()}
    # 5 and 6 were forgotten by the controller, and so the accounting was never told that they are gone.
    assert states == {
        **{"1_1": "CANCELLED", "1_2": "RUNNING", "2": "COMPLETED", "3": "COMPLETING", "4": "PENDING"},
        "7": "TIMEOUT",
    }
    assert look.complete
    assert set(slurm.Look.at("run", accounting=False).jobs) == {"1_2", "2", "3", "4"}


def test_without_the_accounting_a_missing_job_may_have_ended(squeue, sacct, command):
    squeue(listed(("1", "RUNNING")))
    sacct(None)
    assert slurm.Look.at("run", accounting=True) == slurm.Look(slurm.queue(["run"]), complete=False)
    command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert slurm.Look.at("run", accounting=True).complete
    squeue(None)
    with pytest.raises(slurm.QueueError):
        slurm.Look.at("run", accounting=True)


@pytest.mark.parametrize(
    ("state", "reason", "why"),
    [
        ("PENDING", "Resources", None),
        ("PENDING", "BeginTime", None),
        ("PENDING", "JobHeldUser", None),
        ("PENDING", "launch failed requeued held", "could not start it"),
        ("PENDING", "launch_failed_requeued_held", "could not start it"),
        ("RUNNING", "None", None),
        ("COMPLETING", "None", None),
        ("SUSPENDED", "None", None),
        ("PREEMPTED", "None", "ended as PREEMPTED"),
    ],
)
def test_what_will_not_go_on_by_itself(state, reason, why):
    found = slurm.gone(slurm.Listed(state, "2026-01-31T12:00:00", reason), None, lambda: False)
    assert found is None if why is None else why in found


def test_a_job_that_nobody_knows_is_gone():
    assert "no longer lists it" in slurm.gone(None, None, lambda: False)


@pytest.mark.parametrize(
    ("log", "cancelled"),
    [
        ("", False),
        ("error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-31T12:30:00 ***\n", False),
        ("slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-31T12:30:00 ***\nmore\n", True),
        ("slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-31T12:30:00 DUE TO TIME LIMIT ***\n", True),
        # An earlier start of the same job.
        ("slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-31T11:30:00 DUE TO JOB REQUEUE ***\n", False),
    ],
)
def test_a_running_job_that_its_node_has_ended_is_gone(tmp_path, log, cancelled):
    path = tmp_path / "7.log"
    path.write_text("x" * slurm.TAIL + log)
    found = slurm.gone(slurm.Listed("RUNNING", "2026-01-31T12:00:00"), path, lambda: False)
    assert (found is not None) == cancelled
    assert slurm.gone(slurm.Listed("RUNNING", "2026-01-31T12:00:00"), tmp_path / "none.log", lambda: False) is None


@pytest.fixture
def planned(tmp_path):
    """A job with a spec and its files, not made yet, and how they are made."""
    spec = {
        "stage": "rank",
        "format": artefact.FORMAT,
        "settings": {"k": [1]},
        "code": "c0de",
        "expects": {"model": {}},
    }
    origin = artefact.origin(spec)
    job = Job("rank", [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], spec=json.dumps(spec))

    def make(path, code="c0de"):
        made = artefact.provenance(spec["stage"], spec["settings"], code, {}, origin if code == "c0de" else "other")
        artefact.write_table(path, pd.DataFrame({"rank": [1]}), made)

    return job, make


def test_files_fit_when_all_are_there_and_as_planned(planned):
    job, make = planned
    first, second = job.output
    assert not slurm.fit(job)
    make(first)
    assert not slurm.fit(job)
    make(second)
    assert slurm.fit(job)
    assert slurm.fit(Group(jobs=[job]))
    make(first, code="other")
    assert not slurm.fit(job)
    with open(first, "w") as file:
        file.write("half of it")
    assert not slurm.fit(job)
    assert not slurm.fit(Job("other", [second], spec=None))


def test_a_running_job_whose_files_lie_there_for_a_while_is_gone(planned):
    job, make = planned
    for path in job.output:
        make(path)
    assert not slurm.settled(job)  # it may be about to end
    old = os.stat(job.output[0]).st_mtime - slurm.SETTLED_S - 1
    os.utime(job.output[0], (old, old))
    assert not slurm.settled(job)
    os.utime(job.output[1], (old, old))
    assert slurm.settled(job)
    running = slurm.Listed("RUNNING", "2026-01-31T12:00:00")
    assert "its files have existed" in slurm.gone(running, None, lambda: slurm.settled(job))
    make(job.output[0], code="other")
    os.utime(job.output[0], (old, old))
    assert not slurm.settled(job)


def test_one_look_is_not_enough_and_neither_are_looks_that_are_not_in_a_row():
    awaited = slurm.Awaited()
    awaited.submitted("7", "job")
    looks = ["gone"] * (slurm.LOOKS - 1) + [None] + ["gone"] * slurm.LOOKS
    assert [awaited.confirmed("7", why) for why in looks] == [False] * (len(looks) - 1) + [True]
    awaited.submitted("7", "another")
    assert not awaited.confirmed("7", "gone")


def test_a_number_that_is_given_twice_is_that_of_the_last_job():
    awaited = slurm.Awaited()
    awaited.submitted("7", first := object())
    assert not awaited.superseded("7", first)
    awaited.submitted("7", second := object())
    assert awaited.superseded("7", first)
    assert not awaited.superseded("7", second)
    awaited.ended("7", first)  # which says nothing of the second
    alive = slurm.Look({"7": slurm.Listed("RUNNING")})
    assert [awaited.returned(alive) for _ in range(3)] == [[], [], []]


def test_a_job_that_has_ended_and_is_alive_twice_is_back():
    awaited = slurm.Awaited()
    jobs = {number: object() for number in ("1", "2", "3")}
    for number, job in jobs.items():
        awaited.submitted(number, job)
    awaited.ended("1", jobs["1"])
    awaited.ended("2", jobs["2"])
    awaited.ended(None, object())  # it could not be submitted
    alive = slurm.Look({number: slurm.Listed("RUNNING") for number in jobs})
    ended = slurm.Look({number: slurm.Listed("CANCELLED") for number in jobs})
    ending = slurm.Look({number: slurm.Listed("COMPLETING") for number in jobs})
    assert [awaited.returned(look) for look in (ending, ending, ended, alive, ended, alive)] == [[]] * 6
    assert awaited.returned(alive) == ["1", "2"]
    # The controller does not know 2 any more, so the next job that is called so is another one.
    assert awaited.returned(slurm.Look({"1": slurm.Listed("RUNNING")})) == ["1"]
    assert [awaited.returned(alive) for _ in range(2)] == [["1"]] * 2


def test_a_held_job_is_told_once():
    awaited = slurm.Awaited()
    held, free = slurm.Listed("PENDING", reason="JobHeldAdmin"), slurm.Listed("PENDING", reason="Resources")
    looks = [free, held, held, free, held, None]
    assert [awaited.newly_held("7", one) for one in looks] == [None, "JobHeldAdmin", None, None, "JobHeldAdmin", None]


# ----------------------------------------------------------------------------- the executor of the plugin


class Executor:
    """The plugin's executor as this project extends it, without a workflow, and what it reported."""

    def __init__(self, journal, monkeypatch, caplog):
        import snakemake_executor_plugin_slurm as plugin

        for name in ("pending_jobs_for_rule", "query_job_status"):
            monkeypatch.setattr(plugin, name, getattr(plugin, name))
        monkeypatch.setattr(plugin.Executor, "__post_init__", lambda self: setattr(self, "run_uuid", "run"))
        self.reported = []
        settings = {"status_command": "squeue", "status_attempts": 2, "init_seconds_before_status_checks": 1}
        callbacks = {
            "submit_callback": lambda job: None,
            "finish_callback": lambda job: self.reported.append((job.name, "done")),
            "error_callback": lambda job: self.reported.append((job.name, "failed")),
        }
        made = object.__new__(slurm_plugin.executor(journal))
        made.workflow = SimpleNamespace(
            executor_settings=SimpleNamespace(**settings, keep_successful_logs=True, requeue=False),
            remote_execution_settings=SimpleNamespace(seconds_between_status_checks=1),
            scheduler=SimpleNamespace(**callbacks),
        )
        made.logger, made.lock, made.active_jobs = logging.getLogger("executor"), nullcontext(), []
        made._status_query_calls = made._status_query_failures = made._status_query_total_seconds = 0
        made._status_query_min_seconds, made._status_query_max_seconds = None, 0.0
        made._status_query_cycle_rows, made._preemption_warning = [], False
        made._next_seconds_between_status_checks = None

        class Unlimited:
            async def __aenter__(self):
                pass

            async def __aexit__(self, *error):
                pass

        made.status_rate_limiter = Unlimited()
        made.__post_init__()
        self.made = made

    def submit(self, number, name):
        from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

        job = Job(name, [f"{name}.out"], spec=None)
        job.log_error = lambda *given, **named: None
        job.register = lambda **named: None
        info = SubmittedJobInfo(job, number, {"slurm_logfile": "none"})
        self.made.report_job_submission(info)
        return info

    def look(self):
        """Look at the queue once; names of the jobs that are waited for after that."""

        async def checked():
            return [one async for one in self.made.check_active_jobs(active)]

        active, self.made.active_jobs = self.made.active_jobs, []
        self.made.active_jobs = asyncio.run(checked())
        return [one.job.name for one in self.made.active_jobs]


@pytest.fixture
def executor(journal, monkeypatch, caplog, squeue, command):
    command("scancel", "exit 0")
    command("scontrol", "echo 'MinJobAge = 300 sec'")
    squeue("")
    return Executor(journal, monkeypatch, caplog)


def test_a_controller_that_is_silent_loses_no_job(executor, squeue, caplog):
    """The plugin alone waits for none of them any more, and the run without end."""
    executor.submit("1", "a")
    executor.submit("2", "b")
    squeue(None)
    assert [executor.look() for _ in range(2)] == [["a", "b"]] * 2
    assert [record.message for record in caplog.records].count(
        "SLURM does not answer; jobs that wait or run are checked when it does."
    ) == 1
    squeue(listed(("1", "COMPLETED"), ("2", "FAILED")))
    assert executor.look() == []
    assert executor.reported == [("a", "done"), ("b", "failed")]


def test_a_forgotten_job_is_reported_as_failed_after_some_looks(executor, squeue, caplog):
    executor.submit("1", "a")
    executor.submit("2", "b")
    squeue(listed(("2", "RUNNING")))
    looks = [executor.look()]
    squeue(None)
    looks.append(executor.look())  # which is none
    squeue(listed(("2", "RUNNING")))
    looks += [executor.look() for _ in range(slurm.LOOKS - 1)]
    assert looks == [["a", "b"]] * slurm.LOOKS + [["b"]]
    assert executor.reported == [("a", "failed")]
    assert "SLURM job 1 (a: a.out): SLURM no longer lists it" in caplog.text
    assert "It is submitted again." in caplog.text


def test_a_forgotten_job_whose_files_fit_is_done(executor, squeue, monkeypatch):
    monkeypatch.setattr(slurm, "fit", lambda job: True)
    executor.submit("1", "a")
    squeue("")
    assert [executor.look() for _ in range(slurm.LOOKS)] == [["a"]] * (slurm.LOOKS - 1) + [[]]
    assert executor.reported == [("a", "done")]


def test_without_the_accounting_no_missing_job_is_given_up(executor, squeue, sacct):
    executor.made.workflow.executor_settings.status_command = "sacct"
    executor.submit("1", "a")
    squeue("")
    sacct(None)
    assert [executor.look() for _ in range(slurm.LOOKS + 1)] == [["a"]] * (slurm.LOOKS + 1)
    sacct("1|PENDING\\n")
    assert [executor.look() for _ in range(slurm.LOOKS)] == [["a"]] * (slurm.LOOKS - 1) + [[]]
    assert executor.reported == [("a", "failed")]


def test_a_job_that_cannot_go_on_is_cancelled_before_it_is_tried_again(executor, squeue, command, tmp_path):
    waits, gone = "PENDING|N/A|launch failed requeued held", "CANCELLED|N/A|None"
    command("squeue", f"if [ -e {tmp_path}/cancelled ]; then echo '1|{gone}'; else echo '1|{waits}'; fi")
    command("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    executor.submit("1", "a")
    assert [executor.look() for _ in range(slurm.LOOKS - 1)] == [["a"]] * (slurm.LOOKS - 1)
    assert not (tmp_path / "cancelled").exists()
    assert executor.look() == []
    assert (tmp_path / "cancelled").read_text() == "1\n"
    assert executor.reported == [("a", "failed")]


def test_a_job_whose_number_was_given_again_is_forgotten(executor, squeue):
    executor.submit("1", "a")
    executor.submit("1", "b")
    squeue(listed(("1", "RUNNING")))
    assert [executor.look() for _ in range(3)] == [["b"]] * 3
    assert executor.reported == [("a", "failed")]


def test_a_job_of_another_cluster_is_not_looked_for_here(executor, squeue):
    executor.submit("1", "a").job.resources["clusters"] = "other"
    squeue("")
    assert [executor.look() for _ in range(slurm.LOOKS + 1)] == [["a"]] * (slurm.LOOKS + 1)


def test_what_ended_and_is_back_is_cancelled(executor, squeue, command, tmp_path):
    command("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    executor.submit("1", "a")
    executor.submit("2", "b")
    squeue(listed(("1", "CANCELLED"), ("2", "RUNNING")))
    assert executor.look() == ["b"]
    squeue(listed(("1", "RUNNING"), ("2", "RUNNING")))
    executor.look()
    assert not (tmp_path / "cancelled").exists()
    executor.look()
    assert (tmp_path / "cancelled").read_text() == "1\n"


def test_the_log_of_a_task_is_where_slurm_writes_it(executor, journal, tmp_path):
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    one = executor.submit("1", "train")
    logs = tmp_path / "logs" / "rule_train"
    for number, log in (("2_1", logs / "wildcards" / "2_1.log"), ("3", logs / "wildcards" / "3.log")):
        executor.made.report_job_submission(SubmittedJobInfo(one.job, number, {"slurm_logfile": log}))
    _, jobs = journal.submissions()
    assert jobs["2_1"].log == str(logs / "2_1.log")
    assert jobs["3"].log == str(logs / "wildcards" / "3.log")


# ------------------------------------------------------------------------------------------------- arrays


def test_each_task_of_an_array_runs_its_own_command(monkeypatch):
    """As the plugin writes the line: the command of the first task, and behind it those of the others."""
    before = [sys.executable, "-P", slurm.__file__]

    def line(text):
        return shlex.join([*before, sys.executable, "-c", f"import sys; print({text!r}, sys.argv[1:])"])

    others = {number: zlib.compress(line(f"task {number}").encode()).hex() for number in ("2", "3")}
    array = f"{line('task 1')} {slurm.COMMANDS}{base64.b64encode(json.dumps(others).encode()).decode()}"
    for number in ("1", "2", "3"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        done = subprocess.run(array, shell=True, capture_output=True, text=True, check=True)
        assert done.stdout == f"task {number} []\n"
