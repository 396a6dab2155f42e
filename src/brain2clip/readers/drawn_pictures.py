"""The pictures of simulated studies, for readers: table and names, the same for EEG and fMRI.

Layout below ``results/raw/{study}``::

    stimuli/stimuli.tsv                 one row per picture
    stimuli/brain2clip-files.json       written last: size and hash of the table and of every picture
    stimuli/training/00001_striped_red_fish/striped_red_fish_01.png
    stimuli/test/00001_plain_blue_car/plain_blue_car_01.png
    derivatives/truth/features.h5       features of every picture that drive the simulated responses
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip import artefact
from brain2clip.readers import file_records
from brain2clip.readers.contract import STIMULUS_COLUMNS, sentences
from brain2clip.stage import InputError, Job

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: Groups of features, from the retina to meaning.
LEVELS = ("low", "mid", "semantic")
#: Stimulus of a row of simulated fMRI in which nothing is shown.
REST = "rest"


def table_path(root: Path) -> Path:
    """The stimulus table of a study's folder."""
    return root / "stimuli" / "stimuli.tsv"


def stimulus_id(split: str, number: int) -> str:
    """Identity of picture ``number`` (from 1) of a split, as in ``train-00001``."""
    return f"{split}-{number:05d}"


def read_stimuli(path: Path) -> pd.DataFrame:
    """The stimulus table from disk, unchanged since it was written, all columns text."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: no such file; run snakemake, which makes the pictures")
    file_records.check_own(path)
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def stimulus_table(root: Path) -> pd.DataFrame:
    """One row per picture, training pictures by concept, then test pictures; columns of the contract."""
    table = read_stimuli(table_path(root))
    table["image"] = [str(root / "stimuli" / path) for path in table["image"]]
    table["captions"] = [sentences(cell) for cell in table["caption"]]
    table["prompts"] = [sentences(cell) for cell in table["prompts"]]
    return table[list(STIMULUS_COLUMNS)]


def concepts_of(names: Sequence[str], table: Path, source: Path) -> list[str]:
    """Concepts of some stimulus ids.

    Parameters
    ----------
    names : sequence of str
    table : Path
        The stimulus table.
    source : Path
        File that the names come from, for the message.

    Raises
    ------
    brain2clip.stage.InputError
        When a name has no row.
    """
    stimuli = read_stimuli(table)
    known = dict(zip(stimuli["stimulus_id"], stimuli["concept"]))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(
            f"{source}: {', '.join(unknown[:5])} ({len(unknown)} in all) have no row in {table}; the pictures and the "
            "recordings were made with different settings. Delete the older of the two and run snakemake again."
        )
    return [known[name] for name in names]


def with_features(job: Job) -> tuple[pd.DataFrame, dict[str, NDArray[np.floating]]]:
    """The stimulus table of a job's inputs, and by level the features [n_stimuli, n_features] that belong to it.

    Raises
    ------
    brain2clip.stage.InputError
        When they are not of the same pictures.
    """
    stimuli = read_stimuli(job.input("stimuli"))
    with artefact.open_h5(job.input("features"), job.expects.get("simulate_pictures")) as file:
        found = file["stimulus_id"].asstr()[:].tolist()
        features = {level: file[level][:] for level in LEVELS}
    if found != stimuli["stimulus_id"].to_list():
        raise InputError(
            f"{job.input('features')}: has {len(found)} stimuli that are not the {len(stimuli)} of "
            f"{job.input('stimuli')}. Delete both files and run snakemake again."
        )
    return stimuli, features
