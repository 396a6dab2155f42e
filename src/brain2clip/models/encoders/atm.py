"""A transformer over channels with a token of the subject, then convolutions: ATM-S."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.convolutions import FILTERS, OverFilters, temporal_spatial
from brain2clip.models.encoder_layers import projection
from brain2clip.models.layers import Residual
from brain2clip.settings import Atm

#: Heads of the attention, and width of the layer behind it.
HEADS, HIDDEN = 4, 256


class SubjectToken(nn.Module):
    """A learned token [B, 1, width] for each subject of the training, and one for all others.

    In training a response takes the common token with some probability, so that this token is trained. At probability 0
    there is no common token, and unknown subjects get the mean token of the training subjects.
    """

    def __init__(self, subjects: int, width: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(subjects, width))
        self.common = nn.Parameter(torch.randn(width)) if dropout else None
        self.dropout = dropout

    def forward(self, subject: Tensor | None, n: int) -> Tensor:
        """Tokens of subjects by number [n]; None: the token of an unknown subject."""
        common = self.own.mean(dim=0) if self.common is None else self.common
        if subject is None:
            return common.expand(n, 1, -1)
        tokens = self.own[subject]
        if self.training and self.dropout:
            left_out = torch.rand(n, 1, device=tokens.device) < self.dropout
            tokens = torch.where(left_out, common, tokens)
        return tokens.unsqueeze(1)


class Attention(nn.Module):
    """Self-attention of tokens [B, n, width] with heads of ``width // 4`` numbers."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.size, self.dropout = width // HEADS, dropout
        inner = HEADS * self.size
        self.enter = nn.Linear(width, 3 * inner)
        self.leave = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, n, width]."""
        query, key, value = self.enter(x).unflatten(-1, (3, HEADS, self.size)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.leave(seen.transpose(1, 2).flatten(2))


def layer(width: int, dropout: float) -> nn.Sequential:
    """Transformer layer whose norms come after its residuals, [B, n, width] to the same."""
    forward = (nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(dropout), nn.Linear(HIDDEN, width), nn.Dropout(dropout))
    return nn.Sequential(
        Residual(nn.Sequential(Attention(width, dropout), nn.Dropout(dropout))),
        nn.LayerNorm(width),
        Residual(nn.Sequential(*forward)),
        nn.LayerNorm(width),
    )


class Encoder(nn.Module):
    """A transformer over channels with a token of the subject, then convolutions.

    Architecture (Li et al., NeurIPS 2024, ATM-S, first version): each channel is a token, Linear(T, T), and that of the
    subject comes first; one transformer layer of 4 heads, LayerNorm; then that of ``nice`` over the tokens as channels.
    In the original's code, the first C of the C + 1 tokens are passed on: the subject's token is included and the last
    channel is lost. With ``keep_last`` the C channels are passed on.

    Parameters
    ----------
    settings : Atm
        Its ``width`` is z.
    inputs : Inputs
        C, T, the sampling rate and the number of subjects.

    Raises
    ------
    InputError
        Where responses have no time axis, or are shorter than both kernels.
    """

    def __init__(self, settings: Atm, inputs: Inputs) -> None:
        super().__init__()
        layers, left = temporal_spatial("atm", inputs, settings.dropout)
        n_times, dropout = inputs.n_times, settings.dropout_tokens
        self.keep_last = settings.keep_last
        self.subject = SubjectToken(inputs.subjects, n_times, settings.subject_dropout)
        self.token = nn.Linear(n_times, n_times)
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Sequential(layer(n_times, dropout), nn.LayerNorm(n_times))
        self.convolve = nn.Sequential(
            *layers,
            OverFilters(FILTERS, FILTERS),
            nn.Flatten(),
            *projection(FILTERS * left, settings.width, settings.dropout),
        )

    def forward(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        """Embedding [B, z] of responses [B, C, T] of subjects by number [B]; None: unknown subjects."""
        tokens = self.dropout(torch.cat([self.subject(subject, len(x)), self.token(x)], dim=1))
        seen = self.layer(tokens)
        return self.convolve(seen[:, 1:] if self.keep_last else seen[:, :-1])
