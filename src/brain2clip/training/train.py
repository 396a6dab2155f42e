"""Stage ``train``: one model per subject (or of all subjects jointly), protocol, method and seed.

Reads training trials only; test trials are never opened here.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip import artefact, kinds, siblings, stage
from brain2clip.internals import torch_device
from brain2clip.settings import Inputs, Method, MethodBase, Tower, TrainedMethod, parse
from brain2clip.training import balance, chosen, memory
from brain2clip.training import method as methods
from brain2clip.training.data import (
    Responses,
    load_each,
    load_responses,
    placed,
    stimuli_of,
)
from brain2clip.training.inputs import inputs_as_tensors
from brain2clip.training.method import Study, TogetherMethod

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Train and write the checkpoint and its history."""
    method: MethodBase = parse(Method, job.settings["method"])
    if not isinstance(method, TrainedMethod):
        raise stage.InputError(f"a method of kind {method.kind} is not trained (its settings are not a TrainedMethod)")
    kind: methods.Method = kinds.load("methods", method.kind)(method)
    with siblings.family(job) if can_join(kind) else nullcontext() as family:
        if family is not None and family.taken():
            log.info("train: already trained by the job of another seed, which trained all seeds together")
            return
        train(job, method, kind, family)
        if family is not None:
            family.done()


def can_join(kind: methods.Method) -> bool:
    """Whether a method can train several seeds at once; where that is asked for, why it cannot is logged."""
    if siblings.FOLDER not in os.environ or not isinstance(kind, TogetherMethod):
        return False
    if (reason := kind.alone()) is not None:
        log.info("train: each seed separately; training of several seeds at once does not support %s", reason)
    return reason is None


def train(job: stage.Job, method: TrainedMethod, kind: methods.Method, family: siblings.Family | None) -> None:
    """Train and write a model, and with it those of its family that are due."""
    seed = job.settings["seed"]
    device = torch_device.chosen(asked=True) if method.on_gpu else torch.device("cpu")
    subjects = joint_subjects(job, method)
    sets = responses_of(job, method, subjects is not None)
    if subjects is not None:  # who has no training trial has no input layer
        subjects = [subject for subject, one in zip(subjects, sets) if len(one.values)]
        sets = [one for one in sets if len(one.values)]
    if not sum(len(one.values) for one in sets):
        raise stage.InputError(
            f"no training trial to learn from in {', '.join(map(str, job.inputs['responses']))}; a subject with test "
            "trials only can be ranked by models of other subjects: protocol leave-one-subject-out, or an apply entry"
        )
    with stimuli_of(job) as stimuli:
        sets = [placed(one, stimuli, job.input("stimuli")) for one in sets]
        if method.inputs != Inputs():
            sets = chosen.pictures(sets, stimuli, method.inputs)
        if method.shuffle_labels:
            sets = shuffled(sets, seed)
        stimulus = np.unique(np.concatenate([one.stimulus for one in sets]))
        log.info(
            "train: %d responses of %d subject(s), %d stimuli, %s",
            sum(len(one.values) for one in sets), len(job.inputs["responses"]), len(stimulus),
            stage.on_device(torch_device.name(device)) if method.on_gpu else "on cpu",
        )  # fmt: skip
        classes = balance.classes_of(stimuli, sets) if method.balance else None
        tower = parse(Tower, job.settings["tower"])
        labels = job.settings.get("subjects", [])
        study = Study(sets, subjects, stimuli, tower, seed, device, classes, labels)
        inputs = inputs_as_tensors(sets, subjects)
        with memory.explained(method, device):
            found = None
            if family is not None and isinstance(kind, TogetherMethod):
                found = together(kind, method, study, inputs, family)
            found = found or kind.train(study)
    write(job, method, *found, inputs)


def together(
    kind: TogetherMethod,
    method: TrainedMethod,
    study: Study,
    inputs: Mapping[str, Tensor],
    family: siblings.Family,
) -> tuple[dict[str, Tensor], pd.DataFrame] | None:
    """Train a model with those of its family that are due, which are left for their jobs; None where that cannot be."""
    others = family.due()
    if not others:
        return None
    made = kind.train_together([study, *(replace(study, seed=one.settings["seed"]) for one in others)])
    if not any(made):
        family.part()
    for one, found in zip(others, made[1:]):
        if found is not None:
            with family.leaving(one):
                write(one, method, *found, inputs)
    return made[0]


def write(
    job: stage.Job,
    method: TrainedMethod,
    tensors: Mapping[str, Tensor],
    history: pd.DataFrame,
    inputs: Mapping[str, Tensor],
) -> None:
    """Write a model: what its method made, with the names and sizes of its inputs."""
    check_finite(tensors, method.kind)
    made = job.provenance()
    artefact.write_table(job.output("history"), history, made, unknown={"held_out_top1", "perplexity", "gpu_memory_gb"})
    artefact.write_tensors(job.output("checkpoint"), {**tensors, **inputs}, made)


def share(job: stage.Job) -> None:
    """Read what all models of a subject have in common (:mod:`brain2clip.shared`)."""
    method: MethodBase = parse(Method, job.settings["method"])
    if isinstance(method, TrainedMethod) and len(job.inputs["responses"]) == 1 and method.inputs == Inputs():
        responses_of(job, method, joint=False)


def check_finite(tensors: Mapping[str, Tensor], kind: str) -> None:
    """Refuse a model with a parameter that is not finite.

    Raises
    ------
    InputError
        With its name.
    """
    broken = [name for name, one in tensors.items() if one.is_floating_point() and not torch.isfinite(one).all()]
    if broken:
        raise stage.InputError(
            f"the trained model of kind {kind} has values that are not finite, in {', '.join(broken[:3])}; check the "
            "training responses and the features for such values, or regularise more"
        )


def joint_subjects(job: stage.Job, method: MethodBase) -> list[str] | None:
    """Labels of the subjects of a joint model in the order of the responses, else None.

    Raises
    ------
    InputError
        Where a joint protocol meets a method that has no input layer for each subject.
    """
    if job.settings["protocol"].get("kind") != "joint":
        return None
    if not method.joint:
        raise stage.InputError(
            "protocol joint takes methods with an input layer or a token for each subject, such as encoders of kind "
            f"atm and methods of kind mapping; found {method.kind}"
        )
    subjects = job.settings["subjects"]
    if len(subjects) != len(job.inputs["responses"]):
        raise stage.InputError(
            f"stage train: {len(job.inputs['responses'])} inputs responses for the subjects {', '.join(subjects)}"
        )
    return subjects


def responses_of(job: stage.Job, method: TrainedMethod, joint: bool) -> list[Responses]:
    """Training responses that a method asks for: a set per subject for a joint model, else all in one."""
    choose = None if method.inputs == Inputs() else partial(chosen.of_training, inputs=method.inputs)
    given = job.inputs["responses"], "train", job.expects.get("responses"), method.average_repetitions, choose
    return load_each(*given) if joint else [load_responses(*given)]


def shuffled(sets: Sequence[Responses], seed: int) -> list[Responses]:
    """Control: the stimuli of the training responses permuted among each other, within each set.

    The permutation depends on the responses as well: with one and the same for all subjects (or folds) of a study, the
    mean over them would be hardly more certain than a single one.
    """
    drawn = (np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(one.values).data)]) for one in sets)
    return [replace(one, stimulus=one.stimulus[rng.permutation(len(one.stimulus))]) for one, rng in zip(sets, drawn)]


if __name__ == "__main__":
    stage.main(run)
