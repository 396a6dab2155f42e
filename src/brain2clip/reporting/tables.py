"""Stage ``tables``: the paper's tables from summaries and retrieval rows, as Parquet, Markdown and LaTeX.

The Parquet file of a table is tidy and complete: column ``level`` tells single runs (with their seed) from means over
seeds, means over subjects, differences and published numbers. Markdown and LaTeX show the same numbers for reading.

What each kind of table shows is a module of :mod:`brain2clip.reporting.table_kinds`.

Settings: ``tables``, ``experiments``, ``methods`` (name to label), ``retrieval`` (``bootstrap``, ``level``, ``seed``,
``pools``); where given, ``studies`` and ``protocols`` (name to kind), ``modalities`` (study to eeg, meg or fmri),
``ceilings`` (methods that are upper bounds; default: a method named ``ideal-observer``), ``published`` (false:
published rows are not shown) and ``judges`` (of generated pictures; name to label).

Results on seen concepts are never in the same sheet as zero-shot results, in any kind of table: they are built
separately, and every sheet with seen concepts is labelled.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brain2clip import artefact, kinds, settings, stage
from brain2clip.names import RUN, MetricName
from brain2clip.reporting import costs, judgements, published, typeset, wording
from brain2clip.reporting.table_base import COLUMNS, Context, Part, Record
from brain2clip.reporting.wording import DEBUG
from brain2clip.retrieval import statistics
from brain2clip.retrieval.query_table import NOTE

log = logging.getLogger("brain2clip")

_TEXT = (
    *("study", "signal", "protocol", "method", "label", "reference", "level", "subject", "metric", "resampled"),
    *("source", "note", "modality", "task", "decides", "target", "concepts"),
)
_COUNTS = ("seed", "n_subjects", "n_seeds", "n_stimuli", "n_queries")
#: Columns of retrieval rows that tables need; the lists of best candidates are not read.
_ROW_COLUMNS = [*RUN, "repetitions", "query", "target", "n_candidates", "rank", "task", "pool", "margin", "classes"]


def run(job: stage.Job) -> None:
    """Run the stage."""
    context = load(job)
    made = job.provenance()
    for name, table in job.settings["tables"].items():
        frame, sheets = build(name, table, context)
        artefact.write_table(job.output(f"{name}.parquet"), frame, made, unknown={*frame} - {"value"})
        artefact.write_text(job.output(f"{name}.md"), typeset.markdown(name, sheets))
        artefact.write_text(job.output(f"{name}.tex"), typeset.latex(name, sheets))
        log.info("table %s: %d blocks, %d rows", name, len(sheets), len(frame))
    artefact.write_table(job.output("summary"), context.summary, made, unknown=statistics.UNKNOWN)


def load(job: stage.Job) -> Context:
    """Read all inputs of the stage."""
    shown = job.inputs.get("published", []) if job.settings.get("published", True) else []
    summary, _ = _together(job, "summary", statistics.SUMMARY_COLUMNS)
    rows, notes = _together(job, "rows", _ROW_COLUMNS)
    judged = judgements.read(job)
    return Context(job.settings, summary, rows, published.read(shown), costs.read(job), notes, judged)


def _together(job: stage.Job, name: str, columns: list[str]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The needed columns of all retrieval files of a name; trained methods and ceilings come from different stages.

    Beside them, by method, digests of the files that results made elsewhere were read from, each once.
    """
    tables = []
    digests: dict[str, list[str]] = {}
    for path, expected in stage.progress(job.each(name), f"reading {name}"):
        table = artefact.read_table(path, expected)
        absent = [column for column in columns if column not in table]
        if absent:
            raise stage.InputError(f"{path}: no column {', '.join(absent)}; --input {name} takes retrieval artefacts")
        if NOTE in table.attrs:
            digests.setdefault(table["method"].iloc[0], []).append(table.attrs[NOTE]["digest"])
        tables.append(table[columns])
    return pd.concat(tables, ignore_index=True), {method: sorted(set(own)) for method, own in digests.items()}


def build(name: str, table: dict[str, Any], context: Context) -> tuple[pd.DataFrame, list[typeset.Sheet]]:
    """One table: its tidy frame and its blocks for reading.

    Parameters
    ----------
    name : str
    table : dict
        Dump of :data:`brain2clip.settings.Table`.
    context : Context

    Returns
    -------
    frame : DataFrame
        Columns :data:`brain2clip.reporting.table_base.COLUMNS`.
    sheets : list of Sheet
        One per study, protocol and signal, or as the kind shows them together.
    """
    block = settings.parse(settings.Table, table)
    made = kinds.load("tables", block.kind)(block, context)
    shown = list(parts(name, block, context))
    records: list[Record] = []
    sheets: list[typeset.Sheet] = []
    for concepts in dict.fromkeys(part.concepts for part in shown):
        new, apart = made.build([part for part in shown if part.concepts == concepts])
        records += [{**record, "concepts": concepts} for record in new]
        sheets += [wording.labelled(sheet) for sheet in apart] if concepts == "seen" else apart
    if MetricName.read(block.metric).transductive:
        records = [_noted(one, wording.TRANSDUCTIVE) for one in records]
        sheets = [wording.transductive(sheet) for sheet in sheets]
    records = [
        {**_noted(one, wording.MADE_ELSEWHERE), "source": context.imported[one["method"]]["source"]}
        if one["method"] in context.imported and one["level"] != "published" else one
        for one in records
    ]  # fmt: skip
    if context.settings.get("debug"):
        records = [_noted(one, DEBUG) for one in records]
        sheets = [replace(one, title=f"{DEBUG}: {one.title}", caption=f"{DEBUG}. {one.caption}") for one in sheets]
    return _frame(records), sheets


def _noted(record: Record, words: str) -> Record:
    """A record with a word before its note."""
    return {**record, "note": "; ".join(filter(None, (words, record.get("note"))))}


def parts(name: str, table: settings.TableBase, context: Context) -> Iterator[Part]:
    """Blocks of a table in the order of the configuration; experiments on the same data are joined."""
    wanted: dict[tuple[str, str, str], dict[str, set[int]]] = {}
    for label in table.experiments:
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
                "expected the runs of its experiments: run snakemake, which makes them"
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


def _frame(records: Sequence[Record]) -> pd.DataFrame:
    frame = pd.DataFrame(records).reindex(columns=COLUMNS)
    for name in COLUMNS:
        if name in _COUNTS:
            frame[name] = frame[name].astype("Int64")
        elif name in _TEXT:
            frame[name] = frame[name].astype("string")
        else:
            frame[name] = frame[name].astype("float64")
    return frame


if __name__ == "__main__":
    stage.main(run)
