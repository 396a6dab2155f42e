"""Nearest entries of a bank to predicted embeddings: retrieval as reconstruction. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brain2clip.retrieval import similarities


@dataclass(frozen=True)
class Nearest:
    """Nearest entries to some predicted embeddings.

    Attributes
    ----------
    rows : ndarray [n, k] int
        Entries of the bank without the seen one, nearest first.
    rank : ndarray [n] int
        Rank of the seen entry among all of the bank, 1 to n_bank.
    """

    rows: NDArray[np.int64]
    rank: NDArray[np.int64]


def nearest(
    predicted: NDArray[np.floating],
    bank: NDArray[np.floating],
    centre: NDArray[np.floating],
    seen: NDArray[np.int64],
    k: int,
) -> Nearest:
    """Entries of a bank by cosine to predicted embeddings.

    Parameters
    ----------
    predicted : ndarray [n, d]
        Of unit length, in CLIP's joint space without ``centre``.
    bank : ndarray [n_bank, d]
        Embeddings in CLIP's joint space, of any length.
    centre : ndarray [d]
        Subtracted from entries of unit length before they are compared; zeros: nothing.
    seen : ndarray [n] int
        Row of the bank that was seen.
    k : int
        At most this many.
    """
    found = similarity(predicted, bank, centre)
    rank = similarities.ranks(found, seen)
    found[np.arange(len(seen)), seen] = -np.inf
    return Nearest(similarities.best(found, min(k, len(bank) - 1))[0], rank)


def similarity(
    predicted: NDArray[np.floating], bank: NDArray[np.floating], centre: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Cosine [n, n_bank] of predictions and entries of a bank, as :func:`nearest` takes them."""
    unit = bank / np.linalg.norm(bank, axis=1, keepdims=True) - centre
    return predicted @ (unit / np.linalg.norm(unit, axis=1, keepdims=True)).T
