"""Base of whitenings: normalisation of single trials, fitted while they are read, applied as one affine map.

Memory does not grow with the number of trials. A kind is a module of :mod:`brain2clip.responses.whitenings`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from brain2clip import kinds
from brain2clip.settings import WhiteningBase
from brain2clip.stage import InputError

#: A channel with a deviation below this fraction of the median channel's is flat.
FLAT = 1e-6
#: Unit of responses that were divided by a standard deviation.
STANDARD = "standard deviation"


@dataclass(frozen=True)
class Operator:
    """Whitened = matrix @ (x - mean), then the clamp.

    Attributes
    ----------
    mean : ndarray [n_channels]
        V, or T and T/m.
    matrix : ndarray [n_channels, n_channels]
        1/V, or 1/T and m/T (none: 1).
    """

    mean: np.ndarray
    matrix: np.ndarray

    def apply(self, epochs: np.ndarray, clamp: float | None = None) -> np.ndarray:
        """Whiten epochs [..., n_channels, n_times], in double precision."""
        whitened = self.matrix @ (epochs - self.mean[:, None])
        return whitened if clamp is None else clamped(whitened, clamp)


def clamped(whitened: np.ndarray, limit: float) -> np.ndarray:
    """Values, those beyond the limits set to them."""
    return np.clip(whitened, -limit, limit)


class Fit:
    """Base of kinds: collects training epochs, then gives the operator.

    Parameters
    ----------
    settings : WhiteningBase
        Of the kind.
    channels : list of str
        Names, for messages.
    trials : int
        Number of training trials that will come, at most.

    Attributes
    ----------
    unit : str or None
        Of what is whitened; None: it stays that of the recording.
    """

    unit: ClassVar[str | None] = STANDARD

    def __init__(self, settings: WhiteningBase, channels: list[str], trials: int) -> None:
        self.settings, self.channels, self.trials = settings, channels, trials

    def add(self, epochs: np.ndarray) -> None:
        """Take training epochs [n, n_channels, n_times], V (MEG: T, or T/m; both types together in fT and fT/cm)."""
        raise NotImplementedError

    def operator(self) -> Operator:
        """The operator of all epochs so far."""
        raise NotImplementedError


def kind_of(settings: WhiteningBase) -> type[Fit]:
    """Class of the wanted kind."""
    return kinds.load("whitenings", settings.kind)


def average(operators: Iterable[Operator]) -> Operator:
    """Mean of operators, for a session that has no training trial of its own."""
    found = list(operators)
    return Operator(np.mean([each.mean for each in found], axis=0), np.mean([each.matrix for each in found], axis=0))


def refuse_flat(deviation: np.ndarray, channels: list[str]) -> None:
    """Refuse channels [n_channels] without a signal of their own over the training trials."""
    flat = [name for name, value in zip(channels, deviation) if not value > FLAT * np.median(deviation)]
    if flat:
        raise InputError(
            f"channel {', '.join(flat)} is constant over the training trials; whitening needs a signal in each "
            "channel\n"
            "  leave it out (responses.channels), or set responses.whitening.kind to none"
        )
