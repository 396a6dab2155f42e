"""Weighted mean of vectors by a softmax that is learned, over all numbers or for each on its own.

After the mixes of blurred views (multi-blur, AAAI 2026) and of blocks with a prior and a bias of subjects (SAMGA,
2026), written anew from their description.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.models.readout import ReadoutModule, one_width
from brain2clip.settings import Mix


class Readout(ReadoutModule):
    """sum_i softmax_i(a_i + s_i) W_i x_i.

    ``a`` are shared weights [n_vectors] (or [n_vectors, d]) that start at the prior, ``s`` a subject's bias, which
    starts at zero, is left out with some probability in training and always in tests. W_i are layers of their own where
    a width is set, else the identity.
    """

    def __init__(self, settings: Mix, widths: tuple[int, ...], subjects: int) -> None:
        super().__init__()
        self.unit = settings.unit
        if settings.width is None:
            self.width = one_width(settings, widths)
            self.own: nn.ModuleList | None = None
        else:
            self.width = settings.width
            self.own = nn.ModuleList(nn.Linear(width, settings.width) for width in widths)
        shape = (len(widths), self.width if settings.per_dimension else 1)
        start = torch.zeros(shape)
        if settings.prior_block is not None:
            away = [abs(float(one.block or 0) - settings.prior_block) for one in settings.vectors]
            start = start - torch.tensor(away)[:, None] / settings.prior_spread
        self.logits = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(subjects, len(widths), 1)) if settings.by_subject else None
        self.dropout = settings.subject_dropout or 0.0

    def weights(self, subject: int | None = None) -> Tensor:
        """Weights [n_vectors, d or 1], which sum to one over the vectors."""
        logits: Tensor = self.logits
        if self.bias is not None and self.training and subject is not None:
            kept = torch.rand((), device=logits.device) >= self.dropout
            logits = logits + self.bias[subject] * kept
        return logits.softmax(dim=0)

    def forward(self, vectors: Sequence[Tensor], subject: int | None = None) -> Tensor:
        """Weighted mean [B, width]."""
        parts = [F.normalize(one, dim=-1) if self.unit else one for one in vectors]
        if self.own is not None:
            parts = [layer(one) for layer, one in zip(self.own, parts)]
        return torch.einsum("nbd,nd->bd", torch.stack(parts), self.weights(subject).expand(-1, self.width))
