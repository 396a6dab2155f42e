"""Instance prompts of NeuroCLIP: token-level fusion of the raw and the filtered stream of a picture.

What is public of the paper is its abstract; the forms here are this project's reading of it (docs/protocols.md).
"""

from __future__ import annotations

from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip import kinds
from brain2clip.internals.torch_attention import attended
from brain2clip.settings import Filter, Fusion


class CrossAttention(nn.Module):
    """Raw tokens look at filtered tokens: [B, N, D] x [B, N, D] -> [B, N, D]."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_raw, self.norm_filtered = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width)

    def forward(self, raw: Tensor, filtered: Tensor) -> Tensor:
        """Attended tokens."""
        query = self.query(self.norm_raw(raw)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.key_value(self.norm_filtered(filtered)).chunk(2, dim=-1)
        )
        return self.out(attended(query, key, value).transpose(1, 2).flatten(2))


class InstancePrompt(nn.Module):
    """Dual stream to instance prompts: [B, N, D] and [B, K, N, D] to a change of the patch tokens or extra tokens.

    The last layer starts at zero, so that the prompts are exactly zero before training.

    Parameters
    ----------
    width, bands : int
        D and K.
    dynamic_filter : Filter
    fusion : Fusion
        Of a kind other than ``none``.
    """

    def __init__(self, width: int, bands: int, dynamic_filter: Filter, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        self.gains: Any = kinds.load("filters", dynamic_filter.kind)(dynamic_filter, width, bands)
        self.attention: CrossAttention | None = None
        if fusion.kind == "cross-attention":
            self.attention = CrossAttention(width, fusion.width, fusion.heads)
        inputs = width if fusion.kind == "add" else 2 * width
        self.norm = nn.LayerNorm(inputs)
        hidden = max(4, width // fusion.reduction)
        self.down = nn.Linear(inputs, hidden)
        outputs = width if fusion.target == "patches" else width * fusion.extra_tokens
        self.up = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def fused(self, tokens: Tensor, filtered: Tensor) -> Tensor:
        """Both streams at each place, [B, N, D] or [B, N, 2 D]."""
        kind = self.fusion.kind
        if kind == "cross-attention":
            assert self.attention is not None
            return torch.cat([tokens, self.attention(tokens, filtered)], dim=-1)
        if kind == "concat":
            return torch.cat([tokens, filtered], dim=-1)
        if kind == "add":
            return tokens + filtered
        if kind == "none":
            raise AssertionError("without fusion there are no instance prompts")
        assert_never(kind)

    def forward(self, tokens: Tensor, band_tokens: Tensor) -> Tensor:
        """Prompt [B, N, D] for the patches, or [B, extra_tokens, D]."""
        fused = self.fused(tokens, self.gains(tokens, band_tokens))
        hidden = F.gelu(self.down(self.norm(fused)))
        target = self.fusion.target
        if target == "patches":
            return self.up(hidden)
        if target == "extra":
            return self.up(hidden.mean(dim=1)).unflatten(-1, (self.fusion.extra_tokens, -1))
        assert_never(target)
