"""Cached vectors of the frozen CLIP through a readout and a trained head: the baseline."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from brain2clip.models import readout
from brain2clip.models.layers import head
from brain2clip.models.pictures import Frozen, Pictures, ReadPictureSide
from brain2clip.settings import FrozenVisual


class PictureSide(ReadPictureSide):
    """Cached vectors through a readout and a trained head."""

    tuned: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: FrozenVisual, frozen: Frozen) -> None:
        super().__init__()
        self.settings = settings.readout
        self.readout = readout.build(settings.readout, [*map(frozen.size, settings.readout.inputs)], frozen.subjects)
        self.width = self.inner = self.readout.width
        self.head = head(settings.head, self.width)

    def vectors(self, pictures: Pictures) -> list[Tensor]:
        """Cached ones."""
        return pictures.frozen(self.settings)
