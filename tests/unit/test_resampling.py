"""Epochs of all channels at once against MNE's functions, epoch by epoch; spectra against SciPy's."""

from __future__ import annotations

from fractions import Fraction

import mne
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from scipy import signal

from brain2clip.responses import epoching, epochs
from brain2clip.settings import Responses
from brain2clip.stage import InputError

mne.set_log_level("ERROR")
RATES = [100.0, 128.0, 200.0, 250.0, 256.0, 500.0, 512.0, 1000.0, 1024.0]


def chain(epoch: np.ndarray, sfreq: float, responses: Responses) -> np.ndarray:
    """An epoch [n_channels, n_times] at the rate of the responses, by numpy's padding and MNE's resampling."""
    first, length = round(responses.tmin * sfreq), epoch.shape[1]
    if responses.baseline is not None:
        begin, end = responses.baseline
        start = 0 if begin is None else round(begin * sfreq) - first
        stop = length if end is None else round(end * sfreq) - first + 1
        epoch = epoch - epoch[:, start:stop].mean(axis=1, keepdims=True)
    if responses.resampling == "decimate":
        factor = round(sfreq / responses.sfreq)
        places = np.arange(first, first + length)
        epoch, times = epoch[:, places % factor == 0], places[places % factor == 0] / sfreq
    else:
        if not np.isclose(sfreq, responses.sfreq):
            epoch = resampled(epoch, responses.sfreq, sfreq)
        times = first / sfreq + np.arange(epoch.shape[1]) / responses.sfreq
    if responses.crop is not None:
        begin, end = (round(edge * responses.sfreq) for edge in responses.crop)
        ticks = np.round(times * responses.sfreq)
        epoch = epoch[:, (ticks >= begin) & (ticks < end)]
    return epoch


def resampled(data: np.ndarray, up: float, down: float) -> np.ndarray:
    ratio = Fraction(up / down).limit_denominator(100_000)
    length = data.shape[-1]
    own = (2 ** int(np.ceil(np.log2(length + 200))) - length) / 2
    if own.is_integer() and (int(own) * ratio).denominator == 1 and (length * ratio).denominator == 1:
        return mne.filter.resample(data, up, down, npad="auto", pad="edge")
    step = ratio.denominator
    before = -(-100 // step) * step
    padded = np.pad(data, [(0, 0), (before, before + -length % step)], mode="edge")
    moved = mne.filter.resample(padded, up, down, npad=0)
    first = int(before * ratio)
    return moved[:, first : first + max(round(length * ratio), 1)]


@st.composite
def cases(draw) -> tuple[float, Responses]:
    """A rate of the recording and what is to become of epochs."""
    sfreq = draw(st.sampled_from(RATES) | st.integers(60, 600).map(lambda tenths: tenths + 0.5))
    how = draw(st.sampled_from(["epochs", "decimate"]))
    lower = st.sampled_from([rate for rate in RATES if rate <= sfreq] or [sfreq]) | st.floats(40, sfreq)
    rate = sfreq / draw(st.integers(1, 5)) if how == "decimate" else draw(lower)
    tmin, tmax = draw(st.integers(-60, 0)) / 100, draw(st.integers(20, 120)) / 100
    baseline = draw(st.sampled_from([None, (None, 0.0), (None, None), (tmin / 2, 0.05)]))
    crop = draw(st.sampled_from([None, (0.0, tmax), (tmin, tmax / 2)]))
    limit = draw(st.sampled_from([None, 100.0]))
    options = {"tmin": tmin, "tmax": tmax, "sfreq": rate, "baseline": baseline, "crop": crop, "reject_uv": limit}
    return sfreq, Responses(**options, resampling=how)


NICE = Responses(tmin=-0.2, tmax=1.0, baseline=(None, 0.0), crop=(0.0, 1.0), sfreq=250, resampling="epochs")


@effort(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 5), st.integers(0, 5), st.sampled_from([0.0, 0.03]))
@example((1000.0, NICE), 3, 0, 0.0)
@example((1000.0, NICE), 3, 1, 0.03)
def test_epochs_are_those_of_the_plain_chain(case, channels, seed, offset):
    sfreq, responses = case
    rng = np.random.default_rng(seed)
    data = 1e-5 * rng.standard_normal((channels, int(9 * sfreq))) + offset * rng.standard_normal((channels, 1))
    raw = mne.io.RawArray(data, mne.create_info(channels, sfreq, "eeg"))
    onsets = np.sort(rng.uniform(1, 7, 3))
    length = round(responses.tmax * sfreq) - round(responses.tmin * sfreq)
    starts = np.round(onsets * sfreq).astype(int) + round(responses.tmin * sfreq)
    try:
        found = list(epoching.cut(raw, onsets, responses))
    except InputError:  # a baseline that rounding brings out of the epoch
        assume(False)
    plain = [data[:, start : start + length] for start in starts]
    expected = np.array([chain(epoch, sfreq, responses) for epoch in plain])
    values = np.concatenate([values for _, values, _ in found])
    assert values.shape == expected.shape == (3, channels, len(epoching.epoch_times(sfreq, responses)))
    scale = np.abs(data).max() if responses.baseline is None else np.abs(data - data.mean(axis=1, keepdims=True)).max()
    assert np.abs(values - expected).max() <= 1e-12 * scale
    largest = [peak for *_, peak in found]
    if responses.reject_uv is None:
        assert largest == [None]
    else:
        np.testing.assert_allclose(largest[0], [np.ptp(epoch, axis=1) for epoch in plain], rtol=1e-9)


@pytest.mark.parametrize(
    ("count", "sfreq", "points"), [(9000, 500.0, 1000), (700, 500.0, 1000), (5003, 512.5, 1025), (300, 100.5, 201)]
)
def test_spectrum_is_that_of_welch(count, sfreq, points):
    samples = np.random.default_rng(0).standard_normal(count)
    length = min(points, count)
    _, expected = signal.welch(samples, sfreq, nperseg=length, nfft=points, detrend=False)
    np.testing.assert_allclose(epochs._welch(samples, sfreq, points), expected, rtol=1e-12)
