"""Networks from a brain response [B, C, T] to an embedding [B, width]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.settings import Encoder
from brain2clip.stage import InputError


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return x + self.inner(x)


class Smoothing(nn.Module):
    """Moving average over time that keeps the length; edges average over what there is."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]."""
        return F.avg_pool1d(x, self.samples, stride=1, padding=self.samples // 2, count_include_pad=False)


class EEGProject(nn.Sequential):
    """One wide linear projection with a residual block.

    Architecture (Wu et al., CVPR 2025, UBP): flatten, Linear(C*T, z), x + Dropout(Linear(gelu(x))), LayerNorm.

    Parameters
    ----------
    n_channels, n_times : int
        C and T.
    width : int
        z.
    dropout : float
        Dropout probability in the residual block.
    """

    def __init__(self, n_channels: int, n_times: int, width: int, dropout: float) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(n_channels * n_times, width),
            Residual(nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))),
            nn.LayerNorm(width),
        )


class TSConv(nn.Sequential):
    """Temporal then spatial convolution.

    Architecture (Song et al., ICLR 2024, NICE): Conv(1->40, 0.1 s), AvgPool(0.204 s, stride 20 ms), BatchNorm, ELU,
    Conv(40->40, all channels), BatchNorm, ELU, Dropout, then Linear to z, residual block, LayerNorm. Kernel lengths
    are kept in seconds; at 250 Hz they are the published 25, 51 and 5 samples.

    Parameters
    ----------
    n_channels, n_times : int
        C and T.
    sfreq : float
        Sampling rate, Hz.
    width : int
        z.
    dropout : float
        Dropout probability.
    """

    filters = 40

    def __init__(self, n_channels: int, n_times: int, sfreq: float, width: int, dropout: float) -> None:
        kernel, pool, stride = (max(1, round(seconds * sfreq)) for seconds in (0.1, 0.204, 0.02))
        length = (n_times - kernel + 1 - pool) // stride + 1
        if n_times - kernel + 1 < pool:
            raise InputError(
                f"tsconv needs responses of at least {(kernel + pool - 1) / sfreq:.2f} s, "
                f"found {n_times / sfreq:.2f} s; "
                "widen responses.tmin/tmax/crop or take encoder.name: eegproject"
            )
        super().__init__(
            nn.Unflatten(1, (1, n_channels)),
            nn.Conv2d(1, self.filters, (1, kernel)),
            nn.AvgPool2d((1, pool), (1, stride)),
            nn.BatchNorm2d(self.filters),
            nn.ELU(),
            nn.Conv2d(self.filters, self.filters, (n_channels, 1)),
            nn.BatchNorm2d(self.filters),
            nn.ELU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(self.filters * length, width),
            Residual(nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))),
            nn.LayerNorm(width),
        )


def build(settings: Encoder, n_channels: int, n_times: int, sfreq: float) -> nn.Module:
    """Encoder of the settings for responses [B, n_channels, n_times] at ``sfreq`` Hz (0 for voxels [B, n_channels])."""
    if settings.name == "tsconv" and not sfreq:
        raise InputError(
            "encoder.name: tsconv convolves over time, and voxels have no time axis; take encoder.name: eegproject, "
            "or a method of kind mapping"
        )
    if settings.name == "eegproject":
        network: nn.Module = EEGProject(n_channels, n_times, settings.width, settings.dropout)
    else:
        network = TSConv(n_channels, n_times, sfreq, settings.width, settings.dropout)
    samples = round(settings.smoothing_s * sfreq) // 2 * 2 + 1  # odd, so that nothing is shifted in time
    return network if samples == 1 else nn.Sequential(Smoothing(samples), network)


def head(kind: str, n_in: int, n_out: int) -> nn.Module:
    """Projection into the shared space [B, n_in] -> [B, n_out].

    ``linear``; ``none`` (identity); ``bottleneck``: to a quarter and up without a residual path, so that it can lose
    information (Wu et al., AAAI 2026, ATS).
    """
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(n_in, n_out)
    return nn.Sequential(nn.Linear(n_in, max(1, n_in // 4)), nn.GELU(), nn.Linear(max(1, n_in // 4), n_out))


def trainable(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that train and buffers that go with them, by name: what a checkpoint holds."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}
