"""Files of users that are damaged, pointers, or not what their names say: one sentence, never a wrong number."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import test_things_fmri
from test_voxel_table import KINDS, load, write_kind
from voxel_tables import N_VOXELS, study

from brain2clip.readers import contract
from brain2clip.readers.bdata import BData
from brain2clip.stage import InputError
from brain2clip.stimuli import ready
from brain2clip.studies import god, voxel_table

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ANNEX = b"/annex/objects/SHA256E-s12345--4d7a.nii.gz\n"
PAGE = b"\n<!DOCTYPE html><html><body>Not found</body></html>"
STANDING_IN = {
    b"": "an empty file",
    LFS: "a pointer file of git-annex or Git LFS",
    ANNEX: "a pointer file of git-annex or Git LFS",
    PAGE: "a web page",
}


def everything(given):
    """What the stage reads of a study."""
    one = load(given)
    return one.rows("01"), one.regions("01"), one.signals("01", np.arange(len(one.voxel_names("01"))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instead", STANDING_IN, ids=["nothing", "lfs", "annex", "page"])
def test_what_stands_in_for_signals_is_named(tmp_path, kind, instead):
    given = study(tmp_path, **write_kind(tmp_path, kind))
    Path(given["signals"]).write_bytes(instead)
    with pytest.raises(InputError, match=rf"{STANDING_IN[instead]}.*(setting studies\.mine\.signals|BData)"):
        everything(given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9, 0.999])
def test_a_piece_of_the_signals_is_no_signal(tmp_path, kind, part):
    given = study(tmp_path, **write_kind(tmp_path, kind))
    with open(given["signals"], "rb+") as file:
        file.truncate(int(part * len(file.read())))
    with pytest.raises(InputError, match=r"(not readable|not complete|not a complete).*"):
        everything(given)


@pytest.mark.parametrize("kind", ["nii.gz", "npz"])
def test_no_flipped_bit_of_a_file_with_a_checksum_is_read_as_signals(tmp_path, kind):
    given = study(tmp_path, **write_kind(tmp_path, kind))
    voxels = np.arange(N_VOXELS)
    right = load(given).signals("01", voxels)
    whole = Path(given["signals"]).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        Path(given["signals"]).write_bytes(damaged)
        try:
            np.testing.assert_array_equal(load(given).signals("01", voxels), right)
        except InputError:
            refused += 1
    assert refused > 20


def test_a_link_to_nothing_is_called_so(tmp_path):
    given = study(tmp_path, **write_kind(tmp_path, "nii.gz"))
    for key in ("signals", "mask", "table"):
        path = tmp_path / f"link-to-{key}.nii.gz"
        path.symlink_to(".git/annex/objects/gone")
        with pytest.raises(InputError, match=rf"a link to .git/annex/objects/gone, which does not exist.*mine\.{key}"):
            everything({**given, key: str(path)})


def test_masks_are_checked_as_signals_are(tmp_path):
    given = study(tmp_path, **write_kind(tmp_path, "nii"))
    whole = Path(given["mask"]).read_bytes()
    for content, words in ((LFS, "a pointer file of"), (whole[:-3], "not complete")):
        Path(given["mask"]).write_bytes(content)
        with pytest.raises(InputError, match=rf"{words}.*\(setting studies\.mine\.mask\)"):
            everything(given)


# ----------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "read",
    [
        lambda path: voxel_table.read_rows(path, None, "here"),
        lambda path: contract.load("t", {"kind": "things_fmri", "root": "."}, "r")._read_csv(path),
    ],
)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LFS, "not a table .a pointer file of"),
        (PAGE, "not a table .a web page"),
        (b"a\t\xff\n1\t2\n", "not UTF-8 text"),
        (b"run\tx\trun\n1\t2\t3\n", "two columns of the same name: run"),
    ],
)
def test_tables_that_are_none(tmp_path, read, content, words):
    path = tmp_path / "table.tsv"
    path.write_bytes(content.replace(b"\t", b",") if "_read_csv" in read.__code__.co_names else content)
    with pytest.raises(InputError, match=words):
        read(path)


@pytest.mark.parametrize("read", [god.read_captions, god.read_class_names])
def test_sentences_that_are_pointers(tmp_path, read):
    (tmp_path / "c.json").write_bytes(ANNEX)
    with pytest.raises(InputError, match=r"a pointer file of git-annex.*\(setting here\)"):
        read(tmp_path / "c.json", "here")


# ------------------------------------------------------------------------------------------------- HDF5


def by_link(path, other):
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink(other.name, "data")


def by_link_above(path, other):
    with h5py.File(path, "w") as file:
        file["rest"] = h5py.ExternalLink(other.name, "/")
        file["data"] = h5py.SoftLink("/rest/data")


def by_virtual(path, other):
    with h5py.File(other, "r") as file:
        shape, dtype = file["data"].shape, file["data"].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(other.name, "data", shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def by_storage(path, other):
    with h5py.File(other, "r") as file:
        values = file["data"][:]
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, external=[(str(other.with_suffix(".raw")), 0, values.nbytes)])


@pytest.mark.parametrize("elsewhere", [by_link, by_link_above, by_virtual, by_storage])
@pytest.mark.parametrize("gone", [False, True])
def test_hdf5_that_takes_its_data_from_other_files_is_refused(tmp_path, elsewhere, gone):
    given = study(tmp_path, **write_kind(tmp_path, "h5"))
    path = tmp_path / "assembled.h5"
    elsewhere(path, tmp_path / "s.h5")
    if gone:
        (tmp_path / "s.h5").unlink()
        (tmp_path / "s.raw").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"data is (a link|a virtual|stored).*|rest is a link[\s\S]*read as zeros if"):
        everything({**given, "signals": str(path), "rois": {}})


def test_regions_and_embeddings_from_other_files_are_refused(tmp_path):
    given = study(tmp_path, **write_kind(tmp_path, "h5"))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file.move("masks/early", "early")
        file["masks/early"] = h5py.ExternalLink("other.h5", "early")
    with pytest.raises(InputError, match=r"masks/early is a link to early in other\.h5"):
        everything(given)
    with h5py.File(tmp_path / "ready.h5", "w") as file:
        file["stimulus_id"] = ["a", "b"]
        file["embedding"] = h5py.ExternalLink("other.h5", "embedding")
    with pytest.raises(InputError, match=r"embedding is a link to embedding in other\.h5"):
        ready.read(tmp_path / "ready.h5", ["a"])


@pytest.mark.parametrize("chunks", [None, (10, N_VOXELS)])
def test_signals_that_were_never_written_are_no_zeros(tmp_path, chunks):
    given = study(tmp_path, **write_kind(tmp_path, "h5"))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        values = file["data"][:]
        del file["data"]
        file.create_dataset("data", values.shape, values.dtype, chunks=chunks)
        if chunks:
            file["data"][:50] = values[:50]
    with pytest.raises(InputError, match=r"/data is not complete, (1 of 1|7 of 12) chunks were never written"):
        everything(given)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["data"][:] = values
    np.testing.assert_array_equal(everything(given)[2], values)


def test_bdata_and_betas_are_checked_as_well(tmp_path):
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        file["dataset"] = h5py.ExternalLink("other.h5", "dataset")
        file["metadata/key"], file["metadata/value"] = [b"VoxelData"], np.ones((1, 3))
    with pytest.raises(InputError, match=r"dataset is a link to dataset in other\.h5"):
        BData(path).shape  # noqa: B018
    folder = test_things_fmri.write(tmp_path / "betas")
    whole = folder / "sub-01_ResponseData.h5"
    with h5py.File(whole, "a") as file:
        shape = file["ResponseData/block0_values"].shape
        del file["ResponseData/block0_values"]
        file.create_dataset("ResponseData/block0_values", shape, float)
    with pytest.raises(InputError, match="block0_values is not complete"):
        test_things_fmri.load(folder).signals("01", np.arange(2))
    whole.write_bytes(PAGE)
    with pytest.raises(InputError, match=r"not a complete HDF5 file \(a web page"):
        test_things_fmri.load(folder).signals("01", np.arange(2))
