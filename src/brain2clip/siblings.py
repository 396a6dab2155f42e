"""Train the models of several jobs in one process, if these differ only by their seed.

Each job is one model with its own spec, log and outputs. With ``seeds_together``, the process that runs jobs on this
machine (of a run, or of a group that SLURM has sent here) lists the models that differ only by their seed: a *family*.
The list is in the folder of the loaded Python (:mod:`brain2clip.preloaded`). The first job of a family trains all its
models, and stores in this folder the models of the other jobs, exactly as these jobs would have made them. The other
jobs wait; then each checks its model and takes it. The folder is removed with the loaded Python, including models that
no job took, so a killed run leaves nothing behind.

Specs do not mention any of this. If something is missing (no loaded Python, only one seed, no space in the folder, a
model that does not fit), a job trains its model by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from brain2clip import artefact, preloaded
from brain2clip.stage import InputError, Job

log = logging.getLogger("brain2clip")
#: Environment variable with the folder that the jobs of a run share.
FOLDER = "BRAIN2CLIP_SIBLINGS"
#: File in this folder with the seeds to train, by family.
LISTED = "families.json"
#: Functions that read the files of a model to check that they are complete.
READERS = {".parquet": artefact.read_table, ".safetensors": artefact.read_tensors}


def note(specs: Iterable[str]) -> None:
    """List the families among the jobs that will run, if there is a loaded Python, and set :data:`FOLDER` for jobs.

    Parameters
    ----------
    specs : iterable of str
        Canonical JSON of each job that will run.
    """
    os.environ.pop(FOLDER, None)
    families: dict[str, list[int]] = {}
    for spec in map(json.loads, specs):
        if spec["stage"] == "train":
            families.setdefault(_family(spec), []).append(spec["settings"]["seed"])
    several = {key: sorted(seeds) for key, seeds in families.items() if len(seeds) > 1}
    if not several or (place := preloaded.folder()) is None:
        return
    with contextlib.suppress(OSError):  # if this fails, every job trains by itself
        folder = Path(tempfile.mkdtemp(prefix="siblings-", dir=place))
        (folder / LISTED).write_text(json.dumps(several), encoding="utf-8")
        os.environ[FOLDER] = str(folder)


def _family(spec: dict[str, Any]) -> str:
    """Name of the family of a spec: a digest of everything except the seed."""
    return artefact.origin({**spec, "settings": {**spec["settings"], "seed": None}})


class Family:
    """The models of a family, for one of its jobs; only one job has the family at a time.

    Parameters
    ----------
    job : brain2clip.stage.Job
    folder : Path
        Folder that the jobs of the run share.
    key : str
        Name of the family.
    seeds : sequence of int
        Seeds of all models that were to be trained when the run began.
    lock : file
        Lock of the family, held by this process.
    """

    def __init__(self, job: Job, folder: Path, key: str, seeds: Sequence[int], lock: IO[str]) -> None:
        self.job, self.folder, self.key, self.seeds = job, folder, key, seeds
        self._lock = lock
        self._parted = folder / f"{key}.alone"

    @property
    def parted(self) -> bool:
        """Whether its models cannot be trained together."""
        return self._parted.exists()

    def due(self) -> list[Job]:
        """Jobs of the other models that are not made yet; their outputs are paths in the shared folder."""
        others = (self._sibling(seed) for seed in self.seeds if seed != self.job.settings["seed"])
        return [
            one
            for one in others
            if not self._mark(one).exists() and not all(path.exists() for path in one.outputs.values())
        ]

    def taken(self) -> bool:
        """Take this job's model if another job has trained it; return whether it did and the model fits."""
        left = self._sibling(self.job.settings["seed"]).outputs
        if not all(path.exists() for path in left.values()):
            return False
        try:
            made = self.job.provenance()
            expected = {"stage": made.stage, "settings": made.settings, "code": made.code, "origin": made.origin}
            for path in left.values():
                READERS[path.suffix](path, expected)
                found = artefact.stored_provenance(path)
                if found is None or found.identity != made.identity:
                    raise artefact.ArtefactError(f"{path}: made from other inputs than this job's")
        except artefact.ArtefactError as error:
            log.warning("%s: the result from the job of another seed is not used: %s", self.job.stage, error)
            return False
        for name, path in left.items():
            with artefact.aside(self.job.outputs[name]) as part:
                shutil.copyfile(path, part)
        self.done()
        return True

    def done(self) -> None:
        """Note that this job's model is made, and delete its files in the shared folder."""
        with contextlib.suppress(OSError):
            self._mark(self.job).touch()
        for path in self._sibling(self.job.settings["seed"]).outputs.values():
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def leaving(self, job: Job) -> Iterator[None]:
        """Store another job's model in this context. If this fails, that job trains it itself or reports the reason."""
        try:
            yield
        except (OSError, InputError, artefact.ArtefactError) as error:
            log.warning("%s: the model of seed %s is not kept for its job: %s", job.stage, job.settings["seed"], error)

    def part(self) -> None:
        """Let each job of the family train by itself from now on."""
        with contextlib.suppress(OSError):
            self._parted.touch()
        self._lock.close()

    def _sibling(self, seed: int) -> Job:
        settings = {**self.job.settings, "seed": seed}
        origin = artefact.origin({**_spec(self.job), "settings": settings})
        left = {name: self.folder / f"{origin}.{name}{path.suffix}" for name, path in self.job.outputs.items()}
        return replace(self.job, settings=settings, origin=origin, outputs=left)

    def _mark(self, job: Job) -> Path:
        return self.folder / f"{job.origin}.done"


def _spec(job: Job) -> dict[str, Any]:
    """The part of a job's spec from which its origin is computed."""
    read = {"stage": job.stage, "settings": job.settings, "code": job.code, "expects": job.expects}
    return {**read, "format": artefact.FORMAT}


@contextlib.contextmanager
def family(job: Job) -> Iterator[Family | None]:
    """Wait until no other job of the family trains, then give the family; None if the job trains by itself."""
    with contextlib.ExitStack() as kept:
        found = None
        if folder := os.environ.get(FOLDER):
            with contextlib.suppress(OSError, ValueError):
                found = _entered(job, Path(folder), kept)
        yield found


def _entered(job: Job, folder: Path, kept: contextlib.ExitStack) -> Family | None:
    key = _family(_spec(job))
    seeds = json.loads((folder / LISTED).read_text(encoding="utf-8")).get(key, ())
    if job.settings["seed"] not in seeds:
        return None
    lock = kept.enter_context((folder / f"{key}.lock").open("w"))
    _wait(lock, job.stage)
    found = Family(job, folder, key, seeds, lock)
    if found.parted:
        lock.close()
        return None
    return found


def _wait(lock: IO[str], stage: str) -> None:
    """Wait for a lock and take it; the lock of a dead process is free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: the job of another seed is training this model, too: waiting for it", stage)
        fcntl.flock(lock, fcntl.LOCK_EX)
