"""Weighted mean of vectors by a learned softmax, with common weights or separate ones for every number.

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

    ``a`` are shared weights [n_vectors] (or [n_vectors, d]) that start at the prior, or are drawn, ``s`` a subject's
    bias, which starts at zero, is left out with some probability in training and always in tests. W_i are separate
    linear layers if a width is set, after a common layer if that has a width, too; else the identity. Learned vectors
    follow those of the picture, unchanged.
    """

    def __init__(self, settings: Mix, widths: tuple[int, ...], subjects: int) -> None:
        super().__init__()
        self.unit = settings.unit
        self.together: nn.Linear | None = None
        if settings.shared_width is not None:
            self.together = shared_layer(settings, widths, settings.shared_width)
            widths = (settings.shared_width,) * len(widths)
        if settings.width is None:
            self.width = one_width(settings, widths)
            self.own: nn.ModuleList | None = None
        else:
            self.width = settings.width
            self.own = nn.ModuleList(nn.Linear(width, settings.width) for width in widths)
        self.learned = constants(settings.learned_vectors, self.width) if settings.learned_vectors else None
        count = len(widths) + settings.learned_vectors
        shape = (count, self.width if settings.per_dimension else 1)
        start = torch.zeros(shape)
        if settings.prior_block is not None:
            away = [abs(float(one or 0) - settings.prior_block) for one in settings.places]
            start[: len(widths)] -= torch.tensor(away)[:, None] / settings.prior_spread
        self.logits = nn.Parameter(drawn(shape) if settings.start == "uniform" else start)
        self.bias = nn.Parameter(torch.zeros(subjects, count, 1)) if settings.by_subject else None
        self.dropout = settings.subject_dropout or 0.0
        self.by_picture = settings.subject_dropout_by == "picture"

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
        if self.together is not None:
            parts = [self.together(one) for one in parts]
        if self.own is not None:
            parts = [layer(one) for layer, one in zip(self.own, parts)]
        if self.learned is not None:
            parts += [one.to(parts[0].dtype).expand_as(parts[0]) for one in self.learned]
        if self.by_picture and self.bias is not None and self.training and subject is not None:
            return each_by_itself(torch.stack(parts), self.logits, self.bias[subject], self.dropout)
        return torch.einsum("nbd,nd->bd", torch.stack(parts), self.weights(subject).expand(-1, self.width))


def shared_layer(settings: Mix, widths: tuple[int, ...], width: int) -> nn.Linear:
    """One layer for all vectors, which have one width."""
    return nn.Linear(one_width(settings, widths), width)


def constants(count: int, width: int) -> nn.Parameter:
    """Initial values of the learned vectors [count, width]."""
    return nn.Parameter(torch.zeros(count, width))


def drawn(shape: tuple[int, int]) -> Tensor:
    """Logarithms of weights at the start, drawn from 0 to 1."""
    return torch.rand(shape)


def each_by_itself(parts: Tensor, logits: Tensor, bias: Tensor, dropout: float) -> Tensor:
    """Weighted mean [B, d] of parts [n, B, d] by weights and a bias that is left out for each picture on its own."""
    kept = torch.rand(parts.shape[1], 1, device=parts.device) >= dropout
    weights = (logits[:, None] + bias[:, None] * kept).softmax(dim=0)
    return (parts * weights).sum(dim=0)
