"""A user's voxel data: every kind of file gives the same rows, regions and signals; what is refused."""

import bdata_files
import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voxel_tables import N_VOXELS, RUNS, labels, signals, study, write

from brain2clip.readers import contract, signal_files
from brain2clip.stage import InputError
from brain2clip.studies import voxel_table

GRID = (3, 2, 2)
#: Places of the eight voxels on the grid of twelve.
INSIDE = np.array([0, 1, 3, 4, 6, 8, 9, 11])
V1 = np.arange(N_VOXELS) < 3


def load(settings, results="results"):
    return contract.load("mine", settings, results)


def write_kind(folder, kind) -> dict:
    """The same signals in a file of a kind; the settings that name them and the region V1."""
    write(folder)
    values = signals().astype(np.float32)
    if kind == "npy":
        return {}
    if kind == "npz":
        np.savez(folder / "s.npz", data=values, early=V1)
        return {"signals": str(folder / "s.npz"), "rois": {"V1": "early"}}
    if kind == "h5":
        with h5py.File(folder / "s.h5", "w") as file:
            file["data"], file["masks/early"] = values, V1
        return {"signals": str(folder / "s.h5"), "rois": {"V1": "masks/early"}}
    if kind == "bdata":
        path = bdata_files.write(
            folder / "b.h5", {"VoxelData": values, "Run": np.ones(len(values))}, {}, {"V1": [0, 1, 2]}
        )
        return {"signals": str(path)}
    volumes = np.zeros((12, len(values)), np.float32)
    volumes[INSIDE] = values.T
    mask, early = np.zeros(12, np.int16), np.zeros(12, np.int16)
    mask[INSIDE], early[INSIDE[:3]] = 1, 1
    for name, data in ((f"s.{kind}", volumes.reshape(*GRID, -1)), ("mask.nii", mask.reshape(GRID)),
                       ("v1.nii", early.reshape(*GRID, 1))):  # fmt: skip
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), folder / name)
    return {
        "signals": str(folder / f"s.{kind}"),
        "mask": str(folder / "mask.nii"),
        "rois": {"V1": str(folder / "v1.nii")},
    }


KINDS = ("npy", "npz", "h5", "bdata", "nii", "nii.gz")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same(tmp_path, kind):
    one = load(study(tmp_path, **write_kind(tmp_path, kind)))
    values = signals().astype(np.float32)
    np.testing.assert_array_equal(one.signals("01", np.arange(N_VOXELS)), values)
    np.testing.assert_array_equal(one.signals("01", np.array([1, 6])), values[:, [1, 6]])
    assert one.signals("01", np.array([2])).dtype == np.float32
    assert len(set(one.voxel_names("01"))) == N_VOXELS
    assert len(one.rows("01")) == len(values)
    if kind != "npy":
        assert one.regions("01")["V1"].tolist() == V1.tolist()
    if kind.startswith("nii"):
        assert one.voxel_names("01")[:3] == ["0-0-0", "0-0-1", "0-1-1"]
        assert set(one.files("01")) == {
            str(tmp_path / name) for name in (f"s.{kind}", "rows.csv", "mask.nii", "v1.nii")
        }


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from(["nii.gz", "h5"]), st.integers(1, 3000))
def test_blocks_of_any_size_give_the_same(tmp_path_factory, data, kind, size):
    folder = tmp_path_factory.mktemp("blocks")
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, N_VOXELS - 1), min_size=1))))
    one = load(study(folder, **write_kind(folder, kind)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal_files, "BLOCK_BYTES", size)
        np.testing.assert_array_equal(one.signals("01", chosen), signals().astype(np.float32)[:, chosen])


def test_scaled_integers_are_read_as_their_values(tmp_path):
    write(tmp_path)
    volumes = np.arange(12 * len(labels()[0]), dtype=np.int16).reshape(*GRID, -1)
    image = nibabel.Nifti1Image(volumes, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "s.nii.gz")
    stored = nibabel.load(tmp_path / "s.nii.gz").get_fdata().reshape(12, -1).T
    one = load(study(tmp_path, signals=str(tmp_path / "s.nii.gz")))
    np.testing.assert_allclose(one.signals("01", np.arange(12)), stored, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- space


def volumes_on(folder, affine=None, codes=(1, 1), **masks):
    """Eight voxels on a grid of twelve and masks of them, each with an affine (None: none) of its own."""
    given = write_kind(folder, "nii.gz")
    affine = np.diag([3.0, 3, 4, 1]) if affine is None else affine
    image = nibabel.load(given["signals"])
    save_on(folder / "s.nii.gz", np.asarray(image.dataobj), affine, codes)
    for name, (values, own, own_codes) in masks.items():
        save_on(folder / f"{name}.nii.gz", values, affine @ own, own_codes)
    return {"signals": given["signals"]}


def save_on(path, values, affine, codes):
    image = nibabel.Nifti1Image(values, affine)
    for code, put in zip(codes, (image.set_qform, image.set_sform)):
        put(affine, int(code))
    nibabel.save(image, path)


#: A region of two voxels that is not its own mirror image.
PLANTED = np.zeros(GRID, np.uint8)
PLANTED[0, 0, 1] = PLANTED[1, 1, 0] = 1
NAMED = ["0-0-1", "1-1-0"]
BACKWARDS = np.array([[-1.0, 0, 0, GRID[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SHIFT = np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("role", ["mask", "roi"])
@pytest.mark.parametrize(
    ("values", "own"), [(PLANTED, np.eye(4)), (PLANTED[::-1], BACKWARDS)], ids=["as it is", "stored backwards"]
)
def test_a_mask_names_the_voxels_at_its_places(tmp_path, caplog, role, values, own):
    caplog.set_level("INFO")
    given = volumes_on(tmp_path, m=(values, own, (1, 1)))
    path = str(tmp_path / "m.nii.gz")
    one = load(study(tmp_path, **given, **({"mask": path} if role == "mask" else {"rois": {"ffa": path}})))
    names = np.array(one.voxel_names("01"))
    assert names[one.regions("01")["ffa"] if role == "roi" else ...].tolist() == NAMED
    if role == "mask":
        planted = nibabel.load(given["signals"]).get_fdata()[0, 0, 1]
        np.testing.assert_array_equal(one.signals("01", np.array([0]))[:, 0], planted.astype(np.float32))
    assert ("its axes are LAS, but the axes of" in caplog.text) == (own is BACKWARDS)


@pytest.mark.parametrize(
    ("own", "codes", "words"),
    [
        (SHIFT, (1, 1), r"a mask of \(3, 2, 2\) voxels, affine \[\[3\. 0\. 0\. 3\.\].* but .* has \(3, 2, 2\), affine"),
        (np.diag([-1.0, 1, 1, 1]), (1, 1), "expected the same voxels in space: resample"),
        (np.diag([1.1, 1.1, 1, 1]), (0, 1), "expected the same voxels in space: resample"),
        (np.eye(4), (0, 0), r"m\.nii\.gz: the header does not say where .* code 0 and 0"),
    ],
)
def test_a_mask_in_another_place_is_refused(tmp_path, own, codes, words):
    given = volumes_on(tmp_path, m=(PLANTED, own, codes))
    path = str(tmp_path / "m.nii.gz")
    for named in ({"mask": path}, {"rois": {"ffa": path}}):
        with pytest.raises(InputError, match=words) as error:
            load(study(tmp_path, **given, **named)).regions("01")
        assert f"(setting studies.mine.{'mask' if 'mask' in named else 'rois.ffa'})" in str(error.value)
        # Where the header is what is wrong, a setting says so.
        one = load(study(tmp_path, **given, **named, space="grid"))
        names = np.array(one.voxel_names("01"))
        assert names[one.regions("01").get("ffa", ...)].tolist() == NAMED


def test_signals_without_a_place_have_no_masks(tmp_path):
    given = volumes_on(tmp_path, codes=(0, 0), m=(PLANTED, np.eye(4), (1, 1)))
    assert len(load(study(tmp_path, **given)).voxel_names("01")) == 12
    with pytest.raises(InputError, match=r"s\.nii\.gz: the header does not say .*[\s\S]*studies\.mine\.space to"):
        load(study(tmp_path, **given, mask=str(tmp_path / "m.nii.gz"))).voxel_names("01")


def test_headers_with_two_places_and_masks_with_many_values_are_told(tmp_path, caplog):
    given = volumes_on(tmp_path, m=(PLANTED * np.arange(1, 3, dtype=np.uint8), np.eye(4), (1, 1)))
    image = nibabel.load(tmp_path / "m.nii.gz")
    image.set_qform(image.affine @ SHIFT, 1)
    nibabel.save(image, tmp_path / "m.nii.gz")
    assert load(study(tmp_path, **given, mask=str(tmp_path / "m.nii.gz"))).voxel_names("01") == NAMED
    assert "m.nii.gz: sform and qform place the voxels differently; the sform is used" in caplog.text
    assert "m.nii.gz: not a mask of two values, values from 1 to 2; every voxel above 0 is in the mask" in caplog.text


# -------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("form", ["csv", "tsv", "spaces", "without a header"])
def test_tables_of_several_forms(tmp_path, form):
    write(tmp_path)
    separator = {"csv": ",", "tsv": "\t"}.get(form, " ")
    lines = [separator.join(pair) for pair in zip(*labels())]
    names = ["condition", "run"] if form == "without a header" else None
    text = lines if names else [separator.join(["condition", "run"]), *lines]
    (tmp_path / "rows.txt").write_text("\ufeff" + "\n".join(text) + "\n\n")
    rows = load(study(tmp_path, table=str(tmp_path / "rows.txt"), columns=names)).rows("01")
    shown, runs = labels()
    assert rows["run"].tolist() == runs
    assert rows["stimulus"].tolist() == rows["concept"].tolist() == ["" if name == "rest" else name for name in shown]
    assert rows["split"].tolist() == [
        "" if name == "rest" else "test" if run == "4" else "train" for name, run in zip(shown, runs)
    ]
    assert (rows["session"] == "n/a").all()


def test_runs_of_one_person_are_folds(tmp_path):
    write(tmp_path)
    one = load(study(tmp_path, subjects=["1", "2", "3", "4"], split={"by": "run", "test": ["{subject}"]}))
    assert one.subjects() == ("1", "2", "3", "4")
    for subject in one.subjects():
        rows = one.rows(subject)
        assert set(rows.loc[rows["split"] == "test", "run"]) == {subject}
        assert set(rows.loc[rows["split"] == "train", "run"]) == set("1234") - {subject}
    assert one.stimulus_table()["split"].tolist() == ["both", "both"]


def test_every_subject_has_files_of_its_own(tmp_path):
    for subject in ("a", "b"):
        write(tmp_path / subject)
    given = study(tmp_path, signals=str(tmp_path / "{subject}/signals.npy"), table=str(tmp_path / "{subject}/rows.csv"))
    one = load({**given, "subjects": ["b", "a"]})
    assert one.subjects() == ("a", "b")
    assert one.files("b") == [str(tmp_path / "b/signals.npy"), str(tmp_path / "b/rows.csv")]
    assert len(one.rows("b")) == len(labels()[0])


def write_sessions(folder):
    """Runs 1 and 2 in two sessions."""
    write(folder)
    shown, runs = labels()
    lines = [f"{name},{2 - int(run) % 2},{'ab'[int(run) > 2]}" for name, run in zip(shown, runs)]
    (folder / "rows.csv").write_text("\n".join(["condition,run,session", *lines]) + "\n")
    return np.array(runs)


@pytest.mark.parametrize(
    ("split", "test_runs"),
    [
        ({"by": "run", "test": ["2"]}, ["2", "4"]),
        ({"by": "run", "test": ["b/2"]}, ["4"]),
        ({"by": "run", "test": ["a/1", "b/2"], "train": ["2"]}, ["1", "4"]),
        ({"by": "session", "test": ["b"]}, ["3", "4"]),
    ],
)
def test_runs_may_be_named_with_their_session(tmp_path, split, test_runs):
    runs = write_sessions(tmp_path)
    rows = load(study(tmp_path, session="session", split=split)).rows("01")
    assert rows["session"].tolist() == ["ab"[int(run) > 2] for run in runs]
    assert set(runs[rows["split"] == "test"]) == set(test_runs)


def test_a_column_of_sessions_is_not_passed_over(tmp_path):
    write_sessions(tmp_path)
    with pytest.raises(InputError, match=r"run '1' is in 2 sessions by the column 'session' \(a, b\)"):
        load(study(tmp_path, split={"by": "run", "test": ["2"]})).rows("01")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"session": "runs"}, r"no column 'runs' \(did you mean 'run'"),
        ({"split": {"by": "session", "test": ["c"]}}, "no row with the session 'c'"),
        ({"session": None}, "split.by: session needs the setting session"),
    ],
)
def test_sessions_that_are_not_there_are_refused(tmp_path, changes, words):
    write_sessions(tmp_path)
    with pytest.raises(ValueError, match=words):
        load({**study(tmp_path, session="session", split={"by": "session", "test": ["b"]}), **changes}).rows("01")


def test_rows_on_neither_side_have_no_stimulus(tmp_path):
    write(tmp_path)
    rows = load(study(tmp_path, split={"by": "run", "test": ["4"], "train": ["1", "2"]})).rows("01")
    assert (rows.loc[rows["run"] == "3", "stimulus"] == "").all()
    assert (rows.loc[rows["run"] == "3", "split"] == "").all()


# --------------------------------------------------------------------------------------------- pictures


def picture_study(folder, split, with_split=False, **changes):
    """Pictures face-1, face-2, house-1 in a table; faces and houses of the rows are these."""
    write(folder)
    shown, runs = labels()
    names = [name if name == "rest" else f"{name}-{1 + int(run) % 2}" if name == "face" else f"{name}-1"
             for name, run in zip(shown, runs)]  # fmt: skip
    (folder / "rows.csv").write_text("\n".join(["condition,run", *map(",".join, zip(names, runs))]))
    pictures = ["face-1", "face-2", "house-1"]
    columns = ["stimulus_id", "concept", "image", "caption", *(["split"] if with_split else [])]
    sides = {name: ["train" if name < "g" else "test"] * with_split for name in pictures}
    rows = [[name, name[:-2], f"{name}.png", f"it is {name} | once more", *sides[name]] for name in pictures]
    for name in pictures:
        (folder / f"{name}.png").touch()
    (folder / "pictures.tsv").write_text("\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
    return study(folder, categories=None, stimuli=str(folder / "pictures.tsv"), split=split, **changes)


CONCEPTS = {"by": "concepts", "test": ["house"]}
BY_NAME = {"by": "column", "column": "condition", "test": ["house-1"]}


@pytest.mark.parametrize(("split", "written"), [(CONCEPTS, False), (BY_NAME, False), (BY_NAME, True)])
def test_pictures_of_a_table(tmp_path, split, written):
    one = load(picture_study(tmp_path, split, written))
    table, rows = one.stimulus_table(), one.rows("01")
    assert one.zero_shot
    assert table["split"].tolist() == ["train", "train", "test"]
    assert table["captions"].tolist()[0] == ["it is face-1", "once more"]
    assert table["prompts"].tolist() == [["a photo of a face"], ["a photo of a face"], ["a photo of a house"]]
    assert set(rows.loc[rows["split"] == "test", "stimulus"]) == {"house-1"}
    assert one.split_from_events == (split is BY_NAME and not written)
    assert one.stimulus_files() == one.label_files() == [str(tmp_path / "pictures.tsv")]


def test_a_picture_or_concept_on_both_sides_is_refused(tmp_path):
    by_run = {"by": "run", "test": ["4"]}
    with pytest.raises(InputError, match="2 concepts are on both sides of the split: face, house"):
        load(picture_study(tmp_path, by_run)).stimulus_table()
    with pytest.raises(InputError, match=r"stimuli are on the other side of the split than the column split"):
        load(picture_study(tmp_path, by_run, with_split=True)).rows("01")


# --------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stimulus": "conditions"}, r"no column 'conditions' \(did you mean 'condition'\?\), which studies.mine.stim"),
        ({"run": "runs"}, r"no column 'runs' \(did you mean 'run'\?\)"),
        ({"rest": []}, r"1 stimuli have no row in studies.mine.categories: rest[\s\S]*expected one of face, house"),
        ({"categories": {"face": ["x"], "hause": ["x"]}}, r"house \(did you mean 'hause'\?\)"),
        ({"split": {"by": "run", "test": ["04"]}}, r"no row with the run '04' \(did you mean '4'\?\)"),
        ({"split": {"by": "run", "test": ["4", "5"]}}, r"no row with the run '5'.* studies.mine.split.test names"),
        ({"split": {"by": "run", "test": ["4"], "train": ["1", "21"]}}, r"no row with the run '21'.*split.train names"),
        (
            {"split": {"by": "column", "column": "condition", "test": ["face", "rest"]}},
            r"no row with the column 'rest'.*found face, house",
        ),
        ({"split": {"by": "column", "column": "part", "test": ["x"]}}, "no column 'part'"),
        ({"split": {"by": "concepts", "test": ["hous"]}}, r"no stimulus of the concept 'hous' \(did you mean 'house'"),
        ({"columns": ["condition", "run"]}, r"condition \(did|stimuli have no row"),
        ({"columns": ["condition", "run", "x"]}, "line 1 has 2 cells, expected 3: condition, run, x"),
        ({"table": "absent.csv"}, r"absent.csv: no such table \(setting studies.mine.table\)"),
        ({"signals": "absent.npy"}, r"absent.npy: no such file of voxel signals \(setting studies.mine.signals\)"),
        ({"mask": "mask.nii"}, r"studies.mine.mask: 'mask.nii' is for NIfTI signals"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(tmp_path, changes, message):
    write(tmp_path)
    one = load(study(tmp_path, **changes))
    with pytest.raises(InputError, match=message):
        one.rows("01")


def test_a_category_without_a_prompt_is_refused_where_prompts_are_read(tmp_path):
    write(tmp_path)
    one = load(study(tmp_path, categories={"face": [], "house": ["x"]}))
    assert len(one.rows("01")) == len(labels()[0])
    with pytest.raises(InputError, match="no text prompt for face"):
        one.stimulus_table()


@pytest.mark.parametrize(("writing", "wanted"), [("Test", "test"), ("2.0", "2")])
def test_two_writings_of_a_value_of_the_split_are_refused(tmp_path, writing, wanted):
    folder = write(tmp_path)
    lines = (folder / "rows.csv").read_text().splitlines()
    parts = ["part", *(wanted if run == "4" else "train" for run in labels()[1])]
    parts[-1] = writing
    (folder / "rows.csv").write_text("\n".join(map(",".join, zip(lines, parts))))
    split = {"by": "column", "column": "part", "test": [wanted]}
    with pytest.raises(
        InputError, match=rf"{writing}' \(1 times\) is only another spelling of '{wanted}', which studies"
    ):
        load(study(folder, split=split)).rows("01")


def test_another_number_of_rows_is_refused(tmp_path):
    write(tmp_path, signals()[:-3])
    count = len(labels()[0])
    with pytest.raises(InputError, match=rf"{count} rows \(setting studies.mine.table\), but .* has {count - 3}"):
        load(study(tmp_path)).rows("01")


def test_rows_that_name_nothing_are_refused(tmp_path):
    folder = write(tmp_path)
    table = (folder / "rows.csv").read_text().splitlines()
    for line, words in ((",1", "their stimulus"), ("face,n/a", "their run")):
        table[6] = line
        (folder / "rows.csv").write_text("\n".join(table))
        with pytest.raises(InputError, match=rf"1 rows do not name {words} .* first in row 6"):
            load(study(folder)).rows("01")


def test_two_columns_of_one_name_are_refused(tmp_path):
    folder = write(tmp_path)
    text = (folder / "rows.csv").read_text().replace("\n", ",1\n").replace("run,1", "run, run", 1)
    (folder / "rows.csv").write_text(text)
    with pytest.raises(InputError, match=r"two columns of the same name: run \(setting studies\.mine\.table\)"):
        load(study(folder)).rows("01")


def wrong_nifti(folder, shape, name="s.nii"):
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), folder / name)
    return str(folder / name)


def test_files_of_another_layout_are_refused(tmp_path):
    write(tmp_path)
    rows = len(labels()[0])
    text = tmp_path / "s.txt"
    text.write_text("1 2 3")
    good = wrong_nifti(tmp_path, (3, 2, 2, rows), "good.nii")
    np.save(tmp_path / "flat.npy", np.ones(rows))
    np.savez(tmp_path / "other.npz", values=np.ones((rows, 2)))
    np.savez(tmp_path / "short.npz", data=np.ones((rows, 2)), V1=np.ones(3, bool))
    (tmp_path / "broken.h5").write_text("x")
    (tmp_path / "broken.nii").write_text("x")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.ones((rows, 2))
    complex_image = nibabel.Nifti1Image(np.ones((3, 2, 2, rows), np.complex64), np.eye(4))
    nibabel.save(complex_image, tmp_path / "complex.nii")
    axes = nibabel.cifti2.SeriesAxis(0, 1, rows), nibabel.cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2), bool))
    nibabel.save(nibabel.cifti2.Cifti2Image(np.ones((rows, 8), np.float32), axes), tmp_path / "x.dtseries.nii")
    cases = [
        ({"signals": str(text)}, "signals of an unknown kind"),
        ({"signals": str(tmp_path / "complex.nii")}, "Nifti1Image of complex64; expected volumes of numbers"),
        ({"signals": str(tmp_path / "x.dtseries.nii")}, "Cifti2Image of float32; expected volumes of numbers"),
        ({"signals": good, "rois": {"V1": str(text)}}, r"s\.txt: expected NIfTI with the ending .*mine\.rois\.V1"),
        ({"signals": wrong_nifti(tmp_path, (3, 2, rows))}, r"3 dimensions .* expected 4"),
        ({"signals": good, "mask": wrong_nifti(tmp_path, (3, 2, 1), "m.nii")}, r"a mask of \(3, 2, 1\) voxels"),
        (
            {"signals": good, "mask": "absent.nii"},
            r"absent.nii: no such file; expected NIfTI \(setting studies.mine.mask",
        ),
        ({"signals": str(tmp_path / "broken.nii")}, "not readable as NIfTI"),
        ({"signals": str(tmp_path / "flat.npy")}, r"data is float64 \(\d+,\), expected numbers \[rows, voxels\]"),
        ({"signals": str(tmp_path / "other.npz")}, r"no 'data' \(setting studies.mine.signals\); found values"),
        ({"signals": str(tmp_path / "other.h5")}, r"no 'data' \(setting studies.mine.signals\); found values"),
        ({"signals": str(tmp_path / "broken.h5")}, "not a complete HDF5 file"),
        ({"signals": str(tmp_path / "short.npz"), "rois": {"V1": "V1"}}, r"V1 is bool \(3,\) .* a mask of 2 voxels"),
        ({"signals": str(tmp_path / "short.npz"), "rois": {"V1": "v1"}}, r"no 'v1' \(did you mean 'V1'\?\)"),
        ({"rois": {"V1": "v1"}}, r"studies.mine.rois.V1: 'v1', but .* has no masks"),
    ]
    for changes, message in cases:
        with pytest.raises(InputError, match=message):
            load(study(tmp_path, **changes)).regions("01")


def test_the_stage_of_a_subject_need_not_know_the_others(tmp_path):
    write(tmp_path)
    given = study(tmp_path)
    del given["subjects"]
    assert len(load(given).rows("01")) == RUNS * 30
    assert isinstance(load(given), voxel_table.Study)
