"""Which jobs of a plan would run, judged by the existing files; nothing is written, and Snakemake is not used.

The rule is Snakemake's, with the provenance of artefacts in place of its records. A job runs if a requested file is
missing, if its files were made by another spec than the planned one, or if an input that no job makes has changed. Then
the jobs that read its files run, too, and the jobs that make its missing inputs. Times of files are ignored.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import cache
from pathlib import Path

from brain2clip import artefact, records
from brain2clip.plan.jobs import Job


class Disk:
    """Existing files; each file is read once, for all plans.

    Parameters
    ----------
    seen : brain2clip.records.Seen, optional
        What is known of the contents of large inputs.
    """

    def __init__(self, seen: records.Seen | None = None) -> None:
        self.seen = records.Seen() if seen is None else seen
        self.has = cache(self._has)
        self.origin = cache(self._origin)

    @staticmethod
    def _has(path: str) -> bool:
        return Path(path).exists()

    @staticmethod
    def _origin(path: str) -> str | None:
        """Origin that a file carries; None if it carries none, empty if it cannot be read."""
        try:
            made = records.provenance(Path(path))
        except (artefact.ArtefactError, OSError, UnicodeDecodeError):
            return ""
        return None if made is None else made.origin

    def changed(self, job: Job, made: Container[str]) -> bool:
        """Whether inputs that no job makes have changed since the job read them."""
        named = artefact.named(job.inputs)
        leaves = {name: path for name, path in named.items() if path not in made}
        if not leaves and job.stage not in records.LISTING_PICTURES:
            return False
        try:
            return records.other_inputs(job.outputs, leaves, self.seen) is not None
        except OSError:  # cannot be read
            return False


def due(
    jobs: Mapping[str, Job], targets: Iterable[str], disk: Disk, before: Mapping[str, Job] | None = None
) -> list[Job]:
    """Jobs that would run, in the order of the plan.

    Parameters
    ----------
    jobs : mapping
        Every job by its first output (:meth:`brain2clip.plan.Plan.jobs`).
    targets : iterable of str
        Files that are asked for.
    disk : Disk
    before : mapping, optional
        Jobs of the plan that made the files, for files without provenance (downloads, exports).
    """
    makers = {output: job for job in jobs.values() for output in job.outputs}
    readers: dict[str, list[Job]] = {}
    for job in jobs.values():
        for path in _inputs(job):
            readers.setdefault(path, []).append(job)
    missing = {path for path in targets if not disk.has(path)}
    waiting = [
        job
        for first, job in jobs.items()
        if not missing.isdisjoint(job.outputs)
        or _differs(job, disk, (before or {}).get(first))
        or disk.changed(job, makers)
    ]
    found: set[str] = set()
    while waiting:
        job = waiting.pop()
        if job.outputs[0] in found:
            continue
        found.add(job.outputs[0])
        waiting.extend(reader for output in job.outputs for reader in readers.get(output, []))
        waiting.extend(makers[path] for path in _inputs(job) if path in makers and not disk.has(path))
    return [job for first, job in jobs.items() if first in found]


def lacking(jobs: Mapping[str, Job], running: Iterable[Job], disk: Disk) -> list[str]:
    """Files that the jobs read, but that do not exist and are made by no job, sorted."""
    made = {output for job in jobs.values() for output in job.outputs}
    read = {path for job in running for path in _inputs(job)}
    return sorted(path for path in read - made if not disk.has(path))


def _differs(job: Job, disk: Disk, before: Job | None) -> bool:
    """Whether existing files of a job belong to another plan."""
    there = [path for path in job.outputs if disk.has(path)]
    if not there:
        return False
    carried = {disk.origin(path) for path in there} - {None}
    if carried and carried != {job.spec.origin}:
        return True
    if before is None:
        return False
    return _inputs(job) != _inputs(before) or (not carried and job.spec.json != before.spec.json)


def _inputs(job: Job) -> set[str]:
    return {path for paths in job.inputs.values() for path in paths}
