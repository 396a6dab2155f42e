"""Train the small CLIP of the simulated study: `python -m brain2clip.simulation.train_tower --output FOLDER`.

The model, the loss and the tokenizer are open_clip's own; the pictures and captions come from
:mod:`brain2clip.simulation.world`, without the held-out concepts. The folder that is written loads by
``open_clip.create_model_and_transforms("local-dir:FOLDER")``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
from numpy.typing import NDArray
from open_clip import ClipLoss, SimpleTokenizer

from brain2clip.internals.open_clip import byte_symbols
from brain2clip.simulation import world

VOCABULARY = "vocabulary.txt.gz"
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class TowerSettings:
    """Size and training of the tower.

    Attributes
    ----------
    seed
        Seed of the weights, of the order of the batches and of the training pictures.
    steps, batch
        Optimiser steps, and picture-caption pairs per step; the concepts of one batch all differ.
    colours
        Colours in one batch. With few, colour alone tells little and the tower has to learn the objects.
    exemplars
        Training pictures per concept.
    shift
        Each training picture is moved by up to so many pixels at random.
    rate, warm_up, decay
        Peak learning rate, steps of its linear rise, weight decay of the matrices.
    test_seed, test_exemplars
        Seed and number per concept of the pictures of held-out concepts that measure the tower.
    size, patch, width, layers, head
        Vision Transformer: picture and patch size (pixels), width, blocks, width of a head.
    text_width, text_layers, text_heads, context
        Text Transformer, and its number of tokens.
    embedding
        Dimensions of the joint embedding.
    """

    seed: int = 7
    steps: int = 2400
    batch: int = 128
    colours: int = 2
    exemplars: int = 32
    shift: int = 3
    rate: float = 1.5e-3
    warm_up: int = 100
    decay: float = 0.1
    test_seed: int = 1_000_007
    test_exemplars: int = 10
    size: int = 64
    patch: int = 8
    width: int = 96
    layers: int = 4
    head: int = 32
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 2
    context: int = 24
    embedding: int = 64


# ----------------------------------------------------------------------------------------------------
# Words
# ----------------------------------------------------------------------------------------------------


def _split(word: str, merges: Sequence[tuple[str, str]]) -> list[str]:
    """Split a word by byte-pair merges, the earliest merge first, as open_clip's SimpleTokenizer does."""
    of_byte = byte_symbols()
    symbols = [of_byte[byte] for byte in word.encode()]
    symbols[-1] += "</w>"
    rank = {merge: place for place, merge in enumerate(merges)}
    while len(symbols) > 1:
        best = min(itertools.pairwise(symbols), key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined
    return symbols


def byte_pair_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Find merges under which each of the words is one token.

    Parameters
    ----------
    words
        Words in lower case.

    Returns
    -------
    list of (str, str)
        Merges in order of rank. A later merge cannot undo an earlier word: that word's own merges rank first.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        while len(symbols := _split(word, merges)) > 1:
            merges.append((symbols[0], symbols[1]))
    return merges


def vocabulary_bytes() -> bytes:
    """Return the world's vocabulary in the gzip text format of SimpleTokenizer, the same bytes at every call.

    The first line is a heading that SimpleTokenizer skips; there is no line break at the end, which it would
    take for an empty merge.
    """
    lines = [
        "#version: brain2clip simulated world",
        *(" ".join(merge) for merge in byte_pair_merges(world.vocabulary())),
    ]
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write("\n".join(lines).encode())
    return buffer.getvalue()


def open_tokenizer(folder: Path, context: int) -> SimpleTokenizer:
    """Open the tokenizer of a tower folder.

    Parameters
    ----------
    folder
        Folder with the vocabulary.
    context
        Number of tokens of a text.
    """
    return SimpleTokenizer(bpe_path=str(folder / VOCABULARY), context_length=context)


# ----------------------------------------------------------------------------------------------------
# Model and data
# ----------------------------------------------------------------------------------------------------


def open_clip_config(settings: TowerSettings, vocabulary_size: int) -> dict[str, Any]:
    """Return what open_clip reads from ``open_clip_config.json``."""
    return {
        "model_cfg": {
            "embed_dim": settings.embedding,
            "vision_cfg": {
                "image_size": settings.size,
                "patch_size": settings.patch,
                "width": settings.width,
                "layers": settings.layers,
                "head_width": settings.head,
            },
            "text_cfg": {
                "context_length": settings.context,
                "vocab_size": vocabulary_size,
                "width": settings.text_width,
                "heads": settings.text_heads,
                "layers": settings.text_layers,
                "tokenizer_kwargs": {"bpe_path": VOCABULARY},
            },
        },
        "preprocess_cfg": {
            "size": settings.size,
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def draw_pictures(exemplars: Sequence[world.Exemplar], size: int) -> NDArray[np.uint8]:
    """Draw exemplars, shape (n, size, size, 3)."""
    pictures = np.empty((len(exemplars), size, size, 3), np.uint8)
    for place, shown in enumerate(exemplars):
        pictures[place] = world.draw(shown, size)
    return pictures


def to_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Normalise pictures (n, size, size, 3) to (n, 3, size, size) as open_clip's own transform does."""
    pixels = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def _shifted(pictures: NDArray[np.uint8], most: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each picture by up to `most` pixels, repeating its border."""
    size = pictures.shape[1]
    padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    corners = rng.integers(0, 2 * most + 1, (len(pictures), 2))
    return np.stack([picture[y : y + size, x : x + size] for picture, (y, x) in zip(padded, corners)])


def batches(settings: TowerSettings, tokenizer: SimpleTokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (pictures, tokens) for each step; a batch holds a concept once: no caption fits two pictures."""
    concepts = world.TRAINABLE
    shown = [world.exemplar(concept, i, settings.seed) for concept in concepts for i in range(settings.exemplars)]
    pictures = draw_pictures(shown, settings.size)
    rng = np.random.default_rng([settings.seed, settings.steps])
    for _ in range(settings.steps):
        colours = rng.choice(list(world.COLOURS), settings.colours, replace=False)
        alike = [place for place, concept in enumerate(concepts) if concept.colour in colours]
        chosen = rng.choice(alike, settings.batch, replace=False) * settings.exemplars
        chosen += rng.integers(0, settings.exemplars, settings.batch)
        variants = rng.integers(0, len(world.CAPTIONS), settings.batch)
        captions = [world.caption(shown[i], int(variant)) for i, variant in zip(chosen, variants)]
        yield to_tensor(_shifted(pictures[chosen], settings.shift, rng)), tokenizer(captions)


def _learning_rate(step: int, settings: TowerSettings) -> float:
    """Linear warm-up, then half a cosine down to zero; `step` counts from 0."""
    if step < settings.warm_up:
        return settings.rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(settings.steps - settings.warm_up, 1)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * done))


def train(settings: TowerSettings, tokenizer: SimpleTokenizer) -> tuple[open_clip.CLIP, dict[str, float]]:
    """Train a CLIP with open_clip's contrastive loss.

    Parameters
    ----------
    settings
        Size and training.
    tokenizer
        Tokenizer of the captions.

    Returns
    -------
    model : open_clip.CLIP
        In evaluation mode.
    measured : dict
        Loss averaged over the last 50 steps, seconds in all and per step.

    Notes
    -----
    In float32: at this width, bfloat16 autocast gains nothing on a CPU, because the casts cost what they save
    (measured on 2 cores with AMX: 0.58 s per step of 256 pairs against 0.50 s).
    """
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    model = open_clip.CLIP(**open_clip_config(settings, tokenizer.vocab_size)["model_cfg"])
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-6)
    criterion = ClipLoss()
    losses: list[float] = []
    start = time.monotonic()
    first_step = start
    for step, (pictures, tokens) in enumerate(batches(settings, tokenizer)):
        if step == 0:
            first_step = time.monotonic()
            print(f"drew the training pictures in {first_step - start:.0f} s", flush=True)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, settings)
        image, text, scale = model(pictures, tokens)
        loss = criterion(image, text, scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - first_step) / (step + 1)
            left = pace * (settings.steps - step - 1) / 60
            print(
                f"step {step + 1}/{settings.steps}  loss {np.mean(losses[-50:]):.3f}  "
                f"scale {scale.item():.1f}  {pace:.3f} s/step  {left:.1f} min left",
                flush=True,
            )
    seconds = time.monotonic() - first_step
    measured = {
        "final_loss": round(float(np.mean(losses[-50:])), 4),
        "training_seconds": round(seconds, 1),
        "seconds_per_step": round(seconds / settings.steps, 4),
    }
    return model.eval(), measured


# ----------------------------------------------------------------------------------------------------
# Measuring
# ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def embed_pictures(model: open_clip.CLIP, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Embed 8-bit pictures (n, size, size, 3) to unit length, shape (n, embedding)."""
    parts = [model.encode_image(to_tensor(pictures[i : i + 250]), normalize=True) for i in range(0, len(pictures), 250)]
    return torch.cat(parts)


@torch.no_grad()
def embed_concepts(
    model: open_clip.CLIP, tokenizer: SimpleTokenizer, concepts: Sequence[world.Concept]
) -> torch.Tensor:
    """Embed concepts as the mean of their prompts, to unit length, shape (n, embedding)."""
    per_template = [
        model.encode_text(tokenizer(list(texts)), normalize=True)
        for texts in zip(*(world.prompts(concept) for concept in concepts))
    ]
    return torch.nn.functional.normalize(torch.stack(per_template).mean(0), dim=-1)


def measure(model: open_clip.CLIP, tokenizer: SimpleTokenizer, settings: TowerSettings) -> dict[str, float]:
    """Measure zero-shot accuracy on fresh pictures of the held-out concepts.

    Returns
    -------
    dict of float
        ``top1`` and ``top5`` among the 200 held-out concepts; ``top1_of_768`` among all concepts and, of that
        best concept, how often its object, texture and colour are right; ``image_to_image_top1``: how often
        the picture nearest to the first exemplar of a concept, among the second exemplars of all 200, is of
        that concept.
    """
    n = settings.test_exemplars
    shown = [world.exemplar(concept, i, settings.test_seed) for concept in world.HELD_OUT for i in range(n)]
    images = embed_pictures(model, draw_pictures(shown, settings.size))
    truth = torch.arange(len(world.HELD_OUT)).repeat_interleave(n)
    order = (images @ embed_concepts(model, tokenizer, world.HELD_OUT).T).argsort(dim=1, descending=True)
    hits = order == truth[:, None]
    best = (images @ embed_concepts(model, tokenizer, world.CONCEPTS).T).argmax(dim=1).tolist()
    guesses = [(world.CONCEPTS[i], exemplar.concept) for i, exemplar in zip(best, shown)]
    same = (images[0::n] @ images[1::n].T).argmax(dim=1) == torch.arange(len(world.HELD_OUT))
    result = {
        "top1": hits[:, 0].float().mean().item(),
        "top5": hits[:, :5].any(dim=1).float().mean().item(),
        "top1_of_768": float(np.mean([guess == true for guess, true in guesses])),
        "object": float(np.mean([guess.object == true.object for guess, true in guesses])),
        "texture": float(np.mean([guess.texture == true.texture for guess, true in guesses])),
        "colour": float(np.mean([guess.colour == true.colour for guess, true in guesses])),
        "image_to_image_top1": same.float().mean().item(),
    }
    return {name: round(value, 4) for name, value in result.items()}


# ----------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------

_README = """# A small CLIP for the simulated study

A CLIP of {parameters:,} weights, trained from nothing on pictures and captions of `brain2clip.simulation.world`
with open_clip's own model, tokenizer and loss. It has never seen the 200 concepts of `world.HELD_OUT`,
neither as pictures nor as captions.

Made by

    python -m brain2clip.simulation.train_tower --output workflow/towers/grammar-vit

with seed {seed}: {steps} steps of {batch} pairs, {pictures:,} pictures of {concepts} concepts, float32,
{threads} threads, {minutes:.1f} minutes ({pace:.2f} s per step). `training.json` holds the settings and the
numbers below. The same processor and versions give the same weights; others round differently.

## How good it is

On {tests:,} fresh pictures of the 200 held-out concepts; a concept is the mean of {templates} prompts:

| zero-shot task | accuracy | chance |
|---|---|---|
| concept among the 200 held-out ones, Top-1 | {top1:.1%} | 0.5 % |
| concept among the 200 held-out ones, Top-5 | {top5:.1%} | 2.5 % |
| concept among all 768, Top-1 | {top1_of_768:.1%} | 0.13 % |
| its object | {object:.1%} | 6.3 % |
| its texture | {texture:.1%} | 16.7 % |
| its colour | {colour:.1%} | 12.5 % |
| picture to another picture of the same concept, among 200, Top-1 | {image_to_image_top1:.1%} | 0.5 % |

The tower is weakest at the {weakest}: treat results that hang on it with care.
Two pictures of one concept differ in scene, place, size and turn, and a prompt names none of these: the last
row says how much of them is left in the embedding.

## How to load it

`open_clip.create_model_and_transforms("local-dir:" + folder)` reads the model, the weights and the transform.
`tokenizer_kwargs.bpe_path` in `open_clip_config.json` is a file name in this folder; open_clip opens it
relative to the working directory, so the loader joins it with the folder first:

    open_clip.tokenizer.SimpleTokenizer(bpe_path=folder + "/{vocabulary}", context_length={context})

`{vocabulary}` makes each word of the world one token; other words fall into bytes.
"""


def _write(path: Path, content: bytes) -> None:
    """Write beside the file, then rename, so that a reader never meets half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        stream.write(content)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write(path, (json.dumps(content, indent=2) + "\n").encode())


def make_tower(folder: Path, settings: TowerSettings) -> dict[str, float]:
    """Train a tower, measure it and write its folder.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    settings
        Size and training.

    Returns
    -------
    dict of float
        What :func:`measure` found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / VOCABULARY, vocabulary_bytes())
    tokenizer = open_tokenizer(folder, settings.context)
    model, training = train(settings, tokenizer)
    accuracy = measure(model, tokenizer, settings)
    parameters = sum(weight.numel() for weight in model.parameters())
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    _write(folder / WEIGHTS, safetensors.torch.save(weights, metadata={"format": "pt"}))
    _write_json(folder / CONFIG, open_clip_config(settings, tokenizer.vocab_size))
    _write_json(
        folder / "training.json",
        {
            "settings": asdict(settings),
            "precision": "float32",
            "threads": torch.get_num_threads(),
            "versions": {"torch": torch.__version__, "open_clip": open_clip.__version__},
            "parameters": parameters,
            "training": training,
            "held_out": accuracy,
        },
    )
    readme = _README.format(
        **accuracy,
        weakest=min(("object", "texture", "colour"), key=accuracy.__getitem__),
        parameters=parameters,
        seed=settings.seed,
        steps=settings.steps,
        batch=settings.batch,
        pictures=len(world.TRAINABLE) * settings.exemplars,
        concepts=len(world.TRAINABLE),
        threads=torch.get_num_threads(),
        minutes=training["training_seconds"] / 60,
        pace=training["seconds_per_step"],
        tests=len(world.HELD_OUT) * settings.test_exemplars,
        templates=len(world.PROMPTS),
        vocabulary=VOCABULARY,
        context=settings.context,
    )
    _write(folder / "README.md", readme.encode())
    return accuracy


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    defaults = TowerSettings()
    parser = argparse.ArgumentParser(description="Train the small CLIP of the simulated study.")
    parser.add_argument("--output", type=Path, required=True, help="folder of the tower")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    accuracy = make_tower(given.output, TowerSettings(seed=given.seed, steps=given.steps))
    print(json.dumps(accuracy, indent=2))


if __name__ == "__main__":
    main()
