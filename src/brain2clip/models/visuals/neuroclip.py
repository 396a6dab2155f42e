"""The prompted tower: NeuroCLIP's picture side.

What is public of the paper is its abstract; the forms here are this project's reading of it (docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from brain2clip import kinds
from brain2clip.internals import open_clip
from brain2clip.models import readout
from brain2clip.models.instance_prompt import InstancePrompt
from brain2clip.models.layers import head
from brain2clip.models.micro_batches import in_parts
from brain2clip.models.pictures import Frozen, Pictures, PromptEffect, ReadPictureSide
from brain2clip.models.prompted_tower import PromptedTower, own_structure
from brain2clip.settings import NeuroClipVisual
from brain2clip.stage import InputError


class PictureSide(ReadPictureSide):
    """Instance prompts on the patch tokens, shared prompts and an adapter inside the tower, then a head."""

    tuned: ClassVar[tuple[str, ...]] = ("instance.", "tower.", "adapter.")
    takes_parts: ClassVar[bool] = True

    def __init__(self, settings: NeuroClipVisual, frozen: Frozen) -> None:
        super().__init__()
        # An adapter changes modules of the tower, which others may use as well.
        visual = frozen.tower if settings.adapter is None else own_structure(frozen.tower)
        self.settings = settings.readout
        self.live = [one for one in settings.readout.inputs if one.from_tower]
        if not self.live:
            raise InputError(
                "visual.readout: none of its vectors comes from the tower with the unchanged picture, so prompts "
                "would change nothing; add such a vector, or take visual.kind: frozen"
            )
        self.tower = PromptedTower(visual, settings.prompts, self.live, frozen.checkpointing, frozen.compiling)
        self.inner = open_clip.width(visual)
        self.readout = readout.build(settings.readout, [*map(frozen.size, settings.readout.inputs)], frozen.subjects)
        self.width = self.readout.width
        self.instance = None
        if settings.fusion.kind != "none":
            self.instance = InstancePrompt(self.inner, frozen.bands, settings.filter, settings.fusion)
        self.extra = settings.fusion.target == "extra"
        self.head = head(settings.head, self.width)
        self.adapter: Any = None
        if settings.adapter is not None:
            self.adapter = kinds.load("adapters", settings.adapter.kind)(settings.adapter, visual, self.tower.blocks)

    def vectors(self, pictures: Pictures) -> list[Tensor]:
        """Vectors of the readout: of the prompted tower, and frozen ones of other views and files.

        All are frozen ones where pictures come without tokens.
        """
        tokens = pictures.tokens
        if tokens is None:
            return pictures.frozen(self.settings)
        arrays, prompts = (tokens, pictures.band_tokens), self.tower.drawn()
        if self.micro_batch is not None and self.training and len(tokens) > self.micro_batch:
            given = in_parts(self._prompted, self.micro_batch, arrays, prompts)
        else:
            given = self._prompted(*arrays, prompts)
        live = dict(zip(self.live, given))
        return [live[one] if one in live else pictures.vector(one) for one in self.settings.inputs]

    def _prompted(self, tokens: Tensor, band_tokens: Tensor | None, prompts: Sequence[Tensor]) -> list[Tensor]:
        """Vectors of the prompted tower, picture by picture."""
        if self.instance is None:
            return self.tower(tokens, prompts=prompts)
        prompt = self.instance(tokens, band_tokens)
        if self.extra:
            return self.tower(tokens, extra=prompt, prompts=prompts)
        return self.tower(tokens + prompt, prompts=prompts)

    def merge(self) -> None:
        """Put the adapter's changes into the weights of this model's own copy of them."""
        if self.adapter is not None:
            self.adapter.merge()

    @torch.inference_mode()
    def effect(self, pictures: Pictures) -> PromptEffect:
        """Gains of the dynamic filter, size of the instance prompt, embedding before and after."""
        tokens, bands = pictures.tokens, pictures.band_tokens
        assert tokens is not None
        assert bands is not None
        gains = torch.ones(len(tokens), bands.shape[1])
        shift = torch.zeros(len(tokens))
        if self.instance is not None:
            gains = self.instance.gains.gains(tokens).float().cpu()
            if not self.extra:
                prompt = self.instance(tokens, bands)
                shift = (prompt.flatten(1).norm(dim=1) / tokens.flatten(1).norm(dim=1)).float().cpu()
        known = all(one.is_embedding or one.name in pictures.vectors for one in self.settings.inputs)
        before = self.head(self.readout(pictures.frozen(self.settings))) if known else None
        return PromptEffect(gains, shift, before, self(pictures))
