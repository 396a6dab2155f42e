"""Attention for cases in which PyTorch's own function is slow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [B, heads, n, d] without a mask.

    On a CPU in bf16, PyTorch's fused attention takes several times as long as its two products, mostly in the backward
    pass (bench/prompted_tower.py).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    weights: Tensor = scores.softmax(dim=-1).to(value.dtype)
    return weights @ value
