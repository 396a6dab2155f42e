"""The training loop, the same for every method, and the choice of the epoch.

The epoch is either fixed in advance, or chosen on training concepts kept aside and the model then trained again on
all training concepts for that many epochs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, assert_never

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip import kinds, stage
from brain2clip.internals import torch_device
from brain2clip.models.parameters import trainable
from brain2clip.settings import Budget, Selection
from brain2clip.training import balance, cost
from brain2clip.training.data import Pairs, Responses, pairs

log = logging.getLogger("brain2clip")


class Learner(Protocol):
    """What the loop trains.

    Attributes
    ----------
    model : nn.Module
        With a logit scale, ``scale``.
    frozen_epochs : int
        Epochs in which parameter groups that say ``joins`` wait.
    """

    model: Any
    frozen_epochs: int

    def begin(self, epoch: int) -> None:
        """Make ready for an epoch, counted from 1."""

    def parameter_groups(self) -> list[dict]:
        """Groups for the optimiser, each with its learning rate; ``joins``: whether it waits for ``frozen_epochs``."""

    def settle(self) -> None:
        """Put back what a step took out of its range, as CLIP does with its scale."""

    def measured(self) -> dict[str, float]:
        """What else the history says of the epoch that has just passed."""

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch, the responses ``rows``; ``rng`` is for its draws."""

    def top1(self, data: Pairs) -> float:
        """Share of responses whose own stimulus is the most similar one of the set."""


def fit(
    learner: Learner,
    budget: Budget,
    selection: Selection,
    sets: Sequence[Responses],
    concept: np.ndarray,
    seed: int,
    device: torch.device,
    classes: np.ndarray | None = None,
) -> pd.DataFrame:
    """Train in place, choosing the epoch by the settings' rule; history with a row per epoch.

    Where the epoch is searched for, ``search_seconds`` and ``search_cpu_seconds`` are what that took, in equal parts
    for all rows. ``classes`` names the class of every response where they are to be drawn equally often
    (:class:`Study`).
    """
    concepts = concept[np.concatenate([one.stimulus for one in sets])]
    everything = np.arange(len(concepts))
    if selection.rule == "last":
        return loop(learner, budget, pairs(sets, everything, device, classes), seed)
    if selection.rule != "held-out-concepts":
        assert_never(selection.rule)
    held_out = held_out_rows(concepts, selection.share, seed)
    start = {name: value.clone() for name, value in trainable(learner.model).items()}
    kept = pairs(sets, np.setdiff1d(everything, held_out), device, classes)
    search = loop(learner, budget, kept, seed, validation=pairs(sets, held_out, device))
    best = int(search["epoch"][search["held_out_top1"].idxmax()])
    log.info("train: epoch %d is best on held-out concepts (Top-1 %.3f); training again on all concepts",
             best, search["held_out_top1"].max())  # fmt: skip
    learner.model.load_state_dict(start, strict=False)
    final = loop(learner, budget, pairs(sets, everything, device, classes), seed, stop_after=best)
    final["held_out_top1"] = search["held_out_top1"][:best].to_numpy()
    for name in cost.COLUMNS:  # the search is a part of what this model cost
        final[f"search_{name}"] = search[name].sum() / best
    return final


def loop(
    learner: Learner,
    budget: Budget,
    data: Pairs,
    seed: int,
    validation: Pairs | None = None,
    stop_after: int | None = None,
) -> pd.DataFrame:
    """AdamW over batches of pictures, each with all its responses."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    (draws,) = rng.spawn(1)  # so that what a loss draws does not change the order of the batches
    optimiser = torch.optim.AdamW(learner.parameter_groups(), weight_decay=budget.weight_decay, fused=True)
    steps = steps_of(len(data.units) if data.classes is None else balance.size(data.classes), budget.batch_size)
    waits, total = steps * learner.frozen_epochs, steps * budget.epochs
    rates = [
        delayed(budget, total, waits) if waits and one["joins"] else learning_rate(budget, total)
        for one in optimiser.param_groups
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rates)
    device = learner.model.scale.device
    history = []
    epochs = range(1, (stop_after or budget.epochs) + 1)
    for epoch in stage.progress(epochs, "train: epochs", every_s=10):
        meter = cost.Meter()
        torch_device.watch_peak(device)
        learner.model.train()
        learner.begin(epoch)
        losses = []
        order = rng.permutation(len(data.units)) if data.classes is None else balance.order(data.classes, rng)
        for batch in np.array_split(order, steps):
            loss = learner.loss(data, np.concatenate([data.units[unit] for unit in batch]), draws)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learner.model.parameters(), budget.clip_norm)
            optimiser.step()
            learner.settle()
            schedule.step()
            losses.append(loss.detach())
        found = torch.stack(losses).double().cpu().numpy()  # nobody waits for the device before the end of the epoch
        if not np.isfinite(found).all():
            raise stage.InputError(
                f"training diverged in epoch {epoch} (loss {found[~np.isfinite(found)][0]}): lower optimiser.lr (and "
                "lr_visual where there is one), or check how the responses are normalised (responses.whitening, "
                "voxels.normalise)"
            )
        spent = meter.read()
        history.append(
            {
                "epoch": epoch,
                "loss": float(np.mean(found)),
                "scale": learner.model.scale.item(),
                "lr": schedule.get_last_lr()[0],
                "held_out_top1": math.nan if validation is None else learner.top1(validation),
                **spent,
                "device": torch_device.name(device),
                "pictures_per_s": len(order) / spent["seconds"],
                "gpu_memory_gb": torch_device.peak_gb(device),
                **learner.measured(),
            }
        )
    made = pd.DataFrame(history)
    peak = "" if device.type == "cpu" else f", at most {made['gpu_memory_gb'].max():.1f} GB of its memory"
    log.info("train: %.0f pictures/s on %s%s", made["pictures_per_s"].median(), torch_device.name(device), peak)
    return made


def steps_of(n: int, batch_size: int) -> int:
    """Number of batches of equal size, give or take one, none of which is larger than asked for."""
    return max(1, math.ceil(n / batch_size))


def held_out_rows(concepts: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Responses to a share of the training concepts (at least two); ``concepts`` has that of each response."""
    names = np.unique(concepts)
    count = max(2, round(share * len(names)))
    if count >= len(names):
        raise stage.InputError(
            f"selection.share {share} of {len(names)} training concepts leaves none to train on; "
            "use selection.rule: last"
        )
    chosen = np.random.default_rng(seed).choice(names, count, replace=False)
    return np.flatnonzero(np.isin(concepts, chosen))


def delayed(budget: Budget, steps: int, waits: int) -> Callable[[int], float]:
    """Factor on the learning rate of what joins late: none for some steps, then a whole schedule over the rest."""
    rate = learning_rate(budget, steps - waits)
    return lambda step: 0.0 if step < waits else rate(step - waits)


def learning_rate(budget: Budget, steps: int) -> Callable[[int], float]:
    """Factor on the learning rate by step: linear rise, then what the schedule says."""
    rise = max(1, round(budget.warmup * steps))
    schedule = kinds.load("schedules", budget.schedule.kind)(budget.schedule, steps - rise)

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else schedule(step - rise)

    return factor
