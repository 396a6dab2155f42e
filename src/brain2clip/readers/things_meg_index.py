"""The index of the pictures of THINGS-MEG: the picture of each number in the events, and its side of the split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers.things import read_table
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Number of concepts of THINGS; ``things_category_nr`` is the place of a concept in alphabetical order, from 1.
CONCEPTS = 1854
#: Number of pictures of each concept that are shown once, and number of pictures that every session shows.
PER_CONCEPT, TEST_PICTURES = 12, 200
INDEX_COLUMNS = ("value", "trial_type", "things_category_nr", "file_name")
_FILE = r"^(?P<stem>(?P<concept>.+)_\d+[a-z]+)\.jpg$"


def read_index(path: Path, setting: str) -> pd.DataFrame:
    """The index of the pictures.

    Parameters
    ----------
    path : Path
        CSV table with the columns :data:`INDEX_COLUMNS`: place of the picture among all 26,107 of THINGS in
        alphabetical order, from 1; ``exp`` (shown once) or ``test`` (shown in every session); place of its concept;
        name of its file.
    setting : str
        Setting that names the table, for messages.

    Returns
    -------
    pandas.DataFrame
        ``value`` (index, int), ``trial_type``, ``category`` (int), ``concept``, ``stimulus_id`` (file without ending),
        ``file``; in the order of the numbers.

    Raises
    ------
    brain2clip.stage.InputError
        If the table is missing, lacks a column, or has unexpected numbers, types or file names; if its number of
        pictures or concepts is not that of the dataset; or if the number of a concept is not its place in alphabetical
        order.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the index of the pictures (setting {setting})")
    table = read_table(path, ",")
    lost = [name for name in INDEX_COLUMNS if name not in table]
    if lost:
        raise InputError(
            f"{path}: no column {', '.join(lost)} (setting {setting}); found {', '.join(table)}, expected "
            f"{', '.join(INDEX_COLUMNS)}"
        )
    numbers = [
        pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in (INDEX_COLUMNS[0], "things_category_nr")
    ]
    parts = table["file_name"].str.extract(_FILE)
    bad = parts["concept"].isna().to_numpy() | ~table["trial_type"].isin(["exp", "test"]).to_numpy()
    for column in numbers:
        bad |= ~(np.isfinite(column) & (column == np.round(column)) & (column >= 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{path}, line {row + 2}: {','.join(table.iloc[row].astype(str))} (setting {setting}); expected whole "
            "numbers from 1, exp or test, and a file such as aardvark_01b.jpg"
        )
    index = pd.DataFrame(
        {
            "value": numbers[0].astype(int),
            "trial_type": table["trial_type"].to_numpy(object),
            "category": numbers[1].astype(int),
            "concept": parts["concept"].to_numpy(object),
            "stimulus_id": parts["stem"].to_numpy(object),
            "file": table["file_name"].to_numpy(object),
        }
    ).set_index("value")
    _check(index, f"{path} (setting {setting})")
    return index.sort_index()


def _check(index: pd.DataFrame, where: str) -> None:
    """Refuse an index with other pictures than were shown, or with contradictions."""
    if index.index.has_duplicates or index["stimulus_id"].duplicated().any():
        again = index.index[index.index.duplicated() | index["stimulus_id"].duplicated()][0]
        raise InputError(f"{where}: picture {again} or its file occurs twice; expected each number and file once")
    shown, repeated = (index[index["trial_type"] == kind] for kind in ("exp", "test"))
    found = (len(shown), shown["concept"].nunique(), len(repeated), repeated["concept"].nunique())
    expected = (CONCEPTS * PER_CONCEPT, CONCEPTS, TEST_PICTURES, TEST_PICTURES)
    if found != expected or not (shown["concept"].value_counts() == PER_CONCEPT).all():
        raise InputError(
            f"{where}: {found[0]} exp pictures of {found[1]} concepts and {found[2]} test pictures of {found[3]}; "
            f"expected {expected[0]} of {expected[1]} ({PER_CONCEPT} each) and {expected[2]} of {expected[3]}"
        )
    places = {concept: place for place, concept in enumerate(sorted(set(shown["concept"])), 1)}
    wrong = index["category"] != index["concept"].map(places)
    if wrong.any():
        row = index[wrong].iloc[0]
        raise InputError(
            f"{where}: concept {row['concept']} has the number {row['category']}; expected "
            f"{places.get(row['concept'])}, its place in alphabetical order, from 1"
        )
