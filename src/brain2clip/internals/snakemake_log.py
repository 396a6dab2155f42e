"""Output of Snakemake in our own words: another handler replaces its handler of the terminal.

A logger plugin would have to be named on every command line, and Snakemake looks for it among installed packages alone.
The handler is therefore exchanged when the plan is made, on the logger that Snakemake has set up: so whoever starts it,
and however, sees the same. Its file below ``.snakemake/log`` keeps all that Snakemake says.

What is used: the name of the handler, its filter, and the events of records with their fields (an interface for logger
plugins). A few messages without an event are known by how they begin; one that is worded otherwise is only shown.
``tests/unit/test_internals_snakemake.py`` and ``tests/workflow/test_terminal.py`` hold what is taken for granted.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from brain2clip.internals import snakemake
from brain2clip.screen import Screen, Step

#: Snakemake's handler of the terminal.
NAME = "DefaultStreamHandler"
#: How messages begin that nobody needs.
NEEDLESS = (
    *("Select jobs to execute", "Shutting down, this", "Exiting because a job execution failed", "Using shell:"),
    *("Conda environments: ignored", "Group jobs: inactive", "Some jobs were triggered by provenance"),
    *("Rules with provenance triggered", "Reasons:\n", "Rules claiming more threads"),
    *("Creating report", "Adding ", "Could not detect mimetype", "Report created"),  # a line for every file of it
)
#: Those with which Snakemake begins to stop because somebody asked for it.
STOPPING = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
#: What it says in the end where jobs failed, which we say better.
FAILED = "At least one job did not complete successfully"
#: How it tells the end of the shell of a job.
ENDED = re.compile(r"returned non-zero exit status (\d+)|died with (?:<Signals\.\w+: |unknown signal )(\d+)")
#: At most so much of a shell command is shown while a run goes on, characters.
COMMAND = 500
#: The spec in a shell command, which is some kilobytes.
SPEC = re.compile(r"""--spec (?:'[^']*'(?:"'"'[^']*')*|\S+)""")


def watch(workflow: Any, made: Callable[..., Screen], reasons: Callable[[Sequence[str]], str]) -> bool:
    """Show a run on a screen of ours, where Snakemake would print.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    made : callable
        A screen, given its stream and whether it is a terminal.
    reasons : callable
        Why jobs run, in words, given their first outputs.

    Returns
    -------
    bool
        Whether it is shown there.
    """
    logger = snakemake.log()
    own = next((one for one in logger.handlers if one.name == NAME), None)
    if own is None:  # another one was asked for (--logger), or the tests'
        return False
    logger.removeHandler(own)
    logger.addHandler(Shown(own, workflow, made, reasons))
    return True


class Shown(logging.Handler):
    """The handler.

    Parameters
    ----------
    own : logging.Handler
        Snakemake's.
    workflow : snakemake.workflow.Workflow
    made, reasons : callable
        As for :func:`watch`.
    """

    def __init__(
        self, own: Any, workflow: Any, made: Callable[..., Screen], reasons: Callable[[Sequence[str]], str]
    ) -> None:
        super().__init__()
        self.name = NAME
        self.own, self.workflow, self.reasons = own, workflow, reasons
        given = snakemake.needed(workflow, "output_settings").output_settings
        self.verbose, self.dry, self.commands = given.verbose, given.dryrun, given.printshellcmds
        self.quiet = {one.name for one in given.quiet or ()}
        terminal = own.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        live, silent = terminal and not self.verbose, bool(self.quiet & {"ALL", "PROGRESS"})
        self.screen = made(own.stream, live=live, quiet=silent)
        if "ALL" in self.quiet:
            self.screen.ending = None
        self.titles: dict[int, str] = {}
        self.codes: dict[int, int] = {}
        self.groups: dict[int, list[str]] = {}
        self.begun = False
        #: By event, what is shown of a record (nothing where that is empty); of others what Snakemake would print.
        self.told: dict[str | None, Callable[[Any], str]] = {
            None: self._message,
            "run_info": self._plan,
            "job_info": self._start,
            "job_started": self._selected,
            "shellcmd": self._command,
            "job_finished": self._finish,
            "job_error": self._failure,
            "group_error": self._group_failure,
            "error": self._error,
            **dict.fromkeys(("resources_info", "progress", "group_info", "workflow_started"), self._nothing),
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Learn from a record, and show it where that helps."""
        try:
            event = getattr(record, "event", None)
            text = self.told.get(event and str(event), self.own.format)(record)
            if self.verbose:
                text = self.own.format(record)
            # However quiet a run is, what went wrong is told.
            told = record.levelno >= logging.ERROR or all(one.filter(record) for one in self.own.filters)
            if told and text and text != "None":
                self.screen.say(self.own.decorate(record, text))
        except BrokenPipeError:
            raise
        except Exception:  # as every handler of logging: what cannot be shown ends no run, and is told there
            self.handleError(record)

    def close(self) -> None:
        """Say the end, after everything else that Snakemake says."""
        self.screen.close()
        super().close()

    # ---------------------------------------------------------------------------------- what is shown of each

    def _nothing(self, record: logging.LogRecord) -> str:
        return ""

    def _message(self, record: logging.LogRecord) -> str:
        text: str = self.own.format(record)
        if text.startswith(STOPPING):
            self.screen.interrupt()
        return "" if text.startswith((*STOPPING, *NEEDLESS)) else text

    def _selected(self, record: logging.LogRecord) -> str:
        return "" if self.screen.live else self.own.format(record)

    def _plan(self, record: Any) -> str:
        """Which jobs will run, and why; a dry run tells its jobs again in the end."""
        if self.begun:
            return ""
        self.begun = True
        parts = [str(record.msg).strip()]
        if not self.dry:
            listed = ", ".join(
                f"{count} {stage}" for stage, count in record.stats.items() if stage not in ("all", "total")
            )
            parts = [f"{record.stats['total'] - record.stats.get('all', 0)} steps: {listed}"]
        dag = snakemake.needed(snakemake.needed(self.workflow, "dag").dag, "needrun_jobs", "dependencies", "jobid")
        if not self.quiet & {"RULES", "REASON", "ALL"}:
            parts.append(self.reasons([str(job.output[0]) for job in dag.needrun_jobs() if job.output]))
            if self.dry and not self.commands:
                parts.append("With -p, every job is listed with its command.")
        if not self.dry:
            settings = snakemake.needed(self.workflow, "local_exec", "resource_settings")
            self.screen.lanes = settings.resource_settings.cores if settings.local_exec else None
            self.screen.begin(_steps(dag))
        return "\n\n".join(filter(None, parts)) + "\n"

    def _start(self, record: Any) -> str:
        title = " ".join(str(record.rule_msg or record.rule_name).split())
        self.titles[record.jobid] = title
        if record.rule_name == "all":  # it only collects
            return ""
        if self.dry:
            return self.own.format(record) if self.commands else ""
        self.screen.started(record.jobid, record.rule_name, title, list(record.log))
        return ""

    def _command(self, record: Any) -> str:
        whole = str(record.shellcmd or "")  # of a run, the file below .snakemake/log has it
        return whole if self.dry else SPEC.sub("--spec ...", whole)[:COMMAND]

    def _finish(self, record: Any) -> str:
        self.screen.finished(record.job_id)
        return ""

    def _error(self, record: logging.LogRecord) -> str:
        text: str = self.own.format(record)
        if "CalledProcessError" in text and (found := ENDED.search(text)):  # which job it was is told next
            self.codes[record.thread or 0] = int(found[1]) if found[1] else -int(found[2])
            return ""
        return "" if FAILED in text and (self.screen.failures or self.screen.interrupted) else text

    def _group_failure(self, record: Any) -> str:
        self.groups |= {one["jobid"]: list(record.aux_logs) for one in record.job_error_info}
        return ""

    def _failure(self, record: Any) -> str:
        of_group = record.jobid in self.groups
        logs = [*record.log, *self.groups.pop(record.jobid, [])]
        stage, why = record.rule_name, str(record.rule_msg or "")
        title, code = self.titles.get(record.jobid, stage), self.codes.pop(record.thread or 0, None)
        self.screen.failed(record.jobid, stage, title, logs, why, code, of_group)
        return ""


def _steps(dag: Any) -> dict[int, Step]:
    """The jobs that run, but for the one that only collects."""
    numbers = {job: dag.jobid(job) for job in dag.needrun_jobs() if job.rule.name != "all"}
    return {
        number: Step(job.rule.name, [numbers[one] for one in dag.dependencies[job] if one in numbers])
        for job, number in numbers.items()
    }
