"""Names that several rooms share, and the grammar of a metric's name. Imports nothing from the project."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, cast, get_args

#: Sides of a study's split; a stimulus may be on ``both`` if categories are the candidates.
SPLITS = ("train", "test")
Split = Literal["train", "test"]
#: Label if a study has no sessions or runs.
NO_LABEL = "n/a"

#: What is recorded of brains, in words.
TECHNIQUES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}
#: Unit of the samples by type of channel, as MNE calls them (axial gradiometers are mag).
UNITS = {"eeg": "V", "mag": "T", "grad": "T/m"}

#: Tasks: what is looked for in a retrieval.
Task = Literal[
    "stimulus",
    "category",
    "caption",
    "stimulus-to-brain",
    "caption-to-brain",
    "template",
    "stimulus-csls",
    "category-csls",
    "caption-csls",
]
TASKS: tuple[Task, ...] = get_args(Task)
#: Ending of the tasks in which brain responses are the candidates.
TO_BRAIN = "-to-brain"
#: Scorings (kinds of the family ``scorings``) that stand at the end of a task's name. They see all queries of the test
#: at once: their results are transductive, and are never in a column with others.
SCORINGS = ("csls",)
#: What brain responses are compared with.
Sought = Literal["stimulus", "category", "caption", "template"]
SOUGHT: tuple[Sought, ...] = get_args(Sought)

#: Columns that name a run, in paths and in every table.
RUN = ("study", "signal", "protocol", "method", "subject", "seed")
#: Takes the place of a study in the paths of figures that show an EEG and an fMRI study together.
BOTH = "both"

_METRIC = re.compile(
    rf"(?:(?P<task>{'|'.join(map(re.escape, TASKS))})(?:/(?P<pool>[1-9]\d*))?:)?(?P<base>[\w.]+:[A-Za-z_]\w*|[^@:/]+)"
    r"(?:@(?P<repetitions>[1-9]\d*|all))?"
)
_NUMBER_LAST = re.compile(r"(?P<kind>.+-)(?P<number>[1-9]\d*)")
_NUMBER_FIRST = re.compile(r"(?P<number>[1-9]\d*)(?P<kind>-.+)")


class MetricName(NamedTuple):
    """A metric of a task, as written in summaries, tables and settings.

    Attributes
    ----------
    base : str
        A metric with its number: ``top-1``, ``10-way``, ``median-rank``, or ``package.module:Class``.
    repetitions : str
        Averaged test repetitions: a number or ``all``.
    task : Task
    pool : int or None
        Size of the random pools, None for all candidates.
    """

    base: str
    repetitions: str = "all"
    task: Task = "stimulus"
    pool: int | None = None

    @property
    def kind(self) -> str:
        """Kind of the metric: its name with a letter in place of its number, as in ``top-k`` and ``n-way``."""
        return self._kind_and_number()[0]

    @property
    def number(self) -> int | None:
        """Number in the metric's name, None if there is none."""
        return self._kind_and_number()[1]

    def _kind_and_number(self) -> tuple[str, int | None]:
        if ":" in self.base:
            return self.base, None
        if found := _NUMBER_LAST.fullmatch(self.base):
            return f"{found['kind']}k", int(found["number"])
        if found := _NUMBER_FIRST.fullmatch(self.base):
            return f"n{found['kind']}", int(found["number"])
        return self.base, None

    @property
    def transductive(self) -> bool:
        """Whether it uses all queries of the test at once, so that a query alone could have another rank."""
        return scoring_of(self.task) is not None

    def __str__(self) -> str:
        """``[TASK[/SIZE]:]metric[@repetitions]``, without defaults: ``top-1``, ``category:top-1@4``."""
        where = self.task + ("" if self.pool is None else f"/{self.pool}")
        before = "" if where == "stimulus" else f"{where}:"
        return before + self.base + ("" if self.repetitions == "all" else f"@{self.repetitions}")

    @classmethod
    def read(cls, text: str) -> MetricName:
        """Read a name: ``caption/300:top-5@2`` is Top-5 of task caption in pools of 300, 2 repetitions averaged.

        Raises
        ------
        ValueError
            If it has another form, or an unknown task.
        """
        found = _METRIC.fullmatch(text)
        if found is None:
            raise ValueError(
                f"no metric is named {text!r}; expected [TASK[/SIZE]:]METRIC[@REPETITIONS] as in category:top-1@1, "
                f"where TASK is one of {', '.join(TASKS)}"
            )
        pool = int(found["pool"]) if found["pool"] else None
        return cls(found["base"], found["repetitions"] or "all", cast(Task, found["task"] or "stimulus"), pool)


def scoring_of(task: str) -> str | None:
    """Scoring at the end of a task's name; None if similarities are used unchanged."""
    return next((name for name in SCORINGS if task.endswith(f"-{name}")), None)


def counted(number: int, thing: str) -> str:
    """``1 subject``, ``2 subjects``."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'Oz'?)`` where a known name is close (upper and lower case alike), else nothing."""
    by_lower = {key.lower(): key for key in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    longer = [key for key in by_lower if key.startswith(name.lower())]
    if close and len(longer) == 1:  # the beginning of one name (MRO11 of MRO11-1609) means that one
        close = longer
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""
