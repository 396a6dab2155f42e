"""The samples of one recording in V or T: loaded, in the right unit, with bad channels interpolated."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers.contract import Recording
from brain2clip.responses import epoching, recording
from brain2clip.responses.same_samples import RowDigests
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")


@dataclass(frozen=True)
class Amplitude:
    """Possible deviations within a second.

    Attributes
    ----------
    name : str
        The quantity, for messages.
    unit : str
    possible : tuple of float
        Smallest and largest deviation, in that unit.
    usual : float
        A usual deviation.
    """

    name: str
    unit: str
    possible: tuple[float, float]
    usual: float


#: MNE's code of a digitised point of the surface of the head; and the number of points that a sphere needs.
FIFFV_POINT_EXTRA, ENOUGH_POINTS = 4, 10
#: By type of channel. EEG: noise of an amplifier, and ten times the strongest seizures. MEG: a hundredth of the noise
#: of a sensor (averaged, filtered data), and a field outside of a shielded room.
AMPLITUDES = {
    "eeg": Amplitude("EEG", "V", (1e-7, 5e-3), 2e-5),
    "mag": Amplitude("MEG (mag)", "T", (1e-15, 1e-7), 1e-12),
    "grad": Amplitude("MEG (grad)", "T/m", (1e-14, 1e-6), 2e-11),
}


def load(raw: mne.io.BaseRaw, item: Recording, names: Sequence[str], scale: float) -> None:
    """Load some channels, in this order and in V (MEG: T, T/m), in place.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        From :func:`brain2clip.responses.recording.open_recording`.
    item : Recording
    names : sequence of str
        Channels.
    scale : float
        Factor on all samples (``responses.scale``).

    Raises
    ------
    brain2clip.stage.InputError
        If they cannot be read, are not finite, or cannot be EEG in V or MEG in T.
    """
    with recording.readable(item.path):
        raw.reorder_channels(list(names)).load_data(verbose="ERROR")
    for name, factor in recording.factors(raw, item).items():
        _multiply(raw, [name], factor)
    if scale != 1.0:
        _rescale(raw, scale)
    epoching.check_finite(raw)
    check_amplitude(raw, scale)


def replace(raw: mne.io.BaseRaw, item: Recording) -> None:
    """Replace dropouts of all channels (``item.dropouts``) with the median of each channel, in place.

    The filter would spread a dropout of 0.2 s over seconds.

    Raises
    ------
    brain2clip.stage.InputError
        If a dropout is not within the recording.
    """
    for start, length in item.dropouts:
        first, count = round(start * raw.info["sfreq"]), round(length * raw.info["sfreq"])
        if first < 0 or first + count > raw.n_times:
            raise InputError(
                f"{item.path}: there is a known dropout from {start:g} to {start + length:g} s, but the recording has "
                f"{raw.n_times / raw.info['sfreq']:.3f} s; expected the whole recording: get it again"
            )
        for place in range(len(raw.ch_names)):  # one at a time, because they are copied
            values = raw.get_data(picks=[place])
            values[:, first : first + count] = np.median(values)
            raw[place] = values
        log.info("%s: %g to %g s replaced with the median of each channel", item.name, start, start + length)


def _rescale(raw: mne.io.BaseRaw, scale: float) -> None:
    _multiply(raw, raw.ch_names, scale)


def _multiply(raw: mne.io.BaseRaw, names: Sequence[str], factor: float) -> None:
    for place in map(raw.ch_names.index, names):  # one at a time, because they are copied
        raw[place] = raw.get_data(picks=[place]) * factor


def check_amplitude(raw: mne.io.BaseRaw, scale: float = 1.0) -> None:
    """Refuse samples whose amplitude is impossible for EEG in V or MEG in T, because the unit is wrong or missing.

    The criterion is the median deviation within a second over seconds and channels of a type: offsets, drifts and a few
    disconnected channels have no effect on it.
    """
    types = recording.channel_types(raw)
    for kind, expected in AMPLITUDES.items():
        names = [name for name in raw.ch_names if types[name] == kind]
        if names:
            _check_amplitude(raw, names, expected, scale)


def _check_amplitude(raw: mne.io.BaseRaw, names: Sequence[str], expected: Amplitude, scale: float) -> None:
    found = _deviation(raw, names)
    (low, high), unit = expected.possible, expected.unit
    if low <= found <= high:
        return
    if found == 0:
        raise InputError(
            f"{epoching.source(raw)}: all samples are constant; expected {expected.name}. Get the file again"
        )
    factor = 1000.0 ** round(np.log10(expected.usual / found) / 3)
    advice = "give units in channels.tsv if the file has none, or " if unit == "V" else ""
    raise InputError(
        f"{epoching.source(raw)}: the {expected.name} channels vary by {found:.3g} {unit} within a second (median), "
        f"which is impossible for {expected.name.partition(' ')[0]} ({low:g} to {high:g} {unit})\n  the unit "
        f"in the file is wrong or missing: {advice}set studies.*.responses.scale: {scale * factor:g}"
    )


def _deviation(raw: mne.io.BaseRaw, names: Sequence[str]) -> float:
    """Median over channels of the median deviation within a second; constant parts do not count."""
    length = max(1, min(round(raw.info["sfreq"]), raw.n_times))
    of_channels = []
    for place in map(raw.ch_names.index, names):  # one at a time, because they are copied
        samples = raw.get_data(picks=[place])[0]
        seconds = samples[: len(samples) // length * length].reshape(-1, length).std(axis=1)
        # Rounding of a large constant is not a deviation.
        varying = seconds[seconds > 1e-12 * np.abs(samples).max(initial=0)]
        if len(varying):
            of_channels.append(np.median(varying))
    return float(np.median(of_channels)) if of_channels else 0.0


def sketch(raw: mne.io.BaseRaw, names: Collection[str]) -> NDArray[np.uint64]:
    """Sketch of some channels of a loaded recording for :mod:`same_samples`; their order has no effect."""
    digests = RowDigests(raw.n_times)
    for name in sorted(names):
        digests.add(raw.get_data(picks=[name]).T)
    return digests.sketch()


def interpolate(raw: mne.io.BaseRaw, bad: Sequence[str], others: Collection[str], places: NDArray[np.float64]) -> None:
    """Interpolate bad channels from the others, in place.

    EEG with spherical splines (Perrin et al. 1989); MEG with minimum-norm estimates of sources in a sphere.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Loaded, with all channels of EEG, or all sensors.
    bad : sequence of str
        Channels to interpolate.
    others : collection of str
        Other bad channels, and channels that the settings leave out: nothing is interpolated from them.
    places : ndarray [n_channels, 3]
        Positions of all channels, m; if no channel has one, those of a template head are used.

    Raises
    ------
    brain2clip.stage.InputError
        If a position is unknown, or too few channels are good.
    """
    import mne

    if "eeg" not in recording.channel_types(raw).values():
        _interpolate_fields(raw, bad, others)
        return
    if np.isnan(places).all():
        places = recording.template_positions(raw.ch_names)
        log.info(
            "%s: no electrode positions; bad channels are interpolated with positions of a template head",
            epoching.source(raw),
        )
    known = {name: place for name, place in zip(raw.ch_names, places) if np.isfinite(place).all()}
    lost = [name for name in bad if name not in known]
    good = [name for name in known if name not in bad and name not in others]
    if lost or len(good) < 4:
        raise InputError(
            f"{epoching.source(raw)}: bad channels {', '.join(bad)} cannot be interpolated: "
            + (f"no position of {', '.join(lost)}" if lost else f"only {len(good)} other channels have a position")
            + "\n  give positions in electrodes.tsv, or set studies.*.responses.bad_channels: drop (or keep)"
        )
    part = raw.copy().pick([*good, *bad])
    part.set_montage(mne.channels.make_dig_montage({name: known[name] for name in part.ch_names}, coord_frame="head"))
    part.info["bads"] = list(bad)
    part.interpolate_bads(verbose="ERROR")
    values = dict(zip(part.ch_names, part.get_data()))
    for name in bad:
        raw[raw.ch_names.index(name)] = values[name]


def _interpolate_fields(raw: mne.io.BaseRaw, bad: Sequence[str], others: Collection[str]) -> None:
    """Interpolate bad sensors of MEG, in place; the head's centre is fitted to digitised points if there are enough."""
    types = recording.channel_types(raw)
    for kind in dict.fromkeys(types[name] for name in bad):
        count = sum(found == kind and name not in bad and name not in others for name, found in types.items())
        if count < 4:
            raise InputError(
                f"{epoching.source(raw)}: bad channels {', '.join(bad)} cannot be interpolated: only {count} other "
                f"sensors of type {kind}\n  set studies.*.responses.bad_channels: drop (or keep)"
            )
    part = raw.copy().pick([name for name in raw.ch_names if name not in others])
    part.info["bads"] = list(bad)
    with recording.readable(Path(epoching.source(raw))):
        part.interpolate_bads(origin=_centre(part), verbose="ERROR")
    values = dict(zip(part.ch_names, part.get_data()))
    for name in bad:
        raw[raw.ch_names.index(name)] = values[name]


def _centre(raw: mne.io.BaseRaw) -> str | tuple[float, float, float]:
    """Centre of the head, m: fitted to the digitised points, or 4 cm above the line between the ears."""
    dig = raw.info["dig"] or []
    kinds = [int(point["kind"]) for point in dig]
    return "auto" if kinds.count(FIFFV_POINT_EXTRA) >= ENOUGH_POINTS else (0.0, 0.0, 0.04)
