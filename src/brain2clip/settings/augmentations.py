"""Random changes of responses in training, never of test responses; each kind is one change."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Kind, from_outside, tag


class AugmentationBase(Kind):
    """Random change of responses in training: settings of all kinds."""

    family: ClassVar[str] = "augmentations"
    #: Whether it needs responses over time, which voxels do not have.
    over_time: ClassVar[bool] = False
    #: Whether it mixes responses of a batch, so that each has two targets.
    mixes: ClassVar[bool] = False

    kind: str
    drawn: Literal["every-step", "once"] = Field(
        "every-step",
        description="every-step: drawn each time a response is in a batch; once: drawn for all responses before the "
        "first epoch (and so applied before what is drawn in every step)",
    )


class ChannelSmoothing(AugmentationBase):
    """Some channels of a response pass a moving average over time."""

    over_time: ClassVar[bool] = True

    kind: Literal["smoothing"] = "smoothing"
    probability: float = Field(0.3, ge=0, le=1, description="probability that a channel of a response is set to zero")
    window_s: float = Field(
        0.02,
        gt=0,
        description="width of the moving average (an odd number of samples; fewer at the edges), s",
    )


class GaussianNoise(AugmentationBase):
    """Gaussian noise on every number."""

    kind: Literal["noise"] = "noise"
    deviation: float = Field(0.1, ge=0, description="standard deviation, in units of the responses")


class ChannelDropout(AugmentationBase):
    """Some channels of a response are set to zero (the mean of whitened responses); the others are not changed."""

    kind: Literal["channel-dropout"] = "channel-dropout"
    probability: float = Field(
        0.1, ge=0, lt=1, description="probability that a channel (or voxel) of a response is set to zero"
    )


class TimeDropout(AugmentationBase):
    """A span of time is set to zero in all channels of a response."""

    over_time: ClassVar[bool] = True

    kind: Literal["time-dropout"] = "time-dropout"
    probability: float = Field(0.5, ge=0, le=1, description="probability that a response is changed")
    span_s: float = Field(0.1, gt=0, description="length of the span, anywhere within the response, s")


class TimeShift(AugmentationBase):
    """A response is shifted in time; at the edge, its last value is repeated."""

    over_time: ClassVar[bool] = True

    kind: Literal["time-shift"] = "time-shift"
    most_s: float = Field(0.02, gt=0, description="largest shift (all whole numbers of samples are equally likely), s")


class Mixup(AugmentationBase):
    """Each response is mixed with another one of its subject; both pictures are targets, weighted by the shares."""

    mixes: ClassVar[bool] = True

    kind: Literal["mixup"] = "mixup"
    drawn: Literal["every-step"] = Field("every-step", description="partners are those of a batch")
    concentration: float = Field(
        0.2, gt=0, description="the share of a response's own is drawn from Beta(x, x), one for each batch"
    )


ResponseAugmentation = Annotated[
    Annotated[ChannelSmoothing, Tag("smoothing")]
    | Annotated[GaussianNoise, Tag("noise")]
    | Annotated[ChannelDropout, Tag("channel-dropout")]
    | Annotated[TimeDropout, Tag("time-dropout")]
    | Annotated[TimeShift, Tag("time-shift")]
    | Annotated[Mixup, Tag("mixup")]
    | Annotated[SerializeAsAny[AugmentationBase], from_outside(AugmentationBase), Tag(EXTERNAL)],
    Discriminator(tag("augmentations")),
]
