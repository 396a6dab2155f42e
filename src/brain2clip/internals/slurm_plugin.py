"""Uses of internals of Snakemake's SLURM plugin: its executor, and two functions that it calls.

If the jobs of a run go to SLURM, the plugin's executor is extended by the functions of :mod:`brain2clip.slurm`. The
names of the extended methods are Snakemake's interface of executors, but what they do is up to the plugin. The plugin
looks up ``pending_jobs_for_rule`` and ``query_job_status`` in its own module, so these can be replaced there.
``tests/unit/test_internals_slurm_plugin.py`` tests what is assumed about the plugin. The module imports quickly,
because the Snakefile imports it.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from brain2clip import slurm
from brain2clip.internals import snakemake, versions

LIBRARY = "snakemake-executor-plugin-slurm"
#: Functions of the plugin's module that are replaced.
FUNCTIONS = ("pending_jobs_for_rule", "query_job_status")
#: Methods of its executor that are extended.
METHODS = (
    *("run_jobs", "run_array_jobs", "format_job_exec", "check_active_jobs", "next_seconds_between_status_checks"),
    *("report_job_submission", "report_job_success", "report_job_error"),
)


def watch(workflow: Any, results: str) -> None:
    """Take over jobs that an earlier run left in the queue, if the jobs of this run go to SLURM.

    Snakemake has no hook for this, so its executor is extended when the plan is made; earlier, the executor is not
    known. The queue is asked before Snakemake checks the files. So a job that has left the queue has already written
    its files, and the run waits for a job that is still there.
    """

    def extend() -> None:
        plugin = snakemake.needed(workflow, "executor_plugin").executor_plugin
        if plugin is not None and snakemake.needed(plugin, "cli_prefix", "executor").cli_prefix == "slurm":
            plugin.executor = executor(slurm.Journal(Path(results, "logs", "slurm", "submitted.jsonl")))

    snakemake.before_planning(workflow, extend)


def needed(owner: Any, *names: str) -> None:
    """Check that a part of the plugin has the attributes that are used.

    Raises
    ------
    snakemake.exceptions.WorkflowError
        If an attribute is missing: this version of the plugin is built differently.
    """
    if missing := versions.lacking(owner, *names):
        raise snakemake.refusal(versions.what_is_lacking(LIBRARY, owner, missing))


def executor(journal: slurm.Journal) -> type:
    """The plugin's executor, extended."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    needed(plugin, "Executor", *FUNCTIONS)
    needed(plugin.Executor, *METHODS)
    # With arrays, the plugin (2.8.0, its issue 473) does not submit selected jobs while more jobs of the rule are
    # ready, and forgets them: the run waits for ever. If `jobs` or `gpu` is limited, jobs are ready but not selected.
    plugin.pending_jobs_for_rule = lambda dag, rule: 0

    try:
        jobs, unknown = slurm.left_over(journal) if shutil.which("squeue") else ({}, [])
    except slurm.QueueError as error:
        raise snakemake.refusal(str(error)) from None

    class Executor(plugin.Executor):  # type: ignore[misc]
        def __post_init__(self, *given: Any, **named: Any) -> None:
            super().__post_init__(*given, **named)
            if not jobs and not unknown:
                journal.forget()
            self.left_over = slurm.LeftOver(jobs)
            self.cancel_left_over(unknown)
            if jobs:
                # States are queried by the name of a run, so this run continues under the name of the earlier one.
                names = [one.run for one in jobs.values()]
                self.run_uuid = max(set(names), key=names.count)
                others = [one.job for one in jobs.values() if one.run != self.run_uuid]
                self.cancel_left_over(others)
                for job in others:
                    del self.left_over.jobs[job]
                self.logger.info(
                    f"{len(self.left_over.jobs)} jobs of an earlier run are still in the queue "
                    f"({' '.join(sorted(self.left_over.jobs))}): continuing as run {self.run_uuid}. Jobs that do "
                    "what is planned are waited for; other jobs are cancelled."
                )
            journal.note(run=self.run_uuid)
            self.arrays = threading.local()
            self.awaited = slurm.Awaited()
            self.look: slurm.Look | None = None
            self.silent = False
            plugin.query_job_status = self.ask

        def cancel_left_over(self, unwanted: list[str]) -> None:
            if unwanted:
                self.logger.info(f"Cancelling SLURM jobs of an earlier run: {' '.join(sorted(unwanted))}")
                for job in unwanted:
                    slurm.cancel([job], jobs[job].run if job in jobs else self.run_uuid)

        @property
        def next_seconds_between_status_checks(self) -> int:
            seconds: int = super().next_seconds_between_status_checks
            return seconds

        @next_seconds_between_status_checks.setter
        def next_seconds_between_status_checks(self, seconds: int) -> None:
            first = self.workflow.executor_settings.init_seconds_before_status_checks
            RemoteExecutor.next_seconds_between_status_checks.fset(self, min(seconds, slurm.LONGEST_PAUSE * first))

        def run_jobs(self, jobs: list[Any]) -> None:
            new = []
            for job in jobs:
                found, unwanted = self.left_over.take(slurm.plan(job))
                self.cancel_left_over([one.job for one in unwanted])
                if found is None:
                    new.append(job)
                    continue
                self.logger.info(f"Job {job.jobid} is in the queue already, SLURM jobid {found.job}.")
                aux = {"slurm_logfile": Path(found.log)}
                self.report_job_submission(SubmittedJobInfo(job, external_jobid=found.job, aux=aux))
            for batch in slurm.alike(new):
                super().run_jobs(batch)

        def run_array_jobs(self, jobs: list[Any]) -> None:
            self.arrays.here = True
            try:
                super().run_array_jobs(jobs)
            finally:
                self.arrays.here = False

        def format_job_exec(self, job: Any) -> str:
            command: str = super().format_job_exec(job)
            if not getattr(self.arrays, "here", False):
                return command
            return shlex.join([sys.executable, "-P", str(Path(slurm.__file__).resolve())]) + " " + command

        def report_job_submission(self, job_info: Any, register_job: bool = True) -> None:
            number, aux = job_info.external_jobid, job_info.aux or {}
            log = Path(aux["slurm_logfile"]) if "slurm_logfile" in aux else None
            if log and "_" in number and log.parents[1:] and log.parent.name != f"rule_{job_info.job.name}":
                # The plugin expects logs of arrays in another folder than the one that it named at submission.
                log = aux["slurm_logfile"] = log.parents[1] / log.name
            journal.note(run=self.run_uuid, job=number, plans=slurm.plan(job_info.job), log=str(log or ""))
            self.awaited.submitted(number, job_info)
            super().report_job_submission(job_info, register_job=register_job)

        def report_job_success(self, job_info: Any) -> None:
            self.awaited.ended(job_info.external_jobid, job_info)
            super().report_job_success(job_info)

        def report_job_error(self, job_info: Any, msg: str | None = None, **named: Any) -> None:
            self.awaited.ended(job_info.external_jobid, job_info)
            super().report_job_error(job_info, msg=msg, **named)

        async def ask(self, command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
            """States of all jobs, instead of the plugin's own query; None if the controller does not answer."""
            started = time.monotonic()
            try:
                self.look = await asyncio.to_thread(slurm.Look.at, self.run_uuid, command.startswith("sacct"))
            except slurm.QueueError as error:
                logger.debug(str(error))
                return None, None
            return {job: one.state for job, one in self.look.jobs.items()}, time.monotonic() - started

        async def check_active_jobs(self, active_jobs: list[Any]) -> AsyncIterator[Any]:
            """Check jobs like the plugin, and end jobs that will not end by themselves."""
            current = []
            for one in active_jobs:
                if self.awaited.superseded(one.external_jobid, one):
                    self.settle(one, "SLURM gave its number to another job; the controller was restarted without it")
                else:
                    current.append(one)
            self.look = None
            async for one in super().check_active_jobs(current):
                if self.look is None or not self.given_up(one, self.look):
                    yield one
            if self.look is not None:
                self.silent = False
                if returned := self.awaited.returned(self.look):
                    self.logger.warning(
                        f"Cancelling SLURM jobs that had ended and are in the queue again: {' '.join(returned)}"
                    )
                    subprocess.run(["scancel", *returned], capture_output=True, text=True)
                return
            # If the controller does not answer, the plugin drops all jobs, and the run would wait without checking.
            for one in current:
                yield one
            if current and not self.silent:
                self.silent = True
                self.logger.warning("SLURM does not answer; jobs that wait or run are checked when it does.")

        def given_up(self, one: Any, look: slurm.Look) -> bool:
            """End a job if it will not end by itself; return whether it now counts as done or failed."""
            number, job = one.external_jobid, one.job
            listed = look.jobs.get(number)
            if held := self.awaited.newly_held(number, listed):
                self.logger.warning(
                    f"SLURM job {number} ({slurm.named(job)}) is held ({held}): it waits until it is released, with: "
                    f"scontrol release {number}"
                )
            if listed is None and (not look.complete or any(job.resources.get(name) for name in slurm.CLUSTERS)):
                return False  # this queue says nothing about it
            why = slurm.gone(listed, (one.aux or {}).get("slurm_logfile"), lambda: slurm.settled(job))
            if not self.awaited.confirmed(number, why):
                return False
            if listed is not None and listed.state not in slurm.ENDED:
                try:
                    slurm.cancel([number], self.run_uuid)
                except slurm.QueueError as error:
                    self.logger.warning(str(error))
                    return False
            self.settle(one, why)
            return True

        def settle(self, one: Any, why: str | None) -> None:
            """Report a job as done if its files exist and fit the plan, and as failed otherwise."""
            done = slurm.fit(one.job)
            left = one.job.restart_times > one.job.attempt - 1
            what = "Its files exist and fit." if done else "It is submitted again." if left else "It has failed."
            self.logger.warning(f"SLURM job {one.external_jobid} ({slurm.named(one.job)}): {why}. {what}")
            if done:
                self.report_job_success(one)
            else:
                self.report_job_error(one)

    return Executor
