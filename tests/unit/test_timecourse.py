"""Accuracy over time: windows, what is fitted, and when what was planted is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brain2clip import artefact, stage
from brain2clip.reporting import reading
from brain2clip.reporting.figure_kinds import generalisation
from brain2clip.reporting.figure_kinds import timecourse as shown_by_time
from brain2clip.retrieval import timecourse

N_TRAINING, N_TEST, WIDTH, CHANNELS, RATE = 60, 12, 4, 6, 50.0
IDS = [f"stimulus-{number:03d}" for number in range(N_TRAINING + N_TEST)]
RUN = {"study": "s", "signal": "b", "protocol": "windows", "method": "ridge", "subject": "01", "seed": 0}


def write(folder: Path, classes: bool = False, spoil: bool = False) -> dict[str, list[Path]]:
    """Responses that know the embedding from 0.2 s to 0.3 s on, each stimulus three times (classes: 25 trials each)."""
    rng = np.random.default_rng(5)
    embedding = rng.standard_normal((len(IDS), WIDTH)).astype(np.float32)
    ids = ["face", "house", "tool"] if classes else IDS
    split = ["both"] * 3 if classes else ["train"] * N_TRAINING + ["test"] * N_TEST
    stimulus = np.tile(np.arange(len(ids)), 25 if classes else 3)
    side = np.arange(len(stimulus)) % 5 == 0 if classes else stimulus >= N_TRAINING
    if classes:
        side[np.flatnonzero(side & (stimulus == 2))[:2]] = False
    times = np.arange(-0.1, 0.5, 1 / RATE)
    pattern = rng.standard_normal((WIDTH, CHANNELS))
    response = 0.3 * rng.standard_normal((len(stimulus), CHANNELS, len(times)))
    response[..., (times > 0.199) & (times < 0.299)] += (embedding[stimulus] @ pattern)[..., None]
    if spoil:  # one test stimulus only
        response[stimulus == N_TRAINING] = 1e3
    order = rng.permutation(len(ids))  # rows of the stimuli are found by id
    with artefact.create_h5(folder / "responses.h5", artefact.Provenance("epochs", {}, "code")) as file:
        file["response"], file["stimulus"] = response.astype(np.float32), stimulus.astype(np.int32)
        file["split"], file["times"], file["stimulus_id"] = side.astype(np.uint8), times, ids
        file.attrs["sfreq"] = RATE
    with artefact.create_h5(folder / "stimuli.h5", artefact.Provenance("features", {}, "code")) as file:
        for name, values in (("stimulus_id", ids), ("split", split), ("concept", ids)):
            file[name] = [values[row] for row in order]
        file["embedding"] = embedding[order]
    return {"responses": [folder / "responses.h5"], "stimuli": [folder / "stimuli.h5"]}


def ran(folder: Path, inputs: dict[str, list[Path]], window: float = 0.06) -> pd.DataFrame:
    job = stage.Job("timecourse", {"run": RUN, "window": window}, "code", {}, inputs, {"rows": folder / "rows.parquet"})
    timecourse.run(job)
    return artefact.read_table(folder / "rows.parquet")


def test_windows_overlap_by_half_and_stay_inside() -> None:
    assert timecourse.windows(10, 4.2) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    assert timecourse.windows(5, 0.3) == [(n, n + 1) for n in range(5)]
    assert timecourse.windows(3, 8) == [(0, 3)]


def test_a_model_of_one_window_is_tested_in_all_of_them(tmp_path: Path) -> None:
    """The planted pattern is the same from 0.2 s to 0.3 s: what is fitted there is found in all of it."""
    inputs = write(tmp_path)
    plain = ran(tmp_path, inputs)
    given = {"run": RUN, "window": 0.06, "generalisation": True}
    timecourse.run(stage.Job("timecourse", given, "code", {}, inputs, {"rows": tmp_path / "all.parquet"}))
    rows = artefact.read_table(tmp_path / "all.parquet")
    diagonal = rows[rows["start"] == rows["test_start"]].drop(columns="test_start").reset_index(drop=True)
    pd.testing.assert_frame_equal(diagonal, plain)
    exact = generalisation.by_windows(rows)
    shown = generalisation.figure_generalisation(exact, rows).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, 100 * exact.to_numpy())
    by_time = shown_by_time.by_window(plain, {"bootstrap": 100, "level": 0.95, "seed": 0})
    np.testing.assert_allclose(np.diag(exact), by_time["value"])
    found = exact.rename(index=lambda start: round(start, 2), columns=lambda start: round(start, 2))
    assert found.loc[[0.2, 0.22], [0.2, 0.22]].min(axis=None) > 0.9
    assert found.loc[[0.2, 0.22], [-0.1, 0.02, 0.32, 0.42]].max(axis=None) < 0.4


def test_what_was_planted_is_found_when_it_is_there(tmp_path: Path) -> None:
    rows = ran(tmp_path, write(tmp_path))
    found = (rows["rank"] == 1).groupby(rows["start"].round(2)).mean()
    assert len(rows) == N_TEST * len(found)
    assert set(rows["n_candidates"]) == {N_TEST}
    assert found[0.22] > 0.9
    assert found[[-0.1, 0.02, 0.32, 0.42]].max() < 0.4
    assert (rows["end"] - rows["start"]).unique() == pytest.approx(0.06)
    assert set(rows["target"]) == set(IDS[N_TRAINING:])


def test_no_test_trial_moves_what_is_said_of_another(tmp_path: Path) -> None:
    """Neither scales, nor means, nor the penalty."""
    whole = []
    for spoil in (False, True):
        folder = tmp_path / str(spoil)
        folder.mkdir()
        whole.append(ran(folder, write(folder, spoil=spoil)))
    clean, spoiled = (one[one["target"] != IDS[N_TRAINING]].reset_index(drop=True) for one in whole)
    pd.testing.assert_frame_equal(clean, spoiled)
    assert not whole[0].equals(whole[1])


def test_trials_of_what_a_debug_version_leaves_out_are_not_used(tmp_path: Path) -> None:
    import h5py

    from brain2clip import sealing

    inputs = write(tmp_path)
    whole = ran(tmp_path, inputs)
    with h5py.File(inputs["stimuli"][0], "r+") as file:
        kept = [row for row, name in enumerate(file["stimulus_id"].asstr()[:]) if name not in (IDS[0], IDS[-1])]
        parts = {name: file[name][:][kept] for name in ("stimulus_id", "split", "concept", "embedding")}
        for name, values in parts.items():
            del file[name]
            file[name] = values
    sealing.seal_h5(inputs["stimuli"][0])
    with pytest.raises(stage.InputError, match="has no stimulus stimulus-000"):
        ran(tmp_path, inputs)
    with h5py.File(inputs["stimuli"][0], "r+") as file:
        file.attrs["part"] = True
    sealing.seal_h5(inputs["stimuli"][0])
    rows = ran(tmp_path, inputs)
    assert set(whole["target"]) - set(rows["target"]) == {IDS[-1]}
    assert set(rows["n_candidates"]) == {N_TEST - 1}


def test_classes_are_asked_trial_by_trial(tmp_path: Path) -> None:
    rows = ran(tmp_path, write(tmp_path, classes=True))
    assert set(rows["repetitions"]) == {"1"}
    assert rows["classes"].all()
    assert rows.groupby("target").size().nunique() == 2, "unequally many trials"
    found = (rows["rank"] == 1).groupby(rows["start"].round(2)).mean()
    assert found[0.22] > 0.9


def test_a_small_class_weighs_as_much_as_a_large_one() -> None:
    """With equal weights the mean lies in the middle of the classes, and a large class wins nothing by its size."""
    rng = np.random.default_rng(0)
    labels = np.array(["a"] * 90 + ["b"] * 10, dtype=object)
    y = np.where(labels[:, None] == "a", [1.0, 0.0], [0.0, 1.0])
    x = np.where(labels == "a", -1.0, 1.0)[:, None] + 0.1 * rng.standard_normal((100, 1))
    predicted, centre = timecourse.predictions(x, y, np.array([[0.0]]), labels)
    assert centre == pytest.approx([0.5, 0.5])
    assert predicted[0] == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_subject_with_trials_of_one_side_has_no_rows_or_is_refused(tmp_path: Path, side: str) -> None:
    """Models of others may rank who has test trials only, and the figure shows those who have both."""
    import h5py

    from brain2clip import sealing

    inputs = write(tmp_path)
    with h5py.File(inputs["responses"][0], "r+") as file:
        file["split"][:] = side == "test"
    sealing.seal_h5(inputs["responses"][0])
    if side == "train":
        with pytest.raises(stage.InputError, match="no test trial"):
            ran(tmp_path, inputs)
        return
    assert ran(tmp_path, inputs).empty
    whole = ran(tmp_path, write(tmp_path))
    artefact.write_table(tmp_path / "none.parquet", pd.DataFrame(), artefact.Provenance("timecourse", {}, "code"))
    files = {"rows": [tmp_path / name for name in ("none.parquet", "rows.parquet")]}
    both = reading.together(stage.Job("figures", {}, "code", {}, files, {}), "rows")
    pd.testing.assert_frame_equal(both, whole)
