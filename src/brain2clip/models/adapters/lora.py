"""Low-rank adaptation of the weights of a frozen tower (Hu et al., ICLR 2022, LoRA)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
        if settings.start == "gaussian":
            gaussian(self.down)
        else:
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self) -> Tensor:
        """The change [n_out, n_in], always in full precision."""
        with torch.autocast(self.up.device.type, enabled=False):
            return self.scale * (self.up @ self.down)


def gaussian(down: nn.Parameter) -> None:
    """Start of A [rank, n_in]: Gaussian of deviation 1 / rank."""
    nn.init.normal_(down, std=1 / len(down))


class Stacked(nn.Module):
    """Changes of a weight whose rows are those of several layers of one size, as q, k and v."""

    def __init__(self, count: int, n_out: int, n_in: int, settings: Lora) -> None:
        super().__init__()
        self.parts = nn.ModuleList(LowRank(n_out // count, n_in, settings) for _ in range(count))

    def forward(self) -> Tensor:
        """The change [n_out, n_in]."""
        return torch.cat([part() for part in self.parts])


class Turned(LowRank):
    """Change of a weight that is kept as [n_in, n_out]."""

    def forward(self) -> Tensor:
        """The change [n_in, n_out]."""
        return super().forward().T


class Adapter(WeightChanges):
    """W + alpha / rank B A for weights of the last blocks; the projections of q, k and v are one weight.

    With ``separate`` they have three changes. The output projection of the tower counts to whatever blocks.

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
        Where a block is not open_clip's own, the tower has fewer blocks than asked for, or its projection is not used.
    """

    def __init__(self, settings: Lora, visual: Any, blocks: int) -> None:
        super().__init__()
        count = blocks if settings.last_blocks is None else settings.last_blocks
        if count > blocks:
            raise InputError(f"visual.adapter.last_blocks is {count}, but the tower uses {blocks} blocks")
        inside = [part for part in settings.weights if part != "projection"]
        for number in range(blocks - count, blocks):
            for module, name, label in weights_of(open_clip.blocks(visual)[number], inside):
                n_out, n_in = getattr(module, name).shape
                together = label == "in_proj" and settings.separate
                change = Stacked(3, n_out, n_in, settings) if together else LowRank(n_out, n_in, settings)
                self.add(f"block-{number}-{label}", module, name, change)
        if "projection" in settings.weights:
            module, name = projection_of(visual, blocks)
            n_in, n_out = getattr(module, name).shape
            self.add("projection", module, name, Turned(n_out, n_in, settings))


def projection_of(visual: Any, blocks: int) -> tuple[nn.Module, str]:
    """Module and name of the output projection of a tower that runs through so many blocks.

    Raises
    ------
    InputError
        Where the tower has none, or what is read out of it does not go through it.
    """
    found = open_clip.projection(visual)
    depth = len(open_clip.blocks(visual))
    if found is None:
        raise InputError("visual.adapter.weights: found projection, but this tower has none; leave it out")
    if blocks < depth:
        raise InputError(
            f"visual.adapter.weights: found projection, but the readout uses nothing after block {blocks} of "
            f"{depth}, so the projection is not used; leave it out"
        )
    return found


def weights_of(block: Any, chosen: Sequence[Literal["attention", "mlp"]]) -> Iterator[tuple[nn.Module, str, str]]:
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
                f"{part}; LoRA works with open_clip's ResidualAttentionBlock. Take a ViT such as ViT-B-32, or no "
                "adapter"
            )
        yield from found
