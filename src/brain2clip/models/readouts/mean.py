"""Mean of vectors of one width, as of the embeddings of several views (Wang et al., AAAI 2026, NeuroBridge)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.readout import ReadoutModule, one_width
from brain2clip.settings import MeanOfVectors


class Readout(ReadoutModule):
    """Mean, of vectors of unit length if the settings say so."""

    def __init__(self, settings: MeanOfVectors, widths: tuple[int, ...], subjects: int) -> None:
        super().__init__()
        self.width = one_width(settings, widths)
        self.unit = settings.unit

    def forward(self, vectors: Sequence[Tensor], subject: int | None = None) -> Tensor:
        """Mean [B, d]."""
        return torch.stack([F.normalize(one, dim=-1) if self.unit else one for one in vectors]).mean(dim=0)
