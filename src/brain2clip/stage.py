"""The same skeleton for every stage: ``python -m brain2clip.<package>.<stage> --spec JSON --input … --output …``.

A stage module ends with::

    if __name__ == "__main__":
        stage.main(run)

where ``run(job)`` gets a :class:`Job`. The spec is the one canonical JSON that the rule passes (and that Snakemake
compares): ``{"stage", "settings", "code", "expects"}``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from brain2clip import artefact

T = TypeVar("T")
log = logging.getLogger("brain2clip")


class InputError(ValueError):
    """Input data or settings are wrong; the message names file, setting, found, expected and what to do."""


@dataclass(frozen=True)
class Job:
    """One run of a stage.

    Attributes
    ----------
    stage : str
        Name of the stage.
    settings : dict
        What this stage reads, complete.
    code : str
        Fingerprint of the stage's code.
    expects : dict
        For each upstream stage the ``{"stage", "settings", "code"}`` that its artefacts must carry.
    inputs, outputs : dict
        Names to paths; an input given several times is a list.
    """

    stage: str
    settings: dict[str, Any]
    code: str
    expects: dict[str, dict[str, Any]]
    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]

    def input(self, name: str) -> Path:
        """The only input of that name."""
        paths = self.inputs.get(name, [])
        if len(paths) != 1:
            raise InputError(f"stage {self.stage}: expected one --input {name}=PATH, found {len(paths)}")
        return paths[0]

    def output(self, name: str) -> Path:
        """The output of that name."""
        if name not in self.outputs:
            raise InputError(f"stage {self.stage}: --output {name}=PATH is missing")
        return self.outputs[name]

    def provenance(self) -> artefact.Provenance:
        """Provenance for this job's outputs."""
        inputs = {
            name if len(paths) == 1 else f"{name}.{index:03d}": path
            for name, paths in self.inputs.items()
            for index, path in enumerate(paths)
        }
        return artefact.provenance(self.stage, self.settings, self.code, inputs)


def main(run: Callable[[Job], None], arguments: list[str] | None = None) -> None:
    """Parse the command line, run the stage, turn expected errors into one clear message and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    # A scheduler ends jobs by SIGTERM: leave through the same door as Ctrl-C, so that parts are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    job = parse(sys.argv[1:] if arguments is None else arguments)
    started = time.perf_counter()
    log.info("%s: start (process %d)", job.stage, os.getpid())
    try:
        run(job)
    except (InputError, artefact.ArtefactError) as error:
        log.error("%s: stopped\n%s", job.stage, error)
        sys.exit(1)
    log.info("%s: done in %.1f s, peak memory %.2f GB", job.stage, time.perf_counter() - started, peak_memory_gb())


def parse(arguments: list[str]) -> Job:
    """A job from command line arguments."""
    parser = argparse.ArgumentParser(prog="python -m brain2clip.<package>.<stage>")
    parser.add_argument("--spec", required=True, help="canonical JSON: stage, settings, code, expects")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=PATH", help="may be repeated")
    parser.add_argument("--output", action="append", default=[], metavar="NAME=PATH")
    given = parser.parse_args(arguments)
    try:
        spec = json.loads(given.spec)
        missing = {"stage", "settings", "code"} - set(spec)
    except (json.JSONDecodeError, TypeError) as error:
        parser.error(f"--spec is not a JSON object: {error}")
    if missing:
        parser.error(f"--spec lacks {', '.join(sorted(missing))}")
    inputs: dict[str, list[Path]] = {}
    for name, path in map(_pair, given.input):
        inputs.setdefault(name, []).append(path)
    return Job(
        stage=spec["stage"],
        settings=spec["settings"],
        code=spec["code"],
        expects=spec.get("expects", {}),
        inputs=inputs,
        outputs=dict(map(_pair, given.output)),
    )


def progress(items: Iterable[T], label: str, total: int | None = None, every_s: float = 2.0) -> Iterable[T]:
    """Iterate and log count, share and time left now and then (a log file takes no carriage returns)."""
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    started = shown = time.perf_counter()
    for count, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - shown >= every_s or count == total:
            shown = now
            left = f", {(now - started) / count * (total - count):.0f} s left" if total else ""
            log.info("%s: %d%s%s", label, count, f" of {total}" if total else "", left)


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB (1e9 bytes)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def expected(job: Job, stage: str) -> Mapping[str, Any] | None:
    """What an input made by ``stage`` must carry, or None where the spec does not say."""
    return job.expects.get(stage)


def _pair(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise SystemExit(f"expected NAME=PATH, found {text!r}")
    return name, Path(path)
