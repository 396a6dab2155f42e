"""Check of a configuration and its data without computing anything; all errors at once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip.names import counted
from brain2clip.plan import needs
from brain2clip.preflight import machine, owner
from brain2clip.preflight.looks import Budget, Look
from brain2clip.readers.attempts import Attempts

if TYPE_CHECKING:
    from brain2clip.plan import Plan

log = logging.getLogger("brain2clip")

#: Samples and signals that are read in total, bytes in double precision; this takes some seconds.
SAMPLES_BYTES = 2**29
#: Pictures that are opened, at most; the existence of all pictures is checked in any case.
PICTURES = 100


@dataclass
class Report:
    """What was found.

    Attributes
    ----------
    attempts : Attempts
        All that is wrong.
    lines : list of str
        What was seen.
    notes : list of str
        Warnings that jobs would log.
    """

    attempts: Attempts = field(default_factory=Attempts)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def faults(self) -> Iterator[str]:
        """Sentences on all errors, each with the places where it was found."""
        for sentence, places in self.attempts.refusals.items():
            yield sentence + (f"\n  found in: {_some(places)}" if len(places) > 1 else "")


def _some(places: list[str], most: int = 6) -> str:
    more = f" and {len(places) - most} more" if len(places) > most else ""
    return ", ".join(places[:most]) + more


def looked(plan: Plan, given: list[str]) -> Report:
    """Check a configuration and its data.

    Parameters
    ----------
    plan : Plan
    given : list of str
        Files of the configuration.

    Notes
    -----
    Files and settings are read; nothing is written.
    """
    report, budget = Report(), Budget(SAMPLES_BYTES)
    attempts = report.attempts
    attempts(None, owner.check, plan.results, given)
    check_settings(plan, attempts)
    with collected(report.notes):
        for name in _towers(plan):
            told = attempts(None, machine.check_weights, name, plan.config.towers[name])
            report.lines.append(f"tower {name}: {plan.config.towers[name].model}")
            report.notes += [] if told is None else [f"towers.{name}: {told}"]
        looks = {name: of_study(plan, name, attempts, budget, report.lines) for name in studies(plan)}
    _machine(plan, looks, report)
    if not attempts.count:
        attempts(None, plan.jobs)
    return report


def check_settings(plan: Plan, attempts: Attempts) -> None:
    """Errors in the settings alone."""
    for sentence in needs.problems(plan):
        attempts.refuse(sentence)
    needs.check_towers(plan, attempts)
    check_imported(plan, attempts)
    for label, one in plan.config.experiments.items():
        known = [name for name in one.methods if plan.method(name).known_classes]
        if known and plan.study(one.study).zero_shot:
            split: Any = getattr(plan.block(one.study), "split", None)
            seen = f"; if the test shows the pictures of training again, set studies.{one.study}.split.concepts: seen"
            again = "" if split is None or split.by == "concepts" else seen
            attempts.refuse(
                f"experiments.{label}.methods: {known[0]!r} (kind {plan.method(known[0]).kind}) knows only the "
                f"classes that it was trained on, but the test of study {one.study!r} shows others; expected a "
                "method that compares with CLIP: leave this method out, or give categories that are in training and "
                f"test{again}"
            )


def check_imported(plan: Plan, attempts: Attempts) -> None:
    """Files of imported results: that they exist, and that they have the results of the runs."""
    files: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    elsewhere = set(plan.methods(ranked_by="imported"))
    for one in plan.config.experiments.values():
        if not elsewhere & set(one.methods):
            continue
        subjects: tuple[str, ...] = attempts((), plan.subjects, one.study)
        if subjects:  # that there are none is a fault of the study, whose sentence is the same
            for run in (run for run in plan.runs_of(one) if run.method in elsewhere):
                runs = files.setdefault((plan.imported_file(run), run.method, run.study), [])
                runs.append((run.subject, run.seed))
    for (path, name, study), runs in files.items():
        from brain2clip.retrieval import imported  # pandas: only where there is such a method

        with attempts.within(path):
            method: Any = plan.method(name)
            attempts(None, imported.check_file, Path(path), method, plan.subjects(study), runs)


def of_study(plan: Plan, name: str, attempts: Attempts, budget: Budget, lines: list[str]) -> Look:
    """Look at the data of a study."""
    study, look = plan.study(name), Look()
    around = getattr(study, "look_around", None)
    look.subjects = attempts((), study.subjects) if around is None else around(attempts)
    one = looker(plan, name, study, attempts, look, budget)
    if hasattr(study, "absent"):  # of a dataset that is downloaded
        look.absent += attempts([], study.absent)
    for subject in look.subjects:
        if around is None and not _there(attempts([""], study.files, subject)):
            look.absent.append(subject)
        else:
            one.subject(subject)
    check_training(plan, name, look.untrained, attempts)
    check_sessions(plan, name, look.sessions, attempts)
    for note in one.noted() if hasattr(one, "noted") else ():
        log.warning(note)
    sfreq = getattr(study.block, "sfreq", None)
    if look.absent and sfreq is not None:
        one.promised(sfreq)
    lines.append(f"study {name} ({plan.block(name).kind}): {counted(len(look.subjects), 'subject')}")
    lines += [f"  {line}" for line in (*look.told(), *_candidates(study, look, attempts))]
    return look


def check_training(plan: Plan, study: str, untrained: Collection[str], attempts: Attempts) -> None:
    """Refuse experiments that ask for models of subjects who have test trials only (``split.training: optional``)."""
    for label, experiment in plan.config.experiments.items():
        runs = plan.runs_of(experiment) if experiment.study == study and untrained else []
        for protocol in experiment.protocols:
            own = [run for run in runs if run.protocol == protocol and plan.method(run.method).trained]
            # A joint model has an input layer for those alone who trained it.
            joint = plan.config.protocols[protocol].kind == "joint"
            starts = {run: plan.started_from(run) for run in own}
            lost = {
                run.subject
                for run, start in starts.items()
                if (joint and run.subject in untrained)
                or all(one in untrained for one in plan.sources(run))
                or (start is not None and all(one in untrained for one in plan.sources(start)))
            }
            if lost:
                others = "a protocol of kind leave-one-subject-out, in which models of other subjects rank, "
                ways = "" if plan.is_voxels(study) else others
                attempts.refuse(
                    f"experiments.{label}.protocols: {protocol!r} has no model for sub-{', sub-'.join(sorted(lost))}, "
                    f"because training trials are missing: sub-{', sub-'.join(sorted(untrained))} "
                    f"{'have' if len(untrained) > 1 else 'has'} none (studies.{study}.split.training: optional)\n"
                    f"  expected {ways}some training trials, or a separate study of these subjects "
                    "(studies.*.subjects) that an entry of apply ranks"
                )


def check_sessions(plan: Plan, study: str, found: Mapping[str, list[str]], attempts: Attempts) -> None:
    """Refuse protocols that take more sessions than a subject has, by the session of each of its training trials."""
    protocols = {name for one in plan.config.experiments.values() if one.study == study for name in one.protocols}
    counts = {plan.protocol(name).first_sessions for name in protocols} - {None}
    for subject, count in sorted((subject, count) for subject in found for count in counts if count is not None):
        import numpy as np

        from brain2clip.responses.sessions import first_sessions  # pandas: only where it is asked for

        with attempts.within(f"sub-{subject}", f"subject {subject}"):
            session = np.array(found[subject], object)
            attempts(None, first_sessions, session, count, f"study {study}, subject {subject}")


def looker(plan: Plan, name: str, study: Any, attempts: Attempts, look: Look, budget: Budget | None) -> Any:
    """Checker of recordings or voxels; without a budget it makes the quick checks only."""
    block: Any = plan.block(name)
    if plan.is_voxels(name):
        from brain2clip.preflight import voxels

        rois = {one: plan.config.rois[one] for one in signals(plan, name)}
        return voxels.Looker(study, block.voxels, rois, attempts, look, budget)
    from brain2clip.preflight import recordings

    bands = {one: plan.config.bands[one] for one in signals(plan, name)}
    return recordings.Looker(study, block.responses, bands, attempts, look, budget)


def _candidates(study: Any, look: Look, attempts: Attempts) -> Iterator[str]:
    """Stimuli: those of a user are looked at one by one, pictures of others are if they are there."""
    if hasattr(study, "stimuli"):
        study.stimuli.check_listed(attempts)
        if not look.absent:  # else their trials are not known yet
            study.stimuli.check_sides(attempts, lambda: look.shown)
    tested = sorted({name for name, side in look.shown if side == "test"})
    if tested:
        shown = f"{len({name for name, _ in look.shown})} shown, {len(tested)} of them in the test"
        few = f" ({', '.join(tested)})" if len(tested) <= 10 else ""
        yield f"stimuli: {shown}{few}; chance of top-1 {100 / len(tested):.3g} %"
    if hasattr(study, "stimuli") and (seen := _opened(study, attempts)) is not None:
        there, named, count = seen
        yield f"pictures: {'all' if there == named else f'{there} of {named}'} found, {count} opened"


def _opened(study: Any, attempts: Attempts) -> tuple[int, int, int] | None:
    """Open some pictures of a user's table, evenly from it; how many are there, are named, and were opened."""
    if study.block.stimuli is None:
        return None
    from brain2clip.readers import pictures

    before = attempts.count
    paths, named = attempts([], study.stimuli.pictures_there), attempts({}, lambda: study.stimuli.concepts)
    chosen = paths[:: max(1, len(paths) // PICTURES)]
    for path in chosen:
        with attempts.within(str(path)):
            attempts(None, pictures.read, path)
    return None if attempts.count > before or not chosen else (len(paths), len(named), len(chosen))


def _machine(plan: Plan, looks: dict[str, Look], report: Report) -> None:
    """Disk, memory, GPU."""
    needed = sum(one.response_bytes * len(signals(plan, name)) for name, one in looks.items())
    # A recording is held twice while it is filtered; all responses of a joint training once.
    largest = max([0, *(max(3 * one.largest_bytes, one.response_bytes) for one in looks.values())])
    (disk, fault), (memory, note) = machine.room(plan.results, needed), machine.memory(largest)
    report.lines += [disk, memory, *machine.told()]
    if fault is not None:
        report.attempts.refuse(fault)
    if note is not None:  # jobs may run elsewhere
        report.notes.append(note)


def signals(plan: Plan, study: str) -> list[str]:
    """Signals (bands, regions) of a study that experiments and exports ask for."""
    parts: list[Any] = [*plan.config.experiments.values(), *plan.config.exports.values()]
    return sorted({one for part in parts if part.study == study for one in part.signals})


def studies(plan: Plan) -> list[str]:
    """Studies of experiments and exports."""
    return sorted({*plan.studies_run, *(one.study for one in plan.config.exports.values())})


def _towers(plan: Plan) -> list[str]:
    return sorted({tower for _, tower in plan.towers_run()})


def _there(paths: list[str]) -> bool:
    return all(Path(path).exists() for path in paths)


class _Notes(logging.Handler):
    """Keeps warnings, each once."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        if (text := record.getMessage()) not in self.notes:
            self.notes.append(text)


@contextmanager
def collected(notes: list[str]) -> Iterator[None]:
    """Warnings of readers go to a list."""
    own, handler = logging.getLogger("brain2clip"), _Notes(notes)
    spread, own.propagate = own.propagate, False
    own.addHandler(handler)
    try:
        yield
    finally:
        own.removeHandler(handler)
        own.propagate = spread
