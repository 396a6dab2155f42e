"""Optimiser, budget and choice of the epoch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, Filled, neutral
from brain2clip.settings.schedules import Cosine, Schedule

#: Share of its past that a moving average keeps.
Decay = Annotated[float, Field(ge=0, lt=1)]


class SecondStage(Block):
    """Second stage of a training: a new optimiser, with schedule and warm-up over the epochs of this stage.

    The schedule of the first stage ends where it begins.
    """

    after: int = Field(ge=1, description="epochs of the first stage")
    lr: float = Field(gt=0, description="learning rate in place of optimiser.lr; lr_visual changes in proportion")
    freeze: tuple[Filled, ...] = Field(
        (),
        description="parameters that are not trained in this stage: full names, or the first part of names up to a "
        "dot (shared means shared.weight and shared.bias)",
    )


class Budget(Block):
    """AdamW (or Adam) and its budget; baselines get the same."""

    epochs: int = Field(50, ge=1, description="passes over the training pictures")
    batch_size: int = Field(
        1024, ge=2, description="pictures per step, each with all its responses (single responses for few categories)"
    )
    lr: float = Field(1e-4, gt=0, description="learning rate of encoder, mapping and heads")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay: decoupled (adamw), or of the gradient (adam)")
    decay_biases: bool = neutral(
        False, description="whether weight decay also applies to biases, norms and the logit scale"
    )
    algorithm: Literal["adamw", "adam"] = neutral("adamw", description="adam: weight decay is added to the gradient")
    betas: tuple[Decay, Decay] = neutral((0.9, 0.999), description="decay rates of the two moments")
    eps: float = neutral(1e-8, gt=0, description="constant added to the denominator")
    schedule: Schedule = Field(
        default_factory=Cosine,
        description="how the learning rate changes over the steps; the name of a kind alone is short for its block",
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps over which the learning rate rises (0: no warm-up)"
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="largest gradient norm, to which larger gradients are clipped (null: no clipping)"
    )
    batches: Literal["equal", "exact", "exact-drop-last"] = neutral(
        "equal",
        description="equal: batches of equal size, at most batch_size; exact: batch_size each, and a smaller last "
        "batch; exact-drop-last: the smaller last batch is not used in that epoch, unless it is the only one",
    )
    batch_of: Literal["pictures", "responses"] = neutral(
        "pictures",
        description="what batch_size counts: pictures, each with all its responses; or single responses, each with "
        "its picture, as most of the field does (the same if each picture has one response)",
    )
    ema: float | None = neutral(
        None,
        gt=0,
        lt=1,
        description="use an exponential moving average of the model over the steps, with this decay per step; "
        "held-out concepts are tested with the average, too (null: use the model of the last step)",
    )
    second: SecondStage | None = neutral(None, description="a second stage of the training")

    @model_validator(mode="after")
    def _one_rise(self) -> Self:
        if self.schedule.rises and self.warmup:
            raise ValueError(
                f"warmup: found {self.warmup:g} with schedule.kind: {self.schedule.kind}, which has its own warm-up; "
                "expected warmup: 0"
            )
        return self

    @model_validator(mode="after")
    def _second_has_epochs(self) -> Self:
        if self.second is not None and self.second.after >= self.epochs:
            raise ValueError(
                f"second.after ({self.second.after}) leaves none of epochs ({self.epochs}) for the second stage"
            )
        return self


class MappingBudget(Budget):
    """The same with what suits a mapping network."""

    epochs: int = Field(100, ge=1, description="passes over the training pictures")
    batch_size: int = Field(256, ge=2, description="pictures per step, each with all its responses")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    weight_decay: float = Field(0.05, ge=0, description="weight decay: decoupled (adamw), or of the gradient (adam)")


class Optimiser(Budget):
    """The same for a method that drives the tower."""

    lr_visual: float = Field(1e-3, gt=0, description="learning rate of filter, fusion, prompts and adapter")
    frozen_epochs: int = neutral(
        0,
        ge=0,
        description="number of epochs at the start that use the vectors of the frozen tower, which is fast; filter, "
        "fusion, prompts and adapter are trained in the remaining epochs, with their own schedule",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="precision of the tower in training (autocast); auto: bf16 if the device is fast with it"
    )
    checkpointing: bool = neutral(
        False, description="recompute block activations (large towers): less memory, more time"
    )
    compile: bool = neutral(
        False,
        description="compile the blocks of a tower with trained prompts or adapters (torch.compile): a minute at the "
        "start, then shorter steps",
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = neutral(
        None,
        description="how many pictures of a batch go through a tower with trained prompts or adapters at once, to "
        "save memory at the cost of a second forward pass (gradient caching); the loss is still the loss of the "
        "whole batch. auto: as many as fit into the memory of the GPU, and all on a CPU; null: all",
    )

    @model_validator(mode="after")
    def _joins_in_the_first_stage(self) -> Self:
        if self.second is not None and self.frozen_epochs > self.second.after:
            raise ValueError(
                f"frozen_epochs ({self.frozen_epochs}) reaches beyond the first stage (second.after: "
                f"{self.second.after}); take fewer"
            )
        return self


class Selection(Block):
    """How the epoch is chosen; never by test data."""

    rule: Literal["last", "held-out-concepts", "training-loss"] = Field(
        "last",
        description="last: the last of a fixed number of epochs; held-out-concepts: the best epoch on training "
        "concepts kept aside; training-loss: the epoch at which the training loss stopped falling, by "
        "patience",
    )
    share: float = Field(0.1, gt=0, lt=0.9, description="share of the training concepts kept aside")
    criterion: Literal["top-1", "loss"] = neutral(
        "top-1",
        description="criterion on the concepts kept aside: the highest Top-1 (the first epoch of equal ones), or the "
        "lowest loss",
    )
    patience: int | None = neutral(
        None,
        ge=1,
        description="stop after this many epochs without a better one; the count starts again when prompts join the "
        "training and in a second stage (null: try all epochs)",
    )
    min_delta: float = neutral(0.0, ge=0, description="smallest improvement by which an epoch counts as better")
    retrain: bool = neutral(
        True, description="train again on all concepts up to the best epoch; false: keep the model of that epoch"
    )

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        wrong = []
        if self.rule == "training-loss" and self.patience is None:
            wrong.append("patience: rule training-loss needs it to stop; expected a number of epochs")
        if self.rule == "last" and self.patience is not None:
            wrong.append("patience: rule last trains a fixed number of epochs; expected another rule, or null")
        if self.min_delta and self.patience is None:
            wrong.append("min_delta: has no effect, because patience is null; expected 0, or a number for patience")
        if self.rule != "held-out-concepts":
            given = {"criterion": self.criterion != "top-1", "retrain": not self.retrain}
            wrong += [
                f"{name}: only rule held-out-concepts uses it; found rule {self.rule}"
                for name, on in given.items()
                if on
            ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
