"""The samples of one recording in V: loaded, in the right unit, with bad channels interpolated."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
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

#: Limits of the deviation of EEG within a second, V: noise of an amplifier, and ten times the strongest seizures.
EEG_V = (1e-7, 5e-3)
#: Deviation of ordinary EEG, V.
USUAL_V = 2e-5


def load(raw: mne.io.BaseRaw, item: Recording, names: Sequence[str], scale: float) -> None:
    """Load some channels, in this order and in V, in place.

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
        When they cannot be read, are no numbers, or cannot be EEG in V.
    """
    with recording.readable(item.path):
        raw.reorder_channels(list(names)).load_data(verbose="ERROR")
    for name, factor in recording.factors(raw, item).items():
        _multiply(raw, [name], factor)
    if scale != 1.0:
        _rescale(raw, scale)
    epoching.check_finite(raw)
    check_amplitude(raw, scale)


def _rescale(raw: mne.io.BaseRaw, scale: float) -> None:
    _multiply(raw, raw.ch_names, scale)


def _multiply(raw: mne.io.BaseRaw, names: Sequence[str], factor: float) -> None:
    for place in map(raw.ch_names.index, names):  # one at a time, because they are copied
        raw[place] = raw.get_data(picks=[place]) * factor


def check_amplitude(raw: mne.io.BaseRaw, scale: float = 1.0) -> None:
    """Refuse samples whose amplitude is impossible for EEG in V, because the unit is wrong or missing.

    The criterion is the median deviation within a second over seconds and channels: offsets, drifts and a few
    disconnected channels do not matter.
    """
    found = _deviation(raw)
    low, high = EEG_V
    if low <= found <= high:
        return
    if found == 0:
        raise InputError(f"{epoching.source(raw)}: all samples are constant; expected EEG. Get the file again")
    factor = 1000.0 ** round(np.log10(USUAL_V / found) / 3)
    raise InputError(
        f"{epoching.source(raw)}: the EEG channels vary by {found:.3g} V within a second (median), which is "
        f"impossible for EEG ({low:g} to {high:g} V)\n  the unit in the file is wrong or missing: give units in "
        f"channels.tsv if the file has none, or set studies.*.responses.scale: {scale * factor:g}"
    )


def _deviation(raw: mne.io.BaseRaw) -> float:
    """Median over channels of the median deviation within a second, V; what is constant does not count."""
    length = max(1, min(round(raw.info["sfreq"]), raw.n_times))
    of_channels = []
    for place in range(len(raw.ch_names)):  # one at a time, because they are copied
        samples = raw.get_data(picks=[place])[0]
        seconds = samples[: len(samples) // length * length].reshape(-1, length).std(axis=1)
        # What is left of a large constant by rounding is no deviation.
        varying = seconds[seconds > 1e-12 * np.abs(samples).max(initial=0)]
        if len(varying):
            of_channels.append(np.median(varying))
    return float(np.median(of_channels)) if of_channels else 0.0


def sketch(raw: mne.io.BaseRaw, names: Collection[str]) -> NDArray[np.uint64]:
    """What :mod:`same_samples` compares of some channels of a loaded recording, whatever their order."""
    digests = RowDigests(raw.n_times)
    for name in sorted(names):
        digests.add(raw.get_data(picks=[name]).T)
    return digests.sketch()


def interpolate(raw: mne.io.BaseRaw, bad: Sequence[str], others: Collection[str], places: NDArray[np.float64]) -> None:
    """Make bad channels from the others by spherical splines (Perrin et al. 1989), in place.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Loaded, with all EEG channels.
    bad : sequence of str
        Channels to make.
    others : collection of str
        Channels that are bad, too, and not wanted.
    places : ndarray [n_channels, 3]
        Positions of all, m; where no channel has one, those of a template head count.

    Raises
    ------
    brain2clip.stage.InputError
        When a position is unknown, or too few channels are good.
    """
    import mne

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
