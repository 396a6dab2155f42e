"""Stage ``embed``: predicted embeddings of the averaged test responses, for whatever shows or draws pictures from them.

What comes after takes this artefact and a stimuli artefact, and neither responses nor model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brain2clip import artefact, stage
from brain2clip.retrieval import tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.training.data import load_responses, open_stimuli, placed
from brain2clip.training.predict import Predictor

#: Kinds of methods whose predictions stay in CLIP's joint space.
JOINT_SPACE = ("mapping", "ridge")


def run(job: stage.Job) -> None:
    """Write the embeddings of all test stimuli of a subject."""
    test = load_responses([job.input("responses")], "test", job.expects.get("responses"))
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    method = job.settings["method"]
    if method["kind"] not in JOINT_SPACE:
        raise stage.InputError(
            f"method {job.settings['run']['method']} of kind {method['kind']} has a shared space of its own; predicted "
            f"embeddings are those of methods of kind {' and '.join(JOINT_SPACE)}, which stay in CLIP's joint space"
        )
    with open_stimuli(job.input("stimuli"), job.expects.get("features")) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        ids = stimuli["stimulus_id"].asstr()[:]
        given = (method, job.settings["tower"], tensors, test, stimuli, candidates)
        predictor = Predictor(*given, job.settings["run"]["subject"])
        groups = trial_groups(test.stimulus, "all", 0)
        predicted = predictor.brains(np.stack([test.values[trials].mean(axis=0) for _, trials in groups]))
        width = stimuli["embedding"].shape[1]
    with artefact.create_h5(job.output("embeddings"), job.provenance()) as file:
        file.attrs.update(job.settings["run"])
        file["predicted"] = predicted
        file["centre"] = centre(method, tensors, width)
        file["stimulus_id"] = [ids[stimulus] for stimulus, _ in groups]


def centre(method: Mapping[str, Any], tensors: Mapping[str, Any], width: int) -> np.ndarray:
    """Mean training embedding [d] that pictures lose before a method compares them; zeros for a method without."""
    if method["kind"] == "ridge" or method["supervision"]["centre"]:
        return np.asarray(tensors["stimulus_centre"], dtype=np.float32)
    return np.zeros(width, np.float32)


if __name__ == "__main__":
    stage.main(run)
