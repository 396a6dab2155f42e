"""Stage ``embed``: predicted embeddings of averaged test responses, for figures and generators.

Directions and, for generators, points of the tower's raw space. Later stages read this artefact and a stimuli artefact,
but neither responses nor model.
"""

from __future__ import annotations

import numpy as np
import torch

from brain2clip import artefact, stage
from brain2clip.retrieval import tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.settings import Method, MethodBase, parse
from brain2clip.training import points
from brain2clip.training.data import placed, stimuli_of
from brain2clip.training.inputs import SUBJECTS, tested
from brain2clip.training.inputs import share as share
from brain2clip.training.predict import Predictor


def run(job: stage.Job) -> None:
    """Write the embeddings of all test stimuli of a subject."""
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    test = tested(job, tensors)
    method: MethodBase = parse(Method, job.settings["method"])
    with_points = job.settings.get("points", False)
    if with_points and method.no_points:
        raise stage.InputError(
            f"method {job.settings['run']['method']} has no points for generators: {method.no_points}"
        )
    if not (with_points or method.joint_space):
        raise stage.InputError(
            f"method {job.settings['run']['method']} of kind {method.kind} has its own shared space; only methods "
            "that stay in CLIP's joint space predict embeddings, such as kinds mapping and ridge"
        )
    with stimuli_of(job) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        ids = stimuli["stimulus_id"].asstr()[:]
        given = (job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        predictor = Predictor(*given, job.settings["run"]["subject"])
        groups = trial_groups(test.stimulus, "all", 0)
        averaged = np.stack([test.values[trials].mean(axis=0) for _, trials in groups])
        predicted = predictor.brains(averaged)
        centre = predictor.centre(stimuli["embedding"].shape[1])
        point = None
        if with_points and method.points == "own":
            point = points.own(predictor.side, tensors, stimuli, torch.from_numpy(averaged))
        elif with_points:
            fitted = artefact.read_tensors(job.input("calibration"), job.expects.get("calibrate"))
            subject = job.settings["run"]["subject"] if SUBJECTS in tensors else None
            point = points.Calibration.of(fitted, subject)(predicted)
    with artefact.create_h5(job.output("embeddings"), job.provenance()) as file:
        file.attrs.update(job.settings["run"])
        file["predicted"] = predicted
        if point is not None:
            file["point"] = point
        file["centre"] = centre
        file["stimulus_id"] = [ids[stimulus] for stimulus, _ in groups]


if __name__ == "__main__":
    stage.main(run)
