"""BData files: what is read equals what was written, and other layouts are refused."""

import bdata_files
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain2clip.readers import bdata
from brain2clip.readers.bdata import BData
from brain2clip.stage import InputError

SIGNALS = np.random.default_rng(0).normal(size=(7, 5))


def small(path, **options):
    columns = {"VoxelData": SIGNALS, "Run": np.arange(7), "Label": np.stack([np.arange(7) % 2, np.arange(7)], axis=1)}
    # Voxel 0 lies at 1, 1: a coordinate, no region.
    attributes = {"voxel_x": [1.0, 2, 3, 4, 5], "voxel_y": [1.0, 0, 0, 0, 2]}
    regions = {"V1": [0, 1], "VC": [0, 1, 4], "V9": []}
    return bdata_files.write(path, columns, attributes, regions, **options)


@pytest.mark.parametrize("names", [("dataset", "metadata"), ("dataSet", "metaData")])
def test_signals_labels_and_regions_are_those_that_were_written(tmp_path, names):
    file = BData(small(tmp_path / "a.h5", names=names))
    assert bdata.is_bdata(file.path)
    assert file.shape == (7, 8)
    assert file.keys[:2] == ["VoxelData", "Run"]
    np.testing.assert_array_equal(file.voxels, np.arange(5))
    np.testing.assert_array_equal(file.signals(np.arange(5)), SIGNALS.astype(np.float32))
    np.testing.assert_array_equal(file.signals(np.array([1, 4])), SIGNALS[:, [1, 4]].astype(np.float32))
    np.testing.assert_array_equal(file.labels("Label"), np.stack([np.arange(7) % 2, np.arange(7)], axis=1))
    found = file.regions()
    assert list(found) == ["V1", "VC"]
    assert found["V1"].tolist() == [True, True, False, False, False]
    assert found["VC"].tolist() == [True, True, False, False, True]


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 400))
def test_any_voxels_in_blocks_of_any_size(tmp_path_factory, data, size):
    path = small(tmp_path_factory.mktemp("bdata") / "a.h5")
    voxels = np.array(sorted(data.draw(st.sets(st.integers(0, 4), min_size=1))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bdata, "BLOCK_BYTES", size)
        np.testing.assert_array_equal(BData(path).signals(voxels), SIGNALS[:, voxels].astype(np.float32))


def test_voxels_need_not_come_first(tmp_path):
    path = tmp_path / "a.h5"
    columns = {"Run": np.arange(7), "VoxelData": SIGNALS}
    bdata_files.write(path, columns)
    np.testing.assert_array_equal(BData(path).signals(np.array([0, 3])), SIGNALS[:, [0, 3]].astype(np.float32))


def test_numbers_stand_for_texts(tmp_path):
    names = {"Label": {0: "cat", 1: "dog"}}
    assert BData(small(tmp_path / "a.h5", vmap=names)).texts("Label")[:3] == ["cat", "dog", "cat"]
    with pytest.raises(InputError, match="vmap/Label lacks 1 numbers of Label, the first is 1"):
        BData(small(tmp_path / "b.h5", vmap={"Label": {0: "cat"}})).texts("Label")
    with pytest.raises(InputError, match="no vmap/Run"):
        BData(small(tmp_path / "b.h5", vmap=names)).texts("Run")


def changed(path, change):
    with h5py.File(path, "a") as file:
        change(file)
    return path


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("dataset", "data"), "neither dataset nor dataSet in it; found data, metadata"),
        (lambda file: file.move("metadata", "meta"), "neither metadata nor metaData"),
        (lambda file: file["metadata"].pop("value"), "/metadata has no value; found description, key"),
        (replace("dataset", SIGNALS[0]), r"/dataset is float64 \(5,\)"),
        (replace("dataset", np.array([[b"a"]])), r"/dataset is \|S1 \(1, 1\)"),
        (replace("metadata/value", np.ones((3, 8))), r"value is float64 \(3, 8\), expected float \(8, 8\) for 8 keys"),
        (replace("metadata/key", np.array([b"VoxelData"] * 8)), "has a key twice"),
        (replace("metadata/key", np.arange(8)), "expected a list of text"),
    ],
)
def test_other_layouts_are_refused(tmp_path, change, message):
    path = changed(small(tmp_path / "a.h5"), change)
    with pytest.raises(InputError, match=message) as error:
        BData(path).signals(np.array([0]))
    assert str(path) in str(error.value)
    assert "expected BData" in str(error.value)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        _ = BData(tmp_path / "absent.h5").shape
    path = small(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        _ = BData(path).shape


def test_keys_that_do_not_exist_are_refused(tmp_path):
    file = BData(small(tmp_path / "a.h5"))
    with pytest.raises(InputError, match=r"no key 'label' \(did you mean 'Label'\?\)"):
        file.labels("label")
    with pytest.raises(InputError, match="key ROI_V9 marks no column"):
        file.columns("ROI_V9")


def test_a_region_that_is_there_twice_is_refused(tmp_path):
    path = bdata_files.write(tmp_path / "b.h5", {"VoxelData": np.ones((3, 4))}, {"V1": [0, 1, 1, 0]}, {"V1": [0]})
    with pytest.raises(InputError, match="two regions are named V1"):
        BData(path).regions()
