"""Frozen CLIPs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, Filled


class FilterBank(Block):
    """Ring bands over spatial frequency into which every picture is decomposed; they sum to one."""

    bands: int = Field(4, ge=1, le=16, description="number of ring bands K; the constant part is in the first band")
    shape: Literal["raised-cosine", "box"] = Field(
        "raised-cosine", description="shape of a band's window over the logarithm of spatial frequency"
    )
    lowest: float = Field(
        0.1, gt=0, lt=1, description="centre of the first band, as a fraction of the Nyquist frequency of the picture"
    )


class Tower(Block):
    """A frozen CLIP, and how its features are stored."""

    model: Filled = Field(
        description="open_clip architecture, or 'local-dir:FOLDER' (open_clip_config.json and weights)"
    )
    pretrained: Filled | None = Field(
        None, description="open_clip pretrained tag or path of a checkpoint (null for local-dir)"
    )
    batch_size: int = Field(128, ge=1, description="pictures per forward pass")
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="stored precision of patch tokens and of further vectors"
    )
    cache: Literal["tokens", "pictures", "auto"] = Field(
        "auto",
        description="tokens: patch tokens of every band are stored; pictures: 8-bit pictures are stored and the bands "
        "made on the device; auto: tokens up to cache_limit_gb",
    )
    cache_limit_gb: float = Field(12.0, gt=0, description="largest token cache that auto writes, GB")
    vectors_limit_gb: float = Field(
        8.0,
        gt=0,
        description="largest file of further vectors of pictures that may be written, GB; only a limit: changing it "
        "reruns nothing",
    )
    filter_bank: FilterBank = Field(default_factory=FilterBank, description="spatial frequency bands of the picture")

    def for_features(self) -> dict[str, Any]:
        """What features, and whatever is made of them, depend on, as JSON."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name != "vectors_limit_gb"}

    def for_vectors(self) -> dict[str, Any]:
        """What further vectors of pictures depend on, as JSON."""
        read = ("model", "pretrained", "batch_size", "dtype")
        return {name: value for name, value in self.for_features().items() if name in read}

    @model_validator(mode="after")
    def _one_source(self) -> Tower:
        if self.model.startswith("local-dir:") and self.pretrained is not None:
            raise ValueError(
                f"pretrained: found {self.pretrained!r} with model: {self.model!r}, whose folder has weights of its "
                "own; expected null"
            )
        return self
