"""Square blocks of one colour each."""

from __future__ import annotations

import numpy as np

from brain2clip.settings import Mosaic
from brain2clip.stimuli.view_base import Picture, to_bytes


class View:
    """Blocks from the upper left corner on, each its mean colour, rounded half to even; the last may be smaller."""

    def __init__(self, settings: Mosaic) -> None:
        self.block = settings.block

    def __call__(self, picture: Picture) -> Picture:
        """The picture in blocks."""
        sums = picture.astype(np.int64)
        sizes = []
        for axis in (0, 1):
            starts = np.arange(0, picture.shape[axis], self.block)
            sizes.append(np.diff(starts, append=picture.shape[axis]))
            sums = np.add.reduceat(sums, starts, axis=axis)
        area = np.outer(*sizes)[:, :, None]
        return to_bytes(sums / area).repeat(sizes[0], axis=0).repeat(sizes[1], axis=1)
