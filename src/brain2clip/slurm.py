"""Additions to Snakemake's SLURM executor: a killed run is continued, and no run waits for a job that does not exist.

If a snakemake process is killed, its jobs stay in the queue. The next run would submit them again, and two jobs would
write the same files. So each submission is noted in ``results/logs/slurm/submitted.jsonl``, with a digest of the job's
plan. When a run starts, it asks ``squeue`` which of these jobs still wait or run. Before it submits such a job, it
compares the plans:

- if the plan is the same, the run waits for the job in the queue as if it had just been submitted;
- if the plan differs (a setting was edited meanwhile), the job in the queue is cancelled and submitted anew.

Jobs that ended meanwhile are recognised by their files (:mod:`brain2clip.records`).

The executor waits for a job until SLURM reports one of a few final states. It would wait for ever for a job that the
SLURM controller has forgotten, or that never reaches a final state (:func:`gone`). This can happen because the
controller saves its state every five seconds: if it is killed, it restarts from the saved state. If a job is found like
this in several checks in a row, it counts as done if its files exist and fit the plan. Otherwise it counts as failed,
and Snakemake tries it again.

With arrays, the plugin starts every task with the command of the first task, and checks for the files of the first task
at the end. So :func:`main` is called first and gives each task its own command.

This module imports quickly, and does nothing if another executor runs the jobs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

# Import nothing of this package at the top: tasks of arrays run this file alone (:func:`main`).

#: States of a job that will not run any more.
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
    | {"REVOKED", "TIMEOUT"}
)
#: How often the controller is asked before we give up, and the pause between two attempts, s.
ATTEMPTS, PAUSE_S = 10, 6.0
#: The longest pause between two checks of the queue, in units of the first (`slurm-init-seconds-before-status-checks`).
#: The plugin lets pauses grow to three minutes; that is long for a study, which has six steps one after the other.
LONGEST_PAUSE = 3
#: How long a cancelled job may take to leave the queue, s.
GONE_S = 180.0
#: How long a command may take to answer, s.
ANSWER_S = 60.0
#: Number of checks in a row that must find that a job does not exist before we believe it.
LOOKS = 3
#: If the last file of a job is older than this, the job must have ended, s.
SETTLED_S = 60.0
#: The accounting is asked for the jobs of the last days, as the plugin does; this is the number of days.
DAYS = 2
#: What a node writes into the log of a job that it cancels.
CANCELLED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
#: Number of bytes at the end of that log that are searched.
TAIL = 1 << 16
#: Option with the commands of all tasks of an array except the first, as JSON in base64.
COMMANDS = "--slurm-jobstep-array-execs="
#: Resources that send a job to another cluster, whose queue is not checked.
CLUSTERS = ("clusters", "cluster", "slurm_cluster")
#: Reasons of a waiting job that a user or an administrator holds.
HELD = ("JobHeldAdmin", "JobHeldUser")
#: Beginning of the reason of a job that SLURM holds because its node could not start it (also with underscores).
NOT_STARTED = "launch failed"


class QueueError(RuntimeError):
    """The queue cannot be asked."""


class Listed(NamedTuple):
    """What SLURM says about a job.

    Attributes
    ----------
    state : str
        A word such as ``RUNNING``.
    start : str
        When it started or may start, ``2026-01-31T12:00:00``.
    reason : str
        Why it waits.
    """

    state: str
    start: str = ""
    reason: str = ""


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
        From each output to the digest of its plan (:func:`plan`).
    log : str
        Log file that SLURM writes.
    """

    run: str
    job: str
    plans: dict[str, str]
    log: str


@dataclass
class Journal:
    """File with a line of JSON for each submission to the queue."""

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
        """Names of all runs in the file, and all jobs by their number in the queue."""
        runs: set[str] = set()
        jobs: dict[str, Submitted] = {}
        if not self.path.exists():
            return runs, jobs
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
            except ValueError:  # the run was killed while it wrote its last line
                continue
            runs.add(fields["run"])
            if "job" in fields:
                jobs[fields["job"]] = Submitted(**fields)
        return runs, jobs

    def forget(self) -> None:
        """Delete the file, when no job of earlier runs is left."""
        self.path.unlink(missing_ok=True)


def left_over(journal: Journal) -> tuple[dict[str, Submitted], list[str]]:
    """Jobs of earlier runs that still wait or run, by their number; and the numbers of such jobs without a note."""
    runs, jobs = journal.submissions()
    if not runs:
        return {}, []
    alive = [job for job, listed in queue(runs).items() if listed.state not in ENDED]
    return {job: jobs[job] for job in alive if job in jobs}, [job for job in alive if job not in jobs]


def queue(names: Iterable[str], attempts: int = ATTEMPTS) -> dict[str, Listed]:
    """All jobs with these names that the controller remembers, by number; tasks of arrays one by one."""
    # --all: also jobs in hidden partitions.
    command = ["squeue", "--all", "--array", "--noheader", "--states=all", "--format=%i|%T|%S|%r"]
    command += ["--name", ",".join(sorted(names))]
    # Environment variables with a user's own defaults for squeue (partitions, states, format) must not hide a job.
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SLURM_TIME_FORMAT"))}
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE_S)
        code, said, error = _asked(command, plain)
        if code == 0:
            rows = (line.strip().split("|", 3) for line in said.splitlines())
            return {job: Listed(*rest) for job, *rest in rows if job}
    raise QueueError(
        f"squeue does not say which jobs of an earlier run are still in the queue ({error}); "
        "without that, jobs could run twice. Start again when it answers."
    )


def recorded(run: str) -> dict[str, Listed]:
    """Jobs of a run that have ended according to the accounting, by number.

    The plugin's own query is not used: it asks for ``JobIdRaw``, which gives all tasks of an array the state of the
    last one, and it does not recognise ``CANCELLED by 1000`` as the end of a job.

    Raises
    ------
    QueueError
        If the accounting is enabled and does not answer.
    """
    since = datetime.now() - timedelta(days=DAYS)
    command = ["sacct", "--allocations", "--parsable2", "--noheader", "--clusters=all", "--format=JobID,State"]
    command += [f"--starttime={since:%Y-%m-%dT%H:%M}", "--endtime=now", "--name", run]
    code, said, error = _asked(command, dict(os.environ))
    if code and "disabled" not in error:
        raise QueueError(f"sacct: {error}")
    rows = (line.partition("|") for line in said.splitlines())
    words = ((job, state.split()) for job, _, state in rows)
    return {job: Listed(state[0]) for job, state in words if state and state[0] in ENDED}


def _asked(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a command: exit status, output and errors. A command that does not answer has failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr.strip()


def cancel(jobs: Iterable[str], run: str) -> None:
    """Cancel jobs of a run and wait until they are gone; only then may other jobs write their files."""
    jobs = set(jobs)
    subprocess.run(["scancel", *sorted(jobs)], capture_output=True, text=True)
    end = time.monotonic() + GONE_S
    while jobs & {job for job, listed in queue([run]).items() if listed.state not in ENDED}:
        if time.monotonic() > end:
            raise QueueError(
                f"SLURM jobs {' '.join(sorted(jobs))} were cancelled, but are still in the queue; see squeue"
            )
        time.sleep(1)


# ------------------------------------------------------------------------------- jobs that are waited for


@dataclass(frozen=True)
class Look:
    """Result of one check of the queue.

    Attributes
    ----------
    jobs : dict
        By number, all jobs of the run that the controller lists, or that have ended according to the accounting.
    complete : bool
        Whether a job that is not in `jobs` does not exist. False if the accounting did not answer.
    """

    jobs: dict[str, Listed]
    complete: bool = True

    @classmethod
    def at(cls, run: str, accounting: bool) -> Look:
        """Check the jobs of a run.

        The controller says which jobs wait or run. For jobs that it has forgotten, the accounting may know how they
        ended. If the accounting says that a job is alive, this means nothing, because it does not learn about
        forgotten jobs.
        """
        listed, ended, complete = queue([run], attempts=1), {}, True
        if accounting:
            try:
                ended = recorded(run)
            except QueueError:
                complete = False
        # A job that is COMPLETING counts as ended if the accounting says so: its node may take long to clean up.
        known = {job: one for job, one in listed.items() if one.state != "COMPLETING" or job not in ended}
        return cls({**ended, **known}, complete)


def gone(listed: Listed | None, log: Path | None, finished: Callable[[], bool]) -> str | None:
    """Say why a job does not exist or will never end by itself; None if it goes on normally.

    Parameters
    ----------
    listed : Listed or None
        What SLURM says about the job; None if SLURM does not know it.
    log : Path or None
        The log file that SLURM writes.
    finished : callable
        Returns whether all files of the job have existed for a while and fit.
    """
    if listed is None:
        return "SLURM no longer lists it; the controller was restarted without it, or has no record of how it ended"
    if listed.state in ENDED:  # the plugin itself handles all other final states
        return f"it ended as {listed.state}, and SLURM does not start it again"
    if listed.state == "PENDING" and listed.reason.replace("_", " ").startswith(NOT_STARTED):
        return f"its node could not start it, and SLURM holds it ({listed.reason})"
    if listed.state != "RUNNING":
        return None
    # After a restart, the controller may list jobs as running that ended just before it was killed, until it next asks
    # the node which jobs run (by default after 33 minutes). Then it starts such a job again.
    if (cancelled := last_words(log)) and cancelled >= listed.start:
        return f"SLURM lists it as running, but it was cancelled at {cancelled}"
    return "SLURM lists it as running, but its files have existed for a while" if finished() else None


def last_words(log: Path | None) -> str | None:
    """Time at which a job was cancelled, by its log. After a requeue it may be long before the job's present start."""
    try:
        with open(log or os.devnull, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            found = CANCELLED.findall(file.read().decode(errors="replace"))
    except OSError:
        return None
    return found[-1] if found else None


class Awaited:
    """The jobs of a run by their numbers in the queue: awaited ones, doubtful ones, and ended ones."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        """For each number, the job that has it now (SLURM may reuse numbers)."""
        self.doubts: Counter[str] = Counter()
        """For each number, in how many checks in a row the job was found gone."""
        self.over: set[str] = set()
        """Numbers of jobs that we no longer wait for."""
        self.back: set[str] = set()
        """Numbers in `over` whose jobs were alive in the last check."""
        self.held: set[str] = set()
        """Numbers of held jobs that have been reported."""

    def submitted(self, number: str, job: Any) -> None:
        """Wait for a job under this number; a job that the controller has forgotten may have had the same number."""
        self.given[number] = job
        self.doubts.pop(number, None)
        for known in (self.over, self.back, self.held):
            known.discard(number)

    def ended(self, number: str | None, job: Any) -> None:
        """Stop waiting for a job; it has no number if its submission failed."""
        if number is not None and not self.superseded(number, job):
            self.over.add(number)

    def superseded(self, number: str, job: Any) -> bool:
        """Whether another job has this number now: after a restart, the controller may give a number again."""
        return self.given[number] is not job

    def confirmed(self, number: str, why: str | None) -> bool:
        """Count one more check of a job, with the reason why it is gone (None: it is not); whether that is enough."""
        if why is None:
            self.doubts.pop(number, None)
            return False
        self.doubts[number] += 1
        return self.doubts[number] >= LOOKS

    def newly_held(self, number: str, listed: Listed | None) -> str | None:
        """Reason why a job is held and waits to be released; None if it is not held, or was reported before."""
        if listed is None or listed.state != "PENDING" or listed.reason not in HELD:
            self.held.discard(number)
            return None
        known = number in self.held
        self.held.add(number)
        return None if known else listed.reason

    def returned(self, look: Look) -> list[str]:
        """Numbers of jobs that we no longer wait for, but that were alive in this check and in the one before.

        A controller that was restarted from an older state lists such jobs as running, or starts them again. Nobody
        waits for them, and another job may do their work.
        """
        self.over.intersection_update(look.jobs)  # SLURM may reuse a number that it has forgotten
        alive = {job for job, listed in look.jobs.items() if listed.state not in {*ENDED, "COMPLETING"}}
        before, self.back = self.back, alive & self.over
        return sorted(before & self.back)


def fit(job: Any) -> bool:
    """Whether all files of a job, or of the jobs of a group, exist and fit the plan."""
    from brain2clip import artefact, records

    for one in members(job):
        spec = one.params.get("spec")
        if spec is None or not all(Path(path).is_file() for path in one.output):
            return False
        try:
            if records.difference(one.output, one.input, json.loads(spec)) is not None:
                return False
        except (artefact.ArtefactError, OSError):
            return False
    return True


def settled(job: Any) -> bool:
    """Whether the last file of a job was written so long ago that the job must have ended, and all its files fit."""
    try:
        last = max(Path(path).stat().st_mtime for one in members(job) for path in one.output)
    except (OSError, ValueError):
        return False
    return time.time() - last > SETTLED_S and fit(job)


def named(job: Any) -> str:
    """Description of a job for messages: its rule and first output."""
    first, *others = [str(path) for one in members(job) for path in one.output]
    return f"{job.name}: {first}" + (f" and {len(others)} more files" if others else "")


def plan(job: Any) -> dict[str, str]:
    """Map each output of a job, or of the jobs of a group, to a digest of its rule and spec."""
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
    """Jobs that an earlier run left in the queue and that this run has not used or cancelled yet."""

    def __init__(self, jobs: Mapping[str, Submitted]) -> None:
        self.jobs = dict(jobs)

    def take(self, plans: Mapping[str, str]) -> tuple[Submitted | None, list[Submitted]]:
        """Find the jobs in the queue that write the same outputs, and remove them from this collection.

        Parameters
        ----------
        plans : dict
            Of the job to submit, see :func:`plan`.

        Returns
        -------
        Submitted or None
            The job in the queue that has the same plan.
        list of Submitted
            If there is none: jobs in the queue that must be cancelled first.
        """
        found = [one for one in self.jobs.values() if one.plans.keys() & plans.keys()]
        for one in found:
            del self.jobs[one.job]
        if len(found) == 1 and plans.items() <= found[0].plans.items():
            return found[0], []
        return None, found


def alike(jobs: Iterable[Any]) -> Iterator[list[Any]]:
    """Split jobs into batches with the same rule and resources: an array requests the resources of its first job.

    Otherwise a second attempt, which needs more memory, could be submitted with the memory of a first attempt.
    """

    def asked(job: Any) -> tuple[str, str]:
        return job.name, json.dumps({name: str(value) for name, value in job.resources.items()}, sort_keys=True)

    for _, batch in groupby(sorted(jobs, key=asked), key=asked):
        yield list(batch)


# ------------------------------------------------------------------------------------------------- arrays


def main(words: list[str]) -> None:
    """Replace this process by the command of its task of the array.

    Parameters
    ----------
    words : list of str
        The command of the first task, followed by the plugin's option with the commands of the other tasks: by number
        of the task, each compressed and in hexadecimal digits.
    """
    *first, last = words
    if not last.startswith(COMMANDS):
        os.execvp(words[0], words)
    others = json.loads(base64.b64decode(last.removeprefix(COMMANDS)))
    own = others.get(os.environ["SLURM_ARRAY_TASK_ID"])
    if own is None:
        os.execvp(first[0], first)
    os.execv("/bin/sh", ["sh", "-c", zlib.decompress(bytes.fromhex(own)).decode()])


if __name__ == "__main__":
    main(sys.argv[1:])
