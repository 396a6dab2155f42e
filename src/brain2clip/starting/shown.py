"""Stimuli and splits from tables of events or rows: the column of stimuli, the trials, the possible splits.

The choices are written into the configuration, with the alternatives in comments; flags of the command choose
otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from brain2clip.names import suggestion
from brain2clip.readers.user_stimuli import MISSING, some
from brain2clip.stage import InputError

#: Columns with times.
TIMES = frozenset({"onset", "duration", "sample", "response_time", "begsample", "endsample", "offset"})
#: Usual names of columns that name a category, and of those that group pictures into concepts.
CATEGORIES = ("trial_type", "condition", "category", "stimulus", "stim_type", "event_type", "label", "class")
CONCEPTS = ("concept", "category", "object", "class", "label", "condition", "trial_type")
#: Words in values of events that show no stimulus.
NO_STIMULUS = frozenset(
    [
        *("rest", "fix", "fixation", "cross", "blank", "baseline", "iti", "isi", "null", "none", "cue", "response"),
        *("resp", "button", "key", "press", "feedback", "boundary", "bad", "edge", "start", "end", "begin", "stop"),
        *("break", "pause", "trigger", "sync", "photo", "instruction", "instructions", "block", "target", "catch"),
    ]
)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
#: Values that mean the test in columns and tasks.
TEST = re.compile(r"(^|[^a-z])(test(ing)?|val(id(ation)?)?|held[ _-]?out|unseen)($|[^a-z])", re.IGNORECASE)
#: Most categories that become prompts, and most values of a column that are listed.
MOST_CATEGORIES, LISTED = 200, 8
#: Part of the concepts that is held out where nothing else splits.
HELD_OUT = 0.2
#: Entities of names of files beside columns of tables.
ENTITIES = ("task", "session", "run")


@dataclass(frozen=True)
class Rows:
    """Rows of a subject.

    Attributes
    ----------
    subject : str
    columns : dict
        Cells by name of column, of all rows.
    entities : dict
        ``task``, ``session`` and ``run`` of every row, where there are such.
    """

    subject: str
    columns: dict[str, list[str]]
    entities: dict[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


@dataclass(frozen=True)
class Asked:
    """Choices by flags of the command; empty: automatic."""

    stimulus: str | None = None
    keep: dict[str, tuple[str, ...]] = field(default_factory=dict)
    split: str | None = None
    pictures: str | None = None


@dataclass(frozen=True)
class Split:
    """A possible split: ``by``, ``column``, the test values, and whether the test shows concepts of training."""

    by: str
    column: str | None
    test: tuple[str, ...]
    seen: bool = False

    def __str__(self) -> str:
        where = self.by if self.column is None else f"{self.by}:{self.column}"
        return f"{where}={','.join(self.test)}{' (with concepts: seen)' if self.seen else ''}"


@dataclass(frozen=True)
class Choice:
    """Trials, their stimuli, and the split into training and test.

    Attributes
    ----------
    stimulus : str
        Column.
    keep : dict
        Columns and values that make a row a trial.
    rest : tuple of str
        Values of the column of stimuli that show none.
    pictures : dict
        Path by stimulus; empty: names are categories.
    concepts : dict
        Concept by stimulus.
    split : Split
    possible : list of str
        All splits that are possible, as the flag takes them.
    counts : tuple of int
        Least number of training and of test trials of a stimulus in a subject.
    n_tested : int
        Stimuli of the test.
    """

    stimulus: str
    keep: dict[str, tuple[str, ...]]
    rest: tuple[str, ...]
    pictures: dict[str, Path]
    concepts: dict[str, str]
    split: Split
    possible: list[str]
    counts: tuple[int, int]
    n_tested: int


class Pictures:
    """Pictures of some folders, found by the names that tables give them.

    Parameters
    ----------
    folders : iterable of Path
        Those that do not exist are passed over.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = [path for path in folders if path.is_dir()]

    @cached_property
    def _index(self) -> dict[str, Path | None]:
        """Path by relative name, name and stem, in lower case; None where several have it."""
        found: dict[str, Path | None] = {}
        for folder in self.folders:
            for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in IMAGES):
                relative = path.relative_to(folder).as_posix()
                for name in {relative, f"{folder.name}/{relative}", path.name, path.stem}:
                    key = name.lower()
                    found[key] = path if found.get(key, path) == path else None
        return found

    def find(self, name: str) -> Path | None:
        """The picture of a name, if it is one."""
        key = name.replace("\\", "/").removeprefix("./").lower()
        return self._index.get(key) or self._index.get(key.rpartition("/")[2])


def chosen(rows: Sequence[Rows], asked: Asked, pictures: Pictures, rest_is_setting: bool = False) -> Choice:
    """Choose column, trials and split.

    Parameters
    ----------
    rows : sequence of Rows
        One per subject.
    asked : Asked
    pictures : Pictures
    rest_is_setting : bool
        Whether rows without a stimulus are told by values of the column itself (voxel tables), not by ``keep``.

    Raises
    ------
    brain2clip.stage.InputError
        Where no column names stimuli, or no split is possible: what was found, and which flag chooses.
    """
    column = _column(rows, asked, pictures)
    names = sorted({cell for one in rows for cell in one.columns[column] if cell not in MISSING})
    found = {name: path for name in names if (path := pictures.find(name)) is not None}
    if len(found) < max(2, len(names) / 2):
        found = {}
    keep = dict(asked.keep)
    rest: tuple[str, ...] = ()
    wanted = set(found) if found else {name for name in names if not _no_stimulus(name)}
    if not found and len(wanted) < 2:
        wanted = set(names)
    if asked.keep:
        wanted = {
            one.columns[column][row]
            for one in rows
            for row in range(len(one))
            if _kept(one, row, asked.keep) and one.columns[column][row] not in MISSING
        }
        found = {name: found[name] for name in found if name in wanted}
    elif rest_is_setting:
        rest = tuple(sorted({cell for one in rows for cell in one.columns[column]} - wanted))
    elif any(cell not in wanted for one in rows for cell in one.columns[column]):
        keep = _keeping(rows, column, wanted)
    trials = [
        [row for row in range(len(one)) if one.columns[column][row] in wanted and _kept(one, row, keep)] for one in rows
    ]
    concepts = _concepts(rows, trials, column, found) if found else {name: name for name in sorted(wanted)}
    named = [[one.columns[column][row] for row in kept] for one, kept in zip(rows, trials)]
    possible = list(_possible(rows, trials, named, concepts, bool(found), asked.split))
    if not possible:
        raise InputError(_no_split(rows, asked, bool(found), concepts))
    split = possible[0]
    sides = [_sides(split, one, kept, concepts, shown) for one, kept, shown in zip(rows, trials, named)]
    return Choice(
        stimulus=column,
        keep=keep,
        rest=rest,
        pictures=found,
        concepts=concepts,
        split=split,
        possible=[str(one) for one in possible],
        counts=(_least(named, sides, False), _least(named, sides, True)),
        n_tested=len({name for shown, side in zip(named, sides) for name, test in zip(shown, side) if test}),
    )


# ---------------------------------------------------------------------------------------------- columns


def common(rows: Sequence[Rows]) -> list[str]:
    """Columns that the tables of all subjects have, those of times left out."""
    every = [one.columns for one in rows]
    return [name for name in every[0] if name not in TIMES and all(name in columns for columns in every)]


def described(rows: Sequence[Rows]) -> Iterator[str]:
    """A line per column: its values with their counts, the most frequent first."""
    for name in dict.fromkeys(name for one in rows for name in one.columns if name not in TIMES):
        counts = Counter(cell for one in rows for cell in one.columns.get(name, []))
        listed = [f"{_short(value)} {count}" for value, count in counts.most_common(LISTED)]
        more = f", … ({len(counts)} values)" if len(counts) > LISTED else ""
        lacking = [one.subject for one in rows if name not in one.columns]
        told = f"; not in the tables of {some(lacking, 4)}" if lacking else ""
        yield f"{name}: {', '.join(listed)}{more}{told}"


def _short(value: str) -> str:
    return (value if len(value) <= 40 else f"{value[:37]}...") or "(empty)"


def _column(rows: Sequence[Rows], asked: Asked, pictures: Pictures) -> str:
    """The column of stimuli."""
    names = common(rows)
    if asked.stimulus is not None:
        if asked.stimulus not in names:
            raise InputError(
                f"--stimulus: no column {asked.stimulus!r}{suggestion(asked.stimulus, names)} in the tables of all "
                f"subjects; found {', '.join(names) or 'none'}"
            )
        return asked.stimulus
    values = {name: {cell for one in rows for cell in one.columns[name]} - {*MISSING} for name in names}
    matched = {name: sum(pictures.find(value) is not None for value in values[name]) for name in names}
    best = max(names, key=lambda name: matched[name], default=None)
    if best is not None and matched[best] >= max(2, len(values[best]) / 2):
        return best
    for name in (*(one for one in CATEGORIES if one in names), *names):
        shown = {value for value in values[name] if not _no_stimulus(value)}
        if 2 <= len(shown) <= MOST_CATEGORIES and not all(map(is_number, shown)) and not _named_pictures(shown):
            return name
    listed = "\n".join(f"  {line}" for line in described(rows))
    raise InputError(
        f"no column of the tables names what was shown: none has 2 to {MOST_CATEGORIES} values in words, nor names of "
        f"pictures that lie in {', '.join(map(str, pictures.folders)) or 'a folder stimuli'}\n{listed}\n"
        "  choose a column by --stimulus COLUMN, or say where the pictures are by --pictures FOLDER"
    )


def is_number(value: str) -> bool:
    """Whether a cell is a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def _named_pictures(values: set[str]) -> bool:
    return all(value.lower().endswith(IMAGES) for value in values)


def _no_stimulus(value: str) -> bool:
    """Whether a value of an event is clearly not a stimulus."""
    return value in MISSING or not NO_STIMULUS.isdisjoint(re.split(r"[^a-z]+", value.lower()))


def _kept(rows: Rows, row: int, keep: dict[str, tuple[str, ...]]) -> bool:
    lacking = [name for name in keep if name not in rows.columns]
    if lacking:
        raise InputError(
            f"--keep: no column {lacking[0]!r}{suggestion(lacking[0], rows.columns)} in the table of {rows.subject}; "
            f"found {', '.join(rows.columns)}"
        )
    return all(rows.columns[name][row] in values for name, values in keep.items())


def _keeping(rows: Sequence[Rows], column: str, wanted: set[str]) -> dict[str, tuple[str, ...]]:
    """Values of a column that distinguish rows with a stimulus from other rows."""
    for name in dict.fromkeys((*(one for one in CATEGORIES if one in common(rows)), *common(rows))):
        of_trials = {one.columns[name][row] for one in rows for row in _showing(one, column, wanted)}
        of_others = {one.columns[name][row] for one in rows for row in _showing(one, column, wanted, False)}
        if of_trials.isdisjoint({*of_others, *MISSING}) and len(of_trials) <= MOST_CATEGORIES:
            return {name: tuple(sorted(of_trials))}
    raise InputError(
        f"some events show nothing (column {column}), and no column tells them from trials\n"
        + "\n".join(f"  {line}" for line in described(rows))
        + "\n  say which are trials by --keep COLUMN=VALUE[,VALUE...]"
    )


def _showing(rows: Rows, column: str, wanted: set[str], showing: bool = True) -> list[int]:
    return [row for row, cell in enumerate(rows.columns[column]) if (cell in wanted) == showing]


def _concepts(
    rows: Sequence[Rows], trials: Sequence[Sequence[int]], column: str, pictures: dict[str, Path]
) -> dict[str, str]:
    """Concept of each picture: by a column that groups pictures, by folders, or by names without numbers."""
    shown = sorted({one.columns[column][row] for one, kept in zip(rows, trials) for row in kept})
    ways: list[dict[str, str] | None] = []
    for name in (one for one in CONCEPTS if one in common(rows) and one != column):
        seen: dict[str, set[str]] = {}
        for one, kept in zip(rows, trials):
            for row in kept:
                seen.setdefault(one.columns[column][row], set()).add(one.columns[name][row])
        if all(len(values) == 1 and not values & {*MISSING} for values in seen.values()):
            ways.append({stimulus: next(iter(values)) for stimulus, values in seen.items()})
    ways.append({name: pictures[name].parent.name for name in shown})
    ways.append({name: re.sub(r"[\W_]*\d+[a-z]?$", "", pictures[name].stem) or pictures[name].stem for name in shown})
    enough = (one for one in ways if one is not None and len(set(one.values())) >= 4)
    return next(enough, {name: pictures[name].stem for name in shown})


# ------------------------------------------------------------------------------------------------ splits


def parsed(text: str) -> tuple[str, str | None, tuple[str, ...]]:
    """``BY[:COLUMN][=VALUE,...]`` of the flag ``--split``."""
    where, _, values = text.partition("=")
    by, _, column = where.partition(":")
    if by not in ("column", "concepts", *ENTITIES) or (by == "column") != bool(column):
        raise InputError(
            f"--split: found {text!r}; expected run, session, task or concepts, or column:NAME, with the test values "
            "after = unless they are to be chosen here, as in run=02,04 or column:part=test"
        )
    return by, column or None, tuple(value for value in values.split(",") if value)


def _possible(
    rows: Sequence[Rows],
    trials: Sequence[Sequence[int]],
    named: Sequence[Sequence[str]],
    concepts: dict[str, str],
    pictures: bool,
    wanted: str | None,
) -> Iterator[Split]:
    """Splits that leave every subject the trials that it needs, one of each sort."""
    asked = None if wanted is None else parsed(wanted)
    sorts: list[tuple[str, str | None]] = [("column", name) for name in common(rows)]
    sorts += [(entity, None) for entity in ("task", "run", "session")]
    sorts += [("concepts", None)] if pictures else []
    fits = _fits(rows, trials, named, concepts, pictures)
    repeated: list[Split] = []
    for by, column in sorts if asked is None else [asked[:2]]:
        values = _values(rows, trials, by, column, concepts)
        tests = [asked[2]] if asked is not None and asked[2] else _tests(by, values, asked is not None)
        fitting = [Split(by, column, test) for test in tests]
        found = next(filter(fits, fitting), None)
        if found is not None:
            yield found
        elif pictures and by != "concepts":
            repeated += filter(fits, [replace(one, seen=True) for one in fitting][:1])
    yield from repeated  # the commonest design of a laboratory, and no zero-shot one: never before one that is


def _values(
    rows: Sequence[Rows], trials: Sequence[Sequence[int]], by: str, column: str | None, concepts: dict[str, str]
) -> list[str]:
    """Values of trials by which a split may tell them apart, in their order."""
    if by == "concepts":
        return sorted(set(concepts.values()))
    found: set[str] = set()
    for one, kept in zip(rows, trials):
        cells = one.entities.get(by) if column is None else one.columns.get(column)
        found.update(cells[row] for row in kept if cells is not None)
    return sorted(found, key=lambda value: (not value.isdecimal(), int(value) if value.isdecimal() else 0, value))


def _tests(by: str, values: list[str], asked: bool) -> list[tuple[str, ...]]:
    """Values that may mean the test, the best choice first."""
    named = tuple(value for value in values if TEST.search(value))
    if by in ("column", "task"):
        return [named] if named or not asked else [tuple(values[-1:])]
    if by == "concepts":
        # By digests: every fifth of sorted names would be all of one kind where names are crossed (red ball, red box).
        mixed = sorted(values, key=lambda value: hashlib.sha256(value.encode()).digest())
        return [tuple(sorted(mixed[: max(2, round(HELD_OUT * len(values)))]))]
    return [one for one in (named, tuple(values[1::2]), tuple(values[len(values) // 2 :]), tuple(values[-1:])) if one]


def _fits(
    rows: Sequence[Rows],
    trials: Sequence[Sequence[int]],
    named: Sequence[Sequence[str]],
    concepts: dict[str, str],
    pictures: bool,
) -> Callable[[Split], bool]:
    """Whether a split leaves every subject trials on both sides: of other concepts, of the same, of each category."""

    def fit(split: Split) -> bool:
        seen: tuple[set[str], set[str]] = (set(), set())
        for one, kept, shown in zip(rows, trials, named):
            sides = _sides(split, one, kept, concepts, shown)
            own = [{concepts[name] for name, test in zip(shown, sides) if test == side} for side in (False, True)]
            if not all(own) or (not pictures and any(len(side) < len(concepts) for side in own)):
                return False
            if split.seen and not own[1] <= own[0]:
                return False
            seen[0].update(own[0])
            seen[1].update(own[1])
        return not pictures or ((split.seen or seen[0].isdisjoint(seen[1])) and min(map(len, seen)) >= 2)

    return fit


def _sides(split: Split, rows: Rows, kept: Sequence[int], concepts: dict[str, str], shown: Sequence[str]) -> list[bool]:
    """Whether each trial is of the test."""
    if split.by == "concepts":
        return [concepts[name] in split.test for name in shown]
    cells = rows.entities.get(split.by) if split.column is None else rows.columns.get(split.column)
    return [cells is not None and cells[row] in split.test for row in kept]


def _least(named: Sequence[Sequence[str]], sides: Sequence[Sequence[bool]], test: bool) -> int:
    """Least number of trials that a stimulus of one side has in a subject."""
    counts = (
        Counter(name for name, side in zip(shown, own) if side == test).values() for shown, own in zip(named, sides)
    )
    return min((min(one) for one in counts if one), default=0)


def _no_split(rows: Sequence[Rows], asked: Asked, pictures: bool, concepts: dict[str, str]) -> str:
    """Why there is no split, and how to get one."""
    there = {by: sorted({cell for one in rows for cell in one.entities.get(by, [])}) for by in ENTITIES}
    found = "; ".join(f"{by}: {some(values)}" for by, values in there.items() if values)
    needed = (
        f"pictures of other concepts on both sides (found {len(set(concepts.values()))} concepts)"
        if pictures
        else f"trials of each category ({some(sorted(concepts))}) of every subject on both sides"
    )
    return (
        f"no split is possible{f' by --split {asked.split}' if asked.split else ''}: expected {needed}\n"
        f"  found {found or 'no runs, sessions or tasks'}; columns {', '.join(common(rows))}\n"
        "  choose one by --split (run=02,04, session=02, column:NAME=VALUE), leave a subject out, or add a column to "
        "the tables that says train or test"
    )
