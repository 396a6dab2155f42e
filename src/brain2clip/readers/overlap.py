"""Concepts and pictures that two studies share, by name, so that no model is tested on what it was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from brain2clip.names import SPLITS

if TYPE_CHECKING:
    import pandas as pd

#: File names that do not identify a picture: bare numbers occur in every study.
_NUMBER = re.compile(r"[0-9]+")
#: Number of names that a message lists.
LISTED = 3


@dataclass(frozen=True)
class Shown:
    """Concepts and pictures of training, or of the test, of a study.

    Attributes
    ----------
    concepts, pictures : frozenset of str
        Names from :func:`plain` and :func:`picture`.
    """

    concepts: frozenset[str]
    pictures: frozenset[str]

    def shared(self, other: Shown) -> Shown:
        """Concepts and pictures of both."""
        return Shown(self.concepts & other.concepts, self.pictures & other.pictures)

    def __bool__(self) -> bool:
        return bool(self.concepts or self.pictures)

    def words(self) -> str:
        """Numbers of concepts and pictures, with the first names."""
        kinds = {"concepts": self.concepts, "pictures": self.pictures}
        return " and ".join(_listed(what, sorted(names)) for what, names in kinds.items() if names)


def _listed(what: str, names: list[str]) -> str:
    some = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return f"{len(names)} {what.removesuffix('s') if len(names) == 1 else what} ({some})"


def plain(concept: str) -> str:
    """The name of a concept for comparisons, without regard to case, spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", concept.strip()).casefold()


def picture(stimulus_id: str, image: str = "") -> str:
    """The name of a picture for comparisons: its file name without ending, else its id; empty for a bare number."""
    name = PurePosixPath(image).name.rpartition(".")[0] if image else stimulus_id
    return "" if _NUMBER.fullmatch(name) else name.casefold()


def shown(rows: Iterable[tuple[str, str, str]]) -> Shown:
    """Concepts and pictures of stimuli.

    Parameters
    ----------
    rows : iterable of (str, str, str)
        Id, concept and path of the picture (empty if there is none) of each stimulus.
    """
    listed = list(rows)
    concepts = frozenset(plain(concept) for _, concept, _ in listed)
    pictures = frozenset(picture(stimulus_id, image) for stimulus_id, _, image in listed) - {""}
    return Shown(concepts, pictures)


def between(trained: pd.DataFrame, tested: pd.DataFrame) -> Shown:
    """Concepts and pictures that the training of one study shares with the test of another.

    Parameters
    ----------
    trained, tested : pandas.DataFrame
        ``stimulus_id``, ``split``, ``concept``, ``image`` of their stimuli.
    """
    parts = []
    for table, side in zip((trained, tested), SPLITS):
        some = table[table["split"].isin([side, "both"])]
        parts.append(shown(zip(some["stimulus_id"], some["concept"], some["image"])))
    return parts[0].shared(parts[1])


def refusal(where: str, found: Shown, trained: str, tested: str) -> str:
    """Message for a model that was trained on concepts or pictures of the test."""
    return (
        f"{where}: the test of study {tested!r} has {found.words()} that were in the training of study {trained!r}\n"
        "  expected none, because the test is zero-shot: leave these concepts out of training, or set "
        f"{where.rpartition('.')[0]}.concepts: seen; then the column seen marks these queries"
    )
