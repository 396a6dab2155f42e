"""Gaussian blur that grows from the centre outwards (Wu et al., CVPR 2025, Uncertainty-aware Blur Prior)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brain2clip.settings import FovealBlur
from brain2clip.stimuli.view_base import Picture, gaussian_blur, to_bytes


class View:
    """``m picture + (1 - m) blurred`` with ``m = strength exp(-decay d / d_max)``; rounded once, half to even.

    d is the distance of a pixel's centre from that of the picture, d_max that of a corner pixel.
    """

    def __init__(self, settings: FovealBlur) -> None:
        self.settings = settings

    def __call__(self, picture: Picture) -> Picture:
        """The picture, sharpest in its centre."""
        blurred = gaussian_blur(picture, self.settings.kernel)
        share = self.settings.strength * np.exp(-self.settings.decay * eccentricity(*picture.shape[:2]))
        return to_bytes(blurred + share[:, :, None] * (picture - blurred))


def eccentricity(height: int, width: int) -> NDArray[np.float64]:
    """Distance of each pixel from the centre of the picture [height, width], 1 in the corners."""
    vertical, horizontal = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    distance = np.hypot(vertical[:, None], horizontal)
    return distance / max(distance.max(), 1e-9)  # a single pixel is all centre
