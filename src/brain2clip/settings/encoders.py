"""Networks from a brain response to an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, neutral, tag


class EncoderBase(Kind):
    """Network from a brain response to an embedding: settings of all kinds."""

    family: ClassVar[str] = "encoders"
    renamed: ClassVar[dict[str, str]] = {"name": "kind"}
    #: Whether it convolves over time, which takes longer than a linear layer (for :mod:`brain2clip.plan.amounts`).
    convolves: ClassVar[bool] = False
    #: What it takes beside one linear layer, or beside ``tsconv`` where it convolves (bench/training.py).
    effort: ClassVar[float] = 1.0
    #: Whether it takes the number of the subject beside a response: ``forward(x, subject)``.
    by_subject: ClassVar[bool] = False
    #: Package beyond those of the project that it needs, and which of the extras brings.
    package: ClassVar[str | None] = None

    kind: str
    width: int = Field(512, ge=8, description="size of the encoder's embedding")
    smoothing_s: float = neutral(0.0, ge=0, description="moving average over time before the encoder, s (0: none)")
    init: Literal["default", "normal"] = neutral(
        "default",
        description="initial weights: PyTorch's own; normal: of convolutions and linear layers N(0, 0.02), of batch "
        "normalisation N(1, 0.02)",
    )


class EegProject(EncoderBase):
    """Linear projection with a residual block (UBP)."""

    kind: Literal["eegproject"] = "eegproject"
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability in the residual block")


class TsConv(EncoderBase):
    """Temporal then spatial convolution (NICE)."""

    convolves: ClassVar[bool] = True

    kind: Literal["tsconv"] = "tsconv"
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability")


class Nice(EncoderBase):
    """Temporal then spatial convolution and one of 1 x 1 (NICE as its code has it)."""

    convolves: ClassVar[bool] = True

    kind: Literal["nice"] = "nice"
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability")


class ShallowNet(EncoderBase):
    """ShallowNet of tables on EEG retrieval, with full convolutions; not braindecode's network of that name."""

    convolves: ClassVar[bool] = True
    effort: ClassVar[float] = 0.4

    kind: Literal["shallownet"] = "shallownet"
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability")


class DeepNet(EncoderBase):
    """DeepNet of tables on EEG retrieval, with full convolutions; not braindecode's network of that name."""

    convolves: ClassVar[bool] = True
    effort: ClassVar[float] = 0.45

    kind: Literal["deepnet"] = "deepnet"
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability")


class EegNet(EncoderBase):
    """EEGNet of tables on EEG retrieval, with full convolutions; not braindecode's network of that name."""

    convolves: ClassVar[bool] = True
    effort: ClassVar[float] = 1.4

    kind: Literal["eegnet"] = "eegnet"
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability")


class Stae(EncoderBase):
    """Learned weights over time, then the network of kind eegproject (ATS)."""

    kind: Literal["stae"] = "stae"
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability in the residual block")


class BrainMlp(EncoderBase):
    """Linear layer and a residual block without biases (BrainMLP)."""

    kind: Literal["brainmlp"] = "brainmlp"
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability in the residual block")


class Atm(EncoderBase):
    """Transformer over channels with a token of the subject, then the network of kind nice (ATM-S)."""

    convolves: ClassVar[bool] = True
    effort: ClassVar[float] = 2.8
    by_subject: ClassVar[bool] = True

    kind: Literal["atm"] = "atm"
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability of the convolutions and the projection")
    dropout_tokens: float = Field(0.25, ge=0, lt=1, description="dropout probability of the tokens and the transformer")
    subject_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="probability that a training response takes the common token in place of its subject's token; "
        "subjects who were not in training get the common token (0: there is no common token, and they get the mean "
        "token of the training subjects)",
    )
    keep_last: bool = Field(
        False,
        description="true: the tokens of all channels are passed on; false, as in the original's code: the subject's "
        "token takes the place of the last channel's",
    )


class SpatialFilters(EncoderBase):
    """Non-negative weights over channels, then layers over the time course of each such filter (multi-blur)."""

    kind: Literal["spatial-filters"] = "spatial-filters"
    filters: int = Field(25, ge=1, description="filters over channels")
    hidden: int = Field(200, ge=1, description="width of the layers over time")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout probability after the first layer over time")
    dropout_last: float = Field(0.65, ge=0, lt=1, description="dropout probability after the second layer over time")


class Braindecode(EncoderBase):
    """A network of the library braindecode by its name; ``braindecode:NAME`` is short for both keys."""

    convolves: ClassVar[bool] = True
    package: ClassVar[str | None] = "braindecode"

    kind: Literal["braindecode"] = "braindecode"
    model: str = Field(pattern=r"^[A-Za-z_]\w*$", description="name of a class of braindecode.models, as EEGConformer")


def _model_in_kind(value: Any) -> Any:
    """``kind: braindecode:EEGConformer`` is short for ``kind: braindecode, model: EEGConformer``."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    library, colon, model = kind.partition(":") if isinstance(kind, str) else ("", "", "")
    if library != "braindecode" or not colon:
        return value
    return {"model": model, **value, "kind": library}


Encoder = Annotated[
    Annotated[EegProject, Tag("eegproject")]
    | Annotated[TsConv, Tag("tsconv")]
    | Annotated[Nice, Tag("nice")]
    | Annotated[ShallowNet, Tag("shallownet")]
    | Annotated[DeepNet, Tag("deepnet")]
    | Annotated[EegNet, Tag("eegnet")]
    | Annotated[Stae, Tag("stae")]
    | Annotated[BrainMlp, Tag("brainmlp")]
    | Annotated[Atm, Tag("atm")]
    | Annotated[SpatialFilters, Tag("spatial-filters")]
    | Annotated[Braindecode, Tag("braindecode")]
    | Annotated[SerializeAsAny[EncoderBase], from_outside(EncoderBase), Tag(EXTERNAL)],
    Discriminator(tag("encoders", default="eegproject")),
    BeforeValidator(_model_in_kind),
]
