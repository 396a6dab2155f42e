"""Use a trained model: embeddings of brain responses and of candidates, be they pictures, classes or captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.context import ContextPrompt, class_name, prompts_with_room
from brain2clip.models.mappings import MappingNetwork, key
from brain2clip.models.neuroclip import FrozenVisual
from brain2clip.settings import BrainMapping, Contrastive, Method, Ridge, Tower, parse
from brain2clip.stage import InputError
from brain2clip.training.data import PictureSource, Responses
from brain2clip.training.model import SUBJECTS, build, check_inputs, device_of_choice, picture_source

AT_ONCE = 512
NO_TEXT_CENTRE = (
    "{who} centres texts by the mean of the training stimuli's sentences, and these have none: give the study captions "
    "or class prompts of its training stimuli, or take the tasks category and caption out of retrieval.tasks"
)
Kind = Literal["stimulus", "category", "caption"]


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
    stimuli : h5py.File
        Stimuli artefact, open as long as candidates are asked for.
    rows : ndarray
        Rows of the candidates.
    subject : str, optional
        Label of the subject whose responses these are; a joint model takes that subject's input layer.

    Attributes
    ----------
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
        stimuli: h5py.File,
        rows: np.ndarray,
        subject: str | None = None,
    ) -> None:
        check_inputs(tensors, responses, subject)
        self.device = device_of_choice()
        self.stimuli = stimuli
        self.rows = np.asarray(rows)
        concept = stimuli["concept"].asstr()[:][self.rows]
        self.concepts = list(dict.fromkeys(concept.tolist()))
        settings, clip = parse(Method, method), parse(Tower, tower)
        self.side: RidgeSide | ContrastiveSide | MappingSide
        if isinstance(settings, Ridge):
            self.side = RidgeSide(tensors, stimuli)
        elif isinstance(settings, Contrastive):
            self.side = ContrastiveSide(settings, clip, tensors, responses, stimuli, self.rows, self.device)
            self.model, self.pictures = self.side.model, self.side.pictures
        else:
            self.side = MappingSide(settings, clip, tensors, stimuli, subject, self.device)

    @torch.inference_mode()
    def brains(self, values: np.ndarray) -> np.ndarray:
        """Unit-length embeddings [n, shared] of responses [n, C, T] or [n, V]."""
        parts = [self.side.brains(part.to(self.device)).cpu() for part in torch.from_numpy(values).split(AT_ONCE)]
        return F.normalize(torch.cat(parts).float(), dim=-1).numpy()

    @torch.inference_mode()
    def candidates(self, kind: Kind = "stimulus") -> np.ndarray:
        """Unit-length embeddings [G, shared] of the candidates.

        Parameters
        ----------
        kind : str
            ``stimulus``: the pictures (the prompts where a study has none), in the order of ``rows``; ``caption``: the
            mean of each row's captions (of its class prompts where it has none), in the order of ``rows``;
            ``category``: the class prompts of each of :attr:`concepts`.

        Raises
        ------
        InputError
            Where a row or concept has no text, or the method's shared space has no place for texts.
        """
        if kind == "stimulus":
            parts = [self.side.stimuli(rows) for rows in _parts(self.rows)]
        elif kind == "caption":
            parts = [self.side.texts(torch.from_numpy(captions(self.stimuli, self.rows)))]
        else:
            parts = [self.side.classes(self.concepts, self._first_rows())]
        return F.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy()

    def _first_rows(self) -> np.ndarray:
        """A row of every concept; class prompts are equal within a concept."""
        concept = self.stimuli["concept"].asstr()[:][self.rows].tolist()
        return self.rows[[concept.index(name) for name in self.concepts]]


class RidgeSide:
    """Ridge regression; every modality is centred by its own mean over training stimuli."""

    def __init__(self, tensors: Mapping[str, Tensor], stimuli: h5py.File) -> None:
        self.tensors = tensors
        self.file = stimuli

    def brains(self, responses: Tensor) -> Tensor:
        """Predicted embedding without its training mean."""
        predicted = responses.cpu().flatten(1) @ self.tensors["weight"] + self.tensors["intercept"]
        return predicted - self.tensors["centre"]

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Centred embedding of pictures."""
        embedding = torch.from_numpy(self.file["embedding"][:][rows])
        return F.normalize(embedding, dim=-1) - self.tensors["stimulus_centre"]

    def texts(self, unit: Tensor) -> Tensor:
        """Centred embedding of texts."""
        if "text_centre" not in self.tensors:
            raise InputError(NO_TEXT_CENTRE.format(who="ridge regression"))
        return unit - self.tensors["text_centre"]

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Centred mean embedding of the prompts of each concept."""
        return self.texts(torch.from_numpy(prompts(self.file, rows)))


class ContrastiveSide:
    """Encoder and picture side; texts go through the picture head, where the picture side stays in CLIP's space."""

    def __init__(
        self,
        settings: Contrastive,
        tower: Tower,
        tensors: Mapping[str, Tensor],
        responses: Responses,
        stimuli: h5py.File,
        rows: np.ndarray,
        device: torch.device,
    ) -> None:
        self.settings, self.file, self.device = settings, stimuli, device
        self.model, clip = build(settings, tower, responses, stimuli, device)
        restore(self.model, tensors)
        self.pictures: PictureSource = picture_source(settings, tower, stimuli, rows, clip, device)

    def brains(self, responses: Tensor) -> Tensor:
        """Embedding of responses."""
        return self.model.brain(responses)

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Embedding of pictures."""
        return self.model.picture(self.pictures(rows))

    def texts(self, unit: Tensor) -> Tensor:
        """Texts as if they were pictures: at the mean length of the training pictures, through the picture head."""
        visual = self.model.visual
        block = None if isinstance(visual, FrozenVisual) else visual.tower.readout.block
        if block is not None:
            raise InputError(
                "the tasks category and caption are impossible for a method whose pictures leave CLIP's joint space "
                f"(visual.readout.block: {block}), because texts are in that space only; take the tasks out of "
                "retrieval.tasks, the method out of the experiments, or visual.readout.block: null"
            )
        training = np.isin(self.file["split"].asstr()[:], ["train", "both"])
        length = float(np.linalg.norm(self.file["embedding"][:][training], axis=1).mean())
        return visual.head(unit.to(self.device) * length)

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Mean prompt of each concept through the picture head."""
        return self.texts(torch.from_numpy(prompts(self.file, rows)))


class MappingSide:
    """Mapping network into the CLIP space; its candidates are frozen embeddings."""

    def __init__(
        self,
        settings: BrainMapping,
        tower: Tower,
        tensors: Mapping[str, Tensor],
        stimuli: h5py.File,
        subject: str | None,
        device: torch.device,
    ) -> None:
        self.settings, self.tower, self.file, self.device = settings, tower, stimuli, device
        self.tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.subject = subject if SUBJECTS in tensors else None
        self.network = _network(settings, tensors, self.subject, stimuli["embedding"].shape[1]).to(device)
        restore(self.network, self.tensors)

    def brains(self, responses: Tensor) -> Tensor:
        """Embedding of responses."""
        return self.network(responses, self.subject)[0]

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Frozen embedding of pictures."""
        return self._placed(torch.from_numpy(self.file["embedding"][:][rows]), "stimulus_centre")

    def texts(self, unit: Tensor) -> Tensor:
        """Frozen embedding of texts."""
        return self._placed(unit, "text_centre")

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Text side of the classifier: first prompt, mean prompt, or learned context before the name."""
        if self.settings.classifier.kind == "context":
            return self.texts(self._in_context(concepts))
        first = self.settings.classifier.kind == "prompt"
        return self.texts(torch.from_numpy(prompts(self.file, rows, first)))

    def _in_context(self, concepts: list[str]) -> Tensor:
        """Unit-length embeddings of class names behind the learned context."""
        from brain2clip.stimuli import towers  # open_clip takes seconds to import: only where it is needed

        clip, context = towers.load(self.tower, self.device), self.tensors["context"]
        tokens = prompts_with_room(clip.tokenize, [class_name(name) for name in concepts], len(context))
        prompt = ContextPrompt(clip.model, context)
        parts = [prompt(part.to(self.device)) for part in tokens.split(AT_ONCE)]
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _placed(self, embedding: Tensor, centre: str) -> Tensor:
        """Unit length, and without the training mean of the modality where the method centres."""
        unit = F.normalize(embedding.to(self.device).float(), dim=-1)
        if not self.settings.supervision.centre:
            return unit
        if centre not in self.tensors:
            raise InputError(NO_TEXT_CENTRE.format(who="supervision.centre"))
        return unit - self.tensors[centre]


def restore(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Trained parameters into a fresh model, for use in evaluation mode."""
    missing = set(model.load_state_dict(tensors, strict=False).missing_keys)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert missing <= frozen, f"checkpoint lacks {sorted(missing - frozen)[:3]}"
    model.eval()


def _network(settings: BrainMapping, tensors: Mapping[str, Tensor], subject: str | None, width: int) -> MappingNetwork:
    """A fresh network of the sizes of a checkpoint; of a joint one with the subject's input layer only."""
    if subject is not None:
        size = tensors[f"own.{key(subject)}.weight"].shape[1]
        return MappingNetwork(settings.network, settings.supervision, {subject: size}, width)
    first = "shared.read_out.weight" if settings.network.name == "linear" else "shared.trunk.0.0.weight"
    return MappingNetwork(settings.network, settings.supervision, tensors[first].shape[1], width)


def captions(stimuli: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Mean caption embedding [len(rows), d], of unit length; that of the class prompts for rows without a caption."""
    own, of_class = stimuli["caption_embedding"][:][rows], stimuli["prompt_embedding"][:][rows]
    found = np.where(np.isnan(own), of_class, own)
    _check_texts(stimuli, rows, found, "caption", "captions or class prompts")
    return found


def prompts(stimuli: h5py.File, rows: np.ndarray, first: bool = False) -> np.ndarray:
    """Mean (or first) embedding of each row's class prompts [len(rows), d], of unit length."""
    mean = stimuli["prompt_embedding"][:][rows]
    _check_texts(stimuli, rows, mean, "category", "class prompts")
    if not first:
        return mean
    links = stimuli["prompt_link"][:]
    number = {int(row): int(sentence) for row, sentence in links[::-1]}
    return stimuli["sentence_embedding"][:][[number[int(row)] for row in rows]]


def _check_texts(stimuli: h5py.File, rows: np.ndarray, found: np.ndarray, task: str, needed: str) -> None:
    bare = rows[np.isnan(found).any(axis=1)]
    if len(bare):
        name = stimuli["stimulus_id"].asstr()[:][bare[0]]
        raise InputError(
            f"task {task}: {len(bare)} of {len(rows)} candidates have no {needed}, the first is {name}; give the study "
            f"{needed} of its test stimuli, or take {task} out of retrieval.tasks"
        )


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
