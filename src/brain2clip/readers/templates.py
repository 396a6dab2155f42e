"""Further pictures of test concepts, whose mean represents a concept (task ``template``). Light to import.

A test picture is never among them: files that are copies of one, or have the name of one (the same picture at another
size has other pixels), are left out here, and pictures with the pixels of one are refused where pixels are read (stage
``features``).
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from brain2clip.stage import InputError

log = logging.getLogger("brain2clip")

#: Place of the concept in the pattern of the files.
CONCEPT = "{concept}"
#: Side of the split that such pictures are on.
SIDE = "template"


def digest(pattern: str) -> str:
    """Digest of names and sizes of all files of a pattern: another picture makes another catalogue.

    Raises
    ------
    InputError
        Where there is none.
    """
    found = sorted(path for path in glob.glob(pattern.replace(CONCEPT, "*"), recursive=True) if os.path.isfile(path))
    if not found:
        raise InputError(f"{pattern}: no such file for any concept (setting studies.*.templates)")
    text = "\n".join(f"{path}\t{os.path.getsize(path)}" for path in found)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def rows(pattern: str, concepts: Sequence[str], tested: Iterable[str]) -> list[tuple[str, str, str]]:
    """Id, concept and path of the template pictures of some concepts, in their order.

    Parameters
    ----------
    pattern : str
        Of files, with ``{concept}``; other signs as for ``glob``.
    concepts : sequence of str
        Test concepts.
    tested : iterable of str
        Paths of the test pictures, whose copies and namesakes are left out.

    Raises
    ------
    InputError
        Where a concept has no such picture.
    """
    tested = list(tested)
    known, names = {_content(path) for path in tested}, {_name(path) for path in tested}
    found, bare, copies = [], [], 0
    for concept in concepts:
        paths = sorted(glob.glob(pattern.replace(CONCEPT, glob.escape(concept)), recursive=True))
        paths = [path for path in paths if os.path.isfile(path)]
        kept = [path for path in paths if _name(path) not in names and _content(path) not in known]
        copies += len(paths) - len(kept)
        if not kept:
            bare.append(concept)
        found += [(f"{SIDE}-{concept}-{number:03d}", concept, path) for number, path in enumerate(kept, 1)]
    if bare:
        raise InputError(
            f"{pattern}: no picture other than the test pictures for {len(bare)} of {len(concepts)} test concepts, "
            f"the first is {bare[0]!r} (setting studies.*.templates); expected at least one for each concept, in "
            "files that match the pattern with the name of the concept"
        )
    if copies:
        log.info(
            "templates: %d files left out, because they are copies of test pictures or have the name of one", copies
        )
    return found


def _name(path: str) -> str:
    """Name of a file without its ending, which a conversion changes."""
    return Path(path).stem.lower()


def _content(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
