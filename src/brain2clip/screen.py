"""The output of a run: a line for each running job, a line for the whole run, and at the end the reasons of failures.

On a terminal the lines are redrawn in place; in a file or a pipe they are printed now and then. This module does not
know Snakemake; :mod:`brain2clip.internals.snakemake_log` calls it. The progress of a job is read from its log
(:func:`brain2clip.stage.progress`), which is readable on every machine of a run.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple, TextIO

#: How often a terminal is redrawn, s.
REDRAWN_S = 1.0
#: Without a terminal, running jobs are listed: time before the first list (s), factor by which the time between lists
#: grows, and the longest time between lists (s).
LISTED_S, SELDOM, LONGEST_S = 30.0, 1.5, 600.0
#: Largest number of running jobs that are listed.
RUNNING = 12
#: Largest number of lines on all failures at the end, and on each failure.
LINES, LINES_OF_ONE = 10, 6
#: Size of the end of a log that is read, bytes.
TAIL = 1 << 14
#: A log belongs to an earlier attempt if it was written longer than this before the job started (clocks differ), s.
EARLIER_S = 60.0
#: Exit codes of jobs that were ended by Ctrl-C or SIGTERM.
STOPPED = frozenset({130, 143, -2, -15})
#: Note beside the path of the report.
UNPACK = " (unpack it and open report.html in a browser)"
#: Line of :func:`brain2clip.stage.main` in a log before the message of an expected error.
_TOLD = re.compile(r"^\d\d:\d\d:\d\d \w+: stopped\n", re.MULTILINE)
_LINE = re.compile(r"\d\d:\d\d:\d\d ")
_SHARE = re.compile(r"^\d\d:\d\d:\d\d (.*?):? (\d+(?:\.\d+)?) of (\d+(?:\.\d+)?)\b(?:.*?, (\d+) s left)?", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):\n"


# ------------------------------------------------------------------------------------------------- logs


def tail(path: Path | str, since: float = 0.0) -> str | None:
    """The end of a log; None if there is no log, or only that of an earlier attempt."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mtime < since - EARLIER_S:
                return None
            file.seek(max(0, found.st_size - TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return None


def sentence(log: str) -> str:
    """Reason of a failure in the log of a stage: its message, or the last error of Python; empty if there is none."""
    if told := list(_TOLD.finditer(log)):
        return log[told[-1].end() :].strip()
    lines = log.rpartition(_TRACEBACK)[2].splitlines() if _TRACEBACK in log else []
    last = max((number for number, line in enumerate(lines) if line.startswith(" ")), default=-1)
    return "\n".join(lines[last + 1 :]).strip()


def last_words(log: str) -> str:
    """The last lines of a log that the stage did not write, such as an error of the shell."""
    return "\n".join([line for line in log.strip().splitlines() if not _LINE.match(line)][-3:])


def share(log: str) -> tuple[str, float, float | None] | None:
    """Progress of a job by its log: what is counted, the share that is done, and the time left (s) at that time."""
    found = list(_SHARE.finditer(log))
    if not found:
        return None
    what, count, total, left = found[-1].groups()
    if not float(total) or float(count) >= float(total):  # this part is complete, but the job is not
        return None
    return f"{what} {count} of {total}", float(count) / float(total), None if left is None else float(left)


def duration(seconds: float) -> str:
    """A time as a number with its unit, such as ``5 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def places(results: Path, shown: Path | str) -> str:
    """A line for each of page, tables, figures, report and logs that exists, with its path.

    Parameters
    ----------
    results : path
        Folder of the results.
    shown : path
        The same folder as it is printed.
    """
    names = {"Page": "page/page.html", "Tables": "tables", "Figures": "figures", "Report": "report.zip", "Logs": "logs"}
    there = {word: name for word, name in names.items() if (results / name).exists()}
    return "\n".join(
        f"{word + ':':9}{shown}/{name}{UNPACK if word == 'Report' else ''}" for word, name in there.items()
    )


# ------------------------------------------------------------------------------------------------- jobs


class Step(NamedTuple):
    """A job of a run: its stage, and the numbers of the jobs that must run before it."""

    stage: str
    after: Collection[int] = ()


class State(NamedTuple):
    """Progress of a job: the share that is done as text, the time left (s), and what is counted."""

    share: str = ""
    left: float | None = None
    counted: str = ""


@dataclass
class Running:
    """A job that was started or sent to a cluster.

    Attributes
    ----------
    stage, title : str
    logs : sequence of str
    since : float
        Time of the start by the clock of this machine, s since 1970.
    """

    stage: str
    title: str
    logs: Sequence[str]
    since: float
    read: tuple[str, float] = ("", 0.0)
    """The last progress in the log, and the time when it was first seen."""

    def state(self, now: float, mean: float | None) -> State | None:
        """Progress of the job; None if it has no log yet, for example because it waits in the queue of a cluster."""
        log = tail(self.logs[0], self.since) if self.logs else ""
        if log is None:
            return None
        found, passed = share(log), now - self.since
        if found is not None:
            what, part, left = found
            if what != self.read[0]:
                self.read = (what, now)
            if left is None:
                left = mean and mean * (1 - part)
            return State(f"{part:.0%}", None if left is None else max(0.0, left - (now - self.read[1])), what)
        if mean:
            return State(f"~{min(0.99, passed / mean):.0%}", max(0.0, mean - passed))
        return State()


@dataclass
class Failure:
    """A job that failed.

    Attributes
    ----------
    stage, title : str
    logs : sequence of str
    said : str
        The reason, if it is known.
    stopped : bool
        Whether it was stopped on request.
    doubtful : bool
        Whether another job of its group may be the one that failed.
    """

    stage: str
    title: str
    logs: Sequence[str]
    said: str
    stopped: bool = False
    doubtful: bool = False


@dataclass
class Screen:
    """The lines of a run on a stream.

    Parameters
    ----------
    stream : text stream
    live : bool
        Whether the stream is a terminal on which lines can be redrawn.
    quiet : bool
        Whether only the summary at the end is shown.
    costs : callable
        Returns the known mean times of jobs by stage, s; called when the run begins.
    lanes : int, optional
        Number of jobs that run at the same time; None: the number of jobs that are running now.
    ending : callable, optional
        Returns the text after the total at the end of a successful run; None: no summary of a successful run.
    now : callable
        Returns the time, s since 1970.
    """

    stream: TextIO
    live: bool = False
    quiet: bool = False
    costs: Callable[[], Mapping[str, float]] = dict
    lanes: int | None = None
    ending: Callable[[], str] | None = str
    now: Callable[[], float] = time.time

    steps: dict[int, Step] = field(default_factory=dict)
    """All jobs of the run by their numbers, in an order in which each comes after those that it waits for."""
    running: dict[int, Running] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    """Jobs that are done."""
    interrupted: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._drawn = 0
        self._means: dict[str, float] = {}
        self._taken: dict[str, list[float]] = {}
        self._ending: set[int] = set()
        """Jobs that were running when the run was asked to stop, and have not been done since."""

    # --------------------------------------------------------------------------------------- events

    def begin(self, steps: Mapping[int, Step]) -> None:
        """Note that a run of these jobs begins."""
        with self._above():
            order = TopologicalSorter({number: step.after for number, step in steps.items()}).static_order()
            self.steps = {number: steps[number] for number in order if number in steps}
            self._means = dict(self.costs())
        threading.Thread(target=self._watch, name="screen", daemon=True).start()

    def say(self, text: str) -> None:
        """Print a text above the lines of the running jobs."""
        with self._above():
            self._write(f"{text}\n")

    def started(self, number: int, stage: str, title: str, logs: Sequence[str]) -> None:
        """Note that a job was started, or sent to a cluster."""
        with self._above():
            self.running[number] = Running(stage, title, logs, self.now())
            self.failures.pop(number, None)  # another attempt
            if not self.live and not self.quiet:
                self._write(f"Started: {title}\n")

    def finished(self, number: int) -> None:
        """Note that a job is done."""
        with self._above():
            job = self.running.pop(number, None)
            if job is None:
                return
            self.ended.add(number)
            self._ending.discard(number)
            passed = self.now() - job.since
            self._taken.setdefault(job.stage, []).append(passed)
            if not self.live and not self.quiet:
                self._write(f"Done in {duration(passed)}: {job.title}\n{self.total()}\n")

    def failed(
        self,
        number: int,
        stage: str,
        title: str,
        logs: Sequence[str],
        why: str = "",
        code: int | None = None,
        group: bool = False,
    ) -> None:
        """Note that a job failed.

        Parameters
        ----------
        number : int
        stage, title : str
        logs : sequence of str
            The job's own log first.
        why : str
            Reason that is used if the logs give none.
        code : int, optional
            Exit code; negative: number of the signal that ended the job.
        group : bool
            Whether it is one of several jobs that ran together in one job of a cluster.
        """
        with self._above():
            job = self.running.pop(number, None)
            since = 0.0 if job is None else job.since
            log = (tail(logs[0], since) if logs else None) or ""
            own = sentence(log)
            stopped = self.interrupted or code in STOPPED
            others = "\n".join(
                line for path in logs[1:] for line in (tail(path, since) or "").splitlines() if "error:" in line
            )
            said = own or others or why or last_words(log) or _by_code(code)
            self.failures[number] = Failure(stage, title, logs, said, stopped, group and not own)
            if not stopped and not self.quiet and not self.failures[number].doubtful:
                self._write(f"Failed: {title}\n")

    def interrupt(self) -> None:
        """Note that the run was asked to stop."""
        with self._above():
            if not self.interrupted:
                self.interrupted, self._ending = True, set(self.running)
                self._write("Stopping: the running jobs are being stopped.\n")

    def close(self) -> None:
        """End the output of a run with a summary; nothing is printed after it."""
        self._over.set()
        with self._above():
            if told := self.end():
                self._write(f"\n{told}\n")
            self.running.clear()
            self.steps.clear()

    # -------------------------------------------------------------------------------------- what is shown

    @property
    def done(self) -> int:
        """Number of jobs that are done."""
        return len(self.ended)

    def total(self) -> str:
        """All jobs in one line."""
        return self._total(self._states())

    def lines(self, most: int = RUNNING) -> list[str]:
        """A line for each running job (at most `most`), and the total."""
        now, states = self.now(), self._states()
        shown = []
        for job, state in states:
            if state is not None:
                left = f"{duration(state.left)} left" if state.left else duration(now - job.since)
                counted = f"  [{state.counted}]" if state.counted else ""
                shown.append(f"{state.share:>5}  {left:>11}  {job.title}{counted}")
        waiting = len(states) - len(shown)
        more = [f"       and {len(shown) - most} more running"] if shown[most:] else []
        more += [f"       {waiting} waiting for their turn"] if waiting else []
        return [*shown[:most], *more, self._total(states)]

    def _total(self, states: list[tuple[Running, State | None]]) -> str:
        parts = [f"{self.done} of {len(self.steps)} steps ({self._percent()}) done"]
        running = sum(state is not None for _, state in states)
        parts += [f"{running} running"] if running else []
        failed = sum(not one.stopped for one in self.failures.values())
        parts += [f"{failed} failed"] if failed else []
        left = self._left(states)
        parts += [left] if left else []
        return ", ".join(parts)

    def _states(self) -> list[tuple[Running, State | None]]:
        """The jobs that were started, with their progress; on one machine, no started job waits in a queue."""
        now, instead = self.now(), State() if self.lanes else None
        return [(job, job.state(now, self._mean(job.stage)) or instead) for job in self.running.values()]

    def end(self) -> str:
        """Summary at the end of the run."""
        if not self.steps:
            return ""
        total, failures = len(self.steps), list(self.failures.values())
        if any(not one.doubtful for one in failures):  # show only the jobs of a group that give a reason
            failures = [one for one in failures if not one.doubtful]
        wrong = [one for one in failures if not (self.interrupted and one.stopped)]
        told = [self._of_failures(wrong, total)] if wrong else []
        if self.interrupted:
            before = sum(one.stopped and number not in self._ending for number, one in self.failures.items())
            running = len(self._ending) + before
            told.append(
                f"Stopped on request: {self.done} of {total} steps done and kept; {running} running stopped. The "
                "same command continues from here."
            )
        elif not wrong and self.done == total and self.ending is not None:
            told += [self._total([]), self.ending()]
        return "\n\n".join(filter(None, told))

    def _of_failures(self, wrong: list[Failure], total: int) -> str:
        """The counts, then each different reason once, with its jobs."""
        left = total - self.done - len(wrong)
        waiting = f", {left} did not run" if left and not self.interrupted else ""
        lines = [f"{len(wrong)} of {total} steps failed, {self.done} done{waiting}:"]
        by_sentence: dict[str, list[Failure]] = {}
        for one in wrong:
            by_sentence.setdefault(one.said, []).append(one)
        told = 0
        for said, jobs in by_sentence.items():
            words = said.splitlines()[:LINES_OF_ONE] or ["the reason is unknown; see the log"]
            if told and len(lines) + 1 + len(words) > LINES:
                break
            others = f" and {len(jobs) - 1} more" if jobs[1:] else ""
            log = f" (log: {jobs[0].logs[0]})" if jobs[0].logs else ""
            lines += [f"{jobs[0].title}{others}{log}", *(f"  {line}" for line in words)]
            told += 1
        if rest := [one for jobs in list(by_sentence.values())[told:] for one in jobs]:
            logs = [str(Path(log).parent) for one in rest for log in one.logs[:1]]
            where = f" (logs in {os.path.commonpath(logs)})" if logs else ""
            lines.append(f"and {len(rest)} more for other reasons{where}")
        return "\n".join(lines)

    # -------------------------------------------------------------------------------------------- time left

    def _mean(self, stage: str) -> float | None:
        """Mean time of a stage's jobs, s: of the jobs of this run, or else of earlier runs."""
        taken = self._taken.get(stage)
        return sum(taken) / len(taken) if taken else self._means.get(stage)

    def _left(self, states: list[tuple[Running, State | None]]) -> str:
        """Estimated time left, as text; empty if nothing is known.

        It is the longer of two times: the longest chain of jobs that wait for each other, and the time of all jobs
        divided by the number of jobs that run at the same time. Jobs that wait for a failed job are not counted.
        """
        active = {number: state.left for number, (_, state) in zip(self.running, states) if state is not None}
        means = {stage: self._mean(stage) for stage in {step.stage for step in self.steps.values()}} | {"all": 0.0}
        ends: dict[int, float] = {}
        work, unknown = 0.0, False
        for number, step in self.steps.items():
            if number in self.failures or any(one in self.steps and one not in ends for one in step.after):
                continue
            left = 0.0 if number in self.ended else active.get(number, means[step.stage])
            unknown |= left is None
            work += left or 0.0
            ends[number] = (left or 0.0) + max((ends[one] for one in step.after if one in ends), default=0.0)
        if not work or not states:
            return ""
        left = max(*ends.values(), work / max(1, self.lanes or len(active)))
        return f"{'more than' if unknown else 'about'} {duration(left)} left"

    def _percent(self) -> str:
        total = len(self.steps)
        return f"{self.done / total:.0%}" if total else "0%"

    # ---------------------------------------------------------------------------------------- the stream

    def _watch(self) -> None:
        pause = REDRAWN_S if self.live else LISTED_S
        while not self._over.wait(pause):
            with contextlib.suppress(BrokenPipeError), self._above():
                if not self.live and not self.quiet and self.running:
                    self._write("\n".join(self.lines()) + "\n")
            pause = REDRAWN_S if self.live else min(LONGEST_S, pause * SELDOM)

    @contextlib.contextmanager
    def _above(self) -> Iterator[None]:
        """Remove the lines of running jobs, and draw them again below the text that is written in this context."""
        with self._lock:
            if self._drawn:
                self.stream.write(f"\x1b[{self._drawn}F\x1b[J")
                self._drawn = 0
            yield
            if self.live and not self.quiet and self.steps and not self._over.is_set():
                width, height = self._size()
                lines = [line[: width - 1] for line in self.lines(max(1, min(RUNNING, height - 4)))]
                self._write("\n".join(lines) + "\n")
                self._drawn = len(lines)
            self.stream.flush()

    def _write(self, text: str) -> None:
        self.stream.write(text)

    def _size(self) -> tuple[int, int]:
        """Width and height of the terminal."""
        try:
            found = os.get_terminal_size(self.stream.fileno())
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24


def _by_code(code: int | None) -> str:
    """Reason from the exit code, for a job whose log gives none."""
    if code in (-9, 137):
        return (
            "killed (signal 9), maybe because memory ran out: give it more memory, or run fewer jobs at once (--cores)"
        )
    if code is not None and code < 0:
        return f"ended by signal {-code}"
    return "" if code is None else f"ended with exit code {code}, without a reason in its log"
