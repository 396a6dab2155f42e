"""Learning rate over the steps of a training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, tag


class ScheduleBase(Kind):
    """Learning rate over the steps after the warm-up: settings of all kinds."""

    family: ClassVar[str] = "schedules"
    #: Whether it is told how many steps an epoch has.
    by_epoch: ClassVar[bool] = False
    #: Whether it has a rise of its own, so that a warm-up before it makes no sense.
    rises: ClassVar[bool] = False

    kind: str


class Constant(ScheduleBase):
    """The same rate for all steps."""

    kind: Literal["constant"] = "constant"


class Cosine(ScheduleBase):
    """Falls along half a cosine to zero."""

    kind: Literal["cosine"] = "cosine"


class Step(ScheduleBase):
    """Lowered by a factor at given epochs."""

    by_epoch: ClassVar[bool] = True

    kind: Literal["step"] = "step"
    every: int = Field(
        50, ge=1, description="epochs at which the learning rate changes, counted from the end of the warm-up"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor on the learning rate at each of these epochs")


class OneCycle(ScheduleBase):
    """Rises along half a cosine, then falls along half a cosine (needs ``warmup: 0``)."""

    rises: ClassVar[bool] = True

    kind: Literal["one-cycle"] = "one-cycle"
    up: float = Field(0.3, gt=0, lt=1, description="share of the steps in which the rate rises")
    div: float = Field(25.0, ge=1, description="the first rate is the learning rate divided by this")
    final_div: float = Field(1e4, ge=1, description="the last rate is the first one divided by this")


def _by_name(value: Any) -> Any:
    """``schedule: cosine`` is short for ``schedule: {kind: cosine}``."""
    return {"kind": value} if isinstance(value, str) else value


_Block = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Step, Tag("step")]
    | Annotated[OneCycle, Tag("one-cycle")]
    | Annotated[SerializeAsAny[ScheduleBase], from_outside(ScheduleBase), Tag(EXTERNAL)],
    Discriminator(tag("schedules", default="cosine")),
]
Schedule = Annotated[_Block, BeforeValidator(_by_name, json_schema_input_type=_Block | str)]
