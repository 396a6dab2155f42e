"""What two studies both show: concepts and pictures by name, so that no model is tested on what it was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from brain2clip.names import SPLITS

if TYPE_CHECKING:
    import pandas as pd

#: Names of files that say nothing: bare numbers are given in every study.
_NUMBER = re.compile(r"[0-9]+")
#: How many names a message lists.
LISTED = 3


@dataclass(frozen=True)
class Shown:
    """What one side of the split of a study shows.

    Attributes
    ----------
    concepts, pictures : frozenset of str
        Names as :func:`plain` and :func:`picture` give them.
    """

    concepts: frozenset[str]
    pictures: frozenset[str]

    def shared(self, other: Shown) -> Shown:
        """What both show."""
        return Shown(self.concepts & other.concepts, self.pictures & other.pictures)

    def __bool__(self) -> bool:
        return bool(self.concepts or self.pictures)

    def words(self) -> str:
        """How many concepts and pictures, with the first of them."""
        kinds = {"concepts": self.concepts, "pictures": self.pictures}
        return " and ".join(_listed(what, sorted(names)) for what, names in kinds.items() if names)


def _listed(what: str, names: list[str]) -> str:
    some = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return f"{len(names)} {what.removesuffix('s') if len(names) == 1 else what} ({some})"


def plain(concept: str) -> str:
    """A concept as it is compared: case, spaces and hyphens do not matter."""
    return re.sub(r"[\s-]+", "_", concept.strip()).casefold()


def picture(stimulus_id: str, image: str = "") -> str:
    """A picture as it is compared: its file without folder and ending, else its id; nothing where that is a number."""
    name = PurePosixPath(image).name.rpartition(".")[0] if image else stimulus_id
    return "" if _NUMBER.fullmatch(name) else name.casefold()


def shown(rows: Iterable[tuple[str, str, str]]) -> Shown:
    """What stimuli show.

    Parameters
    ----------
    rows : iterable of (str, str, str)
        Id, concept and path of the picture (empty where there is none) of each.
    """
    listed = list(rows)
    concepts = frozenset(plain(concept) for _, concept, _ in listed)
    pictures = frozenset(picture(stimulus_id, image) for stimulus_id, _, image in listed) - {""}
    return Shown(concepts, pictures)


def between(trained: pd.DataFrame, tested: pd.DataFrame) -> Shown:
    """What the training of one study and the test of another both show.

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
    """What to say of a model that was trained on what it is asked for."""
    return (
        f"{where}: the test of study {tested!r} asks for {found.words()} that training of study {trained!r} showed\n"
        "  expected none, for the test is zero-shot: leave these concepts out of training, or set "
        f"{where.rpartition('.')[0]}.concepts: seen; rows then say which they are (column seen)"
    )
