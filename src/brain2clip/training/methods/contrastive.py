"""Brain encoder and picture side with a softened contrastive loss: NeuroCLIP and its baseline."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.internals import open_clip, torch_device
from brain2clip.models.brain_encoder import Inputs, settling
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.models.parameters import restore, trainable
from brain2clip.models.pictures import Frozen, Pictures, PromptEffect, ReadPictureSide
from brain2clip.settings import Contrastive, Mmd, Optimiser, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import memory
from brain2clip.training.augmenting import Augmenting, Batch
from brain2clip.training.data import Pairs, PictureSource, Responses, Stimuli, pairs, together
from brain2clip.training.inputs import names_as_tensor, names_from_tensor
from brain2clip.training.loop import fit
from brain2clip.training.method import Checkpoint, Study, Trained
from brain2clip.training.mmd import squared_mmd
from brain2clip.training.objective import (
    keep_scale,
    logits,
    perplexity,
    soft_target,
    softened_contrastive,
    temperature_of,
)
from brain2clip.training.text_term import TextTerm
from brain2clip.training.texts import prompts

if TYPE_CHECKING:
    from brain2clip.stimuli.frozen_clip import Clip

log = logging.getLogger("brain2clip")
#: Name in a checkpoint of the number of subjects whose pictures differ in training.
SEEN_BY = "seen_by"
#: Name in a checkpoint of the labels of the subjects whose number the encoder takes.
KNOWN = "encoder_subjects"
#: Name in a checkpoint of the mean length of training pictures, which texts get.
LENGTH = "picture_length"
#: Width of a tower from which bf16 pays on a CPU that has it: that of the narrowest that was measured.
WIDE = 96


class Method:
    """Brain encoder and picture side.

    Parameters
    ----------
    settings : Contrastive
    """

    def __init__(self, settings: Contrastive) -> None:
        self.settings = settings

    def train(self, study: Study) -> tuple[dict[str, Tensor], pd.DataFrame]:
        """Parameters of both sides, and a row per epoch."""
        study = one_set(study)
        (responses,) = study.sets
        rows = np.unique(responses.stimulus)
        learner = learner_of(self.settings, study.tower, responses, study.stimuli, rows, study.device, study.seed)
        concept = study.stimuli["concept"].asstr()[:]
        settings = learner.settings
        given = settings.optimiser, settings.selection, study.sets, concept, study.seed, study.device, study.classes
        history = fit(learner, *given)
        return self._tensors(learner, study, rows), history

    def _tensors(self, learner: ContrastiveLearner, study: Study, rows: np.ndarray) -> dict[str, Tensor]:
        """What a checkpoint holds of a trained model."""
        (responses,) = study.sets
        tensors = trainable(learner.model)
        if learner.settings.visual.by_subject:
            tensors[SEEN_BY] = torch.tensor(subjects_of(responses))
        if learner.settings.encoder.by_subject:
            tensors[KNOWN] = names_as_tensor(list(study.labels))
        tensors[LENGTH] = picture_length(learner, study.stimuli, rows)
        return tensors

    def alone(self) -> str | None:
        """The setting by which each seed trains by itself; None where several can train at once."""
        from brain2clip.training import batched

        return batched.unknown(self.settings)

    def train_together(self, studies: Sequence[Study]) -> list[tuple[dict[str, Tensor], pd.DataFrame] | None]:
        """As :meth:`train` for each of some studies that differ by their seed, at once; None of what diverged.

        Nothing is there of any where they cannot train together.
        """
        from brain2clip.training import batched

        studies = [one_set(study) for study in studies]
        (responses,), device = studies[0].sets, studies[0].device
        rows, seeds = np.unique(responses.stimulus), [one.seed for one in studies]
        learners = [
            learner_of(self.settings, one.tower, responses, one.stimuli, rows, device, one.seed) for one in studies
        ]
        data = pairs([responses], np.arange(len(responses.stimulus)), device, studies[0].classes)
        try:
            histories = batched.train(learners, data, seeds)
        except (batched.UnknownError, torch.OutOfMemoryError) as error:
            log.info("train: each seed separately, not several at once: %s", str(error).splitlines()[0])
            return [None] * len(studies)
        return [
            None if history is None else (self._tensors(learner, study, rows), history)
            for learner, study, history in zip(learners, studies, histories)
        ]

    def ready(self, checkpoint: Checkpoint) -> BothSides:
        """Both sides with the parameters of a checkpoint."""
        return BothSides(self.settings, checkpoint)


def one_set(study: Study) -> Study:
    """A study whose subjects are numbered as one set of responses: who has no training trial has no number."""
    responses = study.sets[0] if len(study.sets) == 1 else together(study.sets)
    trained, subject = np.unique(responses.subject, return_inverse=True)
    labels = [study.labels[number] for number in trained] if study.labels else []
    return replace(study, sets=[replace(responses, subject=subject)], labels=labels)


def learner_of(
    settings: Contrastive,
    tower: Tower,
    responses: Responses,
    stimuli: Stimuli,
    fitted: np.ndarray,
    device: torch.device,
    seed: int,
) -> ContrastiveLearner:
    """A fresh learner for some responses.

    Parameters
    ----------
    settings : Contrastive
    tower : Tower
    responses : Responses
        All that it will be asked about, placed on the stimuli.
    stimuli : Stimuli
    fitted : ndarray
        Rows of the pictures that the readout and the temperature of the soft target are fitted to.
    device : torch.device
    seed : int
    """
    torch.manual_seed(seed)
    model, clip = build(settings, tower, responses, stimuli, device, subjects_of(responses))
    pictures = picture_source(settings, tower, stimuli, np.unique(responses.stimulus), clip, device)
    if settings.visual.fitted:
        model.visual.fit(pictures.frozen(fitted))
    if settings.objective.soft_perplexity is not None and settings.objective.beta > 0:
        place = torch.from_numpy(np.searchsorted(pictures.rows, fitted)).to(device)
        settings = with_perplexity(settings, pictures.embedding[place], seed)
    learner = ContrastiveLearner(model, settings, pictures, device)
    if settings.visual.drives_tower:
        model.visual.micro_batch = micro_batch(learner, responses)
    if settings.objective.text:
        length = picture_length(learner, stimuli, fitted)
        learner.texts = TextTerm(stimuli, settings.objective, fitted, length, device)
    if settings.augmentation:
        learner.augmenting = Augmenting(settings.augmentation, encoder_inputs(responses))
    return learner


def micro_batch(learner: ContrastiveLearner, responses: Responses) -> int | None:
    """Pictures of a batch that the tower of a learner sees at once; says what memory that takes.

    Raises
    ------
    InputError
        Where some are asked for and the picture side takes no part of a batch.
    """
    optimiser, model = learner.settings.optimiser, learner.model
    if optimiser.micro_batch is not None and not model.visual.takes_parts:
        raise InputError(
            f"optimiser.micro_batch: found {optimiser.micro_batch}; visual.kind: {learner.settings.visual.kind} "
            "takes whole batches only, so leave micro_batch out"
        )
    need = memory.needed(model, learner.pictures, responses, optimiser, learner.autocast)
    return memory.at_once(optimiser, need, len(learner.pictures.rows), learner.device)


def subjects_of(responses: Responses) -> int:
    """Number of subjects whose responses they are."""
    return int(responses.subject.max()) + 1


def picture_length(learner: ContrastiveLearner, stimuli: Stimuli, rows: np.ndarray) -> Tensor:
    """Mean length of training pictures before they go through the head, which texts get."""
    visual = learner.model.visual
    if isinstance(visual, ReadPictureSide) and visual.rescales:
        return length_of(visual, learner.pictures, rows)
    return frozen_length(stimuli)


@torch.inference_mode()
def length_of(side: ReadPictureSide, pictures: PictureSource, rows: np.ndarray) -> Tensor:
    """Mean length of what the readout gives of training pictures, which texts get before they go through the head."""
    side.eval()
    parts = np.array_split(rows, len(rows) // 256 + 1)
    return torch.cat([side.readout(side.vectors(pictures(part))).norm(dim=-1) for part in parts]).mean().cpu()


def frozen_length(stimuli: Stimuli) -> Tensor:
    """Mean length of the embeddings of training pictures."""
    training = np.isin(stimuli["split"].asstr()[:], ["train", "both"])
    return torch.tensor(np.linalg.norm(stimuli["embedding"][:][training], axis=1).mean())


def with_perplexity(settings: Contrastive, frozen: Tensor, seed: int) -> Contrastive:
    """Settings whose soft target has the temperature that its perplexity asks for."""
    temperature = temperature_of(frozen, settings.objective, settings.optimiser.batch_size, seed)
    log.info(
        "train: soft target of perplexity %g, temperature %.4g", settings.objective.soft_perplexity or 0, temperature
    )
    objective = settings.objective.model_copy(update={"soft_temperature": temperature})
    return settings.model_copy(update={"objective": objective})


class ContrastiveLearner:
    """Softened contrastive loss between responses and pictures.

    Parameters
    ----------
    model : BrainToClip
    settings : Contrastive
    pictures : PictureSource
        For all training rows.
    device : torch.device

    Attributes
    ----------
    texts : TextTerm or None
        Texts of the training pictures, where the loss compares with them, too.
    """

    def __init__(
        self, model: BrainToClip, settings: Contrastive, pictures: PictureSource, device: torch.device
    ) -> None:
        self.model, self.settings, self.pictures, self.device = model, settings, pictures, device
        self.autocast = precision(settings.optimiser, device, model.visual.inner)
        self.frozen_epochs = settings.optimiser.frozen_epochs
        self.perplexity = math.nan
        self.seen = pictures.__call__
        self.settling = settling(model.encoder)
        self.texts: TextTerm | None = None
        self.epoch = 1
        self.augmenting: Augmenting | None = None

    def once(self, data: Pairs, rng: np.random.Generator) -> Pairs:
        """Training pairs after what is drawn before the first epoch."""
        return data if self.augmenting is None else self.augmenting.once(data, rng)

    def begin(self, epoch: int) -> None:
        """Pictures are those of the frozen tower until what tunes it joins."""
        self.epoch = epoch
        self.seen = self.pictures.frozen if epoch <= self.frozen_epochs else self.pictures.__call__
        if self.settings.visual.watches:
            self.model.visual.begin(epoch, int(self.pictures.rows[-1]) + 1)

    def parameter_groups(self) -> list[dict]:
        """Encoder and heads; filter, fusion and prompts with their own rate."""
        return self.model.parameter_groups(self.settings.optimiser.lr, self.settings.optimiser.lr_visual)

    def measured(self) -> dict[str, float]:
        """Perplexity of the soft target in the first batch of an epoch (NaN without one)."""
        found, self.perplexity = self.perplexity, math.nan
        return {"perplexity": found}

    def settle(self) -> None:
        """Keep the scale in its range, where the recipe has one, and what the encoder keeps in one."""
        for layer in self.settling:
            layer.settle()
        if self.settings.objective.keeps_scale:
            keep_scale(self.model.scale)

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch; every picture of it goes through the tower once.

        Of a model that does not train just now it is the contrast alone, and nothing is remembered.
        """
        distinct, picture_of = np.unique(data.stimulus[rows], return_inverse=True)
        seen = self.seen(distinct)
        if self.settings.visual.watches and self.model.training:
            seen = replace(seen, rows=torch_device.copied(distinct, self.device))
        ((_, _, responses),) = data.take(rows)
        batch = Batch(responses, data.subject[rows])
        if self.augmenting is not None and self.model.training:
            batch = self.augmenting(batch, rng)
        with self.autocast():
            brain = self.model.brain(batch.values, self._whose(data.subject[rows]))
        pictures = self._pictures(seen, data.subject[rows])
        scores = self._scores(brain, pictures)
        if math.isnan(self.perplexity) and self.settings.objective.beta > 0:
            self.perplexity = perplexity(soft_target(seen.embedding, self.settings.objective))
        if seen.rows is not None and self.model.training:
            owner = torch_device.copied(picture_of, self.device)
            self.model.visual.learn(seen.rows, own_similarity(brain, pictures[0][1], owner))
        loss = batch.loss(lambda target: self._contrast(brain, scores, seen, distinct, target), picture_of)
        if self.settings.objective.mmd is not None and self.model.training:
            loss = loss + self._distance(self.settings.objective.mmd, brain, pictures, picture_of)
        return loss

    def _whose(self, subject: np.ndarray) -> Tensor | None:
        """Numbers of subjects [B] for an encoder that takes them, else None."""
        return torch_device.copied(subject, self.device) if self.settings.encoder.by_subject else None

    def _contrast(self, brain: Tensor, scores: Tensor, seen: Pictures, rows: np.ndarray, target: np.ndarray) -> Tensor:
        """Contrast of responses with pictures of some rows, and with their texts; ``target`` is the column of each."""
        objective = self.settings.objective
        loss = softened_contrastive(scores, torch_device.copied(target, self.device), seen.embedding, objective)
        if self.texts is None:
            return loss
        return (1 - objective.text) * loss + objective.text * self._loss_of_texts(self.texts, brain, rows, target)

    def _pictures(self, seen: Pictures, subject: np.ndarray) -> list[tuple[Tensor | None, Tensor]]:
        """Responses of the batch (None: all) and pictures [U, shared] as their subject sees them."""
        if not self.settings.visual.by_subject:
            with self.autocast():
                return [(None, self.model.picture(seen))]
        distinct = np.unique(subject)
        with self.autocast():
            pictures = self.model.seen_by(seen, distinct.tolist())
        own = (torch_device.copied(np.flatnonzero(subject == one), self.device) for one in distinct)
        return list(zip(own, pictures))

    def _scores(self, brain: Tensor, pictures: list[tuple[Tensor | None, Tensor]]) -> Tensor:
        """Scaled similarity [B, U] of responses to pictures, which may differ by the subject that sees them."""
        first, picture = pictures[0]
        if first is None:
            return self._logits(brain, picture)
        scores = brain.new_zeros(len(brain), len(picture), dtype=torch.float32)
        for own, picture in pictures:
            assert own is not None
            scores = scores.index_copy(0, own, self._logits(brain[own], picture))
        return scores

    def _logits(self, brain: Tensor, picture: Tensor) -> Tensor:
        objective = self.settings.objective
        return logits(brain, picture, self.model.scale, objective.normalise, objective.scaling)

    def _loss_of_texts(self, texts: TextTerm, brain: Tensor, rows: np.ndarray, target: np.ndarray) -> Tensor:
        """Contrast of responses [B, shared] with the texts of their pictures, each text once."""
        embedding, number = texts.of(rows)
        with self.autocast():
            text = self.model.texts(embedding)
        hard = self.settings.objective.model_copy(update={"beta": 0.0})
        owner = torch_device.copied(number[target], self.device)
        return softened_contrastive(self._logits(brain, text), owner, embedding, hard)

    def _distance(
        self, settings: Mmd, brain: Tensor, pictures: list[tuple[Tensor | None, Tensor]], picture_of: np.ndarray
    ) -> Tensor:
        """Weighted squared MMD of responses [B, shared] and pictures; of each response its own where they differ."""
        weight = settings.weight(self.epoch)
        if not weight:
            return brain.new_zeros((), dtype=torch.float32)
        owner = torch_device.copied(picture_of, self.device)
        seen = [picture if own is None else picture[owner[own]] for own, picture in pictures]
        return weight * squared_mmd(brain, torch.cat(seen), settings.sigmas)

    @torch_device.tf32()
    @torch.inference_mode()
    def top1(self, data: Pairs) -> float:
        """Share of responses whose own picture is the most similar among the pictures of the set."""
        self.model.eval()
        distinct, picture_of = np.unique(data.stimulus, return_inverse=True)
        candidates = torch.cat(
            [self.model.picture(self.seen(part)) for part in np.array_split(distinct, len(distinct) // 256 + 1)]
        )
        brain = self.model.brain(data.responses[0], self._whose(data.subject))
        scores = F.normalize(brain, dim=-1) @ F.normalize(candidates, dim=-1).T
        return float((scores.argmax(dim=1).cpu().numpy() == picture_of).mean())


@torch.no_grad()
def own_similarity(brain: Tensor, picture: Tensor, owner: Tensor) -> Tensor:
    """Mean cosine [U] of pictures [U, d] to their own responses; ``owner`` is the picture of each response [B, d]."""
    cosine = F.cosine_similarity(brain.float(), picture.float()[owner], dim=-1)
    total, count = (
        cosine.new_zeros(len(picture)).index_add(0, owner, one) for one in (cosine, torch.ones_like(cosine))
    )
    return total / count


def precision(budget: Optimiser, device: torch.device, width: int):
    """A context maker: bf16 autocast where asked for, or where the device is fast with it.

    On a CPU it is taken from ``WIDE`` on: half the time of fp32 in a tower of 96 and of 768 (bench/prompted_tower.py).
    """
    if budget.precision == "fp32":
        return contextlib.nullcontext
    if budget.precision == "auto":
        fast = torch_device.has_bf16(device) and (device.type == "cuda" or width >= WIDE)
        if not fast:
            return contextlib.nullcontext
    elif budget.precision != "bf16":
        assert_never(budget.precision)
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


class BothSides(Trained):
    """Encoder and picture side; texts go through the picture head, where the picture side stays in CLIP's space."""

    def __init__(self, settings: Contrastive, checkpoint: Checkpoint) -> None:
        self.file, self.device = checkpoint.stimuli, checkpoint.device
        self.length = float(checkpoint.tensors[LENGTH])
        self.length_tells = settings.objective.normalise == "image"  # as in the loss
        given = settings, checkpoint.tower
        subjects = int(checkpoint.tensors.get(SEEN_BY, torch.tensor(1)))
        self.subject: int | None = None  # the encoder takes none, or does not know this one
        if settings.encoder.by_subject:
            known = names_from_tensor(checkpoint.tensors[KNOWN])
            subjects = len(known)
            self.subject = known.index(checkpoint.tested) if checkpoint.tested in known else None
        self.model, clip = build(*given, checkpoint.responses, self.file, self.device, subjects, trained=True)
        restore(self.model, checkpoint.tensors)
        self.model.visual.merge()
        self.pictures = picture_source(*given, self.file, checkpoint.rows, clip, self.device)

    def brains(self, responses: Tensor) -> Tensor:
        """Embedding of responses."""
        if self.subject is None:
            return self.model.brain(responses)
        return self.model.brain(responses, torch.full((len(responses),), self.subject, device=self.device))

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Embedding of pictures."""
        return self.model.picture(self.pictures(rows))

    def texts(self, unit: Tensor) -> Tensor:
        """Texts as if they were pictures: at the mean length of the training pictures, through the picture head."""
        self.model.visual.check_texts()
        return self.model.texts(unit.to(self.device) * self.length)

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Mean prompt of each concept through the picture head."""
        return self.texts(torch.from_numpy(prompts(self.file, rows)))

    def effect(self, rows: np.ndarray) -> PromptEffect:
        """What prompts do to pictures."""
        return self.model.effect(self.pictures(rows))


def build(
    settings: Contrastive,
    tower: Tower,
    responses: Responses,
    stimuli: Stimuli,
    device: torch.device,
    subjects: int = 1,
    trained: bool = False,
) -> tuple[BrainToClip, Clip | None]:
    """A fresh model for responses of that shape, and the CLIP whose tower it drives (None for a frozen side).

    ``subjects`` is the number of those whose responses train it; ``trained`` says that it has been, so that nothing of
    what is drawn here stays.
    """
    clip = None
    if settings.visual.drives_tower:
        if stimuli.attrs["kind"] != "pictures":
            raise InputError(
                f"visual.kind: {settings.visual.kind} trains prompts on pictures, but this study has text candidates "
                "only; use a method with visual.kind: frozen"
            )
        from brain2clip.stimuli import frozen_clip  # open_clip takes seconds to import: only where it is needed

        clip = (frozen_clip.load_shared if trained else frozen_clip.load)(tower, device)
    model = BrainToClip(
        settings,
        encoder_inputs(responses, subjects),
        Frozen(
            width=stimuli["embedding"].shape[1],
            bands=tower.filter_bank.bands,
            tower=None if clip is None else clip.model.visual,
            checkpointing=settings.optimiser.checkpointing,
            widths=stimuli.widths(),
            subjects=subjects,
            compiling=settings.optimiser.compile,
        ),
    )
    return model.to(device), clip


def encoder_inputs(responses: Responses, subjects: int = 1) -> Inputs:
    """What an encoder gets of responses that so many subjects gave; a voxel is a channel with one sample."""
    n_channels, n_times = (*responses.values.shape[1:], 1)[:2]
    return Inputs(n_channels, n_times, responses.sfreq, subjects)


def picture_source(
    settings: Contrastive, tower: Tower, stimuli: Stimuli, rows: np.ndarray, clip: Clip | None, device: torch.device
) -> PictureSource:
    """Pictures of those rows as the model takes them."""
    vectors = settings.vectors
    if clip is None:
        return PictureSource(stimuli, rows, with_tokens=False, device=device, vectors=vectors)
    bands = None
    if stimuli.attrs["cache"] == "pictures":
        bands = BandTokens(open_clip.patch_embedding(clip.model.visual), clip.image_size, tower.filter_bank).to(device)
    return PictureSource(stimuli, rows, True, device, bands, (clip.mean, clip.std), vectors)
