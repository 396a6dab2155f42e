"""Vectors of a picture from the states of its tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.internals import open_clip
from brain2clip.settings import Vector
from brain2clip.stage import InputError


def width(visual: Any, vector: Vector) -> int:
    """Size d of a vector of a tower.

    Raises
    ------
    InputError
        Where the tower has no such block, or a patch grid that is smaller than the one asked for.
    """
    if vector.pool == "tower":
        return open_clip.joint_width(visual)
    check(visual, vector)
    own = open_clip.joint_width(visual) if vector.block is None else open_clip.width(visual)
    return own * (1 if vector.grid is None else vector.grid**2)


def blocks_of(visual: Any, vectors: Sequence[Vector]) -> int:
    """Number of blocks that a tower must run through for some vectors."""
    depth = len(open_clip.blocks(visual))
    return max((depth if one.block is None else one.block for one in vectors), default=depth)


def check(visual: Any, vector: Vector) -> None:
    """Refuse a vector that a Vision Transformer does not have.

    Raises
    ------
    InputError
        With the blocks or patches that it has.
    """
    depth, grid = len(open_clip.blocks(visual)), open_clip.patch_grid(visual)
    if vector.block is not None and vector.block > depth:
        raise InputError(f"readout: block is {vector.block}, but the tower has {depth} blocks")
    if vector.grid is not None and vector.grid > min(grid):
        raise InputError(f"readout: grid is {vector.grid}, but the tower has {grid[0]} x {grid[1]} patches")


def read(visual: Any, x: Tensor, vector: Vector) -> Tensor:
    """A vector [B, d] from the state [B, 1 + N, D] of a tower after the vector's block.

    After the last block (``block: null``) through the tower's last norm and projection; after another, and where the
    last is named by its number, through a layer norm without parameters, which makes blocks alike in scale.
    """
    last = vector.block is None
    if vector.pool == "tower":
        return open_clip.projected(visual, open_clip.pooled(visual, x))
    if vector.pool == "class":
        one = open_clip.normed(visual, x)[:, 0] if last else x[:, 0]
    elif vector.pool == "patches":
        one = open_clip.mean_of_patches(visual, x) if last else x[:, 1:].mean(dim=1)
    elif vector.pool == "grid":
        assert vector.grid is not None
        patches = (open_clip.normed(visual, x) if last else x)[:, 1:]
        one = on_grid(patches, open_clip.patch_grid(visual), vector.grid)
    else:
        assert_never(vector.pool)
    read_out = open_clip.projected(visual, one) if last else F.layer_norm(one, one.shape[-1:])
    return read_out.flatten(1)


def on_grid(patches: Tensor, shape: tuple[int, int], grid: int) -> Tensor:
    """Means [B, g * g, D] of patch tokens [B, N, D] over the cells of a grid, row by row; uneven cells overlap."""
    if grid == 1:
        return patches.mean(dim=1, keepdim=True)
    square = patches.transpose(1, 2).unflatten(2, shape)
    return F.adaptive_avg_pool2d(square, grid).flatten(2).transpose(1, 2)


@torch.no_grad()
def frozen(visual: Any, pictures: Tensor, vector: Vector) -> Tensor:
    """A vector [B, d] of normalised pictures [B, 3, H, W] by the tower as it is."""
    if vector.pool == "tower":
        embedding: Tensor = visual(pictures)
        return embedding
    tokens = open_clip.patch_embedding(visual)(pictures).flatten(2).transpose(1, 2)
    x = open_clip.with_class_token(visual, tokens)
    for block in open_clip.blocks(visual)[: blocks_of(visual, [vector])]:
        x = block(x)
    return read(visual, x, vector)
