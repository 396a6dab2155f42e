"""From a continuous recording to single-trial epochs: channels, filter, reference, cutting, resampling.

The same functions serve recordings and synthetic signals (a :class:`mne.io.RawArray` of noise-free templates).
Order: channels are picked, the continuous signal is filtered (zero-phase FIR), referenced, then cut; each epoch is
baseline-corrected at the recording's own rate, brought to the rate of the responses, and cropped. The sample at
``tmax`` (and at the end of ``crop``) is left out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, assert_never

import numpy as np

from brain2clip.names import suggestion
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

_PARIETAL = ("P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8")
_OCCIPITAL = ("PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2")
#: Named channel sets: the 17 of THINGS-EEG2 (Gifford et al. 2022, NeuroImage 264), and all 63 of it in the order of
#: NICE (Song et al. 2024), ATM and UBP, which is not that of the recordings.
CHANNEL_SETS = {
    "occipital-parietal-17": (*_PARIETAL, *_OCCIPITAL),
    "nice-63": (
        *("Fp1", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8"),
        *("F7", "F5", "F3", "F1", "F2", "F4", "F6", "F8"),
        *("FT9", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10"),
        *("T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8"),
        *("TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "TP10"),
        *_PARIETAL,
        *_OCCIPITAL,
    ),
}
#: Setting of the largest peak-to-peak amplitude: of which type of channel it is, and its unit in V, T or T/m.
REJECT = {"reject_uv": ("eeg", 1e-6), "reject_ft": ("mag", 1e-15), "reject_ft_cm": ("grad", 1e-13)}
REJECT_UNITS = {"reject_uv": "microvolt", "reject_ft": "fT", "reject_ft_cm": "fT/cm"}
#: A channel whose deviation in a baseline is below this part of the median channel's has none.
FLAT = 1e-6
#: Samples of padding on each side of an epoch that is resampled, at least.
PADDING = 100
#: Epochs that are in memory at full rate at the same time.
CHUNK = 64
#: Part of a recording up to the last trial, at least, where the unit of onsets is guessed.
FILLED = 0.1
#: Where the pass band of the anti-aliasing filter ends, as a part of the new Nyquist frequency (its stop band
#: begins at 1).
ANTI_ALIAS = 0.9


def epochs_of(
    raw: mne.io.BaseRaw, onsets: Sequence[float] | np.ndarray, band: Band, responses: Responses
) -> tuple[np.ndarray, np.ndarray]:
    """Epochs of a recording, before whitening.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Recording in V; it is not changed.
    onsets : array [n]
        Trial onsets from the start of the recording, s.
    band, responses : settings
        Filter band and epoch settings; whitening, repetitions and rejection play no part here.

    Returns
    -------
    data : ndarray [n, n_channels, n_times]
        V.
    times : ndarray [n_times]
        s from the onset.

    Raises
    ------
    brain2clip.stage.InputError
        What :func:`prepare`, :func:`check_onsets` and :func:`check_finite` refuse, or when an epoch does not fit into
        the recording.
    """
    onsets = np.asarray(onsets, dtype=float)
    check_onsets(raw, onsets)
    missing = int((~complete(raw, onsets, responses)).sum())
    if missing:
        raise InputError(
            f"{source(raw)}: {missing} of {len(onsets)} epochs [{responses.tmin}, {responses.tmax}] s do not fit into "
            f"the recording of {raw.n_times / raw.info['sfreq']:.3f} s (onsets {onsets.min():g} to {onsets.max():g} s)"
        )
    ready = raw.copy().reorder_channels(wanted_names(raw, responses)).load_data(verbose="ERROR")
    check_finite(ready)
    prepare(ready, ready.ch_names, band, responses)
    times = epoch_times(raw.info["sfreq"], responses)
    chunks = [data for _, data, _ in cut(ready, onsets, responses)]
    return np.concatenate([np.empty((0, len(ready.ch_names), len(times))), *chunks]), times


# -------------------------------------------------------------------------------------------- channels


def wanted_names(raw: mne.io.BaseRaw, responses: Responses) -> list[str]:
    """Channels that the settings want, without those that they leave out.

    Raises
    ------
    brain2clip.stage.InputError
        When one of either is not in the recording, or none is left.
    """
    names = channel_names(raw, responses.channels)
    return names if responses.without is None else _left_out(raw, names, responses.without)


def _left_out(raw: mne.io.BaseRaw, names: list[str], left_out: Sequence[str]) -> list[str]:
    lost = [name for name in left_out if name not in raw.ch_names]
    if lost:
        raise InputError(
            f"{source(raw)}: no channel {', '.join(map(repr, lost))}{suggestion(lost[0], raw.ch_names)}, which "
            f"responses.without leaves out\n  channels found: {', '.join(raw.ch_names)}; fix the name, or take it out"
        )
    kept = [name for name in names if name not in left_out]
    if not kept:
        raise InputError(f"{source(raw)}: responses.without leaves out all of the {len(names)} wanted channels")
    return kept


def channel_names(raw: mne.io.BaseRaw, wanted: Sequence[str] | str) -> list[str]:
    """Channels to use, in the order of the setting (``all``: of the recording).

    Raises
    ------
    brain2clip.stage.InputError
        When one is not in the recording.
    """
    if wanted == "all":
        return list(raw.ch_names)
    names = list(CHANNEL_SETS[wanted] if isinstance(wanted, str) else wanted)
    for name in names:
        if name not in raw.ch_names:
            lost = [other for other in names if other not in raw.ch_names]
            raise InputError(
                f"{source(raw)}: no {technique(raw)} channel {name!r}{suggestion(name, raw.ch_names)}\n"
                f"  responses.channels wants {len(names)} channels, not found: {', '.join(lost)}; fix the name, or "
                "list those that all recordings have\n"
                f"  channels found: {', '.join(raw.ch_names)}"
            )
    return names


def technique(raw: mne.io.BaseRaw) -> str:
    """EEG or MEG, for messages."""
    return "EEG" if "eeg" in raw.get_channel_types() else "MEG"


# ---------------------------------------------------------------------------------------------- filter


def prepare(raw: mne.io.BaseRaw, names: Sequence[str], band: Band, responses: Responses) -> mne.io.BaseRaw:
    """Load, pick, filter and reference a recording in place.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Recording in V; loaded here if it is not, with the wanted channels only.
    names : sequence of str
        Channels in the wanted order.
    band, responses : settings
        Filter band; target rate and reference.

    Returns
    -------
    mne.io.BaseRaw
        The same object, at its own rate and low-passed so that decimation to ``responses.sfreq`` does not alias.

    Raises
    ------
    brain2clip.stage.InputError
        When the band or the rates do not allow it.
    """
    check_band(raw, band)
    check_rate(raw, responses)
    if raw.ch_names != list(names):
        raw.reorder_channels(list(names))
    raw.load_data(verbose="ERROR")
    edge, transition = low_pass(raw.info["sfreq"], band, responses)
    l_freq = band.l_freq or None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*longer than the signal.*", category=RuntimeWarning)
        try:
            if l_freq is not None or edge is not None:
                raw.filter(l_freq, edge, h_trans_bandwidth=transition, verbose="WARNING")
            if band.notch:
                raw.notch_filter(list(band.notch), verbose="WARNING")
        except RuntimeWarning as warning:
            length = raw.n_times / raw.info["sfreq"]
            raise InputError(
                f"{source(raw)}: the recording of {length:.2f} s is shorter than the filter of the band l_freq "
                f"{band.l_freq}, h_freq {band.h_freq}, notch {list(band.notch)} ({warning})\n"
                f"  {_shorter(band, length)}, or leave the short run out"
            ) from None
    if responses.reference == "average":
        if technique(raw) != "EEG":
            raise InputError(f"{source(raw)}: responses.reference: average is of EEG; sensors of MEG have no reference")
        raw.set_eeg_reference("average", projection=False, verbose="ERROR")
    elif responses.reference != "recorded":
        assert_never(responses.reference)
    return raw


def _shorter(band: Band, length: float) -> str:
    """What makes the filter fit into a recording of some length (s): it takes 3.3 s over its transition width (Hz)."""
    enough = np.ceil(100 * 3.4 / length) / 100
    if band.l_freq and band.l_freq < enough:
        return f"raise l_freq to {enough:g} Hz" + (" and leave notch out" if band.notch else "")
    return "leave notch out" if band.notch else "raise h_freq and responses.sfreq"


def low_pass(sfreq: float, band: Band, responses: Responses) -> tuple[float | None, float | str]:
    """End of the low-pass' pass band (Hz) and its transition width (Hz or ``auto``).

    Where samples will be left out, the stop band begins at the new Nyquist frequency at the latest: the band's own
    low-pass is used as it is when it guarantees this, and is otherwise made steep enough (and lowered to 0.9 of
    that frequency where it lies higher).
    """
    edge = band.h_freq
    if responses.resampling == "epochs" or _factor(sfreq, responses) == 1:
        return edge, "auto"
    nyquist = responses.sfreq / 2
    if edge is not None and edge + min(max(0.25 * edge, 2.0), sfreq / 2 - edge) <= nyquist * (1 + 1e-9):
        return edge, "auto"
    edge = ANTI_ALIAS * nyquist if edge is None else min(edge, ANTI_ALIAS * nyquist)
    return edge, nyquist - edge


def check_band(raw: mne.io.BaseRaw, band: Band) -> None:
    """Refuse a band with an edge at or above the Nyquist frequency of the recording."""
    nyquist = raw.info["sfreq"] / 2
    edges = [("l_freq", band.l_freq), ("h_freq", band.h_freq), *(("notch", freq) for freq in band.notch)]
    for name, edge in edges:
        if edge is not None and edge >= nyquist:
            raise InputError(
                f"{source(raw)}: band {name} = {edge:.10g} Hz, but the recording's {raw.info['sfreq']:.10g} Hz "
                f"contain only frequencies below {nyquist:.10g} Hz; lower {name}, or set it to null"
            )


def check_rate(raw: mne.io.BaseRaw, responses: Responses) -> None:
    """Refuse a rate above the recording's, or one that leaving out samples does not give."""
    sfreq = raw.info["sfreq"]
    ratio = sfreq / responses.sfreq
    if ratio < 1 - 1e-6:
        raise InputError(
            f"{source(raw)}: responses.sfreq = {responses.sfreq:.10g} Hz is above the recording's {sfreq:.10g} Hz; "
            "lower it"
        )
    if responses.resampling == "decimate" and abs(ratio - round(ratio)) > 1e-6:
        # Ten digits: what is printed must be accepted when it is written into the settings.
        whole = ", ".join(f"{sfreq / factor:.10g}" for factor in range(1, 6))
        raise InputError(
            f"{source(raw)}: {sfreq:.10g} Hz divided by responses.sfreq = {responses.sfreq:.10g} Hz is {ratio:.10g}, "
            "expected a whole number for resampling: decimate\n"
            f"  take a rate such as {whole} Hz, or resampling: epochs, which allows any rate"
        )


def check_finite(raw: mne.io.BaseRaw) -> None:
    """Refuse NaN or infinite samples."""
    for index, name in enumerate(raw.ch_names):
        samples = raw.get_data(picks=[index])[0]
        if np.isfinite(samples.sum()):
            continue
        wrong = np.flatnonzero(~np.isfinite(samples))
        if len(wrong):
            raise InputError(
                f"{source(raw)}: channel {name} holds {len(wrong)} samples that are NaN or infinite, the first at "
                f"{wrong[0] / raw.info['sfreq']:.3f} s; expected numbers. Repair the file, or leave the channel out "
                "(responses.channels)"
            )


# ----------------------------------------------------------------------------------------------- epochs


def check_onsets(raw: mne.io.BaseRaw, onsets: np.ndarray, events: object = None) -> None:
    """Refuse onsets outside the recording, with a hint where the unit looks wrong.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    onsets : ndarray [n]
        s.
    events : path, optional
        File of the events, for the message.
    """
    sfreq = raw.info["sfreq"]
    length = raw.n_times / sfreq
    outside = (onsets < 0) | (onsets >= length)
    if not outside.any():
        return
    largest = float(onsets.max())
    step = float(np.median(np.diff(np.sort(onsets)))) if len(onsets) > 1 else float("nan")
    hint = (
        "the recording was cut short, or the events belong to another one: get both again; or remove these events "
        "from the table"
    )
    if largest < length:
        hint = (
            "onsets count from the first sample, so none is negative: correct the table, or remove these events from it"
        )
    units = sorted([(1000.0, "milliseconds"), (sfreq, f"samples at {sfreq:g} Hz")])
    # In the right unit trials fill a part of the recording that is worth it; seconds taken for another unit do not.
    likely = [unit for divisor, unit in units if FILLED * length <= largest / divisor < length <= largest]
    if likely:
        hint = f"onset looks like {' or '.join(likely)} (median step {step:g}); BIDS needs seconds: convert the column"
    raise InputError(
        f"{events or source(raw)}: {int(outside.sum())} of {len(onsets)} onsets lie outside the recording of "
        f"{length:.3f} s (smallest onset {onsets.min():g}, largest {largest:g})\n  {hint}"
    )


def complete(raw: mne.io.BaseRaw, onsets: np.ndarray, responses: Responses) -> np.ndarray:
    """Which epochs lie wholly inside the recording, bool [n]."""
    sfreq = raw.info["sfreq"]
    starts = _samples(onsets, sfreq) + round(responses.tmin * sfreq)
    return (starts >= 0) & (starts + _length(sfreq, responses) <= raw.n_times)


def epoch_times(sfreq: float, responses: Responses) -> np.ndarray:
    """Times of the samples that are kept, s from the onset."""
    times, kept = _grid(sfreq, responses)
    return times[kept]


def cut(
    raw: mne.io.BaseRaw, onsets: np.ndarray, responses: Responses
) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
    """Epochs of a prepared recording, a chunk at a time.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        What :func:`prepare` gave.
    onsets : ndarray [n]
        s, in time order; every epoch must fit (:func:`complete`).
    responses : settings
        Window, baseline, rate, crop.

    Yields
    ------
    rows : slice
        Which of the onsets.
    data : ndarray [m, n_channels, n_times]
        V, or T and T/m; with ``baseline_mode: zscore`` in standard deviations of the baseline.
    peak_to_peak : ndarray [m, n_channels] or None
        Peak-to-peak amplitude of each channel in the whole epoch (before crop and decimation), V, or T and T/m; None
        where there is no limit to it (:func:`reject_limits`).

    Raises
    ------
    brain2clip.stage.InputError
        When a baseline that epochs are divided by has no variance.
    """
    sfreq = raw.info["sfreq"]
    length = _length(sfreq, responses)
    starts = _samples(onsets, sfreq) + round(responses.tmin * sfreq)
    baseline, limits = _baseline(sfreq, responses), reject_limits(raw, responses)
    places = _grid(sfreq, responses)[1]
    kept = _slice(places)
    resampling = None
    if responses.resampling == "epochs" and not np.isclose(sfreq, responses.sfreq):
        resampling = Resampling(length, responses.sfreq, sfreq)
    for begin in range(0, len(starts), CHUNK):
        rows = slice(begin, min(begin + CHUNK, len(starts)))
        some = starts[rows]
        segment = raw.get_data(start=int(some.min()), stop=int(some.max()) + length)
        data = np.empty((len(some), len(segment), len(places)))
        peak_to_peak = None if limits is None else np.empty((len(some), len(segment)))
        for place, first in enumerate(some - some.min()):  # one epoch fits into the processor's cache, many do not
            epoch = segment[:, first : first + length]
            level = 0.0 if baseline is None else epoch[:, baseline].mean(axis=1, keepdims=True)
            if peak_to_peak is not None:
                peak_to_peak[place] = np.ptp(epoch, axis=1)
            data[place] = epoch[:, kept] - level if resampling is None else resampling(epoch, level)[:, kept]
            if responses.baseline_mode == "zscore":
                assert baseline is not None
                data[place] /= _deviation(raw, epoch[:, baseline], onsets[rows][place])
            elif responses.baseline_mode != "mean":
                assert_never(responses.baseline_mode)
        yield rows, data, peak_to_peak


def reject_limits(raw: mne.io.BaseRaw, responses: Responses) -> np.ndarray | None:
    """Largest peak-to-peak amplitude of each channel that an epoch of training may have.

    Returns
    -------
    ndarray [n_channels] or None
        V, T or T/m; infinite for channels of a type without a limit. None without any limit.

    Raises
    ------
    brain2clip.stage.InputError
        When a limit is of a type that no channel has.
    """
    given = {
        name: (kind, limit * unit)
        for name, (kind, unit) in REJECT.items()
        if (limit := getattr(responses, name)) is not None
    }
    return _by_channel(raw, given) if given else None


def _by_channel(raw: mne.io.BaseRaw, given: Mapping[str, tuple[str, float]]) -> np.ndarray:
    types = raw.get_channel_types()
    for name, (kind, _) in given.items():
        if kind not in types:
            found = ", ".join(f"{types.count(one)} {one}" for one in dict.fromkeys(types))
            raise InputError(
                f"{source(raw)}: responses.{name} is of channels of type {kind}, and none is read (found {found}); "
                "leave it out, or give the limit of the type that is there: "
                + ", ".join(other for other, (of, _) in REJECT.items() if of in types)
            )
    by_type = dict(given.values())
    return np.array([by_type.get(kind, np.inf) for kind in types])


def _deviation(raw: mne.io.BaseRaw, baseline: np.ndarray, onset: float) -> np.ndarray:
    """Standard deviation [n_channels, 1] of the baseline [n_channels, n_samples] of the epoch at an onset (s)."""
    found: np.ndarray = baseline.std(axis=1, keepdims=True)
    flat = ~(found[:, 0] > FLAT * np.median(found))
    if flat.any():
        names = [name for name, one in zip(raw.ch_names, flat) if one]
        raise InputError(
            f"{source(raw)}: the baseline of the trial at {onset:.10g} s has no variance in {len(names)} of "
            f"{len(flat)} channels ({', '.join(names[:5])}), so baseline_mode: zscore would divide by zero\n"
            "  leave these channels out (responses.without), give a longer baseline, or set baseline_mode: mean"
        )
    return found


class Resampling:
    """Epochs of one length at another rate, in the Fourier domain; the first sample stays where it is.

    What :func:`mne.filter.resample` gives, of all rows at once, which it transforms one after the other. Where MNE's
    own padding (to a power of two, as :meth:`mne.Epochs.resample` in the papers' code) is a whole number of new
    samples, it is used. Else it would move the epochs by a part of a sample (5 ms at 100 Hz), because MNE rounds what
    it cuts off again; then they are padded by a length that both rates share.

    Parameters
    ----------
    length : int
        Samples of an epoch.
    up, down : float
        New and old rate, Hz.
    """

    def __init__(self, length: int, up: float, down: float) -> None:
        ratio = Fraction(up / down).limit_denominator(100_000)
        least = length + 2 * min(length // 8, PADDING)
        own = (2 ** int(np.ceil(np.log2(least))) - length) / 2  # what npad="auto" takes on each side
        if own.is_integer() and (int(own) * ratio).denominator == 1 and (length * ratio).denominator == 1:
            before = after = int(own)
        else:
            step = ratio.denominator
            before = -(-PADDING // step) * step
            after = before + -length % step
        self.before, self.inside = before, slice(before, before + length)
        self.old = before + length + after
        self.new = max(round(up / down * self.old), 1)
        first = int(before * ratio)
        self.kept = slice(first, first + max(round(length * ratio), 1))

    def __call__(self, epochs: np.ndarray, level: np.ndarray | float = 0.0) -> np.ndarray:
        """Epochs [..., n_times], less a level [..., 1], at the new rate.

        Returns
        -------
        ndarray [..., n_new]
            ``n_new`` is ``n_times * up / down``, rounded.
        """
        padded = np.empty((*epochs.shape[:-1], self.old))
        inside = np.subtract(epochs, level, out=padded[..., self.inside])
        padded[..., : self.before] = inside[..., :1]
        padded[..., self.inside.stop :] = inside[..., -1:]
        spectrum = np.fft.rfft(padded)
        shorter = min(self.old, self.new)
        if shorter % 2 == 0:  # the highest frequency of the shorter one stands for two
            spectrum[..., shorter // 2] *= 2 if self.new < self.old else 0.5
        found = np.fft.irfft(spectrum[..., : self.new // 2 + 1] * (self.new / self.old), self.new)
        return found[..., self.kept]


def _slice(places: np.ndarray) -> slice:
    """Places at one distance from each other as a slice, which takes a view."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return slice(int(places[0]), int(places[-1]) + 1, step)


def source(raw: mne.io.BaseRaw) -> str:
    """File of a recording, for messages."""
    files = [name for name in raw.filenames if name is not None]
    return str(files[0]) if files else "recording"


def _samples(onsets: np.ndarray, sfreq: float) -> np.ndarray:
    return np.round(np.asarray(onsets, dtype=float) * sfreq).astype(int)


def _length(sfreq: float, responses: Responses) -> int:
    """Samples of an epoch at the recording's rate, without the one at ``tmax``."""
    return round(responses.tmax * sfreq) - round(responses.tmin * sfreq)


def _factor(sfreq: float, responses: Responses) -> int:
    return round(sfreq / responses.sfreq)


def _grid(sfreq: float, responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) before the last selection, and the indices of those that are kept."""
    first, length = round(responses.tmin * sfreq), _length(sfreq, responses)
    if responses.resampling == "epochs":
        count = max(round(length * responses.sfreq / sfreq), 1)
        times = first / sfreq + np.arange(count) / responses.sfreq
        kept = np.arange(count)
    elif responses.resampling == "decimate":
        offsets = first + np.arange(length)
        times = offsets / sfreq
        kept = np.flatnonzero(offsets % _factor(sfreq, responses) == 0)  # the sample at the onset is one of them
    else:
        assert_never(responses.resampling)
    if responses.crop is not None:
        kept = kept[_inside(times[kept], responses.crop, responses.sfreq)]
    if not len(kept):
        raise InputError(
            f"responses: no sample is left of the epoch [{responses.tmin}, {responses.tmax}] s at {responses.sfreq} Hz "
            f"with crop {responses.crop}; widen the window"
        )
    return times, kept


def _inside(times: np.ndarray, crop: tuple[float, float], sfreq: float) -> np.ndarray:
    """Which times (s) lie in a window, its end left out, bool [n]."""
    begin, end = (round(edge * sfreq) for edge in crop)
    ticks = np.round(times * sfreq)
    return (ticks >= begin) & (ticks < end)


def _baseline(sfreq: float, responses: Responses) -> slice | None:
    """Samples of the epoch whose mean is subtracted, both ends included as in MNE."""
    if responses.baseline is None:
        return None
    first, length = round(responses.tmin * sfreq), _length(sfreq, responses)
    begin, end = responses.baseline
    start = 0 if begin is None else round(begin * sfreq) - first
    stop = length if end is None else round(end * sfreq) - first + 1
    if start < 0 or stop > length or start >= stop:
        raise InputError(
            f"responses.baseline = {list(responses.baseline)} s does not lie inside the epoch "
            f"[{responses.tmin}, {responses.tmax}] s; move it, or set it to null"
        )
    return slice(start, stop)
