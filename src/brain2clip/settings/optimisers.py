"""Optimiser, budget and choice of the epoch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from brain2clip.settings.base import Block, neutral
from brain2clip.settings.schedules import Cosine, Schedule


class Budget(Block):
    """AdamW and its budget; a baseline gets the same."""

    epochs: int = Field(50, ge=1, description="passes over the training pictures")
    batch_size: int = Field(
        1024, ge=2, description="pictures per step, each with all its responses (single responses for few categories)"
    )
    lr: float = Field(1e-4, gt=0, description="learning rate of encoder, mapping and heads")
    weight_decay: float = Field(1e-4, ge=0, description="decoupled weight decay")
    schedule: Schedule = Field(
        default_factory=Cosine, description="learning rate over the steps; the name of a kind is short for its block"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")


class MappingBudget(Budget):
    """The same with what suits a mapping network."""

    epochs: int = Field(100, ge=1, description="passes over the training pictures")
    batch_size: int = Field(256, ge=2, description="pictures per step, each with all its responses")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    weight_decay: float = Field(0.05, ge=0, description="decoupled weight decay")


class Optimiser(Budget):
    """The same for a method that drives the tower."""

    lr_visual: float = Field(1e-3, gt=0, description="learning rate of filter, fusion, prompts and adapter")
    frozen_epochs: int = neutral(
        0,
        ge=0,
        description="epochs at the start in which pictures are those of the frozen tower, which costs next to nothing; "
        "filter, fusion, prompts and adapter join for the rest, with a schedule of their own",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="autocast of the tower in training: auto takes bf16 where the device is fast with it"
    )
    checkpointing: bool = neutral(
        False, description="recompute block activations (large towers): less memory, more time"
    )
    compile: bool = neutral(
        False, description="blocks of a driven tower through torch.compile: a minute at the start, then shorter steps"
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = neutral(
        None,
        description="pictures of a batch that a driven tower sees at once: the loss stays that of the whole batch, and "
        "a second pass forward is paid for the memory of so few (gradient caching). auto: as many as fit into the "
        "memory of the GPU, on a CPU all; null: all",
    )


class Selection(Block):
    """How the epoch is chosen; never by test data."""

    rule: Literal["last", "held-out-concepts"] = Field(
        "last",
        description="last: a fixed number of epochs; held-out-concepts: the epoch with the best retrieval of training "
        "concepts kept aside",
    )
    share: float = Field(0.1, gt=0, lt=0.9, description="share of the training concepts kept aside")
