"""``brain2clip check``: all errors of a configuration and its data at once, before anything runs."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from brain2clip import settings
from brain2clip.cli.run import ROOT, shown
from brain2clip.kinds import KindError
from brain2clip.names import counted
from brain2clip.plan import Plan
from brain2clip.preflight import check as preflight
from brain2clip.stage import InputError


def check(config: Path) -> None:
    """Print the findings; exit code 1 if there are errors.

    Parameters
    ----------
    config : path
        Relative to the working directory; paths in the file are relative to the root of the repository, as for a run.
    """
    started = time.monotonic()
    sys.path.append(str(ROOT))  # kinds from outside
    name = shown(config.resolve())
    try:
        with contextlib.chdir(ROOT):
            plan = Plan(settings.load(settings.read(name), source=name))
            report = preflight.looked(plan, [name])
    except (settings.SettingsError, InputError, KindError) as error:
        sys.exit(str(error))
    print(told(report, name, time.monotonic() - started))
    if report.attempts.count:
        sys.exit(1)


def told(report: preflight.Report, name: str, seconds: float) -> str:
    """What was checked, and then the errors, which are read best at the end."""
    parts = [f"Checked in {seconds:.1f} s (nothing was computed or written):"]
    parts += [f"  {line}" for line in report.lines]
    parts += [f"Note: {note}" for note in report.notes]
    faults = list(report.faults())
    if not faults:
        return "\n".join([*parts, f"\n{name}: no errors found; next: brain2clip run {name}"])
    listed = [f"{number}. {fault}" for number, fault in enumerate(faults, 1)]
    return "\n".join([*parts, f"\n{name}: {counted(len(faults), 'fault')}", *listed])
