"""Tasks: from similarities of brain responses and candidates to the queries of every task. Arrays only.

The query of a task is a brain response, and its picture, class or caption is looked for; or the other way round
(``-to-brain``), a picture or caption is the query, and the brain response to it is looked for. Both directions use the
same matrix of brain responses by candidates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from brain2clip import kinds
from brain2clip.names import TO_BRAIN, Sought, scoring_of
from brain2clip.retrieval import similarities
from brain2clip.stage import InputError

log = logging.getLogger("brain2clip")


@dataclass(frozen=True)
class Queries:
    """Queries of one task and number of averaged repetitions.

    Attributes
    ----------
    task : str
        As in the settings (:data:`brain2clip.names.TASKS`).
    repetitions : int or 'all'
        Trials that are averaged into a brain response, be it query or candidate.
    ids : ndarray [G] of str
        Candidates: stimulus ids (for ``-to-brain`` of the pictures that the responses are to), names of classes.
    target : ndarray [Q] int
        Column of the right candidate.
    similarity : ndarray [Q, G]
    classes : bool
        Whether the candidates are classes, so that many queries have the same target.
    length : ndarray [Q] or None
        Factor on similarities when several queries are compared; None: no factor.
    """

    task: str
    repetitions: int | Literal["all"]
    ids: NDArray[np.object_]
    target: NDArray[np.int64]
    similarity: NDArray[np.floating]
    classes: bool = False
    length: NDArray[np.floating] | None = None

    def margins(self, rows: NDArray[np.int64] | slice = slice(None), pool: Any = slice(None)) -> NDArray[np.float64]:
        """Similarity of the right candidate minus that of the best other one, of some queries in a pool of columns."""
        columns = np.arange(len(self.ids))[pool]
        found = similarities.margins(self.similarity[rows][:, pool], np.searchsorted(columns, self.target[rows]))
        return found if self.length is None else found * self.length[rows]


@dataclass(frozen=True)
class Gallery:
    """Candidates of one kind, for brain queries.

    Attributes
    ----------
    embedding : ndarray [G, d]
        Of unit length.
    ids : ndarray [G] of str
    column : ndarray [n_stimuli] int
        Candidate that each test stimulus belongs to.
    classes : bool
        Whether candidates are classes.
    """

    embedding: NDArray[np.floating]
    ids: NDArray[np.object_]
    column: NDArray[np.int64]
    classes: bool = False


def candidate_rows(split: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows of the stimulus table that are candidates of the test."""
    return np.flatnonzero(np.isin(split, ["test", "both"]))


def shown(candidates: NDArray[np.int64], rows: Sequence[int]) -> NDArray[np.int64]:
    """Number among the candidates of the stimuli of test responses.

    Raises
    ------
    InputError
        If a stimulus is not a candidate.
    """
    place = {int(row): number for number, row in enumerate(candidates)}
    lost = [row for row in rows if row not in place]
    if lost:
        raise InputError(
            f"{len(lost)} averaged test responses show stimuli that are not candidates (row {lost[0]} of the stimuli "
            f"is the first; {len(candidates)} candidates): the table of stimuli has them as 'train', but the "
            "responses as test. Run snakemake, which makes both again from one split"
        )
    return np.array([place[row] for row in rows], np.int64)


def are_classes(kind: Sought, split: NDArray[np.str_]) -> bool:
    """Whether candidates are classes: asked for, or stimuli that are on both sides of the split."""
    return kind in ("category", "template") or bool((split == "both").any())


def kind_of(task: str) -> Sought:
    """Kind of candidates of a task."""
    return cast(Sought, task.removesuffix(TO_BRAIN).removesuffix(f"-{scoring_of(task)}"))


def gallery(embedding: ArrayLike, names: Sequence[str], of_stimulus: Sequence[str], classes: bool = False) -> Gallery:
    """Candidates with their names, and which of them each test stimulus belongs to.

    Parameters
    ----------
    embedding : array [G, d]
    names : sequence [G]
        Unique.
    of_stimulus : sequence [n_stimuli]
        Name of the candidate that belongs to each test stimulus: its own id, or its class.
    classes : bool
        Whether candidates are classes (:func:`are_classes`).
    """
    embedding = np.asarray(embedding)
    column = {str(name): number for number, name in enumerate(names)}
    if not len(column) == len(names) == len(embedding):
        raise ValueError(f"{len(embedding)} candidates with {len(names)} names, {len(column)} of them distinct")
    place = np.array([column[name] for name in of_stimulus])
    return Gallery(embedding, np.array(list(column), dtype=object), place, classes)


def of_brains(
    task: str,
    repetitions: int | Literal["all"],
    brains: NDArray[np.floating],
    stimulus: NDArray[np.int64],
    candidates: Gallery,
    length: NDArray[np.floating] | None = None,
    neighbours: int = 10,
) -> Queries:
    """Queries of a task from embeddings.

    Parameters
    ----------
    task, repetitions
        See :class:`Queries`.
    brains : ndarray [B, d]
        Embeddings of averaged responses, of unit length.
    stimulus : ndarray [B] int
        Number of the test stimulus that each is a response to.
    candidates : Gallery
        Of the task's kind (:func:`kind_of`).
    length : ndarray [B], optional
        See :class:`Queries`.
    neighbours : int
        See :func:`scored`.
    """
    similarity = brains @ candidates.embedding.T
    target = candidates.column[stimulus]
    forward = Queries(kind_of(task), repetitions, candidates.ids, target, similarity, candidates.classes, length)
    if scoring_of(task) is not None:
        return scored(forward, task, neighbours)
    return forward if forward.task == task else to_brain(forward)


def scored(forward: Queries, task: str, neighbours: int) -> Queries:
    """The same comparison, scored from all queries at once (transductive).

    Parameters
    ----------
    forward : Queries
        All brain queries of a test, by their similarities.
    task : str
        One that ends with a scoring (:data:`brain2clip.names.SCORINGS`).
    neighbours : int
        Nearest queries and candidates that count.
    """
    scoring = kinds.load("scorings", str(scoring_of(task)))()
    return replace(forward, task=task, similarity=scoring.scores(forward.similarity, neighbours), length=None)


def to_brain(forward: Queries) -> Queries:
    """The same comparison the other way round: every candidate is a query for the brain response to it.

    The g-th averaged responses to all stimuli form gallery g, so that a gallery holds one response per stimulus; every
    stimulus asks once in each. Stimuli without a response are no candidates, and responses beyond the number that all
    others have are left out.

    Parameters
    ----------
    forward : Queries
        Brain queries of kind ``stimulus`` or ``caption``; larger similarities must mean the same for all queries.
    """
    shown, members = _complete_galleries(forward.target)
    n_galleries = len(members)
    unused = len(forward.target) - members.size
    if unused:
        log.info(
            "retrieval: %d averaged responses left out, because they belong to no complete set of candidates", unused
        )
    similarity = np.concatenate([forward.similarity[np.ix_(rows, shown)].T for rows in members])
    target = np.tile(np.arange(len(shown)), n_galleries)
    task = forward.task + TO_BRAIN
    return Queries(task, forward.repetitions, forward.ids[shown], target, similarity)


def of_observer(
    wanted: Sequence[str],
    repetitions: int | Literal["all"],
    scores: NDArray[np.floating],
    target: NDArray[np.int64],
    labels: Mapping[Sought, NDArray[np.object_]],
) -> list[Queries]:
    """Queries of an ideal observer, which decides between test pictures, for every task that is that decision.

    Class or caption is the same decision as the picture where no two test pictures share it. For ``-to-brain``
    responses are compared by the posterior of the picture given each of them: the likelihood of a response alone
    would also say how typical its noise is.

    Parameters
    ----------
    wanted : sequence of str
        Tasks of the settings.
    repetitions
        See :class:`Queries`.
    scores : ndarray [Q, G]
        Logarithm of the likelihood of each averaged response under each test picture, up to a constant per response.
    target : ndarray [Q] int
        Column of the picture that was shown.
    labels : dict
        ``stimulus``, ``category`` and ``caption`` [G] of the test pictures.
    """
    found = []
    for task in wanted:
        if scoring_of(task) is not None or kind_of(task) == "template":
            log.info(
                "ceiling: task %s left out; this ceiling chooses between pictures, for one response at a time", task
            )
            continue
        ids = labels[kind_of(task)]
        if len(set(ids)) < len(ids) or "" in ids:
            log.info("ceiling: task %s left out; test pictures share a %s, or have none", task, kind_of(task))
            continue
        forward = Queries(kind_of(task), repetitions, ids, target, scores, kind_of(task) == "category")
        if forward.task == task:
            found.append(forward)
            continue
        shown = np.unique(target)
        posterior = np.full_like(scores, -np.inf)
        posterior[:, shown] = log_softmax(scores[:, shown], axis=1)
        found.append(to_brain(replace(forward, similarity=posterior)))
    return found


# ----------------------------------------------------------------------------------------------- pools


def pools(n_candidates: int, size: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Random pools of candidates, columns [draws, size], ascending; the same for everything with as many candidates."""
    drawn = [
        np.random.default_rng([seed, draw]).choice(n_candidates, size, replace=False, shuffle=False)
        for draw in range(draws)
    ]
    return np.sort(np.array(drawn, dtype=np.int64), axis=1)


def in_pool(queries: Queries, pool: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Queries whose right candidate is in a pool, and its rank within the pool.

    Parameters
    ----------
    queries : Queries
    pool : ndarray [size] int
        Columns, ascending.

    Returns
    -------
    chosen, rank : ndarray [q] int
        Numbers of the queries; 1 to size.
    """
    chosen = np.flatnonzero(np.isin(queries.target, pool))
    similarity = queries.similarity[np.ix_(chosen, pool)]
    return chosen, similarities.ranks(similarity, np.searchsorted(pool, queries.target[chosen]))


def pools_of(queries: Queries, settings: dict[str, Any] | None) -> NDArray[np.int64]:
    """Pools [draws, size] for some queries by the ``retrieval.pools`` settings, none where there are too few.

    None either where scores were made with candidates that would be outside of the pool.
    """
    if settings is None or scoring_of(queries.task) is not None:
        return np.empty((0, 0), np.int64)
    if settings["size"] > len(queries.ids):
        log.info("pools: task %s has %d candidates, fewer than %d", queries.task, len(queries.ids), settings["size"])
        return np.empty((0, 0), np.int64)
    return pools(len(queries.ids), settings["size"], settings["draws"], settings["seed"])


# ----------------------------------------------------------------------------------------------- inside


def _complete_galleries(target: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns that have a response [n], and the numbers of their g-th responses [n_galleries, n]."""
    shown, counts = np.unique(target, return_counts=True)
    order = np.argsort(target, kind="stable")
    first = np.cumsum(counts) - counts
    return shown, order[first[None, :] + np.arange(counts.min())[:, None]]
