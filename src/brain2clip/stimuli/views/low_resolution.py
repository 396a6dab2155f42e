"""Fewer pixels: bilinear down and up again."""

from __future__ import annotations

import numpy as np
from PIL import Image

from brain2clip.settings import LowResolution
from brain2clip.stimuli.view_base import Picture


class View:
    """Down to a share of rows and columns and up again by Pillow's bilinear filter.

    On the way down the filter is as wide as a new pixel asks for, so nothing aliases. Pillow rounds half up, after each
    axis of each step.
    """

    def __init__(self, settings: LowResolution) -> None:
        self.share = settings.share

    def __call__(self, picture: Picture) -> Picture:
        """The coarse picture, at its size."""
        height, width = (max(1, round(self.share * n)) for n in picture.shape[:2])
        image = Image.fromarray(picture)
        small = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(small.resize(image.size, Image.Resampling.BILINEAR))
