"""Common parts of views: 8-bit pictures, the Gaussian blur, and the check of a view's output.

A view is a module of :mod:`brain2clip.stimuli.views`. It gets the picture after the tower's own resizing and cropping,
so that pixels in its settings are pixels of the tower's input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brain2clip import kinds
from brain2clip.settings import ViewBase
from brain2clip.stage import InputError

#: 8-bit colours [H, W, 3].
Picture = NDArray[np.uint8]


def build(settings: ViewBase) -> Callable[[Picture], Picture]:
    """The view of some settings; its output is checked, because a kind may come from outside.

    Returns
    -------
    callable
        uint8 [H, W, 3] to uint8 [H, W, 3]. It raises InputError if the view returns anything else.
    """
    view: Callable[[Picture], Any] = kinds.load("views", settings.kind)(settings)

    def seen(picture: Picture) -> Picture:
        found = view(picture)
        if not isinstance(found, np.ndarray) or (found.shape, found.dtype) != (picture.shape, np.uint8):
            told = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
            raise InputError(
                f"view {settings.kind!r} of a picture: expected uint8 {list(picture.shape)}, like the input; found "
                f"{told}; its class must return 8-bit pictures of the same size"
            )
        return found

    return seen


def to_bytes(values: NDArray[Any]) -> Picture:
    """Values rounded to 8 bits, half to even; those beyond 0 and 255 become 0 and 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def gaussian_blur(picture: Picture, kernel: int) -> NDArray[np.float64]:
    """Gaussian blur [H, W, 3], not rounded; the picture is mirrored at its border without a second edge pixel.

    Parameters
    ----------
    picture : ndarray [H, W, 3]
    kernel : int
        Odd size of the kernel k, pixels. Its deviation is 0.3 ((k - 1) / 2 - 1) + 0.8, OpenCV's rule.
    """
    radius = kernel // 2
    deviation = 0.3 * (radius - 1) + 0.8
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weights /= weights.sum()
    blurred = picture.astype(np.float64)
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights, axis, mode="mirror")
    return blurred
