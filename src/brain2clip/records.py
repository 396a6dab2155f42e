"""Results without a record of Snakemake are judged by their provenance. Light to import: the Snakefile does.

Snakemake decides what to run by its records in ``.snakemake/`` and by file times. Results that were copied without the
records, or over those of another run, have neither: changed settings would go unnoticed, and new file times would run
everything again. Artefacts carry their provenance (:mod:`brain2clip.artefact`), which is used if a record is missing or
belongs to another file:

- they fit if their ``origin`` is the planned one and they were made from the existing inputs; then their times do not
  matter;
- they do not fit otherwise, and Snakemake is told to make them again.

A file with a record of its own is opened where its job reads what no job makes, as recordings and pictures: Snakemake
takes these to be new or old by their times, we by their content (:func:`other_inputs`), in both directions. Where a
killed run left the mark "incomplete" on a file that is whole, because the job went on in a cluster or ended in the same
moment, the file fits by the same rule, and gets its record.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brain2clip import artefact

#: Environment variable with the settings of the run that a job belongs to.
PLANNED = "BRAIN2CLIP_PLANNED"
#: At most this many differences are listed.
TOLD = 5
#: Stages whose artefacts list the pictures that they were made from.
LISTING_PICTURES = frozenset({"features", "vectors"})


# ------------------------------------------------------------------------------------------------ judging


def difference(
    outputs: Iterable[Path | str],
    inputs: Iterable[Path | str],
    spec: Mapping[str, Any],
    seen: Seen | None = None,
) -> str | None:
    """Why files are not what a job would make from the existing inputs, or None if they are.

    Parameters
    ----------
    outputs, inputs : iterable of path
        Files of the job; those that do not exist are left out.
    spec : mapping
        What the job is given: ``stage``, ``format``, ``settings``, ``code``, ``expects``.
    seen : Seen, optional
        What is known of inputs.

    Returns
    -------
    str or None
        In words, for a log.
    """
    seen = Seen() if seen is None else seen
    planned = artefact.origin(spec)
    there = [str(path) for path in inputs if Path(path).is_file()]
    carried = {path: provenance(path) for path in map(Path, outputs) if path.is_file()}
    made = {path: one for path, one in carried.items() if one is not None}
    if not made:
        return _without_provenance(carried, spec)
    for path, one in made.items():
        if one.origin != planned:
            return f"{path}: {_what_differs(one, spec)}"
        for given in there:
            if seen.identity(given) not in one.inputs.values():
                return f"{path}: made from another {given}"
        if changed := _other_pictures(path, one, seen):
            return changed
    return None


def other_inputs(
    outputs: Iterable[Path | str], inputs: Mapping[str, Path | str], seen: Seen, since: float | None = None
) -> str | None:
    """Which inputs have changed since files were made, or None.

    For files with a record of Snakemake's, which knows settings and code, but contents by the times of files alone.

    Parameters
    ----------
    outputs : iterable of path
        Files of the job; those that do not exist, and those that do not say what made them, are left out.
    inputs : mapping
        Inputs that no job makes, by their names in the provenance; those that do not exist are left out.
    seen : Seen
    since : float, optional
        When the job started, s: a large file that has not been touched since is what the job read.
    """
    for path in (path for path in map(Path, outputs) if path.is_file()):
        try:
            made = provenance(path)
            if made is None:
                continue
            for name, given in inputs.items():
                was = made.inputs.get(name)
                if was is not None and Path(given).is_file() and seen.identity(given, was, since) != was:
                    return f"{path}: made from another {given}"
        except artefact.ArtefactError as error:  # the job runs, and says so if it still is
            return str(error)
        return _other_pictures(path, made, seen, since)  # the other files of the job say the same
    return None


def _other_pictures(path: Path, made: artefact.Provenance, seen: Seen, since: float | None = None) -> str | None:
    """The same for pictures that a file lists itself."""
    was = made.inputs.get(artefact.PICTURES)
    if was is None:
        return None
    try:
        with artefact.open_h5(path) as file:
            pictures = [Path(name) for name in file[artefact.PICTURE_PATHS].asstr()[:]]
    except artefact.ArtefactError as error:
        return str(error)
    lost = [one for one in pictures if not one.is_file()]
    if len(lost) == len(pictures):  # as inputs that were not copied with the results
        return None
    if lost:
        return f"{path}: made from pictures of which {len(lost)} are gone, the first is {lost[0]}"
    return None if seen.together(path, pictures, was, since) == was else f"{path}: made from other pictures"


class Seen:
    """Identities of files. Small ones are read, large ones only where size or times are others than they were.

    Parameters
    ----------
    path : path, optional
        Where it is kept from plan to plan.
    """

    #: Files up to this size are read at every plan, bytes.
    SMALL = 1 << 20
    #: Clocks of file systems tick: a file that is younger than this may change once more in the same moment, s.
    FRESH_S = 2.0

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._now: dict[str, str] = {}
        self._kept: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text(encoding="utf-8")) if path else {}
            self._kept = {key: value for key, value in found.items() if isinstance(value, list) and len(value) == 2}
        self._before = dict(self._kept)

    def identity(self, path: Path | str, was: str = "", since: float | None = None) -> str:
        """Identity of a file (:func:`brain2clip.artefact.identity`).

        Parameters
        ----------
        path : path
        was : str
            What it was for a job that started ``since``, s; so it is still where it has not been touched after that.
        """
        name = str(path)
        if name not in self._now:
            large = Path(path).stat().st_size > self.SMALL
            self._now[name] = (
                self._unless_touched(name, [Path(path)], lambda: artefact.identity(path), was, since)
                if large
                else artefact.identity(path)
            )
        return self._now[name]

    def together(self, name: Path, paths: Sequence[Path], was: str, since: float | None) -> str:
        """Identity of the many files that another one lists (:func:`brain2clip.artefact.together`)."""
        return self._unless_touched(f"listed in {name}", paths, lambda: artefact.together(paths), was, since)

    def _unless_touched(
        self, key: str, paths: Sequence[Path], read: Callable[[], str], was: str, since: float | None
    ) -> str:
        found = [path.stat() for path in paths]
        # The time of the last change of a file's entry cannot be set by anybody, that of its content can.
        text = " ".join(f"{one.st_size} {one.st_mtime_ns} {one.st_ctime_ns}" for one in found)
        signature = hashlib.sha256(text.encode()).hexdigest()
        before, known = self._kept.get(key, ("", ""))
        if before == signature:
            return known
        newest = max(one.st_ctime for one in found)
        now = was if since is not None and newest < since else read()
        if time.time() - newest > self.FRESH_S:
            self._kept[key] = [signature, now]
        return now

    def keep(self) -> None:
        """Write what was learnt, for the next plan; where that cannot be, it is read again."""
        if self._path is not None and self._kept != self._before:
            with contextlib.suppress(OSError):
                artefact.write_text(self._path, json.dumps(self._kept))


def _without_provenance(paths: Iterable[Path], spec: Mapping[str, Any]) -> str | None:
    """The same for a job whose files do not say what made them: downloads and tables of pictures are only listed."""
    for path in paths:
        if spec["expects"]:
            return f"{path}: has no provenance"
        if spec["stage"] == "download":
            listed = artefact.read_json(path).get("files", [])
            planned = spec["settings"]["files"]
            if len(listed) != len(planned) or not all(map(_is_planned, listed, planned)):
                return f"{path}: lists other files"
    return None


def _is_planned(listed: Mapping[str, Any], planned: Mapping[str, Any]) -> bool:
    """Whether a downloaded file is the planned one; of some, hash or size are known only when they are there."""
    known = {key: planned[key] for key in ("path", "size", "algorithm", "hash") if planned[key] is not None}
    if not planned["hash"]:
        del known["algorithm"], known["hash"]
    return {key: listed.get(key) for key in known} == known


def provenance(path: Path) -> artefact.Provenance | None:
    """What made a file, or None where it does not say so; figures say it in the description of their metadata."""
    if path.suffix != ".svg":
        return artefact.stored_provenance(path)
    with path.open(encoding="utf-8") as file:
        head = file.read(1 << 20).partition("</metadata>")[0]
    found = re.search(r"<dc:description>(\{.*?\})</dc:description>", head, re.DOTALL)
    return artefact.parsed(html.unescape(found[1]), path) if found else None


def _what_differs(made: artefact.Provenance, spec: Mapping[str, Any]) -> str:
    changed = [key for key in ("stage", "format", "settings", "code") if _text(getattr(made, key)) != _text(spec[key])]
    return f"made by other {' and '.join(changed)}" if changed else "made from files that other settings or code made"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def told(fitting: int, differing: list[str]) -> str:
    """Message on results without a record: how many fit, and why others do not."""
    lines = [f"Results of {fitting + len(differing)} jobs without a record of Snakemake, judged by their provenance:"]
    if fitting:
        lines.append(
            f"  {fitting} fit and are kept (`snakemake --touch --forceall` with the same configuration writes records)"
        )
    if differing:
        lines.append(listed(f"  {len(differing)} do not fit and are made again", differing, "    "))
    return "\n".join(lines)


def listed(head: str, reasons: Sequence[str], indent: str = "  ") -> str:
    """A line, and the first of some reasons below it."""
    lines = [f"{head}, among them" if reasons[TOLD:] else f"{head}:"]
    return "\n".join([*lines, *(indent + reason.splitlines()[0] for reason in reasons[:TOLD])])


# ------------------------------------------------------------------------------------- settings of a run


def pack(canonical: str) -> str:
    """Settings as one word that survives shells and schedulers."""
    return base64.b64encode(zlib.compress(canonical.encode(), 9)).decode()


def unpack(word: str | None) -> Any:
    """Settings from :func:`pack`; None where a site does not hand the environment on."""
    return json.loads(zlib.decompress(base64.b64decode(word))) if word else None
