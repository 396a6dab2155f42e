"""Linear discriminant analysis of the responses for known classes, without CLIP.

Shrinkage as for event-related potentials (Blankertz et al. 2011, NeuroImage 56:814): the covariance within classes is
shrunk towards uncorrelated inputs (Ledoit-Wolf unless set). It is scikit-learn's.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip.settings import Lda
from brain2clip.stage import InputError
from brain2clip.training.inputs import names_as_tensor, names_from_tensor
from brain2clip.training.method import Checkpoint, Study, Trained

#: Most inputs: the covariance of so many takes 0.3 GB, and minutes to solve.
LARGEST = 6000


class Method:
    """Scores of the classes as a linear function of the response.

    Parameters
    ----------
    settings : Lda
    """

    def __init__(self, settings: Lda) -> None:
        self.settings = settings

    def train(self, study: Study) -> tuple[dict[str, Tensor], pd.DataFrame]:
        """Weights, and a row with the size of the problem."""
        (responses,) = study.sets
        concept = study.stimuli["concept"].asstr()[:]
        label = concept[responses.stimulus]
        names = np.unique(label)
        tested = np.unique(concept[np.isin(study.stimuli["split"].asstr()[:], ["test", "both"])])
        self._check(label, names, tested)
        x = inputs(responses.values, self.settings.windows)
        if x.shape[1] > LARGEST:
            raise InputError(
                f"a method of kind lda estimates the covariance of all inputs; found {x.shape[1]}, expected at most "
                f"{LARGEST}. Set its windows or fewer channels (EEG), or take a smaller region (rois)"
            )
        fitted = fit(x, label, self.settings.shrinkage, even=self.settings.balance)
        tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in fitted.items()}
        history = pd.DataFrame({"n_responses": [len(x)], "n_inputs": [x.shape[1]]})
        return {**tensors, "classes": names_as_tensor(names.tolist())}, history

    def ready(self, checkpoint: Checkpoint) -> Discriminant:
        """The weights of a checkpoint."""
        return Discriminant(self.settings, checkpoint)

    @staticmethod
    def _check(label: np.ndarray, names: np.ndarray, tested: np.ndarray) -> None:
        unknown = sorted(set(tested) - set(names))
        if unknown:
            raise InputError(
                f"a method of kind lda knows only classes that it was trained on; {len(unknown)} of the "
                f"{len(tested)} tested are not among the {len(names)} of the training responses, the first is "
                f"{unknown[0]}. Use it in studies whose categories are in training and test (split), not for unseen "
                "categories"
            )
        if len(names) < 2:
            raise InputError(
                f"a method of kind lda needs at least two classes; all {len(label)} training responses are of the "
                f"class {names[0]}. Choose a split whose training has several classes, or leave the method out"
            )
        if len(label) <= len(names):
            raise InputError(
                f"a method of kind lda needs several responses of each class; found {len(label)} of {len(names)} "
                "classes. Set average_repetitions: false, so that repetitions are not averaged"
            )


class Discriminant(Trained):
    """The shared space has an axis for each class; the scores are the response's embedding."""

    length_tells = True

    def __init__(self, settings: Lda, checkpoint: Checkpoint) -> None:
        self.settings, self.tensors, self.file = settings, checkpoint.tensors, checkpoint.stimuli
        self.names = names_from_tensor(self.tensors["classes"])

    def brains(self, responses: Tensor) -> Tensor:
        """Scores of the classes."""
        x = torch.from_numpy(inputs(responses.cpu().numpy(), self.settings.windows)).float()
        return x @ self.tensors["weight"] + self.tensors["intercept"]

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """The class of each stimulus, where no two are of one class."""
        concept = self.file["concept"].asstr()[:][rows].tolist()
        if len(set(concept)) < len(concept):
            raise InputError(
                "a method of kind lda finds the class of a stimulus, not one of several stimuli of a class: replace "
                "stimulus by category in retrieval.tasks"
            )
        return self.classes(concept, rows)

    def texts(self, unit: Tensor) -> NoReturn:
        """Refused."""
        raise InputError("a method of kind lda does not use texts; remove caption from retrieval.tasks")

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """The axis of each class."""
        place = {name: number for number, name in enumerate(self.names)}
        unknown = sorted(set(concepts) - set(place))
        if unknown:
            raise InputError(
                f"a method of kind lda knows the classes {', '.join(self.names)} only, but the test has "
                f"{', '.join(unknown[:5])}; apply it to recordings of the known classes, or take a method with prompts"
            )
        return torch.eye(len(self.names))[[place[name] for name in concepts]]


def inputs(values: np.ndarray, windows: int | None) -> np.ndarray:
    """Inputs [n, p] of responses [n, V] or [n, C, T], whose times are averaged in windows of equal length.

    Raises
    ------
    InputError
        Where there are more windows than samples, or no time.
    """
    if windows is None:
        return values.reshape(len(values), -1)
    n_times = values.shape[2] if values.ndim == 3 else 0
    if windows > n_times:
        has = f"{n_times} samples; set at most {n_times}" if n_times else "no time axis; set null"
        raise InputError(f"methods.*.windows: {windows} of a method of kind lda, but these responses have {has}")
    parts = np.array_split(np.arange(n_times), windows)
    return np.concatenate([values[:, :, part].mean(axis=2) for part in parts], axis=1)


def fit(x: np.ndarray, label: np.ndarray, shrinkage: float | str, even: bool) -> dict[str, np.ndarray]:
    """Scores ``x @ weight + intercept`` of the classes.

    Parameters
    ----------
    x : ndarray [n, p]
    label : ndarray [n] of str
        At least two classes.
    shrinkage : float or 'auto'
        0 to 1, of inputs at unit deviation within classes; ``auto``: Ledoit-Wolf, class by class.
    even : bool
        Whether classes are taken to be equally frequent, whatever their number of responses.

    Returns
    -------
    dict
        ``weight [p, K]``, ``intercept [K]``, classes in the order of their names.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # seconds to import: only where it is fitted

    names, place = np.unique(label, return_inverse=True)
    means = np.stack([x[place == number].mean(axis=0, dtype=np.float64) for number in range(len(names))])
    deviation = np.sqrt(((x - means[place]) ** 2).mean(axis=0))
    deviation[deviation == 0] = 1.0
    priors = np.full(len(names), 1 / len(names)) if even else None
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors).fit(x / deviation, place)
    weight, intercept = model.coef_.T / deviation[:, None], model.intercept_
    if len(names) == 2:  # one column, for the second class; half of it for either
        weight, intercept = np.hstack([-weight, weight]) / 2, np.concatenate([-intercept, intercept]) / 2
    return {"weight": weight, "intercept": intercept}
