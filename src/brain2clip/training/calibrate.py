"""Stage ``calibrate``: points of the raw space of a tower from predictions, fitted out of fold on training stimuli.

The method is trained anew without each of some folds of the training concepts, and predicts the stimuli of that fold as
it predicts those of a test: a network fits its own training responses far better than it predicts others. What is
regressed on the pictures' embeddings are directions. These can be compared between the models of the folds, and with
the model itself, as all of them predict in the one space of the frozen tower; lengths cannot, as no loss between
directions says what they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brain2clip import artefact, kinds, stage
from brain2clip.internals import torch_device
from brain2clip.settings import Inputs, Method, MethodBase, Tower, TrainedMethod, parse
from brain2clip.training import balance, chosen, memory
from brain2clip.training.data import Responses, Stimuli, placed, stimuli_of
from brain2clip.training.folds import folds
from brain2clip.training.inputs import inputs_as_tensors
from brain2clip.training.method import Checkpoint, Study, Trained
from brain2clip.training.method import Method as Kind
from brain2clip.training.points import Calibration, named
from brain2clip.training.predict import AT_ONCE, finite
from brain2clip.training.train import joint_subjects, responses_of, shuffled

log = logging.getLogger("brain2clip")

FOLDS = 5
#: Names of mean cosines to the pictures' embeddings: of predictions as they are, calibrated, and of the mean picture.
COSINES = ("cosine.before", "cosine.after", "cosine.mean")


@dataclass(frozen=True)
class Predictions:
    """Of stimuli that a model of a fold did not see.

    Attributes
    ----------
    subject : str or None
        Whose responses they are of, of a joint model.
    fold : int
    direction : ndarray [n, d]
        Of unit length.
    centre : ndarray [d]
        What pictures lose before they are compared with them; zeros for methods that do not centre.
    stimulus : ndarray [n]
        Rows of the stimuli file.
    """

    subject: str | None
    fold: int
    direction: NDArray[np.float32]
    centre: NDArray[np.float32]
    stimulus: NDArray[np.int64]


def run(job: stage.Job) -> None:
    """Fit and write a calibration; of a joint model one for each subject, whose noise is their own."""
    method: MethodBase = parse(Method, job.settings["method"])
    if not isinstance(method, TrainedMethod) or method.points != "calibrated":
        raise stage.InputError(
            f"a method of kind {method.kind} with these settings is not calibrated"
            + (f": {method.no_points}" if method.no_points else "; its predictions have a meaningful length")
        )
    method = method.for_points()
    tensors: dict[str, Tensor] = {}
    with stimuli_of(job) as stimuli:
        study = study_of(job, method, stimuli)
        unseen = job.settings["protocol"].get("kind") == "leave-one-subject-out"
        with memory.explained(method, study.device):
            predicted = list(left_out(study, kinds.load("methods", method.kind)(method), unseen))
        rows = np.unique(np.concatenate([one.stimulus for one in predicted]))
        embedding = stimuli["embedding"][rows]  # of training pictures; no other is ever read
    predicted = [replace(one, stimulus=np.searchsorted(rows, one.stimulus)) for one in predicted]
    for subject in dict.fromkeys(one.subject for one in predicted):
        own = [one for one in predicted if one.subject == subject]
        found = Calibration.fit(*_together(own, embedding))
        cosines = dict(zip(COSINES, gain(own, embedding)))
        log.info(
            "calibrate: %s%d out-of-fold stimuli, cosine to the pictures' embeddings %.3f as predicted, %.3f "
            "calibrated on the other folds, %.3f for the mean picture of the other folds (penalty %.3g)",
            f"sub-{subject}: " if subject else "", sum(len(one.stimulus) for one in own), *cosines.values(),
            found.penalty,
        )  # fmt: skip
        tensors |= found.tensors(subject)
        tensors |= {named(name, subject): torch.tensor(value, dtype=torch.float64) for name, value in cosines.items()}
    artefact.write_tensors(job.output("calibration"), tensors, job.provenance())


def study_of(job: stage.Job, method: TrainedMethod, stimuli: Stimuli) -> Study:
    """What the model was trained on; pictures are permuted as there, where the method is a control."""
    subjects, seed = joint_subjects(job, method), job.settings["seed"]
    sets = responses_of(job, method, subjects is not None)
    if subjects is not None:
        subjects = [subject for subject, one in zip(subjects, sets) if len(one.values)]
        sets = [one for one in sets if len(one.values)]
    sets = [placed(one, stimuli, job.input("stimuli")) for one in sets]
    if method.inputs != Inputs():
        sets = chosen.pictures(sets, stimuli, method.inputs)
    if method.shuffle_labels:
        sets = shuffled(sets, seed)
    return Study(
        sets=sets,
        subjects=subjects,
        stimuli=stimuli,
        tower=parse(Tower, job.settings["tower"]),
        seed=seed,
        device=torch_device.chosen(asked=True) if method.on_gpu else torch.device("cpu"),
        classes=balance.classes_of(stimuli, sets) if method.balance else None,
        labels=job.settings.get("subjects", []),
    )


def left_out(study: Study, kind: Kind, unseen: bool) -> Iterator[Predictions]:
    """Predictions of all training stimuli, fold by fold, of the mean over the trials of each, as in tests.

    Parameters
    ----------
    study : Study
    kind : Method
    unseen : bool
        Whether the model is tested on a subject whom it does not know. Then each fold leaves out a subject, too, whose
        responses are predicted, where there are several.
    """
    stimulus = np.concatenate([one.stimulus for one in study.sets])
    subject = np.concatenate([one.subject for one in study.sets])
    concept = study.stimuli["concept"].asstr()[:][stimulus]
    # Few concepts are known to every fold, and then their stimuli are not.
    groups = concept if len(np.unique(concept)) >= 2 * FOLDS else stimulus.astype(str)
    present = np.unique(subject)
    for fold, (kept, left) in enumerate(folds(FOLDS, groups, "calibration of predictions")):
        if unseen and len(present) > 1:
            whose = present[fold % len(present)]
            kept, left = kept[subject[kept] != whose], left[subject[left] == whose]
        log.info("calibrate: fold %d of %d, %d training responses", fold + 1, FOLDS, len(kept))
        yield from _predicted(study, kind, kept, left, fold, unseen)


def _predicted(
    study: Study, kind: Kind, kept: NDArray[np.int64], left: NDArray[np.int64], fold: int, unseen: bool
) -> Iterator[Predictions]:
    """Train without a fold and predict it; a joint model knows the subjects that it has responses of."""
    labels: Sequence[str | None] = [None] if study.subjects is None else study.subjects
    each = zip(labels, part_of(study.sets, kept), part_of(study.sets, left), strict=True)
    parts = [(label, own, others) for label, own, others in each if len(own.values)]
    subjects = None if study.subjects is None else [str(label) for label, _, _ in parts]
    sets = [own for _, own, _ in parts]
    classes = None if study.classes is None else study.classes[kept]
    trained, _ = kind.train(replace(study, sets=sets, subjects=subjects, classes=classes))
    tensors = {name: one.cpu() for name, one in trained.items()} | inputs_as_tensors(sets, subjects)
    for label, _, others in parts:
        if not len(others.values):
            continue
        shown = others.averaged()
        tested = None if unseen or not study.labels else study.labels[int(shown.subject[0])]
        side = kind.ready(
            Checkpoint(
                tensors=tensors,
                responses=shown,
                subject=label,
                stimuli=study.stimuli,
                rows=np.unique(shown.stimulus),
                tower=study.tower,
                device=study.device,
                tested=tested,
            )
        )
        direction = directions(side, shown, study.device)
        centre = np.zeros(direction.shape[1], np.float32) if side.centre is None else side.centre.cpu().numpy()
        yield Predictions(label, fold, direction, centre, shown.stimulus)


def part_of(sets: Sequence[Responses], rows: NDArray[np.int64]) -> list[Responses]:
    """Chosen rows of all sets one after the other, as sets."""
    ends = np.cumsum([len(one.stimulus) for one in sets])
    own = np.split(rows, np.searchsorted(rows, ends[:-1]))
    placed_at = [chosen - first for chosen, first in zip(own, [0, *ends[:-1]], strict=True)]
    return [
        replace(one, **{name: getattr(one, name)[place] for name in ("values", "stimulus", "subject")})
        for one, place in zip(sets, placed_at, strict=True)
    ]


@torch_device.tf32()
@torch.inference_mode()
def directions(side: Trained, responses: Responses, device: torch.device) -> NDArray[np.float32]:
    """Unit-length predictions [n, d]."""
    parts = [side.brains(part.to(device)).cpu().float() for part in torch.from_numpy(responses.values).split(AT_ONCE)]
    return finite(F.normalize(torch.cat(parts), dim=-1).numpy(), "left-out training responses")


def gain(predicted: Sequence[Predictions], embedding: NDArray[np.float32]) -> tuple[float, float, float]:
    """Mean cosines (:data:`COSINES`) of predictions of all folds to rows of embeddings [n, d].

    What is calibrated, and the mean picture, come from the other folds.
    """
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in COSINES}
    for one in predicted:
        direction, point = _together([other for other in predicted if other.fold != one.fold], embedding)
        sought = embedding[one.stimulus]
        compared = (one.direction + one.centre, Calibration.fit(direction, point)(one.direction), point.mean(axis=0))
        for name, value in zip(COSINES, compared, strict=True):
            found[name].append(_cosine(value, sought))
    before, after, mean = (float(np.concatenate(found[name]).mean()) for name in COSINES)
    return before, after, mean


def _together(
    predicted: Sequence[Predictions], embedding: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Directions and the embeddings of their pictures, of several folds."""
    stimulus = np.concatenate([one.stimulus for one in predicted])
    return np.concatenate([one.direction for one in predicted]), embedding[stimulus]


def _cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return (one * other).sum(axis=-1) / np.maximum(lengths, 1e-12)


if __name__ == "__main__":
    stage.main(run)
