"""Small trained changes of the weights of a frozen tower."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, EachOnce, Kind, from_outside, neutral, tag


class AdapterBase(Kind):
    """Trained change of the weights of a frozen tower: settings of all kinds."""

    family: ClassVar[str] = "adapters"

    kind: str


class Lora(AdapterBase):
    """Low-rank changes of the weights of blocks: W + alpha / rank B A (LoRA)."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(4, ge=1, description="rank of each change")
    alpha: float = Field(8.0, gt=0, description="the change is scaled by alpha / rank")
    last_blocks: int | None = Field(None, ge=1, description="adapt only the last n blocks (null: all)")
    weights: Annotated[tuple[Literal["attention", "mlp", "projection"], ...], EachOnce] = Field(
        ("attention",),
        min_length=1,
        description="attention: input and output projections of the attention; mlp: both layers of the MLP; "
        "projection: the projection of the last block to the joint embedding",
    )
    separate: bool = neutral(
        False, description="q, k and v have separate changes; false: one change for their joint weight"
    )
    start: Literal["kaiming", "gaussian"] = neutral(
        "kaiming", description="initial values of A: kaiming, as the weight of a linear layer; gaussian: N(0, 1 / rank)"
    )


Adapter = Annotated[
    Annotated[Lora, Tag("lora")] | Annotated[SerializeAsAny[AdapterBase], from_outside(AdapterBase), Tag(EXTERNAL)],
    Discriminator(tag("adapters", default="lora")),
]
