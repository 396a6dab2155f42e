"""Use a trained model: embeddings of brain responses and of candidates, be they pictures, classes or captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip import kinds
from brain2clip.internals import torch_device
from brain2clip.models.pictures import PromptEffect
from brain2clip.readers import templates
from brain2clip.settings import Method, Tower, parse
from brain2clip.stage import InputError
from brain2clip.training.data import Responses, Stimuli
from brain2clip.training.inputs import SUBJECTS, check_inputs
from brain2clip.training.method import Checkpoint, Trained
from brain2clip.training.texts import captions

AT_ONCE = 512
Kind = Literal["stimulus", "category", "caption", "template"]


class Predictor:
    """A trained method.

    Parameters
    ----------
    method, tower : mapping
        Their settings.
    tensors : mapping
        The checkpoint.
    responses : Responses
        For shape, sampling rate and names of the inputs.
    stimuli : Stimuli
        Open as long as candidates are asked for.
    rows : ndarray
        Rows of the candidates.
    subject : str, optional
        Label of the subject whose responses these are; a joint model takes that subject's input layer.

    Attributes
    ----------
    side : Trained
        The method in use.
    concepts : list of str
        Distinct concepts of ``rows`` in the order of their first occurrence.

    Raises
    ------
    InputError
        Where the responses have other channels or voxels than the model, or a joint model does not know the subject.
    """

    def __init__(
        self,
        method: Mapping[str, Any],
        tower: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        responses: Responses,
        stimuli: Stimuli,
        rows: np.ndarray,
        subject: str | None = None,
    ) -> None:
        check_inputs(tensors, responses, subject)
        self.device = torch_device.chosen()
        self.stimuli = stimuli
        self.rows = np.asarray(rows)
        concept = stimuli["concept"].asstr()[:][self.rows]
        self.concepts = list(dict.fromkeys(concept.tolist()))
        self.templates = np.flatnonzero(stimuli["split"].asstr()[:] == templates.SIDE)
        settings = parse(Method, method)
        checkpoint = Checkpoint(
            tensors=tensors,
            responses=responses,
            subject=subject if SUBJECTS in tensors else None,
            stimuli=stimuli,
            rows=np.concatenate([self.rows, self.templates]),
            tower=parse(Tower, tower),
            device=self.device,
            tested=subject,
        )
        self.side: Trained = kinds.load("methods", settings.kind)(settings).ready(checkpoint)

    @torch.inference_mode()
    def brains(self, values: np.ndarray) -> np.ndarray:
        """Unit-length embeddings [n, shared] of responses [n, C, T] or [n, V]."""
        return self.placed(values)[0]

    @torch_device.tf32()
    @torch.inference_mode()
    def placed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit-length embeddings [n, shared] of responses, and what to multiply scores by beyond one response [n].

        That is their length where it tells how certain they are (:class:`Trained`), else ones.
        """
        parts = [self.side.brains(part.to(self.device)).cpu() for part in torch.from_numpy(values).split(AT_ONCE)]
        embedding = torch.cat(parts).float()
        length = embedding.norm(dim=-1) if self.side.length_tells else torch.ones(len(embedding))
        return finite(F.normalize(embedding, dim=-1).numpy(), "averaged test responses"), length.numpy()

    @torch_device.tf32()
    @torch.inference_mode()
    def candidates(self, kind: Kind = "stimulus") -> np.ndarray:
        """Unit-length embeddings [G, shared] of the candidates.

        Parameters
        ----------
        kind : str
            ``stimulus``: the pictures (the prompts where a study has none), in the order of ``rows``; ``caption``: the
            mean of each row's captions (of its class prompts where it has none), in the order of ``rows``;
            ``category``: the class prompts of each of :attr:`concepts`; ``template``: the mean of the further pictures
            of each of them, of whatever length the method gives them.

        Raises
        ------
        InputError
            Where a row or concept has no text, or the method's shared space has no place for texts.
        """
        if kind == "stimulus":
            parts = [self.side.stimuli(rows) for rows in _parts(self.rows)]
        elif kind == "template":
            parts = [self._mean_pictures()]
        elif kind == "caption":
            parts = [self.side.texts(torch.from_numpy(captions(self.stimuli, self.rows)))]
        else:
            parts = [self.side.classes(self.concepts, self._first_rows())]
        return finite(F.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy(), f"candidates of task {kind}")

    def _mean_pictures(self) -> Tensor:
        """Mean embedding [n_concepts, shared] of the further pictures of each concept."""
        own = self.stimuli["concept"].asstr()[:][self.templates]
        lost = [name for name in self.concepts if name not in set(own)]
        if lost:
            raise InputError(
                f"task template: no further picture of {lost[0]} ({len(lost)} of {len(self.concepts)} test concepts); "
                "give them in studies.*.templates, or remove template from retrieval.tasks"
            )
        embedding = torch.cat([self.side.stimuli(rows).float() for rows in _parts(self.templates)])
        return torch.stack([embedding[np.flatnonzero(own == name)].mean(dim=0) for name in self.concepts])

    def effect(self, rows: np.ndarray) -> PromptEffect:
        """What prompts do to the pictures of some rows of the stimulus table.

        Raises
        ------
        InputError
            Where the method has no prompts.
        """
        return self.side.effect(rows)

    def centre(self, width: int) -> np.ndarray:
        """Mean training embedding [d] that pictures lose before they are compared; zeros for a method without."""
        centre = self.side.centre
        return np.zeros(width, np.float32) if centre is None else centre.cpu().numpy().astype(np.float32)

    def _first_rows(self) -> np.ndarray:
        """A row of every concept; class prompts are equal within a concept."""
        concept = self.stimuli["concept"].asstr()[:][self.rows].tolist()
        return self.rows[[concept.index(name) for name in self.concepts]]


def finite(embedding: np.ndarray, what: str) -> np.ndarray:
    """Embeddings [n, d], refused where one is not finite: no score is made of it.

    Raises
    ------
    InputError
        With the number of broken ones.
    """
    broken = np.flatnonzero(~np.isfinite(embedding).all(axis=1))
    if len(broken):
        raise InputError(
            f"embeddings of {what}: {len(broken)} of {len(embedding)} are not finite, the first is number {broken[0]}; "
            "check the responses, the features and the weights of the tower for values that are not finite"
        )
    return embedding


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
