"""One training step of the prompted tower.

Cached band tokens against Fourier transforms in the loop, fp32 against bf16, the share of the machine's own matrix
product rate, and the time of a bare tower of the same shape. CPU seconds of one thread, what is compared in turns.
"""

from __future__ import annotations

import contextlib
from functools import partial

import open_clip
import torch
from torch import nn
from torch.nn import functional as F
from training import in_turn

from brain2clip.models.pictures import Frozen, Pictures
from brain2clip.models.visuals.neuroclip import PictureSide
from brain2clip.settings import FilterBank, Fusion, Head, NeuroClipVisual
from brain2clip.stimuli.filter_bank import BandTokens

BATCH = 64
TOWERS = {  # width, blocks, picture size, patch size
    "small (width 96, 64 tokens)": (96, 4, 64, 8),
    "ViT-B-32 (width 768, 49 tokens)": (768, 12, 224, 32),
}


class BareBlock(nn.Module):
    """A Transformer block of linear layers over contiguous tokens, frozen.

    It is no part of open_clip or of the project, so that it has none of their faults: ``nn.MultiheadAttention`` copies
    a frozen weight once per token, and the fused attention is slow in bf16 on a CPU.
    """

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if q.dtype == torch.bfloat16 and q.device.type == "cpu":
            seen = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1).to(v.dtype) @ v
        else:
            seen = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


def bare_tower(width: int, layers: int, head_width: int, mlp_ratio: float = 4.0) -> nn.Module:
    """The yardstick of a step: frozen blocks of a tower's shape and nothing else."""
    blocks = [BareBlock(width, width // head_width, round(mlp_ratio * width)) for _ in range(layers)]
    return nn.Sequential(*blocks).eval().requires_grad_(False)


def flop_of(width: int, layers: int, tokens: int, mlp_ratio: float = 4.0) -> float:
    """Floating-point operations of matrix products, one picture forward through the blocks; as many again for the
    gradient of the input."""
    return layers * 2 * ((4 + 2 * mlp_ratio) * width**2 * tokens + 2 * tokens**2 * width)


def peak_rate(size: int = 1536) -> float:
    """Rate of a large fp32 matrix product, FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / in_turn(lambda: a @ b)[0]


def half():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def main() -> None:
    torch.set_num_threads(1)
    limit = peak_rate()
    print(f"{torch.get_num_threads()} thread(s); fp32 matrix product {limit / 1e9:.0f} GFLOP/s; batch {BATCH}")
    for name, (width, layers, size, patch) in TOWERS.items():
        batch = BATCH if width < 512 else BATCH // 4
        vision = open_clip.CLIPVisionCfg(
            image_size=size, patch_size=patch, width=width, layers=layers, head_width=32 if width < 512 else 64
        )
        clip = open_clip.CLIP(64, vision, open_clip.CLIPTextCfg(vocab_size=64, width=32, heads=2, layers=1)).eval()
        bands = BandTokens(clip.visual.conv1, (size, size), FilterBank())
        images = torch.randn(batch, 3, size, size)
        with torch.no_grad():
            tokens, band_tokens = bands(images)
        settings = NeuroClipVisual(fusion=Fusion(width=64), head=Head(width=64))
        visual = PictureSide(settings, Frozen(64, 4, clip.visual))

        def step(pictures, autocast=contextlib.nullcontext, visual=visual):
            with autocast():
                out = visual(pictures)
            out.float().square().mean().backward()

        def in_the_loop(bands=bands, images=images, step=step):
            with torch.no_grad():
                made = bands(images)
            step(Pictures(images, *made))

        cached = Pictures(images, tokens, band_tokens)
        n_tokens = tokens.shape[1] + 9
        flop = 2 * batch * flop_of(width, layers, n_tokens)
        bare = bare_tower(width, layers, 32 if width < 512 else 64)
        inputs = torch.randn(batch, n_tokens, width, requires_grad=True)

        def bare_step(autocast=contextlib.nullcontext, bare=bare, inputs=inputs):
            with autocast():
                out = bare(inputs)
            out.float().square().mean().backward()

        def in_parts(step=step, cached=cached, visual=visual, size=batch // 2):
            visual.micro_batch = size
            step(cached, half)
            visual.micro_batch = None

        fp32, bf16, bare_fp32, bare_bf16, fourier, parts = in_turn(
            partial(step, cached),
            partial(step, cached, half),
            bare_step,
            partial(bare_step, half),
            in_the_loop,
            in_parts,
        )
        print(
            f"{name}: {batch / fp32:.0f} pictures/s in fp32; bf16 takes {bf16 / fp32:.2f} x the time; "
            f"Fourier transforms in the loop {fourier / fp32:.2f} x; "
            f"{flop / fp32 / limit:.0%} of the matrix product rate; "
            f"{fp32 / bare_fp32:.2f} x the time of a bare tower in fp32, {bf16 / bare_bf16:.2f} x in bf16; "
            f"half of the batch at once takes {parts / bf16:.2f} x the time (bf16)"
        )


if __name__ == "__main__":
    main()
