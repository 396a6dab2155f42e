"""The description of a model's inputs in its checkpoint, and the check of responses against it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from brain2clip.responses import same_samples
from brain2clip.settings import Inputs, Method, Tower, parse
from brain2clip.stage import InputError, Job
from brain2clip.training import chosen
from brain2clip.training.data import Normalisation, Responses, inputs_of, load_responses, names_in_words

log = logging.getLogger("brain2clip")

#: Names under which a checkpoint keeps the channels or voxels that it was trained on and the shape of a response (of a
#: joint model: by subject, the label after a dot), and the subjects of a joint model.
CHANNELS, SHAPE, SUBJECTS = "channels", "shape", "subjects"
#: The recordings that a model was trained on: their names, and the sketches of their samples.
RECORDINGS, SKETCHES = "recordings", "sketches"
#: Time axis of the responses (s, Hz), where they have one.
TIMES, SFREQ = "times", "sfreq"
#: What the training responses were whitened or z-scored by (of a joint model: by subject), where that was fitted.
MEAN, OPERATOR = "normalisation.mean", "normalisation.operator"


def names_as_tensor(names: list[str]) -> torch.Tensor:
    """Names as UTF-8 bytes, one a line: a checkpoint holds tensors only."""
    return torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)


def names_from_tensor(tensor: torch.Tensor) -> list[str]:
    """Inverse of :func:`names_as_tensor`."""
    return bytes(tensor.tolist()).decode().split("\n")


def inputs_as_tensors(parts: Sequence[Responses], subjects: Sequence[str] | None) -> dict[str, torch.Tensor]:
    """Names, shape and recordings of the inputs of a model; of a joint one (``subjects`` given) also whose they are."""
    recordings = same_samples.together([part.recordings for part in parts])
    endings = [""] if subjects is None else [f".{subject}" for subject in subjects]
    own = {
        RECORDINGS: names_as_tensor(list(recordings.names)),
        SKETCHES: torch.from_numpy(recordings.sketches.view(np.int64)),
    }
    for ending, part in zip(endings, parts):
        own[f"{CHANNELS}{ending}"] = names_as_tensor(part.channel)
        own[f"{SHAPE}{ending}"] = torch.tensor(part.values.shape[1:])
        if part.normalisation is not None:
            own[f"{MEAN}{ending}"] = torch.from_numpy(part.normalisation.mean)
            own[f"{OPERATOR}{ending}"] = torch.from_numpy(part.normalisation.operator)
    if parts[0].sfreq:
        own[TIMES], own[SFREQ] = torch.from_numpy(parts[0].times), torch.tensor(parts[0].sfreq, dtype=torch.float64)
    return own if subjects is None else {SUBJECTS: names_as_tensor(list(subjects)), **own}


def check_inputs(tensors: Mapping[str, torch.Tensor], responses: Responses, subject: str | None) -> None:
    """Responses must have the inputs and the shape that the model was trained on, and must not be training recordings.

    Raises
    ------
    InputError
        Where they have others, a joint model has no layer for the subject, or a recording that they come from holds
        samples of another one that the model was trained on.
    """
    check_recordings(tensors, responses)
    ending = ""
    if SUBJECTS in tensors:
        known = names_from_tensor(tensors[SUBJECTS])
        if subject not in known:
            raise InputError(
                f"the model was trained jointly on the subjects {', '.join(known)}; it has no input layer for "
                f"{subject!r}. Test one of them, or take another protocol"
            )
        ending = f".{subject}"
    trained, what = names_from_tensor(tensors[f"{CHANNELS}{ending}"]), inputs_of(responses)
    if trained != responses.channel:
        advice = (
            "run snakemake, which makes responses and model again from the same voxels"
            if what == "voxels"
            else "name them in studies.*.responses.channels so that all subjects agree"
        )
        raise InputError(
            f"the model was trained on the {what} {names_in_words(trained)}, these responses have "
            f"{names_in_words(responses.channel)}; {advice}"
        )
    _check_times(tensors, responses)
    shape, found = tuple(tensors[f"{SHAPE}{ending}"].tolist()), responses.values.shape[1:]
    if shape != found:
        raise InputError(
            f"the model was trained on responses of shape {shape}, these have {found}; make responses and model again "
            "with one time axis (responses.tmin, tmax, crop, resample)"
        )


def _check_times(tensors: Mapping[str, torch.Tensor], responses: Responses) -> None:
    """Refuse another rate or another part of the time around a picture."""
    if TIMES not in tensors:
        return
    times, sfreq = tensors[TIMES].numpy(), float(tensors[SFREQ])
    if len(times) == len(responses.times) and np.allclose(times, responses.times, atol=0.1 / sfreq):
        return

    def words(axis: np.ndarray, rate: float) -> str:
        return f"{len(axis)} samples at {rate:g} Hz from {axis[0]:g} s"

    found = words(responses.times, responses.sfreq)
    raise InputError(
        f"the model was trained on {words(times, sfreq)}, these responses have {found}; make them with "
        "the same responses.tmin, tmax, crop and sfreq"
    )


def normalised(tensors: Mapping[str, torch.Tensor], responses: Responses, subject: str | None) -> Responses:
    """Responses for a model: those without training trials are normalised like its training.

    Parameters
    ----------
    tensors : mapping
        The checkpoint.
    responses : Responses
    subject : str or None
        Whose they are: a joint model has a normalisation for each subject.

    Raises
    ------
    InputError
        Where the model was trained on responses that nothing was fitted to.
    """
    if responses.is_normalised:
        return responses
    check_inputs(tensors, responses, subject)
    ending = f".{subject}" if SUBJECTS in tensors else ""
    if f"{OPERATOR}{ending}" not in tensors:
        raise InputError(
            "these responses have no training trial to fit whitening or z-scores to, and the model was trained on "
            "responses without these; make them with the settings of the training (responses.whitening, "
            "voxels.normalise)"
        )
    fitted = Normalisation(*(tensors[f"{name}{ending}"].numpy() for name in (MEAN, OPERATOR)))
    log.info(
        "normalised with whitening or z-scores from the training of the model: these responses have no training trial"
    )
    return replace(responses, values=fitted.apply(responses.values, responses.clamp), is_normalised=True)


def share(job: Job) -> None:
    """Read what all jobs have in common that use a trained model on the same responses (:mod:`brain2clip.shared`)."""
    load_responses([job.input("responses")], "test", job.expects.get("responses"))
    if parse(Method, job.settings["method"]).prompted:
        from brain2clip.stimuli import frozen_clip  # open_clip takes seconds to import: only where it is needed

        frozen_clip.load_shared(parse(Tower, job.settings["tower"]))


def tested(job: Job, tensors: Mapping[str, torch.Tensor]) -> Responses:
    """Test responses of a job for the model of a checkpoint (:func:`normalised`)."""
    test = chosen_for(
        job.settings["method"], load_responses([job.input("responses")], "test", job.expects.get("responses"))
    )
    return normalised(tensors, test, job.settings["run"]["subject"])


def chosen_for(method: Mapping[str, Any], test: Responses) -> Responses:
    """The part of test responses that a method asks for (``inputs``)."""
    inputs: Inputs = getattr(parse(Method, method), "inputs", Inputs())
    return test if inputs == Inputs() else chosen.of_test(test, inputs)


def check_recordings(tensors: Mapping[str, torch.Tensor], responses: Responses) -> None:
    """Refuse a test with samples of training under another name, as from a subject who occurs twice."""
    if SKETCHES not in tensors or not responses.recordings.names:
        return
    names = names_from_tensor(tensors[RECORDINGS])[: len(tensors[SKETCHES])]
    trained = same_samples.Recordings(tuple(names), tensors[SKETCHES].numpy().view(np.uint64))
    tested = responses.recordings
    same_samples.refuse_equal(same_samples.together([trained, tested]), "responses of training and test together")
