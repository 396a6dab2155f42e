"""Low spatial frequencies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from brain2clip.settings import LowPass
from brain2clip.stimuli.view_base import Picture, to_bytes


class View:
    """Raised-cosine low-pass over the logarithm of spatial frequency; rounded half to even, cut off at 0 and 255.

    With the cut-off half-way (in octaves) between the centres of two bands of a tower's filter bank, and their distance
    as width, it is the sum of all bands up to the lower one. As there, the picture goes on periodically at its border.
    """

    def __init__(self, settings: LowPass) -> None:
        self.cutoff, self.width = settings.cutoff, settings.width

    def __call__(self, picture: Picture) -> Picture:
        """The picture without its high spatial frequencies."""
        height, width = picture.shape[:2]
        spectrum = fft.rfft2(picture.astype(np.float64), axes=(0, 1))
        spectrum *= gain(height, width, self.cutoff, self.width)[:, :, None]
        return to_bytes(fft.irfft2(spectrum, s=(height, width), axes=(0, 1)))


@lru_cache(maxsize=16)  # pictures of a tower have one size
def gain(height: int, width: int, cutoff: float, octaves: float) -> NDArray[np.float64]:
    """Gain of each coefficient of ``rfft2``, [height, width // 2 + 1].

    Parameters
    ----------
    height, width : int
        Of the picture, pixels.
    cutoff : float
        Frequency of gain one half, in parts of the Nyquist frequency.
    octaves : float
        Over which the gain falls from one to zero.
    """
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)) / 0.5
    place = np.log2(np.maximum(frequency, 1e-12) / cutoff) / octaves + 0.5
    return np.cos(np.pi / 2 * np.clip(place, 0, 1)) ** 2
