"""A brain encoder and a picture side that meet in one space: NeuroCLIP and its frozen-CLIP baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brain2clip.models import encoders
from brain2clip.models.prompts import InstancePrompt
from brain2clip.models.tower import PromptedTower
from brain2clip.settings import Contrastive, Visual
from brain2clip.stage import InputError


@dataclass(frozen=True)
class Pictures:
    """A batch of pictures as the picture side takes them.

    Attributes
    ----------
    embedding : Tensor [B, d]
        Frozen joint embedding.
    tokens : Tensor [B, N, D] or None
        Patch tokens before position embedding; None for a frozen picture side.
    band_tokens : Tensor [B, K, N, D] or None
        Patch tokens of each frequency band.
    """

    embedding: Tensor
    tokens: Tensor | None = None
    band_tokens: Tensor | None = None


class FrozenVisual(nn.Module):
    """The cached CLIP embedding through a trained head."""

    def __init__(self, settings: Visual, width: int) -> None:
        super().__init__()
        self.width = width
        self.head = encoders.head(settings.head.kind, width, settings.head.width)

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        return self.head(pictures.embedding)


class NeuroClipVisual(nn.Module):
    """The prompted tower: instance prompts on the patch tokens, shared prompts inside, then a head."""

    def __init__(self, settings: Visual, visual: Any, bands: int, checkpointing: bool) -> None:
        super().__init__()
        self.tower = PromptedTower(visual, settings.prompts, settings.readout, checkpointing)
        self.width = visual.positional_embedding.shape[-1]
        self.instance = None
        if settings.fusion.kind != "none":
            self.instance = InstancePrompt(self.width, bands, settings.filter, settings.fusion)
        self.extra = settings.fusion.target == "extra"
        self.head = encoders.head(settings.head.kind, self.tower.width, settings.head.width)

    def embed(self, pictures: Pictures) -> Tensor:
        """Embedding [B, d] of the prompted tower, before the head."""
        tokens = pictures.tokens
        assert tokens is not None
        if self.instance is None:
            return self.tower(tokens)
        prompt = self.instance(tokens, pictures.band_tokens)
        return self.tower(tokens, extra=prompt) if self.extra else self.tower(tokens + prompt)

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        return self.head(self.embed(pictures))


class BrainToClip(nn.Module):
    """Both sides.

    Parameters
    ----------
    settings : Contrastive
    shape : (int, int)
        Channels and times of a response.
    sfreq : float
        Sampling rate of the responses, Hz.
    embedding_width : int
        d of the frozen joint embedding.
    bands : int
        K of the filter bank.
    visual : nn.Module or None
        open_clip's picture tower; only for ``visual.kind: neuroclip``.
    """

    def __init__(
        self,
        settings: Contrastive,
        shape: tuple[int, int],
        sfreq: float,
        embedding_width: int,
        bands: int,
        visual: Any,
    ) -> None:
        super().__init__()
        self.encoder = encoders.build(settings.encoder, *shape, sfreq)
        self.brain_head = encoders.head(settings.brain_head.kind, settings.encoder.width, settings.brain_head.width)
        if settings.visual.kind == "frozen":
            self.visual: FrozenVisual | NeuroClipVisual = FrozenVisual(settings.visual, embedding_width)
        else:
            assert visual is not None
            self.visual = NeuroClipVisual(settings.visual, visual, bands, settings.optimiser.checkpointing)
        self._check_spaces(settings, embedding_width)
        self.scale = nn.Parameter(
            torch.tensor(settings.objective.scale_init), requires_grad=settings.objective.learn_scale
        )

    def _check_spaces(self, settings: Contrastive, embedding_width: int) -> None:
        """Without a head, the tower's own width is the shared space."""
        if settings.visual.head.kind != "none":
            return
        picture = embedding_width if isinstance(self.visual, FrozenVisual) else self.visual.tower.width
        brain = settings.encoder.width if settings.brain_head.kind == "none" else settings.brain_head.width
        if picture != brain:
            raise InputError(
                f"visual.head.kind: none gives picture embeddings of width {picture}, the brain side gives {brain}; "
                f"set brain_head.width (or encoder.width) to {picture}, or take visual.head.kind: linear"
            )

    def brain(self, responses: Tensor) -> Tensor:
        """Embedding [B, shared] of responses [B, C, T]."""
        return self.brain_head(self.encoder(responses))

    def picture(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared] of pictures."""
        return self.visual(pictures)

    def parameter_groups(self, lr: float, lr_visual: float) -> list[dict]:
        """Trained parameters: filter, fusion and prompts with their own learning rate; no decay on vectors."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                inside = name.startswith(("visual.instance.", "visual.tower."))
                groups.setdefault((lr_visual if inside else lr, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate} | ({} if decays else {"weight_decay": 0.0})
            for (rate, decays), parameters in groups.items()
        ]
