"""Temporal then spatial convolution."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import FILTERS, temporal_spatial
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import TsConv


class Encoder(nn.Sequential):
    """Temporal then spatial convolution.

    Architecture (Song et al., ICLR 2024, NICE, without its convolution of 1 x 1):
    :func:`~brain2clip.models.convolutions.temporal_spatial`, then Linear to z, residual block, LayerNorm.

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
        layers, left = temporal_spatial("tsconv", inputs, settings.dropout)
        super().__init__(*layers, nn.Flatten(), *projection(FILTERS * left, settings.width, settings.dropout))
