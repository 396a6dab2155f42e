"""A batch in the memory of a few of its pictures: gradient caching (Gao et al., RepL4NLP 2021; written anew).

A contrastive loss needs the embeddings of the whole batch, but not what a tower keeps of all pictures for its backward
pass. Every few pictures are embedded without keeping anything; the loss is that of all; and when its gradient comes to
the embeddings of some, they go through the tower again. What is drawn within is drawn the same both times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(
    run: Callable[..., Sequence[Tensor]], size: int, arrays: Sequence[Tensor | None], *given: Sequence[Tensor]
) -> list[Tensor]:
    """What a function of a batch gives, computed of ``size`` rows at a time, and again in the backward pass.

    Parameters
    ----------
    run : callable
        ``run(*part, *given)`` to tensors [n, ...], row by row of what it is given.
    size : int
        Rows at a time, at most; parts are of equal size, give or take one.
    arrays : sequence of Tensor [B, ...] or None
        What is cut into parts.
    given : sequence of Tensor
        What every part gets whole.

    Returns
    -------
    list of Tensor [B, ...]
    """
    count = -(-next(len(one) for one in arrays if one is not None) // size)
    cut = [[None] * count if one is None else one.tensor_split(count) for one in arrays]
    found = [checkpoint(run, *part, *given, use_reentrant=False) for part in zip(*cut)]
    return [torch.cat(one) for one in zip(*found)]
