"""From a similarity matrix to the retrieval artefacts: one row per query, and their summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.retrieval import ranks, statistics
from brain2clip.settings import Retrieval, parse

#: Columns that say which run a row belongs to, filled from the job's settings.
RUN = ("study", "band", "protocol", "method", "subject", "seed")
KEPT = 10


@dataclass(frozen=True)
class Queries:
    """Queries of one number of averaged repetitions.

    Attributes
    ----------
    repetitions : int or 'all'
    target : ndarray [Q] int
        Column of the true candidate.
    similarity : ndarray [Q, G]
    """

    repetitions: int | Literal["all"]
    target: NDArray[np.int64]
    similarity: NDArray[np.floating]


def table(queries: list[Queries], candidate_ids: NDArray[np.object_], run: dict[str, object]) -> pd.DataFrame:
    """Retrieval rows (columns in docs/architecture.md) of all queries of a run."""
    parts = []
    for one in queries:
        indices, values = ranks.best(one.similarity, KEPT)
        count = len(one.target)
        parts.append(
            pd.DataFrame(
                {
                    **{name: [run[name]] * count for name in RUN},
                    "repetitions": [str(one.repetitions)] * count,
                    "query": np.arange(count),
                    "target": candidate_ids[one.target],
                    "n_candidates": len(candidate_ids),
                    "rank": ranks.ranks(one.similarity, one.target),
                    "similarity": one.similarity[np.arange(count), one.target].astype(np.float64),
                    "top_ids": list(candidate_ids[indices]),
                    "top_similarities": list(values.astype(np.float64)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def write(job: stage.Job, queries: list[Queries], candidate_ids: NDArray[np.object_]) -> None:
    """Write rows and summary of a job."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    if not queries:
        raise stage.InputError(
            f"retrieval.repetitions {list(retrieval.repetitions)}: no stimulus of this subject has that many test "
            "trials; add a smaller number or 'all'"
        )
    rows = table(queries, candidate_ids, job.settings["run"])
    made = job.provenance()
    artefact.write_table(job.output("summary"), statistics.summary(rows, retrieval.model_dump()), made)
    artefact.write_table(job.output("rows"), rows, made)
