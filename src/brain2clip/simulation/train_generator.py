"""Train the small picture generator of the simulated study: `python -m brain2clip.simulation.train_generator`.

Network classes, scheduler and pipeline are those of diffusers, as in the decoder of Kandinsky 2.2: a UNet that is told
an image embedding, in the latent space of a VQModel. Pictures are those of :mod:`brain2clip.simulation.world`, of
trainable concepts only; the condition is the raw embedding of each picture by a tower of ``workflow/towers``. The folder that is
written loads by ``diffusers.KandinskyV22Pipeline.from_pretrained(FOLDER)``.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, VQModel
from numpy.typing import NDArray

from brain2clip.simulation import train_tower

DROPPED = 0.1
"""Share of the pictures whose condition is the negative embedding, for classifier-free guidance."""
KEPT = 0.9995
"""Decay of the moving average of the UNet's weights."""
CROP = 32
"""Side of the parts of pictures that the autoencoder begins with, pixels."""


@dataclass(frozen=True)
class GeneratorSettings:
    """Size and training of the generator.

    Attributes
    ----------
    seed
        Seed of the weights, of the order of the batches and of the training pictures.
    exemplars
        Training pictures per concept.
    crop_steps, whole_steps, autoencoder_batch, autoencoder_rate
        Steps of the autoencoder on parts of pictures and then on whole ones, pictures per step, peak learning rate.
    blur
        Standard deviation of the noise on latents (of unit variance) while the autoencoder trains.
    steps, batch, rate, warm_up
        Steps of the UNet, pictures per step, peak learning rate, steps of its linear rise.
    size
        Side of a picture, pixels.
    channels, autoencoder_channels
        Widths of the levels of the UNet and of the autoencoder.
    """

    seed: int = 17
    exemplars: int = 160
    crop_steps: int = 2_500
    whole_steps: int = 700
    autoencoder_batch: int = 32
    autoencoder_rate: float = 3e-3
    blur: float = 0.1
    steps: int = 9_000
    batch: int = 64
    rate: float = 1e-3
    warm_up: int = 300
    size: int = 64
    channels: tuple[int, ...] = (48, 72, 64)
    autoencoder_channels: tuple[int, ...] = (16, 32, 48)


# ----------------------------------------------------------------------------------------------------
# Networks
# ----------------------------------------------------------------------------------------------------


def new_autoencoder(settings: GeneratorSettings) -> VQModel:
    """Autoencoder with one latent cell of 4 numbers for each 4 x 4 pixels; pipelines never quantise its latents."""
    levels = len(settings.autoencoder_channels)
    return VQModel(
        block_out_channels=settings.autoencoder_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=1,
        norm_num_groups=8,
        sample_size=settings.size,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def new_unet(settings: GeneratorSettings, width: int) -> UNet2DConditionModel:
    """UNet on those latents; the image embedding, of so many numbers, is added to the embedding of the time step."""
    return UNet2DConditionModel(
        sample_size=settings.size // 4,
        in_channels=4,
        out_channels=8,  # the pipeline drops the second half, a variance that DDIM has no use for
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2D",
        block_out_channels=settings.channels,
        layers_per_block=1,
        attention_head_dim=24,
        cross_attention_dim=8,  # no block attends to the embedding; the class wants the projection all the same
        norm_num_groups=8,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=width,
        resnet_time_scale_shift="scale_shift",
    )


def new_scheduler() -> DDIMScheduler:
    """Squared cosine with zero terminal signal, v-prediction (Lin et al. 2024)."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


# ----------------------------------------------------------------------------------------------------
# Training
# ----------------------------------------------------------------------------------------------------


def scaled(pictures: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
    """8-bit pictures (n, size, size, 3) as (n, 3, size, size) in [-1, 1]."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


class _Progress:
    """A line at every fortieth of the steps."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.start, self.losses = name, steps, time.monotonic(), [0.0]

    def __call__(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        if (step + 1) % max(self.steps // 40, 1) == 0:
            pace = (time.monotonic() - self.start) / (step + 1)
            recent = float(np.mean(self.losses[-200:]))
            left = pace * (self.steps - step - 1) / 60
            print(f"{self.name} {step + 1}/{self.steps}  loss {recent:.4f}  {left:.1f} min left", flush=True)

    def done(self) -> dict[str, float]:
        seconds, loss = time.monotonic() - self.start, float(np.mean(self.losses[-200:]))
        if not math.isfinite(loss):
            raise RuntimeError(f"The training of the {self.name} broke down: its loss is {loss}. Lower the rate.")
        return {"loss": round(loss, 5), "seconds": round(seconds, 1)}


def _autocast(device: str) -> torch.autocast:
    """In bf16, which is half again as fast as float32 where the processor multiplies it."""
    return torch.autocast(device, torch.bfloat16)


def train_autoencoder(
    settings: GeneratorSettings, pictures: NDArray[np.uint8], device: str = "cpu"
) -> tuple[VQModel, dict[str, float]]:
    """Train the autoencoder; its latents of training pictures have mean 0 and variance 1 in each channel.

    On parts of pictures first, which cost a quarter.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 1])
    model = new_autoencoder(settings).to(device, memory_format=torch.channels_last)
    steps = settings.crop_steps + settings.whole_steps
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, betas=(0.9, 0.98))
    report = _Progress("autoencoder", steps)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps, settings.autoencoder_rate, 100)
        chosen = scaled(pictures[rng.integers(0, len(pictures), settings.autoencoder_batch)])
        if step < settings.crop_steps:
            top, left = rng.integers(0, settings.size - CROP + 1, 2)
            chosen = chosen[:, :, top : top + CROP, left : left + CROP]
        chosen = chosen.to(device, memory_format=torch.channels_last)
        with _autocast(device):
            latents = model.encode(chosen).latents
            noisy = latents + settings.blur * torch.randn_like(latents)
            again = model.decode(noisy, force_not_quantize=True).sample
        mean, deviation = (f(latents.float(), dim=(0, 2, 3)) for f in (torch.mean, torch.std))
        wrong = again.float() - chosen
        loss = wrong.abs().mean() + wrong.square().mean() + 0.01 * (mean.square() + (deviation - 1).square()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step, loss.item())
    model.eval()
    standardise(model, encode(model, pictures[rng.permutation(len(pictures))[:2000]], device))
    return model, report.done()


@torch.no_grad()
def standardise(model: VQModel, latents: torch.Tensor) -> None:
    """Put mean and deviation of latents [n, c, h, w] into the two 1 x 1 convolutions around the latent space.

    Latents become those minus their mean over their deviation, channel by channel; decoded pictures stay what they are.
    """
    deviation, mean = torch.std_mean(latents.to(model.device), dim=(0, 2, 3))
    into, out_of = model.quant_conv, model.post_quant_conv
    into.bias.copy_((into.bias - mean) / deviation)
    into.weight.div_(deviation[:, None, None, None])
    out_of.bias.add_((out_of.weight[:, :, 0, 0] * mean).sum(1))
    out_of.weight.mul_(deviation[None, :, None, None])


@torch.no_grad()
def encode(model: VQModel, pictures: NDArray[np.uint8], device: str = "cpu") -> torch.Tensor:
    """Latents [n, 4, size / 4, size / 4] of 8-bit pictures."""
    found = []
    for first in range(0, len(pictures), 250):
        part = scaled(pictures[first : first + 250]).to(device, memory_format=torch.channels_last)
        with _autocast(device):
            found.append(model.encode(part).latents.float().cpu().contiguous())
    return torch.cat(found)


@torch.no_grad()
def raw_embeddings(tower: open_clip.CLIP, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Embeddings [n, d] as the tower gives them, with their length."""
    parts = (train_tower.to_tensor(pictures[first : first + 250]) for first in range(0, len(pictures), 250))
    return torch.cat([tower.encode_image(part) for part in parts])


def negative_embedding(tower: open_clip.CLIP, size: int) -> torch.Tensor:
    """Embedding [d] of a picture that is zero after normalisation: what guidance points away from."""
    with torch.no_grad():
        return tower.encode_image(torch.zeros(1, 3, size, size))[0]


def _batches(settings: GeneratorSettings, n: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng([settings.seed, 2])
    for _ in range(settings.steps):
        yield rng.integers(0, n, settings.batch)


def train_unet(
    settings: GeneratorSettings,
    latents: torch.Tensor,
    conditions: torch.Tensor,
    negative: torch.Tensor,
    device: str = "cpu",
) -> tuple[UNet2DConditionModel, dict[str, float]]:
    """Train the UNet; what is returned has the moving average of its weights."""
    torch.manual_seed(settings.seed)
    model = new_unet(settings, conditions.shape[1]).to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    scheduler = new_scheduler()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3, betas=(0.9, 0.99))
    report = _Progress("UNet", settings.steps)
    negative = negative.to(device)
    for step, chosen in enumerate(_batches(settings, len(latents))):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, settings.steps, settings.rate, settings.warm_up)
        clean, told = latents[chosen].to(device), conditions[chosen].to(device)
        told = torch.where(torch.rand(len(chosen), 1, device=device) < DROPPED, negative, told)
        noise = torch.randn_like(clean)
        times = torch.randint(0, scheduler.config.num_train_timesteps, (len(chosen),), device=device)
        target = scheduler.get_velocity(clean, noise, times)
        with _autocast(device):
            found = model(
                scheduler.add_noise(clean, noise, times), times, None, added_cond_kwargs={"image_embeds": told}
            ).sample[:, :4]
        loss = torch.nn.functional.mse_loss(found.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        kept = min(KEPT, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - kept)
        report(step, loss.item())
    return average.eval(), report.done()
