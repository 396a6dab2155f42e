"""The simulated study: files, counts, labels, and that the truth is what the recordings hold."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brain2clip import artefact, settings, stage
from brain2clip.readers import contract, drawn_pictures, file_records, simulated_recordings
from brain2clip.simulation import simulate_dataset, simulate_pictures, simulate_recordings, world

SILENT = dict.fromkeys(
    ("pink_uv", "alpha_uv", "sensor_uv", "mains_uv", "blink_uv", "blinks_per_minute", "drift_uv"), 0.0
)
TINY: dict[str, Any] = {
    "kind": "simulated",
    "subjects": 2,
    "sessions": 1,
    "training_concepts": 6,
    "pictures_per_concept": 2,
    "test_concepts": 4,
    "training_repetitions": 2,
    "test_repetitions": 3,
    "surplus": 0.25,
    "catch_trials": 0.1,
    "sequence": 7,
}
# One picture per sequence: the pause lets each response end before the next begins.
ALONE = {**TINY, "subjects": 1, "sequence": 1, "catch_trials": 0.0, "noise": SILENT}


def job(name: str, given: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path]) -> stage.Job:
    return stage.Job(name, given, "code", {}, {key: [path] for key, path in inputs.items()}, outputs)


def truth_of(study: contract.Study, subject: str) -> Path:
    return Path(study.files(subject)[0]).parents[1] / "derivatives" / "truth" / f"sub-{subject}.h5"


def templates_of(truth: h5py.File, rows: np.ndarray) -> np.ndarray:
    """Noise-free responses to pictures shown alone, [n, n_channels, n_times], V."""
    return truth["evoked"][:] + np.tensordot(truth["weights"][:][rows], truth["basis"][:], axes=1)


def make_pictures(study: contract.Study, given: dict[str, Any]) -> tuple[Path, Path]:
    table = Path(study.stimulus_files()[0])
    features = truth_of(study, "01").with_name("features.h5")
    outputs = {"stimuli": table, "features": features, "record": table.with_name(file_records.NAME)}
    simulate_pictures.run(job("simulate_pictures", {"study": given}, {}, outputs))
    return table, features


def make_recordings(study: contract.Study, given: dict[str, Any], subject: str) -> None:
    table = Path(study.stimulus_files()[0])
    inputs = {"stimuli": table, "features": truth_of(study, "01").with_name("features.h5")}
    outputs = {"record": Path(study.files(subject)[0]), "truth": truth_of(study, subject)}
    simulate_recordings.run(job("simulate_recordings", {"study": given, "subject": subject}, inputs, outputs))


def make(results: Path, given: dict[str, Any]) -> contract.Study:
    study = contract.load("tiny", given, str(results))
    make_pictures(study, given)
    for subject in study.subjects():
        make_recordings(study, given, subject)
    target = results / "raw" / "tiny" / "dataset_description.json"
    simulate_dataset.run(job("simulate_dataset", {"study": given}, {}, {"description": target}))
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> contract.Study:
    return make(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> contract.Study:
    return make(tmp_path_factory.mktemp("alone"), ALONE)


def digests(study: contract.Study, subject: str) -> dict[str, str]:
    """Digest of every signal file, without root."""
    return {
        recording.name: hashlib.sha256(recording.path.with_suffix(".eeg").read_bytes()).hexdigest()
        for recording in study.recordings(subject)
    }


def read(recording: contract.Recording) -> mne.io.BaseRaw:
    return mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(recording.path), verbose="error")


# -------------------------------------------------------------------------------------------- stimuli


def test_stimulus_table_is_complete_and_concepts_are_disjoint(study):
    table = study.stimulus_table()
    assert table["stimulus_id"].is_unique
    assert table["stimulus_id"][0] == "train-00001"
    assert table["split"].value_counts().to_dict() == {"train": 12, "test": 4}
    concepts = {split: set(rows["concept"]) for split, rows in table.groupby("split")}
    assert len(concepts["train"]) == 6
    assert not concepts["train"] & concepts["test"]
    assert concepts["test"] == {
        concept.name for concept in world.test_concepts(4, settings.parse(settings.SimulatedStudy, TINY).seed)
    }
    assert all(row.concept in row.prompts[0] for row in table.itertuples())


def test_pictures_have_the_stated_digest(study):
    path = Path(study.stimulus_files()[0])
    raw = drawn_pictures.read_stimuli(path)
    for image, digest in zip(raw["image"], raw["sha256"]):
        assert hashlib.sha256((path.parent / image).read_bytes()).hexdigest() == digest
    assert np.asarray(Image.open(study.stimulus_table()["image"][0])).shape == (64, 64, 3)


def test_features_are_standardised_over_training_pictures(study):
    path = truth_of(study, "01").with_name("features.h5")
    with artefact.open_h5(path, {"stage": "simulate_pictures"}) as file:
        for level in ("low", "mid", "semantic"):
            training = file[level][:12]
            np.testing.assert_allclose(training.mean(0), 0, atol=1e-9)
            deviation = training.std(0)
            assert np.all(np.isclose(deviation, 1) | (deviation == 0))


# ----------------------------------------------------------------------------------------- recordings


def test_mne_bids_reads_every_recording(study):
    root = Path(study.files("01")[0]).parents[1]
    assert mne_bids.get_entity_vals(root, "subject") == ["01", "02"]
    for recording in study.recordings("01"):
        raw = read(recording)
        assert raw.info["sfreq"] == 250
        assert raw.info["line_freq"] == 50
        assert tuple(raw.ch_names) == simulate_recordings.CHANNELS
        assert raw.get_montage() is not None
        events = pd.read_csv(recording.events, sep="\t", keep_default_na=False)
        assert tuple(events.columns) == simulated_recordings.COLUMNS
        assert len(raw.annotations) == len(events)
        assert events["onset"].iloc[-1] + 1.0 < raw.times[-1]
        np.testing.assert_allclose(events["sample"] / 250, events["onset"])


def test_bids_validator_finds_no_error(study):
    if importlib.util.find_spec("bids_validator_deno") is None and not shutil.which("bids-validator-deno"):
        pytest.skip("bids-validator-deno is not installed")
    beside = Path(sys.executable).with_name("bids-validator-deno")
    command = str(beside) if beside.is_file() else "bids-validator-deno"
    root = Path(study.files("01")[0]).parents[1]
    done = subprocess.run([command, "--format", "json", str(root)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []


def test_counts_are_the_expected_ones(study):
    # 12 pictures x 2 + 25 % of 12; 4 x 3 + 25 % of 4.
    assert study.expected_counts("01") == {"train": 27, "test": 13}
    for subject in study.subjects():
        trials = pd.concat([study.trials(recording) for recording in study.recordings(subject)])
        assert trials["split"].value_counts().to_dict() == study.expected_counts(subject)
        shown = trials["stimulus"].value_counts()
        assert (shown >= [2 if name.startswith("train") else 3 for name in shown.index]).all()


@pytest.mark.parametrize(
    "given",
    [
        {"sessions": 2, "training_repetitions": 1, "test_repetitions": 5},
        {"sessions": 3, "training_repetitions": 2, "test_repetitions": 7, "surplus": 0.1},
        {"sessions": 2, "training_repetitions": 4, "surplus": 0.0, "catch_trials": 0.0},
    ],
)
def test_presentations_add_up_over_sessions(given):
    block = settings.parse(settings.SimulatedStudy, {**TINY, **given})
    for split, pictures, repetitions in (
        ("train", 12, block.training_repetitions),
        ("test", 4, block.test_repetitions),
    ):
        plans = simulated_recordings.plan(block, split)
        assert np.array_equal(np.sum([plan.times for plan in plans], axis=0), np.full(pictures, repetitions))
        for number, plan in enumerate(plans):
            shown = simulate_recordings.order(plan, np.random.default_rng(number))
            assert len(shown) == plan.n_trials
            more = np.bincount(shown, minlength=pictures) - plan.times
            assert set(more) <= {0, 1}
            assert more.sum() == plan.surplus


def test_too_many_sessions_are_refused():
    block = settings.parse(settings.SimulatedStudy, {**TINY, "sessions": 9, "training_repetitions": 1})
    with pytest.raises(stage.InputError, match="fewer sessions"):
        simulated_recordings.plan(block, "train")


def test_labels_come_from_the_picture_number(study):
    table = study.stimulus_table().set_index("stimulus_id")
    for recording in study.recordings("02"):
        events = pd.read_csv(recording.events, sep="\t", na_values="n/a")
        images = events[events["trial_type"] == "image"]
        trials = study.trials(recording)
        assert set(trials["split"]) == {recording.task}
        assert list(trials["stimulus"]) == [f"{recording.task}-{int(n):05d}" for n in images["tot_img_number"]]
        folders = [Path(image).parent.name for image in table["image"].loc[trials["stimulus"]]]
        assert list(trials["concept"]) == list(table["concept"].loc[trials["stimulus"]])
        assert folders == images["category_name"].to_list()
        targets = events[events["trial_type"] == "target"]
        assert len(targets) > 0
        assert (targets["value"] == 255).all()
        assert targets[["tot_img_number", "img_category", "category_name"]].isna().all(axis=None)


def test_value_is_a_label_in_test_only(tmp_path):
    given = settings.parse(settings.SimulatedStudy, {**TINY, "training_concepts": 60, "pictures_per_concept": 5})
    table = pd.DataFrame({"image": [f"training/{n:05d}_a/a_01.png" for n in range(300)]})
    rng = np.random.default_rng(0)
    events = {
        task: simulate_recordings.events_table(np.arange(300), table, given, task, rng) for task in ("train", "test")
    }
    images = {task: rows[rows["trial_type"] == "image"] for task, rows in events.items()}
    assert images["train"]["value"].between(1, 99).all()
    assert images["train"].groupby("value")["tot_img_number"].nunique().max() >= 3
    assert (images["test"]["value"] == images["test"]["tot_img_number"]).all()
    gap = pd.to_numeric(events["train"]["soa"].iloc[1:])
    first = events["train"]["img_in_sequence"].iloc[1:] == 1
    assert (gap[first] == 0).all()
    np.testing.assert_allclose(gap[~first], given.soa)


def test_wrong_label_and_missing_column_are_refused(study, tmp_path):
    shutil.copytree(study.root, tmp_path / "raw" / "tiny")
    study = contract.load("tiny", TINY, str(tmp_path))
    recording, record = study.recordings("01")[0], Path(study.files("01")[0])
    files = [path for path in record.parent.rglob("*") if path.is_file() and path != record]
    events = pd.read_csv(recording.events, sep="\t", keep_default_na=False, dtype=str)
    broken = {
        "have no row in": events.assign(tot_img_number="999"),
        "column tot_img_number is missing": events.drop(columns="tot_img_number"),
        "expected a number": events.assign(onset="soon"),
    }
    for message, table in broken.items():
        table.to_csv(recording.events, sep="\t", index=False)
        file_records.write(record, "tiny", files)
        with pytest.raises(stage.InputError, match=message):
            study.trials(recording)


# ---------------------------------------------------------------------------------------------- truth


def test_a_response_alone_is_its_template(alone):
    with artefact.open_h5(truth_of(alone, "01")) as file:
        templates = templates_of(file, np.arange(16))
        row_of = {name: row for row, name in enumerate(file["stimulus_id"].asstr()[:])}
        assert file["channel"].asstr()[:].tolist() == list(simulate_recordings.CHANNELS)
        times = file["times"][:]
    before = int((times < 0).sum())
    for recording in alone.recordings("01"):
        signal = read(recording).get_data()
        for trial in alone.trials(recording).itertuples():
            start = round(trial.onset * 250) - before
            seen = signal[:, start : start + len(times)]
            np.testing.assert_allclose(seen, templates[row_of[trial.stimulus]], atol=1e-11)


def test_mean_of_noisy_trials_looks_like_the_template(tmp_path):
    given = {**TINY, "subjects": 1, "test_repetitions": 60, "noise": {**SILENT, "pink_uv": 4.0, "sensor_uv": 1.0}}
    study = make(tmp_path, given)
    with artefact.open_h5(truth_of(study, "01")) as file:
        templates = templates_of(file, np.arange(12, 16))
        times = file["times"][:]
    recording = study.recordings("01")[0]
    trials, raw = study.trials(recording), read(recording)
    samples = np.round(trials["onset"] * 250).astype(int).to_numpy()
    rows = trials["stimulus"].str.removeprefix("test-").astype(int) + 11
    events = np.column_stack((samples, np.zeros_like(samples), rows))
    epochs = mne.Epochs(raw, events, tmin=0.0, tmax=0.45, baseline=None, preload=True, verbose="error")
    means = np.stack([epochs[str(row)].get_data().mean(0) for row in range(12, 16)])
    window = (times >= -1e-9) & (times <= 0.45 + 1e-9)
    # What differs between pictures: the overlap of neighbours is the same for all on average.
    means, templates = means - means.mean(0), templates[:, :, window] - templates[:, :, window].mean(0)
    match = np.corrcoef(means.reshape(4, -1), templates.reshape(4, -1))[:4, 4:]
    assert (match.argmax(1) == np.arange(4)).all()
    assert np.diag(match).min() > 0.5


@pytest.mark.parametrize(
    ("level", "window"), [("low", (0.08, 0.12)), ("mid", (0.15, 0.20)), ("semantic", (0.25, 0.40))]
)
def test_each_level_peaks_in_its_window(study, level, window):
    for subject in study.subjects():
        with artefact.open_h5(truth_of(study, subject)) as file:
            mine = file["level"].asstr()[:] == level
            weights, basis, times = file["weights"][:12, mine], file["basis"][mine], file["times"][:]
        power = (np.tensordot(weights, basis, axes=1) ** 2).mean((0, 1))
        assert window[0] <= times[power.argmax()] <= window[1]


def test_amplitude_follows_snr(study):
    features = {level.name: np.random.default_rng(0).standard_normal((40, 20)) for level in simulate_recordings.LEVELS}
    deviations = []
    for snr in (1.0, 2.0):
        block = settings.parse(settings.SimulatedStudy, {**TINY, "snr": snr})
        brain = simulate_recordings.make_brain(block, "01", features, 40)
        deviations.append(np.tensordot(brain.weights, brain.basis, axes=1).std(0).max() * 1e6)
    assert deviations[1] == pytest.approx(2 * deviations[0], rel=1e-4)
    assert 2 < deviations[0] < 4.5


def test_field_of_each_dipole_is_its_own():
    _, leadfield = simulate_recordings.head()
    rng = np.random.default_rng(0)
    places, pointing = simulate_recordings.scattered(rng)
    together = leadfield(places[:6], pointing[:6])
    alone = np.concatenate([leadfield(places[k : k + 1], pointing[k : k + 1]) for k in range(6)], axis=1)
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    occipital = leadfield(np.array([[0.0, -0.07, 0.0]]), np.array([[0.0, -1.0, 0.0]]))[:, 0]
    assert simulate_recordings.CHANNELS[int(occipital.argmax())] == "Oz"


@pytest.mark.parametrize(
    ("part", "expected"),
    [({"pink_uv": 8.0}, 8.0), ({"sensor_uv": 1.0}, 1.0), ({"drift_uv": 20.0}, 20.0)],
)
def test_noise_has_the_stated_strength(part, expected):
    block = settings.parse(settings.SimulatedStudy, TINY)
    features = {level.name: np.random.default_rng(0).standard_normal((40, 20)) for level in simulate_recordings.LEVELS}
    brain = simulate_recordings.make_brain(block, "01", features, 40)
    noise = settings.parse(settings.SimulatedNoise, {**SILENT, **part})
    signal = simulate_recordings.disturbances(brain, noise, 100_000, 250.0, 1.0, np.random.default_rng(1))
    assert 1e6 * signal.std(1).mean() == pytest.approx(expected, rel=0.12)


# -------------------------------------------------------------------------------------- reproducibility


def test_same_settings_give_the_same_bytes_over_leftovers(study, tmp_path):
    copy = contract.load("tiny", TINY, str(tmp_path))
    make_pictures(copy, TINY)
    root = Path(copy.files("01")[0]).parents[1]
    ended = subprocess.Popen(["true"])
    ended.wait()
    killed = root / f".sub-01.{platform.node()}-{ended.pid}.part"
    for stale in (killed / "sub-01" / "junk", root / "sub-01" / "ses-09" / "eeg" / "junk"):
        stale.parent.mkdir(parents=True)
        stale.write_text("left by a killed job")
    make_recordings(copy, TINY, "01")
    assert digests(copy, "01") == digests(study, "01")
    assert not list(root.rglob("junk"))
    assert not list(root.glob(".sub-*"))


def test_scratch_of_other_hosts_and_of_living_processes_stays(tmp_path):
    place = tmp_path / "sub-01"
    others = [f".sub-01.{platform.node()}-{os.getppid()}.part", ".sub-01.another.host-1.part", ".sub-011.x-1.part"]
    for name in (*others, f".sub-01.{platform.node()}-{os.getpid()}.part"):
        (tmp_path / name / "sub-01").mkdir(parents=True)
    scratch = simulate_recordings.scratch_folder(place)
    assert scratch.parent == tmp_path
    assert not scratch.exists()
    assert {entry.name for entry in tmp_path.iterdir()} == set(others)


def test_subjects_and_seeds_differ(study, tmp_path):
    first, second = digests(study, "01"), digests(study, "02")
    assert not set(first.values()) & set(second.values())
    with artefact.open_h5(truth_of(study, "01")) as one, artefact.open_h5(truth_of(study, "02")) as two:
        fields = [templates_of(file, np.arange(16)).ravel() for file in (one, two)]
    assert 0.2 < np.corrcoef(*fields)[0, 1] < 0.98


def test_features_of_other_pictures_are_refused(study, tmp_path):
    other = contract.load("tiny", {**TINY, "test_concepts": 5}, str(tmp_path))
    _, features = make_pictures(other, {**TINY, "test_concepts": 5})
    inputs = {"stimuli": Path(study.stimulus_files()[0]), "features": features}
    outputs = {"record": tmp_path / "sub-01" / file_records.NAME, "truth": tmp_path / "sub-01.h5"}
    with pytest.raises(stage.InputError, match="Delete both files and run snakemake again"):
        simulate_recordings.run(job("simulate_recordings", {"study": TINY, "subject": "01"}, inputs, outputs))
