"""The frozen CLIP picture tower, driven block by block so that prompts can be put in.

With everything off it is open_clip's own ``encode_image``, bit for bit in fp32: the same is computed in the same
order. No weight of the tower ever requires a gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from brain2clip.internals import open_clip
from brain2clip.settings import SharedPrompts, Vector
from brain2clip.stage import InputError
from brain2clip.stimuli import tower_vectors

Through = Callable[[nn.Module, Tensor], Tensor]


class PromptedTower(nn.Module):
    """Patch tokens through a frozen open_clip ``VisionTransformer`` with shared prompt tokens.

    Prompts stand after the class token and before the patches, carry no position embedding, and in deep mode are
    replaced at every block (Jia et al., ECCV 2022, visual prompt tuning; own implementation).

    Parameters
    ----------
    visual : nn.Module
        ``model.visual`` of an open_clip model; frozen here.
    prompts : SharedPrompts
    vectors : sequence of Vector
        The vectors that are read out; the tower runs up to the last of their blocks.
    checkpointing : bool
        Recompute activations of each block in the backward pass.
    compiling : bool
        Let blocks be compiled when they are first used.

    Raises
    ------
    InputError
        Where the tower is no Vision Transformer, or has no such vector.
    """

    def __init__(
        self,
        visual: Any,
        prompts: SharedPrompts,
        vectors: Sequence[Vector] = (Vector(),),
        checkpointing: bool = False,
        compiling: bool = False,
    ) -> None:
        super().__init__()
        if not open_clip.is_vision_transformer(visual):
            raise InputError(
                "prompt tokens need open_clip's VisionTransformer; the picture encoder of this tower is a "
                f"{type(visual).__name__}. Take a ViT (e.g. ViT-B-32), or visual.kind: frozen"
            )
        self.visual: Any = open_clip.driven(visual).eval().requires_grad_(False)
        self.vectors = tuple(vectors)
        for vector in self.vectors:
            tower_vectors.check(visual, vector)
        self.checkpointing = checkpointing
        self.through = compiled() if compiling else open_clip.through
        self.blocks = tower_vectors.blocks_of(visual, self.vectors)
        self.prompted = self._prompted_blocks(prompts)
        self.prompts: nn.Parameter | None = None
        if self.prompted:
            width = open_clip.width(visual)
            bound = math.sqrt(6 / (3 * math.prod(open_clip.patch_size(visual)) + width))
            self.prompts = nn.Parameter(torch.empty(len(self.prompted), prompts.tokens, width).uniform_(-bound, bound))
        self.dropout = prompts.dropout

    def _prompted_blocks(self, prompts: SharedPrompts) -> tuple[int, ...]:
        """Blocks at whose input prompts are put in or replaced."""
        if prompts.depth == "off":
            return ()
        if prompts.depth == "shallow":
            return (0,)
        if prompts.depth == "deep":
            first = 0 if prompts.last_blocks is None else first_of_last(prompts.last_blocks, self.blocks)
            return tuple(range(first, self.blocks))
        assert_never(prompts.depth)

    def train(self, mode: bool = True) -> PromptedTower:
        """Switch the prompts' dropout; the frozen tower stays in evaluation mode."""
        super().train(mode)
        self.visual.eval()
        return self

    def drawn(self) -> list[Tensor]:
        """Prompts [m, D] of each prompted block for a batch, after their dropout."""
        prompts = [] if self.prompts is None else list(self.prompts)
        return [dropped(one, self.dropout, self.training) for one in prompts] if self.dropout else prompts

    def forward(
        self, tokens: Tensor, extra: Tensor | None = None, prompts: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Vectors of pictures, in the order of ``vectors``.

        Parameters
        ----------
        tokens : Tensor [B, N, D]
            Patch tokens before position embedding (with the instance prompt added, if any).
        extra : Tensor [B, E, D], optional
            Extra tokens that stay behind the patches through all blocks.
        prompts : sequence of Tensor [m, D], optional
            Prompts that were drawn for a whole batch that these pictures are a part of; None: draw them.

        Returns
        -------
        list of Tensor [B, d_i]
        """
        blocks = open_clip.blocks(self.visual)
        prompts = self.drawn() if prompts is None else prompts
        x = open_clip.with_class_token(self.visual, tokens)
        if extra is not None:
            x = torch.cat([x, extra.to(x.dtype)], dim=1)
        present = 0
        found: dict[Vector, Tensor] = {}
        for index in range(self.blocks):
            if index in self.prompted:
                prompt = prompts[self.prompted.index(index)]
                x = put_in(x, present, prompt)
                present = len(prompt)
            block = blocks[index]
            recompute = self.checkpointing and torch.is_grad_enabled()
            x = recomputed(self.through, block, x) if recompute else self.through(block, x)
            for vector in self._after(index + 1):
                own = x
                if present or extra is not None:
                    own = torch.cat([x[:, :1], x[:, 1 + present : 1 + present + tokens.shape[1]]], dim=1)
                found[vector] = tower_vectors.read(self.visual, own, vector)
        return [found[vector] for vector in self.vectors]

    def _after(self, block: int) -> list[Vector]:
        """Vectors that are read after a block."""
        last = len(open_clip.blocks(self.visual))
        return [one for one in self.vectors if (last if one.block is None else one.block) == block]


def put_in(x: Tensor, present: int, prompt: Tensor) -> Tensor:
    """Replace the ``present`` prompt tokens after the class token by others [m, D]."""
    own = prompt.to(x.dtype).expand(len(x), -1, -1)
    return torch.cat([x[:, :1], own, x[:, 1 + present :]], dim=1)


def first_of_last(count: int, blocks: int) -> int:
    """Number of the first of the last ``count`` blocks."""
    return max(0, blocks - count)


def dropped(prompt: Tensor, share: float, training: bool) -> Tensor:
    """Prompt tokens of which numbers are set to zero in training."""
    return F.dropout(prompt, share, training)


def recomputed(through: Through, block: nn.Module, x: Tensor) -> Tensor:
    """A block whose activations are computed again in the backward pass."""
    return checkpoint(through, block, x, use_reentrant=False)


def compiled() -> Through:
    """What goes through a block, compiled once for all blocks and once for each shape."""
    found: Through = torch.compile(open_clip.through, dynamic=False)
    return found


def own_structure(visual: Any) -> Any:
    """A copy of a tower's modules that holds the very weights of the original, so that it costs no memory."""
    shared = {id(one): one for one in chain(visual.parameters(), visual.buffers())}
    return copy.deepcopy(visual, shared)
