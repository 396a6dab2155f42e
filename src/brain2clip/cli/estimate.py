"""``brain2clip estimate``: time, memory and disk of a configuration before its first run; nothing is written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from brain2clip import settings
from brain2clip.kinds import KindError
from brain2clip.plan import Plan, costs
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[3]
NOTES = """\
measured: from benchmarks of earlier runs of this configuration; scaled: from the benchmarks in workflow/costs.csv, for
the amount of work; estimated: computed from counts, partly without any measurement. Expect up to twice or half as much,
and more on a machine that others use. All jobs are counted, also those whose results are up to date.
"""


def estimate(config: Path, cores: int | None, device: Literal["auto", "cpu", "gpu"]) -> None:
    """Print a table by stage.

    Parameters
    ----------
    config : path
    cores : int, optional
        Default: the cores of this machine.
    device : {'auto', 'cpu', 'gpu'}
        Device of features and training; auto: a GPU if this machine has one.
    """
    source = str(config)
    sys.path.append(str(ROOT))  # kinds from outside
    try:
        raw = settings.read(config)
        with contextlib.chdir(ROOT):
            plan = Plan(settings.load(raw, source))
            print(
                told(
                    plan, source, cores or os.cpu_count() or 1, costs.has_gpu() if device == "auto" else device == "gpu"
                )
            )
    except (settings.SettingsError, InputError, KindError) as error:
        sys.exit(str(error))


def told(plan: Plan, source: str, cores: int, gpu: bool) -> str:
    """The table of a plan, with its explanation."""
    found = costs.estimate(plan, cores, gpu)
    whole = costs.total(found)
    where = "one GPU (times are those of an NVIDIA H200)" if gpu else "no GPU"
    lines = [f"{source}: {cores} cores, {where}", "", costs.report(found, cores, gpu), ""]
    if (methods := costs.methods_told(plan, cores, gpu)) is not None:
        lines += [methods, ""]
    lines.append(NOTES.strip())
    if not gpu:
        other = costs.total(costs.estimate(plan, cores, True))
        if other.cpu_s < whole.cpu_s / 2:
            lines.append(
                f"With one GPU: {costs.hours(other.wall_s)} instead of {costs.hours(whole.wall_s)} (--device gpu)."
            )
    free = shutil.disk_usage(plan.room()).free / 1e9
    if free < whole.disk:
        lines.append(
            f"Only {free:.3g} GB are free for {plan.results}: free some space, or make it a link to another disk."
        )
    return "\n".join(lines)
