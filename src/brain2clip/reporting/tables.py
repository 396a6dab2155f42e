"""Stage ``tables``: the paper's tables from all retrieval files, as Parquet, Markdown and LaTeX.

The Parquet file of a table is tidy and complete: column ``level`` tells single runs (with their seed) from means over
seeds, means over subjects, differences and published numbers. Markdown and LaTeX show the same numbers for reading.

Settings: ``tables``, ``experiments``, ``methods`` (name to label), ``retrieval``; where given, ``studies`` and
``protocols`` (name to kind), ``modalities`` (study to eeg or fmri), ``ceilings`` (methods that are upper bounds;
default: a method named ``ideal-observer``), ``zero_shot`` (studies whose training and test concepts are disjoint) and
``published`` (false: published rows are not shown).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brain2clip import artefact, stage
from brain2clip.reporting import published, typeset
from brain2clip.retrieval import ranks, statistics

log = logging.getLogger("brain2clip")

COLUMNS = [
    *("study", "signal", "protocol", "method", "label", "reference", "level", "subject", "seed", "metric", "value"),
    *("spread", "ci_low", "ci_high", "t_low", "t_high", "p_sign_flip", "chance"),
    *("n_subjects", "n_seeds", "n_stimuli", "n_queries", "resampled", "source", "note", "modality", "task"),
]
_TEXT = (
    *("study", "signal", "protocol", "method", "label", "reference", "level", "subject", "metric", "resampled"),
    *("source", "note", "modality", "task"),
)
_COUNTS = ("seed", "n_subjects", "n_seeds", "n_stimuli", "n_queries")
_EMPTY = "–"
#: What tables need of a retrieval row; the lists of best candidates stay on disk.
_ROW_COLUMNS = [*statistics.RUN, "repetitions", "query", "target", "n_candidates", "rank", "task", "pool"]
#: What a task is in words, by its name; the number is that of the candidates.
_TASKS = {
    "stimulus": "finding the seen stimulus among {}",
    "category": "category decoding: {} class prompts",
    "caption": "matching brain to caption: {} captions",
    "stimulus-to-brain": "matching picture to brain: {} brain responses",
    "caption-to-brain": "matching caption to brain: {} brain responses",
}
#: The same for the head of a column.
_COLUMNS = {
    "stimulus": "the seen stimulus is looked for",
    "category": "its class, by class prompts",
    "caption": "its caption",
    "stimulus-to-brain": "the brain response to a picture",
    "caption-to-brain": "that to a caption",
}


@dataclass(frozen=True)
class Context:
    """Everything that the tables are made from.

    Attributes
    ----------
    settings : dict
        Of the stage.
    summary : DataFrame
        All summaries together.
    rows : DataFrame
        All retrieval rows together.
    published : DataFrame
        Published rows, empty where they are not to be shown.
    """

    settings: dict[str, Any]
    summary: pd.DataFrame
    rows: pd.DataFrame
    published: pd.DataFrame

    def label(self, method: str) -> str:
        """Name of a method in the tables."""
        label = self.settings["methods"].get(method, method)
        return f"{label} (ceiling)" if self.is_ceiling(method) and "ceiling" not in label.lower() else label

    def modality(self, study: str) -> str:
        """EEG or fMRI."""
        return "fMRI" if self.settings.get("modalities", {}).get(study) == "fmri" else "EEG"

    def is_ceiling(self, method: str) -> bool:
        """Whether a method is an upper bound that knows the truth of a simulation."""
        return method in self.settings.get("ceilings", ("ideal-observer",))


@dataclass(frozen=True)
class Part:
    """Runs of one study, signal and protocol that a table shows together.

    Attributes
    ----------
    study, signal, protocol : str
    methods : tuple of str
        In the order of the configuration, ceilings last.
    summary, rows : DataFrame
        Of these runs.
    """

    study: str
    signal: str
    protocol: str
    methods: tuple[str, ...]
    summary: pd.DataFrame
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        """Study, protocol, signal."""
        return f"{self.study}, {self.protocol}, {self.signal}"

    @property
    def subjects(self) -> list[str]:
        """Subjects with at least one run."""
        return sorted(self.summary["subject"].unique())

    def of(self, method: str) -> pd.DataFrame:
        """Retrieval rows of a method."""
        return self.rows[self.rows["method"] == method]


def run(job: stage.Job) -> None:
    """Run the stage."""
    context = load(job)
    made = job.provenance()
    for name, table in job.settings["tables"].items():
        frame, sheets = build(name, table, context)
        artefact.write_table(job.output(f"{name}.parquet"), frame, made)
        artefact.write_text(job.output(f"{name}.md"), typeset.markdown(name, sheets))
        artefact.write_text(job.output(f"{name}.tex"), typeset.latex(name, sheets))
        log.info("table %s: %d blocks, %d rows", name, len(sheets), len(frame))
    artefact.write_table(job.output("summary"), context.summary, made)


def load(job: stage.Job) -> Context:
    """Read all inputs of the stage."""
    shown = job.inputs.get("published", []) if job.settings.get("published", True) else []
    summary = _together(job, "summary", statistics.SUMMARY_COLUMNS)
    return Context(job.settings, summary, _together(job, "rows", _ROW_COLUMNS), published.read(shown))


def _together(job: stage.Job, name: str, columns: list[str]) -> pd.DataFrame:
    """The needed columns of all retrieval files of a name; trained methods and ceilings come from different stages."""
    tables = []
    for path, expected in stage.progress(job.each(name), f"reading {name}"):
        table = artefact.read_table(path, expected)
        absent = [column for column in columns if column not in table]
        if absent:
            raise stage.InputError(f"{path}: no column {', '.join(absent)}; --input {name} takes retrieval artefacts")
        tables.append(table[columns])
    return pd.concat(tables, ignore_index=True)


def build(name: str, table: dict[str, Any], context: Context) -> tuple[pd.DataFrame, list[typeset.Sheet]]:
    """One table: its tidy frame and its blocks for reading.

    Parameters
    ----------
    name : str
    table : dict
        Dump of :class:`brain2clip.settings.Table`.
    context : Context

    Returns
    -------
    frame : DataFrame
        Columns :data:`COLUMNS`.
    sheets : list of Sheet
        One per study, protocol and signal; one of all together for an overview.
    """
    table = {**table, "metric": str(statistics.metric_name(table["metric"]))}  # without what is the default
    found = list(parts(name, table, context))
    if table["kind"] == "overview":
        records, sheet = _overview(table, found, context)
        return _frame(records), [sheet]
    records = []
    sheets = []
    for part in found:
        new, sheet = _KINDS[table["kind"]](table, part, context)
        records += new
        sheets.append(sheet)
    return _frame(records), sheets


def parts(name: str, table: dict[str, Any], context: Context) -> Iterator[Part]:
    """Blocks of a table in the order of the configuration; experiments on the same data are joined."""
    wanted: dict[tuple[str, str, str], dict[str, set[int]]] = {}
    for label in table["experiments"]:
        experiment = context.settings["experiments"][label]
        for protocol, signal in itertools.product(experiment["protocols"], experiment["signals"]):
            seeds = wanted.setdefault((experiment["study"], signal, protocol), {})
            for method in experiment["methods"]:
                seeds.setdefault(method, set()).update(experiment["seeds"])
    for (study, signal, protocol), seeds in wanted.items():
        key = (study, signal, protocol)
        summary, rows = _pick(context.summary, key, seeds), _pick(context.rows, key, seeds)
        if summary.empty:
            raise stage.InputError(
                f"table {name}: no run of study {study}, signal {signal}, protocol {protocol} among the inputs; "
                "expected those of its experiments: let snakemake make them"
            )
        present = set(summary["method"])
        methods = sorted((method for method in seeds if method in present), key=context.is_ceiling)
        yield Part(study, signal, protocol, tuple(methods), summary, rows)


def _pick(frame: pd.DataFrame, key: tuple[str, str, str], seeds: dict[str, set[int]]) -> pd.DataFrame:
    here = frame
    for name, wanted in zip(("study", "signal", "protocol"), key, strict=True):
        here = here[here[name] == wanted]
    chosen = [(here["method"] == method) & here["seed"].isin(own) for method, own in seeds.items()]
    return here[np.any(chosen, axis=0)]


# ------------------------------------------------------------------------------------ kinds of tables


def _methods(table: dict[str, Any], part: Part, context: Context) -> tuple[list[dict[str, Any]], typeset.Sheet]:
    """Methods by subjects, mean over subjects, chance; published rows below."""
    metric, subjects = table["metric"], part.subjects
    shown = Numbers(metric)
    records: list[dict[str, Any]] = []
    body: list[list[str]] = []
    for method in part.methods:
        new = _levels(part, method, metric, context)
        records += new
        if not new:
            body.append([context.label(method), *[_EMPTY] * (len(subjects) + 2)])
            continue
        cells = {record["subject"]: shown.subject(record) for record in new if record["level"] == "subject"}
        mean = new[-1]
        row = [*(cells.get(subject, _EMPTY) for subject in subjects), shown.spread(mean), shown.interval(mean)]
        if method == _first_ceiling(part, context) and body:
            body.append([])
        body.append([context.label(method), *row])
    chance = _chance(records)
    body += [[], ["chance", *[shown.number(chance)] * len(subjects), shown.number(chance), ""]]
    known, notes = _published(part, metric, context, subjects, shown)
    records += known
    body += notes.rows
    header = ["method", *(f"sub-{subject}" for subject in subjects), "mean", _interval_name(context)]
    several = any(record.get("n_seeds", 0) > 1 for record in records if record["level"] == "subject")
    caption = (
        f"{_title(shown, part, context)}. Subject: "
        f"{'mean over training seeds ± their standard deviation' if several else 'one training seed, [interval]'}; "
        f"mean: over {len(subjects)} {_plural('subject', len(subjects))}"
        f"{', ± standard deviation over seeds of the subject mean' if several else ''}. "
        f"{_resampling(records, context)} {_common(records, shown)}"
    )
    return records, typeset.Sheet(part.title, header, body, caption, notes.notes)


def _ablation(table: dict[str, Any], part: Part, context: Context) -> tuple[list[dict[str, Any]], typeset.Sheet]:
    """Every method: its mean, and its difference to the reference with interval."""
    metric, reference = table["metric"], table["reference"]
    shown = Numbers(metric)
    records: list[dict[str, Any]] = []
    body: list[list[str]] = []
    ordered = [m for m in part.methods if m == reference] + [m for m in part.methods if m != reference]
    for method in ordered:
        levels = _levels(part, method, metric, context)
        records += levels
        difference = None
        if method != reference and levels and not context.is_ceiling(method):
            difference = _difference(part, method, reference, metric, context)
            records.append(difference)
        cells = [shown.spread(levels[-1]), shown.interval(levels[-1])] if levels else [_EMPTY, _EMPTY]
        change = (
            [shown.signed(difference["value"]), shown.interval(difference, signed=True)] if difference else ["", ""]
        )
        if context.is_ceiling(method):
            body.append([])
        body.append([context.label(method) + (" (reference)" if method == reference else ""), *cells, *change])
    body += [[], ["chance", shown.number(_chance(records)), "", "", ""]]
    name = _interval_name(context)
    header = ["method", shown.short, name, "difference", name]
    caption = (
        f"{_title(shown, part, context)}; difference of each method to {context.label(reference)} on the same queries. "
        f"Means over training seeds, queries and then subjects; ± standard deviation over seeds of the subject mean. "
        f"{_resampling(records, context)} {_common(records, shown)}"
    )
    return records, typeset.Sheet(part.title, header, body, caption)


def _repetitions(table: dict[str, Any], part: Part, context: Context) -> tuple[list[dict[str, Any]], typeset.Sheet]:
    """Every method by the number of averaged test repetitions."""
    base = statistics.metric_name(table["metric"])._replace(repetitions="all")
    shown = Numbers(str(base))
    there = part.rows.loc[part.rows["task"] == base.task, "repetitions"].astype(str)
    counts = sorted(there.unique(), key=_repetition_order)
    records: list[dict[str, Any]] = []
    body: list[list[str]] = []
    for method in part.methods:
        cells = []
        for count in counts:
            new = _levels(part, method, str(base._replace(repetitions=count)), context)
            records += new
            cells.append(f"{shown.number(new[-1]['value'])} {shown.interval(new[-1])}" if new else _EMPTY)
        if method == _first_ceiling(part, context) and body:
            body.append([])
        body.append([context.label(method), *cells])
    body += [[], ["chance", *[shown.number(_chance(records))] * len(counts)]]
    caption = (
        f"{_title(shown, part, context)}; by the number of test repetitions that are averaged, in disjoint groups, "
        f"with {_interval_name(context)}. Means over training seeds, queries and then subjects. "
        f"{_resampling(records, context)} {_common(records, shown, queries=False)}"
    )
    return records, typeset.Sheet(part.title, ["method", *counts], body, caption)


def _contrast(table: dict[str, Any], part: Part, context: Context) -> tuple[list[dict[str, Any]], typeset.Sheet]:
    """Paired differences to the reference with both intervals and the permutation test."""
    metric, reference = table["metric"], table["reference"]
    shown = Numbers(metric)
    records: list[dict[str, Any]] = []
    body: list[list[str]] = []
    for method in part.methods:
        if method == reference or context.is_ceiling(method):
            continue
        record = _difference(part, method, reference, metric, context)
        records.append(record)
        p = record["p_sign_flip"]
        body.append(
            [
                f"{context.label(method)} − {context.label(reference)}",
                shown.signed(record["value"]),
                shown.interval(record, signed=True),
                shown.interval(record, signed=True, kind="t"),
                _EMPTY if math.isnan(p) else f"{p:.3f}",
                *(str(record[name]) for name in ("n_subjects", "n_seeds", "n_stimuli")),
            ]
        )
    name = _interval_name(context)
    header = [
        "contrast",
        "difference",
        f"bootstrap {name}",
        f"t {name}",
        "p (sign flip)",
        "subjects",
        "seeds",
        "stimuli",
    ]
    caption = (
        f"{_title(shown, part, context)}; paired differences on the same queries. Averaged over training seeds, then "
        f"queries, then subjects. {_resampling(records, context)} Beside it the t-interval over subject means "
        f"(subjects − 1 degrees of freedom) and the two-sided p of sign flips over subjects, which cannot fall below "
        f"2 / 2^subjects."
    )
    return records, typeset.Sheet(part.title, header, body, caption)


def _overview(
    table: dict[str, Any], found: Sequence[Part], context: Context
) -> tuple[list[dict[str, Any]], typeset.Sheet]:
    """EEG and fMRI side by side: a line per block and method, a column per task, chance below each block."""
    name = statistics.metric_name(table["metric"])
    known = {task for part in found for task in part.rows["task"].unique()}
    columns = [task for task in _TASKS if task in known]
    shown = Numbers(str(name._replace(task="stimulus")))
    records: list[dict[str, Any]] = []
    body: list[list[str]] = []
    for part in found:
        chances: dict[str, list[dict[str, Any]]] = {task: [] for task in columns}
        head = [context.modality(part.study), part.study, part.signal, part.protocol]
        body += [[]] if body else []
        for number, method in enumerate(part.methods):
            cells = []
            for task in columns:
                new = _levels(part, method, str(name._replace(task=task)), context)
                records += new
                chances[task] += new
                cells.append(f"{shown.number(new[-1]['value'])} {shown.interval(new[-1])}" if new else "")
            body.append([*(head if number == 0 else [""] * len(head)), context.label(method), *cells])
        chance = [shown.number(_chance(chances[task])) if chances[task] else "" for task in columns]
        body.append([*[""] * len(head), "chance", *chance])
    header = ["modality", "study", "signal", "protocol", "method", *columns]
    words = ", ".join(f"{task}: {_COLUMNS[task]}" for task in columns)
    pools = "" if name.pool is None else f", {_pools(name.pool, context)}"
    caption = (
        f"{shown.short}{_averaged(name)}{pools}, mean over training seeds, queries and then subjects, with "
        f"{_interval_name(context)}. A column per task ({words}); the candidates are those of each study, so chance "
        f"stands below each block. {_resampling(records, context)}"
    )
    return records, typeset.Sheet("EEG and fMRI side by side", header, body, caption, left=5)


_KINDS: dict[str, Callable[[dict[str, Any], Part, Context], tuple[list[dict[str, Any]], typeset.Sheet]]] = {
    "methods": _methods,
    "ablation": _ablation,
    "repetitions": _repetitions,
    "contrast": _contrast,
}


# --------------------------------------------------------------------------------------------- numbers


def _levels(part: Part, method: str, metric: str, context: Context) -> list[dict[str, Any]]:
    """Records of one method: every run, the mean over seeds of every subject, and last the mean over subjects."""
    runs = part.summary[(part.summary["method"] == method) & (part.summary["metric"] == metric)]
    if runs.empty:
        return []
    base = {**_names(part, method, context), "metric": metric, "task": statistics.metric_name(metric).task}
    kept = ["subject", "seed", "value", "ci_low", "ci_high", "chance", "n_queries"]
    records = [{**base, "level": "run", **run} for run in runs[kept].to_dict("records")]
    rows, options = part.of(method), context.settings["retrieval"]
    bootstrap = (metric, options["bootstrap"], options["level"], options["seed"])
    for subject, group in runs.groupby("subject"):
        found = statistics.mean_over_subjects(rows[rows["subject"] == subject], *bootstrap)
        records.append({**base, "level": "subject", "subject": subject, **found, **_over_seeds(group)})
    mean = statistics.mean_over_subjects(rows, *bootstrap)
    by_seed = runs.groupby("seed")["value"].mean()
    records.append({**base, "level": "mean", **mean, "spread": by_seed.std(ddof=1)})
    return records


def _names(part: Part, method: str, context: Context) -> dict[str, Any]:
    names = {"study": part.study, "signal": part.signal, "protocol": part.protocol}
    return {**names, "modality": context.modality(part.study), "method": method, "label": context.label(method)}


def _over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "value": runs["value"].mean(),
        "spread": runs["value"].std(ddof=1),
        "chance": runs["chance"].mean(),
        "n_seeds": len(runs),
        "n_queries": int(runs["n_queries"].iloc[0]),
    }


def _difference(part: Part, method: str, reference: str, metric: str, context: Context) -> dict[str, Any]:
    """Record of the paired difference of a method to the reference."""
    if reference not in part.methods:
        raise stage.InputError(
            f"no run of the reference method {reference} for {part.title}; found {', '.join(part.methods)}. "
            "Name it in the table's experiments, or choose another reference."
        )
    options = context.settings["retrieval"]
    found = statistics.paired_difference(
        *(part.of(method), part.of(reference)), metric, options["bootstrap"], options["level"], options["seed"]
    )
    kept = {name: number for name, number in found.items() if name in COLUMNS}
    return {
        **_names(part, method, context),
        "reference": reference,
        "level": "difference",
        "task": statistics.metric_name(metric).task,
        "value": found["difference"],
        **kept,
    }


@dataclass(frozen=True)
class _Published:
    rows: list[list[str]]
    notes: list[str]


def _published(
    part: Part, metric: str, context: Context, subjects: Sequence[str], shown: Numbers
) -> tuple[list[dict[str, Any]], _Published]:
    """Records, lines and notes of the published numbers that belong beside a block."""
    kinds = context.settings
    chosen = published.for_block(
        context.published,
        part.study,
        kinds.get("studies", {}).get(part.study),
        part.protocol,
        metric,
        kinds.get("protocols", {}).get(part.protocol),
    )
    records, lines, notes = [], [], []
    means = chosen[chosen["subject"].isna()].set_index("method")["value"]
    for method in sorted(chosen["method"].unique(), key=lambda name: means.get(name, 0.0)):
        own = chosen[chosen["method"] == method]
        cells = {}
        for row in own.to_dict("records"):
            subject = None if pd.isna(row["subject"]) else row["subject"]
            cells[subject] = shown.number(row["value"])
            plain = {name: None if pd.isna(row[name]) else row[name] for name in ("source", "note")}
            label = f"{method}, published"
            record = {"study": part.study, "protocol": part.protocol, "method": method, "label": label, **plain}
            record |= {"level": "published", "subject": subject, "metric": metric, "value": row["value"]}
            record |= {"modality": context.modality(part.study), "task": statistics.metric_name(metric).task}
            records.append(record)
            if subject is None:
                notes.append(f"{label}: {plain['source']}" + (f"; {plain['note']}" if plain["note"] else ""))
        mean = cells.get(None, _EMPTY)
        lines.append([f"{method}, published", *(cells.get(subject, "") for subject in subjects), mean, ""])
    return records, _Published([[], *lines] if lines else [], notes)


def _first_ceiling(part: Part, context: Context) -> str | None:
    return next((method for method in part.methods if context.is_ceiling(method)), None)


def _chance(records: Sequence[dict[str, Any]]) -> float:
    found = [record["chance"] for record in records if record.get("chance") is not None]
    return float(pd.Series(found, dtype=float).mean())


def _frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(records).reindex(columns=COLUMNS)
    for name in COLUMNS:
        if name in _COUNTS:
            frame[name] = frame[name].astype("Int64")
        elif name in _TEXT:
            frame[name] = frame[name].astype("string")
        else:
            frame[name] = frame[name].astype("float64")
    return frame


def _repetition_order(count: str) -> float:
    return math.inf if count == "all" else float(count)


# ----------------------------------------------------------------------------------------------- words


@dataclass(frozen=True)
class Numbers:
    """How the values of a metric are written: shares in percent, ranks as they are.

    Attributes
    ----------
    metric : str
        With its task, pools and repetitions.
    """

    metric: str

    @property
    def _share(self) -> bool:
        return ranks.is_share(statistics.metric_name(self.metric).base)

    @property
    def short(self) -> str:
        """Metric with its unit."""
        name = statistics.metric_name(self.metric).base
        name = name[:1].upper() + name[1:] if not name[0].isdigit() else name
        return f"{name} (%)" if self._share else name.replace("-", " ")

    def number(self, value: float) -> str:
        """One decimal; percent for shares."""
        return _EMPTY if pd.isna(value) else f"{value * (100 if self._share else 1):.1f}"

    def signed(self, value: float) -> str:
        """With its sign."""
        text = self.number(abs(value))
        return _EMPTY if pd.isna(value) else ("+" if value >= 0 else "−") + text

    def spread(self, record: dict[str, Any]) -> str:
        """Value ± spread; without a spread where there is one seed."""
        spread = record.get("spread")
        text = self.number(record["value"])
        return text if spread is None or pd.isna(spread) else f"{text} ± {self.number(spread)}"

    def subject(self, record: dict[str, Any]) -> str:
        """Value ± spread over seeds; where there is one seed, value and interval."""
        if record["n_seeds"] > 1:
            return self.spread(record)
        return f"{self.number(record['value'])} {self.interval(record)}"

    def interval(self, record: dict[str, Any], signed: bool = False, kind: str = "ci") -> str:
        """``[low, high]``."""
        low, high = record[f"{kind}_low"], record[f"{kind}_high"]
        if pd.isna(low) or pd.isna(high):
            return _EMPTY
        write = self.signed if signed else self.number
        return f"[{write(low)}, {write(high)}]"


def _title(shown: Numbers, part: Part, context: Context) -> str:
    """Metric with its unit, what is averaged, and the task with its candidates, in words."""
    name = statistics.metric_name(shown.metric)
    counts = part.rows.loc[(part.rows["task"] == name.task) & (part.rows["pool"] == 0), "n_candidates"]
    task = _TASKS[name.task].format(_span(counts.unique().tolist()))
    if name.task == "category" and part.study in context.settings.get("zero_shot", ()):
        task = f"zero-shot {task}"
    if name.pool is not None:
        task += f", {_pools(name.pool, context)}"
    return f"{shown.short}{_averaged(name)}: {task}"


def _averaged(name: statistics.MetricName) -> str:
    """What is averaged into a response, in words; nothing where all repetitions are."""
    if name.repetitions == "all":
        return ""
    return ", single trials" if name.repetitions == "1" else f", {name.repetitions} averaged test repetitions"


def _pools(size: int, context: Context) -> str:
    draws = (context.settings["retrieval"].get("pools") or {}).get("draws")
    return f"in pools of {size}" + ("" if draws is None else f", {draws} draws")


def _interval_name(context: Context) -> str:
    return f"{context.settings['retrieval']['level'] * 100:g} % CI"


def _resampling(records: Sequence[dict[str, Any]], context: Context) -> str:
    """What the interval resamples, in words."""
    pooled = [record for record in records if record["level"] in ("mean", "difference")]
    words = {record["resampled"] for record in pooled} - {"exact binomial", "nothing"}
    count = context.settings["retrieval"]["bootstrap"]
    which = " or ".join(sorted(str(word) for word in words)) or "nothing"
    return f"{_interval_name(context)}: {which} resampled, {count} bootstrap samples."


def _common(records: Sequence[dict[str, Any]], shown: Numbers, queries: bool = True) -> str:
    """Seeds, queries and chance, in words."""
    seeds = _span(record["n_seeds"] for record in records if record["level"] == "subject")
    text = f"{seeds} training {_plural('seed', seeds)}"
    if queries:
        counts = _span(record["n_queries"] for record in records if record["level"] == "subject")
        text += f", {counts} queries per subject"
    unit = " %" if shown.short.endswith("(%)") else ""
    return f"{text[:1].upper()}{text[1:]}; chance {shown.number(_chance(records))}{unit}."


def _span(numbers: Iterator[int] | Sequence[int]) -> str:
    found = sorted(set(numbers))
    if not found:
        return "0"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _plural(word: str, count: int | str) -> str:
    return word if str(count) == "1" else f"{word}s"


if __name__ == "__main__":
    stage.main(run)
