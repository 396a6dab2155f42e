"""Losses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, neutral


class Objective(Block):
    """Softened contrastive loss; beta = 0 is symmetric InfoNCE."""

    beta: float = Field(0.2, ge=0, le=1, description="weight of the soft target")
    soft_temperature: float = Field(0.1, gt=0, description="temperature of the soft target")
    soft_perplexity: float | None = neutral(
        None,
        gt=1,
        description="set the temperature of the soft target so that, in a batch of training pictures, so many share "
        "its "
        "mass; instead of soft_temperature",
    )
    soft_target: Literal["clip", "uniform"] = Field(
        "clip", description="clip: similarity of the frozen CLIP embeddings; uniform: label smoothing"
    )
    disentangle: bool = neutral(
        False, description="soft part over negatives only, renormalised without the true pair (SoftCLIP)"
    )
    normalise: Literal["image", "both"] = Field(
        "image",
        description="image (recipe A): only the picture embedding has unit length, scale softplus; both (recipe B): "
        "both have, scale exp within [1, 100]",
    )
    scale_init: float = Field(
        2.6593, ge=-10, le=10, description="start of the learnable logit scale a; ln(1/0.07) = 2.6593"
    )
    learn_scale: bool = Field(True, description="whether the scale is trained")

    @model_validator(mode="after")
    def _scale_in_range(self) -> Objective:
        if self.normalise == "both" and not 0 <= self.scale_init <= 4.6052:
            raise ValueError(
                f"scale_init: found {self.scale_init:g}; normalise: both keeps the scale within [1, 100], so expected "
                "0 to ln(100) = 4.6052"
            )
        return self
