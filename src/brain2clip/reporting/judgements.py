"""Judgements of generated pictures (stage ``judge``) as the rows that the statistics of retrieval take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brain2clip import artefact, stage
from brain2clip.names import RUN
from brain2clip.reporting.wording import Numbers
from brain2clip.retrieval.metric_base import MetricBase

COLUMNS = [
    *(*RUN, "generator", "source", "stimulus_id", "sample"),
    *("judge", "metric", "value", "n_candidates", "partial"),
]
#: Sources of judged pictures, with descriptions.
SOURCES = {
    "generated": "generated from the prediction",
    "nearest": "the training picture nearest to the prediction, unchanged",
    "oracle": "generated from the embedding of the seen picture itself, as for a perfect prediction",
    "another": "generated from the prediction for another test picture, which gives chance",
}
#: Name of the judge that looks at pixels alone.
PIXELS = "pixels"


class Score(MetricBase):
    """A number that a judge gives a picture; it stands where retrieval has its margin."""

    def of_run(self, rank: ArrayLike, n_candidates: int, target: ArrayLike, margin: ArrayLike) -> NDArray[np.float64]:
        """The numbers."""
        return np.asarray(margin, dtype=np.float64)

    def chance(self, n_candidates: int) -> float:
        """Not known: the row ``another`` says it."""
        return math.nan


#: That metric by its name.
SCORE = f"{Score.__module__}:{Score.__name__}"


class Scores(Numbers):
    """Numbers of judges: shares in percent, others with three decimals."""

    def number(self, value: float) -> str:
        """As they are read."""
        return super().number(value) if self._of.is_share or pd.isna(value) else f"{value:.3f}".replace("-", "−")


@dataclass(frozen=True)
class Column:
    """A column of tables.

    Attributes
    ----------
    name : str
        In records, after the name of the judge.
    measured : str
        Metric of the judgements that it is made of.
    metric : str
        Metric of retrieval that is computed of these.
    words : str
        In headers, with unit and direction.
    """

    name: str
    measured: str
    metric: str
    words: str

    @property
    def numbers(self) -> Numbers:
        """How its values are written."""
        return Scores(self.metric)


OF_PIXELS = (Column("pixcorr", "pixcorr", SCORE, "PixCorr ↑"), Column("ssim", "ssim", SCORE, "SSIM ↑"))
OF_NETWORKS = (
    Column("two-way", "rank", "2-way", "two-way (%) ↑"),
    Column("distance", "distance", SCORE, "distance ↓"),
    Column("top-1", "rank", "top-1", "Top-1 (%) ↑"),
)


def read(job: stage.Job) -> pd.DataFrame:
    """All judgements among a job's inputs ``judged``."""
    if not job.inputs.get("judged"):
        return pd.DataFrame(columns=COLUMNS)
    files = stage.progress(job.each("judged"), "reading judgements")
    return pd.concat([artefact.read_table(path, expected)[COLUMNS] for path, expected in files], ignore_index=True)


def rows_of(judged: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Retrieval rows of the judgements of one judge and source: a row per run, test picture and sample.

    Samples stand where repetitions of a query would: their mean is the value of a picture.
    """
    part = judged[judged["metric"] == column.measured]
    rank = part["value"] if column.measured == "rank" else 1.0
    return pd.DataFrame(
        {
            **{name: part[name] for name in (*RUN, "n_candidates")},
            "query": pd.factorize(part["stimulus_id"], sort=True)[0],
            **{"target": part["stimulus_id"], "rank": np.asarray(rank, dtype=np.int64), "margin": part["value"]},
            **{"pool": 0, "repetitions": "all", "task": "stimulus", "classes": False},
        }
    )


def chosen(judged: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows with these values."""
    for name, value in values.items():
        judged = judged[judged[name] == value]
    return judged
