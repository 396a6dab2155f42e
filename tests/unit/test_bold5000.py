"""BOLD5000: trials by the real events tables, the 113 repeated pictures by name, betas of regions and volumes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from pathlib import Path

import bold5000_world as world
import h5py
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from brain2clip.readers import contract
from brain2clip.responses import voxels
from brain2clip.settings import Study, parse
from brain2clip.stage import InputError, Job
from brain2clip.studies import bold5000

EVENTS = Path(__file__).resolve().parents[3] / "shared/data/bold5000/all_events.tsv.gz"
TABLE = Path("workflow/manifests/bold5000-trials.csv.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return world.write_arrays(tmp_path_factory.mktemp("bold5000"), "CSI1", "CSI4")


def load(root, **changes):
    return contract.load("bold", {"kind": "bold5000", "root": str(root), **changes}, "results")


def events() -> list[dict[str, str]]:
    with gzip.open(TABLE, "rt") as file:
        return list(csv.DictReader(file))


# ----------------------------------------------------------------------------------------------- trials


@pytest.mark.skipif(not EVENTS.is_file(), reason="needs ../shared/data/bold5000, the dataset's events tables")
def test_the_table_of_the_repository_is_that_of_the_events_tables():
    with gzip.open(EVENTS, "rt") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 510 * 37
    keys = ("Sess", "Run", "Trial")
    made = [(f"CSI{row['Subj']}", *(int(row[key]) for key in keys), row["ImgName"], row["ImgType"]) for row in rows]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(bold5000.COLUMNS)
    table.writerows(sorted(made))
    content = TABLE.read_bytes()
    assert gzip.decompress(content).decode() == text.getvalue()
    assert content[4:8] == bytes(4)  # no time of its making


COUNTED = {
    # subject: sessions, runs, trials, distinct pictures, of the 113 by how often
    "CSI1": (15, 142, 5254, 4916, {3: 1, 4: 112}),
    "CSI2": (15, 142, 5254, 4916, {3: 1, 4: 112}),
    "CSI3": (15, 142, 5254, 4916, {2: 1, 3: 2, 4: 107, 5: 3}),
    "CSI4": (9, 84, 3108, 2952, {1: 16, 2: 39, 3: 37, 4: 13, 5: 1}),
}


@pytest.mark.parametrize("subject", COUNTED)
def test_counts_of_a_subject(root, subject, caplog):
    study = load(root)
    rows, (sessions, runs, trials, distinct, often) = study.rows(subject), COUNTED[subject]
    assert rows["session"].nunique() == sessions
    assert len(rows[["session", "run"]].drop_duplicates()) == runs
    assert (len(rows), rows["stimulus"].nunique()) == (trials, distinct)
    test = rows[rows["split"] == "test"]
    assert Counter(Counter(test["stimulus"]).values()) == often
    assert rows["split"].value_counts().to_dict() == study.expected_counts(subject)
    training = rows[rows["split"] == "train"]
    assert training["stimulus"].is_unique
    gap = 113 - test["stimulus"].nunique()
    assert gap == (7 if subject == "CSI4" else 0)
    assert (f"{gap} of the 113 repeated pictures were never shown to this subject" in caplog.text) == (gap > 0)


def test_a_table_of_trials_with_a_row_cut_short_is_refused(root, tmp_path):
    """Where other trials show the same picture, the counts of pictures do not tell."""
    lines = gzip.decompress(TABLE.read_bytes()).decode().splitlines()
    place = next(number for number, line in enumerate(lines) if line.split(",")[5].startswith("rep_"))
    lines[place] = lines[place].rsplit(",", 2)[0]
    path = tmp_path / "trials.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(InputError, match=r"not a table .*a row with too few cells"):
        load(root, trials=str(path)).stimulus_table()


def test_rows_are_in_the_order_of_sessions_runs_and_trials(root):
    expected = [row for row in events() if row["subject"] == "CSI4"]
    expected.sort(key=lambda row: tuple(int(row[key]) for key in ("session", "run", "trial")))
    assert load(root).rows("CSI4")["stimulus"].tolist() == [bold5000.stem(row["picture"]) for row in expected]


def test_the_first_showing_of_a_repeated_picture_is_of_the_test_whatever_its_type(root):
    """A split by ``ImgType`` would show the same pictures on both sides."""
    study = load(root)
    table = study.stimulus_table().set_index("stimulus_id")
    assert table["split"].value_counts().to_dict() == {"train": 4803, "test": 113}
    own = pd.DataFrame([row for row in events() if row["subject"] == "CSI2"])
    names, by_type = own["picture"].map(bold5000.stem), own["type"].str.startswith("rep_")
    both = set(names[by_type]) & set(names[~by_type])
    assert len(both) == 113
    rows = study.rows("CSI2")
    sides = rows.groupby("stimulus")["split"].nunique()
    assert (sides == 1).all()
    assert both == set(rows.loc[rows["split"] == "test", "stimulus"]) == set(table.index[table["split"] == "test"])
    assert (rows["split"] == "test").sum() > by_type.sum()


def test_any_subject_has_the_same_table_of_pictures(root):
    assert load(root, subjects=["CSI4"]).stimulus_table().equals(load(root).stimulus_table())
    assert load(root).subjects() == ("CSI1", "CSI2", "CSI3", "CSI4")
    assert not load(root).zero_shot


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], r"4916 pictures, 113|4915 pictures"),
        (lambda rows: [row for row in rows if row["subject"] != "CSI4"], "of CSI1, CSI2, CSI3"),
        (lambda rows: [{**row, "picture": row["picture"].replace("ATM1", "ATM2")} for row in rows], "4915 pictures"),
        (lambda rows: [{key: row[key] for key in row if key != "run"} for row in rows], "not a table"),
    ],
)
def test_another_table_of_trials_is_refused(root, tmp_path, change, message):
    rows = change(events())
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    study = load(root, trials=str(tmp_path / "t.csv.gz"))
    if len(rows) == 18869:  # one trial less is not seen in the pictures, but by the number of the subject
        assert study.rows("CSI1")["split"].value_counts().to_dict() != study.expected_counts("CSI1")
        return
    with pytest.raises(InputError, match=message):
        study.rows("CSI1")


# ---------------------------------------------------------------------------------------------- pictures


def test_ids_concepts_and_what_they_are_called(root, tmp_path):
    table = load(root).stimulus_table().set_index("stimulus_id")
    kinds = Counter(
        "coco" if bold5000.coco_id(name) else "imagenet" if name[0] == "n" and name[1:9].isdigit() else "scene"
        for name in table.index
    )
    assert kinds == {"coco": 2000, "imagenet": 1916, "scene": 1000}
    assert table.loc["n01930112_19568", "concept"] == "n01930112"
    assert table.loc["airportTerminal3", "concept"] == "airportTerminal"
    assert table.loc["airportTerminal3", "prompts"] == ["a photo of a airport terminal"]
    assert table.loc["n01930112_19568", "prompts"] == []
    assert bold5000.spoken("RVinside") == "RV inside"
    assert load(root).coco_ids()["COCO_train2014_000000062203"] == 62203
    assert len(load(root).coco_ids()) == 2000
    classes = sorted({name[:9] for name in table.index if name[0] == "n" and name[1:9].isdigit()})
    path = tmp_path / "imagenet_final_labels.txt"
    path.write_text("".join(f"{one} thing {one[5:]}, also called so\n" for one in classes))
    named = load(root, class_names=str(path)).stimulus_table().set_index("stimulus_id")
    assert named.loc["n01930112_19568", "prompts"] == ["a photo of a thing 0112"]
    path.write_text("".join(f"{one}\tthing\n" for one in classes[1:]))
    with pytest.raises(InputError, match=f"no name for 1 of {len(classes)} classes, the first is {classes[0]}"):
        load(root, class_names=str(path)).stimulus_table()
    path.write_text("goldfish\n")
    with pytest.raises(InputError, match="line 1 is 'goldfish'"):
        load(root, class_names=str(path)).stimulus_table()


def test_captions_of_coco_by_the_number_in_the_file_name(root, tmp_path):
    ids = load(root).coco_ids()
    for part, split in enumerate(("train2017", "val2017")):
        notes = [{"image_id": one, "caption": f"of {one}"} for one in list(ids.values())[part::2]]
        (tmp_path / f"captions_{split}.json").write_text(json.dumps({"annotations": notes}))
    study = load(root, captions=str(tmp_path))
    table = study.stimulus_table().set_index("stimulus_id")
    assert all(table.loc[name, "captions"] == [f"of {number}"] for name, number in ids.items())
    assert table["captions"].str.len().sum() == 2000
    assert study.block.has == {"captions"}
    (tmp_path / "captions_val2017.json").unlink()
    with pytest.raises(InputError, match="no caption for 1000 pictures of COCO"):
        load(root, captions=str(tmp_path)).stimulus_table()
    with pytest.raises(InputError, match=r"no captions_\*\.json"):
        load(root, captions=str(tmp_path / "none")).stimulus_table()


def test_pictures_are_found_in_any_folder(root, tmp_path):
    for row in {row["picture"]: row for row in events()}.values():
        path = tmp_path / row["type"].removeprefix("rep_") / row["picture"]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    table = load(root, pictures=str(tmp_path)).stimulus_table()
    assert all(Path(image).stem == name for name, image in zip(table["stimulus_id"], table["image"]))
    path.unlink()
    with pytest.raises(InputError, match=f"1 of 4916 pictures are missing, the first is {path.name}"):
        load(root, pictures=str(tmp_path)).stimulus_table()


# ------------------------------------------------------------------------------------------------ voxels


@pytest.mark.parametrize("subject", ["CSI1", "CSI4"])
def test_arrays_of_regions_are_read_back_exactly(root, subject):
    study = load(root)
    n_voxels = sum(world.SIZES.values())
    expected = world.planted(subject, n_voxels)
    np.testing.assert_array_equal(study.signals(subject, np.arange(n_voxels)), expected)
    some = np.array([0, 1, 5, 19, n_voxels - 1])
    np.testing.assert_array_equal(study.signals(subject, some), expected[:, some])
    regions = study.regions(subject)
    owner = np.repeat(list(world.SIZES), list(world.SIZES.values()))
    assert [bool(one) for one in regions["LHLOC"]] == [name == "LHLOC" for name in owner]
    assert [bool(one) for one in regions["PPA"]] == [name.endswith("PPA") for name in owner]
    assert regions["LH"].sum() == n_voxels // 2
    assert study.voxel_names(subject)[:3] == ["LHEarlyVis-0", "LHEarlyVis-1", "LHLOC-0"]


@pytest.mark.parametrize("subject", ["CSI2", "CSI3"])
def test_volumes_and_masks_of_irregular_names_are_read_back_exactly(tmp_path, subject):
    counts = Counter(f"{int(row['session']):02d}" for row in events() if row["subject"] == subject)
    world.write_volumes(tmp_path / "a", subject, dict(sorted(counts.items())))
    study = load(tmp_path, source="volumes", subjects=[subject])
    assert all(Path(path).is_file() for path in study.files(subject))
    masks = world.masks()
    inside = np.logical_or.reduce([mask > 0 for mask in masks.values()])
    places = np.flatnonzero(inside)
    expected = world.planted(subject, inside.size)[:, places]
    np.testing.assert_array_equal(study.signals(subject, np.arange(len(places))), expected)
    for name, mask in masks.items():
        np.testing.assert_array_equal(study.regions(subject)[name], mask[inside] > 0)
    assert study.voxel_names(subject) == ["-".join(map(str, one)) for one in np.argwhere(inside)]


def test_other_arrays_and_volumes_are_refused(root, tmp_path):
    world.write_arrays(tmp_path, "CSI4")
    path = tmp_path / f"py/CSI4_GLMbetas-{world.TYPE}_allses_LHOPA.npy"
    np.save(path, np.load(path).T)
    with pytest.raises(InputError, match=r"\(4, 3108\), expected betas \[3108 trials, voxels\] of CSI4"):
        load(tmp_path).regions("CSI4")
    path.unlink()
    assert load(tmp_path).files("CSI4")[2] == str(tmp_path / path.name)  # where snakemake says that it is missing
    with pytest.raises(InputError, match="no such array of betas"):
        load(tmp_path).regions("CSI4")
    (tmp_path / "twice").mkdir()
    name = f"CSI4_GLMbetas-{world.TYPE}_allses_LHPPA.npy"
    (tmp_path / "twice" / name).write_bytes((tmp_path / "py" / name).read_bytes())
    with pytest.raises(InputError, match=r"are both CSI4_GLMbetas-.*_allses_LHPPA\.npy"):
        load(tmp_path).files("CSI4")
    counts = Counter(f"{int(row['session']):02d}" for row in events() if row["subject"] == "CSI4")
    wrong = dict(sorted(counts.items()))
    wrong["03"] -= 1
    world.write_volumes(tmp_path / "volumes", "CSI4", wrong)
    with pytest.raises(InputError, match=r"369 volumes, expected 370|332 volumes, expected 333"):
        load(tmp_path / "volumes", source="volumes").regions("CSI4")
    with pytest.raises(ValidationError, match="space: found grid; source: arrays has no masks"):
        load(tmp_path, space="grid")
    with pytest.raises(ValidationError, match="source: arrays has only TYPED"):
        parse(Study, {"kind": "bold5000", "root": "x", "betas": "TYPEB-FITHRF"})


def test_the_stage_z_scores_each_session_on_its_training_trials(root, tmp_path):
    block = parse(Study, {"kind": "bold5000", "root": str(root)})
    given = {"name": "bold", "study": block.for_responses(), "subject": "CSI4", "results": str(tmp_path)}
    job = {**given, "labels": None, "voxels": {"normalise": "session"}, "roi": {"include": ["LOC", "PPA"]}}
    voxels.run(Job("voxels", job, "code", {}, {}, {"responses": tmp_path / "out.h5"}))
    study = load(root)
    regions, rows = study.regions("CSI4"), study.rows("CSI4")
    values = world.planted("CSI4", sum(world.SIZES.values()))[:, regions["LOC"] | regions["PPA"]].astype(float)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["response"].shape == (3108, values.shape[1])
        names = file["stimulus_id"].asstr()[:]
        assert list(names[file["stimulus"][:]]) == rows["stimulus"].tolist()
        for session, own in rows.groupby("session"):
            place = own.index.to_numpy()
            fitted = values[place[own["split"] == "train"]]
            expected = (values[place] - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
            np.testing.assert_allclose(file["response"][:][place], expected, atol=1e-5, err_msg=session)
