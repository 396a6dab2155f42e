"""Learned weights of time before one wide linear projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoder_layers import check_time, projection
from brain2clip.settings import Stae


class TimeWeights(nn.Module):
    """x times the softmax of weights of its samples, which are equal at the start."""

    def __init__(self, n_times: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_times))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, T]."""
        return x * self.weight.softmax(dim=0)


class Encoder(nn.Sequential):
    """Learned weights of time before one wide linear projection.

    Architecture (Wu et al., AAAI 2026, ATS): weights of the T samples, then that of ``eegproject``.

    Parameters
    ----------
    settings : Stae
        Its ``width`` is z.
    inputs : Inputs
        C and T.

    Raises
    ------
    InputError
        Where responses have no time axis.
    """

    def __init__(self, settings: Stae, inputs: Inputs) -> None:
        check_time("stae", inputs, "weighs time")
        n_in = inputs.n_channels * inputs.n_times
        super().__init__(TimeWeights(inputs.n_times), nn.Flatten(), *projection(n_in, settings.width, settings.dropout))
