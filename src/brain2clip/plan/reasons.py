"""Why jobs run, by the settings that were changed: ``bands.broad.h_freq 20 -> 30: 26 jobs, about 4 min, no GPU``.

Results carry the settings that made them, by the names of their stage. To find the key of the configuration behind a
changed setting, a key of the same name is put back to the old value; if the plan then gives the jobs the settings that
their results carry, it is that key. Jobs that read a result that is made again run for the same reason. New results
that the previous configuration did not have are due to the keys that were changed since.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from brain2clip import artefact, records, settings
from brain2clip.kinds import KindError
from brain2clip.plan.costs import Cost, recorded
from brain2clip.plan.jobs import Job, Plan
from brain2clip.screen import duration
from brain2clip.stage import InputError

Path_ = tuple[str, ...]
#: At most this many keys are put back; differences that remain are shown by the names of the stage.
TRIED = 24
#: At most this many reasons are listed.
TOLD = 8
NOT_MADE = "not made yet"
MADE_AGAIN = "made from files that have changed since"
OTHERWISE = "asked for, or reasons of Snakemake's own (snakemake -n -p shows them)"
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """A setting of a job that differs from its results."""

    job: str
    stage: str
    path: Path_
    old: Any
    new: Any


@dataclass
class Found:
    """Reasons of one job."""

    differences: list[Difference] = field(default_factory=list)
    causes: set[str] = field(default_factory=set)


def told(
    plan: Plan,
    given: Mapping[str, Any],
    running: Sequence[Job],
    seen: records.Seen | None = None,
    last: Mapping[str, Any] | None = None,
) -> str:
    """The reasons in words, one for each line, with jobs and time; empty if nothing runs.

    Parameters
    ----------
    plan : Plan
    given : mapping
        The configuration that it was made of, as it was given.
    running : sequence of Job
        Jobs that run.
    seen : brain2clip.records.Seen, optional
        What is known of the contents of large inputs.
    last : mapping, optional
        The previous configuration.
    """
    found = causes(plan, given, running, seen, last)
    if not found:
        return ""
    costs = recorded(Path(plan.results) / "benchmarks")
    lines = [f"  {cause}: {priced(jobs, costs)}" for cause, jobs in list(found.items())[:TOLD]]
    if rest := list(found)[TOLD:]:
        lines.append(f"  and {len(rest)} more reasons")
    if sum(map(len, found.values())) > len(running):
        lines.append("  (a job may have several reasons)")
    return "\n".join(["Why:", *lines])


def priced(jobs: Sequence[Job], costs: Mapping[str, Cost]) -> str:
    """Number of jobs, and their total time, by earlier jobs of the same stages."""
    known = [job for job in jobs if job.stage in costs]
    parts = [f"{len(jobs)} job{'s' if jobs[1:] else ''}"]
    if known:
        word = "about" if len(known) == len(jobs) else "more than"
        parts.append(f"{word} {duration(sum(costs[job.stage].seconds for job in known))}")
    on_gpu = [job for job in jobs if job.on_gpu]
    timed = sum(costs[job.stage].seconds for job in on_gpu if job.stage in costs)
    wanting = f"{duration(timed)} of this on a GPU" if timed else f"{len(on_gpu)} of them on a GPU"
    parts.append(wanting if on_gpu else "no GPU")
    return ", ".join(parts)


def causes(
    plan: Plan,
    given: Mapping[str, Any],
    running: Sequence[Job],
    seen: records.Seen | None = None,
    last: Mapping[str, Any] | None = None,
) -> dict[str, list[Job]]:
    """Jobs by the reason for which they run, those of most jobs first; a job may have several."""
    seen = records.Seen() if seen is None else seen
    made = {output for job in plan.jobs().values() for output in job.outputs}
    found = {job.outputs[0]: _own(job, made, seen) for job in running}
    differences = [one for job in found.values() for one in job.differences]
    missing = {first for first, job in found.items() if NOT_MADE in job.causes}
    now = _whole(plan.config)
    for key, old, explained, new_jobs in _keys(plan, given, differences, missing):
        text = _change(key, old, _at(now, key))
        for one in explained:
            found[one.job].causes.add(text)
            found[one.job].differences.remove(one)
        for first in new_jobs:
            found[first].causes = {text}
    still = [first for first in missing if NOT_MADE in found[first].causes]
    for key, old, new_jobs in _asking(plan, given, still, last):
        text = _change(key, old, _at(now, key))
        for first in new_jobs:
            found[first].causes.discard(NOT_MADE)
            found[first].causes.add(text)
        for one in [one for one in differences if old is _ABSENT and one.path[: len(key)] == key]:
            if one in found[one.job].differences:  # as tables of what there was, with a new part
                found[one.job].differences.remove(one)
                found[one.job].causes.add(text)
    for one in (one for job in found.values() for one in job.differences):
        found[one.job].causes.add(f"{one.stage}: {'.'.join(one.path)} {_word(one.old)} -> {_word(one.new)}")
    makers = {output: job.outputs[0] for job in running for output in job.outputs}
    by_cause: dict[str, list[Job]] = {}
    for job in running:  # in the order of the pipeline
        own = found[job.outputs[0]].causes
        if NOT_MADE not in own:  # else it would run anyway
            above = {makers[path] for paths in job.inputs.values() for path in paths if path in makers}
            own |= {cause for first in above for cause in found[first].causes}
        if len(own) > 1:
            own.discard(MADE_AGAIN)
        for cause in own or {OTHERWISE}:
            by_cause.setdefault(cause, []).append(job)
    return dict(sorted(by_cause.items(), key=lambda item: (-len(item[1]), item[0])))


def _own(job: Job, made: Container[str], seen: records.Seen) -> Found:
    """Why a job runs by what its own results carry."""
    there = [Path(path) for path in job.outputs if Path(path).exists()]
    if not there:
        return Found(causes={NOT_MADE})
    gone = Found(causes={"a file was deleted"} if len(there) < len(job.outputs) else set())
    try:
        carried = next((one for one in map(records.provenance, there) if one is not None), None)
    except (artefact.ArtefactError, OSError, UnicodeDecodeError):
        return Found(causes={f"{there[0]} cannot be read"})
    if carried is None:
        return gone
    found = Found()
    old, new = _flat(carried.settings), _flat(to_jsonable_python(job.spec.settings))
    for path in {**old, **new}:
        if (was := old.get(path, _ABSENT)) != (now := new.get(path, _ABSENT)):
            found.differences.append(Difference(job.outputs[0], job.stage, path, was, now))
    if not found.differences:  # else it may be one that was not asked for before
        found.causes |= gone.causes
    if carried.code != job.spec.code:
        found.causes.add(f"other code of {job.stage}")
    elif not found.differences and carried.origin != job.spec.origin:
        found.causes.add(MADE_AGAIN)
    leaves = {name: path for name, path in artefact.named(job.inputs).items() if path not in made}
    try:
        if changed := records.other_inputs(job.outputs, leaves, seen):
            _, another, name = changed.partition(": made from another ")
            found.causes.add(f"{name} has changed" if another else changed)
    except OSError:  # what cannot be read, its job says
        pass
    return found


def _keys(
    plan: Plan, given: Mapping[str, Any], differences: Sequence[Difference], missing: Iterable[str]
) -> Iterator[tuple[Path_, Any, list[Difference], list[str]]]:
    """Keys of the configuration, each with its old value, the differences behind which it stands, and its new jobs."""
    whole = _flat(_whole(plan.config))
    written = set(_flat(given))
    candidates = {
        (key, repr(one.old)): one.old
        for one in differences
        for key, value in whole.items()
        if key[-1] == one.path[-1] and value == one.new
    }
    # Those that stand in the file first: others have their value from these, or from nowhere.
    tried = sorted(candidates, key=lambda one: (one[0] not in written, len(one[0]), one[0]))[:TRIED]
    effects = []
    for key, name in tried:
        old = candidates[key, name]
        jobs = _jobs_with(given, {key: old})
        if jobs is None:  # not valid alone, as the edges of a band that both were moved
            beside = {other: candidates[other, word] for other, word in tried if other[:-1] == key[:-1]}
            jobs = _jobs_with(given, {**beside, key: old})
        if jobs is not None:
            explained = [
                one
                for one in differences
                if one.job in jobs
                and one.old == old
                and _flat(to_jsonable_python(jobs[one.job].spec.settings)).get(one.path, _ABSENT) == one.old
            ]
            effects.append((key, old, explained, [first for first in missing if first not in jobs]))
    open_ones = list(differences)
    while effects:
        best = max(effects, key=lambda one: sum(item in open_ones for item in one[2]))
        explained = [item for item in best[2] if item in open_ones]
        if not explained:
            return
        yield best[0], best[1], explained, best[3]
        open_ones = [item for item in open_ones if item not in explained]
        effects.remove(best)


def _asking(
    plan: Plan, given: Mapping[str, Any], missing: Iterable[str], last: Mapping[str, Any] | None
) -> Iterator[tuple[Path_, Any, list[str]]]:
    """Keys that were changed since the configuration before, each with its old value and the jobs that it asks for."""
    try:
        before = None if last is None else Plan(settings.load(last))
        known = before.jobs() if before else {}
    except (settings.SettingsError, InputError, KindError):  # of another version of this project, or data that is gone
        return
    new = [first for first in missing if first not in known]
    if before is None or not new:
        return
    was = _whole(before.config)
    keys = list(_changed(was, _whole(plan.config)))
    for key in keys[:TRIED]:
        old = _at(was, key)
        jobs = known if len(keys) == 1 else _jobs_with(given, {key: old})
        if jobs is not None and (asked := [first for first in new if first not in jobs]):
            yield key, old, asked


def _changed(was: Any, now: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Keys that are new or have another value, the nearest to the top."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name, value in now.items():
            yield from _changed(was.get(name, _ABSENT), value, (*path, str(name)))
    elif was != now:
        yield path


def _jobs_with(given: Mapping[str, Any], values: Mapping[Path_, Any]) -> Mapping[str, Job] | None:
    """Jobs of the configuration with some other values; None where these are not valid."""
    other: Any = copy.deepcopy(dict(given))
    for key, value in values.items():
        place = other
        for name in key[:-1]:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        if value is _ABSENT:
            place.pop(key[-1], None)
        else:
            place[key[-1]] = value
    try:
        return Plan(settings.load(other)).jobs()
    except (settings.SettingsError, InputError, KindError):
        return None


def _whole(config: settings.Config) -> Any:
    return to_jsonable_python(config.model_dump())


def _flat(value: Any, path: Path_ = ()) -> dict[Path_, Any]:
    """Leaves of nested mappings by their paths."""
    if not isinstance(value, Mapping) or not value:
        return {path: value} if path else {}
    found: dict[Path_, Any] = {}
    for name, below in value.items():
        found |= _flat(below, (*path, str(name)))
    return found


def _at(value: Any, path: Path_) -> Any:
    for name in path:
        value = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def _change(key: Path_, old: Any, new: Any) -> str:
    """A key that was changed, in words."""
    name = ".".join(key)
    return f"{name} is new" if old is _ABSENT and isinstance(new, Mapping) else f"{name} {_word(old)} -> {_word(new)}"


def _word(value: Any) -> str:
    """A value as it would be written in the file, whole numbers without a point."""
    if value is _ABSENT:
        return "(default)"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_word, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
