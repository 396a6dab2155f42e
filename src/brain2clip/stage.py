"""The common skeleton of all stages: ``python -m brain2clip.<package>.<stage> --spec JSON --input … --output …``.

A stage module ends with::

    if __name__ == "__main__":
        stage.main(run)

where ``run(job)`` gets a :class:`Job`. The spec is the one canonical JSON that the rule passes (and that Snakemake
compares): ``{"stage", "format", "settings", "modules", "code", "expects"}``.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from brain2clip import artefact
from brain2clip.fingerprint import fingerprint

T = TypeVar("T")
log = logging.getLogger("brain2clip")

_ROOM = "free some space, or set results to a folder (or a link to one) on another disk"
_RIGHTS = "make it writable, or set results to a folder that you may write to"
_DEVICE = "check the disk or the network file system"
#: Problem of a disk by the number of the error, and advice.
DISKS = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the quota is used up", _ROOM),
    errno.EFBIG: ("larger files are not allowed there (see ulimit -f)", _ROOM),
    errno.EROFS: ("the file system is read-only", _RIGHTS),
    errno.EACCES: ("permission denied", _RIGHTS),
    errno.EPERM: ("not permitted", _RIGHTS),
    errno.EIO: ("input/output error", _DEVICE),
    errno.ESTALE: ("stale file handle", _DEVICE),
    errno.ETIMEDOUT: ("timed out", _DEVICE),
}
#: Environment variable with the number of a second stream for errors: that of Snakemake, where stderr is a log file.
ELSEWHERE = "BRAIN2CLIP_STDERR"
#: How libraries write the number of an error into a text (h5py, Arrow, safetensors), and NumPy that some is missing.
_NUMBER = re.compile(r"(?:errno = |\[Errno |os error |Os \{ code: )(\d+)")
_CUT = re.compile(r"\d+ requested and \d+ written|problem writing element \d+ to file")


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
        All settings of the stage.
    code : str
        Fingerprint of the stage's code.
    expects : dict
        Expected provenance of the inputs (:func:`brain2clip.artefact.check`): by upstream stage, or by name of input as
        a list in its order.
    inputs, outputs : dict
        Names to paths; an input given several times is a list.
    origin : str
        Digest of this job's plan and of all plans before it (:func:`brain2clip.artefact.origin`).
    modules : tuple of str
        Modules that ``code`` is the fingerprint of.
    """

    stage: str
    settings: dict[str, Any]
    code: str
    expects: dict[str, Any]
    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]
    origin: str = ""
    modules: tuple[str, ...] = ()

    def input(self, name: str) -> Path:
        """The only input of that name."""
        paths = self.inputs.get(name, [])
        if len(paths) != 1:
            raise InputError(f"stage {self.stage}: expected one --input {name}=PATH, found {len(paths)}")
        return paths[0]

    def each(self, name: str) -> list[tuple[Path, dict[str, Any] | None]]:
        """Inputs of that name (at least one), each with its expected provenance if the spec has it."""
        paths = self.inputs.get(name, [])
        if not paths:
            raise InputError(f"stage {self.stage}: no --input {name}=PATH")
        wanted = self.expects.get(name, [None] * len(paths))
        if len(wanted) != len(paths):
            raise InputError(f"stage {self.stage}: {len(paths)} inputs {name}, the spec expects {len(wanted)}")
        return list(zip(paths, wanted))

    def output(self, name: str) -> Path:
        """The output of that name."""
        if name not in self.outputs:
            raise InputError(f"stage {self.stage}: --output {name}=PATH is missing")
        return self.outputs[name]

    def provenance(self, pictures: Sequence[Path | str] = ()) -> artefact.Provenance:
        """Provenance for this job's outputs, which may list pictures (:data:`brain2clip.artefact.PICTURES`)."""
        inputs = artefact.named(self.inputs)
        return artefact.provenance(self.stage, self.settings, self.code, inputs, self.origin, pictures)


def main(run: Callable[[Job], None], arguments: list[str] | None = None) -> None:
    """Parse the command line, run the stage, turn expected errors into one clear message and exit code 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=[_Log(sys.stderr)]
    )
    # A scheduler stops jobs by SIGTERM: handle it like Ctrl-C, so that temporary files are removed.
    signal.signal(signal.SIGTERM, _leave)
    job = parse(sys.argv[1:] if arguments is None else arguments)
    started = time.perf_counter()
    log.info("%s: start (process %d)", job.stage, os.getpid())
    try:
        check_code(job)
        run(job)
    except (InputError, artefact.ArtefactError) as error:
        log.error("%s: stopped\n%s", job.stage, error)
        sys.exit(1)
    except Exception as error:
        told = disk_error(error, job)
        if told is None:
            raise
        log.error("%s: stopped\n%s", job.stage, told)
        sys.exit(1)
    log.info("%s: done in %.1f s, peak memory %.2f GB", job.stage, time.perf_counter() - started, peak_memory_gb())


def _leave(*_: object) -> None:
    """Leave once: a second signal must not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


class _Log(logging.StreamHandler[TextIO]):
    """The log. If it cannot be written, as on a full disk, errors go to the error stream of Snakemake."""

    def handleError(self, record: logging.LogRecord) -> None:
        """No traceback for the log itself."""
        if record.levelno >= logging.ERROR:
            with contextlib.suppress(OSError, ValueError):
                os.write(int(os.environ.get(ELSEWHERE, "")), f"{self.format(record)}\n".encode())


def disk_error(error: BaseException, job: Job, place: Path | None = None) -> str | None:
    """A sentence on an error of a disk, or None for any other error.

    Libraries wrap such errors in their own, some with the number only in the text, so the whole chain is searched. If
    no error names a file, ``place`` or the folder of the first output is used.
    """
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    for one in chain:
        number = one.errno if isinstance(one, OSError) else None
        if number is None and (found := _NUMBER.search(str(one))):
            number = int(found[1])
        if number is None and isinstance(one, OSError) and _CUT.search(str(one)):
            number = errno.ENOSPC
        named = getattr(one, "filename", None)
        where = named or place or next((path.parent for path in job.outputs.values()), Path.cwd())
        if number in DISKS:
            what, advice = DISKS[number]
            return (
                f"{where}: cannot be read or written: {what}; {advice}. No half-written file is left; start again then"
            )
        if number is not None and isinstance(named, (str, os.PathLike)):  # no such file, a folder in place of a file
            return f"{where}: cannot be read or written: {os.strerror(number)}; check it, then start again"
    return None


def check_code(job: Job) -> None:
    """Refuse code that was edited between the planning of a job and its start, because its record would be wrong."""
    if job.modules and fingerprint(*job.modules) != job.code:
        raise InputError(
            f"stage {job.stage}: the source code of {', '.join(job.modules)} (or what it imports) has changed since "
            f"snakemake planned this job ({job.code} then, {fingerprint(*job.modules)} now); start snakemake again"
        )


def parse(arguments: list[str]) -> Job:
    """A job from command line arguments, or from a file ``@PATH`` that holds one per line.

    A command takes about 2 MB, and 128 KiB in one argument; tables of thousands of models need more. Many values follow
    one ``--input``: options that are repeated thousands of times take argparse minutes.
    """
    parser = argparse.ArgumentParser(prog="python -m brain2clip.<package>.<stage>", fromfile_prefix_chars="@")
    parser.add_argument("--spec", required=True, help="canonical JSON: stage, format, settings, code, expects")
    parser.add_argument("--input", action="extend", nargs="*", default=[], metavar="NAME=PATH", help="may be repeated")
    parser.add_argument("--output", action="extend", nargs="+", default=[], metavar="NAME=PATH")
    given = parser.parse_args(arguments)
    try:
        spec = json.loads(given.spec)
        missing = {"stage", "format", "settings", "code"} - set(spec)
    except (json.JSONDecodeError, TypeError) as error:
        parser.error(f"--spec is not a JSON object: {error}")
    if missing:
        parser.error(f"--spec lacks {', '.join(sorted(missing))}")
    if spec["format"] != artefact.FORMAT:
        parser.error(
            f"--spec: the job was planned for format {spec['format']}, this version writes format {artefact.FORMAT}; "
            "plan and run with one version: start snakemake again"
        )
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
        origin=artefact.origin(spec),
        modules=tuple(spec.get("modules", ())),
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


def on_device(device: object) -> str:
    """A torch device in words, for the log, which shows at once that a job runs on the CPU."""
    return f"on {device}" if str(device) != "cpu" else f"on cpu ({no_cuda()})"


def no_cuda() -> str:
    """Why there is no CUDA device, in words."""
    from brain2clip.internals import versions

    return versions.old_driver() or "no CUDA device found"


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, GB (1e9 bytes)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _pair(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise SystemExit(f"expected NAME=PATH, found {text!r}")
    return name, Path(path)
