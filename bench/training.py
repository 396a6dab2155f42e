"""Training without a driven tower: the step of a brain encoder, an epoch of the frozen baseline, its seeds at once.

Each beside the obvious way, in CPU seconds of one thread, pairs next to each other in one run. The obvious ways are
written out here and share no code with the project: the convolution at every sample with the mean over time after it,
and a loss by products with matrices that hold one number in each row.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from brain2clip import kinds
from brain2clip.models.brain_encoder import Inputs, build
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.models.pictures import Frozen
from brain2clip.settings import Contrastive, Encoder, parse
from brain2clip.training import batched, loop
from brain2clip.training.data import PictureSource, Responses, pairs
from brain2clip.training.methods.contrastive import ContrastiveLearner

PICTURES, WIDTH = 16540, 512


def in_turn(*runs: Callable[[], object], repeats: int = 5) -> list[float]:
    """Median CPU seconds of each run; they take turns, and the first turn does not count."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(repeats + 1):
        for own, run in zip(times, runs):
            start = time.process_time()
            run()
            if turn:
                own.append(time.process_time() - start)
    return [statistics.median(own) for own in times]


def obvious(kind: str, channels: int, width: int, dropout: float) -> nn.Module | None:
    """At 250 Hz, layer by layer as it is drawn by its authors; None where the obvious way is ours."""
    over_time, pool = nn.Conv2d(1, 40, (1, 25)), nn.AvgPool2d((1, 51), (1, 5))
    after = [nn.BatchNorm2d(40), nn.ELU(), nn.Conv2d(40, 40, (channels, 1))]
    layers: list[nn.Module]
    if kind in ("tsconv", "nice"):
        last = [] if kind == "tsconv" else [nn.Conv2d(40, 40, 1)]
        layers = [over_time, pool, *after, nn.BatchNorm2d(40), nn.ELU(), nn.Dropout(dropout), *last]
    elif kind == "shallownet":
        layers = [over_time, after[-1], nn.BatchNorm2d(40), nn.ELU(), pool, nn.Dropout(dropout)]
    elif kind == "deepnet":
        layers = []
        for before, maps in ((1, 25), (25, 50), (50, 100), (100, 200)):
            first = [nn.Conv2d(25, 25, (channels, 1))] if before == 1 else []
            layers += [nn.Conv2d(before, maps, (1, 10)), *first, nn.BatchNorm2d(maps), nn.ELU()]
            layers += [nn.MaxPool2d((1, 2)), nn.Dropout(dropout)]
    else:
        return None
    up, inner = nn.LazyLinear(width), nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(*layers, nn.Flatten(), up)
            self.residual, self.norm = inner, nn.LayerNorm(width)

        def forward(self, x):
            y = self.conv(x.unsqueeze(1))
            return self.norm(y + self.residual(y))

    return Network()


def encoders(channels: int = 63, times: int = 250, batch: int = 256) -> Iterator[str]:
    x = torch.randn(batch, channels, times)

    def step(network: nn.Module) -> Callable[[], None]:
        return lambda: network(x).square().mean().backward()

    for kind in kinds.shipped("encoders"):
        if kind == "braindecode":
            continue
        ours = build(parse(Encoder, {"kind": kind, "width": WIDTH}), Inputs(channels, times, 250.0))
        plain = obvious(kind, channels, WIDTH, 0.3)
        own, *other = in_turn(*map(step, [ours] if plain is None else [ours, plain]), repeats=3)
        beside = "".join(f"; as drawn {one:.2f} ({own / one:.2f} x)" for one in other)
        yield f"{kind} {channels} x {times}, batch {batch}, forward + backward: {own:.2f} s{beside}"


class Stimuli(dict):
    """What training reads of a stimuli artefact, of random numbers."""


def responses(channels: int, times: int) -> Responses:
    some = np.random.default_rng(1).standard_normal((256, channels, times), dtype=np.float32)
    return Responses(
        values=np.resize(some, (PICTURES, channels, times)),
        stimulus=np.arange(PICTURES),
        subject=np.zeros(PICTURES, np.int64),
        times=np.arange(times) / 250,
        sfreq=250.0,
        channel=[f"E{number}" for number in range(channels)],
        stimulus_id=[],
        is_averaged=True,
    )


def frozen(batch: int, epochs: int = 1) -> Contrastive:
    """``frozen`` of config.yaml, in the precision that auto takes."""
    return Contrastive.model_validate(
        {
            **{"tower": "x", "visual": {"kind": "frozen"}, "encoder": {"kind": "eegproject", "width": WIDTH}},
            "optimiser": {"epochs": epochs, "batch_size": batch},
        }
    )


def learner_of(method: Contrastive, channels: int, times: int, embedding: np.ndarray, seed: int) -> ContrastiveLearner:
    torch.manual_seed(seed)
    model = BrainToClip(method, Inputs(channels, times, 250.0), Frozen(WIDTH, 4))
    source = PictureSource(Stimuli(embedding=embedding), np.arange(PICTURES), False, torch.device("cpu"))
    return ContrastiveLearner(model, method, source, torch.device("cpu"))


def frozen_epoch(channels: int = 17, times: int = 250, batch: int = 1024) -> Iterator[str]:
    """An epoch of ``frozen`` of config.yaml against the same network in a loop written out."""
    method, data = frozen(batch), responses(channels, times)
    embedding = np.random.default_rng(2).standard_normal((PICTURES, WIDTH), dtype=np.float32)
    on_device = pairs([data], np.arange(PICTURES), torch.device("cpu"))
    learner = learner_of(method, channels, times, embedding, 0)
    obvious = BrainToClip(method, Inputs(channels, times, 250.0), Frozen(WIDTH, 4))

    def ours() -> None:
        loop.loop(learner, method.optimiser, on_device, 0)

    def plain() -> None:
        optimiser = torch.optim.AdamW(obvious.parameters(), lr=1e-4, weight_decay=1e-4)
        x, y = torch.from_numpy(data.values), torch.from_numpy(embedding)
        obvious.train()
        for rows in torch.randperm(PICTURES).tensor_split(-(-PICTURES // batch)):
            with learner.autocast():
                brain, picture = obvious.brain(x[rows]), obvious.visual.head(y[rows])
            scores = F.softplus(obvious.scale) * brain.float() @ F.normalize(picture.float(), dim=-1).T
            unit, eye = F.normalize(y[rows], dim=-1), torch.eye(len(rows))
            soft = (unit @ unit.T / 0.1).softmax(dim=-1)
            target = torch.lerp(eye, eye @ soft, 0.2), torch.lerp(eye, soft @ eye, 0.2)
            loss = (F.cross_entropy(scores, target[0]) + F.cross_entropy(scores.T, target[1])) / 2
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(obvious.parameters(), 1.0)
            optimiser.step()

    own, other = in_turn(ours, plain, repeats=3)
    yield (
        f"epoch of the frozen baseline, {channels} x {times}, {PICTURES} pictures, batch {batch}: {own:.2f} s; "
        f"written out with products {other:.2f} ({own / other:.2f} x)"
    )


def seeds_at_once(channels: int = 17, times: int = 250, batch: int = 1024, n: int = 5) -> Iterator[str]:
    """An epoch of ``frozen`` for several seeds in one pass against one seed after the other."""
    method, seeds = frozen(batch), list(range(n))
    data = pairs([responses(channels, times)], np.arange(PICTURES), torch.device("cpu"))
    embedding = np.random.default_rng(2).standard_normal((PICTURES, WIDTH), dtype=np.float32)
    learners = [learner_of(method, channels, times, embedding, seed) for seed in seeds]

    def one_by_one() -> None:
        for learner, seed in zip(learners, seeds):
            loop.loop(learner, method.optimiser, data, seed)

    own, alone = in_turn(lambda: batched.train(learners, data, seeds), one_by_one, repeats=2)
    yield (
        f"epoch of the frozen baseline, {channels} x {times}, {PICTURES} pictures, batch {batch}, {n} seeds: at once "
        f"{own:.2f} s, one after the other {alone:.2f} s ({own / alone:.2f} x)"
    )


def main() -> None:
    torch.set_num_threads(1)
    for part in (encoders, frozen_epoch, seeds_at_once):
        for line in part():
            print(line, flush=True)


if __name__ == "__main__":
    main()
