"""Low-rank adaptation of the weights of a frozen tower (Hu et al., ICLR 2022, LoRA)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from brain2clip.internals import open_clip
from brain2clip.models.weight_changes import WeightChanges
from brain2clip.settings import Lora
from brain2clip.stage import InputError


class LowRank(nn.Module):
    """Change of a weight [n_out, n_in]: ``alpha / rank B A``; B starts at zero, A as a linear layer does."""

    def __init__(self, n_out: int, n_in: int, settings: Lora) -> None:
        super().__init__()
        self.scale = settings.alpha / settings.rank
        self.down = nn.Parameter(torch.empty(settings.rank, n_in))
        self.up = nn.Parameter(torch.zeros(n_out, settings.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self) -> Tensor:
        """The change [n_out, n_in], always in full precision."""
        with torch.autocast(self.up.device.type, enabled=False):
            return self.scale * (self.up @ self.down)


class Adapter(WeightChanges):
    """W + alpha / rank B A for weights of the last blocks; the projections of q, k and v are one weight.

    Parameters
    ----------
    settings : Lora
    visual : nn.Module
        open_clip's picture tower. Its modules are changed, its weights are not.
    blocks : int
        Number of blocks that the tower runs through.

    Raises
    ------
    InputError
        Where a block is not open_clip's own, or the tower has fewer blocks than asked for.
    """

    def __init__(self, settings: Lora, visual: Any, blocks: int) -> None:
        super().__init__()
        count = blocks if settings.last_blocks is None else settings.last_blocks
        if count > blocks:
            raise InputError(f"visual.adapter.last_blocks is {count}, the tower runs through {blocks} blocks")
        for number in range(blocks - count, blocks):
            for module, name, label in weights_of(open_clip.blocks(visual)[number], settings.weights):
                n_out, n_in = getattr(module, name).shape
                self.add(f"block-{number}-{label}", module, name, LowRank(n_out, n_in, settings))


def weights_of(block: Any, chosen: tuple[Literal["attention", "mlp"], ...]) -> Iterator[tuple[nn.Module, str, str]]:
    """Modules of a Transformer block with the names of their weights, and a label for each.

    Raises
    ------
    InputError
        Where the block is not built as open_clip's own.
    """
    for part in dict.fromkeys(chosen):
        found = open_clip.weights(block, part)
        if found is None:
            raise InputError(
                f"visual.adapter: a block of this tower is a {type(block).__name__} without the usual weights of "
                f"{part}; LoRA knows open_clip's ResidualAttentionBlock. Take a ViT as ViT-B-32, or no adapter"
            )
        yield from found
