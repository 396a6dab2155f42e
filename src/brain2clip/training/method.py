"""The contract of methods (:mod:`brain2clip.training.methods`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip.models.pictures import PromptEffect
from brain2clip.settings import Tower
from brain2clip.stage import InputError
from brain2clip.training.data import Responses, Stimuli


@dataclass(frozen=True)
class Study:
    """Training data of a method.

    Attributes
    ----------
    sets : list of Responses
        Training responses: one set, or one for each subject of a joint model.
    subjects : list of str or None
        Subject of each set for a joint model; else None.
    stimuli : Stimuli
        Open.
    tower : Tower
        Settings of the frozen CLIP.
    seed : int
    device : torch.device
    classes : ndarray [n] of str or None
        Class of each response of all sets, where classes of unequal size must count the same
        (:mod:`brain2clip.training.balance`); else None.
    labels : list of str
        Subjects of ``Responses.subject`` by number; only of methods that may train on several (``joint``).
    """

    sets: Sequence[Responses]
    subjects: Sequence[str] | None
    stimuli: Stimuli
    tower: Tower
    seed: int
    device: torch.device
    classes: np.ndarray | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Checkpoint:
    """Data for the use of a trained method.

    Attributes
    ----------
    tensors : mapping
        Result of :meth:`Method.train`, and the names and sizes of the inputs.
    responses : Responses
        For shape and sampling rate; they have the inputs that the model was trained on.
    subject : str or None
        Whose they are, of a joint model; else None.
    stimuli : Stimuli
        Open as long as candidates are needed.
    rows : ndarray
        Rows of the candidates.
    tower : Tower
    device : torch.device
    tested : str or None
        Subject of the responses for any model; None if unknown.
    """

    tensors: Mapping[str, Tensor]
    responses: Responses
    subject: str | None
    stimuli: Stimuli
    rows: np.ndarray
    tower: Tower
    device: torch.device
    tested: str | None = None


class Trained:
    """Base of trained methods in use: responses and candidates in one space, compared by cosine.

    Attributes
    ----------
    centre : Tensor [d] or None
        Mean training embedding that is subtracted from pictures before they are compared; None: nothing is subtracted.
        Only for methods whose settings say ``joint_space``.
    length_tells : bool
        Whether the length of a response's embedding is a measure of certainty. Ranks do not depend on it; metrics that
        compare scores of several responses (AUC) use it.
    """

    centre: Tensor | None = None
    length_tells: bool = False

    def brains(self, responses: Tensor) -> Tensor:
        """Embeddings [B, shared] of responses [B, C, T] or [B, V]."""
        raise NotImplementedError

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Embeddings [len(rows), shared] of pictures (of prompts where a study has no pictures)."""
        raise NotImplementedError

    def texts(self, unit: Tensor) -> Tensor:
        """Embeddings [n, shared] of texts from their unit-length CLIP embeddings [n, d]."""
        raise NotImplementedError

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Embeddings [n, shared] of classes; ``rows`` has a stimulus of each class."""
        raise NotImplementedError

    def effect(self, rows: np.ndarray) -> PromptEffect:
        """Effect of the prompts on pictures, for figures.

        Raises
        ------
        InputError
            Where the method has none.
        """
        raise InputError(f"{type(self).__module__} has no prompts to inspect; take a method of kind contrastive")


class Method(Protocol):
    """A kind of method: ``Method(settings)``, its settings being those of its kind.

    A kind whose settings say ``trained = False`` has neither of the two: it has its own ranking stage.
    """

    def train(self, study: Study) -> tuple[dict[str, Tensor], pd.DataFrame]:
        """Trained parameters by name, and the history: a row per epoch (or per penalty)."""

    def ready(self, checkpoint: Checkpoint) -> Trained:
        """The trained method, for use."""


@runtime_checkable
class TogetherMethod(Method, Protocol):
    """A kind that can train models of several seeds at once (:mod:`brain2clip.siblings`)."""

    def alone(self) -> str | None:
        """The setting by which each seed trains by itself; None where several can train at once."""

    def train_together(self, studies: Sequence[Study]) -> list[tuple[dict[str, Tensor], pd.DataFrame] | None]:
        """What :meth:`train` gives for each of some studies that differ by their seed; None where it gives nothing."""
