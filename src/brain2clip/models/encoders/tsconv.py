"""Temporal then spatial convolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.layers import Residual
from brain2clip.settings import TsConv
from brain2clip.stage import InputError

#: Maps of both convolutions.
FILTERS = 40


class OverTime(nn.Conv2d):
    """Convolution of one map [B, 1, C, T] over time, by one product of its windows: maps are last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, M, C, n], as :class:`torch.nn.Conv2d` has them."""
        windows = x.squeeze(1).unfold(-1, self.kernel_size[1], self.stride[1])
        return F.linear(windows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class OverChannels(nn.Conv2d):
    """Convolution over all channels; what it gives lies in memory as usual, in which order dropout draws."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, M, 1, n]."""
        return super().forward(x).contiguous()


class Encoder(nn.Sequential):
    """Temporal then spatial convolution.

    Architecture (Song et al., ICLR 2024, NICE): Conv(1->40, 0.1 s), AvgPool(0.204 s, stride 20 ms), BatchNorm, ELU,
    Conv(40->40, all channels), BatchNorm, ELU, Dropout, then Linear to z, residual block, LayerNorm. Kernel lengths
    are kept in seconds; at 250 Hz they are the published 25, 51 and 5 samples.

    Parameters
    ----------
    settings : TsConv
        Its ``width`` is z.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where responses have no time axis, or are shorter than both kernels.
    """

    def __init__(self, settings: TsConv, inputs: Inputs) -> None:
        n_channels, n_times, sfreq, width = inputs.n_channels, inputs.n_times, inputs.sfreq, settings.width
        if not sfreq:
            raise InputError(
                "encoder.kind: tsconv convolves over time, and voxels have no time axis; take encoder.kind: "
                "eegproject, or a method of kind mapping"
            )
        kernel, pool, stride = (max(1, round(seconds * sfreq)) for seconds in (0.1, 0.204, 0.02))
        length = (n_times - kernel + 1 - pool) // stride + 1
        if n_times - kernel + 1 < pool:
            raise InputError(
                f"tsconv needs responses of at least {(kernel + pool - 1) / sfreq:.2f} s, "
                f"found {n_times / sfreq:.2f} s; "
                "widen responses.tmin/tmax/crop or take encoder.kind: eegproject"
            )
        super().__init__(
            # The mean over time of what is convolved is the convolution of the mean, which has one map, not 40, and of
            # which every ``stride``-th sample is wanted. Parameters keep the places that they have in that order.
            nn.Sequential(nn.AvgPool1d(pool, 1), nn.Unflatten(1, (1, n_channels))),
            OverTime(1, FILTERS, (1, kernel), (1, stride)),
            nn.Identity(),
            nn.BatchNorm2d(FILTERS),
            nn.ELU(),
            OverChannels(FILTERS, FILTERS, (n_channels, 1)),
            nn.BatchNorm2d(FILTERS),
            nn.ELU(),
            nn.Dropout(settings.dropout),
            nn.Flatten(),
            nn.Linear(FILTERS * length, width),
            Residual(nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(settings.dropout))),
            nn.LayerNorm(width),
        )
