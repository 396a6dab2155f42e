"""Train the small CLIP of the simulated study: `python -m brain2clip.simulation.train_tower --output FOLDER`.

The model and the tokenizer are open_clip's own; the pictures and captions come from
:mod:`brain2clip.simulation.world`, without the held-out concepts. Load the folder with
``open_clip.create_model_and_transforms("local-dir:FOLDER")``.

A small tower learns the objects last: texture and colour are easier, and tell most pictures apart. So all captions of
a batch have the same form (:data:`world.CAPTION_KINDS`), and many name only the object. If they also name colour or
texture, the batch has only a few colours or textures. Several pictures of a batch may fit one caption;
:func:`contrast` counts all of them as right.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gzip
import io
import itertools
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
from numpy.typing import NDArray
from open_clip import SimpleTokenizer

from brain2clip.internals.open_clip import byte_symbols
from brain2clip.names import counted
from brain2clip.simulation import world

VOCABULARY = "vocabulary.txt.gz"
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
CHANNELS = tuple(itertools.permutations(range(3)))
"""Orders of the colour channels; the first is red, green, blue."""
SHARES = (0.3, 0.1, 0.1, 0.1, 0.2, 0.2)
"""Share of the batches for each of :data:`world.CAPTION_KINDS`."""
CPU_PACE = 0.0045
"""Seconds per pair and step of training on one CPU thread, measured once."""
WARM_STEPS = 3
"""Steps before a step is recorded as a CUDA graph."""


@dataclass(frozen=True)
class TowerSettings:
    """Size and training of the tower.

    Attributes
    ----------
    seed
        Seed of the weights, of the order of the batches and of the training pictures.
    steps, batch
        Optimiser steps, and picture-caption pairs per step.
    colours, textures
        Number of colours (textures) in a batch whose captions name the colour (texture). With only a few, they say
        little, and the tower has to learn the objects.
    exemplars
        Training pictures per concept.
    shift
        Each training picture is shifted at random by up to this many pixels.
    recoloured
        Share of the pictures whose red, green and blue channels are permuted at random, in batches whose captions name
        neither colour nor scene. So no object is tied to the colours that it has in the training concepts.
    rate, warm_up, decay
        Peak learning rate, steps of its linear rise, weight decay of the matrices.
    test_seed, test_exemplars
        Seed and number per concept of the pictures of held-out concepts on which the tower is measured.
    size, patch, width, layers, head
        Vision Transformer: picture and patch size (pixels), width, blocks, width of a head.
    resnet
        Whether the picture side is CLIP's ResNet instead: four stages with one block each, width 16.
    text_width, text_layers, text_heads, context
        Text Transformer, and its number of tokens.
    embedding
        Dimensions of the joint embedding.
    half
        Whether the weights are saved in float16; the tower is then measured with these rounded weights.
    """

    seed: int = 7
    steps: int = 12_000
    batch: int = 512
    colours: int = 2
    textures: int = 2
    exemplars: int = 256
    shift: int = 4
    recoloured: float = 0.5
    rate: float = 1.5e-3
    warm_up: int = 500
    decay: float = 0.1
    test_seed: int = 1_000_007
    test_exemplars: int = 10
    size: int = 64
    patch: int = 8
    width: int = 96
    layers: int = 4
    head: int = 32
    resnet: bool = False
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 2
    context: int = 24
    embedding: int = 64
    half: bool = False


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
        Merges in order of rank. Merges for a later word do not split an earlier word, because its own merges have a
        lower rank and are applied first.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        while len(symbols := _split(word, merges)) > 1:
            merges.append((symbols[0], symbols[1]))
    return merges


def vocabulary_bytes() -> bytes:
    """Return the world's vocabulary in the gzip text format of SimpleTokenizer, with the same bytes at every call.

    The first line is a heading that SimpleTokenizer skips. There is no line break at the end: SimpleTokenizer would
    take it for an empty merge.
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


def _vision_config(settings: TowerSettings) -> dict[str, Any]:
    if settings.resnet:
        return {"image_size": settings.size, "width": 16, "layers": [1, 1, 1, 1], "head_width": settings.head}
    return {
        "image_size": settings.size,
        "patch_size": settings.patch,
        "width": settings.width,
        "layers": settings.layers,
        "head_width": settings.head,
    }


def open_clip_config(settings: TowerSettings, vocabulary_size: int) -> dict[str, Any]:
    """Return the content of ``open_clip_config.json``, which open_clip reads."""
    return {
        "model_cfg": {
            "embed_dim": settings.embedding,
            "vision_cfg": _vision_config(settings),
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


def _draw(exemplars: Sequence[world.Exemplar], size: int) -> NDArray[np.uint8]:
    return np.stack([world.draw(shown, size) for shown in exemplars])


def draw_pictures(exemplars: Sequence[world.Exemplar], size: int, workers: int = 1) -> NDArray[np.uint8]:
    """Draw exemplars, shape (n, size, size, 3), in `workers` processes; their number does not change the pictures."""
    if workers == 1:
        return _draw(exemplars, size)
    parts = [exemplars[start : start + 100] for start in range(0, len(exemplars), 100)]
    pictures = np.empty((len(exemplars), size, size, 3), np.uint8)
    # Forked processes do not have to import torch again.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        for start, drawn in zip(range(0, len(exemplars), 100), pool.map(_draw, parts, itertools.repeat(size))):
            pictures[start : start + len(drawn)] = drawn
    return pictures


def to_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Normalise pictures (n, size, size, 3) to (n, 3, size, size) as open_clip's own transform does."""
    return _normalised(torch.from_numpy(np.array(pictures)))


def _normalised(pictures: torch.Tensor) -> torch.Tensor:
    pixels = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (_constant(values, pixels.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


@cache
def _constant(values: tuple[Any, ...], device: torch.device) -> torch.Tensor:
    """Return a tensor that is copied to the device once: no copy is possible while a CUDA graph is recorded."""
    return torch.tensor(values, device=device)


def changed(
    pictures: torch.Tensor, chosen: torch.Tensor, corners: torch.Tensor, order: torch.Tensor, most: int
) -> torch.Tensor:
    """Select pictures, then shift and recolour them.

    Parameters
    ----------
    pictures : tensor of uint8, shape (n, size, size, 3)
        All pictures.
    chosen : tensor of int, shape (batch,)
        Indices of the selected pictures.
    corners : tensor of int, shape (2, batch)
        Shift of rows and of columns plus `most`: from 0 to 2 * `most`, and `most` is no shift. Pixels at the border are
        repeated.
    order : tensor of int, shape (batch,)
        Index into :data:`CHANNELS`; 0 leaves colours unchanged.
    most : int
        Largest shift, pixels.

    Returns
    -------
    tensor of uint8, shape (batch, size, size, 3)
    """
    size = pictures.shape[1]
    steps = torch.arange(size, device=pictures.device) - most
    rows, columns = ((steps + corner[:, None]).clamp(0, size - 1) for corner in corners)
    moved = pictures[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    channels = _constant(CHANNELS, pictures.device)[order]
    return moved.gather(-1, channels[:, None, None, :].expand_as(moved))


@dataclass(frozen=True)
class Texts:
    """All training captions.

    Attributes
    ----------
    tokens : tensor of int, shape (n_texts, context)
        Each different caption once.
    rows : dict of ndarray, shape (n_concepts, n_scenes, n_templates)
        For each of :data:`world.CAPTION_KINDS`, the rows of `tokens`.
    labels : dict of ndarray, shape (n_concepts, n_scenes)
        For each of :data:`world.CAPTION_KINDS`, a number for the content of the captions: captions with equal numbers
        say the same.
    """

    tokens: torch.Tensor
    rows: dict[tuple[str, ...], NDArray[np.int64]]
    labels: dict[tuple[str, ...], NDArray[np.int64]]


def training_texts(tokenizer: SimpleTokenizer) -> Texts:
    """Write and tokenise the captions of all training concepts in all scenes."""
    pairs = list(itertools.product(world.TRAINABLE, world.SCENES))
    shape = (len(world.TRAINABLE), len(world.SCENES), -1)
    row_of: dict[str, int] = {}
    rows, labels = {}, {}
    for kind, templates in world.CAPTION_KINDS.items():
        texts = [world.describe(*pair, template) for pair in pairs for template in templates]
        rows[kind] = np.array([row_of.setdefault(text, len(row_of)) for text in texts]).reshape(shape)
        said = [
            tuple(scene if what == "scene" else getattr(concept, what) for what in kind) for concept, scene in pairs
        ]
        number = {words: place for place, words in enumerate(dict.fromkeys(said))}
        labels[kind] = np.array([number[words] for words in said]).reshape(shape[:2])
    return Texts(tokenizer(list(row_of)), rows, labels)


def batches(settings: TowerSettings, shown: Sequence[world.Exemplar], texts: Texts) -> Iterator[NDArray[np.int64]]:
    """Plan each step, shape (6, batch).

    The rows are: the index of the picture, its two corners and its order of colours (see :func:`changed`), the caption
    (row of ``texts.tokens``), and the label of the caption.
    """
    rng = np.random.default_rng([settings.seed, settings.steps])
    concepts = world.TRAINABLE
    scenes = np.array([list(world.SCENES).index(one.scene) for one in shown]).reshape(len(concepts), -1)
    kinds = list(world.CAPTION_KINDS)
    words = {
        "colour": (np.array([one.colour for one in concepts]), list(world.COLOURS), settings.colours),
        "texture": (np.array([one.texture for one in concepts]), list(world.TEXTURES), settings.textures),
    }
    for _ in range(settings.steps):
        kind = kinds[rng.choice(len(kinds), p=SHARES)]
        alike = np.ones(len(concepts), bool)
        for what, (of_concept, all_words, count) in words.items():
            if what in kind:
                alike &= np.isin(of_concept, rng.choice(all_words, count, replace=False))
        concept = rng.choice(np.flatnonzero(alike), settings.batch)
        exemplar = rng.integers(0, settings.exemplars, settings.batch)
        scene = scenes[concept, exemplar]
        template = rng.integers(0, len(world.CAPTION_KINDS[kind]), settings.batch)
        corners = rng.integers(0, 2 * settings.shift + 1, (2, settings.batch))
        order = rng.integers(0, len(CHANNELS), settings.batch) * (rng.random(settings.batch) < settings.recoloured)
        if "colour" in kind or "scene" in kind:
            order[:] = 0
        picture = concept * settings.exemplars + exemplar
        rows, labels = texts.rows[kind][concept, scene, template], texts.labels[kind][concept, scene]
        yield np.stack((picture, *corners, order, rows, labels))


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Contrastive loss of CLIP; here a caption may fit several pictures of the batch.

    Parameters
    ----------
    image, text : tensor, shape (batch, embedding)
        Embeddings of unit length.
    scale : tensor, shape ()
        Factor on the cosines.
    labels : tensor of int, shape (batch,)
        Pictures and captions with equal labels fit each other and have equal parts of the target, as in the loss of
        Yang et al. (2022, UniCL). If all labels differ, this is open_clip's ``ClipLoss``.
    """
    logits = scale * image @ text.T
    fits = (labels[:, None] == labels).to(logits.dtype)
    target = fits / fits.sum(1, keepdim=True)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def _learning_rate(step: int, settings: TowerSettings) -> float:
    """Linear warm-up, then half a cosine down to zero; `step` counts from 0."""
    if step < settings.warm_up:
        return settings.rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(settings.steps - settings.warm_up, 1)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    settings: TowerSettings,
    tokenizer: SimpleTokenizer,
    device: str = "cpu",
    workers: int = 1,
    graph: bool = True,
) -> tuple[open_clip.CLIP, dict[str, float]]:
    """Train a CLIP.

    Parameters
    ----------
    settings
        Size and training.
    tokenizer
        Tokenizer of the captions.
    device
        ``cpu`` or ``cuda``.
    workers
        Processes that draw the training pictures.
    graph
        On CUDA, record a step as a graph and replay it: with so small a model, launching the kernels one by one takes
        longer than computing them.

    Returns
    -------
    model : open_clip.CLIP
        In evaluation mode, on the CPU.
    measured : dict
        Loss averaged over the last 200 steps, seconds of drawing, of training and per step.

    Notes
    -----
    A Vision Transformer trains in float32 (on CUDA with matrix products in TF32). On a CPU, bfloat16 autocast would not
    make it faster at this width, because the casts take the time that it saves (measured on 2 cores with AMX: 0.58 s
    per step of 256 pairs, against 0.50 s in float32). It speeds up the convolutions of a ResNet by a quarter to a half,
    so a ResNet trains with it.
    """
    on_cuda = torch.device(device).type == "cuda"
    # cuBLAS is reproducible only with this workspace; it reads the variable when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    start = time.monotonic()
    shown = [world.exemplar(one, i, settings.seed) for one in world.TRAINABLE for i in range(settings.exemplars)]
    drawn = draw_pictures(shown, settings.size, workers)
    texts = training_texts(tokenizer)
    drawing = time.monotonic() - start
    print(f"drew {len(drawn):,} training pictures in {drawing:.0f} s", flush=True)

    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if on_cuda:
        torch.backends.cuda.matmul.allow_tf32 = True
    model = open_clip.CLIP(**open_clip_config(settings, tokenizer.vocab_size)["model_cfg"]).to(device)
    if settings.resnet:
        model = model.to(memory_format=torch.channels_last)
    pictures, tokens = torch.from_numpy(drawn).to(device), texts.tokens.to(device)
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    rate = torch.tensor(settings.rate, device=device)
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6, fused=True, capturable=on_cuda)
    plan = torch.zeros((6, settings.batch), dtype=torch.int64, device=device)

    def step() -> torch.Tensor:
        chosen, *corners, order, captions, labels = plan
        seen = changed(pictures, chosen, torch.stack(corners), order, settings.shift)
        with torch.autocast(device, torch.bfloat16, enabled=settings.resnet):
            image, text, scale = model(_normalised(seen), tokens[captions])
        loss = contrast(image.float(), text.float(), scale, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return loss.detach()

    losses = torch.zeros(settings.steps, device=device)
    recorded: torch.cuda.CUDAGraph | None = None
    if on_cuda:
        torch.cuda.synchronize()
    start = time.monotonic()
    # PyTorch requires warm-up steps on a stream other than the default one before it records a graph.
    with torch.cuda.stream(torch.cuda.Stream()) if on_cuda else contextlib.nullcontext():
        for number, planned in enumerate(batches(settings, shown, texts)):
            plan.copy_(torch.from_numpy(planned))
            rate.fill_(_learning_rate(number, settings))
            if on_cuda and graph and number >= WARM_STEPS:
                if recorded is None:
                    recorded = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(recorded):
                        loss = step()
                recorded.replay()
            else:
                loss = step()
            losses[number] = loss
            if (number + 1) % max(settings.steps // 40, 1) == 0:
                recent = losses[max(number - 199, 0) : number + 1].mean().item()
                pace = (time.monotonic() - start) / (number + 1)
                print(
                    f"step {number + 1}/{settings.steps}  loss {recent:.3f}  scale {model.logit_scale.exp().item():.1f}"
                    f"  {pace * 1000:.1f} ms/step  {pace * (settings.steps - number - 1) / 60:.1f} min left",
                    flush=True,
                )
        final = losses[-200:].mean().item()
    seconds = time.monotonic() - start
    if not math.isfinite(final):
        raise RuntimeError(f"The training of the tower broke down: its loss is {final}. Lower the rate.")
    measured = {
        "final_loss": round(final, 4),
        "drawing_seconds": round(drawing, 1),
        "training_seconds": round(seconds, 1),
        "seconds_per_step": round(seconds / settings.steps, 5),
    }
    return model.eval().cpu(), measured


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


def measure(
    model: open_clip.CLIP, tokenizer: SimpleTokenizer, settings: TowerSettings, workers: int = 1
) -> dict[str, float]:
    """Measure zero-shot accuracy on fresh pictures of the held-out concepts.

    Returns
    -------
    dict of float
        ``top1`` and ``top5``: among the 200 held-out concepts of a half (mean of the two halves). ``top1_of_768``:
        among all concepts. ``object``, ``texture``, ``colour``: how often the best of all concepts has the right one.
        ``object_of_seen``: as ``object``, for fresh pictures of training concepts. ``image_to_image_top1``: how often
        the first exemplar of a concept is most similar to the second exemplar of the same concept, among the second
        exemplars of its half.
    """
    n = settings.test_exemplars
    prompts = embed_concepts(model, tokenizer, world.CONCEPTS)

    def seen(concepts: Sequence[world.Concept]) -> tuple[torch.Tensor, dict[str, float]]:
        """Embeddings of n pictures of each concept, and how often the best of all concepts has each word right."""
        shown = [world.exemplar(concept, i, settings.test_seed) for concept in concepts for i in range(n)]
        images = embed_pictures(model, draw_pictures(shown, settings.size, workers))
        best = [world.CONCEPTS[i] for i in (images @ prompts.T).argmax(dim=1).tolist()]
        right = {
            what: float(
                np.mean([getattr(guess, what) == getattr(one.concept, what) for guess, one in zip(best, shown)])
            )
            for what in ("object", "texture", "colour", "number")
        }
        return images, right

    parts = []
    for half in world.HALVES:
        images, right = seen(half)
        truth = torch.arange(len(half))
        order = (images @ embed_concepts(model, tokenizer, half).T).argsort(dim=1, descending=True)
        hits = order == truth.repeat_interleave(n)[:, None]
        same = (images[0::n] @ images[1::n].T).argmax(dim=1) == truth
        parts.append(
            {
                "top1": hits[:, 0].float().mean().item(),
                "top5": hits[:, :5].any(dim=1).float().mean().item(),
                "top1_of_768": right.pop("number"),
                **right,
                "image_to_image_top1": same.float().mean().item(),
            }
        )
    result = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    result["object_of_seen"] = seen(world.TRAINABLE)[1]["object"]
    return {name: round(value, 4) for name, value in result.items()}


# ----------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------

_README = """# A small CLIP for the simulated study

A CLIP of {parameters:,} weights, trained from nothing on pictures and captions of `brain2clip.simulation.world`
with open_clip's own model and tokenizer. It has never seen the 400 concepts of `world.HELD_OUT`, neither as pictures
nor as captions.

Made by

    python -m brain2clip.simulation.train_tower --output workflow/towers/{name}{options}

with seed {seed}: {steps:,} steps of {batch} pairs, {pictures:,} pictures of {concepts} concepts, {precision},
on {machine}: {minutes:.1f} minutes ({pace:.1f} ms per step), after {drawing:.0f} s of drawing pictures by {workers}
{processes}. {on_cpu}`training.json` holds the settings and the numbers below. The same machine and versions give
the same weights; others round differently.

Most batches name the object alone or hold few colours and textures, for a small tower learns the objects last:
see `brain2clip.simulation.train_tower`.

## How good it is

On {tests:,} fresh pictures of the 400 held-out concepts, of which a study uses one half of 200; a concept is the mean
of {templates} prompts:

| zero-shot task | accuracy | chance |
|---|---|---|
| concept among the 200 held-out ones of a study, Top-1 | {top1:.1%} | 0.5 % |
| concept among the 200 held-out ones of a study, Top-5 | {top5:.1%} | 2.5 % |
| concept among all 768, Top-1 | {top1_of_768:.1%} | 0.13 % |
| its object | {object:.1%} | 6.3 % |
| its texture | {texture:.1%} | 16.7 % |
| its colour | {colour:.1%} | 12.5 % |
| the object, of training concepts in fresh pictures | {object_of_seen:.1%} | 6.3 % |
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


_ON_CPU = (
    "`make tower` does the same on a CPU: some {hours:.0f} hours of one thread (computed from\n{pace:g} s per pair). "
)


def _options(settings: TowerSettings) -> str:
    """Command line options for the settings that differ from the defaults, each with a space before it."""
    usual = asdict(TowerSettings())
    return "".join(
        f" --{name}" if value is True else f" --{name} {value}"
        for name, value in asdict(settings).items()
        if value != usual[name]
    )


def _write(path: Path, content: bytes) -> None:
    """Write beside the file, then rename, so that no reader finds half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        stream.write(content)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write(path, (json.dumps(content, indent=2) + "\n").encode())


def make_tower(
    folder: Path, settings: TowerSettings, device: str = "cpu", workers: int = 1, graph: bool = True
) -> dict[str, float]:
    """Train a tower, measure it and write its folder.

    Parameters
    ----------
    folder
        Folder to write; created if it does not exist.
    settings
        Size and training.
    device, workers, graph
        See :func:`train`.

    Returns
    -------
    dict of float
        Result of :func:`measure`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / VOCABULARY, vocabulary_bytes())
    tokenizer = open_tokenizer(folder, settings.context)
    model, training = train(settings, tokenizer, device, workers, graph)
    if settings.half:  # round the weights before the tower is measured
        model.half().float()
    accuracy = measure(model, tokenizer, settings, workers)
    on_cuda = torch.device(device).type == "cuda"
    precision = "float32 (matrix products in TF32)" if on_cuda else "float32"
    precision = "bfloat16" if settings.resnet else precision
    threads = counted(torch.get_num_threads(), "CPU thread")
    machine = torch.cuda.get_device_name() if on_cuda else threads
    parameters = sum(weight.numel() for weight in model.parameters())
    kept = torch.float16 if settings.half else torch.float32
    weights = {name: value.to(kept).contiguous() for name, value in model.state_dict().items()}
    _write(folder / WEIGHTS, safetensors.torch.save(weights, metadata={"format": "pt"}))
    _write_json(folder / CONFIG, open_clip_config(settings, tokenizer.vocab_size))
    _write_json(
        folder / "training.json",
        {
            "settings": asdict(settings),
            "precision": precision,
            "machine": machine,
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
        name=folder.resolve().name,
        options=_options(settings) + (f" --device {device} --workers {workers}{'' if graph else ' --eager'}" * on_cuda),
        precision=precision,
        machine=machine,
        workers=workers,
        processes="process" if workers == 1 else "processes",
        drawing=training["drawing_seconds"],
        minutes=training["training_seconds"] / 60,
        pace=1000 * training["seconds_per_step"],
        on_cpu=_ON_CPU.format(pace=CPU_PACE, hours=CPU_PACE * settings.batch * settings.steps / 3600) * on_cuda,
        tests=len(world.HELD_OUT) * settings.test_exemplars,
        templates=len(world.PROMPTS),
        vocabulary=VOCABULARY,
        context=settings.context,
    )
    _write(folder / "README.md", readme.encode())
    return accuracy


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train the small CLIP of the simulated study.")
    parser.add_argument("--output", type=Path, required=True, help="folder of the tower")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--eager", action="store_true", help="on CUDA, do not record a graph")
    for field in dataclasses.fields(TowerSettings):
        if isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", action="store_true")
        else:
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    settings = TowerSettings(**{field.name: getattr(given, field.name) for field in dataclasses.fields(TowerSettings)})
    accuracy = make_tower(given.output, settings, given.device, given.workers, not given.eager)
    print(json.dumps(accuracy, indent=2))


if __name__ == "__main__":
    main()
