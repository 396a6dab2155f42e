"""The cached CLIP embedding through a trained head: the baseline."""

from __future__ import annotations

from torch import Tensor

from brain2clip.models.layers import head
from brain2clip.models.pictures import Frozen, Pictures, PictureSideBase
from brain2clip.settings import FrozenVisual


class PictureSide(PictureSideBase):
    """The cached CLIP embedding through a trained head."""

    def __init__(self, settings: FrozenVisual, frozen: Frozen) -> None:
        super().__init__()
        self.width = self.inner = frozen.width
        self.head = head(settings.head, frozen.width)

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        return self.head(pictures.embedding)
