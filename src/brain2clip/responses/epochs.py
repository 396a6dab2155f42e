"""Stage ``epochs``: the recordings of one subject to single-trial brain responses in one named band.

Recordings are read one at a time. Their epochs go to an unnamed scratch file; whitening is fitted in passing, per
session and on training trials only, and applied in a second pass over that file while the artefact is written. So
memory depends on the longest recording, not on their number, and a killed job leaves nothing that looks finished.

A session without training trials is whitened by the mean of the operators of the sessions that have some.
"""

from __future__ import annotations

import logging
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, assert_never

import numpy as np
import pandas as pd

from brain2clip import artefact, settings, stage
from brain2clip.names import NO_LABEL, SPLITS
from brain2clip.readers import contract
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.responses import channels, checks, epoching, recording, same_samples, samples, whitening, writing
from brain2clip.settings import Band, Repetitions, Responses
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import mne

log = logging.getLogger("brain2clip")

#: Unit of epochs that were divided by the standard deviation of their baselines.
BASELINE_UNIT = "baseline standard deviation"
#: Length of a segment of the Welch spectrum, s.
WELCH_S = 2.0
#: ... that are transformed at the same time: so many fit into the processor's cache.
SEGMENTS_AT_ONCE = 32


def run(job: stage.Job) -> None:
    """Make the responses of one subject and band."""
    given = job.settings
    study = contract.load(given["name"], given["study"], given["results"])
    band: Band = settings.parse(Band, given["band"])
    responses: Responses = settings.parse(Responses, given["responses"])
    subject = given["subject"]
    recordings = study.recordings(subject)
    contract.check_labels(study, given.get("labels"))
    trials = all_trials(study, recordings)
    checks.check_trials(study, subject, trials)
    for index, group in trials.groupby("recording"):
        checks.check_doubled(group, recordings[index].events)
        checks.check_apart(study, group, responses.tmin, responses.tmax, recordings[index].events)
    trials, surplus = without_surplus(trials, responses)
    output = job.output("responses")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as scratch:
        collected = collect(recordings, trials, band, responses, scratch)
        compared = same_samples.checked(study, subject, collected.sketches)
        kept = trials[collected.kept]
        checks.check_split(study, subject, kept, "after rejection", checks.sides(study, trials))
        operators = session_operators(collected, kept, responses)
        with artefact.create_h5(output, job.provenance(), unknown={"position", *unknown(collected)}) as file:
            writing.write_trials(file, kept)
            write_responses(file, kept, collected, operators, responses, scratch)
            write_quality(file, collected, operators, responses)
            compared.write(file)
            dropped = {
                **{"surplus": surplus, "cut_off": collected.cut_off, "rejected": collected.rejected},
                **{"bad_segments": collected.bad_segments, "bad_channels": collected.bad_channels},
            }
            writing.write_attributes(file, responses.sfreq, _unit(collected, operators, responses), dropped)
            if not operators:
                writing.write_not_normalised(file, responses.whitening.clamp)
    log.info("epochs: %d training and %d test trials", *((kept["split"] == side).sum() for side in SPLITS))


def _unit(collected: Collected, operators: dict[str, whitening.Operator], responses: Responses) -> str:
    """Unit of the responses: of their whitening, of the baseline that they were divided by, or of the recording."""
    of_whitening = whitening.kind_of(responses.whitening).unit if operators else None
    return of_whitening or (BASELINE_UNIT if responses.baseline_mode == "zscore" else channels.unit_of(collected.types))


# ----------------------------------------------------------------------------------------------- trials


def all_trials(study: EegStudy, recordings: list[Recording]) -> pd.DataFrame:
    """Trials of all recordings in time order.

    Returns
    -------
    pandas.DataFrame
        ``onset`` (s), ``stimulus`` (id), ``concept``, ``split``, ``session``, ``run``, ``recording`` (index).
    """
    tables = []
    for index, item in enumerate(recordings):
        table = study.trials(item)
        labels = {"session": item.session or NO_LABEL, "run": item.run or NO_LABEL, "recording": index}
        tables.append(table.assign(**labels))
    return pd.concat(tables, ignore_index=True)


def without_surplus(trials: pd.DataFrame, responses: Responses) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """Keep the wanted number of presentations per picture, split and session.

    Returns
    -------
    trials : pandas.DataFrame
        Those that are kept, in time order, with a fresh index.
    surplus : dict
        Dropped trials per split and session.
    """
    rule = responses.repetitions
    keep = np.ones(len(trials), dtype=bool)
    surplus: dict[str, dict[str, int]] = {side: {} for side in SPLITS}
    for (side, session), group in trials.groupby(["split", "session"], sort=True):
        limit = getattr(rule, side)
        over = np.zeros(len(group), dtype=bool) if limit is None else _ranks(group, side, session, rule) >= limit
        keep[group.index[over]] = False
        surplus[side][session] = int(over.sum())
        if over.any():
            log.info("epochs: session %s: %d surplus %s trials dropped (%s)", session, over.sum(), side, rule.rule)
    return trials[keep].reset_index(drop=True), surplus


def _ranks(group: pd.DataFrame, side: str, session: str, rule: Repetitions) -> np.ndarray:
    """Place of each trial of a split and session among those of its picture, by the rule, from 0."""
    if rule.rule == "shuffle":
        same = group.groupby("stimulus")["stimulus"]
        return same.transform(lambda shown: _shuffled_ranks(len(shown), rule.seed)).to_numpy(int)
    if rule.rule == "first":
        order = np.arange(len(group))
    elif rule.rule == "random":  # a draw of its own for each group: test trials do not move training trials
        order = np.random.default_rng([rule.seed, zlib.crc32(f"{side}/{session}".encode())]).permutation(len(group))
    else:
        assert_never(rule.rule)
    ranked = group.assign(order=order).sort_values("order").groupby("stimulus").cumcount()
    return ranked.reindex(group.index).to_numpy(int)


def _shuffled_ranks(count: int, seed: int) -> np.ndarray:
    """Place of each presentation of a picture after scikit-learn's shuffle, which starts anew for every picture.

    So presentation numbers alone decide which are kept: of three the same two for every picture (the code of
    THINGS-EEG2, NICE and UBP calls ``shuffle(idx, n_samples=2, random_state=20200220)`` picture by picture).
    """
    from sklearn.utils import shuffle

    ranks = np.empty(count, dtype=int)
    ranks[shuffle(np.arange(count), random_state=seed)] = np.arange(count)
    return ranks


# ----------------------------------------------------------------------------------------- the recordings


@dataclass
class Collected:
    """What passes over the recordings leave in memory.

    Attributes
    ----------
    channels : list of str
        In the order of the data.
    times : ndarray [n_times]
        s.
    position : ndarray [n_channels, 3]
        m.
    sfreq : float
        Rate of the recordings, Hz.
    kept : ndarray [n_planned]
        Which trials are in the scratch file.
    fits : dict
        Session to its whitening.
    erp_sum : ndarray [n_channels, n_times]
        Sum over training trials, V (MEG: T, T/m), or in deviations of the baseline.
    psd_sum : ndarray [n_channels, n_freqs]
        Sum over recordings, V²/Hz (MEG: T²/Hz, (T/m)²/Hz).
    types : dict
        Type of each channel, as MNE calls it.
    grade : int
        Grade of the gradient compensation of all recordings.
    head : mne.transforms.Transform or None
        Position of the head in the first recording.
    heads : list
        Name of each recording of MEG with the distance of its sensors from those of the first, seen from the head, mm.
    recordings : int
        How many went into ``psd_sum``.
    cut_off : dict
        Trials whose epoch reaches over an end of its recording, per split and session.
    rejected : dict
        Training trials above the amplitude limit, per session.
    bad_segments : dict
        Trials that touch a segment marked as bad, per split and session, kept or dropped as the settings say.
    bad_channels : dict
        Names of channels marked as bad, per recording that has some.
    sketches : list
        Name of each recording with the sketch of its samples (:mod:`brain2clip.responses.same_samples`).
    scale : ndarray [n_channels, 1] or None
        Unit in which each channel is whitened (:func:`common_scale`).
    """

    channels: list[str]
    times: np.ndarray
    position: np.ndarray
    sfreq: float
    kept: np.ndarray
    fits: dict[str, whitening.Fit]
    erp_sum: np.ndarray
    psd_sum: np.ndarray
    freqs: np.ndarray
    types: dict[str, str]
    grade: int
    head: mne.transforms.Transform | None
    recordings: int = 0
    heads: list[tuple[str, float]] = field(default_factory=list)
    trained: dict[str, int] = field(default_factory=dict)
    cut_off: dict[str, dict[str, int]] = field(default_factory=lambda: {side: {} for side in SPLITS})
    rejected: dict[str, int] = field(default_factory=dict)
    bad_segments: dict[str, dict[str, int]] = field(default_factory=lambda: {side: {} for side in SPLITS})
    bad_channels: dict[str, list[str]] = field(default_factory=dict)
    sketches: list[tuple[str, np.ndarray]] = field(default_factory=list)
    scale: np.ndarray | None = None


def collect(
    recordings: list[Recording], trials: pd.DataFrame, band: Band, responses: Responses, scratch: IO[bytes]
) -> Collected:
    """Read, filter and cut all recordings; epochs go to the scratch file as float32 in the order of the trials."""
    groups = dict(list(trials.groupby("recording")))
    left_out: set[str] = set()
    if responses.bad_channels == "drop":
        left_out = bad_anywhere(recordings[index] for index in groups)
    collected: Collected | None = None
    for index in stage.progress(sorted(groups), "recordings"):
        item = recordings[index]
        raw = recording.open_recording(item)
        bad = list(raw.info["bads"])
        raw.info["bads"] = []  # which MNE would leave out of an average reference
        if collected is None:
            collected = _empty(raw, item, trials, responses, left_out)
            _log_filter(raw, band, responses)
        check_same(raw, item, collected, recordings[min(groups)])
        if responses.channels == "all":
            say_unused(raw, item, {*collected.channels, *left_out, *(responses.without or ())}, recordings[min(groups)])
        check_head(raw, item, collected, recordings[min(groups)], responses.head_movement_mm)
        group = groups[index]
        epoching.check_onsets(raw, group["onset"].to_numpy(float), item.events)
        _load(raw, item, collected, bad, responses)
        epoching.prepare(raw, collected.channels, band, responses)
        collected.psd_sum += _spectrum(raw)[1]
        collected.recordings += 1
        _cut_recording(raw, item, group, responses, collected, scratch)
    assert collected is not None
    say_heads(collected.heads)
    return collected


def bad_anywhere(recordings: Iterable[Recording]) -> set[str]:
    """Channels that are bad in any of some recordings."""
    return {name for item in recordings for name in recording.open_recording(item).info["bads"]}


def _load(raw: mne.io.BaseRaw, item: Recording, collected: Collected, bad: list[str], responses: Responses) -> None:
    """Samples of the wanted channels, those that are bad as the settings say."""
    if bad:
        collected.bad_channels[item.name] = bad
        log.warning(
            "epochs: %s: marked as bad: %s (bad_channels: %s)", item.name, ", ".join(bad), responses.bad_channels
        )
    wanted = collected.channels
    mended: list[str] = []
    if responses.bad_channels == "interpolate":
        mended = [name for name in bad if name in wanted]
    elif responses.bad_channels != "keep" and responses.bad_channels != "drop":
        assert_never(responses.bad_channels)
    places = recording.positions(raw, item) if mended else np.zeros((0, 3))
    samples.load(raw, item, raw.ch_names if mended else wanted, responses.scale)
    collected.sketches.append((item.name, samples.sketch(raw, wanted)))
    samples.replace(raw, item)
    if mended:
        # What the settings leave out is no source of interpolation, either.
        others = {*bad, *(responses.without or ())}.difference(mended)
        samples.interpolate(raw, mended, others, places)


def _empty(
    raw: mne.io.BaseRaw, item: Recording, trials: pd.DataFrame, responses: Responses, left_out: Collection[str]
) -> Collected:
    """Nothing collected yet; the first recording says channels, rate and positions."""
    named = epoching.wanted_names(raw, responses)
    names = [name for name in named if name not in left_out]
    if not names:
        raise InputError(
            f"{item.path}: all of the wanted channels are marked as bad in some recording ({', '.join(named)}); keep "
            "or interpolate them (studies.*.responses.bad_channels)"
        )
    if len(names) < len(named):
        lost = len(named) - len(names)
        log.warning("epochs: %d of %d channels left out, because they are bad in some recording", lost, len(named))
    log.info("epochs: responses of %d channels: %s", len(names), ", ".join(names))
    epoching.check_rate(raw, responses)
    types = {name: kind for name, kind in recording.channel_types(raw).items() if name in names}
    check_scale(item, types, responses)
    sfreq = raw.info["sfreq"]
    times = epoching.epoch_times(sfreq, responses)
    places = dict(zip(raw.ch_names, recording.positions(raw, item)))
    training = trials[trials["split"] == "train"].groupby("session").size()
    freqs = np.fft.rfftfreq(round(WELCH_S * sfreq), 1 / sfreq)
    fit = whitening.kind_of(responses.whitening)
    return Collected(
        channels=names,
        times=times,
        position=np.array([places[name] for name in names]),
        sfreq=sfreq,
        kept=np.zeros(len(trials), dtype=bool),
        fits={name: fit(responses.whitening, names, int(count)) for name, count in training.items()},
        erp_sum=np.zeros((len(names), len(times))),
        psd_sum=np.zeros((len(names), len(freqs))),
        freqs=freqs,
        types=types,
        grade=recording.compensation(raw),
        head=raw.info["dev_head_t"],
        scale=None if responses.baseline_mode == "zscore" else common_scale(types, names),
    )


def common_scale(types: dict[str, str], names: Sequence[str]) -> np.ndarray | None:
    """Units in which channels of several types have numbers of one size: fT, and fT/cm for planar gradiometers.

    The inverse square root of a covariance depends on the units of its channels if they differ by type: in T and T/m
    the numbers of magnetometers are a hundred times smaller, and all that they share with gradiometers would be taken
    from them alone.

    Returns
    -------
    ndarray [n_channels, 1] or None
        T or T/m; None if all channels are of one type, where the unit has no influence.
    """
    units = dict(epoching.REJECT.values())
    return np.array([[units[types[name]]] for name in names]) if len(set(types.values())) > 1 else None


def check_scale(item: Recording, types: dict[str, str], responses: Responses) -> None:
    """Refuse channels of several units side by side (magnetometers and planar gradiometers) without a common scale."""
    if not responses.scaled and len(set(types.values())) > 1:
        raise InputError(
            f"{item.path}: channels in {channels.unit_of(types)} side by side, whose numbers differ in scale; expected "
            "one type of channel (studies.*.picks: mag or grad), a whitening (responses.whitening), or "
            "responses.baseline_mode: zscore"
        )


def check_same(raw: mne.io.BaseRaw, item: Recording, collected: Collected, first: Recording) -> None:
    """Refuse another rate, missing channels, channels of another type, another compensation.

    Another order of channels is put right by name later.
    """
    if not np.isclose(raw.info["sfreq"], collected.sfreq):
        raise InputError(
            f"{item.path}: sampled at {raw.info['sfreq']:.10g} Hz, but {first.path} at {collected.sfreq:.10g} Hz; "
            "expected one rate for all recordings of a subject: leave recordings out, or resample their files"
        )
    epoching.channel_names(raw, collected.channels)
    types = recording.channel_types(raw)
    other = [name for name in collected.channels if types[name] != collected.types[name]]
    if other:
        raise InputError(
            f"{item.path}: {other[0]} is of type {types[other[0]]}, but {collected.types[other[0]]} in {first.path}; "
            "expected the same sensors in all recordings of a subject"
        )
    grade = recording.compensation(raw)
    if grade != collected.grade:
        raise InputError(
            f"{item.path}: gradient compensation of grade {grade}, but {collected.grade} in {first.path}; expected one "
            "for all recordings of a subject, because the sensors measure other things: bring the files to one grade "
            "(mne.io.Raw.apply_gradient_compensation, before channels are picked), or leave the others out"
        )


def say_unused(raw: mne.io.BaseRaw, item: Recording, known: Collection[str], first: Recording) -> None:
    """Say which channels of a recording are not used because the first one, which says what all are, lacks them."""
    more = [name for name in raw.ch_names if name not in known]
    if more:
        log.warning(
            "epochs: %s: %d channel(s) not used, because %s, the first recording, lacks them: %s",
            item.path,
            len(more),
            first.path,
            ", ".join(more),
        )


def check_head(
    raw: mne.io.BaseRaw, item: Recording, collected: Collected, first: Recording, limit: float | None
) -> None:
    """Note how far the head of a recording lies from where it lay in the first; refuse it beyond a limit (mm)."""
    moved = recording.head_movement(raw, collected.head)
    if moved is not None:
        collected.heads.append((item.name, moved))
    if limit is not None:
        refuse_movement(item, first, moved, limit)


def refuse_movement(item: Recording, first: Recording, moved: float | None, limit: float) -> None:
    """Refuse a head further (mm) than the limit from where it lay in the first recording, or nobody knows where."""
    if moved is None:
        raise InputError(
            f"{item.path}: it or {first.path} does not say where the head lay, and responses.head_movement_mm wants to "
            "compare both; leave that setting out"
        )
    if moved > limit:
        raise InputError(
            f"{item.path}: the head lies {moved:.1f} mm from where it lay in {first.path} (mean over sensors), and "
            f"responses.head_movement_mm allows {limit:g}; leave the recording out, bring it to one head position "
            "(mne.preprocessing.maxwell_filter, destination), or allow more"
        )


def say_heads(heads: list[tuple[str, float]]) -> None:
    """Say once how far heads lie from where they lay in the first recording."""
    farthest = max(heads, key=lambda one: one[1], default=None)
    if farthest is not None and farthest[1] > 0:
        log.warning(
            "epochs: head positions differ by up to %.1f mm (%s, mean over sensors) from the first recording's; "
            "sensors are taken as they are (responses.head_movement_mm would refuse)",
            *farthest[::-1],
        )


def _log_filter(raw: mne.io.BaseRaw, band: Band, responses: Responses) -> None:
    epoching.check_band(raw, band)
    edge, transition = epoching.low_pass(raw.info["sfreq"], band, responses)
    if transition != "auto":
        log.info(
            "epochs: anti-aliasing for %g Hz: pass band up to %g Hz, stop band from %g Hz (band h_freq: %s)",
            *(responses.sfreq, edge, responses.sfreq / 2, band.h_freq),
        )


def _cut_recording(
    raw: mne.io.BaseRaw,
    item: Recording,
    group: pd.DataFrame,
    responses: Responses,
    collected: Collected,
    scratch: IO[bytes],
) -> None:
    """Epochs of one recording to the scratch file and into the fits."""
    session = item.session or NO_LABEL
    fits = epoching.complete(raw, group["onset"].to_numpy(float), responses)
    if not fits.all():
        log.warning("epochs: %s: %d epochs dropped, because they reach beyond the recording", item.name, (~fits).sum())
        for side, count in group.loc[~fits, "split"].value_counts().items():
            _count(collected.cut_off[side], session, int(count))
    touched = _touched(group["onset"].to_numpy(float), recording.bad_spans(raw, item), responses)
    if touched.any():
        log.warning(
            "epochs: %s: %d of %d epochs touch a segment marked as bad (bad_segments: %s)",
            *(item.name, touched.sum(), len(touched), responses.bad_segments),
        )
        for side, count in group.loc[touched, "split"].value_counts().items():
            _count(collected.bad_segments[side], session, int(count))
    if responses.bad_segments == "drop":
        fits = _without(fits, touched)
    elif responses.bad_segments != "keep":
        assert_never(responses.bad_segments)
    group = group[fits]
    training = (group["split"] == "train").to_numpy()
    rejected, limits = 0, epoching.reject_limits(raw, responses)
    for rows, data, peak_to_peak in epoching.cut(raw, group["onset"].to_numpy(float), responses):
        bad = np.zeros(len(data), dtype=bool)
        if limits is not None and peak_to_peak is not None:
            bad = training[rows] & _too_large(peak_to_peak, limits)
        rejected += int(bad.sum())
        epochs = data.astype(np.float32)
        (epochs[~bad] if bad.any() else epochs).tofile(scratch)
        collected.kept[group.index[rows][~bad]] = True
        learnt = epochs[training[rows] & ~bad]
        if len(learnt):
            collected.fits[session].add(learnt if collected.scale is None else learnt / collected.scale)
            collected.erp_sum += learnt.sum(axis=0, dtype=float)
            _count(collected.trained, session, len(learnt))
    if rejected:
        _count(collected.rejected, session, rejected)
        log.info("epochs: %s: %d training epochs above %s rejected", item.name, rejected, _limits(responses))


def _limits(responses: Responses) -> str:
    """Limits of the peak-to-peak amplitude, for the log."""
    limits = {name: getattr(responses, name) for name in epoching.REJECT}
    given = [f"{limit:g} {epoching.REJECT_UNITS[name]}" for name, limit in limits.items() if limit is not None]
    return " or ".join(given)


def _touched(onsets: np.ndarray, spans: np.ndarray, responses: Responses) -> np.ndarray:
    """Which epochs have a part in spans [n, 2] (s), bool [n_onsets]."""
    starts, ends = onsets[:, None] + responses.tmin, onsets[:, None] + responses.tmax
    return np.count_nonzero((spans[:, 0] < ends) & (spans[:, 1] >= starts), axis=1) > 0


def _without(kept: np.ndarray, bad: np.ndarray) -> np.ndarray:
    return kept & ~bad


def _too_large(peak_to_peak: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Which epochs [n, n_channels] reach beyond the limit of a channel, bool [n]."""
    return np.count_nonzero(peak_to_peak > limits, axis=1) > 0


def _count(counts: dict[str, int], key: str, more: int) -> None:
    counts[key] = counts.get(key, 0) + more


def _spectrum(raw: mne.io.BaseRaw) -> tuple[np.ndarray, np.ndarray]:
    """Welch spectrum of a recording: frequencies (Hz) and power [n_channels, n_freqs] (V²/Hz)."""
    sfreq = raw.info["sfreq"]
    points = round(WELCH_S * sfreq)
    power = []
    for index in range(len(raw.ch_names)):  # one channel at a time, because they are copied
        samples = raw.get_data(picks=[index])[0]
        samples -= samples.mean()  # not per segment: the mean of a piece of a 10 Hz wave would leak to 0 Hz
        power.append(_welch(samples, sfreq, points))
    return np.fft.rfftfreq(points, 1 / sfreq), np.array(power)


def _welch(samples: np.ndarray, sfreq: float, points: int) -> np.ndarray:
    """Power density [n_freqs] as ``scipy.signal.welch(samples, sfreq, nperseg=points, detrend=False)``.

    The same in a third of the time: segments are transformed some at a time, and scipy.signal takes a second to import.
    """
    length = min(points, len(samples))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)  # Hann
    segments = np.lib.stride_tricks.sliding_window_view(samples, length)[:: length - length // 2]
    power = np.zeros(points // 2 + 1)
    for begin in range(0, len(segments), SEGMENTS_AT_ONCE):
        spectrum = np.fft.rfft(segments[begin : begin + SEGMENTS_AT_ONCE] * window, points)
        power += (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    density: np.ndarray = power / (sfreq * (window**2).sum() * len(segments))
    density[1 : (points + 1) // 2] *= 2  # the negative frequencies of all but 0 and the highest
    return density


# -------------------------------------------------------------------------------------------- whitening


def session_operators(collected: Collected, kept: pd.DataFrame, responses: Responses) -> dict[str, whitening.Operator]:
    """Operator of every session that has trials; none where it would have to be fitted and no trial is of training."""
    operators = {}
    if not collected.trained:
        if responses.whitening.scaled:
            log.warning(
                "epochs: no training trial: left in %s, to be whitened as the training of the model that ranks",
                BASELINE_UNIT if responses.baseline_mode == "zscore" else channels.unit_of(collected.types),
            )
            return {}
        fit = whitening.kind_of(responses.whitening)(responses.whitening, collected.channels, 0)
        return {session: fit.operator() for session in sorted(set(kept["session"]))}
    for session in sorted(collected.trained):
        try:
            operators[session] = _of_scale(collected.fits[session].operator(), collected.scale)
        except InputError as error:
            raise InputError(f"session {session}: {error}") from None
    mean = whitening.average(operators.values())
    for session in sorted(set(kept["session"]) - set(operators)):
        log.warning(
            "epochs: session %s has no training trial: whitened by the mean operator of the other sessions", session
        )
        operators[session] = mean
    return operators


def _of_scale(operator: whitening.Operator, scale: np.ndarray | None) -> whitening.Operator:
    """An operator that was fitted to channels in units [n_channels, 1], for channels in V, T and T/m."""
    return operator if scale is None else whitening.Operator(operator.mean * scale[:, 0], operator.matrix / scale[:, 0])


# --------------------------------------------------------------------------------------------- writing


def write_responses(
    file: h5py.File,
    trials: pd.DataFrame,
    collected: Collected,
    operators: dict[str, whitening.Operator],
    responses: Responses,
    scratch: IO[bytes],
) -> None:
    """Whiten the scratch file chunk by chunk into ``response``."""
    shape = (len(trials), len(collected.channels), len(collected.times))
    response = writing.create_response(file, shape, responses.dtype if operators else "float32")
    sessions = trials["session"].to_numpy()
    for begin, epochs in _chunks(scratch, shape, response.chunks[0]):
        for epoch, session in zip(epochs, sessions[begin:] if operators else ()):
            epoch[:] = operators[session].apply(epoch, responses.whitening.clamp)
        writing.store(response, begin, epochs)
    if response.dtype == np.float16:
        log.info("epochs: stored as float16, relative rounding error at most 2^-11 (0.05 %)")
    writing.write_axes(file, collected.channels, collected.times, collected.position, collected.types)


def _chunks(scratch: IO[bytes], shape: tuple[int, int, int], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Epochs of the scratch file, some at a time, with the number of the first."""
    scratch.seek(0)
    for begin in range(0, shape[0], rows):
        count = min(rows, shape[0] - begin)
        values = np.fromfile(scratch, np.float32, count * shape[1] * shape[2])
        yield begin, values.reshape(count, *shape[1:])


def unknown(collected: Collected) -> tuple[str, ...]:
    """What nobody knows without training trials: their mean."""
    return () if collected.trained else ("erp",)


def write_quality(
    file: h5py.File, collected: Collected, operators: dict[str, whitening.Operator], responses: Responses
) -> None:
    """Whitening operators, evoked response and spectrum."""
    trained = sum(collected.trained.values())
    erp = collected.erp_sum / trained if trained else np.full_like(collected.erp_sum, np.nan)
    writing.write_quality(file, operators, erp, collected.psd_sum / collected.recordings, collected.freqs)
    if responses.baseline_mode == "zscore":
        file["quality/erp"].attrs["unit"] = BASELINE_UNIT


if __name__ == "__main__":
    stage.main(run)
