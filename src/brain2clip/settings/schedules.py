"""Learning rate over the steps of a training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, tag


class ScheduleBase(Kind):
    """Learning rate over the steps after the warm-up: what all kinds have."""

    family: ClassVar[str] = "schedules"

    kind: str


class Constant(ScheduleBase):
    """The same rate for all steps."""

    kind: Literal["constant"] = "constant"


class Cosine(ScheduleBase):
    """Half a cosine down to zero."""

    kind: Literal["cosine"] = "cosine"


def _by_name(value: Any) -> Any:
    """``schedule: cosine`` is short for ``schedule: {kind: cosine}``."""
    return {"kind": value} if isinstance(value, str) else value


_Block = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[SerializeAsAny[ScheduleBase], from_outside(ScheduleBase), Tag(EXTERNAL)],
    Discriminator(tag("schedules", default="cosine")),
]
Schedule = Annotated[_Block, BeforeValidator(_by_name, json_schema_input_type=_Block | str)]
