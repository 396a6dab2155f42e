"""What is marked as bad, shown twice or copied, when responses are made: counted, and done as the settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import mne
import numpy as np
import pytest
from bids_fixtures import CHANNELS, SFREQ, job, noise, regular_events, study_settings, write_run, write_tsv

from brain2clip.responses import checks, epoching, epochs, recording, samples
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError

mne.set_log_level("ERROR")
NAMES = ["Fz", "Cz", "Pz", "C3", "C4", "P3", "P4", "O1", "O2", "Oz"]
PLAIN = {"whitening": {"kind": "none"}, "sfreq": SFREQ}


def made(folder: Path, study: dict[str, Any], responses: dict[str, Any]) -> dict[str, Any]:
    """What the stage writes."""
    given = job(folder / "out.h5", study, {**PLAIN, **responses}, band={})
    epochs.run(given)
    with h5py.File(given.output("responses")) as file:
        found = {name: file[name][()] for name in ("response", "onset", "split")}
        return {**found, **file.attrs, "channel": file["channel"].asstr()[:].tolist()}


# ------------------------------------------------------------------------------------------- copies


def test_a_run_that_is_there_twice_stops_the_stage(tmp_path, caplog):
    write_run(tmp_path, noise(0), regular_events(40), run="01")
    write_run(tmp_path, noise(1), regular_events(40), run="02")
    longer = np.concatenate([noise(5, 7), noise(0)], axis=1)[:, : int(30 * SFREQ)]  # run 1 began 7 s later
    write_run(tmp_path, longer, regular_events(40), run="03")
    with pytest.raises(InputError, match=r"sub-01_task-see_run-01 and sub-01_task-see_run-03 hold the same samples"):
        made(tmp_path, study_settings(tmp_path), {})
    assert not (tmp_path / "out.h5").exists()
    found = made(tmp_path, study_settings(tmp_path, equal_recordings="allow"), {})
    assert len(found["response"]) == 120
    assert "run-03 hold the same samples" in caplog.text


# --------------------------------------------------------------------------------------- bad channels


def field(run: int) -> np.ndarray:
    """Noise of smooth topographies, so that a channel can be told from the others [10, 7500], V."""
    places = recording.template_positions(NAMES)
    sources = np.random.default_rng(1).standard_normal((3, 6))
    mixing = places @ sources[:, :3] / 0.1 + (places @ sources[:, 3:] / 0.1) ** 2
    return mixing @ noise(run, channels=3) + 1e-8 * np.random.default_rng(run).standard_normal((10, 7500))


@pytest.fixture(scope="module")
def marked(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """O1 is bad in run 2 (noise of 500 µV there); what it would have been in the two runs."""
    root = tmp_path_factory.mktemp("marked")
    right = np.stack([field(1), field(2)])
    for run, data in enumerate(right, 1):
        data = data.copy()
        if run == 2:
            data[NAMES.index("O1")] = 5e-4 * np.random.default_rng(5).standard_normal(data.shape[1])
        path = write_run(root, data, regular_events(40), run=f"{run:02d}", channels=NAMES)
        status = ["bad" if (run, name) == (2, "O1") else "good" for name in NAMES]
        table = {"name": NAMES, "type": ["EEG"] * 10, "units": ["µV"] * 10, "status": status}
        write_tsv(path.with_name(path.name.replace("eeg.vhdr", "channels.tsv")), table)
    return root, right


@pytest.mark.parametrize("handling", ["keep", "drop", "interpolate"])
def test_bad_channels_are_said_counted_and_done_with_as_asked(tmp_path, caplog, marked, handling):
    root, right = marked
    found = made(tmp_path, study_settings(root), {"bad_channels": handling, "baseline": None})
    assert json.loads(found["bad_channels"]) == {"sub-01_task-see_run-02": ["O1"]}
    assert f"run-02: marked as bad: O1 (bad_channels: {handling})" in caplog.text
    left = [name for name in NAMES if handling != "drop" or name != "O1"]
    assert found["channel"] == left
    expected, _ = epoching.epochs_of(
        mne.io.RawArray(np.concatenate(right, axis=1), mne.create_info(NAMES, SFREQ, "eeg")),
        np.concatenate([found["onset"][:40], found["onset"][40:] + 30]),
        Band(),
        Responses(**PLAIN, tmin=-0.1, tmax=0.4, baseline=None, channels=left),
    )
    others = [place for place, name in enumerate(left) if name != "O1"]
    np.testing.assert_allclose(found["response"][:, others], expected[:, others], atol=1e-9)
    if handling == "drop":
        return
    place, bad = left.index("O1"), found["split"] == 1
    np.testing.assert_allclose(found["response"][~bad, place], expected[~bad, place], atol=1e-9)
    likeness = np.corrcoef(found["response"][bad, place].ravel(), expected[bad, place].ravel())[0, 1]
    assert (likeness > 0.9) == (handling == "interpolate")


def test_an_average_reference_counts_channels_that_are_kept(tmp_path, marked):
    found = made(tmp_path, study_settings(marked[0]), {"reference": "average"})
    np.testing.assert_allclose(found["response"].mean(axis=1), 0, atol=1e-10)


def test_bad_channels_that_cannot_be_made_or_dropped(tmp_path, marked):
    study = study_settings(marked[0])
    with pytest.raises(InputError, match=r"all of the wanted channels are marked as bad .*\(O1\)"):
        made(tmp_path, study, {"bad_channels": "drop", "channels": ["O1"]})
    raw = mne.io.RawArray(field(1), mne.create_info(NAMES, SFREQ, "eeg"))
    places = recording.template_positions(NAMES)
    places[NAMES.index("Oz")] = np.nan
    with pytest.raises(InputError, match=r"no position of Oz\n  give positions in electrodes\.tsv, or set .* drop"):
        samples.interpolate(raw, ["Oz"], [], places)
    with pytest.raises(InputError, match="only 3 other channels have a position"):
        samples.interpolate(raw, ["O1"], NAMES[:5], places)


# --------------------------------------------------------------------------------------- bad segments


@pytest.fixture(scope="module")
def annotated(tmp_path_factory) -> Path:
    """Runs as FIF, one with a first sample of its own; BAD over trials of the second, by the file and by the events."""
    root = tmp_path_factory.mktemp("annotated")
    for run in ("01", "02"):
        path = write_run(root, noise(int(run)), regular_events(40), run=run)
        raw = mne.io.RawArray(noise(int(run)), mne.create_info(list(CHANNELS), SFREQ, "eeg"), first_samp=1000)
        if run == "02":
            marks = {
                "BAD_movement": (4.0, 1.5),
                "boundary": (10.2, 5.0),
                "bad_wolf": (15.0, 0.0),
                "badger": (15.0, 3.0),
            }
            onset, duration = zip(*marks.values())
            raw.set_annotations(mne.Annotations(onset, duration, list(marks)))
            events = regular_events(40)
            events = {name: [*cells, {"onset": "20.0", "duration": "0.6", "trial_type": "BAD_jump"}.get(name, "0")]
                      for name, cells in events.items()}  # fmt: skip
            write_tsv(path.with_name("sub-01_task-see_run-02_events.tsv"), events)
        raw.save(path.with_suffix(".fif"))
        for ending in (".vhdr", ".eeg", ".vmrk"):
            path.with_suffix(ending).unlink()
    return root


@pytest.mark.parametrize("handling", ["keep", "drop"])
def test_bad_segments_are_said_counted_and_done_with_as_asked(tmp_path, caplog, annotated, handling):
    study = study_settings(annotated, keep={"trial_type": ["face", "house"]})
    found = made(tmp_path, study, {"bad_segments": handling})
    # Epochs from -0.1 to 0.4 s: 4.0 to 5.5 s is touched by onsets 4 to 5.5 s; the gap at 10.2 s by 10 s;
    # 20.0 to 20.6 s by 20 and 20.5 s.
    touched = [4.0, 4.5, 5.0, 5.5, 10.0, 20.0, 20.5]
    assert json.loads(found["bad_segments"]) == {"train": {}, "test": {"n/a": len(touched)}}
    assert f"run-02: 7 of 40 epochs touch a segment marked as bad (bad_segments: {handling})" in caplog.text
    kept = set(found["onset"][found["split"] == 1])
    assert {float(onset) for onset in regular_events(40)["onset"]} - kept == set(touched if handling == "drop" else [])


# ------------------------------------------------------------------------------------------- twice shown


@pytest.mark.parametrize(
    ("shift", "other", "message"),
    [
        (0.0, False, r"80 trials follow another trial within 5 ms, the first at 1 s \(face and face\); 0 of them show"),
        (0.004, False, "40 of 80 trials follow another trial within 5 ms"),
        (0.0, True, "40 of them show another stimulus"),
    ],
)
def test_trials_at_the_same_time_are_refused_with_their_number(tmp_path, shift, other, message):
    once = regular_events(40)
    again = {**once, "onset": [f"{float(onset) + shift:.4f}" for onset in once["onset"]]}
    if other:
        again["trial_type"] = once["trial_type"][::-1]
    write_run(tmp_path, noise(0), regular_events(40), run="01")
    write_run(tmp_path, noise(1), {name: [*once[name], *again[name]] for name in once}, run="02")
    with pytest.raises(InputError, match=rf"run-02_events\.tsv: .*{message}"):
        made(tmp_path, study_settings(tmp_path), {"repetitions": {"test": 1}})


def test_fast_sequences_are_no_doubled_trials():
    import pandas as pd

    trials = pd.DataFrame({"onset": np.arange(9) / 100, "stimulus": "x"})
    checks.check_doubled(trials, Path("events.tsv"))


# ------------------------------------------------------------------------------------ advice that holds


def recorded(sfreq: float, seconds: float = 40.0) -> mne.io.RawArray:
    return mne.io.RawArray(np.zeros((1, round(seconds * sfreq))), mne.create_info(["Oz"], sfreq, "eeg"))


@pytest.mark.parametrize("sfreq", [1e6 / 1953.1, 512.0, 1000 / 3, 999.99])
def test_every_rate_that_is_advised_is_accepted(sfreq):
    raw = recorded(sfreq)
    with pytest.raises(InputError, match="take a rate such as") as error:
        epoching.check_rate(raw, Responses(sfreq=sfreq / 3.3))
    advised = str(error.value).split("such as ")[1].split(" Hz")[0].split(", ")
    assert len(advised) == 5
    for rate in advised:
        epoching.check_rate(raw, Responses(sfreq=float(rate)))


@pytest.mark.parametrize("seconds", [5.0, 10.3, 30.0])
@pytest.mark.parametrize("notch", [[], [50.0]])
def test_the_filter_that_is_advised_for_a_short_recording_fits(seconds, notch):
    data = noise(1, seconds, 200.0, 1)

    def filtered(**band: object) -> None:
        raw = mne.io.RawArray(data, mne.create_info(["Oz"], 200.0, "eeg"))
        epoching.prepare(raw, ["Oz"], Band(**band), Responses(sfreq=200))

    with pytest.raises(InputError, match="is shorter than the filter") as error:
        filtered(l_freq=0.05, notch=notch)
    advised = str(error.value).split("raise l_freq to ")[1].split(" Hz")[0]
    assert ("leave notch out" in str(error.value)) == bool(notch)
    filtered(l_freq=float(advised))


def test_a_recording_that_is_cut_short_is_not_taken_for_another_unit():
    onsets = 2 + 0.9 * np.arange(40)
    with pytest.raises(InputError, match=r"20 of 40 onsets lie outside .*\n  the recording was cut short"):
        epoching.check_onsets(recorded(200, 20.0), onsets)
    for factor, unit in ((1000, "milliseconds"), (200, "samples at 200 Hz")):
        with pytest.raises(InputError, match=f"40 of 40 .*\n  onset looks like {unit}"):
            epoching.check_onsets(recorded(200), factor * onsets)


def test_onsets_before_the_start_are_counted():
    with pytest.raises(InputError, match=r"2 of 4 onsets lie outside .*smallest onset -0\.5.*\n .* none is negative"):
        epoching.check_onsets(recorded(200), np.array([-0.5, -0.1, 1.0, 2.0]))
