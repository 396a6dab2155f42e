"""Instance prompts of NeuroCLIP: a content-adaptive dynamic filter and token-level fusion.

What is public of the paper is its abstract; the forms here are this project's reading of it (docs/protocols.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.settings import DynamicFilter, Fusion


class BandGains(nn.Module):
    """Gains of the picture's frequency bands from its content.

    ``w = W2 relu(W1 norm(mean of tokens)) + b``; ``gains``: 2 sigmoid(w), each in (0, 2); ``softmax``: K softmax(w);
    ``fixed``: 2 sigmoid(b), the same for all pictures. W2 starts at zero: all-pass (gains 1) or low-pass.

    Parameters
    ----------
    width : int
        D, width of the tokens.
    bands : int
        K.
    settings : DynamicFilter
    """

    lowpass_logit = 1.5  # first band 2*sigmoid(1.5) = 1.64, last band 0.36

    def __init__(self, width: int, bands: int, settings: DynamicFilter) -> None:
        super().__init__()
        self.form = settings.form
        hidden = max(4, width // settings.reduction)
        self.content = None
        if settings.form in ("gains", "softmax"):
            last = nn.Linear(hidden, bands, bias=False)
            nn.init.zeros_(last.weight)
            self.content = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), last)
        start = self.lowpass_logit if settings.init == "lowpass" else 0.0
        self.bias = nn.Parameter(torch.linspace(start, -start, bands))

    def forward(self, tokens: Tensor) -> Tensor:
        """Gains [B, K] from patch tokens [B, N, D]."""
        logits = self.bias.expand(len(tokens), -1)
        if self.content is not None:
            logits = logits + self.content(tokens.mean(dim=1))
        if self.form == "softmax":
            return logits.shape[-1] * logits.softmax(dim=-1)
        return 2 * logits.sigmoid()


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
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class InstancePrompt(nn.Module):
    """Dual stream to instance prompts: [B, N, D] and [B, K, N, D] to a change of the patch tokens or extra tokens.

    The last layer starts at zero, so that the prompts are exactly zero before training.

    Parameters
    ----------
    width, bands : int
        D and K.
    dynamic_filter : DynamicFilter
    fusion : Fusion
    """

    def __init__(self, width: int, bands: int, dynamic_filter: DynamicFilter, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        self.gains = BandGains(width, bands, dynamic_filter) if dynamic_filter.form != "off" else None
        self.attention = None
        inputs = width
        if fusion.kind == "cross-attention":
            self.attention = CrossAttention(width, fusion.width, fusion.heads)
        if fusion.kind in ("cross-attention", "concat"):
            inputs = 2 * width
        self.norm = nn.LayerNorm(inputs)
        hidden = max(4, width // fusion.reduction)
        self.down = nn.Linear(inputs, hidden)
        outputs = width if fusion.target == "patches" else width * fusion.extra_tokens
        self.up = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def filtered(self, tokens: Tensor, band_tokens: Tensor) -> Tensor:
        """Filtered stream [B, N, D]: gain-weighted sum of the bands' tokens."""
        if self.gains is None:
            return tokens
        return torch.einsum("bk,bknd->bnd", self.gains(tokens).to(band_tokens.dtype), band_tokens)

    def forward(self, tokens: Tensor, band_tokens: Tensor) -> Tensor:
        """Prompt [B, N, D] for the patches, or [B, extra_tokens, D]."""
        filtered = self.filtered(tokens, band_tokens)
        if self.fusion.kind == "cross-attention":
            fused = torch.cat([tokens, self.attention(tokens, filtered)], dim=-1)  # type: ignore[misc]
        elif self.fusion.kind == "concat":
            fused = torch.cat([tokens, filtered], dim=-1)
        else:
            fused = tokens + filtered
        hidden = F.gelu(self.down(self.norm(fused)))
        if self.fusion.target == "patches":
            return self.up(hidden)
        return self.up(hidden.mean(dim=1)).unflatten(-1, (self.fusion.extra_tokens, -1))
