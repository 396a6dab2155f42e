"""Recordings of a BIDS dataset from the paths in a manifest, before anything is downloaded. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from brain2clip.readers import bids_files, manifests, sidecars

_SUBJECT = re.compile(r"sub-([A-Za-z0-9+]+)")
_SESSION = re.compile(r"ses-([A-Za-z0-9+]+)")
#: Entities by which files are grouped into download units.
_OF_UNIT = ("ses", "task", "acq", "run")


@dataclass(frozen=True)
class Place:
    """Where a file of a subject is.

    Attributes
    ----------
    subject : str
    session, datatype : str or None
        None if there is no such folder.
    name : str
        Name of the file, or of the folder that is the recording.
    in_folder : bool
        Whether the file is in such a folder.
    """

    subject: str
    session: str | None
    datatype: str | None
    name: str
    in_folder: bool


def place(path: str) -> Place | None:
    """Where a file is; None for files that belong to no subject."""
    parts = path.split("/")
    subject = _SUBJECT.fullmatch(parts[0]) if len(parts) > 1 else None
    if subject is None:
        return None
    session = _SESSION.fullmatch(parts[1]) if len(parts) > 2 else None
    rest = parts[2:] if session else parts[1:]
    datatype = rest[0] if len(rest) > 1 else None
    name = rest[1] if len(rest) > 1 else rest[0]
    return Place(subject[1], session and session[1], datatype, name, len(rest) > 2)


def unit_of(path: str) -> str:
    """Download unit of a file: that of :func:`brain2clip.readers.manifests.unit_of`, but separate for each datatype.

    So a study of MEG does not fetch the fMRI of the same subject. A folder beside the subjects, such as one with
    pictures, is one unit.
    """
    found, unit = place(path), manifests.unit_of(path)
    if found is None:
        top, slash, _ = path.partition("/")
        return f"{top}_files" if slash and re.fullmatch(r"[A-Za-z0-9_]+", top) else unit
    return unit if found.datatype is None else f"{unit}_{re.sub('[^A-Za-z0-9]', '', found.datatype) or 'other'}"


@dataclass(frozen=True)
class Named:
    """A recording by its name.

    Attributes
    ----------
    subject, name : str
    labels : dict
        Entities of the name.
    """

    subject: str
    name: str
    labels: dict[str, str]


def recordings(paths: Iterable[str], datatype: str) -> list[Named]:
    """All recordings of a datatype in supported formats, sorted by name."""
    found: dict[str, Named] = {}
    for path in paths:
        one = place(path)
        if one is None or one.datatype != datatype or one.subject == bids_files.EMPTY_ROOM:
            continue
        stem, dot, extension = one.name.partition(".")
        ending = f".{extension.lower()}" if dot else ".pdf" if one.in_folder else ""
        labels = sidecars.entities(one.name)
        is_recording = stem.endswith(f"_{datatype}") and ending in bids_files.SUFFIXES[datatype]
        if is_recording and labels.get("acq") not in bids_files.CALIBRATION:
            found[one.name] = Named(one.subject, one.name, labels)
    return [found[name] for name in sorted(found)]


def wanted(every: Iterable[Named], asked: bids_files.Wanted) -> list[Named]:
    """The recordings that a study reads."""
    found = [one for one in every if one.labels.get("task") in asked.tasks]
    for key, label in asked.entities.items():
        if key != "space":  # which chooses among tables of electrodes
            found = [one for one in found if one.labels.get(key) == label]
    if asked.extension is not None:
        found = [one for one in found if _extension(one.name) == asked.extension]
    return found


def _extension(name: str) -> str:
    dot, extension = name.partition(".")[1:]
    return f".{extension.lower()}" if dot else ".pdf"


def units_for(units: Iterable[str], subject: str, read: Iterable[Named], datatype: str) -> list[str]:
    """Download units of a subject that some recordings need: their own, and those of all runs or of a session.

    Parameters
    ----------
    units : iterable of str
        Names by :func:`unit_of`.
    subject : str
    read : iterable of Named
    datatype : str
    """
    own = [one.labels for one in read if one.subject == subject]
    found = []
    for unit in units:
        parts = unit.split("_")
        of_files = parts[-1] == datatype  # the others lie in the folder of the subject or session itself
        if parts[0] != f"sub-{subject}" or ("-" not in parts[-1] and not of_files):
            continue
        labels = sidecars.entities(unit if of_files else f"{unit}_")
        asked = {key: labels[key] for key in _OF_UNIT if key in labels}
        if any(all(one.get(key) == label for key, label in asked.items()) for one in own):
            found.append(unit)
    return sorted(found)
