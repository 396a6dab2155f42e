"""What an edit would cost, before it is made: jobs by rule, and hours from the benchmarks of earlier runs.

``make why KEY=bands.slow.h_freq VALUE=7`` asks snakemake twice for a plan, with the configuration as it is and with the
edit in a temporary copy; nothing runs and no result is written. The calls behind it: ``snakemake -n --quiet rules
--configfile COPY``.
"""

from __future__ import annotations

import argparse
import copy
import csv
import difflib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from brain2clip import settings  # noqa: E402

#: Blocks of the configuration whose keys are names.
NAMES = ("presets", "studies", "bands", "towers", "protocols", "methods", "experiments", "tables", "exports")


class EditError(ValueError):
    """The edit is not possible; the message says why."""


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Jobs and hours that an edit of the configuration would cost.")
    parser.add_argument("config", type=Path, help="a complete configuration, e.g. workflow/demo.yaml")
    parser.add_argument("key", help="dotted key, e.g. bands.broad.h_freq")
    parser.add_argument("value", help="new value as in YAML, e.g. 30 or '[0, 1]'")
    given = parser.parse_args(arguments)
    try:
        raw = read(given.config)
        new = edited(raw, given.key, value_of(given.value), str(given.config))
        print(f"{given.config}: {given.key} from {shown(value_at(raw, given.key))} to {given.value}\n")
        due, jobs = planned(raw), planned(new)
    except (EditError, settings.SettingsError) as error:
        sys.exit(str(error))
    results = ROOT / settings.load(new).results
    print(report(jobs, due, recorded(results / "benchmarks"), gpu_rules()))


# ------------------------------------------------------------------------------------------------- edit


def read(config: Path) -> dict[str, Any]:
    """A configuration as it is written."""
    try:
        raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise EditError(f"{config}: not a readable configuration: {error}") from None
    return raw if isinstance(raw, dict) else {}


def value_of(text: str) -> Any:
    """A value as it would stand in the file."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EditError(f"VALUE: {text!r} is no YAML: {error}") from None


def edited(raw: Mapping[str, Any], key: str, value: Any, source: str) -> dict[str, Any]:
    """A copy with one other value.

    Raises
    ------
    EditError
        Where there is no such key.
    brain2clip.settings.SettingsError
        Where the value is not valid.
    """
    *parents, last = key.split(".")
    known = settings.load(raw, source).model_dump()
    for depth, name in enumerate(parents):
        known = _below(known, name, parents[:depth])
    if not (isinstance(value, dict) and parents in [[name] for name in NAMES]):  # else it is a new entry
        _below(known, last, parents)
    new = copy.deepcopy(dict(raw))
    place = new
    for name in parents:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[last] = value
    settings.load(new, f"{source} with {key}: {value}")
    return new


def value_at(raw: Mapping[str, Any], key: str) -> Any:
    """What stands at a key, defaults included; None where nothing does."""
    place: Any = to_jsonable_python(settings.load(raw).model_dump())
    for name in key.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place


def shown(value: Any) -> str:
    """A value on one line, as in YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _below(place: Any, name: str, path: list[str]) -> Any:
    keys = list(place) if isinstance(place, dict) else []
    if name not in keys:
        close = difflib.get_close_matches(name, keys, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(keys)})" if keys else ""
        raise EditError(f"KEY: {'.'.join([*path, name])}: no such setting{hint}")
    return place[name]


# ------------------------------------------------------------------------------------------------- plan


def planned(raw: Mapping[str, Any]) -> dict[str, int]:
    """Jobs by rule of a dry run with a configuration, without the rule that only collects."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(dict(raw), sort_keys=False), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "-n",
            "--quiet",
            "rules",
            "--cores",
            "1",
            "--configfile",
            str(config),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        raise EditError(f"snakemake cannot plan this:\n{output.strip()[-3000:]}")
    table = re.search(r"Job stats:\njob\s+count\n[- ]+\n(.*?)\ntotal", output, re.DOTALL)
    counts = [line.split() for line in table[1].splitlines()] if table else []
    return {rule: int(count) for rule, count in counts if rule != "all"}


def gpu_rules() -> set[str]:
    """Rules that ask for a GPU."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    blocks = re.split(r"^rule (\w+):", text, flags=re.MULTILINE)[1:]
    return {name for name, block in zip(blocks[::2], blocks[1::2]) if re.search(r"^\s+gpu=", block, re.MULTILINE)}


# ------------------------------------------------------------------------------------------------- cost


@dataclass(frozen=True)
class Cost:
    """Mean over the recorded jobs of a rule.

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
    """Costs by rule, from the tables that snakemake wrote for each job (``benchmarks/RULE/…/JOB.tsv``)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                found.setdefault(rule, []).append((_number(row["s"]), _number(row["cpu_time"])))
    return {
        rule: Cost(fmean(seconds for seconds, _ in rows), fmean(cpu for _, cpu in rows), len(rows))
        for rule, rows in found.items()
    }


def report(jobs: Mapping[str, int], due: Mapping[str, int], costs: Mapping[str, Cost], gpu: set[str]) -> str:
    """A table of what would run; ``due`` is what would run without the edit."""
    if not jobs:
        return "Nothing would run."
    rows = [("rule", "jobs", "due anyway", "s per job", "CPU hours", "GPU hours")]
    for rule, count in jobs.items():
        cost = costs.get(rule)
        hours = ("no record", "", "") if cost is None else _hours(cost, count, rule in gpu)
        rows.append((rule, str(count), str(due.get(rule, 0)), *hours))
    known = {rule: costs[rule] for rule in jobs if rule in costs}
    cpu = sum(jobs[rule] * cost.cpu_seconds for rule, cost in known.items())
    on_gpu = sum(jobs[rule] * cost.seconds for rule, cost in known.items() if rule in gpu)
    rows.append(("total", str(sum(jobs.values())), str(sum(due.values())), "", _shown_hours(cpu), _shown_hours(on_gpu)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.rjust(n) if i else cell.ljust(n) for i, (cell, n) in enumerate(zip(row, widths)))
             for row in rows]  # fmt: skip
    return "\n".join([*(line.rstrip() for line in lines), "", *_remarks(jobs, due, known, gpu)])


def _hours(cost: Cost, count: int, gpu: bool) -> tuple[str, str, str]:
    on_gpu = _shown_hours(count * cost.seconds) if gpu else ""
    return f"{cost.seconds:.1f}", _shown_hours(count * cost.cpu_seconds), on_gpu


def _shown_hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _remarks(jobs: Mapping[str, int], due: Mapping[str, int], known: Mapping[str, Cost], gpu: set[str]) -> list[str]:
    lines = []
    if known:
        count = sum(cost.jobs for cost in known.values())
        lines.append(f"Hours are means of {count} recorded jobs of these rules, whatever their method and subject.")
    if any(rule in gpu for rule in known):
        lines.append("GPU hours: elapsed time of the jobs that ask for a GPU, on the machine that ran them.")
    missing = sum(count for rule, count in jobs.items() if rule not in known)
    if missing:
        lines.append(f"{missing} jobs are of rules without a benchmark and not in the hours.")
    if sum(due.values()):
        lines.append("Jobs that are due anyway would run without the edit, too.")
    return lines


def _number(text: str) -> float:
    """A number of a benchmark, which may be a dash or NA for a job that was too short to be looked at."""
    try:
        return float(text)
    except ValueError:
        return 0.0


if __name__ == "__main__":
    main()
