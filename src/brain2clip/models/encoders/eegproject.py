"""One wide linear projection with a residual block."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import EegProject


class Encoder(nn.Sequential):
    """One wide linear projection with a residual block.

    Architecture (Wu et al., CVPR 2025, UBP): flatten, Linear(C*T, z), x + Dropout(Linear(gelu(x))), LayerNorm.

    Parameters
    ----------
    settings : EegProject
        Its ``width`` is z.
    inputs : Inputs
        C and T; the V of voxels.
    """

    def __init__(self, settings: EegProject, inputs: Inputs) -> None:
        n_in = inputs.n_channels * inputs.n_times
        super().__init__(nn.Flatten(), *projection(n_in, settings.width, settings.dropout))
