"""Generic Object Decoding: its labels read exactly, its numbers checked, captions and names of classes."""

import json
import logging
from pathlib import Path

import bdata_files
import download_records
import h5py
import numpy as np
import pytest
from bdata_files import N_VOXELS, number, training_ids, write_fmriprep, write_god
from hypothesis import given
from hypothesis import strategies as st

from brain2clip.readers import contract, manifests
from brain2clip.readers.bdata import BData
from brain2clip.responses import voxels
from brain2clip.stage import InputError, Job
from brain2clip.studies import god

IDS = training_ids()
TEST = bdata_files.ids_of_test()


def load(results, **changes):
    study = contract.load("god", {"kind": "god", **changes}, results)
    download_records.write(study)
    return study


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Results folder with two of the five subjects."""
    folder = tmp_path_factory.mktemp("god")
    for subject in (1, 2):
        write_god(folder / f"raw/god/figshare/Subject{subject}.h5", subject)
    return folder


# ------------------------------------------------------------------------------------------------- labels


@given(st.integers(1_000_000, 15_999_999), st.integers(1, 999_999))
def test_every_stimulus_number_is_decoded_exactly(synset, picture):
    assert god.image_id(float(f"{synset}.{picture:06d}")) == f"n{synset:08d}_{picture}"


def test_numbers_whose_last_zeros_are_dropped():
    assert god.image_id(1621127.01902) == "n01621127_19020"
    assert god.image_id(1518878.010042) == "n01518878_10042"


@pytest.mark.parametrize("value", [np.nan, 3.0, 1518878.0, float(np.float32(1518878.010042)), 1518878.0100421, -1.5])
def test_other_numbers_are_no_stimuli(value):
    assert god.image_id(value) is None


@pytest.mark.parametrize("key", ["stimulus_id", "Label"])
def test_rows_name_the_pictures_that_were_shown(tmp_path, key):
    write_god(tmp_path / "raw/god/figshare/Subject3.h5", key=key)
    study = load(tmp_path, subjects=["03"])
    table, rows = study.stimulus_table(), study.rows("03")
    ids, kinds, runs = bdata_files.god_rows()
    assert list(table["stimulus_id"]) == sorted(IDS) + sorted(TEST)
    assert list(table["split"]) == ["train"] * 1200 + ["test"] * 50
    side = dict(zip(table["stimulus_id"], table["split"]))
    for row, (name, kind) in enumerate(zip(ids, kinds)):
        if kind == 3:
            assert (rows.loc[row, ["stimulus", "concept", "split"]] == "").all()
        else:
            assert rows["stimulus"][row] == name
            assert rows["concept"][row] == name[:9]
            assert rows["split"][row] == side[name] == {1: "train", 2: "test"}[kind]
    assert (rows["session"] == "n/a").all()
    # Numbers begin anew with each type of data, and no run may hold rows of two of them.
    assert rows["run"].nunique() == 24 + 35 + 4
    assert rows.groupby("run")["split"].nunique().max() == 1
    assert rows["run"][0] == f"train-{runs[0]}"


def test_regions_signals_and_counts(there):
    study = load(there)
    assert study.subjects() == ("01", "02", "03", "04", "05")
    assert study.expected_counts("01") == {"train": 1200, "test": 1750}
    regions = study.regions("01")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in regions.items()} == {
        name: list(own) for name, own in bdata_files.REGIONS.items()
    }
    with h5py.File(there / "raw/god/figshare/Subject1.h5") as file:
        expected = file["dataset"][:, [2, 5]].astype(np.float32)
    np.testing.assert_array_equal(study.signals("01", np.array([2, 5])), expected)
    assert len(set(study.voxel_names("01"))) == N_VOXELS


def test_any_subject_gives_the_same_table(there, tmp_path):
    one = load(there).stimulus_table()
    write_god(tmp_path / "raw/god/figshare/Subject5.h5", 5)
    assert one.equals(load(tmp_path).stimulus_table())


def test_newer_files_with_names_and_two_files_a_subject(tmp_path):
    write_fmriprep(tmp_path / "raw/god/fmriprep", 2)
    study = load(tmp_path, source="fmriprep", subjects=["02"])
    assert load(tmp_path, source="fmriprep").subjects() == ("01", "02", "03")
    rows, table = study.rows("02"), study.stimulus_table()
    assert rows["split"].value_counts().to_dict() == {"train": 2400, "test": 150}
    assert rows["stimulus"][0] in set(table["stimulus_id"])
    assert set(study.regions("02")) == {"hV4", "VC"}
    assert study.signals("02", np.array([0, 4])).shape == (2550, 2)
    assert study.expected_counts("02") is None
    assert rows["session"].unique().tolist() == ["1"]


def test_two_files_of_other_voxels_are_refused(tmp_path):
    write_fmriprep(tmp_path / "raw/god/fmriprep", 1)
    training = tmp_path / "raw/god/fmriprep/sub-01_ImageNetTraining_fmriprep_volume_native.h5"
    kept = training.read_bytes()
    write_fmriprep(tmp_path / "raw/god/fmriprep", 1, voxels=9)
    training.write_bytes(kept)
    with pytest.raises(InputError, match="9 voxels at other positions than the 12 of"):
        load(tmp_path, source="fmriprep").regions("01")


# ------------------------------------------------------------------------------------------- refused data


def test_other_pictures_than_the_datasets_are_refused(tmp_path):
    path = tmp_path / "raw/god/figshare/Subject1.h5"
    ids, _, _ = bdata_files.god_rows()
    one_less = [IDS[1] if name == IDS[0] else name for name in ids]
    write_god(path, ids=one_less)
    with pytest.raises(InputError, match=r"1199 train pictures of 150 classes, \[7, 8\] of a class; expected 150"):
        load(tmp_path).stimulus_table()
    write_god(path, ids=[name.replace("n01443537", "n01443538") for name in ids])
    with pytest.raises(InputError, match="test classes n01443538 are not test classes of the dataset"):
        load(tmp_path).stimulus_table()
    # A picture of the test among those of training, whose class is then on both sides of the split.
    write_god(path, ids=[TEST[0][:9] + name[9:] if name[:9] == IDS[0][:9] else name for name in ids])
    with pytest.raises(InputError, match="n01443537 of the test classes are in training"):
        load(tmp_path).stimulus_table()


def test_another_subject_with_other_pictures_has_ids_that_the_table_lacks(there, tmp_path):
    folder = tmp_path / "raw/god/figshare"
    write_god(folder / "Subject1.h5")
    ids, _, _ = bdata_files.god_rows()
    write_god(folder / "Subject2.h5", ids=[f"{IDS[0][:9]}_77" if name == IDS[0] else name for name in ids])
    study = load(tmp_path)
    assert len(study.rows("01")) == 3050
    own = set(study.rows("02")["stimulus"]) - {""}
    assert own - set(study.stimulus_table()["stimulus_id"]) == {f"{IDS[0][:9]}_77"}  # training stops there


def test_stimuli_that_are_none_are_refused(tmp_path):
    path = write_god(tmp_path / "raw/god/figshare/Subject1.h5")
    with h5py.File(path, "a") as file:
        file["dataset"][3, -1] = 17.0
    with pytest.raises(InputError, match=r"stimulus_id of 1 rows is not a stimulus, the first is 17.0 in row 4"):
        load(tmp_path).rows("01")


def test_a_data_type_that_is_unknown_is_refused(tmp_path):
    path = write_god(tmp_path / "raw/god/figshare/Subject1.h5")
    with h5py.File(path, "a") as file:
        file["dataset"][0, N_VOXELS] = 4
    with pytest.raises(InputError, match="DataType 4; expected 1, 2, 3"):
        load(tmp_path).rows("01")


def test_a_missing_trial_is_refused_by_the_stage(tmp_path):
    path = write_god(tmp_path / "raw/god/figshare/Subject1.h5")
    with h5py.File(path, "a") as file:
        row = int(np.flatnonzero(file["dataset"][:, N_VOXELS] == 2)[0])
        file["dataset"][row, N_VOXELS] = 3
    values = {"name": "god", "study": {"kind": "god"}, "voxels": {}, "roi": {}, "subject": "01", "results": tmp_path}
    load(tmp_path)
    with pytest.raises(InputError, match="found 1200 training and 1749 test trials, expected 1200 and 1750"):
        voxels.run(Job("voxels", values, "code", {}, {}, {"responses": tmp_path / "out.h5"}))
    assert not (tmp_path / "out.h5").exists()


def test_without_any_file(tmp_path):
    with pytest.raises(InputError, match=r"no file of 04, 05 .*Subject4.h5; run snakemake"):
        load(tmp_path, subjects=["04", "05"]).stimulus_table()
    with pytest.raises(InputError, match=r"'6' is not in .* source figshare"):
        load(tmp_path, subjects=["6"]).subjects()


# ---------------------------------------------------------------------------------- captions and prompts


def brainclip(path, ids=IDS):
    """The format of BrainCLIP's repository: a template and a sentence of a person."""
    path.write_text(json.dumps({name: [f"an image of Thing {name[5:9]}.", f"This is {name}."] for name in ids}))
    return str(path)


def kamitani(path, ids=IDS):
    """The format of Kamitani Lab: five sentences in a line of JSON."""
    lines = [
        {"image_id": name, "category_id": name[:9], "captions": [f"{name} {index}" for index in range(5)]}
        for name in ids
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(path)


def test_without_captions_and_names_only_test_classes_have_prompts(there):
    table = load(there).stimulus_table().set_index("stimulus_id")
    assert table.loc[TEST, "prompts"].str[0].tolist()[:3] == [
        "an image of goldfish.",
        "an image of owl.",
        "an image of common iguana.",
    ]
    assert table["prompts"].iloc[-1] == ["an image of welder's mask."]
    assert (table.loc[IDS, "prompts"].str.len() == 0).all()
    assert (table["captions"].str.len() == 0).all()
    assert (table["image"] == "").all()


def test_the_template_is_the_prompt_of_the_class_and_no_caption(there, tmp_path):
    table = load(there, captions=brainclip(tmp_path / "c.json")).stimulus_table().set_index("stimulus_id")
    assert table.loc[IDS[0], "prompts"] == [f"an image of Thing {IDS[0][5:9]}."]
    assert table.loc[IDS[0], "captions"] == [f"This is {IDS[0]}."]
    assert table.loc[IDS].groupby("concept")["prompts"].agg(lambda texts: len({text[0] for text in texts})).max() == 1
    assert (table.loc[TEST, "captions"].str.len() == 0).all()


def test_sentences_of_another_format_and_names_of_a_table(there, tmp_path):
    names = tmp_path / "names.tsv"
    names.write_text("".join(f"{name}\tthing {name[5:]}\n" for name in sorted({one[:9] for one in IDS})))
    study = load(there, captions=kamitani(tmp_path / "c.jsonl"), class_names=str(names))
    table = study.stimulus_table().set_index("stimulus_id")
    assert table.loc[IDS[9], "captions"] == [f"{IDS[9]} {index}" for index in range(5)]
    assert table.loc[IDS[9], "prompts"] == [f"an image of thing {IDS[9][5:9]}."]
    assert study.stimulus_files()[1:] == [str(tmp_path / "c.jsonl"), str(names)]


@pytest.mark.parametrize("form", [brainclip, kamitani])
def test_captions_that_lack_pictures_are_refused(there, tmp_path, form):
    path = form(tmp_path / "c.json", sorted(IDS)[3:])
    with pytest.raises(InputError, match=f"no caption of 3 of 1200 training pictures, the first is {sorted(IDS)[0]}"):
        load(there, captions=path).stimulus_table()


@pytest.mark.parametrize(
    "text", ["[]", "{}", "words", '{"n01518878_10042": "one"}', '{"x": ["y"]}', '{"a": 1}\n{"b": 2}']
)
def test_files_that_are_no_captions_are_refused(there, tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"setting studies.god.captions"):
        load(there, captions=str(path)).stimulus_table()


def test_names_that_lack_classes_are_refused(there, tmp_path):
    path = tmp_path / "names.tsv"
    classes = sorted({one[:9] for one in IDS})
    path.write_text("".join(f"{name}\tthing\n" for name in classes[2:]))
    with pytest.raises(InputError, match=f"no name of 2 training classes, the first is {classes[0]}"):
        load(there, class_names=str(path)).stimulus_table()
    path.write_text("goldfish\n")
    with pytest.raises(InputError, match="line 1 is 'goldfish'"):
        load(there, class_names=str(path)).stimulus_table()


def test_pictures_are_found_in_any_folder(there, tmp_path):
    endings = (".JPEG", ".jpg", ".png")
    for index, name in enumerate([*IDS, *TEST]):
        path = tmp_path / ("training" if name in IDS else "test") / f"{name}{endings[index % 3]}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    table = load(there, pictures=str(tmp_path)).stimulus_table()
    assert all(one in path for one, path in zip(table["stimulus_id"], table["image"]))
    (tmp_path / f"test/{TEST[0]}.png").unlink(missing_ok=True)
    (tmp_path / f"test/{TEST[0]}.JPEG").unlink(missing_ok=True)
    with pytest.raises(InputError, match=f"1 of 1250 pictures are not there, the first is {TEST[0]}"):
        load(there, pictures=str(tmp_path)).stimulus_table()


# ------------------------------------------------------------------------------- what is in the repository


def test_downloads_are_files_of_the_manifest(there):
    for source, count in (("figshare", 5), ("fmriprep", 6)):
        study = load(there, source=source)
        units = study.downloads()
        assert len(units) == count
        assert {path for subject in study.subjects() for path in study.files(subject)} == {
            study.record(unit) for unit in units
        }
        assert study.stimulus_files() == study.files("01")
    assert study.label_files() == []  # labels are among a subject's own files
    entries = {entry.path: entry for entry in manifests.read("workflow/manifests/god.csv")}
    assert all(entry.algorithm == ("md5" if "fmriprep" in path else "none") for path, entry in entries.items())


def test_the_names_of_the_repository_are_of_other_classes_than_the_tests():
    names = god.read_class_names(Path("workflow/manifests/god-classes.tsv"), "x")
    assert len(names) == 150
    assert not set(names) & set(god.TEST_CLASSES)
    assert len(god.TEST_CLASSES) == 50
    assert list(god.TEST_CLASSES) == sorted(god.TEST_CLASSES)


# -------------------------------------------------------------------------------------- with the stage


def test_the_stage_takes_regions_of_god(there, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    output = tmp_path / "out.h5"
    roi = {"include": ["VC"], "exclude": ["V1"]}
    values = {"name": "god", "study": {"kind": "god"}, "voxels": {}, "roi": roi, "subject": "02", "results": there}
    load(there)
    voxels.run(Job("voxels", values, "code", {}, {}, {"responses": output}))
    with h5py.File(output) as file:
        assert file["response"].shape == (2950, 6)
        assert list(file["voxel"].asstr()[:]) == ["4", "5", "6", "7", "8", "9"]
        assert set(file["region"]) == {"V2", "LOC", "VC", "HVC"}
        training = file["response"][:][file["split"][:] == 0]
    np.testing.assert_allclose(training.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(training.std(axis=0, ddof=1), 1, atol=1e-5)
    assert "1200 training and 1750 test responses of 6 voxels" in caplog.text


def test_decoding_and_coding_agree_on_all_ids():
    assert [god.image_id(number(name)) for name in [*IDS, *TEST]] == [*IDS, *TEST]


def test_sessions_that_are_numbered_by_date_are_told_apart(tmp_path):
    columns = {
        "VoxelData": np.ones((3, 2)),
        "Session": np.array([20180101.0, 20180102, 20180102]),
        "Run": np.array([1.0, 1, 2]),
        "stimulus_id": np.full(3, number("n01518878_10042")),
    }
    path = bdata_files.write(tmp_path / "b.h5", columns)
    found = god.read_labels(BData(path), "train")
    assert found["session"].tolist() == ["20180101", "20180102", "20180102"]
    assert found["run"].tolist() == ["1", "1", "2"]
    columns["Run"] = np.array([1.0, np.nan, 2])
    with pytest.raises(InputError, match="Run of 1 rows is not a number"):
        god.read_labels(BData(bdata_files.write(tmp_path / "c.h5", columns)), "train")
