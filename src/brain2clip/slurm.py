"""What Snakemake's SLURM executor lacks: a killed run is taken over, and no job of an array is lost.

A snakemake that is killed leaves its jobs in the queue, and the executor would submit them again: two jobs would write
the same files. So each submission is noted in ``results/logs/slurm/submitted.jsonl`` with a digest of what the job was
to do. A snakemake that starts asks ``squeue`` which of them still wait or run, and when it comes to such a job,

- the plan is the same: the job in the queue is waited for as if it had just been submitted;
- the plan is another one (a setting was edited meanwhile): the job in the queue is cancelled, and submitted anew.

Jobs that ended meanwhile are known by their files (:mod:`brain2clip.records`). Light to import, and without effect
where another executor runs the jobs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

#: States of a job that will not run any more.
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
    | {"REVOKED", "TIMEOUT"}
)
#: How often and how long apart the controller is asked before we give up, s.
ATTEMPTS, PAUSE_S = 10, 6.0
#: The longest pause between two looks at the queue, in units of the first (`slurm-init-seconds-before-status-checks`).
#: The plugin lets pauses grow to three minutes, and a study has six steps one after the other.
LONGEST_PAUSE = 3
#: How long a cancelled job may take to go, s.
GONE_S = 180.0


class QueueError(RuntimeError):
    """The queue cannot be asked."""


@dataclass(frozen=True)
class Submitted:
    """A job in the queue that an earlier snakemake submitted.

    Attributes
    ----------
    run : str
        Name of that run, and of its jobs in the queue.
    job : str
        Number in the queue, ``12`` or ``12_3`` in an array.
    plans : dict
        Each output to the digest of what was to make it (:func:`plan`).
    log : str
        Log file that SLURM writes.
    """

    run: str
    job: str
    plans: dict[str, str]
    log: str


@dataclass
class Journal:
    """Submissions to a queue, noted one by one as lines of JSON."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, **fields: Any) -> None:
        """Add a line."""
        line = json.dumps(fields) + "\n"
        with self.lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)

    def submissions(self) -> tuple[set[str], dict[str, Submitted]]:
        """Names of all runs, and all jobs by their number in the queue."""
        runs: set[str] = set()
        jobs: dict[str, Submitted] = {}
        if not self.path.exists():
            return runs, jobs
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
            except ValueError:  # the last line of a run that was killed while it wrote
                continue
            runs.add(fields["run"])
            if "job" in fields:
                jobs[fields["job"]] = Submitted(**fields)
        return runs, jobs

    def forget(self) -> None:
        """Start anew, when nothing of the earlier runs is left."""
        self.path.unlink(missing_ok=True)


def left_over(journal: Journal) -> tuple[dict[str, Submitted], list[str]]:
    """Jobs of earlier runs that still wait or run, by their number, and those that were never noted."""
    runs, jobs = journal.submissions()
    if not runs:
        return {}, []
    alive = [job for job, state in queue(runs).items() if state not in ENDED]
    return {job: jobs[job] for job in alive if job in jobs}, [job for job in alive if job not in jobs]


def queue(names: Iterable[str]) -> dict[str, str]:
    """State by number of all jobs with these names that the controller remembers."""
    command = ["squeue", "--array", "--noheader", "--states=all", "--format=%i|%T", "--name", ",".join(sorted(names))]
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            rows = (line.strip().partition("|") for line in done.stdout.splitlines())
            return {job: state for job, _, state in rows if job}
    raise QueueError(
        f"squeue does not say which jobs of an earlier run are still in the queue ({done.stderr.strip()}); "
        "without that, jobs could run twice. Start again when it answers."
    )


def cancel(jobs: Iterable[str], run: str) -> None:
    """Cancel jobs of a run and wait until they are gone: only then others may write their files."""
    jobs = set(jobs)
    subprocess.run(["scancel", *sorted(jobs)], capture_output=True, text=True)
    end = time.monotonic() + GONE_S
    while jobs & {job for job, state in queue([run]).items() if state not in ENDED}:
        if time.monotonic() > end:
            raise QueueError(f"SLURM jobs {' '.join(sorted(jobs))} were cancelled and are still there; see squeue")
        time.sleep(1)


def plan(job: Any) -> dict[str, str]:
    """Each output of a job, or of the jobs of a group, to a digest of what makes it."""
    made: dict[str, str] = {}
    for one in members(job):
        text = json.dumps([one.rule.name, one.params.get("spec")])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        made |= {str(output): digest for output in one.output}
    return made


def members(job: Any) -> list[Any]:
    """The jobs of a group, or the one job."""
    return list(job.jobs) if job.is_group() else [job]


class LeftOver:
    """What an earlier run left in the queue, until this run has come to it."""

    def __init__(self, jobs: Mapping[str, Submitted]) -> None:
        self.jobs = dict(jobs)

    def take(self, plans: Mapping[str, str]) -> tuple[Submitted | None, list[Submitted]]:
        """The job in the queue that does what is planned, or those that stand in its way; each is given out once."""
        found = [one for one in self.jobs.values() if one.plans.keys() & plans.keys()]
        for one in found:
            del self.jobs[one.job]
        if len(found) == 1 and plans.items() <= found[0].plans.items():
            return found[0], []
        return None, found


def alike(jobs: Iterable[Any]) -> Iterator[list[Any]]:
    """Batches of one rule and the same resources: an array asks for one amount, that of its first job.

    Without this a second attempt, which asks for more memory, could be sent with what the first attempt had.
    """

    def asked(job: Any) -> tuple[str, str]:
        return job.name, json.dumps({name: str(value) for name, value in job.resources.items()}, sort_keys=True)

    for _, batch in groupby(sorted(jobs, key=asked), key=asked):
        yield list(batch)


# ---------------------------------------------------------------------------------------------- Snakemake


def watch(workflow: Any, results: str) -> None:
    """Take over what an earlier run left in the queue, if the jobs of this run go to SLURM.

    Snakemake has no place for this, so its executor is extended when the plan is made, which is the first moment that
    knows the executor. The queue is asked before Snakemake looks at the files: a job that is not in the queue any more
    has then written its files, and one that is will be waited for.
    """
    prepare = workflow._prepare_dag

    def prepared(*given: Any, **named: Any) -> None:
        if workflow.executor_plugin is not None and workflow.executor_plugin.cli_prefix == "slurm":
            workflow.executor_plugin.executor = _executor(Journal(Path(results, "logs", "slurm", "submitted.jsonl")))
        prepare(*given, **named)

    workflow._prepare_dag = prepared


def _executor(journal: Journal) -> type:
    """The plugin's executor, extended."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake.exceptions import WorkflowError
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    # With arrays the plugin (2.8.0, its issue 473) does not submit what was selected as long as more jobs of the rule
    # are ready, and forgets it: the run waits for ever. Jobs are ready and not selected wherever `jobs` or `gpu` limit.
    plugin.pending_jobs_for_rule = lambda dag, rule: 0

    try:
        jobs, unknown = left_over(journal) if shutil.which("squeue") else ({}, [])
    except QueueError as error:
        raise WorkflowError(str(error)) from None

    class Executor(plugin.Executor):
        def __post_init__(self, *given: Any, **named: Any) -> None:
            super().__post_init__(*given, **named)
            if not jobs and not unknown:
                journal.forget()
            self.left_over = LeftOver(jobs)
            self.cancel_left_over(unknown)
            if jobs:
                # States are asked by the name of the run, so this run goes on under the name of that one.
                names = [one.run for one in jobs.values()]
                self.run_uuid = max(set(names), key=names.count)
                others = [one.job for one in jobs.values() if one.run != self.run_uuid]
                self.cancel_left_over(others)
                for job in others:
                    del self.left_over.jobs[job]
                self.logger.info(
                    f"{len(self.left_over.jobs)} jobs of an earlier run are still in the queue "
                    f"({' '.join(sorted(self.left_over.jobs))}): going on as run {self.run_uuid}. "
                    "Those that do what is planned are waited for, others are cancelled."
                )
            journal.note(run=self.run_uuid)

        def cancel_left_over(self, unwanted: list[str]) -> None:
            if unwanted:
                self.logger.info(f"Cancelling SLURM jobs of an earlier run: {' '.join(sorted(unwanted))}")
                for job in unwanted:
                    cancel([job], jobs[job].run if job in jobs else self.run_uuid)

        @property
        def next_seconds_between_status_checks(self) -> int:
            return super().next_seconds_between_status_checks

        @next_seconds_between_status_checks.setter
        def next_seconds_between_status_checks(self, seconds: int) -> None:
            first = self.workflow.executor_settings.init_seconds_before_status_checks
            RemoteExecutor.next_seconds_between_status_checks.fset(self, min(seconds, LONGEST_PAUSE * first))

        def run_jobs(self, jobs: list[Any]) -> None:
            new = []
            for job in jobs:
                found, unwanted = self.left_over.take(plan(job))
                self.cancel_left_over([one.job for one in unwanted])
                if found is None:
                    new.append(job)
                    continue
                self.logger.info(f"Job {job.jobid} is in the queue already, SLURM jobid {found.job}.")
                aux = {"slurm_logfile": Path(found.log)}
                self.report_job_submission(SubmittedJobInfo(job, external_jobid=found.job, aux=aux))
            for batch in alike(new):
                super().run_jobs(batch)

        def report_job_submission(self, job_info: Any, register_job: bool = True) -> None:
            journal.note(
                run=self.run_uuid,
                job=job_info.external_jobid,
                plans=plan(job_info.job),
                log=str((job_info.aux or {}).get("slurm_logfile", "")),
            )
            super().report_job_submission(job_info, register_job=register_job)

    return Executor
