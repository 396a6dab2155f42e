"""The brain side: an encoder of any kind, with what is the same for all kinds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip import kinds
from brain2clip.settings import Encoder


@dataclass(frozen=True)
class Inputs:
    """What an encoder takes.

    Attributes
    ----------
    n_channels : int
        C; of responses without a time axis the number V of voxels.
    n_times : int
        T; 1 for voxels.
    sfreq : float
        Sampling rate, Hz; 0 for voxels.
    """

    n_channels: int
    n_times: int = 1
    sfreq: float = 0.0


class Smoothing(nn.Module):
    """Moving average over time that keeps the length; edges average over what there is."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]."""
        return F.avg_pool1d(x, self.samples, stride=1, padding=self.samples // 2, count_include_pad=False)


def build(settings: Encoder, inputs: Inputs) -> nn.Module:
    """Encoder of the settings for responses [B, C, T] or [B, V], with smoothing before it where that is asked for."""
    network: nn.Module = kinds.load("encoders", settings.kind)(settings, inputs)
    samples = round(settings.smoothing_s * inputs.sfreq) // 2 * 2 + 1  # odd, so that nothing is shifted in time
    return network if samples == 1 else nn.Sequential(Smoothing(samples), network)
