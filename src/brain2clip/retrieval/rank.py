"""Stage ``rank``: the only reader of test trials. Ranks the candidates of every task for averaged test responses."""

from __future__ import annotations

import logging

import numpy as np

from brain2clip import artefact, stage
from brain2clip.names import Sought
from brain2clip.retrieval import query_table, tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.settings import Retrieval, parse
from brain2clip.training.data import Responses, placed, stimuli_of
from brain2clip.training.inputs import tested
from brain2clip.training.predict import Predictor

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
        brains, length = predictor.placed(np.stack([test.values[trials].mean(axis=0) for _, trials in groups]))
        shown = tasks.shown(candidates, [stimulus for stimulus, _ in groups])
        for task in retrieval.tasks:
            one = tasks.of_brains(task, repetitions, brains, shown, galleries[tasks.kind_of(task)], length)
            log.info(
                "rank: %s, %d queries of %s repetitions among %d", task, len(one.target), repetitions, len(one.ids)
            )
            queries.append(one)
    return queries


def _gallery(predictor: Predictor, kind: Sought, names: dict[str, np.ndarray], classes: bool) -> tasks.Gallery:
    """Candidates of a kind; a method that has none of that kind stops here with its own error."""
    embedding = predictor.candidates(kind)
    if kind == "category":
        return tasks.gallery(embedding, predictor.concepts, names["concept"].tolist(), classes)
    return tasks.gallery(embedding, names["stimulus_id"].tolist(), names["stimulus_id"].tolist(), classes)


if __name__ == "__main__":
    stage.main(run)
