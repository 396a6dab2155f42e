"""Cost of a configuration: time, memory and disk by stage, from benchmarks of earlier runs or of the project.

``workflow/costs.csv`` has the cost of each unit of :mod:`brain2clip.plan.amounts` on a reference machine (2 cores of an
AMD EPYC at 2.5 to 3.5 GHz, one thread a job; one NVIDIA H200), and whether that was measured or estimated.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TypeVar

from brain2clip.internals import versions
from brain2clip.plan.amounts import Amounts, Work
from brain2clip.plan.jobs import STAGES

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan

K = TypeVar("K")
TABLE = Path("workflow/costs.csv")
#: Processor time that is too long for anybody to wait, s.
WEEKS = 14 * 86400.0
#: Basis of a number, from the best to the worst. measured: in earlier runs of this configuration; scaled: benchmarks
#: of the project times the amount of work; estimated: with a rate or an amount that was not measured.
Basis = Literal["measured", "scaled", "estimated"]
BASES: tuple[Basis, ...] = ("measured", "scaled", "estimated")


@dataclass(frozen=True)
class Cost:
    """Mean over the recorded jobs of a stage.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Elapsed time and processor time of a job, s.
    jobs : int
        How many were recorded.
    memory : float
        The most that one of them took, GB.
    """

    seconds: float
    cpu_seconds: float
    jobs: int
    memory: float = 0.0


def recorded(benchmarks: Path) -> dict[str, Cost]:
    """Costs by stage, from the tables that snakemake wrote for each job (``benchmarks/STAGE/…/JOB.tsv``)."""
    return _means(benchmarks, lambda parts: parts[0].removesuffix(".tsv"))


def recorded_by_method(benchmarks: Path) -> dict[tuple[str, str], Cost]:
    """Costs by stage and method, of jobs that have one (``benchmarks/STAGE/STUDY/SIGNAL/PROTOCOL/METHOD/JOB.tsv``)."""
    return _means(benchmarks, lambda parts: (parts[0], parts[4]) if len(parts) == 6 else None)


def _means(benchmarks: Path, key_of: Callable[[tuple[str, ...]], K | None]) -> dict[K, Cost]:
    """Means over jobs with the same key, which is made of the parts of the path of a benchmark."""
    found: dict[K, list[tuple[float, float, float]]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        if (key := key_of(path.relative_to(benchmarks).parts)) is None:
            continue
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                numbers = _number(row["s"]), _number(row["cpu_time"]), _number(row.get("max_rss") or "")
                found.setdefault(key, []).append(numbers)
    columns = {key: list(zip(*rows, strict=True)) for key, rows in found.items()}
    return {
        key: Cost(fmean(seconds), fmean(cpu), len(cpu), max(memory) / 1024)
        for key, (seconds, cpu, memory) in columns.items()
    }


def _number(text: str) -> float:
    """A number of a benchmark, which may be a dash or NA for a job that was too short to be measured."""
    try:
        return float(text)
    except ValueError:
        return 0.0


# -------------------------------------------------------------------------------------------- before a run


class Rates:
    """Cost of units on the reference machine.

    Parameters
    ----------
    path : Path
        The shipped table.
    """

    def __init__(self, path: Path) -> None:
        self.rates: dict[tuple[str, str], dict[str, float]] = {}
        self.guessed: set[tuple[str, str, str]] = set()
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                self.rates.setdefault((row["stage"], row["on"]), {})[row["of"]] = float(row["amount"])
                if row["measured"] != "yes":
                    self.guessed.add((row["stage"], row["on"], row["of"]))

    def of(self, stage: str, on: str, amounts: Mapping[str, float]) -> tuple[float, bool]:
        """Sum over the units of a job, and whether half of it or more stands on measured rates."""
        rates = self.rates.get((stage, on), {})
        parts = {unit: rate * ({"job": 1.0} | dict(amounts)).get(unit, 0.0) for unit, rate in rates.items()}
        measured = sum(value for unit, value in parts.items() if (stage, on, unit) not in self.guessed)
        return sum(parts.values()), 2 * measured >= sum(parts.values())


@dataclass
class Estimate:
    """Cost of all jobs of a stage, or of a method.

    Attributes
    ----------
    stage : str
        Or the name of the method; empty: what several methods share.
    jobs : int
    cpu_s, gpu_s, wall_s : float
        Processor time, time on a GPU, and elapsed time with so many cores and one GPU, s.
    memory, gpu_memory : float
        Of the largest job, GB.
    disk : float
        What is left on disk, GB.
    basis : Basis
    """

    stage: str
    jobs: int = 0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    wall_s: float = 0.0
    memory: float = 0.0
    gpu_memory: float = 0.0
    disk: float = 0.0
    basis: Basis = "measured"

    def worsen(self, basis: Basis) -> None:
        """The basis is that of the least certain part."""
        self.basis = max(self.basis, basis, key=BASES.index)


def estimate(plan: Plan, cores: int, gpu: bool, table: Path = TABLE) -> list[Estimate]:
    """Cost of every stage in the order of the pipeline, if everything is made from the start.

    Parameters
    ----------
    plan : Plan
    cores : int
    gpu : bool
        Whether features and training run on a GPU, one job at a time.
    table : Path
        The shipped rates.
    """
    found = _counted(plan, cores, gpu, table, lambda work: work.stage)
    return sorted(found.values(), key=lambda one: STAGES.index(one.stage))


def by_method(plan: Plan, cores: int, gpu: bool, table: Path = TABLE) -> list[Estimate]:
    """The same for every method: training, ranking and inspection of its models; first the part that methods share.

    Parameters
    ----------
    plan, cores, gpu, table
        As in :func:`estimate`.
    """
    found = _counted(plan, cores, gpu, table, lambda work: work.method)
    order = ["", *plan.config.methods]
    return sorted(found.values(), key=lambda one: order.index(one.stage))


def _counted(plan: Plan, cores: int, gpu: bool, table: Path, name_of: Callable[[Work], str]) -> dict[str, Estimate]:
    """All jobs, those of one name together."""
    rates, benchmarks = Rates(table), Path(plan.results) / "benchmarks"
    found: dict[str, Estimate] = {}
    of_stages, of_methods = recorded(benchmarks), recorded_by_method(benchmarks)
    for work in Amounts(plan).works():
        own = of_methods.get((work.stage, work.method)) if work.method else of_stages.get(work.stage)
        one = found.setdefault(name_of(work), Estimate(name_of(work)))
        _add(one, work, rates, own, cores, gpu and work.on_gpu)
    return found


def _add(one: Estimate, work: Work, rates: Rates, own: Cost | None, cores: int, gpu: bool) -> None:
    """Count jobs in."""
    one.jobs += work.jobs
    one.disk += work.jobs * work.disk
    if own is not None:
        seconds, cpu, memory = own.seconds, own.cpu_seconds or own.seconds, own.memory
    else:
        seconds, measured = rates.of(work.stage, "gpu" if gpu else "cpu", work.of)
        memory, _ = rates.of(work.stage, "memory", work.memory)
        cpu = seconds
        one.worsen("scaled" if measured and work.known else "estimated")
    one.memory = max(one.memory, memory)
    one.cpu_s += work.jobs * cpu
    if gpu:
        one.gpu_s += work.jobs * seconds
        one.wall_s += work.jobs * seconds
        one.gpu_memory = max(one.gpu_memory, rates.of(work.stage, "gpu memory", work.memory)[0])
    else:
        one.wall_s += seconds * -(-work.jobs // cores)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """All stages, one after the other."""
    whole = Estimate("total")
    for one in estimates:
        for name in ("jobs", "cpu_s", "gpu_s", "wall_s", "disk"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        for name in ("memory", "gpu_memory"):
            setattr(whole, name, max(getattr(whole, name), getattr(one, name)))
        whole.worsen(one.basis)
    return whole


def has_gpu() -> bool:
    """Whether this machine has a GPU of NVIDIA with a working driver, without importing torch."""
    there = versions.DRIVER.exists() or shutil.which("nvidia-smi") is not None
    return there and versions.old_driver() is None


# ------------------------------------------------------------------------------------------------- in words


def for_a_gpu(plan: Plan) -> bool:
    """Whether a configuration takes weeks on a processor, but at most a tenth of that with a GPU."""
    alone, helped = (total(estimate(plan, 1, gpu)).cpu_s for gpu in (False, True))
    return alone > WEEKS and 10 * helped <= alone


def told(plan: Plan, gpu: bool) -> str:
    """The cost of the whole configuration in one line."""
    whole = total(estimate(plan, 1, gpu))
    on_gpu = f", including {hours(whole.gpu_s)} with a GPU" if gpu else ""
    return (
        f"This configuration, run from the start: about {hours(whole.cpu_s)} of processor time{on_gpu}, up to "
        f"{whole.memory:.2g} GB of memory, {whole.disk:.2g} GB of disk (by stage and method: brain2clip estimate)."
    )


def hours(seconds: float) -> str:
    """Time in words: seconds, minutes, hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def methods_told(plan: Plan, cores: int, gpu: bool) -> str | None:
    """A table by method; None where there is one method only."""
    found = by_method(plan, cores, gpu)
    return None if len(found) < 3 else report(found, cores, gpu, "method")


def report(estimates: Sequence[Estimate], cores: int, gpu: bool, what: str = "stage") -> str:
    """Table by stage, or by method."""
    head = [what, "jobs", "CPU hours", "GPU hours", f"with {cores} core{'' if cores == 1 else 's'}"]
    rows = [[*head, "memory GB", "GPU memory GB", "disk GB", "by"]]
    for one in (*estimates, total(estimates)):
        on_gpu = _shown(one.gpu_s / 3600) if one.gpu_s else ""
        memory = f"{one.gpu_memory:.1f}" if one.gpu_memory else ""
        cells = [_shown(one.cpu_s / 3600), on_gpu, hours(one.wall_s), f"{one.memory:.1f}", memory, _shown(one.disk)]
        rows.append([one.stage or "shared by methods", str(one.jobs), *cells, one.basis])
    if not gpu:
        rows = [[cell for place, cell in enumerate(row) if place not in (3, 6)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = [
        "  ".join(cell.ljust(n) if i in (0, last) else cell.rjust(n) for i, (cell, n) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"
