"""The training loop, the same for every method, and the choice of the epoch.

The epoch is fixed in advance, or that in which the training loss has stopped falling, or chosen on training concepts
kept aside; by default the model is then trained again on all training concepts for that many epochs.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, assert_never

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from brain2clip import kinds, stage
from brain2clip.internals import torch_device
from brain2clip.models.parameters import trainable
from brain2clip.settings import Budget, SecondStage, Selection
from brain2clip.training import balance, cost, optimising
from brain2clip.training.averaging import Average
from brain2clip.training.data import Pairs, Responses, pairs
from brain2clip.training.selection import Watch, held_out_loss

log = logging.getLogger("brain2clip")


class Learner(Protocol):
    """A learner, which the loop trains.

    Attributes
    ----------
    model : nn.Module
        With a logit scale, ``scale``.
    frozen_epochs : int
        Epochs in which parameter groups that say ``joins`` wait.
    """

    model: Any
    frozen_epochs: int

    def once(self, data: Pairs, rng: np.random.Generator) -> Pairs:
        """Training pairs after what is done to them before the first epoch."""

    def begin(self, epoch: int) -> None:
        """Make ready for an epoch, counted from 1."""

    def parameter_groups(self) -> list[dict]:
        """Groups for the optimiser, each with its learning rate; ``joins``: whether it waits for ``frozen_epochs``."""

    def settle(self) -> None:
        """Put values back into their range after a step, as CLIP does with its scale."""

    def measured(self) -> dict[str, float]:
        """Further columns of the history for the epoch that has just passed."""

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch, the responses ``rows``; ``rng`` is for its draws. Augmented in training mode only."""

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
    watch = watch_of(learner, budget, selection)
    if selection.rule == "last" or selection.rule == "training-loss":
        return loop(learner, budget, pairs(sets, everything, device, classes), seed, watch=watch)
    if selection.rule != "held-out-concepts":
        assert_never(selection.rule)
    held_out = held_out_rows(concepts, selection.share, seed)
    start = {name: value.clone() for name, value in trainable(learner.model).items()}
    kept = pairs(sets, np.setdiff1d(everything, held_out), device, classes)
    search = loop(learner, budget, kept, seed, validation=pairs(sets, held_out, device), watch=watch)
    best = int(search["epoch"][search["held_out_top1"].idxmax()]) if watch is None else watch.epoch
    log.info("train: epoch %d of %d is best on held-out concepts (Top-1 %.3f)%s",
             best, len(search), search["held_out_top1"][best - 1],
             "; training again on all concepts" if selection.retrain else "")  # fmt: skip
    if watch is not None and not selection.retrain:
        learner.model.load_state_dict(watch.model, strict=False)
        spent = {f"search_{name}": search[name][best:].sum() / best for name in cost.COLUMNS}
        return search[:best].assign(**spent)
    learner.model.load_state_dict(start, strict=False)
    final = loop(learner, budget, pairs(sets, everything, device, classes), seed, stop_after=best)
    for name in ("held_out_top1", "held_out_loss"):
        if name in search:
            final[name] = search[name][:best].to_numpy()
    for name in cost.COLUMNS:  # the search is a part of what this model cost
        final[f"search_{name}"] = search[name].sum() / best
    return final


def watch_of(learner: Learner, budget: Budget, selection: Selection) -> Watch | None:
    """What looks at each epoch; None where all are tried, and the best one is told by the history."""
    if selection.patience is None and selection.criterion == "top-1" and selection.retrain:
        return None
    return Watch(selection, max(learner.frozen_epochs, budget.second.after if budget.second else 0))


def loop(
    learner: Learner,
    budget: Budget,
    data: Pairs,
    seed: int,
    validation: Pairs | None = None,
    stop_after: int | None = None,
    watch: Watch | None = None,
) -> pd.DataFrame:
    """Train over batches of pictures, each with all its responses, or of single responses; a row per epoch.

    With ``watch`` fewer epochs may be enough, with ``stop_after`` so many are.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    (draws,) = rng.spawn(1)  # so that what a loss draws does not change the order of the batches
    data = learner.once(data, draws)
    if budget.batch_of == "responses":
        data = optimising.one_by_one(data)
    elif budget.batch_of != "pictures":
        assert_never(budget.batch_of)
    size = len(data.units) if data.classes is None else balance.size(data.classes)
    steps = steps_of(size, budget.batch_size, budget.batches == "exact-drop-last")
    model, device = learner.model, learner.model.scale.device
    average = None if budget.ema is None else Average(model, budget.ema)
    optimiser, schedule = first_stage(learner, budget, steps)
    second = budget.second
    later = [] if second is None else optimising.frozen_of(model, second.freeze)
    frozen: list[torch.nn.Parameter] = []
    history = []
    epochs = range(1, (stop_after or budget.epochs) + 1)
    for epoch in stage.progress(epochs, "train: epochs", every_s=10):
        meter = cost.Meter()
        torch_device.watch_peak(device)
        if second is not None and epoch == second.after + 1:
            optimiser, schedule = second_stage(learner, budget, second, steps)
            frozen = later
        model.train()
        learner.begin(epoch)
        losses = []
        order = rng.permutation(len(data.units)) if data.classes is None else balance.order(data.classes, rng)
        parts = batches(order, steps, budget)
        seen = sum(len(batch) for batch in parts)
        for batch in parts:
            loss = learner.loss(data, np.concatenate([data.units[unit] for unit in batch]), draws)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for parameter in frozen:
                parameter.grad = None
            if budget.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), budget.clip_norm)
            optimiser.step()
            learner.settle()
            if average is not None:
                average.update()
            schedule.step()
            losses.append(loss.detach())
        found = torch.stack(losses).double().cpu().numpy()  # nobody waits for the device before the end of the epoch
        if not np.isfinite(found).all():
            raise stage.InputError(
                f"training diverged in epoch {epoch} (loss {found[~np.isfinite(found)][0]}): lower optimiser.lr (and "
                "lr_visual if the method has it), or check how the responses are normalised (responses.whitening, "
                "voxels.normalise)"
            )
        spent = meter.read()
        with contextlib.nullcontext() if average is None else average.in_use():
            row = {
                "epoch": epoch,
                "loss": float(np.mean(found)),
                "scale": model.scale.item(),
                "lr": schedule.get_last_lr()[0],
                "held_out_top1": math.nan if validation is None else learner.top1(validation),
                **spent,
                "device": torch_device.name(device),
                "pictures_per_s": seen / spent["seconds"],
                "gpu_memory_gb": torch_device.peak_gb(device),
                **learner.measured(),
                **({} if second is None else {"stage": 1 + (epoch > second.after)}),
            }
            if validation is not None and watch is not None and watch.column == "held_out_loss":
                count = steps_of(len(validation.units), budget.batch_size)
                row["held_out_loss"] = held_out_loss(learner, validation, count, seed)
            history.append(row)
            if watch is not None and watch.enough(row, model):
                log.info("train: stopped at epoch %d; the best is still epoch %d", epoch, watch.epoch)
                break
    if average is not None:
        average.use()
    made = pd.DataFrame(history)
    peak = "" if device.type == "cpu" else f", at most {made['gpu_memory_gb'].max():.1f} GB of its memory"
    log.info("train: %.0f pictures/s on %s%s", made["pictures_per_s"].median(), torch_device.name(device), peak)
    return made


def first_stage(learner: Learner, budget: Budget, steps: int) -> tuple[Optimizer, LambdaLR]:
    """Optimiser and schedule until the second stage begins, or to the end; ``steps`` are those of an epoch."""
    waits = steps * learner.frozen_epochs
    total = steps * (budget.epochs if budget.second is None else budget.second.after)
    optimiser = optimising.optimiser_of(learner.parameter_groups(), budget)
    rates = [
        delayed(budget, total, waits, steps) if waits and one["joins"] else learning_rate(budget, total, steps)
        for one in optimiser.param_groups
    ]
    return optimiser, LambdaLR(optimiser, rates)


def second_stage(learner: Learner, budget: Budget, second: SecondStage, steps: int) -> tuple[Optimizer, LambdaLR]:
    """New ones for the rest of the epochs."""
    groups = optimising.in_proportion(learner.parameter_groups(), second, budget.lr)
    optimiser = optimising.optimiser_of(groups, budget)
    return optimiser, LambdaLR(optimiser, learning_rate(budget, steps * (budget.epochs - second.after), steps))


def steps_of(n: int, batch_size: int, drop_last: bool = False) -> int:
    """Number of batches of an epoch, none of which is larger than asked for."""
    return max(1, n // batch_size if drop_last else math.ceil(n / batch_size))


def batches(order: np.ndarray, steps: int, budget: Budget) -> list[np.ndarray]:
    """Batches of an epoch: of equal size, give or take one, where the budget does not say that they are exact."""
    if budget.batches == "equal":
        return np.array_split(order, steps)
    return optimising.exact_batches(order, budget.batch_size, steps)


def held_out_rows(concepts: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Responses to a share of the training concepts (at least two); ``concepts`` has that of each response."""
    names = np.unique(concepts)
    count = max(2, round(share * len(names)))
    if count >= len(names):
        raise stage.InputError(
            f"selection.share {share} of {len(names)} training concepts leaves none to train on; set selection.rule: "
            "last"
        )
    chosen = np.random.default_rng(seed).choice(names, count, replace=False)
    return np.flatnonzero(np.isin(concepts, chosen))


def delayed(budget: Budget, steps: int, waits: int, per_epoch: int) -> Callable[[int], float]:
    """Factor on the learning rate of what joins late: none for some steps, then a whole schedule over the rest."""
    rate = learning_rate(budget, steps - waits, per_epoch)
    return lambda step: 0.0 if step < waits else rate(step - waits)


def learning_rate(budget: Budget, steps: int, per_epoch: int | None = None) -> Callable[[int], float]:
    """Factor on the learning rate by step: linear rise, then what the schedule says.

    Of ``steps`` so many are ``per_epoch``; if nothing is said, they are those of all epochs of the budget.
    """
    rise = max(1, round(budget.warmup * steps)) if budget.warmup else 0
    told = [max(1, per_epoch or steps // budget.epochs)] if budget.schedule.by_epoch else []
    schedule = kinds.load("schedules", budget.schedule.kind)(budget.schedule, steps - rise, *told)

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else schedule(step - rise)

    return factor
