"""The quick part of the check, at every planning: a dry run succeeds only if data and configuration fit.

A subject that passed is not checked again until its files, settings or code change, so that planning stays quick;
pictures are checked in any case. Light to import: libraries for recordings are imported only when one is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip.preflight import check, owner
from brain2clip.preflight.looks import Look
from brain2clip.readers.attempts import Attempts
from brain2clip.settings import canonical
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from brain2clip.plan import Plan

#: What is kept from plan to plan, in Snakemake's own folder.
KEPT = Path(".snakemake") / "brain2clip-fitting.json"


def refuse(plan: Plan, given: list[str]) -> None:
    """Refuse errors that are found quickly.

    Parameters
    ----------
    plan : Plan
    given : list of str
        Files of the configuration.

    Raises
    ------
    brain2clip.stage.InputError
        With all errors.
    """
    attempts, fitting = Attempts(), Fitting(KEPT)
    attempts(None, owner.check, plan.results, given)
    check.check_settings(plan, attempts)
    with check.collected([]):
        for name in check.studies(plan):
            if hasattr(plan.study(name), "look_around"):
                of_study(plan, name, attempts, fitting)
    fitting.keep()
    if faults := list(check.Report(attempts).faults()):
        raise InputError("\n".join(faults))


def of_study(plan: Plan, name: str, attempts: Attempts, fitting: Fitting) -> None:
    """Look at what is new of a study of a user."""
    study, looker, look = plan.study(name), None, Look()
    for subject in study.look_around(attempts):
        if fitting.known(plan, name, subject):
            continue
        looker = looker or check.looker(plan, name, study, attempts, look, None)
        before = attempts.count
        looker.subject(subject)
        if attempts.count == before and subject not in look.untrained:  # whether that fits, protocols tell
            fitting.add(plan, name, subject)
    check.check_training(plan, name, look.untrained, attempts)
    study.stimuli.check_listed(attempts)


class Fitting:
    """Which subjects were found to fit, by what they are made of.

    Parameters
    ----------
    path : Path
        Where it is kept from plan to plan.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text(encoding="utf-8"))
            self._kept = {key: value for key, value in found.items() if isinstance(value, str)}
        self._before = dict(self._kept)

    def known(self, plan: Plan, study: str, subject: str) -> bool:
        """Whether a subject is as it was."""
        found = signature(plan, study, subject)
        return found is not None and self._kept.get(self._key(plan, study, subject)) == found

    def add(self, plan: Plan, study: str, subject: str) -> None:
        """Take a subject as fitting."""
        if (found := signature(plan, study, subject)) is not None:
            self._kept[self._key(plan, study, subject)] = found

    def keep(self) -> None:
        """Write it down for the next plan, where something changed; without it the next one looks again."""
        if self._kept == self._before:
            return
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            part.write_text(json.dumps(self._kept), encoding="utf-8")
            part.replace(self._path)

    @staticmethod
    def _key(plan: Plan, study: str, subject: str) -> str:
        return f"{plan.results}/{study}/sub-{subject}"


def signature(plan: Plan, study: str, subject: str) -> str | None:
    """Digest of settings, code and state of the files of a subject; None where one of them cannot be told."""
    try:
        specs = [plan.responses_spec(study, signal, subject).json for signal in check.signals(plan, study)]
        paths = [*plan.study(study).files(subject), *plan.study(study).label_files()]
        # The time of the last change of a file's entry cannot be set by anybody, that of its content can.
        states = [(path, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path in paths for one in [os.stat(path)]]
    except (InputError, OSError):
        return None
    return hashlib.sha256(canonical([specs, states]).encode()).hexdigest()[:32]
