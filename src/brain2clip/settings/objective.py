"""Losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, EachOnce, neutral


class Mmd(Block):
    """Distance between the distributions of brain and picture embeddings of a batch, as a further term of the loss.

    Its weight falls linearly over the first epochs, and after them it is off.
    """

    start: float = Field(0.9, ge=0, description="weight in the first epoch")
    end: float = Field(0.5, ge=0, description="weight in the last epoch that uses it")
    epochs: int = Field(20, ge=1, description="number of epochs that use it")
    sigmas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], EachOnce] = Field(
        (0.1, 0.2, 0.5, 1.0, 2.0), min_length=1, description="widths of the Gaussian kernels, whose mean is taken"
    )

    def weight(self, epoch: int) -> float:
        """Weight in an epoch, counted from 1."""
        if epoch > self.epochs:
            return 0.0
        return self.start + (self.end - self.start) * (epoch - 1) / max(1, self.epochs - 1)


class Objective(Block):
    """Softened contrastive loss; beta = 0 is symmetric InfoNCE."""

    beta: float = Field(0.2, ge=0, le=1, description="weight of the soft target")
    soft_temperature: float = Field(0.1, gt=0, description="temperature of the soft target")
    soft_perplexity: float | None = neutral(
        None,
        gt=1,
        description="in place of soft_temperature: choose the temperature so that the soft target is spread over "
        "this many pictures of a batch",
    )
    soft_target: Literal["clip", "uniform"] = Field(
        "clip", description="clip: similarity of the frozen CLIP embeddings; uniform: label smoothing"
    )
    disentangle: bool = neutral(
        False, description="soft target over the negatives only, renormalised without the true pair (SoftCLIP)"
    )
    normalise: Literal["image", "both"] = Field(
        "image",
        description="image (recipe A): only the picture embedding has unit length, scale softplus; both (recipe B): "
        "both have, scale exp within [1, 100]",
    )
    scale: Literal["softplus", "exp", "linear", "none"] | None = neutral(
        None,
        description="factor on the similarities: softplus(a), exp(a), linear (a itself) or none (1, whatever a is); "
        "null: as normalise says",
    )
    clamp: bool = neutral(
        True, description="whether a scale exp is kept within [1, 100] after every step (other scales never are)"
    )
    scale_init: float = Field(
        2.6593, ge=-10, le=10, description="start of the learnable logit scale a; ln(1/0.07) = 2.6593"
    )
    learn_scale: bool = Field(True, description="whether the scale is trained")
    directions: Literal["both", "brain-to-picture", "picture-to-brain"] = neutral(
        "both",
        description="both: mean of both cross-entropies; brain-to-picture: each response against the pictures of the "
        "batch; picture-to-brain: each picture against the responses",
    )
    text: float = neutral(
        0.0,
        ge=0,
        le=1,
        description="weight of the text of each picture, which goes through the picture head: (1 - text) L(brain, "
        "picture) + text L(brain, text), without soft target; equal texts in a batch are one candidate",
    )
    text_source: Literal["prompts", "captions"] = neutral(
        "prompts", description="which text: the mean of the prompts of the class, or the mean of the picture's captions"
    )
    mmd: Mmd | None = neutral(
        None, description="maximum mean discrepancy (MMD) between brain and picture embeddings in the loss (null: none)"
    )

    @property
    def scaling(self) -> Literal["softplus", "exp", "linear", "none"]:
        """Kind of the scale."""
        if self.scale is not None:
            return self.scale
        return "softplus" if self.normalise == "image" else "exp"

    @property
    def keeps_scale(self) -> bool:
        """Whether the scale is put back within [1, 100] after every step."""
        return self.clamp and self.scaling == "exp"

    @model_validator(mode="after")
    def _scale_in_range(self) -> Objective:
        if self.keeps_scale and not 0 <= self.scale_init <= 4.6052:
            raise ValueError(
                f"scale_init: found {self.scale_init:g}; scale exp (normalise: both) is kept within [1, 100], so "
                "expected 0 to ln(100) = 4.6052, or clamp: false"
            )
        return self
