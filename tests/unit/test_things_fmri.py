"""THINGS-fMRI: labels, betas by blocks of voxels, and prompts and features that it shares with the EEG studies."""

from pathlib import Path

import brain_files
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brain2clip import artefact
from brain2clip.readers import contract, things
from brain2clip.responses import voxels
from brain2clip.settings import Tower, Voxels
from brain2clip.stage import InputError, Job
from brain2clip.stimuli import catalogue, features
from brain2clip.studies import things_eeg1, things_fmri

N_VOXELS = 40
#: The first concepts of THINGS, two of which are homonyms.
TRAINING = [*(f"thing_{index:03d}" for index in range(718)), "bat1", "bat2"]
TEST = [*TRAINING[5:104], "bat2"]
PICTURES = {
    "train": [f"{concept}_{number:02d}b" for concept in TRAINING for number in range(1, 13)],
    "test": [f"{concept}_13s" for concept in TEST],
}


def labels(seed: int = 0) -> pd.DataFrame:
    """Trials in a random order, ten runs in each of twelve sessions, numbered anew in every session."""
    random = np.random.default_rng(seed)
    training, test = random.permutation(PICTURES["train"]), PICTURES["test"]
    rows = []
    for session in range(12):
        own = [("train", name) for name in training[session * 720 : (session + 1) * 720]]
        own += [("test", name) for name in test]
        for place, index in enumerate(random.permutation(len(own))):
            rows.append((session + 1, place // 82 + 1, *own[index]))
    table = pd.DataFrame(rows, columns=["session", "run", "trial_type", "stimulus"])
    return table.assign(trial_id=np.arange(len(table)), stimulus=table["stimulus"] + ".jpg")


def betas(table: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """[n_voxels, n_trials]."""
    return np.random.default_rng(seed).normal(size=(N_VOXELS, len(table)))


def write(
    folder: Path, subject: str = "01", table: pd.DataFrame | None = None, items: np.ndarray | None = None, **other
):
    """A subject's files; the betas as pandas writes a frame of one block of floats in the fixed format."""
    folder.mkdir(parents=True, exist_ok=True)
    table = labels(int(subject)) if table is None else table
    table.to_csv(folder / f"sub-{subject}_StimulusMetadata.csv", index=False)
    pd.DataFrame(
        {
            "voxel_id": np.arange(N_VOXELS) + 100,
            "subject_id": 1,
            "voxel_x": [0, 1] * (N_VOXELS // 2),
            "nc_testset": np.linspace(0, 50, N_VOXELS),
            "V1": (np.arange(N_VOXELS) < 4).astype(int),
            "glasser-LO1": (np.arange(N_VOXELS) % 7 == 3).astype(float),
            "prf-size": np.linspace(0, 1, N_VOXELS),
        }
    ).to_csv(folder / f"sub-{subject}_VoxelMetadata.csv", index=False)
    with h5py.File(folder / f"sub-{subject}_ResponseData.h5", "w") as file:
        group = file.create_group("ResponseData")
        group["axis0"] = np.arange(len(table)) if items is None else items
        group["axis1"] = np.arange(N_VOXELS)
        group["block0_items"] = np.arange(len(table)) if items is None else items
        group["block0_values"] = other.get("values", betas(table))
    return folder


def load(root, **changes):
    return contract.load("things", {"kind": "things_fmri", "root": str(root), **changes}, "results")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("betas")
    for subject in ("01", "02"):
        write(folder, subject)
    return folder


# -------------------------------------------------------------------------------------------------- rows


def test_training_trials_of_test_concepts_are_left_out(there):
    study = load(there)
    table, rows, own = study.stimulus_table(), study.rows("01"), labels(1)
    assert study.zero_shot
    assert table["split"].value_counts().to_dict() == {"train": 620 * 12, "test": 100}
    assert not set(table.loc[table["split"] == "train", "concept"]) & set(TEST)
    assert table["stimulus_id"].is_unique
    assert study.expected_counts("01") == {"train": 7440, "test": 1200}
    assert rows["split"].value_counts().to_dict() == {"train": 7440, "test": 1200, "": 1200}
    for row in (0, 1, 17, 5000, 9839):
        name = own["stimulus"][row].removesuffix(".jpg")
        if name.endswith("b") and name.rpartition("_")[0] in TEST:
            assert (rows.loc[row, ["stimulus", "concept", "split"]] == "").all()
        else:
            assert rows["stimulus"][row] == name
            assert rows["concept"][row] == name.rpartition("_")[0]
            assert name in set(table["stimulus_id"])
            assert rows["split"][row] == own["trial_type"][row]
    assert set(rows["session"]) == {str(number) for number in range(1, 13)}
    assert set(rows["run"]) == {str(number) for number in range(1, 11)}


def test_a_run_is_that_of_its_session(there):
    rows = load(there).rows("01")
    runs = voxels.plan_responses(rows, Voxels()).runs
    assert len(runs) == 12 * 10
    own = rows.iloc[runs["3/1"]]
    assert len(own) == 82
    assert set(own["session"]) == {"3"}


def test_trials_that_are_told_twice_are_refused(tmp_path):
    table = labels(1)
    table.loc[5, "trial_id"] = 4
    with pytest.raises(InputError, match="with the same trial_id"):
        load(write(tmp_path, table=table)).rows("01")


def test_all_trials_can_be_kept(there):
    study = load(there, keep_test_concepts=True)
    assert not study.zero_shot
    assert study.stimulus_table()["split"].value_counts().to_dict() == {"train": 8640, "test": 100}
    assert study.rows("02")["split"].value_counts().to_dict() == {"train": 8640, "test": 1200}
    assert study.expected_counts("02") == {"train": 8640, "test": 1200}


def test_any_subject_gives_the_same_table(there, tmp_path):
    write(tmp_path, "03")
    assert load(there).stimulus_table().equals(load(tmp_path).stimulus_table())
    assert load(there).stimulus_files() == [str(there / "sub-01_StimulusMetadata.csv")]
    assert load(there, subjects=["02"]).stimulus_files() == [str(there / "sub-02_StimulusMetadata.csv")]
    assert load(there).label_files() == []  # labels are among a subject's own files


def replaced(column, old, new):
    """A change of the cells of a column that hold some text."""
    return lambda table: table.assign(**{column: table[column].str.replace(old, new)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="run"), "no column 'run'"),
        (lambda table: table.iloc[:-1], "expected 720 concepts with 12 pictures each"),
        (replaced("stimulus", "thing_000_01b.jpg", "dog.png"), r"1 trials cannot be read, the first is 'dog.png'"),
        (replaced("trial_type", "test", "catch"), "1200 trials cannot be read"),
        (replaced("stimulus", "thing_000_01b", "thing_000_02b"), "expected 720 concepts with 12 pictures each"),
    ],
)
def test_other_labels_are_refused(tmp_path, change, message):
    write(tmp_path, table=change(labels()))
    with pytest.raises(InputError, match=message):
        load(tmp_path).rows("01")


def test_other_pictures_of_another_subject_are_not_in_the_table(tmp_path):
    write(tmp_path)
    other = labels()
    write(tmp_path, "02", other.assign(stimulus=other["stimulus"].str.replace("thing_000_01b", "thing_000_99b")))
    study = load(tmp_path)
    assert len(study.rows("01")) == 9840
    own = set(study.rows("02")["stimulus"]) - {""}
    assert own - set(study.stimulus_table()["stimulus_id"]) == {"thing_000_99b"}  # training stops there


# ------------------------------------------------------------------------------------------------ voxels


def test_regions_and_names(there):
    study = load(there)
    found = study.regions("01")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        "V1": [0, 1, 2, 3],
        "glasser-LO1": [3, 10, 17, 24, 31, 38],
    }
    assert study.voxel_names("01")[:2] == ["100", "101"]


@pytest.mark.parametrize("size", [1, 8 * 9840 * 3, 2**26])
def test_signals_are_rows_of_the_betas_in_the_order_of_the_trials(there, monkeypatch, size):
    monkeypatch.setattr(things_fmri, "BLOCK_BYTES", size)
    chosen = np.array([0, 1, 7, 8, 9, 31, 39])
    found = load(there).signals("01", chosen)
    np.testing.assert_array_equal(found, betas(labels(1))[chosen].T.astype(np.float32))


def test_columns_are_found_by_their_number(tmp_path):
    table = labels()
    order = np.random.default_rng(3).permutation(len(table))
    values = betas(table)
    write(tmp_path, table=table.iloc[::-1], items=order, values=values[:, order])
    np.testing.assert_array_equal(load(tmp_path).signals("01", np.array([2, 5])), values[[2, 5]].T.astype(np.float32))
    write(tmp_path, table=table, items=order + 1, values=values)
    with pytest.raises(InputError, match="no column of 1 trials, the first is trial_id 0"):
        load(tmp_path).signals("01", np.array([2]))


def test_other_betas_are_refused(tmp_path):
    table = labels()
    write(tmp_path, table=table, values=betas(table)[:-1])
    with pytest.raises(InputError, match=r"0 blocks of 40 voxels x 9840 trials; [\s\S]*block0_values \(39, 9840\)"):
        load(tmp_path).signals("01", np.array([0]))
    (tmp_path / "sub-01_ResponseData.h5").write_text("text")
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        load(tmp_path).signals("01", np.array([0]))
    with pytest.raises(InputError, match=r"sub-03_StimulusMetadata.csv: no such file \(setting studies.things.root"):
        load(tmp_path, subjects=["03"]).rows("03")
    with pytest.raises(InputError, match=r"'1' is not in THINGS-fMRI \(did you mean '01'"):
        load(tmp_path, subjects=["1"]).subjects()


def test_the_stage_takes_a_region(there, tmp_path):
    study = {"kind": "things_fmri", "root": str(there)}
    roi = {"include": ["glasser-LO1"], "exclude": ["V1"]}
    values = {"name": "things", "study": study, "voxels": {}, "roi": roi, "subject": "02", "results": "r"}
    voxels.run(Job("voxels", values, "code", {}, {}, {"responses": tmp_path / "out.h5"}))
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["response"].shape == (8640, 5)
        assert list(file["voxel"].asstr()[:]) == ["110", "117", "124", "131", "138"]
        training = file["response"][:][file["split"][:] == 0]
        np.testing.assert_allclose(training.mean(axis=0), 0, atol=1e-5)


# -------------------------------------------------------------------- what EEG and fMRI have in common


def test_prompts_are_those_of_the_eeg_studies(there):
    fmri = load(there, keep_test_concepts=True).stimulus_table()
    eeg = contract.load("eeg", {"kind": "things_eeg1"}, "results").stimulus_table()
    by_concept = dict(zip(eeg["concept"], eeg["prompts"]))
    assert len(by_concept) == things_eeg1.CONCEPTS
    assert all(prompts == [things.prompt(concept)] for concept, prompts in by_concept.items())
    assert all(prompts == [things.prompt(concept)] for concept, prompts in zip(fmri["concept"], fmri["prompts"]))
    assert things.prompt("bat1") == things.prompt("bat2") == "a photo of a bat"


def test_the_same_tower_gives_equal_features_for_equal_pictures(tmp_path, monkeypatch):
    names = [("aardvark", "aardvark_01b"), ("abacus", "abacus_02b"), ("bat1", "bat1_13s")]
    for number, (concept, stem) in enumerate(names):
        path = tmp_path / "pictures" / concept / f"{stem}.jpg"
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    fmri = load("absent", pictures=str(tmp_path / "pictures"), keep_test_concepts=True)
    own = pd.DataFrame(names, columns=["concept", "stimulus_id"]).assign(split=["train", "train", "test"])
    monkeypatch.setattr(type(fmri), "_all_pictures", own)
    eeg = contract.load("eeg", {"kind": "things_eeg1", "pictures": str(tmp_path / "pictures")}, "results")
    table = own[::-1].reset_index(drop=True)
    monkeypatch.setattr(type(eeg), "_pictures", table.assign(file=table["stimulus_id"] + ".jpg"))
    model = brain_files.save_tower(tmp_path)
    found = {}
    for study in (fmri, eeg):
        monkeypatch.setattr("brain2clip.readers.contract.load", lambda *_, study=study: study)
        block = Tower(model=model).model_dump(mode="json")
        table, output = (tmp_path / f"{study.modality}.{ending}" for ending in ("parquet", "h5"))
        catalogue.run(Job("catalogue", {"name": "s", "study": {}, "results": "r"}, "c", {}, {}, {"catalogue": table}))
        given = {"name": "s", "tower": block, "equal_pictures": "refuse"}
        features.run(Job("features", given, "c", {}, {"catalogue": [table]}, {"stimuli": output}))
        with artefact.open_h5(output) as file:
            ids = file["stimulus_id"].asstr()[:]
            found[study.modality] = {
                name: (file["embedding"][row], file["prompt_embedding"][row], file["pixel_digest"].asstr()[row])
                for row, name in enumerate(ids)
            }
    assert set(found["eeg"]) == set(found["fmri"]) == {stem for _, stem in names}
    for name, (picture, prompt, digest) in found["eeg"].items():
        np.testing.assert_allclose(found["fmri"][name][0], picture, atol=1e-6)
        np.testing.assert_allclose(found["fmri"][name][1], prompt, atol=1e-6)
        assert found["fmri"][name][2] == digest
