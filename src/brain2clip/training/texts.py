"""Sentences of the stimuli of a study, from a stimuli artefact: one drawn at random, or their mean."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from brain2clip.stage import InputError

#: What a stimulus may have sentences in.
SOURCES = ("captions", "prompts")


class Texts:
    """Sentences by row of the stimulus table.

    Parameters
    ----------
    file : h5py.File
        Open stimuli artefact.
    sources : sequence of str
        Of ``captions`` and ``prompts``; others are as if they were not there.

    Attributes
    ----------
    embedding : ndarray [m, d] float32
        Of every sentence, unit length.
    """

    def __init__(self, file: h5py.File, sources: Sequence[str] = SOURCES) -> None:
        self.embedding = file["sentence_embedding"][:]
        self.sources = tuple(sources)
        self.stimulus_id = file["stimulus_id"].asstr()[:]
        links = np.concatenate([file[f"{source.removesuffix('s')}_link"][:] for source in sources])
        links = links[np.argsort(links[:, 0], kind="stable")]
        self.sentence = links[:, 1].astype(np.int64)
        self.start = np.searchsorted(links[:, 0], np.arange(len(self.stimulus_id) + 1))

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Number of sentences of each row."""
        return self.start[rows + 1] - self.start[rows]

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Number of one sentence for each row, all sentences of a row being equally likely."""
        return self.sentence[self.start[rows] + (rng.random(len(rows)) * self.counts(rows)).astype(np.int64)]

    def means(self, rows: np.ndarray) -> np.ndarray:
        """Mean embedding [len(rows), d] of each row's sentences, set to unit length."""
        of_row = (self.embedding[self.sentence[self.start[row] : self.start[row + 1]]] for row in rows)
        total = np.stack([each.mean(axis=0, dtype=np.float64) for each in of_row])
        return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)

    def centre(self, rows: np.ndarray) -> np.ndarray | None:
        """Mean [d] over those rows that have a sentence, or None where none has."""
        spoken = rows[self.counts(rows) > 0]
        return self.means(spoken).mean(axis=0) if len(spoken) else None

    def require(self, rows: np.ndarray, setting: str) -> None:
        """Every row must have a sentence.

        Raises
        ------
        InputError
            With the first row that has none.
        """
        bare = rows[self.counts(rows) == 0]
        if len(bare):
            raise InputError(
                f"{setting} needs a sentence for every training stimulus; {len(bare)} of {len(rows)} have no "
                f"{' or '.join(self.sources)}, the first is {self.stimulus_id[bare[0]]}. Give the study captions or "
                "class prompts, widen supervision.sentences, or train without text"
            )
