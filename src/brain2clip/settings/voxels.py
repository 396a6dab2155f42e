"""From voxel signals to responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, neutral


class Voxels(Block):
    """From voxel signals to responses: each step in the order of these keys."""

    not_finite: Literal["refuse", "drop"] = neutral(
        "refuse",
        description="voxels with NaN or an infinite value in any row (outside of the brain in some files). refuse: "
        "stop; drop: leave these voxels out of the region; the log gives their number",
    )
    detrend: Literal["none", "linear"] = neutral(
        "none",
        description="linear: subtract each voxel's straight line over a run (fitted to all rows of the run, also "
        "those without a stimulus)",
    )
    normalise: Literal["training", "session", "run", "none"] = Field(
        "training",
        description="z-score of each voxel. training: by mean and deviation of the training responses, for both "
        "splits; session: by those of the training responses of the same session; run: by those of all rows of the "
        "same run (also in test runs, without their labels); none",
    )
    delay: int = neutral(
        0,
        ge=0,
        description="number of rows from a stimulus to the response to it (time series: the haemodynamic delay)",
    )
    average: Literal["none", "block"] = neutral(
        "none", description="block: consecutive rows of a run with the same stimulus are averaged to one response"
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="stored precision; float16 only with normalisation (its relative error is 2^-11)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Voxels:
        if self.dtype == "float16" and self.normalise == "none":
            raise ValueError("dtype float16 needs normalise: training, session or run; use float32")
        return self
