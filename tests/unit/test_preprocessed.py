"""The authors' epochs as a responses artefact: planted values come back exactly, other choices are refused."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import signal

from brain2clip import artefact, stage
from brain2clip.readers import contract, file_records
from brain2clip.reporting.figure_kinds import erp as figure
from brain2clip.responses import epoching, preprocessed, recording
from brain2clip.settings import ThingsEeg2Study, canonical
from brain2clip.stage import InputError
from brain2clip.training.data import load_responses

TRAIN, TEST = 3, 2
CHANNELS = list(epoching.CHANNEL_SETS["occipital-parietal-17"])
PICTURES = {"train": TRAIN, "test": TEST}
RESPONSES = {"whitening": {"kind": "none"}}
TIMES = np.arange(100) / 100 - 0.2


class StandIn:
    """A study as far as the stage asks for it."""

    block = ThingsEeg2Study()

    def __init__(self, root: Path, order: list[int] | None = None) -> None:
        self.name, self.root = "things-eeg2", root
        self.order = order

    def stimulus_table(self) -> pd.DataFrame:
        ids = [f"{side}-{number:05d}" for side, count in PICTURES.items() for number in range(1, count + 1)]
        table = pd.DataFrame({"stimulus_id": ids, "split": [name.partition("-")[0] for name in ids]})
        return table if self.order is None else table.iloc[self.order].reset_index(drop=True)


def planted(side: str, names: list[str] = CHANNELS) -> dict[str, Any]:
    """The dictionary of one split; every value tells picture, repetition, channel and sample."""
    shape = (PICTURES[side], preprocessed.REPETITIONS[side], len(names), 100)
    values = np.arange(np.prod(shape), dtype=float).reshape(shape) * (-1 if side == "test" else 1)
    return {"preprocessed_eeg_data": np.sin(values) + values, "ch_names": list(names), "times": TIMES}


def write_archive(root: Path, contents: dict[str, Any] | None = None, folder: str = "sub-01/") -> Path:
    """The archive of subject 01: contents by split as np.save writes them, or bytes as they are."""
    path = root / "derivatives" / "preprocessed_eeg" / "sub-01.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {side: planted(side) for side in PICTURES} | (contents or {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for side, content in contents.items():
            with archive.open(folder + preprocessed.MEMBERS[side], "w") as member:
                if isinstance(content, bytes):
                    member.write(content)
                elif content is not None:
                    np.lib.format.write_array(member, np.array(content, dtype=object), allow_pickle=True)
        archive.writestr(f"__MACOSX/{folder}._{preprocessed.MEMBERS['train']}", b"")
        archive.writestr(f"__MACOSX/{folder}{preprocessed.MEMBERS['train']}", b"junk")
    return path


def job(
    tmp_path: Path, responses: dict | None = None, band: dict | None = None, study: dict | None = None
) -> stage.Job:
    settings = {
        "name": "things-eeg2",
        "study": {"kind": "things_eeg2", "source": "preprocessed", **(study or {})},
        "responses": {**RESPONSES, **(responses or {})},
        "band": band or {},
        "subject": "01",
        "results": str(tmp_path / "results"),
    }
    root = tmp_path / "results" / "raw" / "things-eeg2"
    inputs = {"signals": [record_of(root, tmp_path / "record.json")]}
    return stage.Job("preprocessed", settings, "code", {}, inputs, {"responses": tmp_path / "out" / "sub-01.h5"})


def record_of(root: Path, path: Path) -> Path:
    """The record of the archive as it is now."""
    name = "derivatives/preprocessed_eeg/sub-01.zip"
    files = [file_records.measured(root, name) if (root / name).is_file() else file_records.Listed(name, 1, "none", "")]
    artefact.write_json(path, file_records.content("things-eeg2", files))
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the dataset; the study is the stand-in."""
    folder = tmp_path / "results" / "raw" / "things-eeg2"
    monkeypatch.setattr(contract, "load", lambda name, settings, results: StandIn(folder))
    return folder


def made(given: stage.Job) -> dict[str, Any]:
    """Run the stage; datasets and attributes as a flat dict."""
    preprocessed.run(given)
    found: dict[str, Any] = {}

    def keep(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = item.asstr()[:] if h5py.check_string_dtype(item.dtype) else item[()]

    with artefact.open_h5(given.output("responses"), {"stage": "preprocessed", "settings": given.settings}) as file:
        file.visititems(keep)
        found.update(file.attrs)
    return found


def rows(side: str, names: list[str] = CHANNELS) -> np.ndarray:
    values = planted(side, names)["preprocessed_eeg_data"].astype(np.float32)
    return values.reshape(-1, *values.shape[2:])


# ------------------------------------------------------------------------------------------- what it makes


def test_every_value_is_the_planted_one(root, tmp_path):
    write_archive(root)
    found = made(job(tmp_path))
    np.testing.assert_array_equal(found["response"], np.concatenate([rows("train"), rows("test")]))
    assert found["response"].dtype == np.float32
    np.testing.assert_array_equal(found["stimulus"], [2] * 4 + [3] * 4 + [4] * 4 + [0] * 80 + [1] * 80)
    np.testing.assert_array_equal(found["split"], [0] * 12 + [1] * 160)
    assert list(found["stimulus_id"]) == ["test-00001", "test-00002", "train-00001", "train-00002", "train-00003"]
    assert list(found["channel"]) == CHANNELS
    np.testing.assert_allclose(found["times"], TIMES, atol=1e-12)
    assert set(found["session"]) == set(found["run"]) == {"n/a"}
    assert np.isnan(found["onset"]).all()
    assert (found["sfreq"], found["unit"]) == (100.0, "standard deviation")
    assert json.loads(found["surplus"]) == json.loads(found["cut_off"]) == {"train": {}, "test": {}}
    assert json.loads(found["rejected"]) == {}
    assert "test conditions" in found["note"]


def test_the_archive_of_another_subject_is_refused(root, tmp_path):
    write_archive(root, folder="sub-02/")
    with pytest.raises(InputError, match="is in the folder sub-02, so it belongs to another subject; expected sub-01"):
        preprocessed.run(job(tmp_path))


def test_training_epochs_in_the_test_archive_are_refused(root, tmp_path):
    shown = planted("train")["preprocessed_eeg_data"].reshape(1, 12, len(CHANNELS), 100)
    test = planted("test")
    test["preprocessed_eeg_data"][1, :12] = shown
    write_archive(root, {"test": test})
    with pytest.raises(InputError, match="sub-01_train and sub-01_test hold the same samples"):
        preprocessed.run(job(tmp_path))
    assert not job(tmp_path).output("responses").exists()


def test_the_readers_of_responses_read_it(root, tmp_path):
    write_archive(root)
    given = job(tmp_path)
    preprocessed.run(given)
    path = given.output("responses")
    training = load_responses([path], "train", {"stage": "preprocessed"})
    np.testing.assert_array_equal(training.values, rows("train"))
    averaged = load_responses([path], "test", None, average=True)
    expected = planted("test")["preprocessed_eeg_data"].mean(axis=1)
    np.testing.assert_allclose(averaged.values, expected, rtol=1e-5)
    erp = figure._read(path, None, "title")
    assert erp.potential.shape == (17, 100)
    with artefact.open_h5(path) as file:
        assert np.isfinite(file["quality/psd"][:]).all()
        assert np.diff(file["quality/freqs"][:]).min() > 0
        np.testing.assert_array_equal(file["whitening/n/a/operator"][:], np.eye(17))
        np.testing.assert_array_equal(file["whitening/n/a/mean"][:], np.zeros(17))
        assert file["quality"].attrs["unit"] == "standard deviation"


def test_quality_is_of_the_training_epochs(root, tmp_path):
    """A 20 Hz wave in the training epochs is in the spectrum and the mean; test epochs play no part."""
    train, test = planted("train"), planted("test")
    wave = np.sin(2 * np.pi * 20 * TIMES)
    train["preprocessed_eeg_data"] = np.broadcast_to(wave, train["preprocessed_eeg_data"].shape).copy()
    test["preprocessed_eeg_data"] = 1e6 * test["preprocessed_eeg_data"]
    write_archive(root, {"train": train, "test": test})
    found = made(job(tmp_path, {"crop": [0.0, 0.5]}))
    np.testing.assert_allclose(found["quality/erp"], np.broadcast_to(wave[20:70], (17, 50)), atol=1e-12)
    assert found["quality/freqs"][found["quality/psd"][3].argmax()] == 20
    density = signal.welch(wave, 100.0, nperseg=100)[1]
    np.testing.assert_allclose(found["quality/psd"], np.broadcast_to(density, (17, 51)), atol=1e-12)


def test_crop_channels_and_order(root, tmp_path):
    write_archive(root)
    found = made(job(tmp_path, {"crop": [0.0, 0.4], "channels": ["O2", "P7"]}))
    whole = np.concatenate([rows("train"), rows("test")])
    np.testing.assert_array_equal(found["response"], whole[:, [16, 0], 20:60])
    assert list(found["channel"]) == ["O2", "P7"]
    np.testing.assert_allclose(found["times"], TIMES[20:60], atol=1e-12)
    assert found["quality/erp"].shape == (2, 40)


def test_a_named_set_in_another_order_of_the_archive(root, tmp_path):
    turned = CHANNELS[::-1]
    write_archive(root, {side: planted(side, turned) for side in PICTURES})
    found = made(job(tmp_path, {"channels": "occipital-parietal-17"}))
    assert list(found["channel"]) == CHANNELS
    np.testing.assert_array_equal(found["response"][:12], rows("train", turned)[:, ::-1])


def test_positions_are_those_of_a_template_head(root, tmp_path):
    write_archive(root)
    found = dict(zip(CHANNELS, made(job(tmp_path))["position"]))
    assert np.isfinite(list(found.values())).all()
    assert found["P7"][0] < -0.05 < 0.05 < found["P8"][0]  # x to the right
    assert found["Oz"][1] < found["Pz"][1] < 0  # y to the front
    assert 0.05 < np.linalg.norm(found["Oz"]) < 0.15  # m
    assert np.isnan(recording.template_positions(["Oz", "nowhere"])[1]).all()


@pytest.mark.parametrize("folder", ["", "a/b/c/"])
def test_the_folder_in_the_archive_does_not_matter(root, tmp_path, folder):
    write_archive(root, folder=folder)
    np.testing.assert_array_equal(made(job(tmp_path))["response"][:12], rows("train"))


def test_bare_pickles_are_read_as_well(root, tmp_path):
    write_archive(root, {side: pickle.dumps(planted(side), protocol=4) for side in PICTURES})
    np.testing.assert_array_equal(made(job(tmp_path))["response"][:12], rows("train"))


def test_many_chunks_are_joined(root, tmp_path, monkeypatch):
    write_archive(root)
    whole = made(job(tmp_path))
    monkeypatch.setattr(preprocessed, "CHUNK", 2)
    parts = made(job(tmp_path))
    np.testing.assert_array_equal(parts["response"], whole["response"])
    np.testing.assert_allclose(parts["quality/psd"], whole["quality/psd"], rtol=1e-12)


def test_it_warns_and_leaves_nothing_but_the_artefact(root, tmp_path, caplog):
    write_archive(root)
    with caplog.at_level(logging.WARNING, "brain2clip"):
        preprocessed.run(job(tmp_path))
    assert "mean covariance of training and test conditions" in caplog.text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sub-01.h5"]


def test_the_real_study_and_the_command_line(tmp_path):
    """The study of the repository, its settings block and the rule's command."""
    pytest.importorskip("brain2clip.studies.things_eeg2")
    results = tmp_path / "results"
    write_archive(results / "raw" / "things-eeg2")
    index = tmp_path / "index.csv"
    lines = ["tot_img_number,split,concept_folder,file_name,file_name_source"]
    for side, folders, per in (("train", ("00001_a",), 10), ("test", ("00001_x", "00002_y"), 1)):
        for place, folder in enumerate(folders):
            for number in range(place * per + 1, place * per + per + 1):
                lines.append(f"{number},{side},{folder},{folder[6:]}_{number:02d}s.jpg,listed")
    index.write_text("\n".join(lines) + "\n")
    shape = (10, 4, 17, 100)
    train = {**planted("train"), "preprocessed_eeg_data": np.arange(np.prod(shape), dtype=float).reshape(shape)}
    write_archive(results / "raw" / "things-eeg2", {"train": train})
    block = ThingsEeg2Study(source="preprocessed", images=str(index), manifest="none.csv", responses=RESPONSES)
    values = block.model_dump(mode="json")
    settings = {
        "name": "mine", "study": values, "responses": values["responses"], "band": {}, "subject": "01",
        "results": str(results),
    }  # fmt: skip
    spec = canonical({"stage": "preprocessed", "format": artefact.FORMAT, "settings": settings, "code": "code"})
    record, output = record_of(results / "raw" / "things-eeg2", tmp_path / "record.json"), tmp_path / "sub-01.h5"
    command = [sys.executable, "-m", "brain2clip.responses.preprocessed", "--spec", spec]
    command += ["--input", f"signals={record}", "--input", f"stimuli={index}", "--output", f"responses={output}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "40 training and 160 test trials" in done.stderr
    training = load_responses([output], "train", {"stage": "preprocessed", "settings": settings})
    np.testing.assert_array_equal(training.values.reshape(shape), train["preprocessed_eeg_data"].astype(np.float32))


# --------------------------------------------------------------------------------------------- refusals


REFUSED = [
    ({"sfreq": 250}, {}, {}, "responses.sfreq: found 250.0, expected 100.0"),
    ({"tmin": -0.1}, {}, {}, "responses.tmin: found -0.1, expected -0.2"),
    ({"tmax": 1.0}, {}, {}, "responses.tmax: found 1.0, expected 0.8"),
    ({"baseline": None}, {}, {}, "responses.baseline: found null, expected [null, 0.0]"),
    ({"baseline": [-0.1, 0.0]}, {}, {}, "responses.baseline: found [-0.1, 0.0]"),
    ({"reference": "average"}, {}, {}, "responses.reference: found average, expected recorded"),
    ({"reject_uv": 100}, {}, {}, "responses.reject_uv: found 100.0, expected null"),
    ({"whitening": {"kind": "mvnn"}}, {}, {}, "responses.whitening.kind: found mvnn, expected none"),
    ({"whitening": {"kind": "none", "clamp": 5}}, {}, {}, "responses.whitening.clamp: found 5.0, expected null"),
    ({"repetitions": {"train": 2}}, {}, {}, "responses.repetitions.train: found 2, expected null"),
    ({"repetitions": {"test": 20}}, {}, {}, "responses.repetitions.test: found 20, expected null"),
    ({}, {"l_freq": 1.0}, {}, "band l_freq: found 1.0, expected null"),
    ({}, {"h_freq": 40.0}, {}, "band h_freq: found 40.0, expected null"),
    ({}, {"notch": [50.0]}, {}, "band notch: found [50.0], expected []"),
    ({}, {}, {"source": "raw"}, "studies.things-eeg2.source: found raw, expected preprocessed"),
    ({}, {}, {"sessions": ["01"]}, "studies.things-eeg2.sessions: found [01], expected all"),
    ({}, {}, {"runs": ["01", "02"]}, "studies.things-eeg2.runs: found [01, 02], expected all"),
]


@pytest.mark.parametrize(("responses", "band", "study", "message"), REFUSED)
def test_other_choices_are_refused_before_anything_is_read(root, tmp_path, responses, band, study, message):
    with pytest.raises(InputError, match=re.escape(message)):
        preprocessed.run(job(tmp_path, responses, band, study))


def test_all_wrong_settings_are_named_at_once(root, tmp_path):
    with pytest.raises(InputError) as caught:
        preprocessed.run(job(tmp_path, {"sfreq": 250, "tmax": 1.0}, {"l_freq": 1.0}))
    assert all(name in str(caught.value) for name in ("sfreq", "tmax", "l_freq", "source: raw"))


def test_what_changes_nothing_is_allowed(root, tmp_path):
    write_archive(root)
    allowed = {"baseline": [-0.2, 0.0], "resampling": "epochs", "repetitions": {"rule": "shuffle", "seed": 1}}
    expected = made(job(tmp_path))["response"]
    np.testing.assert_array_equal(made(job(tmp_path, allowed, {"l_freq": 0.0}))["response"], expected)


def changed(side: str, **values: Any) -> dict[str, Any]:
    return {side: {**planted(side), **values}}


def without(side: str, key: str) -> dict[str, Any]:
    return {side: {name: value for name, value in planted(side).items() if name != key}}


def with_nan() -> dict[str, Any]:
    content = planted("train")
    content["preprocessed_eeg_data"][1, 2, 3, 4] = np.nan
    return {"train": content}


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch evidence",)


def shaped(side: str, *shape: int, dtype: type = float) -> dict[str, Any]:
    return changed(side, preprocessed_eeg_data=np.zeros(shape, dtype))


DAMAGED = {
    "pictures": (shaped("train", 4, 4, 17, 100), r"\(4, 4, 17, 100\), expected .*\(3, 4"),
    "repetitions": (shaped("test", 2, 79, 17, 100), r"expected .*\(2, 80, 17, 100\)"),
    "channels": (changed("test", ch_names=CHANNELS[:-1]), r"\(2, 80, 17, 100\), expected .*\(2, 80, 16, 100\)"),
    "samples": (shaped("train", 3, 4, 17, 99), r"expected .*\(3, 4, 17, 100\)"),
    "text": (changed("train", preprocessed_eeg_data="nothing"), r"training\.npy: .* of shape \(\), expected floats"),
    "integers": (shaped("train", 3, 4, 17, 100, dtype=int), "expected floats"),
    "other times": (changed("train", times=np.arange(100) / 100), r"100 times from \[0\.\] to .*from -0\.2 to 0\.79 s"),
    "too many times": (changed("test", times=np.arange(120) / 100 - 0.4), "120 times"),
    "times are text": (changed("test", times=["a"] * 100), "100 times"),
    "no data": (without("train", "preprocessed_eeg_data"), "no preprocessed_eeg_data; found ch_names, times"),
    "no times": (without("test", "times"), "no times; found"),
    "a name twice": (changed("test", ch_names=["Oz"] * 17), "occurs twice"),
    "other channels": ({"train": planted("train", CHANNELS[::-1])}, r"has the channels O2, .* but .*test\.npy P7"),
    "not finite": (with_nan(), r"training\.npy: values that are NaN or infinite, first in picture 2"),
    "no pickle": ({"train": b"<html>"}, r"training\.npy: not a complete pickle"),
    "half a pickle": ({"test": pickle.dumps(planted("test"))[:-1000]}, r"test\.npy: not a complete pickle"),
    "a program": ({"test": pickle.dumps(Hostile())}, r"asks for posix\.system; .* no code of the pickle was run"),
    "a list": ({"test": pickle.dumps([1, 2])}, "holds a list"),
    "empty": ({"train": None}, "not a complete pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_archives_of_another_layout_are_refused(root, tmp_path, monkeypatch, name):
    contents, message = DAMAGED[name]
    path = write_archive(root, contents)
    monkeypatch.chdir(tmp_path)
    given = job(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        preprocessed.run(given)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "evidence").exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_channels_are_refused_with_a_suggestion(root, tmp_path):
    write_archive(root)
    with pytest.raises(InputError, match=r"no channel 'oz' \(did you mean 'Oz'\?\)"):
        preprocessed.run(job(tmp_path, {"channels": ["O1", "oz"]}))
    with pytest.raises(InputError, match=r"wants 63 channels, not found: Fp1, (?s:.*)source: raw"):
        preprocessed.run(job(tmp_path, {"channels": "nice-63"}))


def test_damaged_archives(root, tmp_path):
    with pytest.raises(InputError, match=r"sub-01\.zip: no such file"):
        preprocessed.run(job(tmp_path))
    path = write_archive(root)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a complete zip archive"):
        preprocessed.run(job(tmp_path))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(InputError, match=r"not a complete zip archive .*downloads"):
        preprocessed.run(job(tmp_path))
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match="not a complete zip archive"):
        preprocessed.run(job(tmp_path))


def test_missing_and_repeated_members(root, tmp_path):
    path = write_archive(root)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/" + preprocessed.MEMBERS["test"], b"")
    with pytest.raises(InputError, match=r"2 members named preprocessed_eeg_test\.npy"):
        preprocessed.run(job(tmp_path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")
    with pytest.raises(InputError, match=r"0 members named .*found readme\.txt"):
        preprocessed.run(job(tmp_path))


def test_another_order_of_the_pictures_is_refused(root, tmp_path, monkeypatch):
    write_archive(root)
    monkeypatch.setattr(contract, "load", lambda *_: StandIn(root, [1, 0, 2, 3, 4]))
    with pytest.raises(InputError, match=r"the train pictures .* not numbered .*first other id: train-00002"):
        preprocessed.run(job(tmp_path))
    monkeypatch.setattr(contract, "load", lambda *_: StandIn(root, [0, 1, 2]))
    with pytest.raises(InputError, match=r"the test pictures .*found 0 rows"):
        preprocessed.run(job(tmp_path))
