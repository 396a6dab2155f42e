"""Convolutions that encoders of brain responses share, written with as few products as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoder_layers import check_time
from brain2clip.stage import InputError

#: Maps of both convolutions of NICE and of what is made after it.
FILTERS = 40


class Window(NamedTuple):
    """A convolution or a pooling over time, in samples."""

    length: int
    stride: int = 1


def samples(seconds: float, rate: float) -> int:
    """Samples of a kernel whose length is given in seconds, at least one."""
    return max(1, round(seconds * rate))


def time_left(kind: str, inputs: Inputs, windows: Sequence[Window]) -> int:
    """Samples that are left of a response after windows, one after the other.

    Raises
    ------
    InputError
        If responses have no time axis, or are too short for one window.
    """
    check_time(kind, inputs, "convolves over time")
    needed, left = 1, inputs.n_times
    for length, stride in reversed(windows):
        needed = (needed - 1) * stride + length
    if inputs.n_times < needed:
        raise InputError(
            f"{kind} needs responses of at least {needed / inputs.sfreq:.2f} s, "
            f"found {inputs.n_times / inputs.sfreq:.2f} s; "
            "widen responses.tmin/tmax/crop or take encoder.kind: eegproject"
        )
    for length, stride in windows:
        left = (left - length) // stride + 1
    return left


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


class OverFilters(nn.Linear):
    """Convolution of 1 x 1 over maps [B, M, 1, n], whose maps come last: [B, n, M]."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, n, M]."""
        return super().forward(x.squeeze(2).transpose(1, 2))


class OverBoth(nn.Module):
    """Convolution over time, then over all channels, with nothing between them: one convolution over both.

    Parameters
    ----------
    n_channels, kernel : int
        C, and samples of the first.
    maps : int
        Maps of each.
    """

    def __init__(self, n_channels: int, kernel: int, maps: int) -> None:
        super().__init__()
        self.time = nn.Conv2d(1, maps, (1, kernel))
        self.channels = nn.Conv2d(maps, maps, (n_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, M, n] of responses [B, C, T]."""
        over_time, over_channels = self.time.weight[:, 0, 0], self.channels.weight[..., 0]
        weight = torch.einsum("nmc,mk->nck", over_channels, over_time)
        assert self.time.bias is not None
        assert self.channels.bias is not None
        return F.conv1d(x, weight, self.channels.bias + over_channels.sum(dim=-1) @ self.time.bias)


def temporal_spatial(kind: str, inputs: Inputs, dropout: float) -> tuple[list[nn.Module], int]:
    """Layers from responses [B, C, T] to maps [B, 40, 1, n] as NICE has them, and n.

    Conv(1->40, 0.1 s), AvgPool(0.204 s, stride 20 ms), BatchNorm, ELU, Conv(40->40, all channels), BatchNorm, ELU,
    Dropout. Kernel lengths are kept in seconds; at 250 Hz they are the published 25, 51 and 5 samples.

    Raises
    ------
    InputError
        Where responses have no time axis, or are shorter than both kernels.
    """
    kernel, pool, stride = (samples(seconds, inputs.sfreq) for seconds in (0.1, 0.204, 0.02))
    left = time_left(kind, inputs, [Window(kernel), Window(pool, stride)])
    layers = [
        # The mean over time of what is convolved is the convolution of the mean, which has one map, not 40, and of
        # which every ``stride``-th sample is wanted. Parameters keep the places that they have in that order.
        nn.Sequential(nn.AvgPool1d(pool, 1), nn.Unflatten(1, (1, inputs.n_channels))),
        OverTime(1, FILTERS, (1, kernel), (1, stride)),
        nn.Identity(),
        nn.BatchNorm2d(FILTERS),
        nn.ELU(),
        OverChannels(FILTERS, FILTERS, (inputs.n_channels, 1)),
        nn.BatchNorm2d(FILTERS),
        nn.ELU(),
        nn.Dropout(dropout),
    ]
    return layers, left
