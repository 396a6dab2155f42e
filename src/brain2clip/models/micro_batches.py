"""A batch in the memory of a few of its pictures: gradient caching (Gao et al., RepL4NLP 2021; written anew).

A contrastive loss needs the embeddings of the whole batch, but not the activations of all pictures at once. First, a
few pictures at a time are embedded without storing activations, and the loss of the whole batch is computed. When its
gradient reaches the embeddings of a part, this part goes through the tower again. Random numbers are the same in both
passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(
    run: Callable[..., Sequence[Tensor]], size: int, arrays: Sequence[Tensor | None], *given: Sequence[Tensor]
) -> list[Tensor]:
    """Output of a function of a batch, computed for ``size`` rows at a time, and again in the backward pass.

    Parameters
    ----------
    run : callable
        ``run(*part, *given)`` to tensors [n, ...], row by row of what it is given.
    size : int
        Rows at a time, at most; parts are of equal size, give or take one.
    arrays : sequence of Tensor [B, ...] or None
        Arrays that are divided into parts.
    given : sequence of Tensor
        Arguments that every part gets unchanged.

    Returns
    -------
    list of Tensor [B, ...]
    """
    count = -(-next(len(one) for one in arrays if one is not None) // size)
    cut = [[None] * count if one is None else one.tensor_split(count) for one in arrays]
    found = [checkpoint(run, *part, *given, use_reentrant=False) for part in zip(*cut)]
    return [torch.cat(one) for one in zip(*found)]
