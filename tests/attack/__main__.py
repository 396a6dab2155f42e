"""``make attack``: tries to get something wrong past the pipeline, and counts. Not part of ``make test``.

    python tests/attack [--seed N] [PART[:ONLY][=COUNT] …]

Each part is a module here with ``run(count, seed) -> Report``; some take what alone is attacked as well
(``damage:nsd=100``). The seed is printed; the same seed attacks in the same
way (kills apart, which depend on the time of the machine).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "unit"), str(HERE.parent / "workflow"), str(HERE.parents[1] / "src")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Parts and how often each attacks.
COUNTS = {"damage": 1500, "configurations": 10_000, "disks": 20, "kills": 20}
#: Failures of a part that are shown.
SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/attack", description="attack the pipeline and count what fails")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument(
        "parts", nargs="*", default=list(COUNTS), help="PART, PART=COUNT, PART:ONLY=COUNT (default: all)"
    )
    given = parser.parse_args()
    failed = 0
    for part in given.parts:
        name, _, count = part.partition("=")
        name, *only = name.split(":", 1)
        if importlib.util.find_spec(name) is None:
            print(f"{name}: no such part here")
            continue
        started = time.monotonic()
        report = importlib.import_module(name).run(int(count or COUNTS[name]), given.seed, *only)
        failed += len(report.failures)
        print(f"{report.name}: {report.tried} tried, {len(report.failures)} failed, "
              f"{time.monotonic() - started:.0f} s (seed {given.seed})", flush=True)  # fmt: skip
        for of, tried in report.tried_of.items():
            print(f"  {of}: {tried} tried, {report.failed_of[of]} failed")
        for line in report.failures[:SHOWN]:
            print(f"  {line}")
        if report.failures[SHOWN:]:
            print(f"  and {len(report.failures) - SHOWN} more")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
