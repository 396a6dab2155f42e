"""Memory of a training with prompts or adapters: how much it needs, and how many pictures a GPU can take at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from brain2clip.internals import torch_device
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.settings import Optimiser, TrainedMethod
from brain2clip.stage import InputError
from brain2clip.training.data import PictureSource, Responses

log = logging.getLogger("brain2clip")
#: What a step takes for a moment beside what its forward pass keeps, as a share of that: gradients of activations. A
#: picture in ViT-B-32 keeps 14.1 MB in bf16 and 22.9 in fp32, and took 15.3 and 24.1 on an H200 (bench/gpu-h200.json).
BESIDE = 0.15
#: Share of the free memory that is filled: it is handed out in blocks, which leave gaps.
FILLED = 0.9
#: Matrices of the loss that are there at once: similarities, their logarithms, targets, and gradients of these.
MATRICES = 10
#: Pictures, and responses, with which it is measured what one takes.
PROBES = (2, 4)


@dataclass(frozen=True)
class Need:
    """Memory that training takes, GB (1e9 bytes).

    Attributes
    ----------
    held : float
        What stays from batch to batch: tower, cached pictures, responses, parameters with gradients and moments.
    batch : float
        What a batch takes however few pictures are in the tower at once.
    picture : float
        What each picture takes that is in the tower.
    """

    held: float
    batch: float
    picture: float

    def of(self, at_once: int) -> float:
        """All of it with so many pictures in the tower."""
        return self.held + self.batch + at_once * self.picture

    def fitting(self, room: float, batch_size: int) -> int | None:
        """Pictures at once with which it fits into a room, in equal parts of a batch; None: the batch as a whole."""
        most = int((FILLED * room - self.held - self.batch) / max(self.picture, 1e-9))
        if most >= batch_size:
            return None
        parts = -(-batch_size // max(1, most))
        return -(-batch_size // parts)


def kept_gb(run: Callable[[int], Any], but: Iterable[Tensor]) -> tuple[float, float]:
    """What a forward pass keeps for its backward pass, measured by running it: for each row, and whatever their number.

    Parameters
    ----------
    run : callable
        ``run(n)`` computes something of n rows.
    but : iterable of Tensor
        What is there anyway, as parameters.
    """
    known = {one.untyped_storage().data_ptr() for one in but}
    found = []
    for n in PROBES:
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            kept = run(n)  # as long as this is there, no memory is handed out twice
        found.append(sum(sizes.values()) / 1e9)
        del kept
    row = (found[1] - found[0]) / (PROBES[1] - PROBES[0])
    return row, max(0.0, found[0] - PROBES[0] * row)


def needed(
    model: BrainToClip,
    pictures: PictureSource,
    responses: Responses,
    optimiser: Optimiser,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Need:
    """What a training will take, by what it keeps of a few pictures and responses; nothing is drawn, nothing moves."""
    device, was_training = model.scale.device, model.training
    there = [*model.parameters(), *model.buffers()]
    some = pictures(pictures.rows[: PROBES[1]])
    values = torch.from_numpy(responses.values[: PROBES[1]]).to(device)

    def seen(n: int) -> list[Tensor]:
        with autocast():
            return [model.picture(some.first(n))]

    def heard(n: int) -> Tensor:
        with autocast():
            return model.brain(values[:n])

    model.eval()
    with torch.enable_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        picture, of_tower = kept_gb(seen, there)
        response, of_encoder = kept_gb(heard, there)
    model.train(was_training)

    size = min(optimiser.batch_size, len(pictures.rows))
    n_responses = size * len(responses.values) / len(pictures.rows)
    if optimiser.batch_of == "responses":
        n_responses = min(optimiser.batch_size, len(responses.values))
    arrays = [some.tokens, some.band_tokens]
    tokens = sum(one.nbytes for one in arrays if one is not None) / len(some.embedding) / 1e9
    trained = sum(one.nbytes for one in model.parameters() if one.requires_grad) / 1e9
    held = torch_device.held_gb(device) or sum(one.nbytes for one in (*there, *pictures.held.values())) / 1e9
    kept = of_tower + of_encoder + n_responses * response
    return Need(
        held=held + responses.values.nbytes / 1e9 + 3 * trained,
        batch=1.5 * size * tokens + (1 + BESIDE) * kept + MATRICES * 4e-9 * n_responses * size,
        picture=(1 + BESIDE) * picture,
    )


def at_once(optimiser: Optimiser, need: Need, n_pictures: int, device: torch.device) -> int | None:
    """Pictures that go through the tower at once, None for a whole batch; says what that will need."""
    size, room = min(optimiser.batch_size, n_pictures), torch_device.room_gb(device)
    found = optimiser.micro_batch
    if found == "auto":
        found = None if room is None else need.fitting(room, size)
    count = size if found is None else min(found, size)
    whole = need.of(count)
    log.info(
        "train: about %.1f GB of memory%s: %.1f for data and model, %.1f for a batch of %d, %.1f for %d pictures in "
        "the tower",
        whole, "" if room is None else f" of the {room:.1f} free on {torch_device.name(device)}", need.held, need.batch,
        size, count * need.picture, count,
    )  # fmt: skip
    if room is not None and whole > room:
        log.warning("train: this is more than the available memory; %s", advice(optimiser))
    return found


def advice(optimiser: Any) -> str:
    """Advice if memory is short."""
    steps = ["a smaller optimiser.batch_size, which changes the training"]
    if isinstance(optimiser, Optimiser):
        if not optimiser.checkpointing:
            steps.insert(0, "optimiser.checkpointing: true")
        fewer = "auto" if optimiser.micro_batch is None else "a smaller number"
        steps.insert(0, f"optimiser.micro_batch: {fewer}, if the method trains prompts or an adapter")
    return "set " + "; or ".join(steps)


@contextmanager
def explained(method: TrainedMethod, device: torch.device) -> Iterator[None]:
    """Where a GPU has no memory left, say which setting needs less.

    Raises
    ------
    InputError
        In place of PyTorch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        asked = str(error).partition("\n")[0][:200]
        raise InputError(
            f"the memory of {torch_device.name(device)} is full ({asked}): {advice(getattr(method, 'optimiser', None))}"
        ) from None
