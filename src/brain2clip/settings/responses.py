"""From recording to single-trial brain responses."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.settings.base import EXTERNAL, Block, EachOnce, Filled, Kind, Seed, from_outside, neutral, tag

#: Settings that leave out training epochs: their unit, the one that they are mistaken for, and a usual value.
LIMITS = {
    "reject_uv": ("microvolt", "V", 150),
    "reject_ft": ("fT", "T", 4000),
    "reject_ft_cm": ("fT/cm", "T/m", 4000),
}
#: Less than this, in any of these units, is the amplitude of no epoch.
LEAST_LIMIT = 0.1


class WhiteningBase(Kind):
    """Normalisation of single trials, fitted per recording session on training trials only."""

    family: ClassVar[str] = "whitenings"
    #: Whether responses lose the unit of the recording (V, T), which half precision cannot hold.
    scaled: ClassVar[bool] = True

    kind: str
    clamp: float | None = neutral(
        None, gt=0, description="values beyond +/- this many units are clipped (null: no clipping)"
    )


class MvnnWhitening(WhiteningBase):
    """Multivariate noise normalisation: inverse root of the Ledoit-Wolf covariance of single training epochs."""

    kind: Literal["mvnn"] = "mvnn"


class ZscoreWhitening(WhiteningBase):
    """Per channel mean and standard deviation."""

    kind: Literal["zscore"] = "zscore"


class RobustWhitening(WhiteningBase):
    """Per channel median and interquartile range."""

    kind: Literal["robust"] = "robust"


class NoWhitening(WhiteningBase):
    """Responses stay in V (MEG: T, or T/m), or in the scale of the baseline."""

    scaled: ClassVar[bool] = False

    kind: Literal["none"] = "none"


Whitening = Annotated[
    Annotated[MvnnWhitening, Tag("mvnn")]
    | Annotated[ZscoreWhitening, Tag("zscore")]
    | Annotated[RobustWhitening, Tag("robust")]
    | Annotated[NoWhitening, Tag("none")]
    | Annotated[SerializeAsAny[WhiteningBase], from_outside(WhiteningBase), Tag(EXTERNAL)],
    Discriminator(tag("whitenings", default="mvnn")),
]


class Repetitions(Block):
    """Which trials are kept if a picture has more presentations than intended."""

    train: int | None = neutral(
        None, ge=1, description="training trials kept per picture and recording session (null: all)"
    )
    test: int | None = neutral(None, ge=1, description="test trials kept per picture and recording session (null: all)")
    rule: Literal["first", "random", "shuffle"] = Field(
        "first",
        description="which trials are kept. first: the first in time; random: a seeded draw; shuffle: as in the code "
        "of the THINGS-EEG2 papers, the first trials of scikit-learn's shuffle with the same seed for every picture",
    )
    seed: Seed = Field(20200220, description="seed of the random draw and of the shuffle")


Channels = Annotated[tuple[Filled, ...], Field(min_length=1), EachOnce]


class Responses(Block):
    """From continuous recording to single-trial brain responses."""

    tmin: float = Field(-0.2, ge=-60, le=60, description="start of the epoch relative to picture onset, s")
    tmax: float = Field(
        0.8, ge=-60, le=60, description="end of the epoch relative to picture onset, s (this sample is left out)"
    )
    baseline: tuple[float | None, float | None] | None = Field(
        (None, 0.0),
        description="window whose mean is subtracted, s (null: none; null as start or end: the start or end of the "
        "epoch)",
    )
    baseline_mode: Literal["mean", "zscore"] = neutral(
        "mean",
        description="what the baseline does to each epoch and channel. mean: its mean is subtracted; zscore: then the "
        "epoch is also divided by the standard deviation of the baseline, as the THINGS-MEG authors do",
    )
    crop: tuple[float, float] | None = neutral(
        None, description="part of the epoch that is kept after baseline correction, s (null: all)"
    )
    sfreq: float = Field(100.0, gt=0, description="sampling rate of the responses, Hz")
    resampling: Literal["decimate", "epochs"] = Field(
        "decimate",
        description="decimate: anti-aliased low-pass on the continuous signal, then every n-th sample; "
        "epochs: each epoch resampled in the Fourier domain, as the papers' code does",
    )
    channels: Channels | Literal["all", "occipital-parietal-17", "nice-63"] = Field(
        "all",
        description="channel names, 'all' (in the order of the recording), or a named set (occipital-parietal-17: the "
        "17 of the THINGS-EEG2 authors; nice-63: all 63 of THINGS-EEG2 from front to back, as NICE, ATM and UBP)",
    )
    without: Channels | None = neutral(None, description="names of channels that are left out, e.g. [MRO11-1609]")
    scale: float = neutral(
        1.0,
        gt=0,
        description="factor on the samples if the unit in the file is wrong, e.g. 1e-6 if microvolts are marked as V",
    )
    bad_channels: Literal["keep", "drop", "interpolate"] = neutral(
        "keep",
        description="channels that the file or channels.tsv (status) marks as bad. keep: use them like other "
        "channels; drop: leave out each channel that is bad in one recording, in all recordings of the subject; "
        "interpolate: compute them from the other channels of the same recording",
    )
    bad_segments: Literal["keep", "drop"] = neutral(
        "keep",
        description="whether to keep trials whose epoch touches an annotation BAD, boundary or EDGE of the file, or "
        "an event BAD of events.tsv; these trials are counted in either case",
    )
    reference: Literal["recorded", "average"] = neutral(
        "recorded", description="recorded: as on disk; average: mean of the kept EEG channels"
    )
    reject_uv: float | None = neutral(
        None, gt=0, description="EEG: drop training epochs with a peak-to-peak amplitude above this, microvolt"
    )
    reject_ft: float | None = neutral(
        None,
        gt=0,
        description="MEG: the same for magnetometers and axial gradiometers (MNE's type mag), femtotesla",
    )
    reject_ft_cm: float | None = neutral(
        None, gt=0, description="MEG: the same for planar gradiometers (MNE's type grad), femtotesla per cm"
    )
    head_movement_mm: float | None = neutral(
        None,
        gt=0,
        description="MEG: refuse a recording if the head moved more than this relative to the sensors since the first "
        "recording, mm, mean over sensors (null: the movement is only logged, and is ignored)",
    )
    whitening: Whitening = Field(default_factory=MvnnWhitening, description="normalisation of single trials")
    repetitions: Repetitions = Field(
        default_factory=Repetitions, description="which trials are kept if there are more presentations than needed"
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="stored precision; float16 only with whitening (its relative error is 2^-11)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Responses:
        if self.tmin >= self.tmax:
            raise ValueError(f"tmin ({self.tmin} s) must be before tmax ({self.tmax} s)")
        epoch = f"tmin {self.tmin} to tmax {self.tmax} s"
        if self.baseline is not None:
            begin, end = (edge if one is None else one for one, edge in zip(self.baseline, (self.tmin, self.tmax)))
            if not self.tmin <= begin <= end <= self.tmax:
                raise ValueError(f"baseline [{begin}, {end}] must lie inside the epoch, {epoch}")
        if self.crop is not None and not self.tmin <= self.crop[0] < self.crop[1] <= self.tmax:
            raise ValueError(f"crop {self.crop} must lie inside the epoch, {epoch}")
        if self.baseline_mode == "zscore" and self.baseline is None:
            raise ValueError("baseline_mode: zscore needs a baseline to scale with; set baseline to its window")
        for name, (unit, other, usual) in LIMITS.items():
            limit = getattr(self, name)
            if limit is not None and limit < LEAST_LIMIT:
                raise ValueError(
                    f"{name} is in {unit}, not in {other}; found {limit:g}, which is below the noise of every sensor: "
                    f"no training epoch would be left; expected a number such as {usual}"
                )
        if self.dtype == "float16" and not self.scaled:
            raise ValueError(
                "dtype float16 needs whitening.kind not none, or baseline_mode: zscore (values of 1e-6 V or "
                "1e-13 T would underflow); use float32"
            )
        return self

    @property
    def scaled(self) -> bool:
        """Whether responses have no unit, so that channels of several types can be used together."""
        return self.whitening.scaled or self.baseline_mode == "zscore"
