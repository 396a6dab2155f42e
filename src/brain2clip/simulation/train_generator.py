"""Train the small picture generator of the simulated study: `python -m brain2clip.simulation.train_generator`.

Network classes, scheduler and pipeline are those of diffusers, as in the decoder of Kandinsky 2.2: a UNet conditioned
on an image embedding, in the latent space of a VQModel. It is trained on pictures of trainable concepts only
(:mod:`brain2clip.simulation.world`). The condition is the raw embedding of the picture by a tower of
``workflow/towers``. Load the folder with ``diffusers.KandinskyV22Pipeline.from_pretrained(FOLDER)``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import open_clip
import torch
from diffusers import DDIMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel
from numpy.typing import NDArray
from PIL import Image

from brain2clip.simulation import train_tower, world

DROPPED = 0.1
"""Share of the pictures whose condition is the negative embedding, for classifier-free guidance."""
KEPT = 0.9995
"""Decay of the moving average of the UNet's weights."""
CROP = 32
"""Side of the crops on which the training of the autoencoder begins, pixels."""


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
        Steps of the autoencoder on crops, then on whole pictures; pictures per step; peak learning rate.
    blur
        Standard deviation of the noise that is added to the latents (of unit variance) while the autoencoder trains.
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
    steps: int = 6_500
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
    """Autoencoder with one latent cell of 4 numbers for each 4 x 4 pixels; the pipeline never quantises latents."""
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
    """UNet on these latents; the image embedding, of size `width`, is added to the embedding of the time step."""
    return UNet2DConditionModel(
        sample_size=settings.size // 4,
        in_channels=4,
        out_channels=8,  # the pipeline drops the second half, a variance that DDIM does not use
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2D",
        block_out_channels=settings.channels,
        layers_per_block=1,
        attention_head_dim=24,
        cross_attention_dim=8,  # no block attends to the embedding, but the class requires the projection
        norm_num_groups=8,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=width,
        resnet_time_scale_shift="scale_shift",
    )


def new_scheduler() -> DDIMScheduler:
    """Squared cosine schedule without signal at the last step, v-prediction (Lin et al. 2024)."""
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
    """Print the loss forty times during a training."""

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
    """Autocast to bf16, which is 1.5 times as fast as float32 on processors that can multiply it."""
    return torch.autocast(device, torch.bfloat16)


def train_autoencoder(
    settings: GeneratorSettings, pictures: NDArray[np.uint8], device: str = "cpu"
) -> tuple[VQModel, dict[str, float]]:
    """Train the autoencoder; its latents of training pictures have mean 0 and variance 1 in each channel.

    Training begins on crops, which take a quarter of the time of whole pictures.
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
    """Put mean and standard deviation of latents [n, c, h, w] into the two 1 x 1 convolutions around the latent space.

    The model then gives latents with mean 0 and standard deviation 1 in each channel; decoded pictures do not change.
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
    """Embeddings [n, d] by the tower, not normalised to unit length."""
    parts = (train_tower.to_tensor(pictures[first : first + 250]) for first in range(0, len(pictures), 250))
    return torch.cat([tower.encode_image(part) for part in parts])


def negative_embedding(tower: open_clip.CLIP, size: int) -> torch.Tensor:
    """Embedding [d] of a picture that is zero after normalisation; guidance points away from it."""
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
    """Train the UNet; the returned UNet has the moving average of the weights."""
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


# ----------------------------------------------------------------------------------------------------
# Measuring
# ----------------------------------------------------------------------------------------------------

TESTED: dict[str, Any] = {"num_inference_steps": 16, "guidance_scale": 2.0}
"""Settings of the sampling for the measurement and for the simulated studies."""


def drawn(
    pipeline: KandinskyV22Pipeline, points: torch.Tensor, negative: torch.Tensor, size: int, seed: int
) -> NDArray[np.uint8]:
    """Generate pictures [n, size, size, 3] from embeddings [n, d], each from its own noise."""
    found = []
    for first in range(0, len(points), 50):
        part = points[first : first + 50]
        noise = [torch.Generator().manual_seed(seed + first + number) for number in range(len(part))]
        given = {"negative_image_embeds": negative.expand_as(part), "height": size, "width": size, "generator": noise}
        pixels = pipeline(image_embeds=part, output_type="np", **given, **TESTED).images
        found.append((pixels * 255).round().astype(np.uint8))
    return np.concatenate(found)


def judged(seen: torch.Tensor, made: torch.Tensor) -> dict[str, float]:
    """Compare seen and generated pictures by a judge's embeddings [n, d].

    Returns two-way identification as in the papers (Pearson correlation, ties count as wrong, chance one half), and how
    often the seen picture is the nearest of all n to the generated one.
    """
    similarity = np.corrcoef(seen.numpy(), made.numpy())[: len(seen), len(seen) :]
    own = np.diag(similarity)
    return {
        "two_way": float(np.mean((similarity < own).sum(0) / (len(seen) - 1))),
        "top1": float(np.mean(similarity.argmax(0) == np.arange(len(seen)))),
    }


def measure(
    pipeline: KandinskyV22Pipeline,
    settings: GeneratorSettings,
    tower: open_clip.CLIP,
    judge: tuple[open_clip.CLIP, open_clip.SimpleTokenizer] | None,
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Measure pictures generated from the true embeddings of fresh pictures of held-out concepts (the oracle).

    Parameters
    ----------
    pipeline, settings
        The generator and its settings.
    tower
        The tower whose embeddings condition the generator.
    judge
        Another tower, with its tokenizer. None: only `tower` is used.

    Returns
    -------
    dict
        Two-way identification and Top-1 among 200, by `tower` (``partial_``) and by the judge (``judge_``), mean of
        both halves of the held-out concepts. How often the class prompt nearest to the generated picture, by the judge
        and among all concepts, has the right object, colour and texture; the same for the drawn pictures (``drawn_``).
    pictures : ndarray [2, 12, size, size, 3]
        Some of the drawn pictures, evenly chosen, and below each the generated one.
    """
    negative = negative_embedding(tower, settings.size)
    found: dict[str, list[float]] = {}
    shown = []
    for number, half in enumerate(world.HALVES):
        exemplars = [world.exemplar(concept, 0, settings.seed + 1_000_000) for concept in half]
        pictures = train_tower.draw_pictures(exemplars, settings.size)
        made = drawn(pipeline, raw_embeddings(tower, pictures), negative, settings.size, 10_000 * number)
        shown.append((pictures[:: len(half) // 6][:6], made[:: len(half) // 6][:6]))
        parts = {"partial": tower} | ({} if judge is None else {"judge": judge[0]})
        for name, one in parts.items():
            seen, embedded = raw_embeddings(one, pictures), raw_embeddings(one, made)
            for key, value in judged(seen, embedded).items():
                found.setdefault(f"{name}_{key}", []).append(value)
        if judge is not None:
            prompts = train_tower.embed_concepts(judge[0], judge[1], world.CONCEPTS)
            for name, images in (("", embedded), ("drawn_", seen)):
                best = [world.CONCEPTS[i] for i in (images @ prompts.T).argmax(dim=1).tolist()]
                for word in ("object", "colour", "texture"):
                    right = [getattr(a, word) == getattr(b.concept, word) for a, b in zip(best, exemplars)]
                    found.setdefault(f"{name}{word}", []).append(float(np.mean(right)))
    grid = np.stack([np.concatenate(row) for row in zip(*shown)])
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}, grid


# ----------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------

GRID = "pictures.png"

_README = """# A small picture generator for the simulated study

{parameters:,} weights in half precision, {megabytes:.1f} MB: a UNet ({unet:,}) and an autoencoder ({autoencoder:,})
of diffusers' own classes, for `diffusers.KandinskyV22Pipeline`. It makes pictures of 64 x 64 pixels of raw image
embeddings by `workflow/towers/{tower}`, and knows the drawn world of `brain2clip.simulation.world` only. It has never
seen the 400 concepts of `world.HELD_OUT`, and neither has the tower.

Made by

    python -m brain2clip.simulation.train_generator --output workflow/generators/{name}{options}

on {pictures:,} drawn pictures of {concepts} concepts (seed {seed}), in bfloat16 on {machine}: the autoencoder
{autoencoder_minutes:.0f} minutes, the UNet {unet_minutes:.0f} minutes ({steps:,} steps of {batch}). `make generator`
makes it again. The same machine and versions give the same weights; others round differently. `training.json` holds
the settings and the numbers below.

The latents have mean 0 and variance 1 by construction and are never quantised: the codebook has one unused entry.

## How good it is

What it makes of the own embeddings of {tests} fresh pictures of held-out concepts, the best that a prediction could
give ({steps_drawn} steps, guidance {guidance:g}). The judge is `workflow/towers/{judge}`, another network that was
trained with another seed; the tower that tells the generator is a partial judge.

| | judge | tower (partial) | chance |
|---|---|---|---|
| two-way identification | {judge_two_way:.1%} | {partial_two_way:.1%} | 50 % |
| seen picture nearest of 200 | {judge_top1:.1%} | {partial_top1:.1%} | 0.5 % |

How often the judge finds the right word among all 768 concepts, in generated pictures and in the drawn ones:

| | generated | drawn | chance |
|---|---|---|---|
| object | {object:.1%} | {drawn_object:.1%} | 6.3 % |
| colour | {colour:.1%} | {drawn_colour:.1%} | 12.5 % |
| texture | {texture:.1%} | {drawn_texture:.1%} | 16.7 % |

![drawn above, generated below](pictures.png)

Every second row is generated; pictures are evenly chosen, not by result.
"""


def save(folder: Path, unet: UNet2DConditionModel, autoencoder: VQModel) -> KandinskyV22Pipeline:
    """Write a pipeline in half precision, and return it as it loads from the folder."""
    plain = {"device": "cpu", "dtype": torch.float16, "memory_format": torch.contiguous_format}
    unet, autoencoder = (copy.deepcopy(one).to(**plain) for one in (unet, autoencoder))
    KandinskyV22Pipeline(unet=unet, movq=autoencoder, scheduler=new_scheduler()).save_pretrained(folder)
    return load(folder)


def load(folder: Path) -> KandinskyV22Pipeline:
    """Load the pipeline of a folder in single precision."""
    found = KandinskyV22Pipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    found.set_progress_bar_config(disable=True)
    return found


def open_tower(folder: Path) -> open_clip.CLIP:
    """Load a tower from its folder, in evaluation mode."""
    return open_clip.create_model_and_transforms(f"local-dir:{folder}")[0].eval()


def make_generator(folder: Path, settings: GeneratorSettings, tower: Path, judge: Path, workers: int = 1) -> None:
    """Train a generator, measure it and write its folder.

    Parameters
    ----------
    folder
        Folder to write; created if it does not exist.
    settings
        Size and training.
    tower, judge
        Folders of the tower whose embeddings condition the generator, and of the tower that judges.
    workers
        Processes that draw the training pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [world.exemplar(one, i, settings.seed) for one in world.TRAINABLE for i in range(settings.exemplars)]
    pictures = train_tower.draw_pictures(shown, settings.size, workers)
    print(f"drew {len(pictures):,} training pictures", flush=True)
    clip = open_tower(tower)
    autoencoder, first = train_autoencoder(settings, pictures)
    latents, conditions = encode(autoencoder, pictures), raw_embeddings(clip, pictures)
    unet, second = train_unet(settings, latents, conditions, negative_embedding(clip, settings.size))
    describe(folder, settings, save(folder, unet, autoencoder), {"autoencoder": first, "unet": second}, tower, judge)


def describe(
    folder: Path,
    settings: GeneratorSettings,
    pipeline: KandinskyV22Pipeline,
    training: dict[str, dict[str, float]],
    tower: Path,
    judge: Path,
) -> None:
    """Measure a generator; write the results and a description beside its weights."""
    tokenizer = train_tower.open_tokenizer(judge, train_tower.TowerSettings().context)
    clip, judging = open_tower(tower), (open_tower(judge), tokenizer)
    accuracy, grid = measure(pipeline, settings, clip, judging)
    rows, columns, size = *grid.shape[:2], settings.size
    lines = grid.reshape(rows, 2, columns // 2, size, size, 3).transpose(1, 0, 3, 2, 4, 5)
    Image.fromarray(lines.reshape(2 * rows * size, columns // 2 * size, 3)).save(folder / GRID, optimize=True)
    count = {name: sum(one.numel() for one in getattr(pipeline, name).parameters()) for name in ("unet", "movq")}
    weights = sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256((tower / train_tower.WEIGHTS).read_bytes()).hexdigest()
    machine = f"{torch.get_num_threads()} CPU thread" + "s" * (torch.get_num_threads() > 1)
    train_tower._write_json(
        folder / "training.json",
        {
            "settings": asdict(settings),
            "tower": {"name": tower.name, "sha256": digest},
            "judge": judge.name,
            "machine": machine,
            "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
            "parameters": count,
            "training": training,
            "oracle": accuracy,
        },
    )
    usual = asdict(GeneratorSettings())
    options = (f" --{name} {value}" for name, value in asdict(settings).items() if value != usual[name])
    readme = _README.format(
        **accuracy,
        parameters=sum(count.values()),
        unet=count["unet"],
        autoencoder=count["movq"],
        megabytes=sum(path.stat().st_size for path in weights) / 1e6,
        tower=tower.name,
        judge=judge.name,
        name=folder.resolve().name,
        options="".join(options),
        pictures=len(world.TRAINABLE) * settings.exemplars,
        concepts=len(world.TRAINABLE),
        seed=settings.seed,
        machine=machine,
        autoencoder_minutes=training["autoencoder"]["seconds"] / 60,
        unet_minutes=training["unet"]["seconds"] / 60,
        steps=settings.steps,
        batch=settings.batch,
        tests=len(world.HELD_OUT),
        steps_drawn=TESTED["num_inference_steps"],
        guidance=TESTED["guidance_scale"],
    )
    train_tower._write(folder / "README.md", readme.encode())
    print(json.dumps(accuracy, indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    towers = Path("workflow/towers")
    parser = argparse.ArgumentParser(description="Train the small picture generator of the simulated study.")
    parser.add_argument("--output", type=Path, required=True, help="folder of the generator")
    parser.add_argument("--tower", type=Path, default=towers / "grammar-vit", help="whose embeddings it takes")
    parser.add_argument("--judge", type=Path, default=towers / "grammar-judge", help="tower that judges")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pictures")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    for field in dataclasses.fields(GeneratorSettings):
        if isinstance(field.default, int | float):
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    names = [field.name for field in dataclasses.fields(GeneratorSettings) if hasattr(given, field.name)]
    settings = GeneratorSettings(**{name: getattr(given, name) for name in names})
    make_generator(given.output, settings, given.tower, given.judge, given.workers)


if __name__ == "__main__":
    main()
