"""Stage ``apply``: models of an experiment rank the test trials of another study's recordings.

The rows are those of the stage ``rank`` with a further column ``seen``: whether the model was trained on the concept of
the query. New recordings without training trials are normalised like the training of the model.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from brain2clip import artefact, stage
from brain2clip.responses.same_samples import Recordings
from brain2clip.retrieval import query_table, tasks
from brain2clip.retrieval.rank import queries_of
from brain2clip.settings import Retrieval, parse
from brain2clip.training.data import load_responses, open_stimuli, placed, stimuli_of
from brain2clip.training.inputs import chosen_for, normalised
from brain2clip.training.predict import Predictor

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Rank the candidates of the new study for its test responses."""
    own, of_model = job.settings["run"], job.settings["model"]
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    test = load_responses([job.input("responses")], "test", job.expects.get("responses"))
    test = chosen_for(job.settings["method"], test)
    if own["study"] != of_model["study"]:
        test = replace(test, recordings=named_apart(test.recordings, own["study"]))
    test = normalised(tensors, test, of_model["subject"])
    with open_stimuli(job.input("trained"), job.expects.get("trained")) as trained:
        shown = np.isin(trained["split"].asstr()[:], ["train", "both"])
        known = set(trained["concept"].asstr()[:][shown].tolist())
    with stimuli_of(job) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        given = (job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        predictor = Predictor(*given, of_model["subject"])
        queries = queries_of(predictor, test, parse(Retrieval, job.settings["retrieval"]))
        concept = dict(zip(stimuli["stimulus_id"].asstr()[:].tolist(), stimuli["concept"].asstr()[:].tolist()))
    rows = query_table.checked(job, queries)
    rows["seen"] = [concept.get(target, target) in known for target in rows["target"]]  # a class is a concept itself
    log.info("apply: of %d queries, %d show concepts that the model was trained on", len(rows), rows["seen"].sum())
    test.recordings.note(rows)
    artefact.write_table(job.output("rows"), rows, job.provenance())


def named_apart(recordings: Recordings, study: str) -> Recordings:
    """Recordings that no name tells to be those of training: of two studies each is compared with each."""
    return replace(recordings, names=tuple(f"{study}: {name}" for name in recordings.names))


if __name__ == "__main__":
    stage.main(run)
