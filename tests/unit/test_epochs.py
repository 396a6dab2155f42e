"""From recordings to responses: against independent MNE pipelines, on real data, and every refusal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import mne
import numpy as np
import pandas as pd
import pytest
import yaml
from bids_fixtures import (
    CHANNELS,
    N170,
    N170_STUDY,
    SFREQ,
    command,
    job,
    noise,
    regular_events,
    study_settings,
    write_dataset,
    write_run,
    write_tsv,
)

from brain2clip import artefact, settings
from brain2clip.readers import contract
from brain2clip.responses import checks, epoching
from brain2clip.responses import epochs as stage_epochs
from brain2clip.responses.whitenings import mvnn
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError
from brain2clip.studies import bids

mne.set_log_level("ERROR")
needs_n170 = pytest.mark.skipif(not N170.is_dir(), reason="the real recording shared/data/n170 is not on this machine")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def made(tmp_path: Path, study: dict, name: str = "responses.h5", **options) -> dict:
    """Run the stage; datasets and attributes as a flat dict."""
    given = job(tmp_path / "out" / name, study, **options)
    stage_epochs.run(given)
    found: dict = {}

    def keep(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = item.asstr()[:] if h5py.check_string_dtype(item.dtype) else item[()]

    with artefact.open_h5(given.output("responses"), {"stage": "epochs", "settings": given.settings}) as file:
        file.visititems(keep)
        found.update(file.attrs)
    return found


def raw_of(data: np.ndarray, sfreq: float = SFREQ, channels=CHANNELS) -> mne.io.RawArray:
    return mne.io.RawArray(data, mne.create_info(list(channels), sfreq, "eeg"))


def seconds_of(events: dict) -> np.ndarray:
    return np.array(events["onset"], dtype=float)


# ----------------------------------------------------------------------------- against plain MNE pipelines


def mne_epochs(raw: mne.io.BaseRaw, onsets: np.ndarray, tmin: float, tmax: float, **options) -> mne.Epochs:
    sfreq = raw.info["sfreq"]
    events = np.stack([np.round(onsets * sfreq), np.zeros(len(onsets)), np.ones(len(onsets))], axis=1).astype(int)
    options = {"baseline": (None, 0), "preload": True, **options}
    return mne.Epochs(raw, events, tmin=tmin, tmax=tmax - 1 / sfreq, **options)


def test_equals_an_mne_pipeline():
    raw, onsets = raw_of(noise(1, 60, 500.0), 500.0), np.arange(2, 57, 0.731)
    expected = mne_epochs(raw.copy().filter(1.0, 40.0), onsets, -0.2, 0.8, decim=5)
    responses = Responses(tmin=-0.2, tmax=0.8, sfreq=100)
    before = raw.get_data()
    found, times = epoching.epochs_of(raw, onsets, Band(l_freq=1.0, h_freq=40.0), responses)
    np.testing.assert_allclose(found, expected.get_data(), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(times, expected.times, atol=1e-12)
    assert len(times) == 100
    np.testing.assert_array_equal(raw.get_data(), before)


def test_equals_the_resampling_of_the_papers_code():
    raw, onsets = raw_of(noise(2, 40, 1000.0), 1000.0), np.arange(2, 37, 0.5)
    expected = mne_epochs(raw, onsets, -0.2, 1.0).resample(250)
    responses = Responses(tmin=-0.2, tmax=1.0, sfreq=250, resampling="epochs", crop=(0.0, 1.0))
    found, times = epoching.epochs_of(raw, onsets, Band(), responses)
    np.testing.assert_allclose(found, expected.get_data()[:, :, 50:], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(times, np.arange(250) / 250, atol=1e-12)


@pytest.mark.parametrize("sfreq", [100.0, 128.0, 200.0, 250.0])
@pytest.mark.parametrize("tmax", [0.8, 1.0])
def test_resampled_epochs_stay_where_they_are_in_time(sfreq, tmax):
    """A bump at 300 ms is found at 300 ms, to a tenth of a millisecond."""
    onsets, time = np.array([3.0, 6.0]), np.arange(10_000) / 1000
    bump = sum(np.exp(-(((time - onset - 0.3) / 0.04) ** 2)) for onset in onsets) * 1e-6
    raw = raw_of(np.stack([bump] * 4), 1000.0)
    responses = Responses(tmin=-0.2, tmax=tmax, baseline=None, sfreq=sfreq, resampling="epochs")
    found, times = epoching.epochs_of(raw, onsets, Band(), responses)
    centre = (found[:, 0] * times).sum(axis=1) / found[:, 0].sum(axis=1)
    np.testing.assert_allclose(centre, 0.3, atol=1e-4)


def test_baseline_window_reference_and_channel_order():
    raw, onsets = raw_of(noise(3)), np.arange(2, 25, 0.5)
    picked = raw.copy().reorder_channels(["O2", "Pz"]).filter(1.0, 30.0).set_eeg_reference("average")
    expected = mne_epochs(picked, onsets, -0.2, 0.6, baseline=(-0.1, 0.0))
    responses = Responses(
        tmin=-0.2, tmax=0.6, baseline=(-0.1, 0.0), sfreq=250, channels=("O2", "Pz"), reference="average"
    )
    found, _ = epoching.epochs_of(raw, onsets, Band(l_freq=1.0, h_freq=30.0), responses)
    np.testing.assert_allclose(found, expected.get_data(), rtol=1e-9, atol=1e-15)


def test_notch_equals_mne():
    raw, onsets = raw_of(noise(4)), np.arange(2, 25, 0.5)
    expected = mne_epochs(raw.copy().filter(1.0, 80.0).notch_filter([50.0]), onsets, -0.1, 0.4)
    responses = Responses(tmin=-0.1, tmax=0.4, sfreq=250)
    found, _ = epoching.epochs_of(raw, onsets, Band(l_freq=1.0, h_freq=80.0, notch=(50.0,)), responses)
    np.testing.assert_allclose(found, expected.get_data(), rtol=1e-9, atol=1e-15)


def test_onset_sample_is_kept_when_the_window_does_not_divide():
    responses = Responses(tmin=-0.1, tmax=0.6, sfreq=64)
    times = epoching.epoch_times(256.0, responses)
    assert 0.0 in times
    np.testing.assert_allclose(np.diff(times), 1 / 64)
    assert times[0] >= -0.102
    assert times[-1] < 0.6


# ------------------------------------------------------------------------------------------------ filter


def tone(frequency: float, sfreq: float = 1000.0, seconds: float = 20.0) -> np.ndarray:
    return 1e-5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * sfreq)) / sfreq)[None]


def amplitude(epochs: np.ndarray) -> float:
    return float(np.sqrt(2) * epochs.std())


@pytest.mark.parametrize("band", [Band(), Band(h_freq=100.0), Band(l_freq=0.5, h_freq=47.0)])
def test_decimation_does_not_alias(band):
    """A 70 Hz tone at a rate of 100 Hz would appear at 30 Hz in full strength."""
    raw = raw_of(tone(70.0), 1000.0, ["Oz"])
    responses = Responses(tmin=0, tmax=1, baseline=None, sfreq=100)
    found, _ = epoching.epochs_of(raw, np.arange(3, 16), band, responses)
    assert amplitude(found) < 0.005 * 1e-5
    naive = raw.get_data()[:, 3000:16000:10]
    assert amplitude(naive) > 0.9e-5


@pytest.mark.parametrize("frequency", [2.0, 20.0, 40.0])
def test_anti_aliasing_leaves_the_rest_alone(frequency):
    raw = raw_of(tone(frequency), 1000.0, ["Oz"])
    responses = Responses(tmin=0, tmax=1, baseline=None, sfreq=100)
    found, _ = epoching.epochs_of(raw, np.arange(3, 16), Band(), responses)
    np.testing.assert_allclose(found[0, 0], raw.get_data()[0, 3000:4000:10], atol=0.01e-5)


def test_band_removes_power(tmp_path):
    study = study_settings(write_dataset(tmp_path))
    found = made(tmp_path, study, band={"l_freq": 8, "h_freq": 12, "notch": []}, responses={"sfreq": 250})
    freqs, psd = found["quality/freqs"], found["quality/psd"].mean(axis=0)
    inside = psd[(freqs >= 8.5) & (freqs <= 11.5)].mean()
    assert psd[freqs < 5].mean() < 1e-4 * inside
    assert psd[freqs > 16].mean() < 1e-4 * inside


@pytest.mark.parametrize(
    ("band", "responses", "message"),
    [
        (Band(h_freq=125.0), {}, r"band h_freq = 125 Hz, .* below 125 Hz"),
        (Band(l_freq=130.0), {}, r"band l_freq = 130 Hz"),
        (Band(notch=(50.0, 150.0)), {}, r"band notch = 150 Hz"),
        (Band(), {"sfreq": 100}, r"250 Hz divided by responses.sfreq = 100 Hz is 2.5[\s\S]*resampling: epochs"),
        (Band(), {"sfreq": 500}, "above the recording's 250 Hz"),
        (Band(l_freq=0.05), {}, r"recording of 30.00 s is shorter than the filter[\s\S]*raise l_freq"),
        (Band(), {"baseline": (None, 0.4)}, r"responses.baseline = \[None, 0.4\] s does not lie inside"),
        (Band(), {"channels": ("fz", "Pz")}, r"no EEG channel 'fz' \(did you mean 'Fz'\?\)[\s\S]*Fz, Pz, O1, O2"),
        (Band(), {"channels": "occipital-parietal-17"}, r"wants 17 channels, not found: P7, P5"),
    ],
)
def test_settings_that_the_recording_does_not_allow(band, responses, message):
    settings = Responses(**{"tmin": -0.1, "tmax": 0.4, "sfreq": 125, **responses})
    with pytest.raises(InputError, match=message):
        epoching.epochs_of(raw_of(noise(5)), np.arange(2, 20), band, settings)


# -------------------------------------------------------------------------------------------- the artefact


def test_layout(tmp_path):
    for session in ("01", "02"):
        write_dataset(tmp_path, session=session)
    found = made(tmp_path, study_settings(tmp_path), responses={"tmax": 0.5, "crop": [0.0, 0.4]})
    shapes = {key: value.shape for key, value in found.items() if isinstance(value, np.ndarray)}
    assert shapes == {
        "response": (160, 4, 50),
        "stimulus": (160,),
        "split": (160,),
        "session": (160,),
        "run": (160,),
        "onset": (160,),
        "stimulus_id": (2,),
        "channel": (4,),
        "channel_type": (4,),
        "times": (50,),
        "position": (4, 3),
        "recording/name": (4,),
        "recording/sketch": (4, 128),
        "whitening/01/mean": (4,),
        "whitening/01/operator": (4, 4),
        "whitening/02/mean": (4,),
        "whitening/02/operator": (4, 4),
        "quality/erp": (4, 50),
        "quality/psd": (4, 251),
        "quality/freqs": (251,),
    }
    assert found["response"].dtype == np.float32
    assert found["stimulus"].dtype == np.int32
    assert found["split"].dtype == np.uint8
    assert found["stimulus"][:4].tolist() == [0, 1, 0, 1]
    assert found["stimulus_id"].tolist() == ["face", "house"]
    assert found["session"].tolist() == ["01"] * 80 + ["02"] * 80
    assert found["run"].tolist() == (["01"] * 40 + ["02"] * 40) * 2
    assert found["split"].tolist() == ([0] * 40 + [1] * 40) * 2
    assert found["channel"].tolist() == list(CHANNELS)
    assert np.isnan(found["position"]).all()
    assert found["sfreq"] == 125
    assert found["unit"] == "standard deviation"
    assert json.loads(found["surplus"]) == {"train": {"01": 0, "02": 0}, "test": {"01": 0, "02": 0}}


def test_dataset_without_sessions(tmp_path):
    found = made(tmp_path, study_settings(write_dataset(tmp_path)))
    assert set(found["session"]) == {"n/a"}
    assert found["whitening/n/a/operator"].shape == (4, 4)


def test_whitened_is_the_operator_on_the_epochs_of_mne(tmp_path):
    root = write_dataset(tmp_path)
    plain = made(tmp_path, study_settings(root), "plain.h5", responses={"whitening": {"kind": "none"}})
    white = made(tmp_path, study_settings(root), "white.h5", responses={"whitening": {"kind": "mvnn", "clamp": 2.0}})
    training = plain["response"][plain["split"] == 0].astype(float)
    covariance = mvnn.shrunk_covariances(training).mean(axis=0)
    operator = mvnn.inverse_square_root(covariance)
    np.testing.assert_allclose(white["whitening/n/a/operator"], operator, rtol=1e-9)
    expected = np.clip(operator @ plain["response"].astype(float), -2, 2)
    np.testing.assert_allclose(white["response"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(white["quality/erp"], training.mean(axis=0), rtol=1e-6)
    assert plain["unit"] == "V"
    raw = mne.io.read_raw(root / "sub-01/eeg/sub-01_task-see_run-01_eeg.vhdr", preload=True)
    onsets = seconds_of(regular_events(40))
    expected = mne_epochs(raw.filter(1.0, 40.0), onsets, -0.1, 0.4).decimate(2).get_data()
    np.testing.assert_allclose(plain["response"][:40], expected, rtol=1e-5, atol=1e-11)


def test_test_trials_fit_nothing(tmp_path):
    """Another test recording changes the test responses and nothing else."""
    study = study_settings(write_dataset(tmp_path))
    rule = {"train": 15, "test": 15, "rule": "random"}
    for kind in ("mvnn", "zscore", "robust"):
        options = {"whitening": {"kind": kind}, "repetitions": rule, "reject_uv": 200}
        write_run(tmp_path, noise(1), regular_events(40), run="02")
        one = made(tmp_path, study, f"{kind}-1.h5", responses=options)
        write_run(tmp_path, 5 * noise(9), regular_events(38), run="02")
        two = made(tmp_path, study, f"{kind}-2.h5", responses=options)
        for key in ("whitening/n/a/operator", "whitening/n/a/mean", "quality/erp"):
            np.testing.assert_array_equal(one[key], two[key])
        np.testing.assert_array_equal(one["response"][one["split"] == 0], two["response"][two["split"] == 0])
        assert not np.array_equal(one["response"][one["split"] == 1], two["response"][two["split"] == 1])


def test_session_without_training_uses_the_mean_operator(tmp_path):
    for session, scale in (("01", 1.0), ("02", 3.0), ("03", 2.0)):
        write_run(tmp_path, scale * noise(int(session)), regular_events(30), session=session)
    found = made(tmp_path, study_settings(tmp_path, split={"by": "session", "test": ["03"]}))
    mean = (found["whitening/01/operator"] + found["whitening/02/operator"]) / 2
    np.testing.assert_allclose(found["whitening/03/operator"], mean)
    assert not np.allclose(found["whitening/01/operator"], found["whitening/02/operator"], rtol=0.1)


def test_channels_are_found_by_name_in_every_run(tmp_path):
    order = [2, 0, 3, 1]
    write_dataset(tmp_path)
    one = made(tmp_path, study_settings(tmp_path), "one.h5")
    shuffled = [CHANNELS[index] for index in order]
    write_run(tmp_path, noise(1)[order], regular_events(40), run="02", channels=shuffled)
    two = made(tmp_path, study_settings(tmp_path), "two.h5")
    np.testing.assert_array_equal(one["response"], two["response"])


def test_only_eeg_channels_are_taken(tmp_path):
    write_dataset(tmp_path, channels=("Fz", "Pz", "EOG1", "O2"))
    assert made(tmp_path, study_settings(tmp_path))["channel"].tolist() == ["Fz", "Pz", "O2"]


@pytest.mark.parametrize("rule", ["first", "random"])
def test_surplus_repetitions(tmp_path, rule):
    study = study_settings(write_dataset(tmp_path))
    options = {"repetitions": {"train": 15, "test": None, "rule": rule}, "whitening": {"kind": "none"}}
    found = made(tmp_path, study, responses=options)
    assert json.loads(found["surplus"]) == {"train": {"n/a": 10}, "test": {"n/a": 0}}
    training = found["split"] == 0
    assert np.bincount(found["stimulus"][training]).tolist() == [15, 15]
    onsets = found["onset"][training]
    assert (np.diff(onsets) > 0).all()
    assert (onsets.max() == 1 + 0.5 * 29) == (rule == "first")
    again = made(tmp_path, study, "again.h5", responses=options)
    np.testing.assert_array_equal(again["onset"], found["onset"])


def test_rejection_drops_training_epochs_only(tmp_path):
    write_dataset(tmp_path)
    for run in (0, 1):
        data = noise(run)
        data[1, int(5.6 * SFREQ) : int(5.7 * SFREQ)] += 500e-6
        write_run(tmp_path, data, regular_events(40), run=f"{run + 1:02d}")
    found = made(tmp_path, study_settings(tmp_path), responses={"reject_uv": 200})
    assert json.loads(found["rejected"]) == {"n/a": 1}
    training = found["split"] == 0
    assert 5.5 not in found["onset"][training]
    assert 5.5 in found["onset"][~training]


def test_epochs_over_an_end_are_dropped_and_reported(tmp_path):
    events = regular_events(60, start=0.0)  # the first has no baseline, the last ends at 29.9 s
    write_run(tmp_path, noise(0, 29.7), events, run="01")
    write_run(tmp_path, noise(1), regular_events(40), run="02")
    found = made(tmp_path, study_settings(tmp_path))
    assert json.loads(found["cut_off"]) == {"train": {"n/a": 2}, "test": {}}
    assert len(found["response"]) == 98


def test_float16(tmp_path):
    study = study_settings(write_dataset(tmp_path))
    full = made(tmp_path, study, "full.h5")
    half = made(tmp_path, study, "half.h5", responses={"dtype": "float16"})
    assert half["response"].dtype == np.float16
    np.testing.assert_allclose(half["response"], full["response"], rtol=2.0**-11, atol=1e-7)


def test_positions_come_from_the_electrodes_table(tmp_path):
    write_dataset(tmp_path)
    folder = tmp_path / "sub-01" / "eeg"
    places = {"name": CHANNELS, "x": ["10", "20", "30", "n/a"], "y": ["-1", "0", "1", "n/a"], "z": ["80"] * 4}
    write_tsv(folder / "sub-01_space-CapTrak_electrodes.tsv", places)
    system = folder / "sub-01_space-CapTrak_coordsystem.json"
    system.write_text(json.dumps({"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}))
    found = made(tmp_path, study_settings(tmp_path))["position"]
    np.testing.assert_allclose(found[0], [0.010, -0.001, 0.080])
    assert np.isnan(found[3]).any()
    system.write_text(json.dumps({"EEGCoordinateSystem": "EEGLAB", "EEGCoordinateUnits": "mm"}))
    found = made(tmp_path, study_settings(tmp_path))["position"]
    np.testing.assert_allclose(found[0], [0.001, 0.010, 0.080])


def test_dataset_written_by_mne_bids(tmp_path):
    import mne_bids

    names = ["P7", "Oz", "O2"]
    for run in ("01", "02"):
        raw = raw_of(noise(int(run), channels=3), SFREQ, names)
        raw.set_montage("standard_1020").set_annotations(
            mne.Annotations([2.0, 3.5, 5.0], 0.1, ["face", "house", "face"])
        )
        path = mne_bids.BIDSPath(subject="01", task="see", run=run, datatype="eeg", root=tmp_path)
        mne_bids.write_raw_bids(raw, path, allow_preload=True, format="BrainVision")
    found = made(tmp_path, study_settings(tmp_path), responses={"whitening": {"kind": "zscore"}})
    assert found["channel"].tolist() == names
    assert found["stimulus"].tolist() == [0, 1, 0] * 2
    assert found["onset"].tolist() == [2.0, 3.5, 5.0] * 2
    assert found["position"][0, 0] < -0.05 < 0.05 < -found["position"][1, 1]  # P7 left, Oz at the back


# ------------------------------------------------------------------------------------------------ refusals


def refused(tmp_path, message: str, study: dict | None = None, **options) -> None:
    """The stage stops with the message and leaves no file."""
    given = job(tmp_path / "out" / "responses.h5", study or study_settings(tmp_path), **options)
    with pytest.raises(InputError, match=message):
        stage_epochs.run(given)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("factor", "hint"),
    [(1000, "looks like milliseconds .median step 500.; BIDS needs seconds"), (250, "looks like samples at 250 Hz")],
)
def test_onsets_in_another_unit(tmp_path, factor, hint):
    write_dataset(tmp_path)
    events = regular_events(40)
    events["onset"] = [str(float(onset) * factor) for onset in events["onset"]]
    write_run(tmp_path, noise(1), events, run="02")
    refused(tmp_path, rf"run-02_events\.tsv: 40 of 40 onsets .* recording of 30\.000 s[\s\S]*{hint}")


def test_events_past_the_end(tmp_path):
    write_dataset(tmp_path)
    write_run(tmp_path, noise(1, 15), regular_events(40), run="02")
    refused(tmp_path, r"run-02_events\.tsv: 12 of 40 onsets lie outside .* of 15\.000 s .*largest 20\.5")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_a_recording(tmp_path, value):
    write_dataset(tmp_path)
    file = tmp_path / "sub-01/eeg/sub-01_task-see_run-02_eeg.eeg"
    samples = np.fromfile(file, np.float32).reshape(-1, len(CHANNELS))
    samples[1000:1003, 2] = value
    samples.tofile(file)
    refused(tmp_path, r"run-02_eeg\S*: channel O1 holds 3 samples that are NaN or infinite, the first at 4\.000 s")


def test_missing_channel_in_a_later_run(tmp_path):
    write_dataset(tmp_path)
    write_run(tmp_path, noise(1)[:3], regular_events(40), run="02", channels=CHANNELS[:3])
    refused(tmp_path, r"run-02_eeg\S*: no EEG channel 'O2'[\s\S]*channels found: Fz, Pz, O1")


def test_a_channel_that_only_a_later_run_has_is_told(tmp_path, caplog):
    write_dataset(tmp_path)
    write_run(tmp_path, noise(5)[:3], regular_events(40), run="01", channels=CHANNELS[:3])
    assert made(tmp_path, study_settings(tmp_path))["channel"].tolist() == list(CHANNELS[:3])
    (told,) = [one.getMessage() for one in caplog.records if "not used" in one.getMessage()]
    assert "run-02_eeg" in told
    assert told.endswith("the first recording, lacks them: O2")


def test_another_rate_in_a_later_run(tmp_path):
    write_dataset(tmp_path)
    write_run(tmp_path, noise(1, sfreq=500), regular_events(40), run="02", sfreq=500)
    refused(tmp_path, r"run-02_eeg.vhdr: sampled at 500 Hz, but .*run-01_eeg.vhdr at 250 Hz")


@pytest.mark.parametrize(("tests", "side"), [(["07"], "test"), (["01", "02"], "train")])
def test_empty_split(tmp_path, tests, side):
    study = study_settings(write_dataset(tmp_path), split={"by": "run", "test": tests})
    refused(tmp_path, rf"no {side} trial in all recordings \(80 trials\)[\s\S]*run 01[\s\S]*studies.tiny.split", study)


def test_split_that_names_no_trial_at_all(tmp_path):
    study = study_settings(write_dataset(tmp_path), split={"by": "run", "test": ["08"], "train": ["09"]})
    refused(tmp_path, r"no train trial in all recordings \(0 trials\)\n  found: nothing", study)


def test_all_training_epochs_rejected(tmp_path):
    write_dataset(tmp_path)
    refused(tmp_path, r"no train trial after rejection[\s\S]*responses\.reject_uv", responses={"reject_uv": 1})


def test_unexpected_counts(tmp_path, monkeypatch):
    write_dataset(tmp_path)
    monkeypatch.setattr(bids.Study, "expected_counts", lambda self, subject: {"train": 41, "test": 40})
    refused(tmp_path, "found 40 training and 40 test trials, expected 41 and 40")


def test_concept_on_both_sides(tmp_path):
    write_dataset(tmp_path)
    study = contract.load("tiny", study_settings(tmp_path), "results")
    trials = stage_epochs.all_trials(study, study.recordings("01"))
    study.zero_shot = True
    with pytest.raises(InputError, match=r"2 concepts are on both sides of the split, e.g. face, house"):
        checks.check_trials(study, "01", trials)


@pytest.mark.parametrize(("by", "told"), [("column", True), ("run", False)])
def test_epochs_of_seen_concepts_share_no_samples_with_training(tmp_path, by, told):
    events = regular_events(40)
    events["side"] = ["study", "probe"] * 20
    for run in ("01", "02"):
        write_run(tmp_path, noise(int(run)), events, run=run)
    split = {"by": "column", "column": "side", "test": ["probe"]} if by == "column" else {"by": "run", "test": ["02"]}
    study = contract.load("tiny", study_settings(tmp_path, split=split), "results")
    recordings = study.recordings("01")
    trials = study.trials(recordings[0])
    apart = float(trials["onset"].diff().min())
    checks.check_apart(study, trials, 0.0, apart, recordings[0].events)
    if not told:
        checks.check_apart(study, trials, 0.0, 2 * apart, recordings[0].events)
        return
    with pytest.raises(InputError, match=r"20 of 20 test epochs share samples with a training epoch, the first at"):
        checks.check_apart(study, trials, 0.0, 1.01 * apart, recordings[0].events)
    study.zero_shot = True
    checks.check_apart(study, trials, 0.0, 1.01 * apart, recordings[0].events)


def test_flat_channel(tmp_path):
    data = noise(0)
    data[3] = 1e-6
    write_run(tmp_path, data, regular_events(40), run="01")
    write_run(tmp_path, noise(1), regular_events(40), run="02")
    refused(tmp_path, r"session n/a: channel O2 is constant")


def test_damaged_recording(tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "sub-01/eeg/sub-01_task-see_run-02_eeg.eeg").unlink()
    refused(tmp_path, r"run-02_eeg\.eeg: no such file")


def test_recording_without_eeg(tmp_path):
    write_dataset(tmp_path)
    for run in ("01", "02"):
        table = {"name": CHANNELS, "type": ["MISC"] * 4}
        write_tsv(tmp_path / f"sub-01/eeg/sub-01_task-see_run-{run}_channels.tsv", table)
    refused(tmp_path, r"no channel of type EEG among Fz, Pz, O1, O2; see the column type in .*channels\.tsv")


def test_command_line_names_the_error(tmp_path):
    study = study_settings(write_dataset(tmp_path, runs=("01",)))
    given = job(tmp_path / "out.h5", study)
    found = subprocess.run(command(given), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "no test trial" in found.stderr
    assert "Traceback" not in found.stderr


# ------------------------------------------------------------------------------------- killed, and memory


def test_killed_in_the_middle_leaves_no_finished_file(tmp_path):
    given = job(tmp_path / "out" / "responses.h5", study_settings(write_dataset(tmp_path)))
    code = (
        "import os, signal, sys\n"
        "from brain2clip import stage\n"
        "from brain2clip.responses import epochs\n"
        "epochs.write_quality = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "stage.main(epochs.run, sys.argv[1:])\n"
    )
    arguments = [sys.executable, "-c", code, *command(given)[3:]]
    found = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, check=False)
    assert found.returncode == -9, found.stderr.decode()
    assert not given.output("responses").exists()
    assert all(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    stage_epochs.run(given)
    assert given.output("responses").exists()


def test_memory_does_not_grow_with_the_number_of_runs(tmp_path):
    """Six runs carry 100 MB of epochs more than two."""
    names = [f"E{index}" for index in range(32)]
    data = noise(0, 120, 500.0, 32)
    for subject, runs in (("01", 2), ("02", 6)):
        for run in range(1, runs + 1):
            label = f"{run:02d}"
            write_run(
                tmp_path,
                np.roll(data, run, axis=0),
                regular_events(450, step=0.25),
                subject=subject,
                run=label,
                sfreq=500.0,
                channels=names,
            )
    peaks = []
    for subject in ("01", "02"):
        options = {"tmin": -0.2, "tmax": 0.8, "sfreq": 500, "whitening": {"kind": "zscore"}}
        given = job(tmp_path / f"{subject}.h5", study_settings(tmp_path), options, subject=subject)
        # by way of a shell, because Linux lets a new program inherit the peak memory of the process that starts it
        shell = ["sh", "-c", '"$@"; exit $?', "sh", *command(given)]
        found = subprocess.run(shell, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        peaks.append(1000 * float(re.findall(r"peak memory ([\d.]+) GB", found.stderr)[0]))
        assert given.output("responses").stat().st_size > 25e6 * (2, 6)[len(peaks) - 1]
    print(f"peak memory with 2 and 6 runs: {peaks} MB")
    assert peaks[1] - peaks[0] < 25, f"peak memory {peaks} MB"


# ------------------------------------------------------------------------------------------- real recording


@needs_n170
@pytest.mark.parametrize("subject", ["01", "02", "03"])
def test_n170_counts(tmp_path, subject):
    known = json.loads((N170 / "known_answers.json").read_text())["leave_run_out"][f"sub-{subject}"]
    options = {"tmin": 0.0, "tmax": 0.6, "baseline": None, "sfreq": 64}
    found = made(tmp_path, N170_STUDY, responses=options, band={"l_freq": 1, "h_freq": 30}, subject=subject)
    assert len(found["response"]) == known["events"]
    assert len(set(zip(found["session"], found["run"]))) == known["runs"]


@needs_n170
def test_n170_known_answer():
    """Leave-run-out AUC of faces against houses, with our epochs; the recipe is known_answers.json."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = json.loads((N170 / "known_answers.json").read_text())["leave_run_out"]["sub-01"]
    study = contract.load("n170", N170_STUDY, "results")
    responses = Responses(tmin=-0.1, tmax=0.6, sfreq=64, reject_uv=100)
    features, labels, runs = [], [], []
    for item in study.recordings("01"):
        raw = mne.io.read_raw(item.path)
        trials = study.trials(item)
        ready = epoching.prepare(raw, raw.ch_names, Band(l_freq=1.0, h_freq=30.0), responses)
        for rows, data, peak_to_peak in epoching.cut(ready, trials["onset"].to_numpy(), responses):
            kept = peak_to_peak.max(axis=1) <= 100e-6
            features.append(data[kept].reshape(kept.sum(), -1))
            labels.append((trials["stimulus"].to_numpy()[rows] == "face")[kept])
            runs.append(np.full(kept.sum(), item.run))
    x, y, run = np.concatenate(features), np.concatenate(labels), np.concatenate(runs)
    assert abs(len(y) - known["epochs_kept"]) <= 0.02 * known["epochs_kept"]
    score = np.zeros(len(y))
    for held_out in np.unique(run):
        model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
        model.fit(x[run != held_out], y[run != held_out])
        score[run == held_out] = model.predict_proba(x[run == held_out])[:, 1]
    assert roc_auc_score(y, score) == pytest.approx(known["auc"], abs=0.02)
    shuffled = np.random.default_rng(0).permutation(y)
    assert roc_auc_score(shuffled, score) == pytest.approx(0.5, abs=0.05)


# -------------------------------------------------------------------------- the protocols of THINGS-EEG2


def test_channel_sets_are_those_of_the_field():
    """Written out as NICE, ATM and UBP list them: their readers take channels by place."""
    occipital = "P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2"
    front = (
        "Fp1 Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 F2 F4 F6 F8 FT9 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 FT10 "
        "T7 C5 C3 C1 Cz C2 C4 C6 T8 TP9 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 TP10"
    )
    assert " ".join(epoching.CHANNEL_SETS["occipital-parietal-17"]) == occipital
    assert " ".join(epoching.CHANNEL_SETS["nice-63"]) == f"{front} {occipital}"


def test_channel_sets_are_in_the_recordings(shared_data):
    folder = shared_data("things-eeg2") / "bids/sub-01/ses-01/eeg"
    found = pd.read_csv(folder / "sub-01_ses-01_task-test_channels.tsv", sep="\t", encoding="utf-8-sig")["name"]
    assert set(epoching.CHANNEL_SETS["nice-63"]) == set(found)
    assert set(epoching.CHANNEL_SETS["occipital-parietal-17"]) < set(found)


@pytest.mark.parametrize(("task", "count"), [("train", 2), ("test", 20)])
def test_shuffled_surplus_equals_the_call_of_the_papers_code(shared_data, task, count):
    """``shuffle(idx, random_state=seed, n_samples=max_rep)`` picture by picture, on the events of a real session."""
    from sklearn.utils import shuffle

    folder = shared_data("things-eeg2") / "bids/sub-01/ses-01/eeg"
    tables = [pd.read_csv(path, sep="\t") for path in sorted(folder.glob(f"*task-{task}*_events.tsv"))]
    shown = pd.concat(tables).query("trial_type == 'image'")["tot_img_number"].to_numpy(int)
    expected = [
        shuffle(np.flatnonzero(shown == picture), random_state=20200220, n_samples=count)
        for picture in np.unique(shown)
    ]
    trials = pd.DataFrame({"stimulus": shown, "split": task, "session": "01", "row": np.arange(len(shown))})
    rule = {"train": 2, "test": 20, "rule": "shuffle", "seed": 20200220}
    kept, surplus = stage_epochs.without_surplus(trials, Responses.model_validate({"repetitions": rule}))
    np.testing.assert_array_equal(kept["row"], np.sort(np.concatenate(expected)))
    assert surplus[task]["01"] == len(shown) - len(kept) > 0


@pytest.mark.parametrize(
    ("preset", "channels", "sfreq", "count", "first", "last"),
    [
        ("gifford-2022", 17, 100, 100, -0.2, 0.79),
        ("nice-63", 63, 250, 250, 0.0, 0.996),
        ("nice-17", 17, 250, 250, 0.0, 0.996),
    ],
)
def test_presets_of_the_paper(preset, channels, sfreq, count, first, last):
    """config.yaml, its bases resolved."""
    raw = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())
    found = settings.load(raw).presets[preset]
    times = epoching.epoch_times(1000.0, found)
    assert (found.resampling, found.sfreq, found.baseline) == ("epochs", sfreq, (None, 0.0))
    assert len(epoching.CHANNEL_SETS[found.channels]) == channels
    assert len(times) == count
    np.testing.assert_allclose(times[[0, -1]], [first, last], atol=1e-9)
    assert (found.whitening.kind, found.repetitions.rule) == ("mvnn", "shuffle")
    assert (found.repetitions.train, found.repetitions.test, found.repetitions.seed) == (2, 20, 20200220)
    assert settings.load(raw).studies["things-eeg2"].responses == settings.load(raw).presets["nice-17"]
