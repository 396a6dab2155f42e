"""Tables of the report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, Name


class Table(Block):
    """A table of the report."""

    kind: Literal["methods", "ablation", "repetitions", "contrast", "overview"] = Field(
        description="methods: methods by subjects; ablation: difference of each method to the reference; repetitions: "
        "accuracy over averaged repetitions; contrast: paired differences to the reference with intervals; overview: "
        "EEG and fMRI side by side, a line per study, band or region, protocol and method, a column per task"
    )
    experiments: tuple[Name, ...] = Field(min_length=1, description="experiments whose runs it shows")
    metric: str = Field(
        "top-1",
        pattern=r"^((stimulus|category|caption|stimulus-to-brain|caption-to-brain)(/[1-9]\d*)?:)?"
        r"(top-[1-9]\d*|[1-9]\d*-way|median-rank|mean-rank)(@[1-9]\d*)?$",
        description="metric shown: top-K, N-way, median-rank or mean-rank, with @R for R averaged repetitions and, "
        "before it, 'TASK:' for another task than stimulus or 'TASK/SIZE:' for pools, as in category:top-1@1",
    )
    reference: Name | None = Field(None, description="method that differences are taken to")

    @model_validator(mode="after")
    def _reference_given(self) -> Table:
        if self.kind in ("ablation", "contrast") and self.reference is None:
            raise ValueError(f"a table of kind {self.kind} needs a reference method")
        return self
