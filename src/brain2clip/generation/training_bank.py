"""The training pictures of a study: the nearest to a prediction shows what retrieval alone would give."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from brain2clip.retrieval import bank
from brain2clip.stage import InputError


def nearest(
    stimuli: h5py.File, shown: Sequence[str], predicted: NDArray[np.floating], centre: NDArray[np.floating]
) -> list[str]:
    """Id of the training picture nearest to each prediction.

    No test picture is among them, under whatever name: pictures with the pixels of one that was shown are left out.

    Parameters
    ----------
    stimuli : h5py.File
        Stimuli artefact.
    shown : sequence of str
        Ids of the test stimuli.
    predicted : ndarray [n, d]
        Predicted directions.
    centre : ndarray [d]
        What pictures lose before they are compared with them.

    Raises
    ------
    InputError
        Where no training picture is left.
    """
    ids, splits, digests = (stimuli[name].asstr()[:] for name in ("stimulus_id", "split", "pixel_digest"))
    tested = np.isin(ids, list(shown))
    tested |= np.isin(digests, digests[tested & (digests != "")])
    rows = np.flatnonzero(np.isin(splits, ["train", "both"]) & ~tested)
    if not len(rows):
        raise InputError(
            f"{stimuli.filename}: every training picture is also a test picture, so there is no training picture to "
            "start from"
        )
    found = bank.similarity(predicted, stimuli["embedding"][:][rows], centre).argmax(axis=1)
    return [str(ids[row]) for row in rows[found]]
