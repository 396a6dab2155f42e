"""One linear layer and a residual block without biases."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.layers import Residual
from brain2clip.settings import BrainMlp


class Encoder(nn.Sequential):
    """One linear layer and a residual block.

    Architecture (BrainMLP, 2026): flatten, Linear(C*T, z), x + W2 Dropout(SiLU(W1 x)) without biases, LayerNorm with
    eps 1e-6. Of the published number of parameters, 2,701,824 at 17 x 250 and z 512, z belong to a bias of the first
    layer: without it there would be 2,701,312.

    Parameters
    ----------
    settings : BrainMlp
        Its ``width`` is z.
    inputs : Inputs
        C and T; the V of voxels.
    """

    def __init__(self, settings: BrainMlp, inputs: Inputs) -> None:
        width = settings.width
        inner = (nn.Linear(width, width, bias=False), nn.SiLU(), nn.Dropout(settings.dropout))
        super().__init__(
            nn.Flatten(),
            nn.Linear(inputs.n_channels * inputs.n_times, width),
            Residual(nn.Sequential(*inner, nn.Linear(width, width, bias=False))),
            nn.LayerNorm(width, eps=1e-6),
        )
