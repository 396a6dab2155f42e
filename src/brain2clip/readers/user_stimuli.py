"""The stimuli of a user's dataset: a table of pictures or named categories, and their split into training and test.

Common to all studies of a user's own data. Responses need ids, concepts and the written split only; these are read
without pictures, captions and prompts, so changes of these do not rerun responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import SPLITS, suggestion
from brain2clip.readers import contract
from brain2clip.readers.attempts import Attempt
from brain2clip.readers.bids_files import Table, column, read_tsv
from brain2clip.readers.contract import STIMULUS_COLUMNS, sentences
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("n/a", "")


class UserStudy(contract.Study):
    """Base of studies of a user's own data; a kind adds the recordings or signals."""

    stimuli: UserStimuli

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.licence, self.citation = self.block.licence, self.block.citation
        self.stimuli = UserStimuli(name, self.block.stimuli, self.block.categories, self.block.split)
        self.zero_shot, self.both_sides = self.stimuli.zero_shot, self.stimuli.both_sides
        self.shown_again = self.stimuli.shown_again
        self.asked = tuple(self.block.categories or ())
        if self.block.split.training == "optional":
            self._need_no_training()

    def _need_no_training(self) -> None:
        """Let a subject have test trials only."""
        self.training_optional = True

    @property
    def split_from_events(self) -> bool:  # type: ignore[override]
        """Whether only the trials of all subjects tell which pictures are training and which test."""
        return self.stimuli.split_from_trials

    def stimulus_files(self) -> list[str]:
        """The table of pictures.

        Trials of all subjects, where these tell the split, are in :meth:`catalogue_digest` instead: another subject
        must not rerun what is made of the first ones. The pictures are not listed (there may be 10^5):
        :meth:`stimulus_table` checks that they exist.
        """
        return self.label_files()

    def label_files(self) -> list[str]:
        """The table of pictures, in which labels are looked up."""
        return [] if self.block.stimuli is None else [self.block.stimuli]

    def label_digest(self) -> str | None:
        """Digest of ids, concepts and the written split of the table of pictures."""
        return self.stimuli.label_digest()

    def catalogue_digest(self) -> str | None:
        """Digest of the stimulus table; None for categories, which are settings."""
        return None if self.block.stimuli is None else contract.table_digest(self._table(complete=False))

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture or category.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent, an id occurs twice, a picture is missing, a concept that the split lists is
            unknown, or (for pictures) a concept stands on both sides of the split.
        """
        return self._table(complete=True)

    def _table(self, complete: bool) -> pd.DataFrame:
        return self.stimuli.table(self.stimuli.splits(self._all_shown), complete)

    def _all_shown(self) -> Iterator[tuple[str, str]]:
        """Stimulus id and side of the split of all trials of all subjects, each at least once."""
        for subject in self.subjects():
            for table in self._shown_to(subject):
                shown = table.loc[table["stimulus"] != "", ["stimulus", "split"]].drop_duplicates()
                yield from shown.itertuples(index=False)

    def shown(self, subject: str) -> Iterable[pd.DataFrame]:
        """Tables of what a subject sees, one for each recording or file, without a look at the signals."""
        return self._shown_to(subject)

    def _shown_to(self, subject: str) -> Iterable[pd.DataFrame]:
        """Tables of a subject with the columns ``stimulus`` and ``split``."""
        raise NotImplementedError


class UserStimuli:
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
        #: Pictures that are still to be fetched, and are not missed where data are looked at before anything runs.
        self.coming: frozenset[Path] = frozenset()
        # Categories may be seen in training and asked for in the test; pictures only where the split says so.
        self.zero_shot = stimuli is not None or split.by == "concepts"
        if split.concepts == "seen":
            self._show_again()

    def _show_again(self) -> None:
        """Let the test show what training showed."""
        self.zero_shot = False

    @property
    def both_sides(self) -> bool:
        """Whether a stimulus may be shown in training and in the test."""
        return not self.zero_shot

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

    @property
    def shown_again(self) -> str:
        """What to do if the test shows on purpose what training showed, for messages."""
        return (
            f"; if the test shows concepts of training on purpose, set {self.setting('split.concepts')}: seen, and "
            "every table says so"
        )

    # ----------------------------------------------------------------------------------------- stimuli

    @cached_property
    def concepts(self) -> dict[str, str]:
        """Concept by stimulus id, in the order of the table.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent or an id occurs twice.
        """
        if self.categories is not None:
            return {name: name for name in self.categories}
        names, concepts = (self._column(name) for name in ("stimulus_id", "concept"))
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(
                f"{self.path}: stimulus_id {some(twice)} occurs more than once; expected one row per picture"
            )
        return dict(zip(names, concepts))

    def table(self, splits: Sequence[str], complete: bool = True) -> pd.DataFrame:
        """The stimulus table (:meth:`brain2clip.readers.contract.Study.stimulus_table`) with the given splits.

        Parameters
        ----------
        splits : sequence of str
            In the order of :attr:`concepts`.
        complete : bool
            Whether pictures must exist and categories have a prompt; a digest of the table does without.

        Raises
        ------
        brain2clip.stage.InputError
            When something is missing, or (for pictures or listed concepts) a concept stands on both sides of the split.
        """
        import pandas as pd

        columns = self._pictures(complete) if self.categories is None else self._prompts(complete)
        table = pd.DataFrame(
            {
                "stimulus_id": list(self.concepts),
                "split": list(splits),
                "concept": list(self.concepts.values()),
                **columns,
            }
        )
        if self.zero_shot:
            self._check_disjoint(table["concept"], table["split"])
        return table[list(STIMULUS_COLUMNS)]

    def check_listed(self, attempt: Attempt) -> None:
        """What :meth:`table` asks of pictures or prompts."""
        if self.categories is not None:
            attempt({}, self._prompts, True)
        elif attempt({}, lambda: self.concepts):
            attempt({}, self._pictures, True)

    def check_sides(self, attempt: Attempt, shown: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """What :meth:`table` asks of the split; ``shown`` as in :meth:`splits`."""
        if self.zero_shot and attempt({}, lambda: self.concepts):
            splits = attempt([], self.splits, shown)
            attempt(None, self._check_disjoint, self.concepts.values(), splits)

    def pictures_named(self) -> list[Path]:
        """Files of the pictures, there or not, in the order of the table."""
        return [self.path.parent / image for image in self._column("image") if image not in MISSING]

    def pictures_there(self) -> list[Path]:
        """Those that exist."""
        return [path for path in self.pictures_named() if path.is_file()]

    def label_digest(self) -> str | None:
        """Digest of ids, concepts and written split (:meth:`brain2clip.readers.contract.Study.label_digest`)."""
        if self._path is None:
            return None
        written = None if self.split.by == "concepts" else self._written_splits()
        return contract.digest(sorted(zip(self.concepts.items(), written or self.concepts)))

    def _prompts(self, complete: bool) -> dict[str, list[Any]]:
        assert self.categories is not None
        prompts = {name: list(texts) for name, texts in self.categories.items()}
        empty = [name for name, texts in prompts.items() if not texts]
        if complete and (empty or not prompts):
            raise InputError(
                f"{self.setting('categories')}: no text prompt for {', '.join(empty) or 'any category'}; "
                "expected a list of texts for each category"
            )
        return {"image": [""] * len(prompts), "captions": [[] for _ in prompts], "prompts": list(prompts.values())}

    def _pictures(self, complete: bool) -> dict[str, list[Any]]:
        path, names, images = self.path, list(self.concepts), self._column("image")
        paths = [path.parent / image for image in images]
        if complete:
            lost = [
                f"{name} ({where})"
                for name, image, where in zip(names, images, paths)
                if image in MISSING or not (where.is_file() or where in self.coming)
            ]
            if lost:
                raise InputError(
                    f"{path}: {len(lost)} of {len(names)} stimuli have no image file: {some(lost)}\n"
                    "  image paths are relative to the table; add the pictures or remove the rows"
                )
        cells = self._read.get("caption", [""] * len(names))
        return {
            "image": [str(item) for item in paths],
            "captions": [[] if cell in MISSING else sentences(cell) for cell in cells],
            "prompts": [["a photo of a " + concept.replace("_", " ")] for concept in self.concepts.values()],
        }

    @cached_property
    def _read(self) -> Table:
        return read_tsv(self.path)

    def _column(self, name: str) -> list[str]:
        return column(self._read, name, self.path, "the study")

    def known(self, names: Sequence[str], where: Path, made_by: str) -> list[str]:
        """Concepts of stimulus ids, each of which must be listed.

        Parameters
        ----------
        names : sequence of str
            Stimulus ids.
        where : Path
            File that names them, and ``made_by`` the setting (with its value) by which they were made: for messages.
        """
        lost = sorted(set(names) - set(self.concepts))
        if lost:
            raise InputError(
                f"{where}: {len(lost)} stimuli have no row in {self.source}: {some(lost)}"
                f"{suggestion(lost[0], self.concepts)}\n"
                f"  expected one of {some(list(self.concepts))}; made by {made_by}"
            )
        return [self.concepts[name] for name in names]

    # ------------------------------------------------------------------------------------------- split

    @cached_property
    def split_from_trials(self) -> bool:
        """Whether only the trials tell which pictures are training and which test."""
        if self._path is None or self.split.by == "concepts":
            return False
        return "split" not in self._read

    def splits(self, shown: Callable[[], Iterable[tuple[str, str]]]) -> list[str]:
        """``train``, ``test`` or ``both`` for each row of the stimulus table.

        In this order: the side of its concept (``split.by: concepts``), the column ``split`` of the table of pictures
        if it has one, or what the trials of all subjects say; a picture that is never shown counts as training, so
        that it is no candidate in the test.

        Parameters
        ----------
        shown : callable
            Gives the pairs of stimulus id and side of all trials; called only where these decide.
        """
        if self.split.by == "concepts":
            self.check_concepts()
            return [self.side(concept) or "train" for concept in self.concepts.values()]
        if self.categories is not None:
            return ["both"] * len(self.concepts)
        written = self._written_splits()
        if written is not None:
            return written
        seen: dict[str, set[str]] = {name: set() for name in self.concepts}
        for name, side in shown():
            seen[name].add(side)
        return ["both" if len(sides) == 2 else next(iter(sides), "train") for sides in seen.values()]

    def side(self, *labels: str) -> str | None:
        """Side on which any of the names of a trial's value stands (:func:`side_of`)."""
        return side_of(self.split, *labels)

    def check_concepts(self) -> None:
        """Refuse a split that lists a concept which no stimulus shows."""
        known = self.concepts.values()
        for concept in (*self.split.test, *(self.split.train or ())):
            if concept not in known:
                raise InputError(
                    f"{self.setting('split')}: no stimulus of the concept {concept!r}{suggestion(concept, known)}\n"
                    f"  concepts found: {some(sorted(set(known)))}"
                )

    def check_written(self, names: Iterable[str], sides: Iterable[str | None], where: Path) -> None:
        """Refuse trials on another side of the split than the column ``split`` of the table of pictures says."""
        splits = None if self.split.by == "concepts" else self._written_splits()
        if splits is None:
            return
        written = dict(zip(self.concepts, splits))
        wrong = {name for name, side in zip(names, sides) if side is not None and written[name] not in (side, "both")}
        if wrong:
            listed = [f"{name} ({written[name]})" for name in self.concepts if name in wrong]
            raise InputError(
                f"{where}: {len(wrong)} stimuli are on the other side of the split than the column split of "
                f"{self.path} says: {some(listed)}\n"
                f"  expected the same side; fix the table or {self.setting('split')}"
            )

    def _written_splits(self) -> list[str] | None:
        """Column ``split`` of the table of pictures, or None where there is none."""
        if self._path is None or "split" not in self._read:
            return None
        written = self._read["split"]
        known = SPLITS if self.zero_shot else (*SPLITS, "both")
        wrong = sorted({value for value in written if value not in known})
        if wrong:
            raise InputError(f"{self.path}: column split has {some(wrong)}; expected {' or '.join(known)} in each row")
        return written

    def _check_disjoint(self, concepts: Iterable[str], splits: Iterable[str]) -> None:
        sides: dict[str, set[str]] = {}
        for concept, side in zip(concepts, splits):
            sides.setdefault(concept, set()).update(SPLITS if side == "both" else (side,))
        shared = sorted(concept for concept, found in sides.items() if len(found) > 1)
        if shared:
            raise InputError(
                f"{self.setting('split')}: {len(shared)} concepts are on both sides of the split: {some(shared)}\n  "
                "the test concepts must be unseen, so expected none; split by concepts"
                f"{self.shown_again}"
            )


def side_of(split: schema.Split, *labels: str) -> str | None:
    """Side on which any of the names of a trial's value stands; None: on neither."""
    if any(label in split.test for label in labels):
        return "test"
    if split.train is None or any(label in split.train for label in labels):
        return "train"
    return None


def check_case(found: Iterable[str], wanted: Sequence[str], where: str, setting: str) -> None:
    """Refuse values that differ from a wanted one in case alone, or as 1 does from 01: they would be passed over.

    Parameters
    ----------
    found, wanted : str
        Values of a file, and those of a setting.
    where, setting : str
        What holds the first, and the full name of the second: for messages.
    """
    plain = {_plain(value): value for value in wanted}
    for value, count in Counter(found).items():
        if value not in wanted and _plain(value) in plain:
            raise InputError(
                f"{where}: {value!r} ({count} times) is only another spelling of {plain[_plain(value)]!r}, which "
                f"{setting} names\n  expected one spelling for one thing: fix the file, or name both if they are "
                "different things"
            )


def _plain(value: str) -> str:
    try:
        return str(float(value))
    except ValueError:
        return value.casefold()


def some(items: Sequence[str], most: int = 8) -> str:
    """The first of a list in words, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
