"""Figure ``spectra``: power spectral density of the recording in every band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain2clip import artefact, stage
from brain2clip.reporting import blocks, figure_base, sensors

if TYPE_CHECKING:
    import numpy as np
    from matplotlib import figure as drawn
    from numpy.typing import NDArray

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Every signal of a study, channels averaged."""

    order = 20

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Responses of all signals and subjects; voxels have no spectrum."""
        if plan.is_voxels(study):
            return None
        return {
            "responses": plan.responses_files(study, sorted({run.signal for run in plan.runs() if run.study == study}))
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Every signal of every study, channels averaged."""
        import numpy as np

        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        units = {}
        for path, expected in stage.progress(job.each("responses"), "reading spectra"):
            names = blocks.from_response_path(path)
            with artefact.open_h5(path, expected) as file:
                kinds, freqs, power = np.array(sensors.types(file)), file["quality/freqs"][:], file["quality/psd"][:]
                of_kinds = {kind: sensors.unit(file, "psd", kind) for kind in dict.fromkeys(kinds.tolist())}
            for kind, unit in of_kinds.items():
                label = f"{names['study']}, {names['signal']}" + f", {kind}" * (len(of_kinds) > 1)
                found.setdefault(label, []).append((freqs, np.nanmean(power[kinds == kind], axis=0)))
                units[label] = unit
        data = []
        for label, pairs in found.items():
            freqs = pairs[0][0]
            psd = np.stack([np.interp(freqs, own, values) for own, values in pairs])
            data.append(Spectrum(label, freqs.astype(np.float64), psd.astype(np.float64), units[label]))
        return figure_spectra(data)


@dataclass(frozen=True)
class Spectrum:
    """Spectra of one study and band.

    Attributes
    ----------
    label : str
    freqs : array [n_freqs]
        Hz.
    psd : array [n_subjects, n_freqs]
        V²/Hz (or the square of ``unit`` per Hz), mean over channels of a type.
    unit : str
        ``V``, of MEG ``T`` or ``T/m``, or what responses are in that somebody else has whitened.
    """

    label: str
    freqs: NDArray[np.float64]
    psd: NDArray[np.float64]
    unit: str = "V"


def figure_spectra(data: list[Spectrum]) -> drawn.Figure:
    """Mean over subjects in dB, the range of the subjects shaded; frequency on a logarithmic axis."""
    import numpy as np
    from matplotlib.ticker import NullFormatter

    from brain2clip.reporting import style

    made = style.figure(6.5, 3.8)
    axis = made.add_subplot()
    peaks = []
    for number, one in enumerate(data):
        kept = one.freqs > 0
        scale = sensors.DRAWN.get(one.unit, ("", 1.0))[1] ** 2
        decibel = 10 * np.log10(np.maximum(one.psd[:, kept] * scale, 1e-12))
        colour = style.colour(number)
        axis.plot(one.freqs[kept], decibel.mean(axis=0), color=colour, linestyle=style.line(number), label=one.label)
        if len(decibel) > 1:
            axis.fill_between(one.freqs[kept], decibel.min(0), decibel.max(0), color=colour, alpha=0.15, linewidth=0)
        peaks.append(decibel.max())
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    # Stop bands reach far below anything that matters.
    axis.set_ylim(bottom=max(axis.get_ylim()[0], max(peaks) - 80))
    references = {_reference(one.unit) for one in data}
    axis.set(xlabel="frequency (Hz)", ylabel=f"power spectral density (dB re {' or '.join(sorted(references))})")
    axis.legend(title="study, band")
    return made


def _reference(unit: str) -> str:
    drawn = sensors.DRAWN.get(unit, (unit, 1.0))[0]
    return f"1 {drawn}²/Hz" if drawn.isalpha() and unit in sensors.DRAWN else f"1 ({drawn})²/Hz"
