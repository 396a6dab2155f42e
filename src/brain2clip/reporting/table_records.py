"""Records of tables: results of a method by level, its difference from another method, published results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from brain2clip import stage
from brain2clip.names import MetricName
from brain2clip.reporting import published
from brain2clip.reporting.table_base import COLUMNS, Context, Part, Record
from brain2clip.reporting.wording import EMPTY, Numbers
from brain2clip.retrieval import statistics


def levels_of(part: Part, method: str, metric: str, context: Context) -> list[Record]:
    """Records of one method: every run, the mean over seeds of every subject, and last the mean over subjects."""
    runs = part.summary[(part.summary["method"] == method) & (part.summary["metric"] == metric)]
    if runs.empty:
        return []
    base = {**names_of(part, method, context), "metric": metric, "task": MetricName.read(metric).task}
    kept = ["subject", "seed", "value", "ci_low", "ci_high", "chance", "n_queries", "largest_class"]
    records = [{**base, "level": "run", **run} for run in runs[kept].to_dict("records")]
    key = (part.study, part.signal, part.protocol, method, metric, tuple(sorted(runs["seed"].unique().tolist())))
    rows = part.of(method)
    for subject, group in runs.groupby("subject"):
        found = _mean(rows[rows["subject"] == subject], metric, context, (*key, subject))
        records.append({**base, "level": "subject", "subject": subject, **found, **_over_seeds(group)})
    by_seed = runs.groupby("seed")["value"].mean()
    records.append({**base, "level": "mean", **_mean(rows, metric, context, key), "spread": by_seed.std(ddof=1)})
    return records


def _mean(rows: pd.DataFrame, metric: str, context: Context, key: tuple[Any, ...]) -> Record:
    """Mean with its intervals; computed once for all tables."""
    if key not in context.measured:
        options = context.settings["retrieval"]
        bootstrap = (options["bootstrap"], options["level"], options["seed"])
        context.measured[key] = statistics.mean_over_subjects(rows, metric, *bootstrap)
    return context.measured[key]


def difference_of(part: Part, method: str, reference: str, metric: str, context: Context) -> Record:
    """Record of the paired difference of a method to the reference."""
    if reference not in part.methods:
        raise stage.InputError(
            f"no run of the reference method {reference} for {part.title}; found {', '.join(part.methods)}. Add it "
            "to the table's experiments, or choose another reference."
        )
    options = context.settings["retrieval"]
    found = statistics.paired_difference(
        *(part.of(method), part.of(reference)), metric, options["bootstrap"], options["level"], options["seed"]
    )
    kept = {name: number for name, number in found.items() if name in COLUMNS}
    return {
        **names_of(part, method, context),
        "reference": reference,
        "level": "difference",
        "task": MetricName.read(metric).task,
        "value": found["difference"],
        **kept,
    }


@dataclass(frozen=True)
class Published:
    """Lines and notes of published numbers."""

    rows: list[list[str]]
    notes: list[str]


def published_beside(
    part: Part, metric: str, context: Context, subjects: Sequence[str], shown: Numbers
) -> tuple[list[Record], Published]:
    """Records, lines and notes of the published results for a block."""
    chosen = published.for_block(
        context.published[context.published["concepts"] == part.concepts],
        part.study,
        context.kind_of_study(part.study),
        part.protocol,
        metric,
        context.kind_of_protocol(part.protocol),
    )
    records, lines, notes = [], [], []
    means = chosen[chosen["subject"].isna()].set_index("method")["value"]
    for method in sorted(chosen["method"].unique(), key=lambda name: means.get(name, 0.0)):
        own = chosen[chosen["method"] == method]
        cells = {}
        for row in own.to_dict("records"):
            subject = None if pd.isna(row["subject"]) else row["subject"]
            cells[subject] = shown.number(row["value"])
            plain = {"source": row["source"], "note": _note_of(row)}
            label = f"{method}, published"
            record = {"study": part.study, "protocol": part.protocol, "method": method, "label": label, **plain}
            record |= {"level": "published", "subject": subject, "metric": metric, "value": row["value"]}
            record |= {"modality": context.modality(part.study), "task": MetricName.read(metric).task}
            records.append(record)
            if subject is None:
                notes.append(f"{label}: {plain['source']}" + (f"; {plain['note']}" if plain["note"] else ""))
        mean = cells.get(None, EMPTY)
        lines.append([f"{method}, published", *(cells.get(subject, "") for subject in subjects), mean, ""])
    return records, Published([[], *lines] if lines else [], notes)


def _note_of(row: Record) -> str | None:
    """How the original chose its epoch or model, and other remarks on a published result."""
    chosen = None if pd.isna(row["selection"]) else f"selection: {row['selection']}"
    return "; ".join(filter(None, [chosen, None if pd.isna(row["note"]) else row["note"]])) or None


def names_of(part: Part, method: str, context: Context) -> Record:
    """Columns of the Parquet file that identify a line of a table."""
    names = {"study": part.study, "signal": part.signal, "protocol": part.protocol}
    return {**names, "modality": context.modality(part.study), "method": method, "label": context.label(method)}


def _over_seeds(runs: pd.DataFrame) -> Record:
    return {
        "value": runs["value"].mean(),
        "spread": runs["value"].std(ddof=1),
        "chance": runs["chance"].mean(),
        "n_seeds": len(runs),
        "n_queries": int(runs["n_queries"].iloc[0]),
    }
