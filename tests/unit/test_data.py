"""Responses are placed on the rows of a stimuli file by ids; those of several subjects are no copies of each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from brain2clip import artefact, sealing
from brain2clip.responses.same_samples import Recordings, RowDigests
from brain2clip.stage import InputError
from brain2clip.training import data
from brain2clip.training.data import load_each, load_responses, placed
from brain2clip.training.inputs import check_inputs, inputs_as_tensors

MADE = artefact.Provenance("made-by-a-test", {}, "code")
#: Order of the stimuli file, which is not that of the alphabet.
TABLE = ["m", "c", "z", "a", "k"]


@dataclass(frozen=True)
class Subject:
    """What a subject was shown, trial by trial, and the order in which its file lists the ids."""

    shown: str
    listed: str
    test: str = ""


def write(path: Path, subject: Subject, number: int) -> Path:
    """Values tell subject, trial and channel."""
    shown = [*subject.shown, *subject.test]
    values = 1000 * number + 10 * np.arange(len(shown))[:, None, None] + np.arange(2)[:, None] + np.zeros(3)
    with artefact.create_h5(path, MADE) as file:
        file["response"] = values.astype(np.float32)
        file["stimulus"] = np.array([subject.listed.index(name) for name in shown], np.int32)
        file["split"] = np.array([0] * len(subject.shown) + [1] * len(subject.test), np.uint8)
        file["stimulus_id"], file["channel"], file["times"] = list(subject.listed), ["A", "B"], np.arange(3.0)
        file.attrs["sfreq"] = 1.0
    return path


@pytest.fixture
def stimuli(tmp_path):
    with h5py.File(tmp_path / "stimuli.h5", "w") as file:
        file["stimulus_id"] = TABLE
        yield file


#: The second sees fewer stimuli and one that the first does not see; files list ids in orders of their own.
SUBJECTS = [Subject("zmcmz", "cmkz", "k"), Subject("azaz", "zak", "k")]


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"{number}.h5", one, number) for number, one in enumerate(SUBJECTS)]


def test_single_trials_keep_their_order(files, stimuli):
    found = placed(load_responses(files, "train", None), stimuli, Path("stimuli.h5"))
    assert [TABLE[row] for row in found.stimulus] == list("zmcmzazaz")
    assert found.subject.tolist() == [0] * 5 + [1] * 4
    assert found.values[:, 0, 0].tolist() == [0, 10, 20, 30, 40, 1000, 1010, 1020, 1030]
    assert found.stimulus_id == TABLE
    test = placed(load_responses(files, "test", None), stimuli, Path("stimuli.h5"))
    assert [TABLE[row] for row in test.stimulus] == ["k", "k"]


def test_averages_stand_in_the_order_of_subject_and_row(files, stimuli):
    found = placed(load_responses(files, "train", None, average=True), stimuli, Path("stimuli.h5"))
    assert [TABLE[row] for row in found.stimulus] == ["m", "c", "z", "z", "a"]
    assert found.subject.tolist() == [0, 0, 0, 1, 1]
    assert found.values[:, 1, 0].tolist() == [21, 21, 21, 1021, 1011]
    for one, other in zip(SUBJECTS, load_each(files, "train", None, average=True)):
        alone = placed(other, stimuli, Path("stimuli.h5"))
        assert sorted(alone.stimulus) == list(alone.stimulus)
        assert {TABLE[row] for row in alone.stimulus} == set(one.shown)


def test_the_order_in_which_files_list_ids_does_not_matter(files, stimuli, tmp_path):
    for average in (False, True):
        before = placed(load_responses(files, "train", None, average), stimuli, Path("stimuli.h5"))
        again = [
            write(tmp_path / f"again-{number}.h5", Subject(one.shown, one.listed[::-1], one.test), number)
            for number, one in enumerate(SUBJECTS)
        ]
        after = placed(load_responses(again, "train", None, average), stimuli, Path("stimuli.h5"))
        for name in ("values", "stimulus", "subject"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_stimulus_without_features_is_named(tmp_path, stimuli):
    files = [write(tmp_path / "x.h5", Subject("zqm", "mqz"), 0)]
    with pytest.raises(artefact.ArtefactError, match=r"1 of the 3 stimuli .* are not among its 5, the first is q"):
        placed(load_responses(files, "train", None), stimuli, Path("stimuli.h5"))


# ------------------------------------------------------------------------------------------------- copies


def with_recordings(path: Path, number: int, recorded: dict[str, int], allowed: bool = False) -> Path:
    """Responses of a subject, made from recordings of noise with these seeds."""
    found = []
    for name, seed in recorded.items():
        digests = RowDigests(500)
        digests.add(np.random.default_rng(seed).standard_normal((500, 4)))
        found.append((name, digests.sketch()))
    recordings = Recordings.of(found)
    with h5py.File(write(path, SUBJECTS[number], number), "r+") as file:
        (recordings.allow() if allowed else recordings).write(file)
    sealing.seal_h5(path)
    return path


def test_subjects_with_the_same_samples_do_not_train_one_model(tmp_path):
    one = with_recordings(tmp_path / "1.h5", 0, {"sub-1_run-1": 1, "sub-1_run-2": 2})
    other = with_recordings(tmp_path / "2.h5", 1, {"sub-2_run-1": 3, "sub-2_run-2": 2})
    for load in (load_responses, load_each):
        for average in (False, True):
            with pytest.raises(InputError, match="sub-1_run-2 and sub-2_run-2 hold the same samples"):
                load([one, other], "train", None, average)
    apart = with_recordings(tmp_path / "3.h5", 1, {"sub-2_run-1": 3, "sub-2_run-2": 4})
    assert len(load_responses([one, apart], "train", None).recordings.names) == 4
    allowed = with_recordings(tmp_path / "4.h5", 1, {"sub-2_run-1": 2}, allowed=True)
    load_responses([one, allowed], "train", None)


@pytest.mark.parametrize("joint", [False, True])
def test_a_subject_whose_samples_were_trained_on_is_no_test(tmp_path, joint):
    paths = [with_recordings(tmp_path / f"{number}.h5", number, {f"sub-{number}_run-1": number}) for number in (0, 1)]
    sets, subjects = (
        (load_each(paths, "train", None), ["0", "1"]) if joint else ([load_responses(paths, "train", None)], None)
    )
    tensors = inputs_as_tensors(sets, subjects)
    (own,) = load_each(paths[:1], "test", None)
    check_inputs(tensors, own, "0")  # the same recording under its own name: within a subject
    copy = with_recordings(tmp_path / "copy.h5", 0, {"sub-9_run-1": 1})
    (tested,) = load_each([copy], "test", None)
    with pytest.raises(InputError, match="sub-1_run-1 and sub-9_run-1 hold the same samples"):
        check_inputs(tensors, tested, "0")


@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 0, 4, 5, 6, 1], [2, 2, 3, 1, 1]])
def test_rows_of_a_file_come_in_the_order_asked_for(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(data, "SLICE", 4)
    values = np.random.default_rng(0).standard_normal((10, 3, 2)).astype(np.float16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
        found = data.rows_of(file["x"], np.array(rows, int))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, values[np.array(rows, int)])
