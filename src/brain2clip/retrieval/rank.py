"""Stage ``rank``: ranks the candidates of every task for averaged test responses of a trained model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from brain2clip import artefact, stage
from brain2clip.names import Sought
from brain2clip.retrieval import query_table, tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.settings import Retrieval, parse
from brain2clip.training.data import Responses, placed, stimuli_of
from brain2clip.training.inputs import share as share
from brain2clip.training.inputs import tested
from brain2clip.training.predict import AT_ONCE, Predictor

#: Groups of trials that are averaged at once: they stay in the processor's cache.
CACHED = 64

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Embed test responses and candidates, rank, write rows."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    test = tested(job, tensors)
    with stimuli_of(job) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        given = (job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        queries = queries_of(Predictor(*given, job.settings["run"]["subject"]), test, retrieval)
    query_table.write(job, queries, test.recordings)


def queries_of(predictor: Predictor, test: Responses, retrieval: Retrieval) -> list[tasks.Queries]:
    """Queries of all tasks and numbers of repetitions.

    Parameters
    ----------
    predictor : Predictor
        Its stimuli are open, its rows the candidates.
    test : Responses
        Placed on these stimuli, normalised as the model wants them.
    retrieval : Retrieval
    """
    stimuli, candidates = predictor.stimuli, predictor.rows
    split = stimuli["split"].asstr()[:]
    names = {name: stimuli[name].asstr()[:][candidates] for name in ("stimulus_id", "concept")}
    galleries = {
        kind: _gallery(predictor, kind, names, tasks.are_classes(kind, split))
        for kind in {*map(tasks.kind_of, retrieval.tasks)}
    }
    queries = []
    for repetitions in retrieval.repetitions:
        groups = trial_groups(test.stimulus, repetitions, retrieval.seed)
        if not groups:
            log.info("rank: no stimulus has %s test repetitions; left out", repetitions)
            continue
        trials = [own for _, own in groups]
        parts = [
            predictor.placed(means(test.values, trials[start : start + AT_ONCE]))
            for start in range(0, len(trials), AT_ONCE)
        ]
        brains, length = (np.concatenate(found) for found in zip(*parts))
        shown = tasks.shown(candidates, [stimulus for stimulus, _ in groups])
        for task in retrieval.tasks:
            given = brains, shown, galleries[tasks.kind_of(task)], length, retrieval.csls_neighbours
            one = tasks.of_brains(task, repetitions, *given)
            log.info(
                "rank: %s, %d queries of %s repetitions among %d", task, len(one.target), repetitions, len(one.ids)
            )
            queries.append(one)
    return queries


def means(values: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Mean response of each group of trials [n_groups, ...], float32.

    Parameters
    ----------
    values : ndarray [n, ...] float32
    groups : sequence of ndarray
        Rows that belong together.
    """
    if len({len(group) for group in groups}) > 1:
        return np.stack([values[group].mean(axis=0) for group in groups])
    trials = np.stack(groups)
    made = np.empty((len(groups), *values.shape[1:]), np.float32)
    for start in range(0, len(groups), CACHED):  # added in the order of the trials, as NumPy does, but many at once
        chosen, part = trials[start : start + CACHED], made[start : start + CACHED]
        np.take(values, chosen[:, 0], axis=0, out=part)
        for column in chosen.T[1:]:
            part += values[column]
        part /= trials.shape[1]
    return made


def _gallery(predictor: Predictor, kind: Sought, names: dict[str, np.ndarray], classes: bool) -> tasks.Gallery:
    """Candidates of a kind; a method without such candidates raises its own error."""
    embedding = predictor.candidates(kind)
    if kind in ("category", "template"):
        return tasks.gallery(embedding, predictor.concepts, names["concept"].tolist(), classes)
    return tasks.gallery(embedding, names["stimulus_id"].tolist(), names["stimulus_id"].tolist(), classes)


if __name__ == "__main__":
    stage.main(run)
