"""Concepts and pictures that two studies share, so that no model is tested on what it was trained on.

Concepts and pictures are compared by name. Many studies show pictures of one public collection under names of their
own, some of them cut out of it, so that neither names nor pixels agree. For these a *source picture* is compared, such
as ``coco:123456``: a study says it (:meth:`brain2clip.readers.contract.Study.source_pictures`), or the name of a file
of COCO does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from brain2clip.names import SPLITS
from brain2clip.readers import coco

if TYPE_CHECKING:
    import pandas as pd

#: File names that do not identify a picture: bare numbers occur in every study.
_NUMBER = re.compile(r"[0-9]+")
#: A picture of a collection; a question mark stands for one whose name there is not known.
_SOURCE = re.compile(r"(?P<collection>[a-z][a-z0-9-]*):(?P<name>\S+)")
UNKNOWN = "?"
#: Number of names that a message lists.
LISTED = 3


@dataclass(frozen=True)
class Shown:
    """Concepts and pictures of training, or of the test, of a study.

    Attributes
    ----------
    concepts, pictures : frozenset of str
        Names from :func:`plain` and :func:`picture`.
    sources : frozenset of str
        Pictures of public collections, from :func:`source`.
    """

    concepts: frozenset[str]
    pictures: frozenset[str]
    sources: frozenset[str] = frozenset()

    def shared(self, other: Shown) -> Shown:
        """Concepts and pictures of both.

        A source picture with an unknown name is among them if the other side has pictures of that collection with known
        names: it may be any of these. If neither side knows them, only the names of the pictures tell.
        """
        both = {one for one in self.sources & other.sources if not is_unknown(one)}
        open_ = _unknown_beside(self.sources, other.sources) | _unknown_beside(other.sources, self.sources)
        return Shown(self.concepts & other.concepts, self.pictures & other.pictures, frozenset(both | open_))

    def only_sources(self) -> Shown:
        """The source pictures alone."""
        return Shown(frozenset(), frozenset(), self.sources)

    def __bool__(self) -> bool:
        return bool(self.concepts or self.pictures or self.sources)

    @property
    def collections_unknown(self) -> list[str]:
        """Collections whose pictures cannot be compared, sorted."""
        return sorted(one.partition(":")[0] for one in self.sources if is_unknown(one))

    def words(self) -> str:
        """Numbers of concepts and pictures, with the first names."""
        sources = frozenset(one for one in self.sources if not is_unknown(one))
        kinds = {"concepts": self.concepts, "pictures": self.pictures, "source pictures": sources}
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


def source(collection: str, name: object) -> str:
    """A picture of a public collection, in one spelling; ``name`` is its name there, None if it is not known."""
    return f"{collection}:{UNKNOWN if name is None else name}"


def is_source(text: str) -> bool:
    """Whether a text is one of :func:`source`."""
    return _SOURCE.fullmatch(text) is not None


def is_unknown(text: str) -> bool:
    """Whether only the collection of a source picture is known."""
    return text.partition(":")[2] == UNKNOWN


def source_picture(stimulus_id: str, image: str = "", told: str = "") -> str:
    """Source picture of a stimulus: what its study tells, else the name of its file, else its id; empty for none."""
    names = [PurePosixPath(image).stem, stimulus_id]
    numbers = [number for number in map(coco.number_in, names) if number is not None]
    return told or (source("coco", numbers[0]) if numbers else "")


def _unknown_beside(some: frozenset[str], others: frozenset[str]) -> set[str]:
    """Unknown source pictures of collections of which the others have known ones."""
    known = {one.partition(":")[0] for one in others if not is_unknown(one)}
    return {one for one in some if is_unknown(one) and one.partition(":")[0] in known}


def shown(rows: Iterable[tuple[str, str, str]], sources: Iterable[str] = ()) -> Shown:
    """Concepts and pictures of stimuli.

    Parameters
    ----------
    rows : iterable of (str, str, str)
        Id, concept and path of the picture (empty if there is none) of each stimulus.
    sources : iterable of str
        What their study tells of the source picture of each, in the same order; none for a study that tells nothing.
    """
    listed = list(rows)
    told = list(sources) or [""] * len(listed)
    concepts = frozenset(plain(concept) for _, concept, _ in listed)
    pictures = frozenset(picture(stimulus_id, image) for stimulus_id, _, image in listed) - {""}
    found = {source_picture(name, image, one) for (name, _, image), one in zip(listed, told, strict=True)} - {""}
    return Shown(concepts, pictures, frozenset(found))


def between(trained: pd.DataFrame, tested: pd.DataFrame) -> Shown:
    """Concepts and pictures that the training of one study shares with the test of another.

    Parameters
    ----------
    trained, tested : pandas.DataFrame
        ``stimulus_id``, ``split``, ``concept``, ``image`` of their stimuli, and ``source_picture`` if a study tells it.
    """
    parts = []
    for table, side in zip((trained, tested), SPLITS):
        some = table[table["split"].isin([side, "both"])]
        told = some["source_picture"].tolist() if "source_picture" in some else ()
        parts.append(shown(zip(some["stimulus_id"], some["concept"], some["image"]), told))
    return parts[0].shared(parts[1])


def refusal(where: str, found: Shown, trained: str, tested: str, zero_shot: bool = True) -> str:
    """Message for a model that was trained on concepts or pictures of the test.

    Parameters
    ----------
    where : str
        Setting that names the tested study.
    found : Shown
        What both show; not empty.
    trained, tested : str
        Names of the studies.
    zero_shot : bool
        Whether the test is; if not, it may show concepts of training, but no picture of it.
    """
    hatch = f"{where.rpartition('.')[0]}.concepts: seen"
    lines = []
    if words := found.words():
        why = "because the test is zero-shot" if zero_shot else "because a test shows no picture of training"
        what = "these concepts" if found.concepts else "these pictures"
        lines = [
            f"{where}: the test of study {tested!r} has {words} that were in the training of study {trained!r}",
            f"  expected none, {why}: leave {what} out of training, or set {hatch}; then the column seen marks these "
            "queries",
        ]
    for collection in found.collections_unknown:
        lines += [
            f"{where}: study {trained!r} was trained on pictures of the collection {collection}, and the test of study "
            f"{tested!r} has some of that collection, but one of the two does not know which of them it shows",
            f"  expected their numbers in both, to find those that both show: get its table of pictures "
            f"(docs/datasets.md), or set {hatch}; such queries cannot be marked then",
        ]
    return "\n".join(lines)
