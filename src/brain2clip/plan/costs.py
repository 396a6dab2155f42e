"""What jobs took in earlier runs, from the tables that Snakemake wrote for each of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean


@dataclass(frozen=True)
class Cost:
    """Mean over the recorded jobs of a stage.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Elapsed time and processor time of a job, s.
    jobs : int
        How many were recorded.
    """

    seconds: float
    cpu_seconds: float
    jobs: int


def recorded(benchmarks: Path) -> dict[str, Cost]:
    """Costs by stage, from the tables that snakemake wrote for each job (``benchmarks/STAGE/…/JOB.tsv``)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        stage = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                found.setdefault(stage, []).append((_number(row["s"]), _number(row["cpu_time"])))
    return {
        stage: Cost(fmean(seconds for seconds, _ in rows), fmean(cpu for _, cpu in rows), len(rows))
        for stage, rows in found.items()
    }


def _number(text: str) -> float:
    """A number of a benchmark, which may be a dash or NA for a job that was too short to be looked at."""
    try:
        return float(text)
    except ValueError:
        return 0.0
