"""Figure ``spectra``: power spectral density of the recording in every band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain2clip.reporting import style


@dataclass(frozen=True)
class Spectrum:
    """Spectra of one study and band.

    Attributes
    ----------
    label : str
    freqs : array [n_freqs]
        Hz.
    psd : array [n_subjects, n_freqs]
        V²/Hz (or the square of ``unit`` per Hz), mean over channels.
    unit : str
        ``V``, or what responses are in that somebody else has whitened.
    """

    label: str
    freqs: NDArray[np.float64]
    psd: NDArray[np.float64]
    unit: str = "V"


def figure_spectra(data: list[Spectrum]) -> Figure:
    """Mean over subjects in dB, the range of the subjects shaded; frequency on a logarithmic axis."""
    made = style.figure(6.5, 3.8)
    axis = made.add_subplot()
    peaks = []
    for number, one in enumerate(data):
        kept = one.freqs > 0
        scale = 1e12 if one.unit == "V" else 1.0
        decibel = 10 * np.log10(np.maximum(one.psd[:, kept] * scale, 1e-12))
        colour = style.colour(number)
        axis.plot(one.freqs[kept], decibel.mean(axis=0), color=colour, linestyle=style.line(number), label=one.label)
        if len(decibel) > 1:
            axis.fill_between(one.freqs[kept], decibel.min(0), decibel.max(0), color=colour, alpha=0.15, linewidth=0)
        peaks.append(decibel.max())
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    # Stop bands reach far below anything that matters.
    axis.set_ylim(bottom=max(axis.get_ylim()[0], max(peaks) - 80))
    references = {"1 µV²/Hz" if one.unit == "V" else f"1 ({one.unit})²/Hz" for one in data}
    axis.set(xlabel="frequency (Hz)", ylabel=f"power spectral density (dB re {' or '.join(sorted(references))})")
    axis.legend(title="study, band")
    return made
