"""Published results: which rows may be shown beside measured ones.

A row belongs to one study, task and number of repetitions; it is shown only beside results for exactly these, and never
beside simulated data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from brain2clip.names import MetricName, Task, scoring_of
from brain2clip.stage import InputError

COLUMNS = [
    *("study", "protocol", "scoring", "method", "metric", "value", "subject", "selection", "source", "note"),
    "concepts",
]
#: Values of ``scoring``: each query by itself, or all queries of the test at once.
SCORINGS = ("inductive", "transductive")
#: ... and of ``concepts``: whether its test asks for what training showed in other pictures.
CONCEPTS = ("unseen", "seen")
_NEEDED = ["study", "protocol", "method", "metric", "value", "source"]


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """All published rows of some CSV files.

    Parameters
    ----------
    paths : sequence of paths
        CSV with the columns :data:`COLUMNS`; ``value`` in the unit of the summary (shares from 0 to 1), ``subject``
        empty for the mean over subjects, ``scoring`` one of :data:`SCORINGS` (empty: inductive), ``selection`` how the
        original chose its epoch or model, ``concepts`` one of :data:`CONCEPTS` (empty: unseen).

    Raises
    ------
    brain2clip.stage.InputError
        Where a column is absent, or a row has no source, no number or an unknown scoring.
    """
    tables = [_checked(path) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def for_block(
    published: pd.DataFrame, study: str, kind: str | None, protocol: str, metric: str, protocol_kind: str | None = None
) -> pd.DataFrame:
    """Rows that belong beside a measured block.

    Parameters
    ----------
    published : DataFrame
        From :func:`read`.
    study, protocol : str
        Names in the configuration; hyphen and underscore are one. That of a study counts only where its kind is not
        known: a study of another kind may be called like a published one, a simulated one too.
    kind, protocol_kind : str or None
        Kinds in the configuration, where known.
    metric : str
        Name of the metric, with its task and repetitions. Beside a task that is scored from all queries at once stand
        the transductive rows of the task itself, whatever their scoring is; beside all others inductive ones only.
    """
    studies, protocols = _names(kind or study), _names(protocol, protocol_kind)
    name = MetricName.read(metric)
    if scoring := scoring_of(name.task):
        metric = str(name._replace(task=cast(Task, name.task.removesuffix(f"-{scoring}"))))
    chosen = (
        (published["scoring"] == SCORINGS[name.transductive])
        & published["study"].map(_plain).isin(studies)
        & published["protocol"].map(_plain).isin(protocols)
        & (published["metric"] == metric)
    )
    return published[chosen]


def _checked(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"subject": str})
    except (OSError, ValueError) as error:  # those of pandas and of the encoding are of the second sort
        raise InputError(f"{path}: not readable as CSV in UTF-8 ({error}); fix it or get it again") from None
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise InputError(f"{path}: no column {', '.join(absent)}; expected the columns {', '.join(COLUMNS)}")
    for name in COLUMNS:
        if name not in table:
            table[name] = None
    for name in ("value", "source"):
        if table[name].isna().any():
            line = int(table[name].isna().to_numpy().argmax()) + 2
            raise InputError(f"{path}, line {line}: no {name}; every published number needs a value and its source")
    for name, words in (("scoring", SCORINGS), ("concepts", CONCEPTS)):
        table[name] = table[name].fillna(words[0])
        if not table[name].isin(words).all():
            line = int((~table[name].isin(words)).to_numpy().argmax()) + 2
            raise InputError(
                f"{path}, line {line}: {name}: found {table[name][line - 2]!r}; expected {' or '.join(words)}"
            )
    if not pd.api.types.is_numeric_dtype(table["value"]):
        raise InputError(f"{path}: column value: expected numbers, as shares from 0 to 1")
    return table[COLUMNS]


def _names(*names: str | None) -> set[str]:
    return {_plain(name) for name in names if name}


def _plain(name: str) -> str:
    return name.replace("_", "-").lower()
