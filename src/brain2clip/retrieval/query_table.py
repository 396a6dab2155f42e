"""From similarities to the retrieval artefact: one row per query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.names import RUN
from brain2clip.retrieval import similarities, tasks
from brain2clip.retrieval.tasks import Queries
from brain2clip.settings import Retrieval, parse

#: Columns of the table.
COLUMNS = (
    *RUN,
    *("repetitions", "query", "target", "n_candidates", "rank", "similarity", "top_ids", "top_similarities"),
    *("task", "pool"),
)
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
    brain2clip.stage.InputError
        Where a similarity is not finite: no rank, of whatever query, can be made from it.
    """
    parts = []
    for one in queries:
        _check_finite(one, run)
        indices, values = similarities.best(one.similarity, KEPT)
        everything = np.arange(len(one.target))
        best = [list(one.ids[indices]), list(values.astype(np.float64))]
        rank = similarities.ranks(one.similarity, one.target)
        parts.append(_part(run, one, everything, rank, len(one.ids), best, 0))
        for number, pool in enumerate(tasks.pools_of(one, pools), 1):
            chosen, rank = tasks.in_pool(one, pool)
            parts.append(_part(run, one, chosen, rank, len(pool), [[[]] * len(chosen)] * 2, number))
    return pd.concat(parts, ignore_index=True)


def write(job: stage.Job, queries: list[Queries]) -> None:
    """Write the rows of a job."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    if not queries:
        raise stage.InputError(
            f"retrieval.repetitions {list(retrieval.repetitions)}: no stimulus of this subject has that many test "
            "trials; add a smaller number or 'all'"
        )
    rows = table(queries, job.settings["run"], retrieval.pools and retrieval.pools.model_dump())
    artefact.write_table(job.output("rows"), rows, job.provenance())


def _check_finite(queries: Queries, run: Mapping[str, object]) -> None:
    bad = ~np.isfinite(queries.similarity)
    if bad.any():
        query, candidate = np.argwhere(bad)[0]
        raise stage.InputError(
            f"task {queries.task}, method {run['method']}, subject {run['subject']}, seed {run['seed']}: "
            f"{bad.sum()} of {bad.size} similarities are not finite, the first that of query {query} and candidate "
            f"{queries.ids[candidate]}; expected numbers, for no rank can be made from others\n"
            "  look for what is not finite in the candidate's embedding, in the responses of this subject, or in what "
            "the method computes from them"
        )


def _part(
    run: Mapping[str, object],
    queries: Queries,
    chosen: NDArray[np.int64],
    rank: NDArray[np.int64],
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
        }
    )
