"""Stage ``tune``: further training of the joint model of all other subjects with training trials of a new subject.

The new subject gets an input layer of its own with random weights. The later layers, the scale, the fitted readout and
the centres of the targets are those of the other subjects' model. Then the model is trained like any other mapping:
with the same batches, loss and schedule. The epoch is chosen with training concepts of the new subject only. Test
trials are never read here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip import artefact, stage
from brain2clip.internals import torch_device
from brain2clip.models.mapping_network import MappingNetwork
from brain2clip.models.parameters import trainable
from brain2clip.responses import same_samples
from brain2clip.settings import BrainMapping, Inputs, Method, MethodBase, Tower, parse
from brain2clip.training import balance, chosen, memory, targets
from brain2clip.training.data import Responses, placed, stimuli_of
from brain2clip.training.inputs import RECORDINGS, SKETCHES, SUBJECTS, inputs_as_tensors, names_from_tensor
from brain2clip.training.loop import fit
from brain2clip.training.method import Study
from brain2clip.training.methods.mapping import MappingLearner, build
from brain2clip.training.supervision import Targets
from brain2clip.training.train import responses_of, shuffled, write

log = logging.getLogger("brain2clip")

#: Beginning of the names of the subjects' own input layers.
OWN = "own."


def run(job: stage.Job) -> None:
    """Train a model further; write the checkpoint and its history."""
    method: MethodBase = parse(Method, job.settings["method"])
    if not isinstance(method, BrainMapping) or method.no_tuning:
        raise stage.InputError(
            f"protocol new-subject: {method.no_tuning or f'a method of kind {method.kind} is not a mapping'}; expected "
            "a method of kind mapping without a learned context"
        )
    seed, subjects = job.settings["seed"], list(job.settings["subjects"])
    device = torch_device.chosen(asked=True)
    start = artefact.read_tensors(job.input("start"), job.expects.get("start"))
    sets = responses_of(job, method, joint=True)
    if not sum(len(one.values) for one in sets):
        raise stage.InputError(
            f"no training trial in {', '.join(map(str, job.inputs['responses']))}; expected training trials of the new "
            "subject: take more sessions (protocols.*.sessions)"
        )
    recordings = all_recordings(start, sets, subjects)
    with stimuli_of(job) as stimuli:
        sets = [placed(one, stimuli, job.input("stimuli")) for one in sets]
        if method.inputs != Inputs():
            sets = chosen.pictures(sets, stimuli, method.inputs)
        if method.shuffle_labels:
            sets = shuffled(sets, seed)
        classes = balance.classes_of(stimuli, sets) if method.balance else None
        log.info(
            "tune: %d responses of sub-%s, %d stimuli, %s; from a model of sub-%s",
            sum(len(one.values) for one in sets), ", sub-".join(subjects),
            len(np.unique(np.concatenate([one.stimulus for one in sets]))),
            stage.on_device(torch_device.name(device)), ", sub-".join(names_from_tensor(start[SUBJECTS])),
        )  # fmt: skip
        tower = parse(Tower, job.settings["tower"])
        study = Study(sets, subjects, stimuli, tower, seed, device, classes, subjects)
        with memory.explained(method, device):
            found = tuned(method, study, start, job.settings["protocol"]["tune"] == "input")
    sets = [replace(sets[0], recordings=recordings), *sets[1:]]
    write(job, method, *found, inputs_as_tensors(sets, subjects))


def all_recordings(start: Mapping[str, Tensor], sets: list[Responses], subjects: list[str]) -> same_samples.Recordings:
    """Recordings that the model was trained on, before and now: a test must not contain samples of them.

    Labels of subjects are not compared, but samples.

    Raises
    ------
    InputError
        If the new subject is one of the other subjects under another label.
    """
    names = names_from_tensor(start[RECORDINGS])[: len(start[SKETCHES])]
    others = same_samples.Recordings(tuple(names), start[SKETCHES].numpy().view(np.uint64))
    found = same_samples.together([*(one.recordings for one in sets), others])
    where = f"responses of new subject {', '.join(subjects)} and of the subjects of the model that it starts from"
    same_samples.refuse_equal(found, where)
    return found


def tuned(
    method: BrainMapping, study: Study, start: Mapping[str, Tensor], input_only: bool
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """All parameters of the network, also those that were not trained, with centres; and a row per epoch.

    Parameters
    ----------
    method : BrainMapping
    study : Study
        Of the new subject.
    start : mapping
        Checkpoint of the joint model of others.
    input_only : bool
        Whether only the input layer is trained.
    """
    torch.manual_seed(study.seed)
    rows = np.unique(np.concatenate([one.stimulus for one in study.sets]))
    sought = targets_of(method, study, rows, start)
    model = build(method, study.sets, study.subjects, sought.readout, study.device)
    behind = begin(model, start)
    if input_only:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(OWN))
    learner = MappingLearner(model, method, sought, study.subjects)
    concept = study.stimuli["concept"].asstr()[:]
    given = method.optimiser, method.selection, study.sets, concept, study.seed, study.device, study.classes
    history = fit(learner, *given)
    return {**behind, **trainable(model), **sought.centres}, history


def targets_of(method: BrainMapping, study: Study, rows: np.ndarray, start: Mapping[str, Tensor]) -> Targets:
    """Targets with readout and centres of the start, not of the new subject's stimuli."""
    plain = method.supervision.model_copy(update={"centre": False})
    # Not fitted anew: the first sessions may show fewer pictures than it has components.
    theirs = targets.of(method.readout, study.stimuli)
    fitted = {name.removeprefix(targets.PREFIX): one for name, one in start.items() if name.startswith(targets.PREFIX)}
    theirs.load_state_dict(fitted, strict=False)
    found = Targets.of(study.stimuli, plain, rows, study.device, method.readout, theirs.eval())
    if not method.supervision.centre:
        return found
    centres = {name: start[name] for name in ("stimulus_centre", "text_centre") if name in start}
    spoken = centres.get("text_centre")
    sentence = found.sentence if spoken is None else found.sentence - spoken.to(found.sentence.device)
    return replace(found, centres=centres, sentence=sentence)


def begin(model: MappingNetwork, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy all parameters that are shared by subjects from the start into a new network, and return them.

    Raises
    ------
    InputError
        If the start lacks one of them.
    """
    wanted = [name for name in trainable(model) if not name.startswith(OWN)]
    lost = [name for name in wanted if name not in start]
    if lost:
        raise stage.InputError(
            f"the model that a new subject starts from has no {lost[0]} ({len(lost)} of {len(wanted)} parameters are "
            "missing); run snakemake, which makes it again"
        )
    behind = {name: start[name] for name in wanted}
    model.load_state_dict(behind, strict=False)
    return behind


if __name__ == "__main__":
    stage.main(run)
