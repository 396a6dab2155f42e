"""The bank of training pictures: the nearest one to a prediction, and how it looks as a generated picture would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers import pictures
from brain2clip.retrieval import bank, similarities, tasks
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray


def rows(stimuli: h5py.File) -> NDArray[np.int64]:
    """Rows of a stimuli artefact that are in the bank: pictures of the training that are in no test.

    Neither under their own id nor, where a study allows that (``equal_pictures``), with the pixels of a test picture.

    Raises
    ------
    brain2clip.stage.InputError
        Where there is none.
    """
    split, digest = (stimuli[name].asstr()[:] for name in ("split", "pixel_digest"))
    tested = set(digest[tasks.candidate_rows(split)]) - {""}
    image = stimuli["image"].asstr()[:]
    found = [row for row in np.flatnonzero(split == "train") if image[row] and digest[row] not in tested]
    if not found:
        raise InputError(
            f"{stimuli.filename}: no training picture that is no test picture as well, so none is nearest to a "
            "prediction; take generators out of the experiments of this study"
        )
    return np.array(found, np.int64)


def nearest(predicted: NDArray[np.floating], centre: NDArray[np.floating], stimuli: h5py.File) -> NDArray[np.int64]:
    """Row of the stimuli artefact [n] of the picture of the bank that is nearest to each prediction.

    Parameters
    ----------
    predicted : ndarray [n, d]
        Of unit length, in CLIP's joint space without ``centre``.
    centre : ndarray [d]
    stimuli : h5py.File
    """
    inside = rows(stimuli)
    similarity = bank.cosines(predicted, stimuli["embedding"][:][inside], centre)
    found: NDArray[np.int64] = inside[similarities.best(similarity, 1)[0][:, 0]]
    return found


def square(path: Path | str, size: int) -> NDArray[np.uint8]:
    """A picture [size, size, 3]: its largest square in the middle, as towers see it, resized (bicubic, antialiased)."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(pictures.read(path), (size, size), Image.Resampling.BICUBIC))
