"""Pictures as a picture side takes them, and what all picture sides share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

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


class Frozen(NamedTuple):
    """What a picture side is given of the frozen CLIP.

    Attributes
    ----------
    width : int
        d of the joint embedding.
    bands : int
        K of the filter bank.
    tower : nn.Module or None
        open_clip's picture tower; only where the kind's settings say ``drives_tower``.
    checkpointing : bool
        Recompute activations of each block in the backward pass.
    """

    width: int
    bands: int
    tower: Any = None
    checkpointing: bool = False


class PromptEffect(NamedTuple):
    """What prompts do to pictures.

    Attributes
    ----------
    gains : Tensor [B, K]
        Of the frequency bands; ones without a filter.
    shift : Tensor [B]
        Norm of the instance prompt over the norm of the patch tokens.
    before : Tensor [B, shared] or None
        Embedding by the frozen tower, through the same trained head; None where it has another space.
    after : Tensor [B, shared]
        Embedding with prompts.
    """

    gains: Tensor
    shift: Tensor
    before: Tensor | None
    after: Tensor


class PictureSideBase(nn.Module):
    """Base of picture sides: :class:`Pictures` to embeddings [B, shared].

    A kind is a module of :mod:`brain2clip.models.visuals` whose class ``PictureSide(settings, frozen)`` derives from
    this one, sets the attributes and defines :meth:`forward`.

    Attributes
    ----------
    tuned : tuple of str
        Beginnings of the names of parameters that train with ``optimiser.lr_visual``.
    head : nn.Module
        Last projection, [B, width] to [B, shared].
    width : int
        Size of the embedding before the head.
    inner : int
        Width of what is computed with: decides about the precision.
    """

    tuned: ClassVar[tuple[str, ...]] = ()

    head: nn.Module
    width: int
    inner: int

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        raise NotImplementedError

    def check_texts(self) -> None:
        """Texts can go through the head only where pictures do from CLIP's joint space.

        Raises
        ------
        InputError
            Where pictures leave that space.
        """

    def merge(self) -> None:
        """Make ready for use after training; the result may differ by rounding only."""

    @torch.inference_mode()
    def effect(self, pictures: Pictures) -> PromptEffect:
        """What prompts do to pictures; for figures.

        Raises
        ------
        InputError
            Where the kind has no prompts.
        """
        raise InputError(f"{type(self).__module__} has no prompts to look at; take a method of visual.kind: neuroclip")
