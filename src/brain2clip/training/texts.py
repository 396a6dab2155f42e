"""Sentences of the stimuli of a study, from a stimuli artefact: one drawn at random, or their mean; class prompts."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from brain2clip.stage import InputError

#: What a stimulus may have sentences in.
SOURCES = ("captions", "prompts")
#: Refusal of a method that centres texts which training has none of.
NO_TEXT_CENTRE = (
    "{who} centres texts by the mean of the training stimuli's sentences, but the training stimuli have none: give "
    "them captions or class prompts in the study, or remove the tasks category and caption from retrieval.tasks"
)


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

    def centre(self, rows: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray | None:
        """Mean [d] over those rows that have a sentence, weighted where there are weights; None where none has."""
        there = self.counts(rows) > 0
        if not there.any():
            return None
        means = self.means(rows[there])
        return means.mean(axis=0) if weight is None else np.average(means, axis=0, weights=weight[there])

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
                "class prompts, use the other source of sentences as well, or train without text"
            )


def captions(stimuli: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Mean caption embedding [len(rows), d], of unit length; that of the class prompts for rows without a caption."""
    own, of_class = stimuli["caption_embedding"][:][rows], stimuli["prompt_embedding"][:][rows]
    found = np.where(np.isnan(own), of_class, own)
    _check_texts(stimuli, rows, found, "caption", "captions or class prompts")
    return found


def prompts(stimuli: h5py.File, rows: np.ndarray, first: bool = False) -> np.ndarray:
    """Mean (or first) embedding of each row's class prompts [len(rows), d], of unit length."""
    mean = stimuli["prompt_embedding"][:][rows]
    _check_texts(stimuli, rows, mean, "category", "class prompts")
    if not first:
        return mean
    links = stimuli["prompt_link"][:]
    number = {int(row): int(sentence) for row, sentence in links[::-1]}
    return stimuli["sentence_embedding"][:][[number[int(row)] for row in rows]]


def _check_texts(stimuli: h5py.File, rows: np.ndarray, found: np.ndarray, task: str, needed: str) -> None:
    bare = rows[np.isnan(found).any(axis=1)]
    if len(bare):
        name = stimuli["stimulus_id"].asstr()[:][bare[0]]
        raise InputError(
            f"task {task}: {len(bare)} of {len(rows)} candidates have no {needed}, the first is {name}; give the study "
            f"{needed} of its test stimuli, or remove {task} from retrieval.tasks"
        )
