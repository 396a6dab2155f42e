"""EEGNet as the field's tables of retrieval from EEG have it, which is not the network of that name."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import Window, samples, time_left
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import EegNet

#: Maps of the convolution over time, and of both that follow.
TEMPORAL, SPATIAL = 8, 16


class Encoder(nn.Sequential):
    """Convolutions over time, over channels, and over time again, all of them full.

    Architecture (the encoders of Wu et al., CVPR 2025, UBP, after Lawhern et al., 2018): Conv(1->8, 0.256 s),
    BatchNorm, Conv(8->16, all channels), BatchNorm, ELU, AvgPool(8 ms), Dropout, Conv(16->16, 0.128 s), BatchNorm, ELU,
    Dropout of whole maps, then Linear to z, residual block, LayerNorm. Lengths are kept in seconds; at 250 Hz they are
    the published 64, 2 and 16 samples.

    Parameters
    ----------
    settings : EegNet
        Its ``width`` is z.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where responses have no time axis, or are too short for the kernels.
    """

    def __init__(self, settings: EegNet, inputs: Inputs) -> None:
        kernel, pool = (samples(seconds, inputs.sfreq) for seconds in (0.256, 0.008))
        second = samples(0.128, inputs.sfreq / pool)
        left = time_left("eegnet", inputs, [Window(kernel), Window(pool, pool), Window(second)])
        super().__init__(
            nn.Unflatten(1, (1, inputs.n_channels)),
            nn.Conv2d(1, TEMPORAL, (1, kernel)),
            nn.BatchNorm2d(TEMPORAL),
            nn.Conv2d(TEMPORAL, SPATIAL, (inputs.n_channels, 1)),
            nn.BatchNorm2d(SPATIAL),
            nn.ELU(),
            nn.AvgPool2d((1, pool)),
            nn.Dropout(settings.dropout),
            nn.Conv2d(SPATIAL, SPATIAL, (1, second)),
            nn.BatchNorm2d(SPATIAL),
            nn.ELU(),
            nn.Dropout2d(settings.dropout),
            nn.Flatten(),
            *projection(SPATIAL * left, settings.width, settings.dropout),
        )
