"""Temporal then spatial convolution, and a convolution of 1 x 1: NICE as its code has it."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import FILTERS, OverFilters, temporal_spatial
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import Nice


class Encoder(nn.Sequential):
    """Temporal then spatial convolution, and a convolution of 1 x 1.

    Architecture (Song et al., ICLR 2024): :func:`~brain2clip.models.convolutions.temporal_spatial`,
    Conv(40->40, 1 x 1), flattened over time and maps, then Linear to z, residual block, LayerNorm.

    Parameters
    ----------
    settings : Nice
        Its ``width`` is z.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where responses have no time axis, or are shorter than both kernels.
    """

    def __init__(self, settings: Nice, inputs: Inputs) -> None:
        layers, left = temporal_spatial("nice", inputs, settings.dropout)
        super().__init__(
            *layers,
            OverFilters(FILTERS, FILTERS),
            nn.Flatten(),
            *projection(FILTERS * left, settings.width, settings.dropout),
        )
