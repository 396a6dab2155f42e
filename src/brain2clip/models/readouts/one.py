"""One vector as it is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import OneVector


class Readout(ReadoutModule):
    """The vector."""

    def __init__(self, settings: OneVector, widths: tuple[int, ...], subjects: int) -> None:
        super().__init__()
        (self.width,) = widths

    def forward(self, vectors: Sequence[Tensor], subject: int | None = None) -> Tensor:
        """The vector [B, d]."""
        (vector,) = vectors
        return vector
