"""Frozen vectors of a picture at three levels of blur, chosen by how well a response fits its picture.

After the uncertainty-aware blur prior (Wu et al., CVPR 2025), written anew from its description: a running mean of the
similarity of each training picture to its responses decides, relative to those of the others, how blurred it is shown
next. Tests, and pictures without a similarity yet, have the medium level.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.layers import head
from brain2clip.models.pictures import Frozen, Pictures, PictureSideBase
from brain2clip.settings import UncertaintyVisual
from brain2clip.stage import InputError

LOW, MEDIUM, HIGH = 0, 1, 2


class PictureSide(PictureSideBase):
    """One of three vectors through a trained head.

    The similarities of training pictures are not in the checkpoint, because tests do not use them.

    Attributes
    ----------
    similarity : Tensor [n]
        Running mean by row of the stimulus table; NaN where nothing is known.
    level : Tensor [n]
        Level of each.
    """

    tuned: ClassVar[tuple[str, ...]] = ()

    similarity: Tensor
    level: Tensor

    def __init__(self, settings: UncertaintyVisual, frozen: Frozen) -> None:
        super().__init__()
        self.settings = settings
        widths = [frozen.size(one) for one in settings.levels]
        if len(set(widths)) > 1:
            named = ", ".join(f"{one.name} ({width})" for one, width in zip(settings.levels, widths))
            raise InputError(
                f"visual.kind: uncertainty takes vectors of the same width for its levels, found {named}; take low, "
                "medium and high from the same place in the tower"
            )
        self.width = self.inner = widths[0]
        self.head = head(settings.head, self.width)
        self.register_buffer("similarity", torch.zeros(0), persistent=False)
        self.register_buffer("level", torch.zeros(0, dtype=torch.long), persistent=False)

    def begin(self, epoch: int, n_rows: int) -> None:
        """Reset before the first epoch; before every later epoch, choose levels by the known similarities."""
        if epoch == 1:
            self.similarity = torch.full((n_rows,), torch.nan, device=self.similarity.device)
        self.level = levels(self.similarity, self.settings.deviations)

    @torch.no_grad()
    def learn(self, rows: Tensor, similarity: Tensor) -> None:
        """Similarity [B] of pictures of some rows to their responses, into their running means."""
        before, new = self.similarity[rows], similarity.to(self.similarity)
        share = self.settings.update
        self.similarity[rows] = torch.where(before.isnan(), new, (1 - share) * before + share * new)

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        low, medium, high = (pictures.vector(one) for one in self.settings.levels)
        found = medium
        if self.training and pictures.rows is not None and len(self.level):
            level = self.level[pictures.rows][:, None]
            found = torch.where(level == LOW, low, torch.where(level == HIGH, high, medium))
        return self.head(F.normalize(found, dim=-1) if self.settings.unit else found)

    def of_texts(self, texts: Tensor) -> Tensor:
        """Embedding [n, shared] of texts [n, d], of the length that pictures have."""
        return self.head(F.normalize(texts, dim=-1) if self.settings.unit else texts)


def levels(similarity: Tensor, deviations: float) -> Tensor:
    """Level of each picture by its similarity [n] (NaN: unknown) to its responses.

    Beyond the mean and so many standard deviations of all that are known, more similar is low, less is high.
    """
    away = similarity - similarity.nanmean()
    limit = deviations * away.square().nanmean().sqrt()
    found = torch.full(similarity.shape, MEDIUM, device=similarity.device)
    return found.masked_fill(away > limit, LOW).masked_fill(away < -limit, HIGH)
