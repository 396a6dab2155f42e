"""What a method is: the contract of the kinds in :mod:`brain2clip.training.methods`."""

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
    """What a method trains on.

    Attributes
    ----------
    sets : list of Responses
        Training responses: one set, or one for each subject of a joint model.
    subjects : list of str or None
        Whose each set is, of a joint model; else None.
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
    """What a trained method is made ready with.

    Attributes
    ----------
    tensors : mapping
        What :meth:`Method.train` gave, and the names and sizes of the inputs.
    responses : Responses
        For shape and sampling rate; they have the inputs that the model was trained on.
    subject : str or None
        Whose they are, of a joint model; else None.
    stimuli : Stimuli
        Open as long as candidates are asked for.
    rows : ndarray
        Rows of the candidates.
    tower : Tower
    device : torch.device
    tested : str or None
        Whose they are, of any model; None where that is not known.
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
        Mean training embedding that pictures lose before they are compared; None without one. Only of methods whose
        settings say ``joint_space``.
    length_tells : bool
        Whether the length of a response's embedding says how certain it is. A rank is the same without; what compares
        the scores of several responses (AUC) takes it in.
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
        """Embeddings [n, shared] of classes, of each of which ``rows`` has a stimulus."""
        raise NotImplementedError

    def effect(self, rows: np.ndarray) -> PromptEffect:
        """What prompts do to pictures, for figures.

        Raises
        ------
        InputError
            Where the method has none.
        """
        raise InputError(f"{type(self).__module__} has no prompts to inspect; take a method of kind contrastive")


class Method(Protocol):
    """A kind of method: ``Method(settings)``, its settings being those of its kind.

    A kind whose settings say ``trained = False`` has neither of the two: a stage of its own ranks for it.
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
