"""Non-negative weights over channels, then the same layers over the time course of each such filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoder_layers import check_time
from brain2clip.settings import SpatialFilters


class NonNegative(nn.Linear):
    """Weights over channels without bias, [B, C, T] to [B, filters, T], which no step leaves negative."""

    def __init__(self, n_channels: int, filters: int) -> None:
        super().__init__(n_channels, filters, bias=False)

    @torch.no_grad()
    def settle(self) -> None:
        """Set to zero what a step made negative."""
        self.weight.clamp_(min=0)

    def forward(self, x: Tensor) -> Tensor:
        """Time courses [B, filters, T] of responses [B, C, T]."""
        return self.weight @ x


class Encoder(nn.Sequential):
    """Non-negative weights over channels, then the same layers over the time course of each such filter.

    Architecture (multi-blur, AAAI 2026): Conv(1->25, all channels) without bias and with weights that are made
    non-negative after each step, BatchNorm; for each filter Linear(T, 200), ELU, Dropout, Linear(200, 200), ELU,
    Dropout; flatten, Linear to z.

    Parameters
    ----------
    settings : SpatialFilters
        Its ``width`` is z.
    inputs : Inputs
        C and T.

    Raises
    ------
    InputError
        Where responses have no time axis.
    """

    def __init__(self, settings: SpatialFilters, inputs: Inputs) -> None:
        check_time("spatial-filters", inputs, "has layers over time")
        filters, hidden = settings.filters, settings.hidden
        super().__init__(
            NonNegative(inputs.n_channels, filters),
            nn.BatchNorm1d(filters),
            nn.Linear(inputs.n_times, hidden),
            nn.ELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(hidden, hidden),
            nn.ELU(),
            nn.Dropout(settings.dropout_last),
            nn.Flatten(),
            nn.Linear(filters * hidden, settings.width),
        )
