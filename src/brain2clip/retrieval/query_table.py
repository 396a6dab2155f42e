"""From similarities to the retrieval artefact: one row per query."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.names import RUN
from brain2clip.responses.same_samples import Recordings
from brain2clip.retrieval import similarities, tasks
from brain2clip.retrieval.tasks import Queries
from brain2clip.settings import Retrieval, parse

log = logging.getLogger("brain2clip")

#: Columns of the table.
COLUMNS = (
    *RUN,
    *("repetitions", "query", "target", "n_candidates", "rank", "similarity", "top_ids", "top_similarities"),
    *("task", "pool", "margin", "classes"),
)
#: Key of the source files in the notes of imported rows (pandas' ``attrs``).
NOTE = "imported"
#: Best candidates that a row names.
KEPT = 10


def table(queries: list[Queries], run: Mapping[str, object], pools: dict[str, Any] | None = None) -> pd.DataFrame:
    """Retrieval rows (columns in docs/architecture.md) of all queries of a run.

    Parameters
    ----------
    queries : list of Queries
    run : mapping
        Values of the columns :data:`brain2clip.names.RUN`, from the job's settings.
    pools : dict or None
        The ``retrieval.pools`` settings. Rows in pools name no best candidates.

    Raises
    ------
    ValueError
        Where a similarity is not finite (:func:`check` says which).
    """
    parts = []
    for one in queries:
        indices, values = similarities.best(one.similarity, KEPT)
        everything = np.arange(len(one.target))
        best = [list(one.ids[indices]), list(values.astype(np.float64))]
        rank = similarities.ranks(one.similarity, one.target)
        parts.append(_part(run, one, everything, rank, one.margins(), len(one.ids), best, 0))
        for number, pool in enumerate(tasks.pools_of(one, pools), 1):
            chosen, rank = tasks.in_pool(one, pool)
            margin = one.margins(chosen, pool)
            parts.append(_part(run, one, chosen, rank, margin, len(pool), [[[]] * len(chosen)] * 2, number))
    return pd.concat(parts, ignore_index=True)


def of_ranks(queries: Queries, rank: NDArray[np.int64], run: Mapping[str, object]) -> pd.DataFrame:
    """Retrieval rows from ranks only, without similarity and margin.

    Parameters
    ----------
    queries : Queries
        Its similarities are not known (NaN).
    rank : ndarray [Q] int
    run
        See :func:`table`.
    """
    count = len(rank)
    nobody: list[list[Any]] = [[[]] * count] * 2
    return _part(run, queries, np.arange(count), rank, np.full(count, np.nan), len(queries.ids), nobody, 0)


def write(job: stage.Job, queries: list[Queries], recordings: Recordings | None = None) -> None:
    """Write the rows of a job, with a note of the recordings that it tested."""
    rows = checked(job, queries)
    if recordings is not None:
        recordings.note(rows)
    artefact.write_table(job.output("rows"), rows, job.provenance())


def checked(job: stage.Job, queries: list[Queries]) -> pd.DataFrame:
    """The rows of a job, after :func:`check`."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    if not queries:
        raise stage.InputError(
            f"retrieval.repetitions {list(retrieval.repetitions)}: no stimulus of this subject has that many test "
            "trials; add a smaller number or 'all'"
        )
    for one in queries:
        check(one, job.settings["run"])
    return table(queries, job.settings["run"], retrieval.pools and retrieval.pools.model_dump())


def check(queries: Queries, run: Mapping[str, object]) -> None:
    """Refuse queries whose score would be meaningless.

    Raises
    ------
    InputError
        Where a similarity is not finite, there is one candidate, or all queries are of one class.
    """
    where = f"subject {run['subject']}, task {queries.task}, {queries.repetitions} test repetitions"
    broken = ~np.isfinite(queries.similarity)
    if broken.any():
        query, candidate = np.argwhere(broken)[0]
        raise stage.InputError(
            f"{where}, method {run['method']}, seed {run['seed']}: {broken.sum()} of {broken.size} similarities are "
            f"not finite, the first that of query {query} and candidate {queries.ids[candidate]}; no score can be "
            "computed: check the test responses and the features of the candidates for values that are not finite"
        )
    if len(queries.ids) < 2:
        raise stage.InputError(
            f"{where}: {len(queries.ids)} candidate, so every answer is right; expected several: test on more "
            "stimuli (split.test)"
        )
    if queries.classes and len(np.unique(queries.target)) == 1:
        raise stage.InputError(
            f"{where}: all {len(queries.target)} test responses are of the class {queries.ids[queries.target[0]]}, one "
            f"of {len(queries.ids)}: always naming this class would be right, so a score is meaningless. Choose a "
            "split whose test has all classes for every subject"
        )
    if queries.classes:
        absent = sorted(set(queries.ids) - set(queries.ids[queries.target]))
        if absent:
            log.warning("rank: %s: no test response of the class %s; means over classes use the other %d classes",
                        where, ", ".join(absent), len(queries.ids) - len(absent))  # fmt: skip


def _part(
    run: Mapping[str, object],
    queries: Queries,
    chosen: NDArray[np.int64],
    rank: NDArray[np.int64],
    margin: NDArray[np.float64],
    n_candidates: int,
    best: list[list[Any]],
    pool: int,
) -> pd.DataFrame:
    """Rows of some queries in one pool (0: among all candidates)."""
    count, target = len(chosen), queries.target[chosen]
    return pd.DataFrame(
        {
            **{name: [run[name]] * count for name in RUN},
            "repetitions": [str(queries.repetitions)] * count,
            "query": chosen,
            "target": queries.ids[target],
            "n_candidates": n_candidates,
            "rank": rank,
            "similarity": queries.similarity[chosen, target].astype(np.float64),
            "top_ids": best[0],
            "top_similarities": best[1],
            "task": [queries.task] * count,
            "pool": np.full(count, pool, dtype=np.int32),
            "margin": margin,
            "classes": np.full(count, queries.classes),
        }
    )
