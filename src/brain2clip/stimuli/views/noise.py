"""Gaussian noise that is always the same for the same picture."""

from __future__ import annotations

import hashlib

import numpy as np

from brain2clip.settings import Noise
from brain2clip.stimuli.view_base import Picture, to_bytes


class View:
    """Independent Gaussian noise on every pixel and colour; rounded half to even, and cut off at 0 and 255.

    It is drawn from the picture's own pixels and the seed, so neither the order of pictures nor what other pictures
    there are matters.
    """

    def __init__(self, settings: Noise) -> None:
        self.deviation, self.seed = settings.deviation, settings.seed

    def __call__(self, picture: Picture) -> Picture:
        """The noisy picture."""
        digest = hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest()
        noise = np.random.default_rng([self.seed, int.from_bytes(digest)]).standard_normal(picture.shape)
        return to_bytes(picture + self.deviation * noise)
