"""Classes of unequal size: every class counts the same in training, as in the metric.

Only where categories are the targets, that is where texts are on both sides of the split, and only where their sizes
differ: elsewhere nothing here is called, and training is what it is without.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import h5py
import numpy as np

from brain2clip.training.data import Responses

log = logging.getLogger("brain2clip")


def classes_of(stimuli: h5py.File, sets: Sequence[Responses]) -> np.ndarray | None:
    """Class of every training response, of all sets one after the other, where their sizes differ; else None.

    Parameters
    ----------
    stimuli : h5py.File
        Open stimuli artefact.
    sets : sequence of Responses
        Placed on its rows.
    """
    stimulus = np.concatenate([one.stimulus for one in sets])
    if stimuli.attrs.get("kind", "prompts") != "prompts" or not (stimuli["split"].asstr()[:][stimulus] == "both").any():
        return None
    label = stimuli["concept"].asstr()[:][stimulus]
    names, counts = np.unique(label, return_counts=True)
    if len(names) < 2 or np.ptp(counts) == 0:
        return None
    sizes = ", ".join(f"{name} {count}" for name, count in zip(names, counts))
    log.info("train: classes of unequal size count the same (responses: %s)", sizes)
    return np.asarray(label)


def weights(label: np.ndarray) -> np.ndarray:
    """Weight of every response, mean 1, so that all classes weigh the same [n]."""
    _, place, counts = np.unique(label, return_inverse=True, return_counts=True)
    return (len(label) / (len(counts) * counts))[place.reshape(-1)]


def size(label: np.ndarray) -> int:
    """Responses of an epoch in :func:`order`: those of the largest class times the number of classes."""
    counts = np.unique(label, return_counts=True)[1]
    return int(len(counts) * counts.max())


def order(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order of an epoch: as many responses of each class as the largest has, those of smaller ones several times.

    How often each response of a class comes differs by one at most; which come once more is drawn anew every epoch.
    """
    names, counts = np.unique(label, return_counts=True)
    largest, drawn = int(counts.max()), []
    for name, count in zip(names, counts.tolist()):
        own = np.flatnonzero(label == name)
        drawn += [np.tile(own, largest // count), rng.permutation(own)[: largest % count]]
    return rng.permutation(np.concatenate(drawn))
