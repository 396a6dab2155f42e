"""Stage ``rank``: the only reader of test trials. Ranks the candidates for every averaged test response."""

from __future__ import annotations

import logging

import numpy as np

from brain2clip import artefact, stage
from brain2clip.retrieval import ranks, rows
from brain2clip.settings import Retrieval, parse
from brain2clip.training.data import check_same_stimuli, load_responses, open_stimuli
from brain2clip.training.predict import Predictor

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Embed test responses and candidates, rank, write rows and summary."""
    retrieval = parse(Retrieval, job.settings["retrieval"])
    test = load_responses([job.input("responses")], "test", job.expects.get("responses"))
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    with open_stimuli(job.input("stimuli"), job.expects.get("features")) as stimuli:
        check_same_stimuli(test, stimuli, job.input("stimuli"))
        candidates = candidate_rows(stimuli["split"].asstr()[:])
        ids = stimuli["stimulus_id"].asstr()[:][candidates]
        predictor = Predictor(job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        gallery = predictor.candidates()
    queries = []
    for repetitions in retrieval.repetitions:
        groups = ranks.trial_groups(test.stimulus, repetitions, retrieval.seed)
        if not groups:
            log.info("rank: no stimulus has %s test repetitions; left out", repetitions)
            continue
        brains = predictor.brains(np.stack([test.values[trials].mean(axis=0) for _, trials in groups]))
        target = np.searchsorted(candidates, [stimulus for stimulus, _ in groups])
        queries.append(rows.Queries(repetitions, target, brains @ gallery.T))
        log.info("rank: %d queries of %s repetitions among %d candidates", len(groups), repetitions, len(ids))
    rows.write(job, queries, ids)


def candidate_rows(split: np.ndarray) -> np.ndarray:
    """Rows of the stimulus table that are candidates of the test."""
    return np.flatnonzero(np.isin(split, ["test", "both"]))


if __name__ == "__main__":
    stage.main(run)
