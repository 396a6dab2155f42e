"""The index of the pictures of THINGS-EEG2: which picture a number means, for labels and for unpacking the archives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.names import SPLITS
from brain2clip.readers.things import read_table
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Pictures of a concept.
PER_CONCEPT = {"train": 10, "test": 1}
#: Folders of the unpacked pictures and names of their archives.
FOLDERS = {"train": "training_images", "test": "test_images"}
INDEX_COLUMNS = ("tot_img_number", "split", "concept_folder", "file_name", "file_name_source")
TABLE_COLUMNS = ("stimulus_id", "concept", "image", "split")


def read_index(path: Path) -> pd.DataFrame:
    """The index of the pictures.

    Parameters
    ----------
    path : Path
        CSV table with the columns :data:`INDEX_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        ``split``, ``number`` (from 1 within the split), ``folder`` (``00001_aardvark``), ``file``, ``listed`` (whether
        the file's name is published; else it is inferred); training first, by number.

    Raises
    ------
    brain2clip.stage.InputError
        When the table is absent, lacks a column, or breaks the rule by which numbers and folders go together.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the index of the pictures (setting images of the study)")
    table = read_table(path, ",")
    lost = [name for name in INDEX_COLUMNS if name not in table]
    if lost:
        raise InputError(f"{path}: no column {', '.join(lost)}; found {', '.join(table)}, expected {INDEX_COLUMNS}")
    parts = [_split_index(table[table["split"] == split], split, path) for split in SPLITS]
    if sum(map(len, parts)) != len(table):
        raise InputError(f"{path}: column split has {sorted(set(table['split']))}; expected train or test")
    return pd.concat(parts, ignore_index=True)


def _split_index(rows: pd.DataFrame, split: str, path: Path) -> pd.DataFrame:
    """Rows of one split in the order of their numbers, checked."""
    import pandas as pd

    number = pd.to_numeric(rows["tot_img_number"], errors="coerce").to_numpy(float)
    order = np.argsort(number, kind="stable")
    index = pd.DataFrame(
        {
            "split": split,
            "number": np.arange(1, len(rows) + 1),
            "folder": rows["concept_folder"].to_numpy(object)[order],
            "file": rows["file_name"].to_numpy(object)[order],
            "listed": (rows["file_name_source"] == "listed").to_numpy()[order],
        }
    )
    per = PER_CONCEPT[split]
    if not len(rows) or len(rows) % per or not np.array_equal(number[order], index["number"]):
        raise InputError(
            f"{path}: tot_img_number of the {len(rows)} {split} rows; expected each number from 1 on exactly once, "
            f"{per} for each concept"
        )
    if not all(re.fullmatch(r"[0-9]{5}_[^/\\\s]+", folder) for folder in index["folder"].unique()):
        raise InputError(f"{path}: column concept_folder; expected names such as 00001_aardvark in every row")
    wrong = index["folder"].str[:5].astype(int) != (index["number"] - 1) // per + 1
    wrong |= index["folder"] != index["folder"].to_numpy()[(index["number"] - 1) // per * per]
    wrong |= ~index["file"].str.fullmatch(r"[^/\\\s.][^/\\\s]*")
    if wrong.any():
        row = index[wrong].iloc[0]
        raise InputError(
            f"{path}: {split} picture {row['number']} is {row['folder']}/{row['file']}; expected a file of folder "
            f"{(row['number'] - 1) // per + 1:05d}_…, {per} in a folder in the order of their numbers"
        )
    return index


def stimulus_rows(index: pd.DataFrame) -> pd.DataFrame:
    """Columns of the table of pictures, :data:`TABLE_COLUMNS`, with paths that the index gives.

    Parameters
    ----------
    index : pandas.DataFrame
        From :func:`read_index`.

    Returns
    -------
    pandas.DataFrame
        ``stimulus_id`` (``train-00001``), ``concept`` (``aardvark``), ``image`` (relative to the folder ``stimuli``),
        ``split``.
    """
    import pandas as pd

    columns = (index["split"], index["number"], index["folder"], index["file"])
    rows = [
        (f"{split}-{number:05d}", folder.partition("_")[2], f"{FOLDERS[split]}/{folder}/{file}", split)
        for split, number, folder, file in zip(*columns)
    ]
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
