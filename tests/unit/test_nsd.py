"""Natural Scenes Dataset on a miniature of its layout: planted identities, every trap stepped into, what is refused."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import download_records
import h5py
import nibabel
import nsd_world as world
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from brain2clip import settings
from brain2clip.readers import contract, manifests, nsd_betas, nsd_design, nsd_files, pictures
from brain2clip.responses import voxels
from brain2clip.settings import Study, parse
from brain2clip.stage import InputError, Job
from brain2clip.studies import nsd
from brain2clip.training.data import Normalisation

N_TRIALS = world.TRIALS * world.SESSIONS


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return world.write(tmp_path_factory.mktemp("nsd") / "bucket")


@pytest.fixture
def copy(root, tmp_path) -> Path:
    """The miniature as links, of which a test may replace some by files of its own."""
    for path in root.rglob("*"):
        if path.is_file():
            target = tmp_path / "bucket" / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    return tmp_path / "bucket"


def load(root: Path, results: Path | str = "results", **changes):
    return contract.load("nsd", world.settings(root, **changes), results)


def replaced(root: Path, name: str) -> Path:
    """The place of a file that is no longer a link."""
    (root / name).unlink()
    return root / name


# ----------------------------------------------------------------------------------------------- terms


def test_nothing_is_read_or_fetched_before_the_terms_are_accepted(monkeypatch):
    opened = []
    monkeypatch.setattr(Path, "open", lambda self, *_, **__: opened.append(self))
    for given in ({"root": "/nowhere"}, {"manifest": "nowhere.csv"}):
        for accepted in ({}, {"accept_terms": False}):
            with pytest.raises(
                ValidationError, match=r"(?s)accept_terms.*found false.*cvnlab\.slite\.page/p/IB6BSeW_7o"
            ):
                parse(Study, {"kind": "nsd", **given, **accepted})
            with pytest.raises(ValidationError, match="accept_terms"):
                contract.load("nsd", {"kind": "nsd", **given, **accepted}, "results")
    assert opened == []
    for given, said in (("yes", "found 'yes'; expected true"), (1, "found 1; expected true"), ("", "found ''; exp")):
        with pytest.raises(ValidationError, match=said):
            parse(Study, {"kind": "nsd", "root": "/nowhere", "accept_terms": given})
    for given in (True, "true", "True"):  # as YAML and a command line have it
        assert parse(Study, {"kind": "nsd", "root": "/nowhere", "accept_terms": given}).accept_terms is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": "m.csv"}, "only one of them"),
        ({"root": None}, "only one of them"),
        ({"sessions": 41}, "40"),
        ({"sessions": [1, 1]}, "1"),
        ({"test": "983"}, "1000"),
        ({"test": "982", "sessions": 40}, "test: 982 uses sessions 1 to 37, but sessions names 40"),
        ({"test": 982, "sessions": [1, 38]}, "test: 982 uses sessions 1 to 37, but sessions names 38"),
    ],
)
def test_settings_that_contradict_are_refused(root, change, message):
    with pytest.raises(ValidationError, match=message):
        parse(Study, world.settings(root, **change))


def test_sessions_are_those_that_each_subject_has(root):
    study = load(root, sessions="all")
    assert [len(study.sessions(one)) for one in nsd_design.SESSIONS] == [40, 40, 32, 30, 40, 32, 40, 30]
    early = load(root, sessions="all", test=982)
    assert [len(early.sessions(one)) for one in nsd_design.SESSIONS] == [37, 37, 32, 30, 37, 32, 37, 30]
    assert load(root, sessions=[7, 2]).sessions("03") == (2, 7)
    with pytest.raises(InputError, match="session 33, but subject 03 has 32"):
        load(root, sessions=33).sessions("03")
    with pytest.raises(InputError, match=r"that is 2 sessions of 750; but studies\.\*\.sessions names session 3"):
        load(root, sessions=3).rows("01")


# ------------------------------------------------------------------------------------- planted identity


@pytest.mark.parametrize("subject", ["01", "02"])
def test_every_trial_shows_its_planted_picture(root, subject):
    study = load(root)
    rows, table = study.rows(subject), study.stimulus_table().set_index("stimulus_id")
    planted = world.shown(subject)
    assert [nsd.number_of(name) for name in rows["stimulus"]] == planted.tolist()
    shared = set(world.images()[0, : world.SHARED] - 1)
    assert [side == "test" for side in rows["split"]] == [number in shared for number in planted]
    assert list(table.loc[rows["stimulus"], "split"]) == list(rows["split"])
    assert rows["session"].tolist() == ["01"] * world.TRIALS + ["02"] * world.TRIALS
    assert rows["run"].value_counts().to_dict() == {f"{one:02d}": 126 - 2 * (one % 2 == 0) for one in range(1, 13)}
    assert not study.zero_shot
    assert not set(table.index[table["split"] == "train"]) & set(table.index[table["split"] == "test"])
    # Some sessions alone are the same rows, not the first ones.
    own = load(root, sessions=[2]).rows(subject)
    pd.testing.assert_frame_equal(own, rows[world.TRIALS :].reset_index(drop=True))


@pytest.mark.parametrize("subject", ["01", "02"])
def test_both_formats_give_every_planted_number_bit_for_bit(root, subject):
    """All voxels above 0 and no other, times in their order, int16 divided by 300."""
    x, y, z = np.nonzero(world.mask() > 0)
    stored = np.concatenate([world.betas(subject, one)[x, y, z].T for one in (1, 2)])
    expected = stored.astype(np.float32) / np.float32(300)
    for form in ("hdf5", "nifti"):
        study = load(root, format=form)
        assert study.voxel_names(subject) == [f"{a}-{b}-{c}" for a, b, c in zip(x, y, z)]
        found = study.signals(subject, np.arange(len(x)))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        some = np.array([0, 3, 4, len(x) - 1])
        np.testing.assert_array_equal(study.signals(subject, some), expected[:, some])
    assert np.abs(expected).max() < 34  # percent


def test_voxels_are_those_above_zero_and_never_those_that_are_not_zero(root):
    mask, names = world.mask(), load(root).voxel_names("01")
    assert len(names) == (mask > 0).sum() < (mask != 0).sum()
    assert "0-0-2" in names
    assert "0-0-0" not in names  # -1


# ------------------------------------------------------------------------------------------- test sets


def test_the_three_test_sets_of_the_miniature(root):
    place = world.order() - 1
    for test, left_out in (("1000", set()), ("982", set()), ("515", set(world.RARE))):
        study = load(root, test=test)
        rows, table = study.rows("01"), study.stimulus_table()
        expected = ["" if one in left_out else "test" if one < world.SHARED else "train" for one in place]
        assert rows["split"].tolist() == expected
        assert (rows["stimulus"] == "").tolist() == [side == "" for side in expected]
        assert (table["split"] == "test").sum() == world.SHARED - len(left_out)
        out = {nsd.id_of(number) for number in world.images()[0, sorted(left_out)] - 1}
        assert not out & set(table["stimulus_id"])


def published(seed: int = 0) -> np.ndarray:
    """An order of 30,000 trials with all published counts (after 30, 32, 37 and 40 sessions), from 0."""
    random = np.random.default_rng(seed)
    shared, own = random.permutation(1000), 1000 + random.permutation(9000)

    def parts(places: np.ndarray, *sizes: int) -> list[np.ndarray]:
        return np.split(places, np.cumsum(sizes))

    thrice, twice, once, late, later, _ = parts(shared, 515, 251, 141, 23, 52)
    mine = parts(own, 4930, 2150, 1222, 179, 378)
    first = np.concatenate(
        [np.repeat(thrice, 3), np.repeat(twice, 2), once, np.repeat(mine[0], 3), np.repeat(mine[1], 2), mine[2]]
    )
    second = np.concatenate([mine[1][:789], mine[3], late, mine[2][:509]])

    def rest(places: np.ndarray, *before: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.concatenate(before), minlength=10000)[places]
        return random.permutation(np.repeat(places, 3 - counts))

    third = np.concatenate([later, mine[4]])
    for places, count in ((np.concatenate([twice, once, late, later]), 507), (np.concatenate(mine[1:5]), 2813)):
        third = np.concatenate([third, rest(places, first, second, third)[:count]])
    last = rest(np.arange(10000), first, second, third)
    order = np.concatenate([random.permutation(part) for part in (first, second, third, last)])
    assert np.cumsum([len(first), len(second), len(third), len(last)]).tolist() == [22500, 24000, 27750, 30000]
    return order


def of_eight() -> np.ndarray:
    """``subjectim`` of the published size, from 1."""
    own = np.arange(1000, 73000).reshape(8, 9000)
    return np.concatenate([np.tile(np.arange(1000), (8, 1)), own], axis=1) + 1


def test_a_design_of_the_published_size_must_have_the_published_counts(tmp_path):
    order, subjectim = published(), of_eight()
    world.write_design(tmp_path, masterordering=order + 1, subjectim=subjectim, sharedix=subjectim[0, :1000])
    for test, sessions, subject, expected in (
        ("982", "all", "01", {"train": (8859, 24980), "test": (982, 2770)}),
        ("1000", "all", "07", {"train": (9000, 27000), "test": (1000, 3000)}),
        ("1000", 37, "05", {"train": (8859, 24980), "test": (982, 2770)}),
        ("1000", "all", "03", {"train": (8481, 21789), "test": (930, 2211)}),
        ("1000", "all", "08", {"train": (8302, 20312), "test": (907, 2188)}),
        ("515", "all", "04", {"train": (8302, 20312), "test": (515, 1545)}),
        ("515", "all", "02", {"train": (9000, 27000), "test": (515, 1545)}),
    ):
        rows = load(tmp_path, test=test, sessions=sessions).rows(subject)
        found = {side: (own["stimulus"].nunique(), len(own)) for side, own in rows.groupby("split") if side}
        assert found == expected, (test, subject)
    world.write_design(
        tmp_path, masterordering=np.roll(order, 40) + 1, subjectim=subjectim, sharedix=subjectim[0, :1000]
    )
    with pytest.raises(InputError, match=r"after 30 sessions .*, expected .*; this is not the design"):
        load(tmp_path).rows("01")


# ------------------------------------------------------------------------------ traps: counting from 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"masterordering": world.order() - 1}, "masterordering begins at 0, so it counts from 0"),
        ({"subjectim": world.images() - 1}, "subjectim begins at 0, so it counts from 0"),
        ({"sharedix": world.images()[0, : world.SHARED] - 1}, r"sharedix begins at 0|not those of sharedix"),
        ({"sharedix": None}, "no array sharedix"),
        ({"masterordering": world.order() + 1}, "masterordering holds 2 to 101"),
        (
            {"subjectim": np.where(world.images() == 5, 6, world.images())},
            "lists a picture twice|not those of sharedix",
        ),
        ({"masterordering": world.order() + 0.5}, "expected whole numbers"),
    ],
)
def test_a_design_that_counts_otherwise_is_refused(copy, arrays, message):
    replaced(copy, nsd_files.DESIGN)
    world.write_design(copy, **arrays)
    with pytest.raises(InputError, match=message):
        load(copy).rows("01")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(**{"73KID": table["73KID"] - 1}), "one of the two counts from 0"),
        (lambda table: table.assign(**{"73KID": table["73KID"].iloc[::-1].to_numpy()}), "show another picture than"),
        (lambda table: table[:-1], "749 trials of session 2, expected 750"),
        (lambda table: table.drop(columns="73KID"), "no column 73KID"),
    ],
)
def test_a_table_of_trials_that_says_something_else_is_refused(copy, change, message):
    replaced(copy, nsd_files.responses("01"))
    world.write_table(copy, nsd_files.responses("01"), change(world.responses("01")), "\t")
    with pytest.raises(InputError, match=message):
        load(copy).rows("01")


def test_without_a_table_of_trials_the_design_alone_counts(copy, root):
    (copy / nsd_files.responses("01")).unlink()
    assert str(copy / nsd_files.responses("01")) not in load(copy).files("01")
    assert str(copy / nsd_files.responses("02")) in load(copy).files("02")
    pd.testing.assert_frame_equal(load(copy).rows("01"), load(root).rows("01"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(nsdId=table["nsdId"] + 1), "nsdId begins 1, 2, 3; expected 0, 1, 2"),
        (lambda table: table.assign(shared1000=np.roll(table["shared1000"], 1)), "shared1000 marks 20 pictures"),
        (lambda table: table.assign(subject2=np.roll(table["subject2"], 1)), "subject2 marks 100 pictures"),
    ],
)
def test_a_table_of_pictures_that_counts_otherwise_is_refused(copy, change, message):
    replaced(copy, nsd_files.PICTURES)
    world.write_table(copy, nsd_files.PICTURES, change(world.stim_info()), ",")
    with pytest.raises(InputError, match=message):
        load(copy).stimulus_table()


# ------------------------------------------------------------------------- traps: axes, scale and grids


def test_axes_that_are_not_reversed_are_refused(copy):
    name = nsd_files.betas("01", world.VERSION, 1, "hdf5")
    with h5py.File(replaced(copy, name), "w") as file:
        file["betas"] = world.betas("01", 1)
    with pytest.raises(InputError, match="its axes are not reversed"):
        load(copy).voxel_names("01")


def test_betas_in_percent_already_are_refused(copy):
    name = nsd_files.betas("01", world.VERSION, 1, "hdf5")
    with h5py.File(replaced(copy, name), "w") as file:
        file["betas"] = (world.betas("01", 1) / 300).astype(np.float32).transpose(3, 2, 1, 0)
    with pytest.raises(InputError, match=r"float32 numbers, expected int16 .*percent signal change already"):
        load(copy).voxel_names("01")
    name = nsd_files.betas("01", world.VERSION, 1, "nifti")
    world.nifti(replaced(copy, name), (world.betas("01", 1) / 300).astype(np.float32))
    with pytest.raises(InputError, match="float32 numbers, expected int16"):
        load(copy, format="nifti").voxel_names("01")
    world.nifti(copy / name, world.betas("01", 1))
    content = bytearray(gzip.decompress((copy / name).read_bytes()))
    content[112:116] = struct.pack("<f", 1 / 300)  # scl_slope
    (copy / name).write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="its header scales the numbers"):
        load(copy, format="nifti").voxel_names("01")


def test_a_mask_of_another_grid_or_turned_is_refused(copy):
    name = nsd_files.roi("01", "nsdgeneral")
    world.nifti(replaced(copy, name), world.mask().transpose(2, 1, 0).astype(np.int16))
    for form in ("hdf5", "nifti"):
        with pytest.raises(InputError, match=r"\(7, 8, 9\) voxels, but .* has \(9, 8, 7\)"):
            load(copy, format=form).voxel_names("01")
    world.nifti(copy / name, world.mask().astype(np.int16), np.diag([-1.8, 1.8, 1.8, 1]))
    with pytest.raises(InputError, match=r"its axes are LAS, those of .* are RAS"):
        load(copy, format="nifti").voxel_names("01")
    world.nifti(copy / name, np.full(world.GRID, -1, np.int16))
    with pytest.raises(InputError, match="no voxel above 0"):
        load(copy).voxel_names("01")
    world.nifti(copy / name, np.full(world.GRID, 0.4))
    with pytest.raises(InputError, match="not whole numbers"):
        load(copy).voxel_names("01")


def test_a_session_of_another_grid_is_refused(copy):
    name = nsd_files.betas("01", world.VERSION, 2, "hdf5")
    with h5py.File(replaced(copy, name), "w") as file:
        file["betas"] = world.betas("01", 2)[:-1].transpose(3, 2, 1, 0)
    with pytest.raises(InputError, match=r"\(8, 8, 7\) voxels, expected \(9, 8, 7\) for subject 01"):
        load(copy).signals("01", np.arange(2))


def test_with_the_published_design_the_grid_is_the_published_one(copy):
    order, subjectim = published(), of_eight()
    replaced(copy, nsd_files.DESIGN)
    world.write_design(copy, masterordering=order + 1, subjectim=subjectim, sharedix=subjectim[0, :1000])
    with pytest.raises(InputError, match=r"\(9, 8, 7\) voxels, expected \(81, 104, 83\) for subject 01"):
        load(copy).voxel_names("01")


@pytest.mark.parametrize("form", ["hdf5", "nifti"])
def test_a_file_that_is_cut_short_is_refused(copy, root, form):
    name = nsd_files.betas("01", world.VERSION, 1, form)
    content = (root / name).read_bytes()
    replaced(copy, name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"get the file once more|not complete|not readable"):
        load(copy, format=form).signals("01", np.arange(3))


# --------------------------------------------------------------------------------------------- regions


def test_regions_by_file_label_and_name(root):
    inside = world.mask() > 0
    found = load(root).regions("01")
    for family in world.FAMILIES:
        values = world.roi_values(family)[inside]
        np.testing.assert_array_equal(found[family], values > 0)
        for label in range(1, values.max() + 1):
            np.testing.assert_array_equal(found[f"{family}-{label}"], values == label)
    np.testing.assert_array_equal(found["V2d"], found["prf-visualrois-4"])
    np.testing.assert_array_equal(found["hV4"], found["prf-visualrois-7"])
    np.testing.assert_array_equal(found["ventral"], found["streams-5"])
    np.testing.assert_array_equal(found["FFA-2"], found["floc-faces-3"])  # of the dataset's own table
    assert "FFA-1" not in load(root, regions=["streams"]).regions("01")
    assert found["nsdgeneral"].all()


@pytest.mark.parametrize("line", ["--1 OFA", "\u00b2 OFA", "1- OFA"])
def test_a_damaged_number_in_a_table_of_names_is_refused(copy, line):
    replaced(copy, nsd_files.names("01", "floc-faces")).write_text(f"0 Unknown\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"found line '{line}'; expected a number and a name"):
        load(copy, regions=["floc-faces"]).regions("01")


@pytest.mark.parametrize("cell", ["", "1x", "\u00b2", "1.0"])
def test_a_damaged_number_of_coco_is_refused_where_it_is_read(copy, tmp_path, cell):
    coco(tmp_path)
    table = world.stim_info().astype({"cocoId": object})
    number = int(world.shown("01")[0])
    table.loc[number, "cocoId"] = cell
    world.write_table(replaced(copy, nsd_files.PICTURES).parents[3], nsd_files.PICTURES, table, ",")
    for study in (load(copy), load(copy, captions=str(tmp_path))):
        with pytest.raises(InputError, match=f"nsdId {number} has cocoId '{cell}'; expected a number"):
            _ = study.stimulus_table() if study.block.captions else study.coco_ids()


def test_a_mask_whose_header_places_no_voxel_is_read_voxel_by_voxel(copy):
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[0, 1] = 1e38
    image = nibabel.Nifti1Image(world.mask().astype(np.float64), None)
    image.set_sform(affine, 1)
    nibabel.save(image, replaced(copy, nsd_files.roi("01", "nsdgeneral")))
    assert load(copy, format="nifti").voxel_names("01") == load(copy).voxel_names("01")


def test_a_name_that_two_families_have_is_of_neither_alone(copy):
    names = copy / nsd_files.names("01", "streams")
    names.write_text("1 early\n2 OFA\n")
    found = load(copy).regions("01")
    assert "OFA" not in found
    np.testing.assert_array_equal(found["streams-OFA"], found["streams-2"])
    np.testing.assert_array_equal(found["floc-faces-OFA"], found["floc-faces-1"])
    assert "ventral" not in found  # the table of the dataset counts where it is there
    names.write_text("early 1\n")
    with pytest.raises(InputError, match="expected a number and a name"):
        load(copy).regions("01")


# ---------------------------------------------------------------------------------------- normalisation


def made(study: dict, output: Path, **steps) -> dict:
    """What the stage ``voxels`` writes of subject 01."""
    block = parse(Study, study)
    given = {"name": "nsd", "study": block.for_responses(), "subject": "01", "results": str(output.parent)}
    job = {**given, "labels": None, "voxels": {"normalise": "session", **steps}, "roi": {}}
    voxels.run(Job("voxels", job, "code", {}, {}, {"responses": output}))
    with h5py.File(output) as file:
        found: dict = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return {**found, "fitted": Normalisation.read(file)}


def test_z_scores_are_of_the_training_trials_of_each_session(root, copy, tmp_path):
    found = made(world.settings(root), tmp_path / "a.h5")
    study = load(root)
    values = study.signals("01", np.arange(len(found["voxel"]))).astype(float)
    training = (study.rows("01")["split"] == "train").to_numpy()
    for session in range(2):
        own = slice(world.TRIALS * session, world.TRIALS * (session + 1))
        fitted = values[own][training[own]]
        mean, deviation = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
        np.testing.assert_allclose(found["response"][own], (values[own] - mean) / deviation, atol=1e-5)
        np.testing.assert_allclose(found[f"normalisation/session/0{session + 1}/mean"], mean)
    names = found["stimulus_id"].astype(str)
    assert [nsd.number_of(names[one]) for one in found["stimulus"]] == world.shown("01").tolist()
    both = [found[f"normalisation/session/0{one}/mean"] for one in (1, 2)]
    np.testing.assert_allclose(found["fitted"].mean, np.mean(both, axis=0))

    # Other test trials move nothing but themselves.
    for session in (1, 2):
        moved = world.betas("01", session)
        moved[..., ~training[world.TRIALS * (session - 1) :][: world.TRIALS]] = 32000
        name = nsd_files.betas("01", world.VERSION, session, "hdf5")
        replaced(copy, name)
        world.write_betas(copy, "01", session, moved, ("hdf5",))
    after = made(world.settings(copy), tmp_path / "b.h5")
    np.testing.assert_array_equal(after["response"][training], found["response"][training])
    assert not np.allclose(after["response"][~training], found["response"][~training])
    for name in found:
        if name.startswith("normalisation/"):
            np.testing.assert_array_equal(after[name], found[name], err_msg=name)


def test_both_formats_give_equal_responses(root, tmp_path):
    hdf5, nifti = (made(world.settings(root, format=form), tmp_path / f"{form}.h5") for form in ("hdf5", "nifti"))
    np.testing.assert_array_equal(hdf5["response"], nifti["response"])
    assert hdf5["voxel"].tolist() == nifti["voxel"].tolist()


# --------------------------------------------------------------------------------- pictures and captions


def test_pictures_are_the_rows_of_the_array_and_lose_nothing(root, tmp_path):
    folder = world.unpack(root, tmp_path, "nsd")
    table = load(root, tmp_path).stimulus_table()
    assert len(table) == world.N_PICTURES
    for name, image in zip(table["stimulus_id"], table["image"]):
        np.testing.assert_array_equal(np.asarray(pictures.read(image)), world.pictures()[nsd.number_of(name)])
    listed = pd.read_csv(folder / "pictures.tsv", sep="\t")
    assert sorted(listed["row"]) == list(range(world.N_PICTURES))
    # Those of one subject alone, unpacked again over the others.
    world.unpack(root, tmp_path, "nsd", subjects=["02"])
    own = load(root, tmp_path, subjects=["02"]).stimulus_table()
    assert len(own) == world.OWN == len(list(folder.rglob("*.png")))
    assert set(own["stimulus_id"]) == {nsd.id_of(number) for number in set(world.shown("02"))}
    damaged = Path(own["image"][0])
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(damaged)
    with pytest.raises(InputError, match="was changed or"):
        pictures.read(damaged)


def test_an_array_that_is_none_of_these_pictures_is_refused(copy, tmp_path):
    path = replaced(copy, nsd_files.BRICK)
    for data, message in (
        (world.pictures()[:-1], "179 pictures, but row 179"),
        (world.pictures().astype(np.float32), r"float32 .*expected uint8"),
        (world.pictures()[..., 0], "expected uint8"),
    ):
        with h5py.File(path, "w") as file:
            file["imgBrick"] = data
        with pytest.raises(InputError, match=message):
            world.unpack(copy, tmp_path, "nsd")
        assert not (tmp_path / "raw/nsd/pictures/pictures.tsv").exists()


def coco(folder: Path, drop: int | None = None) -> Path:
    """COCO's two files; a picture of either split with two sentences, and a decoy under its ``nsdId``."""
    table = world.stim_info()
    for split, own in table.groupby("cocoSplit"):
        notes = [
            {"image_id": int(row.cocoId), "caption": f" picture {row.nsdId},\n sentence {number} "}
            for row in own.itertuples()
            for number in (1, 2)
            if row.nsdId != drop
        ]
        notes += [{"image_id": 10**6 + number, "caption": "another"} for number in range(5)]
        (folder / f"captions_{split}.json").write_text(json.dumps({"annotations": notes}))
    return folder


def test_captions_by_the_number_in_coco_and_by_rows_of_an_array(root, tmp_path):
    texts = [f"picture {number}, sentence" for number in range(world.N_PICTURES)]
    np.save(tmp_path / "curated.npy", np.array([[f"{text} 1", "", f"{text} 2 "] for text in texts]))
    for given in (coco(tmp_path), tmp_path / "curated.npy"):
        study = load(root, captions=str(given))
        table = study.stimulus_table()
        for name, captions in zip(table["stimulus_id"], table["captions"]):
            assert captions == [f"picture {nsd.number_of(name)}, sentence {number}" for number in (1, 2)]
        assert study.block.has == {"pictures", "captions"}
    assert load(root).stimulus_table()["captions"].str.len().max() == 0
    assert str(tmp_path / "captions_val2017.json") in load(root, captions=str(tmp_path)).stimulus_files()


def test_captions_that_are_not_there_are_refused(root, tmp_path):
    seen = int(world.shown("01")[0])
    with pytest.raises(InputError, match=rf"no caption for 1 of 180 pictures, the first is {nsd.id_of(seen)}"):
        load(root, captions=str(coco(tmp_path, drop=seen))).stimulus_table()
    (tmp_path / "captions_val2017.json").write_text("[]")
    with pytest.raises(InputError, match="not captions of COCO"):
        load(root, captions=str(tmp_path)).stimulus_table()
    np.save(tmp_path / "objects.npy", np.array([["a"]] * 200, dtype=object))
    with pytest.raises(InputError, match="without running code"):
        load(root, captions=str(tmp_path / "objects.npy")).stimulus_table()
    np.save(tmp_path / "short.npy", np.array([["a"]] * 20))
    with pytest.raises(InputError, match="73,000"):
        load(root, captions=str(tmp_path / "short.npy")).stimulus_table()


def test_names_that_other_datasets_know_the_pictures_by(root):
    study, table = load(root), world.stim_info()
    ids = study.coco_ids()
    assert ids == {nsd.id_of(row.nsdId): row.cocoId for row in table.itertuples()}
    assert study.in_bold5000() == tuple(nsd.id_of(number) for number in table.index[table["BOLD5000"]])


def test_pictures_and_subjects_are_nothing_to_responses(root):
    one = parse(Study, world.settings(root, captions="c"))
    other = parse(Study, world.settings(root, pictures=False, subjects=["02"]))
    assert settings.canonical(one.for_responses()) == settings.canonical(other.for_responses())
    assert one.for_stimuli() != other.for_stimuli()
    assert "captions" not in one.for_pictures()
    # Other numbers of the same trials are nothing to pictures and features.
    betas = parse(Study, world.settings(root, captions="c", format="nifti", betas="betas_fithrf", regions=["streams"]))
    assert one.for_stimuli() == betas.for_stimuli()
    assert one.for_responses() != betas.for_responses()
    assert other.has == frozenset()
    study = load(root, pictures=False)
    assert (study.stimulus_table()["image"] == "").all()
    assert not study.bricked


# --------------------------------------------------------------------------------------------- downloads


def test_a_listing_of_the_bucket_becomes_a_manifest(root, tmp_path, capsys):
    nsd_files.main([str(world.listing(world.sizes(root), tmp_path / "listing.txt")), str(tmp_path / "manifest.csv")])
    assert f"{tmp_path / 'manifest.csv'}: " in capsys.readouterr().out
    entries = {one.path: one for one in manifests.read(tmp_path / "manifest.csv")}
    assert set(entries) == {one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()}
    for path, one in entries.items():
        assert (one.algorithm, one.size) == ("size", (root / path).stat().st_size)
        assert one.url == f"https://natural-scenes-dataset.s3.us-east-2.amazonaws.com/{path}"
    given = world.settings(root, root=None, manifest=str(tmp_path / "manifest.csv"))
    study = contract.load("mine", given, tmp_path / "results")
    wanted = {entry.path for files in study.downloads().values() for entry in files}
    assert wanted == {path for path in entries if not path.endswith("nii.gz") or "/roi/" in path}
    alone = contract.load("mine", {**given, "subjects": ["02"], "format": "nifti", "pictures": False}, "r")
    wanted = {entry.path for files in alone.downloads().values() for entry in files}
    assert not any("subj01" in path or path.endswith(".hdf5") for path in wanted)
    assert set(study.files("01")) <= {study.record(unit) for unit in study.downloads()}
    # Read as they came, and refused when they are changed later.
    (tmp_path / "results/raw").mkdir(parents=True)
    (tmp_path / "results/raw/nsd").symlink_to(root)
    download_records.write(study)
    pd.testing.assert_frame_equal(study.rows("01"), load(root).rows("01"))
    v = np.arange(3)
    np.testing.assert_array_equal(study.signals("02", v), load(root).signals("02", v))


def test_a_listing_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("<?xml version='1.0'?>\n")
    with pytest.raises(SystemExit, match=r"not a table|expected date, time, bytes and key"):
        nsd_files.main([str(tmp_path / "a.txt"), str(tmp_path / "m.csv")])
    (tmp_path / "a.txt").write_text("2021-09-23 10:00:00   12 nsddata/README\n")
    with pytest.raises(SystemExit, match="no file that the study reads"):
        nsd_files.main([str(tmp_path / "a.txt"), str(tmp_path / "m.csv")])
    assert not (tmp_path / "m.csv").exists()


def test_percent_is_a_three_hundredth_in_single_precision():
    found = nsd_betas.percent(np.array([-32768, -300, 0, 1, 32767], np.int16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([-32768, -300, 0, 1, 32767], np.float32) / np.float32(300))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, 30),
        ({"subjects": ["01", "02"]}, 40),
        ({"subjects": ["01", "03"]}, 32),
        ({"subjects": ["01"], "test": "982"}, 37),
        ({"sessions": 3}, 3),
        ({"sessions": [1, 5]}, 2),
    ],
)
def test_protocols_know_how_many_sessions_every_subject_has(asked, found):
    block = {"kind": "nsd", "root": "nsd", "accept_terms": True, **asked}
    assert parse(Study, block).recorded_sessions == found
    assert settings.studies_fmri.NSD_RECORDED == nsd_design.SESSIONS
