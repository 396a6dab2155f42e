"""Learned gains of frequency bands that are the same for all pictures."""

from __future__ import annotations

from torch import Tensor

from brain2clip.models.band_gains import BandGains, start
from brain2clip.settings import Fixed


class Filter(BandGains):
    """``2 sigmoid(b)``.

    Parameters
    ----------
    settings : Fixed
    width : int
        D, width of the tokens.
    bands : int
        K.
    """

    def __init__(self, settings: Fixed, width: int, bands: int) -> None:
        super().__init__()
        self.bias = start(settings.init, bands)

    def gains(self, tokens: Tensor) -> Tensor:
        """Gains [B, K]."""
        return 2 * self.bias.expand(len(tokens), -1).sigmoid()
