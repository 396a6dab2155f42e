"""Common parts of studies with the pictures of THINGS: EEG and fMRI have the same prompts and paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip.readers import bids_files
from brain2clip.readers.contract import STIMULUS_COLUMNS
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd


def spoken(concept: str) -> str:
    """A concept as a noun: spaces for underscores, without the digit that distinguishes homonyms (bat1, bat2).

    Homonyms share their text. No two of the 200 test concepts of THINGS-EEG2 do, but four of them do with a training
    concept (baton4, chest2, pepper1, punch2): there the text, though not the pictures, is known from training.
    """
    return concept.rstrip("0123456789").replace("_", " ")


def prompt(concept: str) -> str:
    """Text of a concept."""
    return f"a photo of a {spoken(concept)}"


def picture_files(folder: str, pictures: Iterable[tuple[str, str]], setting: str) -> list[str]:
    """Paths of pictures in a copy of THINGS, ``<folder>/<concept>/<file>``.

    Parameters
    ----------
    folder : str
        The copy.
    pictures : iterable of (str, str)
        Concept and file name of each picture.
    setting : str
        Setting that names the folder, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When pictures are not there: how many, and the first.
    """
    paths = [Path(folder) / concept / file for concept, file in pictures]
    lost = [path for path in paths if not path.is_file()]
    if lost:
        raise InputError(
            f"{folder}: {len(lost)} of {len(paths)} pictures are not there, the first is {lost[0]} (setting "
            f"{setting})\n"
            "  expected the pictures of THINGS as <folder>/<concept>/<file>.jpg; get them from the THINGS project, or "
            "set pictures to null, which makes text prompts the candidates"
        )
    return [str(path) for path in paths]


def with_prompts(table: pd.DataFrame) -> pd.DataFrame:
    """A stimulus table from ``stimulus_id``, ``split``, ``concept``, ``image``: a prompt for each, no captions."""
    texts = {
        "captions": [[] for _ in range(len(table))],
        "prompts": [[prompt(concept)] for concept in table["concept"]],
    }
    return table.assign(**texts)[list(STIMULUS_COLUMNS)]


def read_table(path: Path, separator: str) -> pd.DataFrame:
    """A table with a header whose columns are all text (:func:`brain2clip.readers.bids_files.read_table`)."""
    import pandas as pd

    return pd.DataFrame(bids_files.read_table(path, separator))
