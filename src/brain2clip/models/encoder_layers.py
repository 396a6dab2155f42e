"""Parts that encoders share: the projection at the end, and the refusal of voxels."""

from __future__ import annotations

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.layers import Residual
from brain2clip.stage import InputError


def check_time(kind: str, inputs: Inputs, does: str) -> None:
    """Refuse voxels; ``does`` says what the encoder does with time.

    Raises
    ------
    InputError
        Where responses have no time axis.
    """
    if not inputs.sfreq:
        raise InputError(
            f"encoder.kind: {kind} {does}, but voxels have no time axis; take encoder.kind: eegproject, or a method of "
            "kind mapping"
        )


def projection(n_in: int, width: int, dropout: float) -> list[nn.Module]:
    """[B, n_in] to [B, width]: Linear, x + Dropout(Linear(gelu(x))), LayerNorm."""
    return [
        nn.Linear(n_in, width),
        Residual(nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))),
        nn.LayerNorm(width),
    ]
