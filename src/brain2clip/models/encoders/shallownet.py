"""ShallowNet as the field's tables of retrieval from EEG have it, which is not the network of that name."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import FILTERS, OverBoth, Window, samples, time_left
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import ShallowNet


class Encoder(nn.Sequential):
    """Both convolutions first, then the mean over time.

    Architecture (the encoders of Wu et al., CVPR 2025, UBP, after Schirrmeister et al., 2017): Conv(1->40, 0.1 s),
    Conv(40->40, all channels), BatchNorm, ELU, AvgPool(0.204 s, stride 20 ms), Dropout, then Linear to z, residual
    block, LayerNorm. Kernel lengths are kept in seconds; at 250 Hz they are the published 25, 51 and 5 samples.

    Parameters
    ----------
    settings : ShallowNet
        Its ``width`` is z.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where responses have no time axis, or are shorter than both kernels.
    """

    def __init__(self, settings: ShallowNet, inputs: Inputs) -> None:
        kernel, pool, stride = (samples(seconds, inputs.sfreq) for seconds in (0.1, 0.204, 0.02))
        left = time_left("shallownet", inputs, [Window(kernel), Window(pool, stride)])
        super().__init__(
            OverBoth(inputs.n_channels, kernel, FILTERS),
            nn.BatchNorm1d(FILTERS),
            nn.ELU(),
            nn.AvgPool1d(pool, stride),
            nn.Dropout(settings.dropout),
            nn.Flatten(),
            *projection(FILTERS * left, settings.width, settings.dropout),
        )
