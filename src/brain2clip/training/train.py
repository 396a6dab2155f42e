"""Stage ``train``: one model per subject (or of all subjects jointly), protocol, method and seed.

Reads training trials only; test trials are never opened here.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip import artefact, stage
from brain2clip.models.encoders import trainable
from brain2clip.settings import BrainMapping, Contrastive, Method, Ridge, Tower, parse
from brain2clip.training import classifier, mapping, ridge
from brain2clip.training.contrastive import ContrastiveLearner
from brain2clip.training.data import (
    Responses,
    load_each,
    load_responses,
    open_stimuli,
    pairs,
    placed,
)
from brain2clip.training.loop import fit
from brain2clip.training.model import build, device_of_choice, inputs_as_tensors, picture_source
from brain2clip.training.supervision import Targets
from brain2clip.training.texts import Texts

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Train and write the checkpoint and its history."""
    method = parse(Method, job.settings["method"])
    tower = parse(Tower, job.settings["tower"])
    seed = job.settings["seed"]
    device = device_of_choice()
    subjects = joint_subjects(job)
    sets = responses_of(job, method.average_repetitions, subjects is not None)
    with open_stimuli(job.input("stimuli"), job.expects.get("features")) as stimuli:
        sets = [placed(one, stimuli, job.input("stimuli")) for one in sets]
        if method.shuffle_labels:
            sets = shuffled(sets, seed)
        stimulus = np.unique(np.concatenate([one.stimulus for one in sets]))
        log.info(
            "train: %d responses of %d subject(s), %d stimuli, %s",
            sum(len(one.values) for one in sets), len(job.inputs["responses"]), len(stimulus), stage.on_device(device),
        )  # fmt: skip
        if isinstance(method, Ridge):
            tensors, history = train_ridge(method, sets[0], stimuli)
        elif isinstance(method, Contrastive):
            tensors, history = train_contrastive(method, tower, sets, stimuli, seed, device)
        else:
            tensors, history = train_mapping(method, tower, sets, subjects, stimuli, seed, device)
    made = job.provenance()
    artefact.write_table(job.output("history"), history, made)
    artefact.write_tensors(job.output("checkpoint"), {**tensors, **inputs_as_tensors(sets, subjects)}, made)


def joint_subjects(job: stage.Job) -> list[str] | None:
    """Labels of the subjects of a joint model in the order of the responses, else None.

    Raises
    ------
    InputError
        Where a joint protocol meets a method that has no input layer for each subject.
    """
    if job.settings["protocol"].get("kind") != "joint":
        return None
    if job.settings["method"]["kind"] != "mapping":
        raise stage.InputError(f"protocol joint takes methods of kind mapping, found {job.settings['method']['kind']}")
    subjects = job.settings["subjects"]
    if len(subjects) != len(job.inputs["responses"]):
        raise stage.InputError(
            f"stage train: {len(job.inputs['responses'])} inputs responses for the subjects {', '.join(subjects)}"
        )
    return subjects


def responses_of(job: stage.Job, average: bool, joint: bool) -> list[Responses]:
    """Training responses: a set per subject for a joint model, else all in one."""
    given = job.inputs["responses"], "train", job.expects.get("responses"), average
    return load_each(*given) if joint else [load_responses(*given)]


def shuffled(sets: Sequence[Responses], seed: int) -> list[Responses]:
    """Control: the stimuli of the training responses permuted among each other, within each set.

    The permutation depends on the responses as well: with one and the same for all subjects (or folds) of a study, the
    mean over them would be hardly more certain than a single one.
    """
    drawn = (np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(one.values).data)]) for one in sets)
    return [replace(one, stimulus=one.stimulus[rng.permutation(len(one.stimulus))]) for one, rng in zip(sets, drawn)]


def train_ridge(settings: Ridge, responses: Responses, stimuli: h5py.File) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Ridge regression, and the means of both modalities over the training responses' stimuli."""
    embedding = stimuli["embedding"][:]
    rows, place = np.unique(responses.stimulus, return_inverse=True)
    unit = embedding[rows] / np.linalg.norm(embedding[rows], axis=1, keepdims=True)
    centres = {"stimulus_centre": unit[place].mean(axis=0, dtype=np.float64)}
    texts = Texts(stimuli)
    spoken = texts.centre(responses.stimulus)
    if spoken is not None:
        centres["text_centre"] = spoken
    target = embedding
    if settings.target == "text":
        texts.require(rows, "target: text")
        target = np.full_like(embedding, np.nan)
        target[rows] = texts.means(rows)
    tensors, history = ridge.fit(responses, target, stimuli["concept"].asstr()[:], settings)
    return tensors | {name: torch.from_numpy(value.astype(np.float32)) for name, value in centres.items()}, history


def train_contrastive(
    settings: Contrastive,
    tower: Tower,
    sets: Sequence[Responses],
    stimuli: h5py.File,
    seed: int,
    device: torch.device,
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Brain encoder and picture side."""
    torch.manual_seed(seed)
    model, clip = build(settings, tower, sets[0], stimuli, device)
    pictures = picture_source(settings, tower, stimuli, np.unique(sets[0].stimulus), clip, device)
    learner = ContrastiveLearner(model, settings, pictures, device)
    concept = stimuli["concept"].asstr()[:]
    history = fit(learner, settings.optimiser, settings.selection, sets, concept, seed, device)
    return trainable(model), history


def train_mapping(
    settings: BrainMapping,
    tower: Tower,
    sets: Sequence[Responses],
    subjects: Sequence[str] | None,
    stimuli: h5py.File,
    seed: int,
    device: torch.device,
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Mapping network, what was taken away from its targets, and the context of its classifier."""
    rows = np.unique(np.concatenate([one.stimulus for one in sets]))
    targets = Targets.of(stimuli, settings.supervision, rows, device)
    torch.manual_seed(seed)
    model = mapping.build(settings, sets, subjects, stimuli, device)
    learner = mapping.MappingLearner(model, settings, targets, subjects)
    concept = stimuli["concept"].asstr()[:]
    history = fit(learner, settings.optimiser, settings.selection, sets, concept, seed, device)
    tensors = trainable(model) | targets.centres
    if settings.classifier.kind == "context":
        from brain2clip.stimuli import towers  # open_clip takes seconds to import: only where it is needed

        everything = pairs(sets, np.arange(sum(len(one.stimulus) for one in sets)), device)
        brains, stimulus = learner.embed(everything)
        tensors["context"] = classifier.learn_context(
            towers.load(tower, device), brains, concept[stimulus], model.scale, targets.text_centre,
            settings.classifier, seed,
        )  # fmt: skip
    return tensors, history


if __name__ == "__main__":
    stage.main(run)
