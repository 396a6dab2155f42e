"""How numbers and captions of tables are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from brain2clip.names import MetricName, Task
from brain2clip.retrieval import metric_base, statistics
from brain2clip.retrieval.metric_base import MetricBase

if TYPE_CHECKING:
    from brain2clip.reporting.table_base import Context, Part
    from brain2clip.reporting.typeset import Sheet

EMPTY = "–"
#: What records say of an interval that is not resampled.
EXACT = "exact binomial"
#: Label of results on seen concepts, and its explanation.
SEEN = "seen concepts"
SEEN_WORDS = "Seen concepts: the test concepts occur in training, in other trials; this is not zero-shot."
#: Label of results that are computed from all queries of the test at once, and its explanation.
TRANSDUCTIVE = "transductive"
TRANSDUCTIVE_WORDS = (
    "Transductive: the score of a query uses all queries of the test at once, which are not available when a single "
    "response is decoded; do not compare with inductive results."
)
#: Protocol whose models share training subjects.
LEFT_OUT = "leave-one-subject-out"
#: Label of imported results.
MADE_ELSEWHERE = "made elsewhere"
#: Label of every table of a debug version.
DEBUG = "DEBUG VERSION (few subjects, pictures and epochs; not a result)"
#: Descriptions of tasks; the number is the number of candidates.
TASKS: Mapping[Task, str] = {
    "stimulus": "finding the seen stimulus among {}",
    "category": "category decoding: {} class prompts",
    "caption": "matching brain to caption: {} captions",
    "stimulus-to-brain": "matching picture to brain: {} brain responses",
    "caption-to-brain": "matching caption to brain: {} brain responses",
    "template": "finding the class among {} class templates (means of other pictures)",
    "stimulus-csls": "finding the seen stimulus among {} by CSLS",
    "category-csls": "category decoding by CSLS: {} class prompts",
    "caption-csls": "matching brain to caption by CSLS: {} captions",
}


@dataclass(frozen=True)
class Numbers:
    """How the values of a metric are written: shares in percent, ranks as numbers.

    Attributes
    ----------
    metric : str
        With its task, pools and repetitions.
    """

    metric: str

    @property
    def _of(self) -> MetricBase:
        return metric_base.load(MetricName.read(self.metric).base)

    @property
    def short(self) -> str:
        """Metric with its unit."""
        return f"{self._of.words} (%)" if self._of.is_share else self._of.words

    @property
    def unit(self) -> str:
        """Unit after a number in a sentence."""
        return " %" if self._of.is_share else ""

    def number(self, value: float) -> str:
        """One decimal; percent for shares."""
        return EMPTY if pd.isna(value) else f"{value * (100 if self._of.is_share else 1):.1f}".replace("-", "−")

    def signed(self, value: float) -> str:
        """With its sign."""
        text = self.number(abs(value))
        return EMPTY if pd.isna(value) else ("+" if value >= 0 else "−") + text

    def spread(self, record: dict[str, Any]) -> str:
        """Value ± spread; for one seed without spread."""
        spread = record.get("spread")
        text = self.number(record["value"])
        return text if spread is None or pd.isna(spread) else f"{text} ± {self.number(spread)}"

    def subject(self, record: dict[str, Any]) -> str:
        """Value ± spread over seeds; for one seed, value and interval."""
        if record["n_seeds"] > 1:
            return self.spread(record)
        return f"{self.number(record['value'])} {self.interval(record)}"

    def interval(
        self, record: dict[str, Any], signed: bool = False, kind: Literal["ci", "t", "decides"] = "decides"
    ) -> str:
        """``[low, high]``, from the procedure that decides or from the given one."""
        if kind == "decides":
            kind = record["decides"]
        low, high = record[f"{kind}_low"], record[f"{kind}_high"]
        if pd.isna(low) or pd.isna(high):
            return EMPTY
        write = self.signed if signed else self.number
        return f"[{write(low)}, {write(high)}]"


def title(shown: Numbers, part: Part, context: Context) -> str:
    """Metric with its unit, what is averaged, and the task with its candidates, in words."""
    name = MetricName.read(shown.metric)
    counts = part.rows.loc[(part.rows["task"] == name.task) & (part.rows["pool"] == 0), "n_candidates"]
    task = TASKS[name.task].format(span(counts.unique().tolist()))
    if name.task == "category" and part.concepts == "unseen":
        task = f"zero-shot {task}"
    if name.transductive:
        task += f", {context.settings['retrieval']['csls_neighbours']} nearest"
    if name.pool is not None:
        task += f", {in_pools(name.pool, context)}"
    return f"{shown.short}{averaged(name)}: {task}"


def labelled(sheet: Sheet) -> Sheet:
    """A sheet with the label for seen concepts in title and caption."""
    return replace(sheet, title=f"{sheet.title} ({SEEN})", caption=f"{SEEN_WORDS} {sheet.caption}")


def transductive(sheet: Sheet) -> Sheet:
    """A sheet with the label for transductive scores in title and caption."""
    return replace(sheet, title=f"{sheet.title} ({TRANSDUCTIVE})", caption=f"{TRANSDUCTIVE_WORDS} {sheet.caption}")


def averaged(name: MetricName) -> str:
    """Number of averaged repetitions in words; empty if all are averaged."""
    if name.repetitions == "all":
        return ""
    return ", single trials" if name.repetitions == "1" else f", {name.repetitions} averaged test repetitions"


def in_pools(size: int, context: Context) -> str:
    """Size and number of pools, in words."""
    draws = (context.settings["retrieval"].get("pools") or {}).get("draws")
    return f"in pools of {size}" + ("" if draws is None else f", {draws} draws")


def interval_name(context: Context) -> str:
    """``95 % CI``."""
    return f"{context.settings['retrieval']['level'] * 100:g} % CI"


def interval_kind(record: Mapping[str, Any]) -> str:
    """How the interval that decides was made: ``t``, ``bootstrap``, ``exact``, or nothing where none is known."""
    if not isinstance(record["decides"], str):
        return ""
    if record["decides"] == "t":
        return "t"
    return {EXACT: "exact", "nothing": ""}.get(str(record["resampled"]), "bootstrap")


def resampled(records: Iterable[Mapping[str, Any]]) -> str:
    """What the bootstrap of some records draws anew."""
    words = {str(record["resampled"]) for record in records} - {EXACT, "nothing"}
    return " or ".join(sorted(words)) or "nothing"


def resampling(records: Sequence[dict[str, Any]], context: Context) -> str:
    """Which interval decides, what is resampled, and which models share training subjects; in words."""
    pooled = [record for record in records if record["level"] in ("mean", "difference")]
    few = [record for record in pooled if 2 <= record["n_subjects"] < statistics.FEWEST_SUBJECTS]
    found = {interval_kind(record) for record in few}
    parts = []
    if found & {"t", "bootstrap"}:
        count = span(record["n_subjects"] for record in few)
        parts.append(f"Student's t over the means of {count} subjects (below {statistics.FEWEST_SUBJECTS} subjects)")
    if "bootstrap" in found:
        parts.append(
            f"{'where' if 't' in found else 'here'} all subjects are equal, t has no width, and the bootstrap decides"
        )
    if (words := resampled(pooled)) != "nothing":
        count = context.settings["retrieval"]["bootstrap"]
        parts.append(f"{'bootstrap: ' if parts else ''}{words} resampled, {count} bootstrap samples")
    if any(interval_kind(record) == "exact" for record in pooled):
        parts.append("where every query is right, or every one is wrong: exact binomial")
    named = {str(record["protocol"]) for record in pooled}
    shared = [LEFT_OUT] if any(context.kind_of_protocol(one) == LEFT_OUT for one in named) else []
    shared += ["new-subject"] if any(context.continues(one) for one in named) else []
    if shared:
        parts.append(
            f"models of {' and '.join(shared)} share training subjects, so means of subjects are not independent"
        )
    text = "; ".join(parts) or "nothing resampled"
    return f"{interval_name(context)}: {text}."


def common(records: Sequence[dict[str, Any]], shown: Numbers, queries: bool = True) -> str:
    """Seeds, queries and chance, in words."""
    seeds = span(record["n_seeds"] for record in records if record["level"] == "subject")
    text = f"{seeds} training {plural('seed', seeds)}"
    if " to " in seeds:
        text += " (fewer where marked: without randomness, all seeds give the same result)"
    if queries:
        counts = span(record["n_queries"] for record in records if record["level"] == "subject")
        text += f", {counts} queries per subject"
    return f"{text[:1].upper()}{text[1:]}; chance {shown.number(chance_of(records))}{shown.unit}."


def chance_of(records: Sequence[Mapping[str, Any]]) -> float:
    """Mean chance of some records, NaN without."""
    found = [record["chance"] for record in records if record.get("chance") is not None]
    return float(pd.Series(found, dtype=float).mean())


def span(numbers: Iterable[int]) -> str:
    """Smallest to largest, or the only one."""
    found = sorted(set(numbers))
    if not found:
        return "0"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def plural(word: str, count: int | str) -> str:
    """Plural with an s unless the number is one."""
    return word if str(count) == "1" else f"{word}s"
