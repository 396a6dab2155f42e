"""The optimiser of a stage of a training, and the batches of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
import torch
from torch import nn

from brain2clip.settings import Budget, SecondStage
from brain2clip.stage import InputError
from brain2clip.training.data import Pairs


def optimiser_of(groups: list[dict], budget: Budget) -> torch.optim.Optimizer:
    """A new optimiser of groups of parameters, in which vectors say that they do not decay."""
    if budget.decay_biases:
        groups = all_decaying(groups)
    given: dict[str, Any] = {
        "weight_decay": budget.weight_decay,
        "betas": budget.betas,
        "eps": budget.eps,
        "fused": True,
    }
    if budget.algorithm == "adamw":
        return torch.optim.AdamW(groups, **given)
    if budget.algorithm == "adam":
        return torch.optim.Adam(groups, **given)
    assert_never(budget.algorithm)


def all_decaying(groups: Sequence[dict]) -> list[dict]:
    """Groups that have no weight decay of their own."""
    return [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]


def exact_batches(order: np.ndarray, size: int, steps: int) -> list[np.ndarray]:
    """Batches of so many; the last of so many steps may have fewer, what is beyond them is left out.

    Raises
    ------
    InputError
        Where a single picture is left for the last one, which has no other to be told from.
    """
    parts = [order[start : start + size] for start in range(0, steps * size, size)]
    if len(parts[-1]) == 1 < len(order):
        raise InputError(
            f"optimiser.batches: exact leaves a last batch of one picture ({len(order)} in batches of {size}), which "
            "has no other picture to be compared with; expected exact-drop-last, equal, or another batch_size"
        )
    return parts


def one_by_one(data: Pairs) -> Pairs:
    """Training pairs of which batches are drawn response by response."""
    return replace(data, units=[np.array([row]) for unit in data.units for row in unit])


def in_proportion(groups: Sequence[dict], stage: SecondStage, lr: float) -> list[dict]:
    """Groups with the learning rates of a second stage, which are in the proportion of those of the first."""
    return [{**group, "lr": stage.lr * (group["lr"] / lr)} for group in groups]


def frozen_of(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Trained parameters whose names are those, or begin with one of them up to a dot.

    Raises
    ------
    InputError
        Where one of the names is of none, or nothing is left to train.
    """
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    found: dict[str, nn.Parameter] = {}
    for wanted in names:
        own = {name: one for name, one in trained.items() if f"{name}.".startswith(f"{wanted}.")}
        if not own:
            parts = sorted({name.partition(".")[0] for name in trained})
            raise InputError(
                f"optimiser.second.freeze: found {wanted!r}, which matches no trained parameter; expected a name or "
                f"its first part up to a dot: parts of this model are {', '.join(parts)}"
            )
        found |= own
    if len(found) == len(trained):
        raise InputError(
            "optimiser.second.freeze: no parameter would be trained in the second stage; expected fewer names"
        )
    return list(found.values())
