"""Any BIDS EEG dataset on disk as a study, by settings alone (:class:`brain2clip.settings.BidsEegStudy`).

What an event shows is read from ``events.tsv``, never from trigger codes. Pictures come from a table of the user;
without pictures, named categories with text prompts are the candidates.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.stage import InputError
from brain2clip.studies import bids_files
from brain2clip.studies.bids_files import Table, column, read_tsv, suggestion
from brain2clip.studies.contract import STIMULUS_COLUMNS, Recording, sentences

if TYPE_CHECKING:
    import pandas as pd

ENTITIES = ("subject", "session", "task", "run")
MISSING = ("n/a", "")
SPLITS = ("train", "test")


class Study:
    """A user's BIDS EEG dataset (contract: :class:`brain2clip.studies.contract.Study`).

    Parameters
    ----------
    name : str
        Name in the configuration.
    settings : dict
        A :class:`brain2clip.settings.BidsEegStudy` as JSON-like dict.
    results : Path
        Folder of the pipeline's results; not used, because the dataset lies where ``root`` says.
    """

    modality = "eeg"

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        self.name = name
        self.block: schema.BidsEegStudy = schema.parse(schema.BidsEegStudy, settings)
        self.root = Path(self.block.root)
        self.licence = self.block.licence
        self.citation = self.block.citation
        # Categories may be seen in training and asked for in the test; pictures (and listed concepts) may not.
        self.zero_shot = self.block.stimuli is not None or self.block.split.by == "concepts"

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        found = bids_files.find_subjects(self.root)
        if not found:
            raise InputError(f"{self.root}: no folder sub-*; expected a BIDS dataset ({self._setting('root')})")
        if self.block.subjects == "all":
            return found
        for subject in self.block.subjects:
            if subject not in found:
                raise InputError(
                    f"{self._setting('subjects')}: no folder sub-{subject} in {self.root}{suggestion(subject, found)}\n"
                    f"  found: {', '.join(found)}"
                )
        return tuple(sorted(set(self.block.subjects)))

    def files(self, subject: str) -> list[str]:
        """Headers, data, events, channel and electrode tables of a subject."""
        return [str(path) for recording in self.recordings(subject) for path in bids_files.data_files(recording)]

    def stimulus_files(self) -> list[str]:
        """The table of pictures, and the events of all subjects where these decide what is training and test.

        The pictures themselves are not listed (there may be 10^5): :meth:`stimulus_table` checks that they exist.
        """
        if self.block.stimuli is None:
            return []
        files = [self.block.stimuli]
        if self.split_from_events:
            files += [str(item.events) for subject in self.subjects() for item in self.recordings(subject)]
        return files

    def label_files(self) -> list[str]:
        """What :meth:`stimulus_files` says: labels are looked up in the table of pictures."""
        return self.stimulus_files()

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings of a subject in the order of session, task, run."""
        if subject not in self.subjects():
            raise InputError(
                f"studies.{self.name}: no subject {subject!r}{suggestion(subject, self.subjects())}; "
                f"found: {', '.join(self.subjects())}"
            )
        return bids_files.find_recordings(self.root, subject, self.block.tasks)

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Not known for a user's dataset."""
        return None

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture or category; the row number is its identity in every artefact.

        The split of a picture is, in this order: that of its concept (``split.by: concepts``), the column ``split``
        of the table if it has one, or what the events of all subjects say; a picture that is never shown counts as
        training, so that it is no candidate in the test.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent, an id stands twice, a picture is missing, a concept that the split lists is
            unknown, or (for pictures) a concept stands on both sides of the split.
        """
        import pandas as pd

        table = pd.DataFrame(self._stimuli)
        table["split"] = self._stimulus_splits
        if self.zero_shot:
            self._check_disjoint(table["concept"], table["split"])
        return table[list(STIMULUS_COLUMNS)]

    @cached_property
    def _stimuli(self) -> dict[str, list[Any]]:
        """Columns of the stimulus table but the split."""
        if self.block.categories is not None:
            prompts = {name: list(texts) for name, texts in self.block.categories.items()}
            empty = [name for name, texts in prompts.items() if not texts]
            if empty or not prompts:
                raise InputError(
                    f"{self._setting('categories')}: no text prompt for {', '.join(empty) or 'any category'}; "
                    "expected a list of texts for each category"
                )
            return {
                "stimulus_id": list(prompts),
                "concept": list(prompts),
                "image": [""] * len(prompts),
                "captions": [[] for _ in prompts],
                "prompts": list(prompts.values()),
            }
        return self._pictures()

    def _pictures(self) -> dict[str, list[Any]]:
        path = self._stimuli_path
        table = read_tsv(path)
        needed = [column(table, name, path, "the study") for name in ("stimulus_id", "concept", "image")]
        names, concepts, images = needed
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"{path}: stimulus_id {_some(twice)} stands more than once; expected one row per picture")
        paths = [path.parent / image for image in images]
        lost = [
            f"{name} ({where})"
            for name, image, where in zip(names, images, paths)
            if image in MISSING or not where.is_file()
        ]
        if lost:
            raise InputError(
                f"{path}: {len(lost)} of {len(names)} stimuli have no image file: {_some(lost)}\n"
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
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._stimuli["stimulus_id"])}

    @cached_property
    def _stimulus_splits(self) -> list[str]:
        """``train``, ``test`` or ``both`` for each row of the stimulus table."""
        concepts = self._stimuli["concept"]
        if self.block.split.by == "concepts":
            return [self._side(concept) or "train" for concept in self._known_concepts(concepts)]
        if self.block.categories is not None:
            return ["both"] * len(concepts)
        if not self.split_from_events:
            return self._written_splits()
        seen: list[set[str]] = [set() for _ in concepts]
        for subject in self.subjects():
            for recording in self.recordings(subject):
                trials = self.trials(recording)
                for row, side in trials[["stimulus", "split"]].drop_duplicates().itertuples(index=False):
                    seen[row].add(side)
        return ["both" if len(sides) == 2 else next(iter(sides), "train") for sides in seen]

    def _written_splits(self) -> list[str]:
        path = self._stimuli_path
        written = read_tsv(path)["split"]
        wrong = sorted({value for value in written if value not in SPLITS})
        if wrong:
            raise InputError(f"{path}: column split holds {_some(wrong)}; expected train or test in each row")
        return written

    @cached_property
    def split_from_events(self) -> bool:
        """Whether only the events tell which pictures are training and which test."""
        if self.block.stimuli is None or self.block.split.by == "concepts":
            return False
        return "split" not in read_tsv(self._stimuli_path)

    @property
    def _stimuli_path(self) -> Path:
        assert self.block.stimuli is not None
        return Path(self.block.stimuli)

    def _known_concepts(self, concepts: list[str]) -> list[str]:
        for concept in (*self.block.split.test, *(self.block.split.train or ())):
            if concept not in concepts:
                raise InputError(
                    f"{self._setting('split')}: no stimulus of the concept {concept!r}{suggestion(concept, concepts)}\n"
                    f"  concepts found: {_some(sorted(set(concepts)))}"
                )
        return concepts

    def _check_disjoint(self, concepts: Iterable[str], splits: Iterable[str]) -> None:
        sides: dict[str, set[str]] = {}
        for concept, side in zip(concepts, splits):
            sides.setdefault(concept, set()).update(SPLITS if side == "both" else (side,))
        shared = sorted(concept for concept, found in sides.items() if len(found) > 1)
        if shared:
            raise InputError(
                f"{self._setting('split')}: {len(shared)} concepts stand on both sides of the split: {_some(shared)}\n"
                "  pictures are searched among unseen concepts, so expected none; split by concepts, or give "
                "categories with text prompts instead of pictures"
            )

    # ------------------------------------------------------------------------------------------ trials

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Trials of a recording in time order.

        Returns
        -------
        pandas.DataFrame
            ``onset`` (s from the start of the recording), ``stimulus`` (row of the stimulus table), ``split``
            (``train`` or ``test``). Trials that the split names on neither side are left out.

        Raises
        ------
        brain2clip.stage.InputError
            When a column is absent, no trial is left after ``keep``, an onset is not a number, or a label has no
            row in the stimulus table.
        """
        import pandas as pd

        events = read_tsv(recording.events)
        kept = self._kept(events, recording)
        onsets = self._onsets(events, kept, recording)
        names = self._names(events, kept, recording)
        rows = self._rows(names, recording)
        sides = self._sides(events, kept, rows, recording)
        self._check_written(rows, sides, recording)
        trials = pd.DataFrame({"onset": onsets, "stimulus": rows, "split": sides})
        trials = trials[trials["split"].notna()]
        return trials.sort_values("onset", kind="stable", ignore_index=True)

    def _kept(self, events: Table, recording: Recording) -> list[int]:
        """Numbers of the rows that are trials."""
        path = recording.events
        kept = list(range(len(column(events, "onset", path, "BIDS"))))
        for name, values in self.block.keep.items():
            cells = column(events, name, path, self._setting("keep"))
            kept = [row for row in kept if cells[row] in values]
        if not kept:
            found = "; ".join(f"{name}: {_some(sorted(set(events[name])))}" for name in self.block.keep)
            raise InputError(
                f"{path}: no trial is left of {len(events['onset'])} events\n"
                f"  {self._setting('keep')} wants {_plain(self.block.keep)}\n"
                f"  values found: {found or 'none'}"
            )
        return kept

    def _onsets(self, events: Table, kept: list[int], recording: Recording) -> list[float]:
        """Onsets of the trials, s."""
        onsets = []
        for row in kept:
            text = events["onset"][row]
            try:
                onset = float(text)
            except ValueError:
                onset = float("nan")
            if not abs(onset) < float("inf"):
                raise InputError(
                    f"{recording.events}: the onset of trial {row + 1} is {text!r}; "
                    "expected a number of seconds from the start of the recording"
                )
            onsets.append(onset)
        return onsets

    def _names(self, events: Table, kept: list[int], recording: Recording) -> list[str]:
        """Stimulus id of each trial from the column or the template of the settings."""
        setting, wanted = self._setting("stimulus"), self.block.stimulus
        plain = "{" not in wanted
        fields = [wanted] if plain else _fields(wanted, setting)
        entities = {key: getattr(recording, key) for key in ENTITIES}
        columns = {}
        for name in fields:
            if plain or name in events or name not in ENTITIES:
                columns[name] = column(events, name, recording.events, setting)
            elif entities[name] is None:
                raise InputError(f"{recording.path}: no {name} in the file name, which {setting} = {wanted!r} wants")
        unknown = [row for row in kept if any(cells[row] in MISSING for cells in columns.values())]
        if unknown:
            raise InputError(
                f"{recording.events}: {len(unknown)} of {len(kept)} trials do not say what was shown "
                f"({', '.join(columns)} is n/a, first in event {unknown[0] + 1})\n"
                f"  expected a stimulus in each trial; leave other events out by {self._setting('keep')}"
            )
        if plain:
            return [columns[wanted][row] for row in kept]
        return [wanted.format(**{**entities, **{name: columns[name][row] for name in columns}}) for row in kept]

    def _rows(self, names: list[str], recording: Recording) -> list[int]:
        """Rows of the stimulus table."""
        lost = sorted(set(names) - set(self._row_of))
        if lost:
            source = self.block.stimuli or self._setting("categories")
            raise InputError(
                f"{recording.events}: {len(lost)} stimuli have no row in {source}: {_some(lost)}"
                f"{suggestion(lost[0], self._row_of)}\n"
                f"  expected one of {_some(list(self._row_of))}; made by {self._setting('stimulus')} = "
                f"{self.block.stimulus!r}"
            )
        return [self._row_of[name] for name in names]

    def _sides(self, events: Table, kept: list[int], rows: list[int], recording: Recording) -> list[str | None]:
        """``train``, ``test`` or None (left out) for each trial."""
        split = self.block.split
        if split.by == "column":
            assert split.column is not None
            cells = column(events, split.column, recording.events, self._setting("split.column"))
            return [self._side(cells[row]) for row in kept]
        if split.by == "concepts":
            concepts = self._known_concepts(self._stimuli["concept"])
            return [self._side(concepts[row]) for row in rows]
        label = getattr(recording, split.by)
        if label is None:
            raise InputError(
                f"{recording.path}: no {split.by} in the file name, so {self._setting('split')} by {split.by} "
                "cannot tell training from test; split by another entity, a column or concepts"
            )
        both = f"{recording.session}/{recording.run}"
        return [self._side(label, both)] * len(kept)

    def _check_written(self, rows: list[int], sides: list[str | None], recording: Recording) -> None:
        """Refuse trials on another side of the split than the column ``split`` of the table of pictures says."""
        if self.block.stimuli is None or self.block.split.by == "concepts" or self.split_from_events:
            return
        written = self._stimulus_splits
        wrong = sorted({row for row, side in zip(rows, sides) if side is not None and side != written[row]})
        if wrong:
            names = [f"{self._stimuli['stimulus_id'][row]} ({written[row]})" for row in wrong]
            raise InputError(
                f"{recording.events}: {len(wrong)} stimuli are on the other side of the split than the column split of "
                f"{self._stimuli_path} says: {_some(names)}\n"
                f"  expected both to agree; mend the table or {self._setting('split')}"
            )

    def _side(self, *labels: str) -> str | None:
        """Side on which any of the names of a trial's value stands."""
        if any(label in self.block.split.test for label in labels):
            return "test"
        if self.block.split.train is None or any(label in self.block.split.train for label in labels):
            return "train"
        return None

    def _setting(self, key: str) -> str:
        return f"studies.{self.name}.{key}"


def _fields(template: str, setting: str) -> list[str]:
    """Names in the braces of a template."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{setting} = {template!r}: {error}; expected column names in braces") from None
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise InputError(f"{setting} = {template!r}: expected plain column names in braces, without format")
    fields = [name for _, name, _, _ in parts if name is not None]
    if any(not name or set(name) & set(".[]") for name in fields):
        raise InputError(f"{setting} = {template!r}: expected plain column names in braces")
    return fields


def _some(items: list[str], most: int = 8) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _plain(keep: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{name}: {' or '.join(values)}" for name, values in keep.items()) or "every event"
