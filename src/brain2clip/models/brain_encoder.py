"""The brain side: an encoder of any kind, and the parts that all kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, assert_never, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from brain2clip import kinds
from brain2clip.settings import Encoder
from brain2clip.stage import InputError


@dataclass(frozen=True)
class Inputs:
    """Shape of the responses that an encoder takes.

    Attributes
    ----------
    n_channels : int
        C; for voxels their number V.
    n_times : int
        T; 1 for voxels.
    sfreq : float
        Sampling rate, Hz; 0 for voxels.
    subjects : int
        Number of training subjects, for encoders that take the number of the subject.
    """

    n_channels: int
    n_times: int = 1
    sfreq: float = 0.0
    subjects: int = 1


class Smoothing(nn.Module):
    """Moving average over time that keeps the length; at the edges it averages fewer samples."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]."""
        return F.avg_pool1d(x, self.samples, stride=1, padding=self.samples // 2, count_include_pad=False)


class Smoothed(nn.Sequential):
    """An encoder after a moving average of the responses; its other arguments are passed on."""

    def forward(self, x: Tensor, *beside: Tensor | None) -> Tensor:
        """As the encoder."""
        smoothing, network = self
        found: Tensor = network(smoothing(x), *beside)
        return found


@runtime_checkable
class Settles(Protocol):
    """A layer that limits its weights after each step."""

    def settle(self) -> None:
        """Put weights back into their range after a step."""


def settling(network: nn.Module) -> list[Settles]:
    """Layers of an encoder that limit their weights after each step."""
    return [layer for layer in network.modules() if isinstance(layer, Settles)]


def build(settings: Encoder, inputs: Inputs) -> nn.Module:
    """Encoder for responses [B, C, T] or [B, V], which are smoothed first if the settings say so."""
    network: nn.Module = kinds.load("encoders", settings.kind)(settings, inputs)
    if settings.init == "normal":
        start_normal(network)
    elif settings.init != "default":
        assert_never(settings.init)
    if settings.smoothing_s and not inputs.sfreq:
        raise InputError(
            f"encoder.smoothing_s: found {settings.smoothing_s:g} s; voxels have no time axis to smooth over, so leave "
            "it out"
        )
    samples = round(settings.smoothing_s * inputs.sfreq) // 2 * 2 + 1  # odd, so that nothing is shifted in time
    return network if samples == 1 else Smoothed(Smoothing(samples), network)


@torch.no_grad()
def start_normal(network: nn.Module) -> None:
    """Draw weights as NICE does: convolutions and linear layers N(0, 0.02), batch normalisation N(1, 0.02)."""
    for layer in network.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            layer.weight.normal_(0.0, 0.02)
        elif isinstance(layer, _BatchNorm) and layer.affine:
            layer.weight.normal_(1.0, 0.02)
