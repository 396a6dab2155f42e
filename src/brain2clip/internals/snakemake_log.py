"""Output of Snakemake in our own words: our handler replaces Snakemake's handler for the terminal.

A logger plugin would have to be named on every command line, and Snakemake searches for it only among installed
packages. So the handler is replaced when the plan is made, on the logger that Snakemake has set up. The output is then
the same however Snakemake was started. Its log file below ``.snakemake/log`` still has everything that Snakemake says.

We use the name of the handler, its filter, and the events of records with their fields (an interface for logger
plugins). A few messages have no event and are recognised by their beginning; if such a message is reworded in a later
version, it is shown as it is. ``tests/unit/test_internals_snakemake.py`` and ``tests/workflow/test_terminal.py`` test
what is assumed about Snakemake.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from brain2clip.internals import snakemake
from brain2clip.screen import Screen, Step

#: Name of Snakemake's handler for the terminal.
NAME = "DefaultStreamHandler"
#: Beginnings of messages that are not shown.
NEEDLESS = (
    *("Select jobs to execute", "Shutting down, this", "Exiting because a job execution failed", "Using shell:"),
    *("Conda environments: ignored", "Group jobs: inactive", "Some jobs were triggered by provenance"),
    *("Rules with provenance triggered", "Reasons:\n", "Rules claiming more threads"),
    *("Creating report", "Adding ", "Could not detect mimetype", "Report created"),  # a line for every file of it
)
#: Messages of Snakemake when it stops on request.
STOPPING = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
#: Snakemake's last message if jobs failed; our own summary replaces it.
FAILED = "At least one job did not complete successfully"
#: Message about the end of a job's shell command.
ENDED = re.compile(r"returned non-zero exit status (\d+)|died with (?:<Signals\.\w+: |unknown signal )(\d+)")
#: Largest length of a shell command that is shown during a run, characters.
COMMAND = 500
#: The spec in a shell command; it has some kilobytes.
SPEC = re.compile(r"""--spec (?:'[^']*'(?:"'"'[^']*')*|\S+)""")


def watch(workflow: Any, made: Callable[..., Screen], reasons: Callable[[Sequence[str]], str]) -> bool:
    """Show a run on our own screen instead of Snakemake's output.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    made : callable
        Makes a screen from its stream, and from whether it is a terminal (`live`) and whether it is `quiet`.
    reasons : callable
        From the first outputs of jobs to a text that says why the jobs run.

    Returns
    -------
    bool
        Whether our screen is used.
    """
    logger = snakemake.log()
    own = next((one for one in logger.handlers if one.name == NAME), None)
    if own is None:  # another handler is in use (--logger, or that of the tests)
        return False
    logger.removeHandler(own)
    logger.addHandler(Shown(own, workflow, made, reasons))
    return True


class Shown(logging.Handler):
    """The handler that shows Snakemake's records on our screen.

    Parameters
    ----------
    own : logging.Handler
        Snakemake's handler, which this one replaces.
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
        #: For each event, a function from a record to the text that is shown (empty: nothing). Records with another
        #: event are shown as Snakemake would print them.
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
        """Update the screen from a record, and show a text if there is one."""
        try:
            event = getattr(record, "event", None)
            text = self.told.get(event and str(event), self.own.format)(record)
            if self.verbose:
                text = self.own.format(record)
            # Errors are shown even if the run is quiet.
            told = record.levelno >= logging.ERROR or all(one.filter(record) for one in self.own.filters)
            if told and text and text != "None":
                self.screen.say(self.own.decorate(record, text))
        except BrokenPipeError:
            raise
        except Exception:  # as in every logging handler: an error in the output is reported but does not end the run
            self.handleError(record)

    def close(self) -> None:
        """Show the summary at the end, after everything that Snakemake says."""
        self.screen.close()
        super().close()

    # ----------------------------------------------------------------------------------- text for each event

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
        """Say which jobs will run, and why. Only once: a dry run lists its jobs again at the end."""
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
        if record.rule_name == "all":  # it computes nothing
            return ""
        if self.dry:
            return self.own.format(record) if self.commands else ""
        self.screen.started(record.jobid, record.rule_name, title, list(record.log))
        return ""

    def _command(self, record: Any) -> str:
        whole = str(record.shellcmd or "")  # in a run, the file below .snakemake/log has the whole command
        return whole if self.dry else SPEC.sub("--spec ...", whole)[:COMMAND]

    def _finish(self, record: Any) -> str:
        self.screen.finished(record.job_id)
        return ""

    def _error(self, record: logging.LogRecord) -> str:
        text: str = self.own.format(record)
        if "CalledProcessError" in text and (found := ENDED.search(text)):  # the next record says which job it was
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
    """The jobs that run, except rule ``all``."""
    numbers = {job: dag.jobid(job) for job in dag.needrun_jobs() if job.rule.name != "all"}
    return {
        number: Step(job.rule.name, [numbers[one] for one in dag.dependencies[job] if one in numbers])
        for job, number in numbers.items()
    }
