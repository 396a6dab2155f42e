"""What is shown of Snakemake's messages, which are made as it and its SLURM plugin make them, by its own logger."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from snakemake.logging import DefaultFilter, DefaultFormatter, logger
from snakemake.settings.enums import Quietness
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from brain2clip.internals import snakemake_log
from brain2clip.screen import Screen

SPEC = """--spec '{"code":"1","settings":{"it'"'"'s":"so"}}'"""
SHELL = f"python -m brain2clip.training.train {SPEC} --input a=b > results/logs/a.log 2>&1"
STOPPED = "12:00:09 train: stopped\nmine.yaml: no such column; expected one of a, b\n"


class Job(NamedTuple):
    number: int
    rule: Any
    output: list[str]

    def __hash__(self) -> int:
        return self.number


class Said:
    """A run of two jobs, and what is printed of it."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.stream, self.folder = io.StringIO(), folder
        settings = OutputSettings(**given)
        own = logging.StreamHandler(self.stream)
        own.decorate = lambda record, text: text  # type: ignore[attr-defined]
        own.name = snakemake_log.NAME
        quiet = settings.quiet or set()
        own.addFilter(DefaultFilter(quiet, False, settings.verbose, settings.dryrun, settings.printshellcmds))
        own.setFormatter(DefaultFormatter(quiet, True))
        logger.addHandler(own)
        logger.setLevel(logging.INFO)
        rules = [SimpleNamespace(name=name) for name in ("train", "train", "all")]
        jobs = [Job(number, rule, ["a.txt"] if number == 1 else []) for number, rule in enumerate(rules, 1)]
        waits = {jobs[0]: {}, jobs[1]: {}, jobs[2]: {jobs[0]: {"a.txt"}, jobs[1]: {"b.txt"}}}
        dag = SimpleNamespace(needrun_jobs=lambda: jobs, dependencies=waits, jobid=lambda job: job.number)
        cores = SimpleNamespace(cores=2)
        workflow = SimpleNamespace(output_settings=settings, dag=dag, local_exec=True, resource_settings=cores)
        made = partial(Screen, ending=lambda: "Tables: here")
        snakemake_log.watch(workflow, made, lambda firsts: f"Why: {firsts}")
        self.event(LogEvent.RUN_INFO, "Job stats:\n...\n", stats={"train": 2, "all": 1, "total": 3})

    def event(self, event: LogEvent | None, text: str = "", error: bool = False, **fields: Any) -> None:
        logger.log(logging.ERROR if error else logging.INFO, text, extra={"event": event, **fields})

    def starts(self, number: int) -> str:
        log = self.folder / f"{number}.log"
        log.write_text(STOPPED)
        named = {"input": [], "output": [], "wildcards": {}, "resources": {}, "benchmark": None, "priority": 0}
        others = {"threads": 1, "local": False, "is_checkpoint": False, "reason": "Params have changed: {...}"}
        fields = {"jobid": number, "rule_name": "train", "rule_msg": f"Train {number}", "log": [str(log)]}
        self.event(LogEvent.JOB_INFO, **fields, **named, **others)
        self.event(LogEvent.SHELLCMD, shellcmd=SHELL)
        return str(log)

    def fails(self, number: int, log: str, why: str | None = None, logs: tuple[str, ...] = ()) -> None:
        fields = {"input": [], "output": [], "aux": {}, "conda_env": None, "shellcmd": SHELL, "rule_msg": why}
        self.event(LogEvent.JOB_ERROR, error=True, jobid=number, rule_name="train", log=[log, *logs], **fields)

    def ends(self) -> str:
        for handler in list(logger.handlers):
            if handler.name == snakemake_log.NAME:
                logger.removeHandler(handler)
                handler.close()
        return self.stream.getvalue()


@pytest.fixture
def run(tmp_path) -> Iterator[Any]:
    made: list[Said] = []

    def begin(**given: Any) -> Said:
        made.append(Said(tmp_path, **given))
        return made[-1]

    yield begin
    for one in made:
        one.ends()


def test_a_shell_that_failed_on_this_machine_is_told_by_the_sentence_of_its_job(run):
    said = run(printshellcmds=True)
    log = said.starts(1)
    error = f"CalledProcessError in file \"a.smk\", line 3:\nCommand 'set -e; {SHELL}' returned non-zero exit status 1."
    said.event(LogEvent.ERROR, error, error=True, exception="RuleException")
    said.fails(1, log)
    said.event(None, "Exiting because a job execution failed. Look above for error messages", error=True)
    said.event(None, "Complete log(s): all.log")
    said.event(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.", error=True)
    told = said.ends()
    assert told.startswith("2 steps: 2 train\n\nWhy: ['a.txt']\n")
    assert "--spec ... --input a=b" in told
    assert "it'" not in told
    for word in ("CalledProcessError", "Exiting because", "WorkflowError", "Params have changed", "Job stats"):
        assert word not in told
    assert told.count("no such column") == 1
    assert told.splitlines()[-1] == "  mine.yaml: no such column; expected one of a, b"


@pytest.mark.parametrize("own", [True, False], ids=["which said why", "which was killed"])
def test_a_job_that_failed_on_a_cluster(run, tmp_path, own):
    said = run()
    log = said.starts(1)
    slurm = tmp_path / "slurm.log"
    slurm.write_text("slurmstepd: error: Detected 1 oom-kill event(s)\n")
    if not own:
        Path(log).write_text("12:00:01 train: start (process 7)\n12:00:02 train: epochs: 1 of 3, 9 s left\n")
    said.fails(1, log, "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'.", (str(slurm),))
    last = said.ends().splitlines()[-1]
    assert last == (
        "  mine.yaml: no such column; expected one of a, b"
        if own
        else "  slurmstepd: error: Detected 1 oom-kill event(s)"
    )


def test_of_a_group_only_those_that_failed_are_told(run):
    said = run()
    logs = [said.starts(number) for number in (1, 2)]
    Path(logs[1]).write_text("12:00:02 train: done in 1.0 s, peak memory 0.1 GB\n")
    said.event(LogEvent.GROUP_ERROR, error=True, aux_logs=[], job_error_info=[{"jobid": 1}, {"jobid": 2}])
    for number, log in enumerate(logs, 1):
        said.fails(number, log)
    told = said.ends()
    assert "1 of 2 steps failed" in told
    assert "Train 2 (log" not in told


def test_ctrl_c(run):
    said = run()
    log = said.starts(1)
    said.event(None, "Terminating processes on user request, this might take some time.")
    said.fails(1, log)
    said.event(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.", error=True)
    told = said.ends()
    assert "no such column" not in told
    assert "WorkflowError" not in told
    assert "Stopped on request: 0 of 2 steps" in told.splitlines()[-1]


def test_other_errors_and_messages_pass(run):
    said = run()
    said.event(None, "Job 5 has been submitted with SLURM jobid 12 (log: a.log).")
    said.event(LogEvent.ERROR, "MissingOutputException in rule train:\nJob completed, but", error=True)
    said.event(LogEvent.JOB_STARTED, "Execute 1 jobs...")
    told = said.ends()
    for word in ("submitted with SLURM jobid 12", "MissingOutputException", "Execute 1 jobs..."):
        assert word in told


def test_a_dry_run_tells_reasons_and_jobs_where_commands_are_asked_for(run):
    said = run(dryrun=True)
    said.starts(1)
    told = said.ends()
    assert "Job stats:\n" in told
    assert "Why: ['a.txt']\n\nWith -p" in told
    assert "Train 1" not in told
    said = run(dryrun=True, printshellcmds=True)
    said.starts(1)
    told = said.ends()
    assert "Job 1: Train 1\nReason: Params have changed" in told
    assert SPEC in told


QUIET = [{Quietness.PROGRESS}, {Quietness.PROGRESS, Quietness.RULES}, {Quietness.ALL}]


@pytest.mark.parametrize("quiet", QUIET)
def test_what_failed_is_told_however_quiet_a_run_is(run, quiet):
    said = run(quiet=quiet)
    said.fails(1, said.starts(1))
    told = said.ends()
    assert "Started" not in told
    assert told.startswith("\n1 of 2 steps failed, 0 done, 1 did not run:\n")
    assert told.splitlines()[-1] == "  mine.yaml: no such column; expected one of a, b"
    said = run(quiet=quiet)
    said.event(LogEvent.ERROR, "WorkflowError:\nstudies.mine: not there", error=True)
    assert said.ends().endswith("studies.mine: not there\n")


@pytest.mark.parametrize("quiet", QUIET)
def test_where_things_are_is_silenced_with_everything_else_alone(run, quiet):
    said = run(quiet=quiet)
    for number in (1, 2):
        said.starts(number)
        said.event(LogEvent.JOB_FINISHED, job_id=number)
    told = said.ends()
    assert "Done in" not in told
    assert told.endswith("2 of 2 steps (100%) done\n\nTables: here\n") == (Quietness.ALL not in quiet)
    assert bool(told) == (Quietness.ALL not in quiet)


def test_verbose_is_snakemakes_own_words(run):
    said = run(verbose=True)
    log = said.starts(1)
    said.fails(1, log)
    told = said.ends()
    assert "Job stats:\n" in told
    assert SPEC in told
    assert told.splitlines()[-1].startswith("  mine.yaml: no such column")
