"""Stage ``voxels`` against plain numpy, scipy and the known answer of real data; what it refuses."""

import h5py
import numpy as np
import pandas as pd
import pytest
import voxel_tables
from pydantic import ValidationError
from scipy import signal, stats
from voxel_tables import N_VOXELS, ROWS, RUNS, job, labels, signals, study, write

from brain2clip import artefact
from brain2clip.responses import voxels
from brain2clip.settings import Roi, Study, Voxels, parse
from brain2clip.stage import InputError
from brain2clip.studies import voxel_table
from brain2clip.training.data import Normalisation

SHOWN, RUN_OF = (np.array(column) for column in labels())
#: Rows with a stimulus, and which of them are of the test.
ROWS_SHOWN = np.flatnonzero(SHOWN != "rest")
IS_TEST = RUN_OF[ROWS_SHOWN] == "4"


def read(path) -> dict:
    with artefact.open_h5(path, {"stage": "voxels", "code": "code"}) as file:
        found: dict = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return {**found, "attributes": dict(file.attrs)}


@pytest.fixture
def make(tmp_path):
    """Run the stage on signals; returns what it wrote."""
    runs = iter(range(100))

    def run(values=None, steps=None, roi=None, **changes):
        number = next(runs)
        folder = write(tmp_path / f"data-{number}", values)
        output = tmp_path / f"out-{number}.h5"
        voxels.run(job(output, study(folder, **changes), steps, roi))
        return read(output)

    return run


# ------------------------------------------------------------------------------------------------- steps


def test_signals_as_they_are(make):
    found = make(steps={"normalise": "none"})
    np.testing.assert_array_equal(found["response"], signals()[ROWS_SHOWN].astype(np.float32))
    assert found["response"].dtype == np.float32
    np.testing.assert_array_equal(found["stimulus"], (SHOWN[ROWS_SHOWN] == "house").astype(int))
    np.testing.assert_array_equal(found["split"], IS_TEST)
    assert [name.decode() for name in found["run"]] == list(RUN_OF[ROWS_SHOWN])
    assert [name.decode() for name in found["stimulus_id"]] == ["face", "house"]
    assert [name.decode() for name in found["voxel"]] == [str(number) for number in range(N_VOXELS)]
    assert found["attributes"]["kind"] == "voxels"
    assert not {"channel", "times", "position", "onset"} & set(found)


def test_training_statistics_are_those_of_numpy(make):
    found = make(steps={"normalise": "training"})
    values = signals().astype(np.float32).astype(float)[ROWS_SHOWN]
    mean, deviation = values[~IS_TEST].mean(axis=0), values[~IS_TEST].std(axis=0, ddof=1)
    np.testing.assert_allclose(found["response"], (values - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(found["normalisation/training/mean"], mean)
    np.testing.assert_allclose(found["normalisation/training/deviation"], deviation)
    assert found["attributes"]["unit"] == "standard deviation"


def test_runs_are_detrended_and_normalised_over_all_their_rows_as_scipy_does(make):
    found = make(steps={"detrend": "linear", "normalise": "run"})
    values = signals().astype(np.float32).astype(float).reshape(RUNS, ROWS, N_VOXELS)
    expected = stats.zscore(signal.detrend(values, axis=1), axis=1, ddof=1).reshape(-1, N_VOXELS)[ROWS_SHOWN]
    np.testing.assert_allclose(found["response"], expected, atol=1e-5)
    assert {name for name in found if name.endswith("mean")} == {f"normalisation/run/{run}/mean" for run in "1234"}


@pytest.mark.parametrize("name", ["training", "session"])
def test_a_run_may_have_the_name_of_a_group_of_statistics(tmp_path, name):
    """Statistics of a run of that name were taken for those of all training trials."""
    folder = write(tmp_path / "data")
    (folder / "rows.csv").write_text((folder / "rows.csv").read_text().replace(",1\n", f",{name}\n"))
    voxels.run(job(tmp_path / "out.h5", study(folder), {"normalise": "run"}))
    with artefact.open_h5(tmp_path / "out.h5", {"stage": "voxels", "code": "code"}) as file:
        assert Normalisation.read(file) is None
        assert sorted(file["normalisation/run"]) == sorted(["2", "3", "4", name])


def test_detrending_takes_any_line_away(make):
    plain = make(steps={"detrend": "linear", "normalise": "none"})
    time = np.tile(np.arange(ROWS), RUNS)[:, None]
    lines = signals() + np.repeat(np.arange(RUNS) * 20 - 30, ROWS)[:, None] + 5.0 * time
    tilted = make(lines, steps={"detrend": "linear", "normalise": "none"})
    np.testing.assert_allclose(tilted["response"], plain["response"], atol=1e-3)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "nsd", "accept_terms": True, "root": "x"},
        {"kind": "bold5000", "root": "x"},
        {"kind": "things_fmri", "root": "x"},
        {"kind": "god"},
        {"kind": "simulated_fmri"},
    ],
)
def test_rows_that_are_responses_to_their_own_stimuli_have_no_delay(given):
    """With a delay every trial would have the response to a later one."""
    assert parse(Study, {**given, "voxels": {"delay": 0}}).voxels.delay == 0
    with pytest.raises(ValidationError, match=rf"voxels\.delay: found 2; each row of kind {given['kind']} is the resp"):
        parse(Study, {**given, "voxels": {"delay": 2}})


@pytest.fixture
def sessions(tmp_path):
    """The same signals, their four runs numbered anew in two sessions; runs the stage."""
    folder = write(tmp_path / "sessions")
    lines = [f"{name},{2 - int(run) % 2},{'ab'[int(run) > 2]}" for name, run in zip(SHOWN, RUN_OF)]

    def run(steps, header="condition,run,session", order=None, **changes):
        order = np.arange(len(lines)) if order is None else order
        np.save(folder / "signals.npy", signals()[order])
        (folder / "rows.csv").write_text("\n".join([header, *(lines[row] for row in order)]) + "\n")
        given = study(folder, split={"by": "run", "test": ["b/2"]}, session="session")
        voxels.run(job(tmp_path / "out.h5", {**given, **changes}, steps))
        return read(tmp_path / "out.h5")

    return run


@pytest.mark.parametrize(
    "steps",
    [{"detrend": "linear"}, {"normalise": "run"}, {"detrend": "linear", "normalise": "run", "average": "block"},
     {"delay": 2, "average": "block"}],
)  # fmt: skip
def test_runs_of_one_number_in_two_sessions_are_two(make, sessions, steps):
    found, unique = sessions(steps), make(steps=steps)
    for name in ("response", "stimulus", "split"):
        np.testing.assert_array_equal(found[name], unique[name], err_msg=name)
    if steps.get("normalise") == "run":
        place = {"1": "a/1", "2": "a/2", "3": "b/1", "4": "b/2"}
        for run, path in place.items():
            np.testing.assert_array_equal(
                found[f"normalisation/run/{path}/mean"], unique[f"normalisation/run/{run}/mean"]
            )
    # Without the sessions nothing tells them apart but their place in the file.
    split = {"by": "run", "test": ["2"]}
    with pytest.raises(InputError, match=r"run 1 is in several pieces \(up to row 30, again from row 61\)"):
        sessions(steps, header="condition,run,part", session=None, split=split)


def test_sessions_are_normalised_by_their_own_training_responses(make, sessions):
    """Whatever the rows of the test are: the second session has a run of either side."""
    found = sessions({"normalise": "session"})
    values = signals().astype(np.float32).astype(float)[ROWS_SHOWN]
    for session, runs in (("a", "12"), ("b", "34")):
        own = np.isin(RUN_OF[ROWS_SHOWN], list(runs))
        fitted = values[own & ~IS_TEST]
        mean, deviation = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
        np.testing.assert_allclose(found["response"][own], (values[own] - mean) / deviation, atol=1e-5)
        np.testing.assert_allclose(found[f"normalisation/session/{session}/mean"], mean)
        np.testing.assert_allclose(found[f"normalisation/session/{session}/deviation"], deviation)
    assert found["attributes"]["unit"] == "standard deviation"
    with pytest.raises(InputError, match=r"session b: 0 training responses of 40; voxels.normalise: session needs"):
        sessions({"normalise": "session"}, split={"by": "session", "test": ["b"]})
    with pytest.raises(InputError, match="session n/a: 60 training responses"):
        make(steps={"normalise": "session"})


def test_rows_of_a_known_run_need_no_order_for_its_deviation(sessions):
    order = np.random.default_rng(3).permutation(len(RUN_OF))
    found, mixed = (sessions({"normalise": "run"}, order=one) for one in (None, order))
    place = np.argsort(order[SHOWN[order] != "rest"])
    np.testing.assert_allclose(mixed["response"][place], found["response"], atol=1e-6)
    with pytest.raises(InputError, match=r"run .* in several pieces .* and voxels\.detrend: linear would treat them"):
        sessions({"normalise": "run", "detrend": "linear"}, order=order)


def test_labels_that_differ_by_a_slash_alone_are_refused():
    rows = pd.DataFrame({"session": ["n/a"] * 2, "run": ["1/2", "1-2"], "stimulus": "x", "split": "train"})
    with pytest.raises(InputError, match=r"without the slashes, its name \(1-2\)"):
        voxels.plan_responses(rows, Voxels())


@pytest.mark.parametrize("delay", [0, 1, 2, 40])
def test_a_row_is_answered_some_rows_later_in_the_same_run(make, delay, caplog):
    steps = {"normalise": "none", "delay": delay}
    if delay >= ROWS:
        with pytest.raises(InputError, match=r"no train trial with the delay voxels\.delay"):
            make(steps=steps)
        return
    found = make(steps=steps)
    answered = [row for row in ROWS_SHOWN if row % ROWS + delay < ROWS]
    np.testing.assert_array_equal(found["response"], signals().astype(np.float32)[[row + delay for row in answered]])
    np.testing.assert_array_equal(found["stimulus"], (SHOWN[answered] == "house").astype(int))
    assert len(answered) == len(ROWS_SHOWN) - RUNS * delay
    assert (f"{RUNS * delay} rows with a stimulus left out" in caplog.text) == (delay > 0)


def test_blocks_become_their_means(make):
    found = make(steps={"normalise": "none", "average": "block"})
    values = signals().astype(np.float32).astype(float)
    begins = [run * ROWS + begin for run in range(RUNS) for begin in (5, 12, 20, 25)]
    np.testing.assert_allclose(
        found["response"], [values[begin : begin + 5].mean(axis=0) for begin in begins], rtol=1e-6
    )
    assert found["stimulus"].tolist() == [0, 1, 0, 1] * RUNS
    # Statistics are of the means, for they are the responses.
    normalised = make(steps={"average": "block"})
    training = np.array([values[begin : begin + 5].mean(axis=0) for begin in begins[:12]])
    np.testing.assert_allclose(normalised["normalisation/training/deviation"], training.std(axis=0, ddof=1))


def test_a_block_does_not_go_on_in_the_next_run(make):
    things = {name: ["a thing"] for name in ("face", "house", "rest")}
    found = make(steps={"normalise": "none", "average": "block"}, rest=[], categories=things)
    assert [name.decode() for name in found["run"]] == [str(run) for run in range(1, RUNS + 1) for _ in range(7)]


@pytest.mark.parametrize("size", [1, 8 * ROWS * RUNS * 3, 2**28])
def test_parts_of_any_size_give_the_same(make, monkeypatch, size):
    steps = {"detrend": "linear", "average": "block", "delay": 1}
    whole = make(steps=steps)
    monkeypatch.setattr(voxels, "PART_BYTES", size)
    parts = make(steps=steps)
    for name, values in whole.items():
        if name != "attributes":
            equal = np.testing.assert_allclose if values.dtype.kind == "f" else np.testing.assert_array_equal
            equal(parts[name], values, err_msg=name)


# ------------------------------------------------------------------------- nothing of the test is looked at


@pytest.mark.parametrize("average", ["none", "block"])
@pytest.mark.parametrize("detrend", ["none", "linear"])
@pytest.mark.parametrize("normalise", ["training", "run", "none"])
@pytest.mark.parametrize("change", [lambda test: test + 1e4, lambda test: test * 1e6, lambda test: test * 0])
def test_nothing_but_test_responses_moves_when_test_rows_do(make, normalise, detrend, average, change):
    steps = {"normalise": normalise, "detrend": detrend, "average": average}
    moved = signals()
    moved[RUN_OF == "4"] = change(moved[RUN_OF == "4"])
    before, after = make(steps=steps), make(moved, steps=steps)
    training = before["split"] == 0
    np.testing.assert_array_equal(after["response"][training], before["response"][training])
    for name in before:
        if name.startswith("normalisation/") and not name.startswith("normalisation/run/4/"):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    if normalise == "training" and detrend == "none":
        assert not np.allclose(after["response"][~training], before["response"][~training])


def test_statistics_of_the_test_are_those_of_training_not_its_own(make):
    moved = signals()
    moved[RUN_OF == "4"] += 100
    before, after = make(), make(moved)
    deviation = before["normalisation/training/deviation"]
    test = before["split"] == 1
    np.testing.assert_allclose(
        after["response"][test] - before["response"][test], np.tile(100 / deviation, (test.sum(), 1)), rtol=1e-3
    )


# ------------------------------------------------------------------------------------ constant and bad voxels


@pytest.mark.parametrize("steps", [{"normalise": "training"}, {"detrend": "linear"}, {"normalise": "run"},
                                   {"detrend": "linear", "normalise": "run", "average": "block"}])  # fmt: skip
def test_constant_voxels_are_kept_as_zeros_and_counted(make, steps, caplog):
    values = signals()
    values[:, 2] = 1234.567
    found = make(values, steps=steps)
    np.testing.assert_allclose(found["response"][:, 2], 0, atol=1e-9)
    assert np.isfinite(found["response"]).all()
    others = np.delete(found["response"], 2, axis=1)
    assert others.std(axis=0).min() > 0.1
    groups = ["training"] if steps.get("normalise", "training") == "training" else [f"run/{run}" for run in "1234"]
    for group in groups:
        assert found[f"normalisation/{group}/deviation"][2] == 1
        assert f"1 of {N_VOXELS} voxels are constant in {group}" in caplog.text
    assert found["attributes"]["constant"] == str(dict.fromkeys(groups, 1)).replace("'", '"')


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 2**28])
def test_voxels_that_hold_no_numbers_are_counted_and_the_first_is_named(make, monkeypatch, value, size, tmp_path):
    monkeypatch.setattr(voxels, "PART_BYTES", size)
    values = signals()
    values[7:9, 3] = value
    values[2, 6] = value
    with pytest.raises(InputError, match="2 voxels have NaN or infinite signals, the first is 3 in row 8"):
        make(values)
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize("size", [1, 2**28])
def test_voxels_that_hold_no_numbers_are_left_out_where_the_setting_says_so(make, monkeypatch, size, caplog):
    monkeypatch.setattr(voxels, "PART_BYTES", size)
    values = signals()
    values[7, 3], values[2, 6] = np.nan, np.inf
    found, clean = make(values, steps={"not_finite": "drop"}), make()
    kept = [0, 1, 2, 4, 5, 7]
    assert [name.decode() for name in found["voxel"]] == [str(voxel) for voxel in kept]
    np.testing.assert_array_equal(found["response"], clean["response"][:, kept])
    assert found["attributes"]["not_finite"] == 2
    assert f"2 of {N_VOXELS} voxels left out, because of NaN or infinite signals" in caplog.text
    with pytest.raises(InputError, match=rf"all {N_VOXELS} voxels have NaN or infinite signals"):
        make(np.full_like(values, np.nan), steps={"not_finite": "drop"})


def test_a_bad_voxel_outside_the_region_does_no_harm(tmp_path):
    values = signals()
    values[0, 0] = np.nan
    folder = write(tmp_path / "data")
    mask = np.arange(N_VOXELS) == 0
    np.savez(folder / "signals.npz", data=values, bad=mask)
    given = study(folder, signals=str(folder / "signals.npz"), rois={"broken": "bad"})
    voxels.run(job(tmp_path / "out.h5", given, roi={"exclude": ["broken"]}))
    assert read(tmp_path / "out.h5")["response"].shape == (len(ROWS_SHOWN), N_VOXELS - 1)


def test_precision(make):
    exact, short = make(), make(steps={"dtype": "float16"})
    assert short["response"].dtype == np.float16
    np.testing.assert_allclose(short["response"], exact["response"], rtol=2**-11, atol=1e-4)
    values = signals()
    values[RUN_OF == "4"] *= 1e5
    with pytest.raises(InputError, match=r"which float16 cannot hold; use voxels.dtype float32"):
        make(values, steps={"dtype": "float16"})


# ---------------------------------------------------------------------------------------------- regions


MASKS = {"V1": np.array([1, 1, 0, 0, 0], bool), "V2": np.array([0, 1, 1, 0, 0], bool), "empty": np.zeros(5, bool)}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), [0, 1, 2, 3, 4]),
        (("V1",), (), [0, 1]),
        (("V1", "V2"), (), [0, 1, 2]),
        (("V1",), ("V2",), [0]),
        ((), ("V1",), [2, 3, 4]),
    ],
)
def test_voxels_of_a_region(include, exclude, expected):
    found = voxels.voxels_of(Roi(include=include, exclude=exclude), MASKS, 5, "here")
    assert found.tolist() == expected


def test_regions_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"no region 'v1' \(did you mean 'V1'\?\)[\s\S]*found: V1, V2, empty"):
        voxels.voxels_of(Roi(include=("v1",)), MASKS, 5, "here")
    with pytest.raises(InputError, match=r"no region 'FFA', which rois.\*.exclude names"):
        voxels.voxels_of(Roi(exclude=("FFA",)), MASKS, 5, "here")
    with pytest.raises(InputError, match=r"no voxel in rois with include \['empty'\][\s\S]*V1: 2"):
        voxels.voxels_of(Roi(include=("empty",)), MASKS, 5, "here")
    with pytest.raises(InputError, match="no voxel"):
        voxels.voxels_of(Roi(include=("V1",), exclude=("V1",)), MASKS, 5, "here")


def test_regions_without_a_voxel_are_not_passed_over(caplog):
    with pytest.raises(InputError, match=r"no voxel in the region 'empty', which is one of several in rois.\*.include"):
        voxels.voxels_of(Roi(include=("V1", "empty")), MASKS, 5, "here")
    found = voxels.voxels_of(Roi(include=("V1",), exclude=("empty",)), MASKS, 5, "here")
    assert found.tolist() == [0, 1]
    assert "rois.*.exclude names empty, which contains no voxel" in caplog.text


def test_masks_of_all_regions_with_a_voxel_here_are_kept(tmp_path):
    folder = write(tmp_path / "data")
    masks = {"V1": [0, 1], "V2": [1, 2], "left/V3": [1, 7], "V4": [5]}
    arrays = {name.replace("/", "_"): np.isin(np.arange(N_VOXELS), own) for name, own in masks.items()}
    np.savez(folder / "signals.npz", data=signals(), **arrays)
    rois = {name: name.replace("/", "_") for name in masks}
    given = study(folder, signals=str(folder / "signals.npz"), rois=rois)
    voxels.run(job(tmp_path / "out.h5", given, roi={"include": ["V1", "left/V3"]}))
    found = read(tmp_path / "out.h5")
    assert [name.decode() for name in found["voxel"]] == ["0", "1", "7"]
    assert {name: mask.tolist() for name, mask in found.items() if name.startswith("region/")} == {
        "region/V1": [True, True, False],
        "region/V2": [False, True, False],
        "region/left-V3": [False, True, True],
    }


# ---------------------------------------------------------------------------------------------- refusals


def test_a_side_without_a_trial_is_refused(make):
    with pytest.raises(InputError, match=r"no train trial in all recordings[\s\S]*studies.mine.split"):
        make(split={"by": "run", "test": ["1", "2", "3", "4"]})


@pytest.mark.parametrize("extra", [["cat"], ["cat", "dog"]])
def test_a_category_that_is_never_shown_is_no_candidate(make, extra):
    things = {name: [f"a {name}"] for name in ("face", "house", *extra)}
    with pytest.raises(InputError, match=rf"no trial shows {', '.join(map(repr, extra))} of studies.mine.categories"):
        make(categories=things)


@pytest.mark.parametrize("steps", [{}, {"detrend": "linear", "normalise": "run"}])
def test_two_runs_with_the_same_samples_are_refused(make, steps, caplog):
    values = signals()
    values[RUN_OF == "4"] = values[RUN_OF == "2"]
    with pytest.raises(InputError, match=r"sub-01, run 2 and sub-01, run 4 hold the same samples \(100%"):
        make(values, steps=steps)
    assert "recording/sketch" in make(values, steps=steps, equal_recordings="allow")
    assert "used nevertheless" in caplog.text


@pytest.mark.parametrize("meant", ["refuse", "allow"])
def test_subjects_with_the_same_samples_do_not_meet_in_one_model(tmp_path, meant):
    from brain2clip.training.data import load_each

    folder = write(tmp_path / "data")
    files = [tmp_path / f"{subject}.h5" for subject in ("01", "02")]
    for path in files:
        voxels.run(job(path, study(folder, equal_recordings=meant), subject=path.stem))
    if meant == "allow":
        assert len(load_each(files, "train", None)) == 2
        return
    with pytest.raises(InputError, match=r"sub-01, run \d and sub-02, run \d hold the same samples \(100%"):
        load_each(files, "train", None)


@pytest.mark.parametrize("size", [1, 8 * ROWS * RUNS * 3])
def test_sketches_of_runs_do_not_depend_on_parts(make, monkeypatch, size):
    whole = make()
    assert [name.decode() for name in whole["recording/name"]] == [f"sub-01, run {run}" for run in "1234"]
    monkeypatch.setattr(voxels, "PART_BYTES", size)
    np.testing.assert_array_equal(make()["recording/sketch"], whole["recording/sketch"])


def test_other_counts_than_the_study_expects_are_refused(make, monkeypatch):
    monkeypatch.setattr(voxel_table.Study, "expected_counts", lambda self, subject: {"train": 60, "test": 21})
    with pytest.raises(InputError, match=r"found 60 training and 20 test trials, expected 60 and 21; the file of sig"):
        make()


def test_a_stimulus_on_both_sides_of_the_split_is_refused(make, monkeypatch):
    own = voxel_table.Study.__init__

    def one_side(self, *given, **named):
        own(self, *given, **named)
        self.both_sides = False

    monkeypatch.setattr(voxel_table.Study, "__init__", one_side)
    with pytest.raises(InputError, match=r"2 stimuli are on both sides of the split, e\.g\. face, house"):
        make()


def test_a_concept_on_both_sides_of_a_zero_shot_study_is_refused(make, monkeypatch):
    own = voxel_table.Study.__init__

    def zero_shot(self, *given, **named):
        own(self, *given, **named)
        self.zero_shot = True

    monkeypatch.setattr(voxel_table.Study, "__init__", zero_shot)
    with pytest.raises(InputError, match=r"2 concepts are on both sides of the split, e\.g\. face, house"):
        make()


def test_runs_of_one_row_have_no_deviation(tmp_path):
    folder = write(tmp_path / "data")
    lines = (folder / "rows.csv").read_text().splitlines()
    alone = [f"{line},{number}" for number, line in enumerate(lines[1:])]
    (folder / "rows.csv").write_text("\n".join([f"{lines[0]},alone", *alone]) + "\n")
    given = study(folder, run="alone", split={"by": "column", "column": "run", "test": ["4"]})
    with pytest.raises(InputError, match=r"run 0: found one row, which has no standard deviation"):
        voxels.run(job(tmp_path / "out.h5", given, {"normalise": "run"}))


@pytest.mark.parametrize("steps", [{"detrend": "linear"}, {"normalise": "run"}])
def test_runs_with_training_and_test_trials_have_no_statistics_of_their_own(make, steps):
    mixed = {"by": "column", "column": "condition", "test": ["house"]}
    things = {"face": ["a face"], "house": ["a house"]}
    with pytest.raises(InputError, match=r"4 runs hold training and test trials, the first is 1; voxels\.detrend"):
        make(steps=steps, split=mixed, categories=things)
    assert make(split=mixed, categories=things)["response"].shape == (len(ROWS_SHOWN), N_VOXELS)


# ---------------------------------------------------------------------------------------------- real data


def test_haxby_gives_the_known_answer(shared_data, tmp_path):
    """82 of 96 under leave-one-run-out; known from the data's own README, not from this pipeline."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = shared_data("haxby")
    names = ("face", "house", "shoe", "cat", "scissors", "scrambledpix", "bottle", "chair")
    given = voxel_tables.study(
        folder,
        signals=str(folder / "bold.nii.gz"),
        mask=str(folder / "mask.nii.gz"),
        table=str(folder / "attributes_literal.txt"),
        columns=["condition", "run"],
        split={"by": "run", "test": ["{subject}"]},
        categories={name: [f"a photo of a {name}"] for name in names},
    )
    steps = {"detrend": "linear", "normalise": "run", "average": "block"}
    voxels.run(job(tmp_path / "out.h5", given, steps, subject="3"))
    found = read(tmp_path / "out.h5")
    assert found["response"].shape == (96, 530)
    assert {name.decode() for name in found["run"][found["split"] == 1]} == {"3"}
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=100))
    fold = cross_val_predict(model, found["response"], found["stimulus"], groups=found["run"], cv=LeaveOneGroupOut())
    assert (fold == found["stimulus"]).sum() == 82
