"""Gaussian blur, the same everywhere."""

from __future__ import annotations

from brain2clip.settings import Blur
from brain2clip.stimuli.view_base import Picture, gaussian_blur, to_bytes


class View:
    """Gaussian blur by the size of its kernel; rounded half to even."""

    def __init__(self, settings: Blur) -> None:
        self.kernel = settings.kernel

    def __call__(self, picture: Picture) -> Picture:
        """The blurred picture."""
        return to_bytes(gaussian_blur(picture, self.kernel))
