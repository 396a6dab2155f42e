"""A CLIP of random weights, small enough for tests."""

from __future__ import annotations

import open_clip
import torch

IMAGE = 32


def tiny_clip(pool: str = "tok", layers: int = 3) -> open_clip.CLIP:
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(
        image_size=IMAGE, patch_size=8, width=32, layers=layers, head_width=8, pool_type=pool
    )
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=64, width=16, heads=2, layers=1)
    return open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text).eval()


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(seed))
