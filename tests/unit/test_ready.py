"""Embeddings of pictures that others made."""

import h5py
import numpy as np
import pytest

from brain2clip.stage import InputError
from brain2clip.stimuli import ready

IDS = ["b", "a", "d", "c"]
VECTORS = np.random.default_rng(1).normal(size=(4, 3))


def write(path, ids=IDS, vectors=VECTORS):
    if path.suffix == ".npz":
        np.savez(path, stimulus_id=ids, embedding=vectors)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("stimulus_id", data=ids, dtype=h5py.string_dtype())
            file["embedding"] = vectors
    return path


@pytest.mark.parametrize("name", ["ready.h5", "ready.npz"])
def test_rows_are_put_into_the_order_of_the_table(tmp_path, name):
    found = ready.read(write(tmp_path / name), ["a", "b", "c"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS[[1, 0, 3]].astype(np.float32))


@pytest.mark.parametrize("name", ["ready.h5", "ready.npz"])
def test_a_stimulus_without_an_embedding_is_named(tmp_path, name):
    with pytest.raises(InputError, match="no embedding for 2 of 3 stimuli, the first is x"):
        ready.read(write(tmp_path / name), ["a", "x", "y"])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_values_that_cannot_be_compared_are_refused(tmp_path, value):
    vectors = VECTORS.copy()
    vectors[1] = value
    path = write(tmp_path / "ready.npz", vectors=vectors)
    with pytest.raises(InputError, match="zero, infinite or not a number"):
        ready.read(path, ["a", "b"])
    assert ready.read(path, ["b", "c"]).shape == (2, 3), "only what is asked for counts"


@pytest.mark.parametrize("name", ["ready.h5", "ready.npz"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.7, 0.98])
def test_a_file_that_is_cut_short_is_refused_with_its_name(tmp_path, name, left):
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    with pytest.raises(InputError, match=rf"{path}: not readable as ready features"):
        ready.read(path, ["a"])


def test_a_stimulus_that_stands_twice_and_texts_for_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "twice.npz", stimulus_id=["a", "b", "a"], embedding=VECTORS[:3])
    with pytest.raises(InputError, match="stimulus_id a occurs more than once"):
        ready.read(tmp_path / "twice.npz", ["a"])
    np.savez(tmp_path / "text.npz", stimulus_id=["a"], embedding=[["1", "2"]])
    with pytest.raises(InputError, match="embedding is of type <U1, expected numbers"):
        ready.read(tmp_path / "text.npz", ["a"])


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match="not readable as ready features"):
        ready.read(tmp_path / "absent.h5", ["a"])
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match="not readable as ready features"):
        ready.read(tmp_path / "text.h5", ["a"])
    np.savez(tmp_path / "other.npz", names=IDS)
    with pytest.raises(InputError, match="stimulus_id, embedding"):
        ready.read(tmp_path / "other.npz", ["a"])
    with pytest.raises(InputError, match=r"stimulus_id has 4 entries, embedding is \(3, 3\)"):
        ready.read(write(tmp_path / "short.npz", vectors=VECTORS[:3]), ["a"])
