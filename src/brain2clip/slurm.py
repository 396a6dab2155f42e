"""Additions to Snakemake's SLURM executor: a killed run is taken over, and no run waits for a job that does not exist.

A snakemake that is killed leaves its jobs in the queue, and the executor would submit them again: two jobs would write
the same files. So each submission is noted in ``results/logs/slurm/submitted.jsonl`` with a digest of what the job was
to do. A snakemake that starts asks ``squeue`` which of them still wait or run, and when it comes to such a job,

- the plan is the same: the job in the queue is waited for as if it had just been submitted;
- the plan is another one (a setting was edited meanwhile): the job in the queue is cancelled, and submitted anew.

Jobs that ended meanwhile are known by their files (:mod:`brain2clip.records`).

The executor waits for a job until its state is one of a few words, and so without end for one that the controller has
forgotten, or that never gets there (:func:`gone`): a controller writes down every five seconds what it did, and where
it is killed, the next one goes on from there. A job that is found so in some looks in a row is taken as done where its
files are there and fit, and as failed otherwise, so that Snakemake tries it again.

The plugin lets every task of an array start as the first one and look for the files of that one when it has ended. So
:func:`main` stands before it, which gives each task its own command.

Light to import, and without effect where another executor runs the jobs.
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

# Nothing of this package: tasks of arrays run this file alone (:func:`main`).

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
#: How long a command may take to answer, s.
ANSWER_S = 60.0
#: In so many looks in a row a job must be found not to exist.
LOOKS = 3
#: So long after its last file was written a job has ended, s.
SETTLED_S = 60.0
#: The accounting is asked for jobs of so many days, as the plugin does.
DAYS = 2
#: What a node writes into the log of a job that it ends.
CANCELLED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
#: Of so many bytes at the end of that log.
TAIL = 1 << 16
#: Option with the commands of the tasks of an array but the first, as JSON in base64.
COMMANDS = "--slurm-jobstep-array-execs="
#: Resources that send a job to another cluster, whose queue is not looked at.
CLUSTERS = ("clusters", "cluster", "slurm_cluster")
#: Why a job waits that somebody holds.
HELD = ("JobHeldAdmin", "JobHeldUser")
#: Why one waits that SLURM holds because its node could not start it (begins so, also with underscores).
NOT_STARTED = "launch failed"


class QueueError(RuntimeError):
    """The queue cannot be asked."""


class Listed(NamedTuple):
    """What SLURM says of a job.

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
    alive = [job for job, listed in queue(runs).items() if listed.state not in ENDED]
    return {job: jobs[job] for job in alive if job in jobs}, [job for job in alive if job not in jobs]


def queue(names: Iterable[str], attempts: int = ATTEMPTS) -> dict[str, Listed]:
    """All jobs with these names that the controller remembers, by number; tasks of arrays one by one."""
    # All: also those in hidden partitions.
    command = ["squeue", "--all", "--array", "--noheader", "--states=all", "--format=%i|%T|%S|%r"]
    command += ["--name", ",".join(sorted(names))]
    # What somebody set for his own looks at the queue (partitions, states, format of times) must not hide a job.
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
    """Jobs of a run that have ended, by number, as far as the accounting knows.

    The plugin asks for ``JobIdRaw``, by which all tasks of an array have the state of the last one, and does not know
    ``CANCELLED by 1000`` as the end of a job.

    Raises
    ------
    QueueError
        Where there is accounting and it does not answer.
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
    """Exit status and what was said of a command; one that does not answer has failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr.strip()


def cancel(jobs: Iterable[str], run: str) -> None:
    """Cancel jobs of a run and wait until they are gone: only then others may write their files."""
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
    """One look at the queue.

    Attributes
    ----------
    jobs : dict
        By number, all jobs of the run that the controller remembers or the accounting has seen end.
    complete : bool
        Whether a job that is missing there does not exist: false where the accounting did not answer.
    """

    jobs: dict[str, Listed]
    complete: bool = True

    @classmethod
    def at(cls, run: str, accounting: bool) -> Look:
        """Look at the jobs of a run.

        The controller says what is alive. What it does not remember any more, the accounting may have seen end; that
        the accounting takes a job to be alive means nothing, because it is never told of those that are forgotten.
        """
        listed, ended, complete = queue([run], attempts=1), {}, True
        if accounting:
            try:
                ended = recorded(run)
            except QueueError:
                complete = False
        # What ends is done when the accounting says so; a node may take long to clean up behind it.
        known = {job: one for job, one in listed.items() if one.state != "COMPLETING" or job not in ended}
        return cls({**ended, **known}, complete)


def gone(listed: Listed | None, log: Path | None, finished: Callable[[], bool]) -> str | None:
    """Why a job that is waited for does not exist or will never end by itself, or None where it goes on.

    Parameters
    ----------
    listed : Listed or None
        What SLURM says of it, None where it does not know it.
    log : Path or None
        The file that SLURM writes.
    finished : callable
        Whether all its files have been there for a while and fit.
    """
    if listed is None:
        return "SLURM no longer lists it; the controller was restarted without it, or has no record of how it ended"
    if listed.state in ENDED:  # the plugin takes all other ends for what they are
        return f"it ended as {listed.state}, and SLURM does not start it again"
    if listed.state == "PENDING" and listed.reason.replace("_", " ").startswith(NOT_STARTED):
        return f"its node could not start it, and SLURM holds it ({listed.reason})"
    if listed.state != "RUNNING":
        return None
    # A controller that was restarted takes what ended in its last seconds to be running, until it next asks the node
    # what runs there (33 minutes where nothing else is configured). Then it starts the job again.
    if (cancelled := last_words(log)) and cancelled >= listed.start:
        return f"SLURM lists it as running, but it was cancelled at {cancelled}"
    return "SLURM lists it as running, but its files have existed for a while" if finished() else None


def last_words(log: Path | None) -> str | None:
    """When a job was cancelled, by its log; after a requeue that may be long before it was started again."""
    try:
        with open(log or os.devnull, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            found = CANCELLED.findall(file.read().decode(errors="replace"))
    except OSError:
        return None
    return found[-1] if found else None


class Awaited:
    """The jobs of a run by their numbers in the queue: which are waited for, which are in doubt, which have ended."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        """The job that a number was given to last."""
        self.doubts: Counter[str] = Counter()
        """In how many looks in a row a job was found gone."""
        self.over: set[str] = set()
        """Numbers of jobs that have ended for us."""
        self.back: set[str] = set()
        """Those of them that were alive in the last look."""
        self.held: set[str] = set()
        """Jobs that were said to be held."""

    def submitted(self, number: str, job: Any) -> None:
        """Wait for a job under a number, which may be that of another one that the controller has forgotten."""
        self.given[number] = job
        self.doubts.pop(number, None)
        for known in (self.over, self.back, self.held):
            known.discard(number)

    def ended(self, number: str | None, job: Any) -> None:
        """Wait no longer; a job whose submission failed has no number."""
        if number is not None and not self.superseded(number, job):
            self.over.add(number)

    def superseded(self, number: str, job: Any) -> bool:
        """Whether a number is that of another job by now: a controller gave it a second time after a restart."""
        return self.given[number] is not job

    def confirmed(self, number: str, why: str | None) -> bool:
        """Count one more look at a job, and why it was found gone; whether that is enough."""
        if why is None:
            self.doubts.pop(number, None)
            return False
        self.doubts[number] += 1
        return self.doubts[number] >= LOOKS

    def newly_held(self, number: str, listed: Listed | None) -> str | None:
        """Why a job waits for somebody to let it go, which is said once."""
        if listed is None or listed.state != "PENDING" or listed.reason not in HELD:
            self.held.discard(number)
            return None
        known = number in self.held
        self.held.add(number)
        return None if known else listed.reason

    def returned(self, look: Look) -> list[str]:
        """Jobs that have ended for us and were alive in this look and the one before.

        A controller that was restarted from an older state takes them to be running, or starts them again. Nobody
        waits for them, and another job does their work.
        """
        self.over.intersection_update(look.jobs)  # a number that is not known any more may be given again
        alive = {job for job, listed in look.jobs.items() if listed.state not in {*ENDED, "COMPLETING"}}
        before, self.back = self.back, alive & self.over
        return sorted(before & self.back)


def fit(job: Any) -> bool:
    """Whether all files of a job, or of the jobs of a group, are there and are what is planned."""
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
    """Whether a job whose last file is there must have ended since, and the files fit."""
    try:
        last = max(Path(path).stat().st_mtime for one in members(job) for path in one.output)
    except (OSError, ValueError):
        return False
    return time.time() - last > SETTLED_S and fit(job)


def named(job: Any) -> str:
    """A job as a log names it."""
    first, *others = [str(path) for one in members(job) for path in one.output]
    return f"{job.name}: {first}" + (f" and {len(others)} more files" if others else "")


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


# ------------------------------------------------------------------------------------------------- arrays


def main(words: list[str]) -> None:
    """Become the command of the task of an array that this process runs in.

    Parameters
    ----------
    words : list of str
        The command of the first task, and last the plugin's option with those of the others: each compressed, in
        hexadecimal digits, by its number.
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
