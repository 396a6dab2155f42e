"""Responses are placed on the rows of a stimuli file by ids, whatever their files list and in whatever order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from brain2clip import artefact
from brain2clip.training.data import load_each, load_responses, placed

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
