"""Dynamic filters: the filtered stream of a picture from its frequency bands."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, tag

Init = Literal["allpass", "lowpass"]


class FilterBase(Kind):
    """Filtered stream of a picture from its frequency bands: settings of all kinds."""

    family: ClassVar[str] = "filters"
    renamed: ClassVar[dict[str, str]] = {"form": "kind"}

    kind: str


class Gains(FilterBase):
    """Gains in (0, 2) per band from the picture's content: 2 sigmoid."""

    kind: Literal["gains"] = "gains"
    init: Init = Field("allpass", description="gains at the start of training")
    reduction: int = Field(16, ge=1, description="bottleneck of the gain network: width / reduction")


class Softmax(FilterBase):
    """Gains per band from the picture's content; bands compete: K softmax."""

    kind: Literal["softmax"] = "softmax"
    init: Init = Field("allpass", description="gains at the start of training")
    reduction: int = Field(16, ge=1, description="bottleneck of the gain network: width / reduction")


class Fixed(FilterBase):
    """Learned gains that are the same for all pictures."""

    kind: Literal["fixed"] = "fixed"
    init: Init = Field("allpass", description="gains at the start of training")


class NoFilter(FilterBase):
    """The filtered stream equals the raw one."""

    kind: Literal["off"] = "off"


Filter = Annotated[
    Annotated[Gains, Tag("gains")]
    | Annotated[Softmax, Tag("softmax")]
    | Annotated[Fixed, Tag("fixed")]
    | Annotated[NoFilter, Tag("off")]
    | Annotated[SerializeAsAny[FilterBase], from_outside(FilterBase), Tag(EXTERNAL)],
    Discriminator(tag("filters", default="gains")),
]
