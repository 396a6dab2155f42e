"""Brain encoder and picture side under a softened contrastive loss: NeuroCLIP and its baseline."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.internals import open_clip, torch_device
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.models.parameters import restore, trainable
from brain2clip.models.pictures import Frozen, Pictures, PromptEffect, ReadPictureSide
from brain2clip.settings import Contrastive, Optimiser, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training import memory
from brain2clip.training.data import Pairs, PictureSource, Responses, Stimuli, pairs
from brain2clip.training.loop import fit
from brain2clip.training.method import Checkpoint, Study, Trained
from brain2clip.training.objective import (
    keep_scale,
    logits,
    perplexity,
    soft_target,
    softened_contrastive,
    temperature_of,
)
from brain2clip.training.texts import prompts

if TYPE_CHECKING:
    from brain2clip.stimuli.frozen_clip import Clip

log = logging.getLogger("brain2clip")
#: Name in a checkpoint of the number of subjects whose pictures differ in training.
SEEN_BY = "seen_by"
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
        visual = learner.model.visual
        if learner.settings.visual.by_subject:
            tensors[SEEN_BY] = torch.tensor(subjects_of(responses))
        if isinstance(visual, ReadPictureSide) and visual.rescales:
            tensors[LENGTH] = length_of(visual, learner.pictures, rows)
        else:
            tensors[LENGTH] = frozen_length(study.stimuli)
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

        (responses,), device = studies[0].sets, studies[0].device
        rows, seeds = np.unique(responses.stimulus), [one.seed for one in studies]
        learners = [
            learner_of(self.settings, one.tower, responses, one.stimuli, rows, device, one.seed) for one in studies
        ]
        data = pairs([responses], np.arange(len(responses.stimulus)), device, studies[0].classes)
        try:
            histories = batched.train(learners, data, seeds)
        except (batched.UnknownError, torch.OutOfMemoryError) as error:
            log.info("train: each seed by itself, not several at once: %s", str(error).splitlines()[0])
            return [None] * len(studies)
        return [
            None if history is None else (self._tensors(learner, study, rows), history)
            for learner, study, history in zip(learners, studies, histories)
        ]

    def ready(self, checkpoint: Checkpoint) -> BothSides:
        """Both sides with the parameters of a checkpoint."""
        return BothSides(self.settings, checkpoint)


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
    if settings.objective.soft_perplexity is not None:
        place = torch.from_numpy(np.searchsorted(pictures.rows, fitted)).to(device)
        settings = with_perplexity(settings, pictures.embedding[place], seed)
    learner = ContrastiveLearner(model, settings, pictures, device)
    if settings.visual.drives_tower:
        model.visual.micro_batch = micro_batch(learner, responses)
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
            f"optimiser.micro_batch: found {optimiser.micro_batch}; visual.kind: {learner.settings.visual.kind} takes "
            "whole batches only, so leave it out"
        )
    need = memory.needed(model, learner.pictures, responses, optimiser, learner.autocast)
    return memory.at_once(optimiser, need, len(learner.pictures.rows), learner.device)


def subjects_of(responses: Responses) -> int:
    """Number of subjects whose responses they are."""
    return int(responses.subject.max()) + 1


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
    """

    def __init__(
        self, model: BrainToClip, settings: Contrastive, pictures: PictureSource, device: torch.device
    ) -> None:
        self.model, self.settings, self.pictures, self.device = model, settings, pictures, device
        self.autocast = precision(settings.optimiser, device, model.visual.inner)
        self.frozen_epochs = settings.optimiser.frozen_epochs
        self.perplexity = math.nan
        self.seen = pictures.__call__

    def begin(self, epoch: int) -> None:
        """Pictures are those of the frozen tower until what tunes it joins."""
        self.seen = self.pictures.frozen if epoch <= self.frozen_epochs else self.pictures.__call__

    def parameter_groups(self) -> list[dict]:
        """Encoder and heads; filter, fusion and prompts with their own rate."""
        return self.model.parameter_groups(self.settings.optimiser.lr, self.settings.optimiser.lr_visual)

    def measured(self) -> dict[str, float]:
        """Perplexity of the soft target in the first batch of an epoch (NaN without one)."""
        found, self.perplexity = self.perplexity, math.nan
        return {"perplexity": found}

    def settle(self) -> None:
        """Keep the scale in its range, where the recipe has one."""
        if self.settings.objective.normalise == "both":
            keep_scale(self.model.scale)

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch; every picture of it goes through the tower once. Nothing is drawn."""
        distinct, picture_of = np.unique(data.stimulus[rows], return_inverse=True)
        seen = self.seen(distinct)
        ((_, _, responses),) = data.take(rows)
        with self.autocast():
            brain = self.model.brain(responses)
        scores = self._scores(brain, seen, data.subject[rows])
        if math.isnan(self.perplexity) and self.settings.objective.beta > 0:
            self.perplexity = perplexity(soft_target(seen.embedding, self.settings.objective))
        owner = torch_device.copied(picture_of, self.device)
        return softened_contrastive(scores, owner, seen.embedding, self.settings.objective)

    def _scores(self, brain: Tensor, seen: Pictures, subject: np.ndarray) -> Tensor:
        """Scaled similarity [B, U] of responses to pictures, which may differ by the subject that sees them."""
        normalise = self.settings.objective.normalise
        if not self.settings.visual.by_subject:
            with self.autocast():
                picture = self.model.picture(seen)
            return logits(brain, picture, self.model.scale, normalise)
        scores = brain.new_zeros(len(brain), len(seen.embedding), dtype=torch.float32)
        distinct = np.unique(subject)
        with self.autocast():
            pictures = self.model.visual.seen_by(seen, distinct.tolist())
        for one, picture in zip(distinct, pictures):
            own = torch_device.copied(np.flatnonzero(subject == one), self.device)
            scores = scores.index_copy(0, own, logits(brain[own], picture, self.model.scale, normalise))
        return scores

    @torch_device.tf32()
    @torch.inference_mode()
    def top1(self, data: Pairs) -> float:
        """Share of responses whose own picture is the most similar among the pictures of the set."""
        self.model.eval()
        distinct, picture_of = np.unique(data.stimulus, return_inverse=True)
        candidates = torch.cat(
            [self.model.picture(self.seen(part)) for part in np.array_split(distinct, len(distinct) // 256 + 1)]
        )
        scores = F.normalize(self.model.brain(data.responses[0]), dim=-1) @ F.normalize(candidates, dim=-1).T
        return float((scores.argmax(dim=1).cpu().numpy() == picture_of).mean())


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
        self.model, clip = build(*given, checkpoint.responses, self.file, self.device, subjects, trained=True)
        restore(self.model, checkpoint.tensors)
        self.model.visual.merge()
        self.pictures = picture_source(*given, self.file, checkpoint.rows, clip, self.device)

    def brains(self, responses: Tensor) -> Tensor:
        """Embedding of responses."""
        return self.model.brain(responses)

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Embedding of pictures."""
        return self.model.picture(self.pictures(rows))

    def texts(self, unit: Tensor) -> Tensor:
        """Texts as if they were pictures: at the mean length of the training pictures, through the picture head."""
        self.model.visual.check_texts()
        return self.model.visual.of_texts(unit.to(self.device) * self.length)

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Mean prompt of each concept through the picture head."""
        return self.texts(torch.from_numpy(prompts(self.file, rows)))

    def effect(self, rows: np.ndarray) -> PromptEffect:
        """What prompts do to pictures."""
        return self.model.visual.effect(self.pictures(rows))


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
                f"visual.kind: {settings.visual.kind} tunes prompts of pictures, but this study has text candidates "
                "only; use a method with visual.kind: frozen"
            )
        from brain2clip.stimuli import frozen_clip  # open_clip takes seconds to import: only where it is needed

        clip = (frozen_clip.load_shared if trained else frozen_clip.load)(tower, device)
    n_channels, n_times = (*responses.values.shape[1:], 1)[:2]  # a voxel is a channel with one sample
    model = BrainToClip(
        settings,
        Inputs(n_channels, n_times, responses.sfreq),
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
