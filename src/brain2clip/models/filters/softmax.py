"""Gains of the picture's frequency bands from its content; the bands compete."""

from __future__ import annotations

from torch import Tensor

from brain2clip.models.band_gains import BandGains, from_content, start
from brain2clip.settings import Softmax


class Filter(BandGains):
    """``K softmax(w)``, gains of mean 1, with ``w = W2 relu(W1 norm(mean of tokens)) + b``.

    Parameters
    ----------
    settings : Softmax
    width : int
        D, width of the tokens.
    bands : int
        K.
    """

    def __init__(self, settings: Softmax, width: int, bands: int) -> None:
        super().__init__()
        self.content = from_content(width, bands, settings.reduction)
        self.bias = start(settings.init, bands)

    def gains(self, tokens: Tensor) -> Tensor:
        """Gains [B, K]."""
        logits = self.bias.expand(len(tokens), -1)
        logits = logits + self.content(tokens.mean(dim=1))
        return logits.shape[-1] * logits.softmax(dim=-1)
