"""DeepNet as the field's tables of retrieval from EEG have it, which is not the network of that name."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import OverBoth, Window, samples, time_left
from brain2clip.models.encoder_layers import projection
from brain2clip.settings import DeepNet

#: Maps of the four blocks.
MAPS = (25, 50, 100, 200)
#: Kernel and pooling of the first block, s; both are twice as long in each further one.
KERNEL, POOL = 0.04, 0.008


class Encoder(nn.Sequential):
    """Four blocks of convolution and maximum over time.

    Architecture (the encoders of Wu et al., CVPR 2025, UBP, after Schirrmeister et al., 2017): Conv(1->25, 40 ms),
    Conv(25->25, all channels), BatchNorm, ELU, MaxPool(8 ms), Dropout; three further blocks Conv, BatchNorm, ELU,
    MaxPool, Dropout to 50, 100 and 200 maps; then Linear to z, residual block, LayerNorm. Lengths are kept in seconds;
    at 250 Hz they are the published 10 and 2 samples of every block.

    Parameters
    ----------
    settings : DeepNet
        Its ``width`` is z.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where responses have no time axis, or are too short for four blocks.
    """

    def __init__(self, settings: DeepNet, inputs: Inputs) -> None:
        rate, windows = inputs.sfreq, []
        for number in range(len(MAPS)):
            length, most = (samples(seconds * 2**number, rate) for seconds in (KERNEL, POOL))
            windows += [Window(length), Window(most, most)]
            rate /= most
        left = time_left("deepnet", inputs, windows)
        layers: list[nn.Module] = []
        for before, maps, kernel, pool in zip((1, *MAPS), MAPS, windows[::2], windows[1::2]):
            layers += [
                OverBoth(inputs.n_channels, kernel.length, maps)
                if not layers
                else nn.Conv1d(before, maps, kernel.length),
                nn.BatchNorm1d(maps),
                nn.ELU(),
                nn.MaxPool1d(pool.length),
                nn.Dropout(settings.dropout),
            ]
        super().__init__(*layers, nn.Flatten(), *projection(MAPS[-1] * left, settings.width, settings.dropout))
