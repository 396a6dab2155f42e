"""Results that Snakemake has no record of are judged by what they carry. Light to import: the Snakefile does.

Snakemake decides what to run by its records in ``.snakemake/`` and by file times. Results that were copied without the
records, or laid over those of another run, have neither: settings that changed would go unnoticed, and times that a
copy made up would run everything again. Artefacts say themselves what made them (:mod:`brain2clip.artefact`), so they
are asked where a record is missing, or is about another file than the one that lies there:

- they fit where their ``origin`` is the planned one and the inputs that lie there are those that they were made from;
  then their times do not matter;
- they do not fit otherwise, and Snakemake is told to make them again.

A file with a record of its own is never opened. Where a killed run left the mark "incomplete" on a file that is whole,
because the job went on in a cluster or ended in the same moment, the file fits by the same rule, and gets its record.
"""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brain2clip import artefact

#: Environment variable with the settings of the run that a job belongs to.
PLANNED = "BRAIN2CLIP_PLANNED"
#: Differences that are told one by one.
TOLD = 5


# ------------------------------------------------------------------------------------------------ judging


def difference(
    outputs: Iterable[Path | str],
    inputs: Iterable[Path | str],
    spec: Mapping[str, Any],
    identities: dict[str, str] | None = None,
) -> str | None:
    """Why files are not what a job would make from the inputs that lie there, or None where they are.

    Parameters
    ----------
    outputs, inputs : iterable of path
        Files of the job; those that do not exist are left out.
    spec : mapping
        What the job is given: ``stage``, ``format``, ``settings``, ``code``, ``expects``.
    identities : dict, optional
        Identities of inputs that are already known; filled.

    Returns
    -------
    str or None
        In words, for a log.
    """
    identities = {} if identities is None else identities
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
            if given not in identities:
                identities[given] = artefact.identity(given)
            if identities[given] not in one.inputs.values():
                return f"{path}: made from another {given}"
    return None


def _without_provenance(paths: Iterable[Path], spec: Mapping[str, Any]) -> str | None:
    """The same for a job whose files do not say what made them: downloads and tables of pictures are only listed."""
    for path in paths:
        if spec["expects"]:
            return f"{path}: carries no provenance"
        if spec["stage"] == "download":
            fields = ("path", "size", "algorithm", "hash")
            planned = [{key: file[key] for key in fields} for file in spec["settings"]["files"]]
            if json.loads(path.read_text(encoding="utf-8"))["files"] != planned:
                return f"{path}: lists other files"
    return None


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
    return f"made by other {' and '.join(changed)}" if changed else "made from what other settings or code made"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def told(fitting: int, differing: list[str]) -> str:
    """What is said of results without a record: how many fit, and why some do not."""
    lines = [f"Results of {fitting + len(differing)} jobs without a record of Snakemake, judged by their provenance:"]
    if fitting:
        lines.append(
            f"  {fitting} fit and stay (`snakemake --touch --forceall` with the same configuration writes records)"
        )
    if differing:
        lines.append(f"  {len(differing)} do not fit and are made again, among them" if differing[TOLD:] else
                     f"  {len(differing)} do not fit and are made again:")  # fmt: skip
        lines.extend(f"    {line.splitlines()[0]}" for line in differing[:TOLD])
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- settings of a run


def pack(canonical: str) -> str:
    """Settings as one word that survives shells and schedulers."""
    return base64.b64encode(zlib.compress(canonical.encode(), 9)).decode()


def unpack(word: str | None) -> Any:
    """Settings from :func:`pack`; None where a site does not hand the environment on."""
    return json.loads(zlib.decompress(base64.b64decode(word))) if word else None
