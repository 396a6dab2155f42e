"""Gains of the picture's frequency bands from its content."""

from __future__ import annotations

from torch import Tensor

from brain2clip.models.band_gains import BandGains, from_content, start
from brain2clip.settings import Gains


class Filter(BandGains):
    """``2 sigmoid(w)``, each gain in (0, 2), with ``w = W2 relu(W1 norm(mean of tokens)) + b``.

    W2 starts at zero: all-pass (gains 1) or low-pass.

    Parameters
    ----------
    settings : Gains
    width : int
        D, width of the tokens.
    bands : int
        K.
    """

    def __init__(self, settings: Gains, width: int, bands: int) -> None:
        super().__init__()
        self.content = from_content(width, bands, settings.reduction)
        self.bias = start(settings.init, bands)

    def gains(self, tokens: Tensor) -> Tensor:
        """Gains [B, K]."""
        logits = self.bias.expand(len(tokens), -1)
        logits = logits + self.content(tokens.mean(dim=1))
        return 2 * logits.sigmoid()
