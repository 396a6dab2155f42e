"""Exports read back the way their readers read them; what the formats cannot hold is refused."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from brain_files import write_responses

from brain2clip import artefact, stage
from brain2clip.readers import contract
from brain2clip.responses import epoching, export, pickles
from brain2clip.settings import canonical
from brain2clip.stage import InputError

TRAIN, TEST, TIMES, SFREQ = 6, 3, 5, 250.0
REPETITIONS = {"train": 4, "test": 6}
CHANNELS = ["O1", "Oz", "O2"]
SESSIONS = ("02", "05")
MADE = artefact.Provenance("epochs", {"a": 1}, "code")
STUDY_ROOT = "raw/things-eeg2/stimuli"


def table() -> pd.DataFrame:
    """Two training pictures per concept; numbered folders as THINGS-EEG2 has them."""
    rows = []
    for number in range(TRAIN):
        concept = ("aardvark", "bat1", "aircraft_carrier")[number // 2]
        folder = f"training_images/{number // 2 + 1:05d}_{concept}/{concept}_{number % 2 + 1:02d}b.jpg"
        rows.append((f"train-{number + 1:05d}", "train", concept, f"{STUDY_ROOT}/{folder}"))
    for number in range(TEST):
        concept = ("bun", "wok", "drum")[number]
        folder = f"test_images/{number + 1:05d}_{concept}/{concept}_06s.jpg"
        rows.append((f"test-{number + 1:05d}", "test", concept, f"{STUDY_ROOT}/{folder}"))
    return pd.DataFrame(rows, columns=["stimulus_id", "split", "concept", "image"])


def presentations() -> list[tuple[int, int, str]]:
    """Picture, side (1: test) and session in the order of an artefact: by session, test first, pictures mixed."""
    rng = np.random.default_rng(4)
    shown: list[tuple[int, int, str]] = []
    for session in SESSIONS:
        test = np.repeat(np.arange(TRAIN, TRAIN + TEST), REPETITIONS["test"] // 2)
        training = np.repeat(np.arange(TRAIN), REPETITIONS["train"] // 2)
        shown += [(int(row), 1, session) for row in rng.permutation(test)]
        shown += [(int(row), 0, session) for row in rng.permutation(training)]
    return shown


def value(picture: int, repetition: int) -> np.ndarray:
    """Response that tells picture, repetition, channel and sample, exact in float16."""
    return picture * 8 + repetition - 32 + np.arange(3)[:, None] / 4 + np.arange(TIMES) / 32


def write_artefact(
    path: Path, dtype: str = "float32", unit: str = "standard deviation", drop: tuple[int, ...] = (), **changes: Any
) -> Path:
    """A responses artefact; ``drop`` leaves out rows."""
    shown = presentations()
    seen: dict[int, int] = {}
    values = []
    for picture, _, _ in shown:
        values.append(value(picture, seen.get(picture, 0)))
        seen[picture] = seen.get(picture, 0) + 1
    kept = [row for row in range(len(shown)) if row not in drop]
    with artefact.create_h5(path, MADE) as file:
        file["response"] = np.array(values)[kept].astype(dtype)
        file["stimulus"] = np.array([shown[row][0] for row in kept], np.int32)
        file["split"] = np.array([shown[row][1] for row in kept], np.uint8)
        file["session"] = [shown[row][2] for row in kept]
        file["channel"] = CHANNELS
        file["times"] = np.arange(TIMES) / SFREQ
        file["stimulus_id"] = table()["stimulus_id"].tolist()
        file.attrs.update({"sfreq": SFREQ, "unit": unit})
        for name, changed in changes.items():
            del file[name]
            file[name] = changed
    return path


def expected_data(side: str) -> np.ndarray:
    """Every picture of a side by its repetitions in the order of time."""
    rows = range(TRAIN) if side == "train" else range(TRAIN, TRAIN + TEST)
    return np.array([[value(row, number) for number in range(REPETITIONS[side])] for row in rows])


def pictures() -> export.Pictures:
    return export.from_table(table())


def exported(path: Path, folder: Path, form: str, known: export.Pictures | None = None) -> dict[str, Path]:
    outputs = {side: folder / name for side, name in export.FILES[form].items()}
    export.export(path, None, form, known or pictures(), outputs)
    return outputs


# ------------------------------------------------------------------------------------------------ nice


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nice_as_nice_reads_it(tmp_path, dtype):
    """np.load(path, allow_pickle=True), then the key, then the mean over axis 1."""
    outputs = exported(write_artefact(tmp_path / "sub-01.h5", dtype), tmp_path / "out", "nice")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(export.FILES["nice"].values())
    for side, path in outputs.items():
        found = np.load(path, allow_pickle=True)
        assert sorted(found) == ["ch_names", "preprocessed_eeg_data", "times"]
        data = found["preprocessed_eeg_data"]
        assert data.dtype == np.float32
        np.testing.assert_array_equal(data, expected_data(side))
        assert found["ch_names"] == CHANNELS
        assert len(found["times"]) == 50 + TIMES
        np.testing.assert_allclose(found["times"][50:], np.arange(TIMES) / SFREQ)  # as ATM takes them
        np.testing.assert_allclose(np.diff(found["times"]), 1 / SFREQ)
        assert np.expand_dims(np.mean(data, axis=1), axis=1).shape == (len(data), 1, 3, TIMES)
        assert torch.from_numpy(data).float().shape == data.shape
        assert torch.from_numpy(found["times"]).dtype == torch.float64


def test_nice_is_a_bare_pickle_of_protocol_4(tmp_path):
    path = exported(write_artefact(tmp_path / "sub-01.h5"), tmp_path, "nice")["test"]
    raw = path.read_bytes()
    assert raw[:2] == b"\x80\x04"
    assert list(pickle.loads(raw)) == ["preprocessed_eeg_data", "ch_names", "times"]
    found = pickles.read_dict(path, "our own export")
    np.testing.assert_array_equal(found["preprocessed_eeg_data"], expected_data("test"))


def test_exports_are_readable_where_numpy_1_is_installed(tmp_path, monkeypatch):
    """Its packages are called numpy.core; numpy 2's own pickles are not readable there."""
    responses = write_artefact(tmp_path / "sub-01.h5")
    files = [*exported(responses, tmp_path, "nice").values(), *exported(responses, tmp_path, "ubp").values()]
    assert all(b"_core" not in path.read_bytes() for path in files)


# ------------------------------------------------------------------------------------------------- ubp


def read_as_ubp(path: Path, average: bool) -> dict[str, Any]:
    """What UBP's reader does with the file: channels by place, then the mean over repetitions or one row per trial."""
    loaded = torch.load(path, weights_only=False)
    eeg = torch.from_numpy(loaded["eeg"])[:, :, [2, 0]]
    names = ("label", "img", "text", "session")
    if average:
        return {"eeg": eeg.mean(axis=1), **{name: loaded[name][:, 0] for name in names[:3]}}
    return {"eeg": eeg.reshape(-1, *eeg.shape[2:]), **{name: loaded[name].reshape(-1) for name in names}}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_ubp_as_ubp_reads_it(tmp_path, dtype):
    outputs = exported(write_artefact(tmp_path / "sub-01.h5", dtype), tmp_path / "out", "ubp")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.pt", "train.pt"]
    for side, path in outputs.items():
        data = expected_data(side)
        averaged = read_as_ubp(path, average=True)
        assert averaged["eeg"].dtype == torch.float16
        np.testing.assert_allclose(averaged["eeg"].float(), data[:, :, [2, 0]].mean(axis=1), rtol=2e-3)
        single = read_as_ubp(path, average=False)
        np.testing.assert_array_equal(single["eeg"].float(), data[:, :, [2, 0]].reshape(-1, 2, TIMES))
        assert len(single["label"]) == len(single["img"]) == len(single["session"]) == data.shape[0] * data.shape[1]
        assert f"This is a {averaged['text'][0]}." in ("This is a aardvark.", "This is a bun.")


def test_ubp_labels_pictures_and_sessions(tmp_path):
    outputs = exported(write_artefact(tmp_path / "sub-01.h5"), tmp_path, "ubp")
    train, test = (torch.load(outputs[side], weights_only=False) for side in ("train", "test"))
    assert list(train) == ["eeg", "label", "img", "text", "session", "ch_names", "times"]
    assert train["eeg"].shape == (TRAIN, 4, 3, TIMES)
    assert train["label"].tolist() == [[number] * 4 for number in (0, 0, 1, 1, 2, 2)]
    assert test["label"].tolist() == [[number] * 6 for number in (0, 1, 2)]
    assert train["text"][:, 0].tolist() == ["aardvark"] * 2 + ["bat1"] * 2 + ["aircraft_carrier"] * 2
    assert train["img"][3].tolist() == ["train_images/00002_bat1/bat1_02b.jpg"] * 4
    assert test["img"][:, 0].tolist() == [
        "test_images/00001_bun/bun_06s.jpg",
        "test_images/00002_wok/wok_06s.jpg",
        "test_images/00003_drum/drum_06s.jpg",
    ]
    assert train["session"].tolist() == [[0, 0, 1, 1]] * TRAIN
    assert test["session"].tolist() == [[0, 0, 0, 1, 1, 1]] * TEST
    assert (train["eeg"].dtype, train["session"].dtype, train["label"].dtype) == (np.float16, np.float64, np.int64)
    assert train["ch_names"] == CHANNELS
    np.testing.assert_array_equal(train["times"], np.arange(TIMES) / SFREQ)


def test_ubp_files_are_the_same_every_time(tmp_path):
    responses = write_artefact(tmp_path / "sub-01.h5")
    first, second = (exported(responses, tmp_path / name, "ubp") for name in ("one", "two"))
    assert all(first[side].read_bytes() == second[side].read_bytes() for side in first)


def test_numbers_before_a_concept_are_no_text(tmp_path):
    known = pictures()
    numbered = [f"{row:05d}_{name}" for row, name in enumerate(known.concept)]
    known = export.Pictures(known.stimulus_id, known.split, numbered, known.image)
    outputs = exported(write_artefact(tmp_path / "sub-01.h5"), tmp_path, "ubp", known)
    found = torch.load(outputs["test"], weights_only=False)
    assert found["text"][:, 0].tolist() == ["bun", "wok", "drum"]


def test_other_folders_stay_as_they_are(tmp_path):
    known = pictures()
    images = [f"/data/mine/{split}/{row}.png" for row, split in enumerate(known.split or [])]
    known = export.Pictures(known.stimulus_id, known.split, known.concept, images)
    outputs = exported(write_artefact(tmp_path / "sub-01.h5"), tmp_path, "ubp", known)
    assert torch.load(outputs["train"], weights_only=False)["img"][0, 0] == "train/0.png"


def test_ubp_warns_of_channels_that_its_reader_does_not_expect(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "brain2clip"):
        exported(write_artefact(tmp_path / "few.h5"), tmp_path, "ubp")
        assert "among the 63" in caplog.text
        caplog.clear()
        names = list(epoching.CHANNEL_SETS["nice-63"])
        values = np.zeros((len(presentations()), 63, TIMES), np.float32)
        exported(write_artefact(tmp_path / "all.h5", response=values, channel=names), tmp_path, "ubp")
        assert caplog.text == ""


def test_ubp_refuses_what_float16_cannot_hold(tmp_path):
    with pytest.raises(InputError, match=r"responses in V would underflow .*responses\.whitening\.kind"):
        exported(write_artefact(tmp_path / "volts.h5", unit="V"), tmp_path, "ubp")
    exported(write_artefact(tmp_path / "volts.h5", unit="V"), tmp_path, "nice")
    values = np.full((len(presentations()), 3, TIMES), 1e5, np.float32)
    with pytest.raises(InputError, match=r"reach 1e\+05, which float16 cannot hold"):
        exported(write_artefact(tmp_path / "large.h5", response=values), tmp_path / "out", "ubp")
    assert list((tmp_path / "out").glob("*")) == []


# ------------------------------------------------------------------------------------------ refusals


def rows_of(picture: int) -> list[int]:
    return [row for row, (shown, _, _) in enumerate(presentations()) if shown == picture]


@pytest.mark.parametrize("form", ["nice", "ubp"])
def test_unequal_repetitions_are_refused_before_anything_is_written(tmp_path, form):
    responses = write_artefact(tmp_path / "sub-01.h5", drop=(rows_of(2)[0],))
    message = r"the train pictures were not .*\n  found 1 pictures 3 times, 5 pictures 4 times, e\.g\. train-00003"
    with pytest.raises(InputError, match=message) as caught:
        exported(responses, tmp_path / "out", form)
    assert "responses.repetitions: {train: 2, test: 20}" in str(caught.value)
    assert not (tmp_path / "out").exists()
    responses = write_artefact(tmp_path / "sub-01.h5", drop=(rows_of(TRAIN + 1)[3],))
    with pytest.raises(InputError, match="the test pictures"):
        exported(responses, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_was_never_shown_is_refused_where_the_table_is_known(tmp_path, caplog):
    responses = write_artefact(tmp_path / "sub-01.h5", drop=tuple(rows_of(2)))
    with pytest.raises(InputError, match=r"1 pictures 0 times, 5 pictures 4 times, e\.g\. train-00003"):
        exported(responses, tmp_path, "nice")
    outputs = {side: tmp_path / name for side, name in export.FILES["nice"].items()}
    export.export(responses, None, "nice", None, outputs)
    expected = np.delete(expected_data("train"), 2, axis=0)
    np.testing.assert_array_equal(np.load(outputs["train"], allow_pickle=True)["preprocessed_eeg_data"], expected)


def test_no_trials_and_trials_of_the_other_split_are_refused(tmp_path):
    test = [row for row, (_, side, _) in enumerate(presentations()) if side == 1]
    responses = write_artefact(tmp_path / "sub-01.h5", drop=tuple(test))
    with pytest.raises(InputError, match=r"the test pictures .*\n  found 3 pictures 0 times"):
        exported(responses, tmp_path, "nice")
    with pytest.raises(InputError, match=r"the test pictures .*\n  found none"):
        export.export(responses, None, "nice", None, {})
    split = np.array([side for _, side, _ in presentations()], np.uint8)
    split[rows_of(0)] = 1
    responses = write_artefact(tmp_path / "sub-01.h5", split=split)
    known = pictures()
    only = export.Pictures(known.stimulus_id, ["", *(known.split or [])[1:]], known.concept, known.image)
    with pytest.raises(InputError, match="4 test trials show a picture of the other split"):
        exported(responses, tmp_path, "nice", only)


def test_another_table_is_refused(tmp_path):
    responses, known = write_artefact(tmp_path / "sub-01.h5"), pictures()
    ids = [*known.stimulus_id[:4], "other", *known.stimulus_id[5:]]
    other = export.Pictures(ids, known.split, known.concept, known.image)
    with pytest.raises(InputError, match=r"1 of 9 stimuli are not in the table .*9 rows.*, the first is train-00005"):
        exported(responses, tmp_path, "nice", other)
    shorter = export.from_table(table().iloc[:-1])
    with pytest.raises(InputError, match=r"1 of 9 stimuli are not in the table .*8 rows.*, the first is test-00003"):
        exported(responses, tmp_path, "nice", shorter)


def test_rows_follow_the_table_in_whatever_order_the_artefact_lists_ids(tmp_path):
    ids = table()["stimulus_id"].tolist()
    listed = sorted(ids)
    number = np.array([listed.index(ids[picture]) for picture, _, _ in presentations()], np.int32)
    responses = write_artefact(tmp_path / "sub-01.h5", stimulus=number, stimulus_id=listed)
    outputs = exported(responses, tmp_path, "nice")
    for side in ("train", "test"):
        found = np.load(outputs[side], allow_pickle=True)["preprocessed_eeg_data"]
        np.testing.assert_array_equal(found, expected_data(side))


def test_pictures_of_both_splits_are_in_both_files(tmp_path):
    """A study without pictures: the same categories are trained and tested."""
    known = export.Pictures(["face", "house"], ["both", "both"], ["face", "house"], ["", ""])
    path = tmp_path / "sub-01.h5"
    shown, split = [0, 1, 1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    with artefact.create_h5(path, MADE) as file:
        file["response"] = np.arange(8.0)[:, None, None] * np.ones((8, 1, 2))
        file["stimulus"], file["split"] = np.array(shown, np.int32), np.array(split, np.uint8)
        file["channel"], file["times"], file["stimulus_id"] = ["Oz"], np.arange(2.0), ["face", "house"]
        file["session"] = ["n/a"] * 8
    for side, rows in (("train", [[0, 3], [1, 2]]), ("test", [[5, 6], [4, 7]])):
        found = torch.load(exported(path, tmp_path, "ubp", known)[side], weights_only=False)
        assert found["eeg"][:, :, 0, 0].tolist() == rows
        assert found["img"][:, 0].tolist() == found["text"][:, 0].tolist() == ["face", "house"]


# ----------------------------------------------------------------------------------------- reading parts


def test_gather_reads_in_parts(tmp_path, monkeypatch):
    responses = write_artefact(tmp_path / "sub-01.h5")
    monkeypatch.setattr(export, "AT_ONCE", 3 * TIMES * 4 * 5)  # five trials
    found = np.load(exported(responses, tmp_path, "nice")["train"], allow_pickle=True)["preprocessed_eeg_data"]
    np.testing.assert_array_equal(found, expected_data("train"))


def test_memory_is_one_array(tmp_path):
    """160 MB of responses: no second array at any time; libraries are loaded before."""
    source = (
        "import resource, sys, numpy as np, pathlib, h5py\n"
        "from brain2clip import artefact\n"
        "from brain2clip.responses import export\n"
        "folder, export.AT_ONCE = pathlib.Path(sys.argv[1]), 2**20\n"
        "made = artefact.Provenance('epochs', {}, 'code')\n"
        "with artefact.create_h5(folder / 'r.h5', made) as file:\n"
        "    response = file.create_dataset('response', (820, 50, 1000), np.float32, chunks=(5, 50, 1000))\n"
        "    for row in range(0, 820, 20): response[row:row + 20] = row\n"
        "    file['stimulus'] = np.r_[np.arange(800) % 400, np.full(20, 400)].astype(np.int32)\n"
        "    file['split'] = (np.arange(820) >= 800).astype(np.uint8)\n"
        "    file['session'], file['channel'] = ['1'] * 820, [str(n) for n in range(50)]\n"
        "    file.attrs['sfreq'] = 1.0\n"
        "    file['times'], file['stimulus_id'] = np.arange(1000.), [str(n) for n in range(401)]\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "for form in ('ubp', 'nice'):\n"
        "    outputs = {side: folder / name for side, name in export.FILES[form].items()}\n"
        "    export.export(folder / 'r.h5', None, form, None, outputs)\n"
        "    print(peak() - before)\n"
    )
    command = [sys.executable, "-c", source, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    ubp, nice = map(float, done.stdout.split())
    assert ubp < 80 + 40  # MB: the training array in float16
    assert nice < 160 + 40


# --------------------------------------------------------------------------------------- command lines


def by_hand(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brain2clip.responses.export", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


def write_tsv(path: Path, split: bool = True) -> Path:
    """stimuli.tsv, image paths relative to it."""
    columns = table().assign(image=[image.removeprefix(f"{STUDY_ROOT}/") for image in table()["image"]])
    (columns if split else columns.drop(columns="split")).to_csv(path, sep="\t", index=False)
    return path


def test_by_hand_with_a_table(tmp_path):
    responses = write_artefact(tmp_path / "sub-01.h5")
    stimuli = write_tsv(tmp_path / "stimuli.tsv")
    done = by_hand(str(responses), str(tmp_path / "out"), "--format", "ubp", "--stimuli", str(stimuli))
    assert done.returncode == 0, done.stderr
    assert "train.pt: 6 pictures, 4 times each" in done.stderr
    found = torch.load(tmp_path / "out" / "train.pt", weights_only=False)
    assert found["img"][0, 0] == "train_images/00001_aardvark/aardvark_01b.jpg"
    done = by_hand(str(responses), str(tmp_path / "out"), "--format", "nice")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out" / export.FILES["nice"]["test"], allow_pickle=True)
    np.testing.assert_array_equal(found["preprocessed_eeg_data"], expected_data("test"))


def test_by_hand_errors_are_one_message(tmp_path):
    done = by_hand(str(tmp_path / "none.h5"), str(tmp_path), "--format", "nice")
    assert done.returncode == 1
    assert "none.h5: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    assert by_hand(str(tmp_path / "none.h5"), str(tmp_path), "--format", "other").returncode == 2


@pytest.mark.parametrize("split", [True, False])
def test_tables_of_pictures(tmp_path, split):
    found = export.read_pictures(write_tsv(tmp_path / "stimuli.tsv", split))
    assert found.split == (table()["split"].tolist() if split else None)
    assert found.image[0] == str(tmp_path / "training_images/00001_aardvark/aardvark_01b.jpg")
    with artefact.create_h5(tmp_path / "tower.h5", MADE) as file:
        for name in table():
            file[name] = table()[name].tolist()
    assert export.read_pictures(tmp_path / "tower.h5") == pictures()
    with artefact.create_h5(tmp_path / "other.h5", MADE) as file:
        file["stimulus_id"] = ["a"]
    with pytest.raises(InputError, match=r"no split, concept, image; expected a stimuli artefact"):
        export.read_pictures(tmp_path / "other.h5")


def test_without_a_table_ids_stand_for_names(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "brain2clip"):
        outputs = {side: tmp_path / name for side, name in export.FILES["ubp"].items()}
        export.export(write_artefact(tmp_path / "sub-01.h5"), None, "ubp", None, outputs)
    assert "without --stimuli" in caplog.text
    found = torch.load(outputs["train"], weights_only=False)
    assert found["img"][:, 0].tolist() == found["text"][:, 0].tolist() == table()["stimulus_id"].tolist()[:TRAIN]
    assert found["label"][:, 0].tolist() == list(range(TRAIN))


@pytest.mark.parametrize("form", ["nice", "ubp"])
def test_as_a_stage(tmp_path, monkeypatch, form):
    responses = write_artefact(tmp_path / "sub-01.h5")
    study = types.SimpleNamespace(stimulus_table=table)
    monkeypatch.setattr(contract, "load", lambda name, settings, results: study)
    outputs = {name: tmp_path / "out" / export.FILES[form][side] for side, name in export.OUTPUTS.items()}
    settings = {"format": form, "name": "things", "study": {}, "results": "results", "subject": "01"}
    expects = {"responses": {"stage": "epochs", "settings": {"a": 1}, "code": "code"}}
    export.run(stage.Job("export", settings, "code", expects, {"responses": [responses]}, outputs))
    if form == "nice":
        found = np.load(outputs["training"], allow_pickle=True)["preprocessed_eeg_data"]
    else:
        found = torch.load(outputs["training"], weights_only=False)["eeg"]
    np.testing.assert_array_equal(found, expected_data("train"))
    expects = {"responses": {"stage": "epochs", "settings": {"a": 2}}}
    with pytest.raises(artefact.ArtefactError, match="other settings"):
        export.run(stage.Job("export", settings, "code", expects, {"responses": [responses]}, outputs))


def test_as_a_stage_on_the_command_line_with_a_table(tmp_path):
    responses, stimuli = write_artefact(tmp_path / "sub-01.h5"), write_tsv(tmp_path / "stimuli.tsv")
    settings = {"format": "ubp", "name": "things", "study": {}, "results": "results", "subject": "01"}
    spec = canonical({"stage": "export", "format": artefact.FORMAT, "settings": settings, "code": "code"})
    done = by_hand(
        *("--spec", spec, "--input", f"responses={responses}", "--input", f"table={stimuli}"),
        *("--output", f"training={tmp_path / 'a.pt'}", "--output", f"test={tmp_path / 'b.pt'}"),
    )
    assert done.returncode == 0, done.stderr
    assert torch.load(tmp_path / "b.pt", weights_only=False)["text"][1, 0] == "wok"


def test_artefacts_of_other_tests_and_missing_units(tmp_path):
    """An artefact without the attribute ``unit``, as small ones in tests are."""
    embedding = np.random.default_rng(0).standard_normal((50, 8))
    write_responses(tmp_path / "sub-01.h5", embedding)
    outputs = {side: tmp_path / name for side, name in export.FILES["nice"].items()}
    export.export(tmp_path / "sub-01.h5", None, "nice", None, outputs)
    with artefact.open_h5(tmp_path / "sub-01.h5") as file:
        values = file["response"][:]
    found = np.load(outputs["train"], allow_pickle=True)["preprocessed_eeg_data"]
    np.testing.assert_array_equal(found.reshape(-1, *found.shape[2:]), values[: len(found) * 2])
    assert re.fullmatch(r"\(40, 2, 6, 10\)", str(found.shape))
