"""What a user's dataset shows: a table of pictures or named categories, and on which side of the split each stands.

Shared by the studies of a user's own data, whatever was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.readers.bids_files import column, read_tsv, suggestion
from brain2clip.readers.contract import STIMULUS_COLUMNS, sentences
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("n/a", "")
SPLITS = ("train", "test")


class Catalogue:
    """Stimuli of a study and the rule that splits them.

    Parameters
    ----------
    name : str
        Name of the study, for messages.
    stimuli : str or None
        Table of the pictures.
    categories : mapping or None
        Instead of it: names with their text prompts.
    split : brain2clip.settings.Split
        What is training and what is test.
    """

    def __init__(
        self,
        name: str,
        stimuli: str | None,
        categories: Mapping[str, Sequence[str]] | None,
        split: schema.Split,
    ) -> None:
        self.name = name
        self.categories = categories
        self.split = split
        self._path = None if stimuli is None else Path(stimuli)
        # Categories may be seen in training and asked for in the test; pictures (and listed concepts) may not.
        self.zero_shot = stimuli is not None or split.by == "concepts"

    @property
    def path(self) -> Path:
        """The table of pictures."""
        assert self._path is not None
        return self._path

    @property
    def source(self) -> str:
        """Where stimuli are listed, for messages."""
        return self.setting("categories") if self._path is None else str(self._path)

    def setting(self, key: str) -> str:
        """Full name of a setting of the study, for messages."""
        return f"studies.{self.name}.{key}"

    # ----------------------------------------------------------------------------------------- stimuli

    def table(self, splits: Sequence[str]) -> pd.DataFrame:
        """The stimulus table (:meth:`brain2clip.readers.contract.Study.stimulus_table`) with the given splits.

        Raises
        ------
        brain2clip.stage.InputError
            When (for pictures or listed concepts) a concept stands on both sides of the split.
        """
        import pandas as pd

        table = pd.DataFrame(self.columns)
        table["split"] = list(splits)
        if self.zero_shot:
            self._check_disjoint(table["concept"], table["split"])
        return table[list(STIMULUS_COLUMNS)]

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Columns of the stimulus table but the split."""
        if self.categories is None:
            return self._pictures()
        prompts = {name: list(texts) for name, texts in self.categories.items()}
        empty = [name for name, texts in prompts.items() if not texts]
        if empty or not prompts:
            raise InputError(
                f"{self.setting('categories')}: no text prompt for {', '.join(empty) or 'any category'}; "
                "expected a list of texts for each category"
            )
        return {
            "stimulus_id": list(prompts),
            "concept": list(prompts),
            "image": [""] * len(prompts),
            "captions": [[] for _ in prompts],
            "prompts": list(prompts.values()),
        }

    def _pictures(self) -> dict[str, list[Any]]:
        path = self.path
        table = read_tsv(path)
        needed = [column(table, name, path, "the study") for name in ("stimulus_id", "concept", "image")]
        names, concepts, images = needed
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"{path}: stimulus_id {some(twice)} stands more than once; expected one row per picture")
        paths = [path.parent / image for image in images]
        lost = [
            f"{name} ({where})"
            for name, image, where in zip(names, images, paths)
            if image in MISSING or not where.is_file()
        ]
        if lost:
            raise InputError(
                f"{path}: {len(lost)} of {len(names)} stimuli have no image file: {some(lost)}\n"
                "  image paths are relative to the table; get the pictures or take the rows out"
            )
        captions = [[] if cell in MISSING else sentences(cell) for cell in table.get("caption", [""] * len(names))]
        return {
            "stimulus_id": names,
            "concept": concepts,
            "image": [str(item) for item in paths],
            "captions": captions,
            "prompts": [["a photo of a " + concept.replace("_", " ")] for concept in concepts],
        }

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of the stimulus table by stimulus id."""
        return {name: row for row, name in enumerate(self.columns["stimulus_id"])}

    def rows(self, names: Iterable[str], where: Path, made_by: str) -> list[int]:
        """Rows of the stimulus table of stimulus ids.

        Parameters
        ----------
        names : iterable of str
            Stimulus ids.
        where : Path
            File that names them, and ``made_by`` the setting (with its value) by which they were made: for messages.
        """
        names = list(names)
        lost = sorted(set(names) - set(self.row_of))
        if lost:
            raise InputError(
                f"{where}: {len(lost)} stimuli have no row in {self.source}: {some(lost)}"
                f"{suggestion(lost[0], self.row_of)}\n"
                f"  expected one of {some(list(self.row_of))}; made by {made_by}"
            )
        return [self.row_of[name] for name in names]

    # ------------------------------------------------------------------------------------------- split

    @cached_property
    def split_from_trials(self) -> bool:
        """Whether only the trials tell which pictures are training and which test."""
        if self._path is None or self.split.by == "concepts":
            return False
        return "split" not in read_tsv(self.path)

    def splits(self, shown: Callable[[], Iterable[tuple[int, str]]]) -> list[str]:
        """``train``, ``test`` or ``both`` for each row of the stimulus table.

        In this order: the side of its concept (``split.by: concepts``), the column ``split`` of the table of pictures
        if it has one, or what the trials of all subjects say; a picture that is never shown counts as training, so
        that it is no candidate in the test.

        Parameters
        ----------
        shown : callable
            Gives the pairs of row and side of all trials; called only where these decide.
        """
        concepts = self.columns["concept"]
        if self.split.by == "concepts":
            return [self.side(concept) or "train" for concept in self.known_concepts()]
        if self.categories is not None:
            return ["both"] * len(concepts)
        if not self.split_from_trials:
            return self._written_splits()
        seen: list[set[str]] = [set() for _ in concepts]
        for row, side in shown():
            seen[row].add(side)
        return ["both" if len(sides) == 2 else next(iter(sides), "train") for sides in seen]

    def side(self, *labels: str) -> str | None:
        """Side on which any of the names of a trial's value stands (:func:`side_of`)."""
        return side_of(self.split, *labels)

    def known_concepts(self) -> list[str]:
        """Concept of each row, after a check that the split lists known ones."""
        concepts = self.columns["concept"]
        for concept in (*self.split.test, *(self.split.train or ())):
            if concept not in concepts:
                raise InputError(
                    f"{self.setting('split')}: no stimulus of the concept {concept!r}{suggestion(concept, concepts)}\n"
                    f"  concepts found: {some(sorted(set(concepts)))}"
                )
        return concepts

    def check_written(self, rows: Iterable[int], sides: Iterable[str | None], where: Path) -> None:
        """Refuse trials on another side of the split than the column ``split`` of the table of pictures says."""
        if self._path is None or self.split.by == "concepts" or self.split_from_trials:
            return
        written = self._written_splits()
        wrong = sorted({row for row, side in zip(rows, sides) if side is not None and side != written[row]})
        if wrong:
            names = [f"{self.columns['stimulus_id'][row]} ({written[row]})" for row in wrong]
            raise InputError(
                f"{where}: {len(wrong)} stimuli are on the other side of the split than the column split of "
                f"{self.path} says: {some(names)}\n"
                f"  expected both to agree; mend the table or {self.setting('split')}"
            )

    def _written_splits(self) -> list[str]:
        written = read_tsv(self.path)["split"]
        wrong = sorted({value for value in written if value not in SPLITS})
        if wrong:
            raise InputError(f"{self.path}: column split holds {some(wrong)}; expected train or test in each row")
        return written

    def _check_disjoint(self, concepts: Iterable[str], splits: Iterable[str]) -> None:
        sides: dict[str, set[str]] = {}
        for concept, side in zip(concepts, splits):
            sides.setdefault(concept, set()).update(SPLITS if side == "both" else (side,))
        shared = sorted(concept for concept, found in sides.items() if len(found) > 1)
        if shared:
            raise InputError(
                f"{self.setting('split')}: {len(shared)} concepts stand on both sides of the split: {some(shared)}\n"
                "  pictures are searched among unseen concepts, so expected none; split by concepts, or give "
                "categories with text prompts instead of pictures"
            )


def side_of(split: schema.Split, *labels: str) -> str | None:
    """Side on which any of the names of a trial's value stands; None: on neither."""
    if any(label in split.test for label in labels):
        return "test"
    if split.train is None or any(label in split.train for label in labels):
        return "train"
    return None


def some(items: Sequence[str], most: int = 8) -> str:
    """The first of a list in words, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
