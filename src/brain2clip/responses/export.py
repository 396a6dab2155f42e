"""Stage ``export``: the responses of a subject in the formats of other projects; also a command for one file.

As a stage: settings ``format``, ``name``, ``study``, ``results``, ``subject``; input ``responses`` (and ``table``,
where the study's own table of pictures is not to be used); outputs ``training`` and ``test``. By hand, without a spec::

    python -m brain2clip.responses.export RESPONSES.h5 FOLDER --format nice
    python -m brain2clip.responses.export RESPONSES.h5 FOLDER --format ubp --stimuli results/stimuli/STUDY/TOWER.h5

Names of concepts and pictures come from ``--stimuli``: a stimuli artefact, or a table with the columns
``stimulus_id``, ``concept``, ``image`` (stimuli.tsv). Without it the id of a picture is used for both, and pictures
that were never shown are not noticed.

A file has one row per picture of its split, in the order of the table (without one, of ids), so every picture must have
been shown equally often. Its presentations are in the order of the artefact: session, run, time.

**nice**: ``preprocessed_eeg_training.npy`` and ``preprocessed_eeg_test.npy``, each a bare pickle of protocol 4 (not
what ``np.save`` writes, though ``np.load(allow_pickle=True)`` reads it) of a dictionary: ``preprocessed_eeg_data``
float32 [n_pictures, n_repetitions, n_channels, n_times], ``ch_names`` list, ``times`` [50 + n_times] s. Checked against
eeyhsong/NICE-EEG (MIT): ``preprocessing/preprocessing_utils.py``, which writes it, and ``nice_stand.py``, which reads
the data and no times. NICE keeps the times of the baseline, 300 for 250 samples, and ATM
(dongyangli-del/EEG_Image_decode, ``Retrieval/eegdatasets_leaveone.py``) leaves out the first 50, whatever they are:
so 50 times stand before those of the samples here, too. NICE mixes the repetitions of the sessions, here they are in
order.

**ubp**: ``train.pt`` and ``test.pt``, which ``torch.load(weights_only=False)`` reads as a dictionary of numpy arrays:
``eeg`` float16 [n_pictures, n_repetitions, n_channels, n_times]; by picture and repetition [n_pictures,
n_repetitions] ``label`` (number of the concept within the split, from 0), ``img`` (path from the folder that holds
``train_images`` and ``test_images``), ``text`` (the concept; the reader makes "This is a X." of it) and ``session``
(number from 0, float64); ``ch_names`` list; ``times`` [n_times] s. Checked against
HaitaoWuTJU/Uncertainty-aware-Blur-Prior (Apache-2.0): ``preprocess/process_eeg_whiten.py``, which writes it, and
``base/data_eeg.py``, which reads it. That reader ignores ``ch_names`` and counts on the 63 channels of THINGS-EEG2 in
the order of ``responses.channels: nice-63``.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip import artefact, stage
from brain2clip.names import SPLITS, UNITS
from brain2clip.readers import bids_files, contract, file_records
from brain2clip.responses import epoching, pickles
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import pandas as pd

log = logging.getLogger("brain2clip")

#: Names of the files of each format, by split.
FILES = {
    "nice": {"train": "preprocessed_eeg_training.npy", "test": "preprocessed_eeg_test.npy"},
    "ubp": {"train": "train.pt", "test": "test.pt"},
}
OUTPUTS = {"train": "training", "test": "test"}
#: Times of the baseline in NICE's files, whose samples are not there: 0.2 s at 250 Hz.
CUT_OFF = 50
#: Responses that are read at the same time, bytes.
AT_ONCE = 2**26


@dataclass(frozen=True)
class Pictures:
    """Rows of the stimulus table.

    Attributes
    ----------
    stimulus_id : list of str
    split : list of str or None
        ``train``, ``test`` or ``both``; None where it is not known.
    concept : list of str
    image : list of str
        Paths, or ids in place of them.
    """

    stimulus_id: list[str]
    split: list[str] | None
    concept: list[str]
    image: list[str]

    def of(self, side: str, shown: np.ndarray) -> np.ndarray:
        """Rows of a split in the order of the table; where splits are not known, those among the shown ones."""
        if self.split is None:
            return np.unique(shown)
        return np.flatnonzero([split in (side, "both") for split in self.split])


@dataclass(frozen=True)
class Block:
    """Arrangement of the trials of a split.

    Attributes
    ----------
    pictures : ndarray [n_pictures]
        Rows of the stimulus table.
    trials : ndarray [n_pictures, n_repetitions]
        Rows of the responses artefact.
    """

    pictures: np.ndarray
    trials: np.ndarray


def run(job: stage.Job) -> None:
    """Write both files of a subject."""
    given = job.settings
    if "table" in job.inputs:
        pictures = read_pictures(job.input("table"))
    else:
        pictures = from_table(contract.load(given["name"], given["study"], given["results"]).stimulus_table())
    outputs = {side: job.output(name) for side, name in OUTPUTS.items()}
    export(job.input("responses"), job.expects.get("responses"), given["format"], pictures, outputs)


def by_hand(arguments: list[str]) -> None:
    """The command line without a spec."""
    parser = argparse.ArgumentParser(
        prog="python -m brain2clip.responses.export",
        description="Write the responses of one subject in the format of another project.",
    )
    parser.add_argument("responses", type=Path, metavar="RESPONSES.h5", help="responses artefact of a subject")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder for the two files")
    parser.add_argument("--format", required=True, choices=sorted(FILES))
    parser.add_argument("--stimuli", type=Path, help="stimuli artefact or stimuli.tsv: names of concepts and pictures")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        pictures = None if given.stimuli is None else read_pictures(given.stimuli)
        outputs = {side: given.folder / name for side, name in FILES[given.format].items()}
        export(given.responses, None, given.format, pictures, outputs)
    except (InputError, artefact.ArtefactError) as error:
        sys.exit(str(error))


def export(
    responses: Path,
    expected: dict[str, Any] | None,
    form: str,
    pictures: Pictures | None,
    outputs: dict[str, Path],
) -> None:
    """Write the training and the test file of one responses artefact.

    Parameters
    ----------
    responses : Path
        Artefact of a subject.
    expected : dict or None
        What it must carry.
    form : str
        ``nice`` or ``ubp``.
    pictures : Pictures or None
        Names of concepts and pictures (None: the artefact's ids).
    outputs : dict
        Split to file.

    Raises
    ------
    brain2clip.stage.InputError
        When pictures were shown unequally often, the pictures are those of another table, or the format's precision
        cannot hold the responses.
    """
    with artefact.open_h5(responses, expected) as file:
        ids = list(file["stimulus_id"].asstr()[:])
        pictures = _or_ids(pictures, ids, form)
        _check_format(file, form, responses)
        shown, split = rows_of(ids, pictures, responses)[file["stimulus"][:]], file["split"][:]
        # Both are arranged before anything is read, so that a refusal comes at once.
        blocks = {
            side: arrange(shown, split == number, pictures, side, responses) for number, side in enumerate(SPLITS)
        }
        for side, block in blocks.items():
            _export_side(file, form, block, pictures, outputs[side])


def _export_side(file: h5py.File, form: str, block: Block, pictures: Pictures, output: Path) -> None:
    """Collect and write one file; its array is gone before the next is collected."""
    collect, write = FORMATS[form]
    content = collect(file, block, pictures)
    with artefact.aside(output) as part:
        write(part, content)
    log.info("export: %s: %d pictures, %d times each", output, *block.trials.shape)


# --------------------------------------------------------------------------------------------- pictures


def from_table(table: pd.DataFrame) -> Pictures:
    """Pictures of a stimulus table."""
    columns = (table[name].astype(str).tolist() for name in ("stimulus_id", "split", "concept", "image"))
    return Pictures(*columns)


def read_pictures(path: Path) -> Pictures:
    """Pictures from a stimuli artefact, or from a table (tsv) whose image paths are relative to it."""
    if path.suffix == ".h5":
        with artefact.open_h5(path) as file:
            names = ("stimulus_id", "split", "concept", "image")
            lost = [name for name in names if name not in file]
            if lost:
                raise InputError(f"{path}: no {', '.join(lost)}; expected a stimuli artefact or a stimuli.tsv")
            return Pictures(*(list(file[name].asstr()[:]) for name in names))
    file_records.check_if_own(path)
    table = bids_files.read_tsv(path)
    ids, concepts, images = (
        bids_files.column(table, name, path, "--stimuli") for name in ("stimulus_id", "concept", "image")
    )
    return Pictures(ids, table.get("split"), concepts, [str(path.parent / image) for image in images])


def _or_ids(pictures: Pictures | None, ids: list[str], form: str) -> Pictures:
    """The pictures, or ids in place of them."""
    if pictures is not None:
        return pictures
    if form == "ubp":
        log.warning("export: without --stimuli the id of a picture takes the place of its concept and its file name")
    return Pictures(ids, None, ids, ids)


def rows_of(ids: list[str], pictures: Pictures, path: Path) -> np.ndarray:
    """Row among the pictures of each id [n]; refused where one is none of them."""
    place = {name: row for row, name in enumerate(pictures.stimulus_id)}
    lost = [name for name in ids if name not in place]
    if lost:
        raise InputError(
            f"{path}: {len(lost)} of {len(ids)} stimuli are not in the table of pictures ({len(place)} rows), the "
            f"first is {lost[0]}; expected the table of the study of these responses"
        )
    return np.array([place[name] for name in ids])


def arrange(shown: np.ndarray, mine: np.ndarray, pictures: Pictures, side: str, path: Path) -> Block:
    """Trials of a split by picture and repetition.

    Parameters
    ----------
    shown : ndarray [n_trials]
        Row of the stimulus table.
    mine : ndarray of bool [n_trials]
        Trials of the split.
    pictures : Pictures
        All pictures.
    side : str
        The split.
    path : Path
        Artefact, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When a picture has more trials than another, or none.
    """
    trials = np.flatnonzero(mine)
    rows = pictures.of(side, shown[trials])
    counts = np.bincount(shown[trials], minlength=len(pictures.stimulus_id))[rows]
    if not len(trials) or counts.min() != counts.max():
        numbers, how_many = np.unique(counts, return_counts=True)
        found = ", ".join(f"{count} pictures {number} times" for number, count in zip(numbers, how_many))
        odd = [pictures.stimulus_id[row] for row in rows[counts != np.bincount(counts).argmax()]] if len(rows) else []
        raise InputError(
            f"{path}: the {side} pictures were not shown equally often, but the format needs equal numbers: an array "
            f"of pictures by repetitions\n  found {found or 'none'}{', e.g. ' * bool(odd)}{', '.join(odd[:3])}\n"
            "  responses.repetitions: {train: 2, test: 20} makes them equal in THINGS-EEG2 with all sessions and runs; "
            "responses.reject_uv makes them unequal"
        )
    if counts.sum() != len(trials):
        raise InputError(f"{path}: {len(trials) - counts.sum()} {side} trials show a picture of the other split")
    order = trials[np.argsort(shown[trials], kind="stable")]
    return Block(rows, order.reshape(len(rows), counts[0]))


# ------------------------------------------------------------------------------------------------ arrays


def gather(response: h5py.Dataset, trials: np.ndarray, dtype: str) -> np.ndarray:
    """Responses in the order of trials, read in the order of the file.

    Parameters
    ----------
    response : h5py.Dataset [n, n_channels, n_times]
    trials : ndarray [n_pictures, n_repetitions]
    dtype : str
        Precision of the result.

    Returns
    -------
    ndarray [n_pictures, n_repetitions, n_channels, n_times]
    """
    place = np.full(len(response), -1)
    place[trials.ravel()] = np.arange(trials.size)
    values = np.empty((trials.size, *response.shape[1:]), dtype)
    step = max(1, AT_ONCE // (response.dtype.itemsize * response.shape[1] * response.shape[2]))
    for begin in stage.progress(range(0, len(response), step), f"{step} trials at once"):
        wanted = place[begin : begin + step]
        if (wanted < 0).all():
            continue
        some = response[begin : begin + step][wanted >= 0]
        with np.errstate(over="ignore"):
            cast = some.astype(dtype)
        if not np.isfinite(cast).all():
            raise InputError(
                f"responses reach {np.abs(some).max():.3g}, which {dtype} cannot hold; use responses.whitening.clamp"
            )
        values[wanted[wanted >= 0]] = cast
    return values.reshape(*trials.shape, *response.shape[1:])


def _check_format(file: h5py.File, form: str, path: Path) -> None:
    """Refuse what the format cannot hold; warn of the assumptions of its reader."""
    if form != "ubp":
        return
    if (unit := file.attrs.get("unit")) in UNITS.values():
        raise InputError(
            f"{path}: responses in {unit} would underflow in the float16 of format ubp; set responses.whitening.kind "
            "(mvnn, zscore, robust), or export the format nice"
        )
    if tuple(file["channel"].asstr()[:]) != epoching.CHANNEL_SETS["nice-63"]:
        log.warning(
            "export: UBP's reader takes channels by their position among the 63 of responses.channels: nice-63 "
            "(preset nice-63); with other channels it fails or confuses them"
        )


def _nice(file: h5py.File, block: Block, _: Pictures) -> dict[str, Any]:
    return {
        "preprocessed_eeg_data": gather(file["response"], block.trials, "float32"),
        "ch_names": list(file["channel"].asstr()[:]),
        "times": _with_baseline(file["times"][:], float(file.attrs["sfreq"])),
    }


def _with_baseline(times: np.ndarray, sfreq: float) -> np.ndarray:
    """The times of the samples [n_times], behind those of a baseline that was cut off [:data:`CUT_OFF`] (s)."""
    return np.concatenate([times[0] - np.arange(CUT_OFF, 0, -1) / sfreq, times])


def _ubp(file: h5py.File, block: Block, pictures: Pictures) -> dict[str, Any]:
    names = [pictures.concept[row] for row in block.pictures]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    images = _relative(pictures)

    def tiled(values: list[Any]) -> np.ndarray:
        """The same for every repetition of a picture."""
        return np.tile(np.array(values)[:, None], (1, block.trials.shape[1]))

    return {
        "eeg": gather(file["response"], block.trials, "float16"),
        "label": tiled([numbers[name] for name in names]),
        "img": tiled([images[row] for row in block.pictures]),
        "text": tiled([re.sub(r"^\d+_", "", name) for name in names]),  # folders are numbered: 00001_aardvark
        "session": _session_numbers(file)[block.trials],
        "ch_names": list(file["channel"].asstr()[:]),
        "times": file["times"][:],
    }


def _session_numbers(file: h5py.File) -> np.ndarray:
    """Number of the session of each trial, from 0, in the order of the file."""
    labels = file["session"].asstr()[:]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], dtype=float)


def _relative(pictures: Pictures) -> list[str]:
    """Paths of the pictures from their common folder; THINGS-EEG2's ``training_images`` is ``train_images`` in UBP."""
    if pictures.image == pictures.stimulus_id or not all(pictures.image):
        return pictures.stimulus_id
    paths = [PurePosixPath(Path(image).as_posix()) for image in pictures.image]
    common = os.path.commonpath([path.parent for path in paths])
    relative = [path.relative_to(common) for path in paths]
    if all(path.parts[0] in ("training_images", "test_images") for path in relative):
        relative = [PurePosixPath(path.parts[0].replace("training", "train"), *path.parts[1:]) for path in relative]
    return [str(path) for path in relative]


# ------------------------------------------------------------------------------------------------- files


def _write_pickle(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        pickles.write_dict(file, content)


def _write_torch(path: Path, content: dict[str, Any]) -> None:
    """What ``torch.save`` writes: a stored zip with the pickle, but not held in memory before it is written."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo("archive/data.pkl"), "w", force_zip64=True) as file:
            pickles.write_dict(file, content)
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), sys.byteorder)
        archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")


Collect = Callable[["h5py.File", Block, Pictures], dict[str, Any]]
Write = Callable[[Path, dict[str, Any]], None]
FORMATS: dict[str, tuple[Collect, Write]] = {"nice": (_nice, _write_pickle), "ubp": (_ubp, _write_torch)}


if __name__ == "__main__":
    if any(argument.partition("=")[0] == "--spec" for argument in sys.argv[1:]):
        stage.main(run)
    else:
        by_hand(sys.argv[1:])
