"""Stage ``ceiling``: the ideal observer of a simulated study, on the same test trials as the methods.

It knows the noise-free response of the subject to every candidate and, from the residuals of the training trials, the
covariance of everything else (background, artefacts, overlapping neighbours; drift). With Gaussian noise the candidate
of highest posterior is that of the largest linear discriminant t' S^-1 x - t' S^-1 t / 2; no method that has to learn
responses from data can do better on average, up to the noise not being exactly Gaussian and its covariance being
estimated (Ledoit-Wolf).
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from brain2clip import artefact, stage
from brain2clip.names import Sought
from brain2clip.readers import templates
from brain2clip.retrieval import query_table, tasks, truth
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.settings import Retrieval, parse

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Rank the candidates by the discriminant and write rows."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    with artefact.open_h5(job.input("stimuli"), job.expects.get("features")) as stimuli:
        split = stimuli["split"].asstr()[:]
        ids = stimuli["stimulus_id"].asstr()[:][split != templates.SIDE].tolist()  # those, the last rows, nobody saw
        candidates = tasks.candidate_rows(split)
        columns: dict[Sought, str] = {"stimulus": "stimulus_id", "category": "concept", "caption": "caption"}
        labels = {kind: stimuli[name].asstr()[:][candidates] for kind, name in columns.items()}
    with (
        artefact.open_h5(job.input("truth"), job.expects.get("truth")) as known,
        artefact.open_h5(job.input("responses"), job.expects.get("responses")) as responses,
    ):
        observer = Observer(truth.known(known, responses, ids, job.settings))
    queries = []
    for repetitions in retrieval.repetitions:
        seen, scores = observer.scores(candidates, repetitions, retrieval.seed)
        if len(seen):
            target = tasks.shown(candidates, seen.tolist())
            queries += tasks.of_observer(retrieval.tasks, repetitions, scores, target, labels)
            log.info("ceiling: %d averages of %s repetitions", len(seen), repetitions)
    query_table.write(job, queries)


class Observer:
    """The ideal observer of one subject.

    Parameters
    ----------
    known : truth.Known
        Noise-free responses, training trials for the noise, test trials.
    """

    def __init__(self, known: truth.Known) -> None:
        self.known = known
        noise, self.mean = known.noise()
        covariance, shrinkage = ledoit_wolf(noise, assume_centered=True)
        log.info("ceiling: noise covariance of %d features from %d trials, shrinkage %.4f",
                 *noise.shape[::-1], shrinkage)  # fmt: skip
        self.precision = cho_factor(covariance.astype(np.float64))

    def scores(
        self, candidates: np.ndarray, repetitions: int | Literal["all"], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logarithm of the likelihood of averaged test trials under every candidate, up to a constant of each.

        Parameters
        ----------
        candidates : ndarray [G] int
            Rows of the stimuli file.
        repetitions, seed
            See :func:`brain2clip.retrieval.repetitions.trial_groups`.

        Returns
        -------
        seen : ndarray [Q] int
            Row of the stimulus that was shown.
        scores : ndarray [Q, G]
        """
        test = self.known.test
        groups = trial_groups(test.stimulus, repetitions, seed)
        templates = self.known.templates(candidates)
        if not groups:
            return np.empty(0, np.int64), np.empty((0, len(candidates)))
        # The noise of a mean over n trials has the n-th part of the covariance.
        count = np.array([len(members) for _, members in groups])
        values = test.values - self.mean[test.group]
        mean = np.stack([values[members].mean(axis=0) for _, members in groups])
        share = np.stack([np.bincount(test.group[one], minlength=len(templates)) / len(one) for _, one in groups])
        scores = count[:, None] * discriminants(mean, share, templates, self.precision)
        return np.array([row for row, _ in groups]), scores


def discriminants(mean: np.ndarray, share: np.ndarray, templates: np.ndarray, precision: Any) -> np.ndarray:
    """Linear discriminant of each candidate for each averaged response.

    Parameters
    ----------
    mean : ndarray [Q, P]
        Averaged responses in one row each.
    share : ndarray [Q, S]
        Share of each group of trials in the average; groups are scaled or whitened differently.
    templates : ndarray [S, G, P]
        Noise-free responses to the candidates in each group.
    precision : tuple
        Cholesky factor of the noise covariance of single trials.

    Returns
    -------
    ndarray [Q, G]
        Logarithm of the likelihood, up to a constant per response, divided by the number of averaged trials.
    """
    scores = np.empty((len(mean), templates.shape[1]))
    solved = cho_solve(precision, templates.reshape(-1, templates.shape[2]).T).T.reshape(templates.shape)
    for mixture in np.unique(share, axis=0):
        chosen, part = (share == mixture).all(axis=1), np.flatnonzero(mixture)
        mixed, weighted = (np.tensordot(mixture[part], one[part], axes=1) for one in (templates, solved))
        scores[chosen] = mean[chosen] @ weighted.T - 0.5 * np.einsum("gp,gp->g", mixed, weighted)
    return scores


if __name__ == "__main__":
    stage.main(run)
