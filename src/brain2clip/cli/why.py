"""``brain2clip why``: what an edit would cost, before it is made, in jobs by stage and hours from earlier benchmarks.

Without an edit: which results would be made again with the configuration as it is now, and why.

The plan is made with the configuration as it is and with the edit (:mod:`brain2clip.plan`), and compared with the
existing results (:mod:`brain2clip.plan.due`). Nothing runs and nothing is written.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import sys
import typing
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from brain2clip import records, settings
from brain2clip.internals import snakemake as internals
from brain2clip.kinds import KindError
from brain2clip.plan import Job, Plan, reasons
from brain2clip.plan.costs import Cost, recorded
from brain2clip.plan.due import Disk, due, lacking
from brain2clip.plan.needs import check
from brain2clip.preflight import owner
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[3]
#: Digests of large inputs that plans keep.
SEEN = ROOT / ".snakemake" / internals.SEEN

#: Blocks of the configuration whose keys are names.
NAMES = tuple(
    name for name, field in settings.Config.model_fields.items() if typing.get_origin(field.annotation) is dict
)


class EditError(ValueError):
    """The edit is not possible; the message says why."""


def why(config: Path, words: Sequence[str]) -> None:
    """Print what an edit would cost, or without an edit which jobs would run now.

    Parameters
    ----------
    config : path
    words : sequence of str
        A key and its value, or ``KEY=VALUE`` for each of several; or nothing.
    """
    source = str(config)
    # Kinds from outside and paths in a configuration are found from the root of the repository.
    sys.path.append(str(ROOT))
    try:
        raw, edits = settings.read(config), edits_of(words) if words else {}
        with contextlib.chdir(ROOT):
            new = edited(raw, edits, source)
            before = settings.load(raw, source)
            for key, value in edits.items():
                print(f"{source}: {key} from {shown(value_at(before, key))} to {shown(value)}")
            print(f"\n{told_of(before, settings.load(new, source), new)}" if edits else told_now(before, raw))
    except (EditError, settings.SettingsError, InputError, KindError) as error:
        sys.exit(str(error))


def told_of(before: settings.Config, after: settings.Config, given: Mapping[str, Any] | None = None) -> str:
    """The report on an edit, from the configurations before and after it, the latter also as it would be written."""
    disk = Disk(records.Seen(SEEN))
    old, plan = Plan(before), Plan(after)
    check(plan)
    anyway = due(old.jobs(), old.targets(), disk)
    jobs = due(plan.jobs(), plan.targets(), disk, old.jobs())
    _refuse_lacking(plan, jobs, disk)
    return _told(plan, as_read(after) if given is None else given, jobs, by_stage(anyway), disk, as_read(before))


def told_now(config: settings.Config, given: Mapping[str, Any]) -> str:
    """The report on the existing results: which jobs would run, and which settings have changed since."""
    disk, plan = Disk(records.Seen(SEEN)), Plan(config)
    check(plan)
    jobs = due(plan.jobs(), plan.targets(), disk)
    _refuse_lacking(plan, jobs, disk)
    return _told(plan, given, jobs, None, disk, owner.last(plan.results))


def _refuse_lacking(plan: Plan, jobs: Sequence[Job], disk: Disk) -> None:
    if absent := lacking(plan.jobs(), jobs, disk):
        more = f" (and {len(absent) - 1} more)" if absent[1:] else ""
        raise EditError(f"{absent[0]}{more}: a job would read this file, but it does not exist")


def _told(
    plan: Plan,
    given: Mapping[str, Any],
    jobs: Sequence[Job],
    anyway: Mapping[str, int] | None,
    disk: Disk,
    last: Mapping[str, Any] | None,
) -> str:
    causes = reasons.told(plan, given, jobs, disk.seen, last)
    on_gpu = by_stage(job for job in jobs if job.on_gpu)
    table = report(by_stage(jobs), anyway, recorded(Path(plan.results) / "benchmarks"), on_gpu)
    return "\n\n".join(filter(None, [causes, table]))


def by_stage(jobs: Iterable[Job]) -> dict[str, int]:
    """Number of jobs of each stage, in the order of the pipeline."""
    return dict(Counter(job.stage for job in jobs))


# ------------------------------------------------------------------------------------------------- edit


def edits_of(words: Sequence[str]) -> dict[str, Any]:
    """Values by key from ``KEY VALUE`` or from ``KEY=VALUE`` words."""
    if len(words) == 2 and "=" not in words[0]:
        return {words[0]: value_of(words[1])}
    pairs = [word.partition("=") for word in words]
    if wrong := [key for key, found, _ in pairs if not found]:
        raise EditError(f"{wrong[0]!r}: expected KEY VALUE, or KEY=VALUE for each edit")
    return {key: value_of(text) for key, _, text in pairs}


def value_of(text: str) -> Any:
    """A value, read as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EditError(f"VALUE: {text!r} is not valid YAML: {error}") from None


def edited(raw: Mapping[str, Any], edits: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A copy with other values.

    Raises
    ------
    EditError
        Where there is no such key.
    brain2clip.settings.SettingsError
        If the configuration with these values is not valid.
    """
    whole = as_read(settings.load(raw, source))
    new = copy.deepcopy(dict(raw))
    for key, value in edits.items():
        *parents, last = key.split(".")
        known: Any = whole
        for depth, name in enumerate(parents):
            known = _below(known, name, parents[:depth])
        if not (isinstance(value, dict) and parents in [[name] for name in NAMES]):  # else it is a new entry
            _below(known, last, parents)
        place = new
        for name in parents:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = value
    listed = ", ".join(f"{key}: {shown(value)}" for key, value in edits.items())
    settings.load(new, f"{source} with {listed}")
    return new


def as_read(config: settings.Config) -> dict[str, Any]:
    """Every key with its value, including defaults and neutral values."""
    found: dict[str, Any] = to_jsonable_python(config.model_dump())
    return found


def value_at(config: settings.Config, key: str) -> Any:
    """The value at a key; None if there is none."""
    place: Any = as_read(config)
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


# ------------------------------------------------------------------------------------------------- cost


def report(
    jobs: Mapping[str, int], anyway: Mapping[str, int] | None, costs: Mapping[str, Cost], gpu: Mapping[str, int]
) -> str:
    """A table of the jobs that would run; ``anyway`` has the jobs that would run without the edit, if there is one.

    ``gpu`` says how many of the jobs of a stage ask for a GPU.
    """
    if not jobs:
        return "Nothing would run."
    without_edit, anyway = anyway is None, anyway or {}
    rows: list[tuple[str, ...]] = [("stage", "jobs", "due anyway", "s per job", "CPU hours", "GPU hours")]
    for stage, count in jobs.items():
        cost = costs.get(stage)
        hours = ("no record", "", "") if cost is None else _hours(cost, count, gpu.get(stage, 0))
        rows.append((stage, str(count), str(anyway.get(stage, 0)), *hours))
    known = {stage: costs[stage] for stage in jobs if stage in costs}
    cpu = sum(jobs[stage] * cost.cpu_seconds for stage, cost in known.items())
    on_gpu = sum(gpu.get(stage, 0) * cost.seconds for stage, cost in known.items())
    rows.append(
        ("total", str(sum(jobs.values())), str(sum(anyway.values())), "", _shown_hours(cpu), _shown_hours(on_gpu))
    )
    if without_edit:
        rows = [(*row[:2], *row[3:]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.rjust(n) if i else cell.ljust(n) for i, (cell, n) in enumerate(zip(row, widths)))
             for row in rows]  # fmt: skip
    return "\n".join([*(line.rstrip() for line in lines), "", *_remarks(jobs, anyway, known, gpu)])


def _hours(cost: Cost, count: int, gpu: int) -> tuple[str, str, str]:
    on_gpu = _shown_hours(gpu * cost.seconds) if gpu else ""
    return f"{cost.seconds:.1f}", _shown_hours(count * cost.cpu_seconds), on_gpu


def _shown_hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _remarks(
    jobs: Mapping[str, int], anyway: Mapping[str, int], known: Mapping[str, Cost], gpu: Mapping[str, int]
) -> list[str]:
    lines = []
    if known:
        count = sum(cost.jobs for cost in known.values())
        lines.append(f"Hours are means of {count} recorded jobs of these stages, whatever their method and subject.")
    if any(stage in gpu for stage in known):
        lines.append("GPU hours: elapsed time of the jobs that ask for a GPU, on the machine that ran them.")
    missing = sum(count for stage, count in jobs.items() if stage not in known)
    if missing:
        lines.append(f"{missing} jobs belong to stages without a benchmark and are not in the hours.")
    if sum(anyway.values()):
        lines.append("Jobs that are due anyway would also run without the edit.")
    return lines
