"""The ideal observer of fMRI: truth through the steps of the responses, exact likelihood, limits, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import RidgeCV
from voxel_world import MADE, TINY, features_of, make, truth_of, write_responses, write_stimuli

from brain2clip import artefact, sealing, stage
from brain2clip.readers import contract
from brain2clip.retrieval import ceiling, truth

TASKS = ("stimulus", "category", "caption", "stimulus-to-brain", "caption-to-brain")
STEPS = [
    {"normalise": "training"},
    {"normalise": "none"},
    {"normalise": "run"},
    {"normalise": "training", "detrend": "linear"},
    {"normalise": "run", "detrend": "linear"},
]
named = pytest.mark.parametrize("voxels", STEPS, ids=lambda steps: "-".join(steps.values()))


def observe(folder: Path, truth_file: Path, voxels: dict[str, Any], tasks=("stimulus",), repetitions=(1, "all")):
    """Rows of the stage for the responses and stimuli in a folder."""
    given = {
        "run": {"study": "s", "signal": "vc", "protocol": "p", "method": "ceiling", "subject": "01", "seed": 0},
        "voxels": voxels,
        "roi": {"include": ["VC"]},
        "retrieval": {"repetitions": repetitions, "tasks": tasks},
    }
    inputs = {"truth": [truth_file], "responses": [folder / "responses.h5"], "stimuli": [folder / "stimuli.h5"]}
    outputs = {"rows": folder / "rows.parquet"}
    ceiling.run(stage.Job("ceiling", given, "code", {}, inputs, outputs))
    return artefact.read_table(outputs["rows"])


def ids_of(study: contract.VoxelStudy) -> list[str]:
    """In the order of the stimuli file."""
    return study.stimulus_table()["stimulus_id"].tolist()


def top1(rows, repetitions: str = "1", task: str = "stimulus") -> float:
    return float((rows["rank"][(rows["repetitions"] == repetitions) & (rows["task"] == task)] == 1).mean())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> contract.VoxelStudy:
    given = {**TINY, "training_concepts": 40, "pictures_per_concept": 4, "test_concepts": 16, "test_repetitions": 12}
    return make(tmp_path_factory.mktemp("study"), {**given, "voxels_per_roi": 12, "run_trials": 20, "snr": 0.3})


# -------------------------------------------------------------------------- the truth, through the steps


@named
@pytest.mark.parametrize("region", ["VC", "LOC"])
def test_trials_less_their_noise_are_the_templates(study, tmp_path, voxels, region):
    """Signals without any noise, processed with the deviations of the noisy ones: every trial is its template."""
    clean = write_responses(tmp_path / "responses.h5", study, "02", voxels, region)
    with h5py.File(tmp_path / "responses.h5", "a") as file:
        file["response"][:] = clean
    with h5py.File(truth_of(study, "02")) as known, h5py.File(tmp_path / "responses.h5") as responses:
        found = truth.known(known, responses, ids_of(study), {"voxels": voxels, "roi": {}})
    candidates = np.unique(found.test.stimulus)
    templates = found.templates(candidates)
    expected = templates[found.test.group, np.searchsorted(candidates, found.test.stimulus)]
    assert expected.shape[1] == study.regions("02")[region].sum()
    assert expected.std() > 0.05
    np.testing.assert_allclose(found.test.values, expected, atol=1e-5)
    noise, mean = found.noise()
    np.testing.assert_allclose(noise, 0, atol=1e-5)
    np.testing.assert_allclose(mean, 0, atol=1e-5)


@named
def test_the_stage_voxels_does_these_steps(study, tmp_path, voxels):
    """Responses of the stage itself leave the same noise as those of the independent way here."""
    responses = pytest.importorskip("brain2clip.responses.voxels")
    given = {
        "name": study.name,
        "study": study.block.model_dump(mode="json"),
        "results": str(study.root.parents[1]),
        "subject": "01",
        "voxels": voxels,
        "roi": {"include": ["HVC"]},
    }
    job = stage.Job("voxels", given, "code", {}, {}, {"responses": tmp_path / "stage.h5"})
    responses.run(job)
    write_responses(tmp_path / "here.h5", study, "01", voxels, "HVC")
    seen = []
    for name in ("stage", "here"):
        with h5py.File(truth_of(study, "01")) as known, h5py.File(tmp_path / f"{name}.h5") as file:
            seen.append(truth.known(known, file, ids_of(study), given))
    for own, other in zip((seen[0].training, seen[0].test), (seen[1].training, seen[1].test)):
        np.testing.assert_array_equal(own.stimulus, other.stimulus)
        np.testing.assert_allclose(own.values, other.values, atol=1e-5)
    np.testing.assert_allclose(seen[0].basis, seen[1].basis, atol=1e-6)


@named
def test_without_noise_it_is_perfect(tmp_path, voxels):
    """The noise of a trial is one; the response is a thousand times larger, in every region and task."""
    study = make(tmp_path, {**TINY, "subjects": 1, "snr": 1000.0})
    write_stimuli(tmp_path / "stimuli.h5", study)
    for region in ("VC", "FFA"):
        write_responses(tmp_path / "responses.h5", study, "01", voxels, region)
        rows = observe(tmp_path, truth_of(study, "01"), voxels, TASKS)
        assert set(rows["task"]) == set(TASKS)
        assert (rows["rank"] == 1).all()


def test_z_scores_by_session_are_those_of_the_truth(tmp_path):
    """The trap: signals in standard deviations of their session, templates in units of the signals, are at chance."""
    voxels = pytest.importorskip("brain2clip.responses.voxels")
    study = make(tmp_path, {**TINY, "subjects": 1, "sessions": 3, "snr": 1000.0})
    write_stimuli(tmp_path / "stimuli.h5", study)
    given = {
        "name": study.name,
        "study": study.block.model_dump(mode="json"),
        "results": str(study.root.parents[1]),
        "subject": "01",
        "voxels": {"normalise": "session"},
        "roi": {"include": ["VC"]},
    }
    voxels.run(stage.Job("voxels", given, "code", {}, {}, {"responses": tmp_path / "responses.h5"}))
    with h5py.File(truth_of(study, "01")) as known, h5py.File(tmp_path / "responses.h5") as file:
        found = truth.known(known, file, ids_of(study), given)
    noise, mean = found.noise()
    assert noise.std() < 0.01
    templates = found.templates(found.test.stimulus)[found.test.group, np.arange(len(found.test.stimulus))]
    np.testing.assert_allclose(templates + mean[found.test.group], found.test.values, atol=0.05)
    assert (observe(tmp_path, truth_of(study, "01"), given["voxels"], TASKS)["rank"] == 1).all()


@named
def test_of_another_truth_it_knows_nothing(study, tmp_path, voxels):
    """With the responses to other pictures in the place of the true ones, single trials are found by chance."""
    write_stimuli(tmp_path / "stimuli.h5", study)
    write_responses(tmp_path / "responses.h5", study, "01", voxels)
    with h5py.File(truth_of(study, "01")) as file, h5py.File(tmp_path / "truth.h5", "w") as other:
        for name in file:
            file.copy(name, other)
        weights = file["weights"][:]
        weights[160:] = np.random.default_rng(5).permutation(weights[:160])[:16]
        other["weights"][:] = weights
        other.attrs["brain2clip"] = MADE.json()
    sealing.seal_h5(tmp_path / "truth.h5")
    truthful = observe(tmp_path, truth_of(study, "01"), voxels)
    lost = observe(tmp_path, tmp_path / "truth.h5", voxels)
    assert top1(truthful) > 0.5
    n_trials = int((lost["repetitions"] == "1").sum())
    # Pictures of one scene or colour look alike whatever they are of, so trials of a picture go together: 16 clusters.
    hits = lost[lost["repetitions"] == "1"].groupby("target")["rank"].apply(lambda rank: (rank == 1).mean())
    assert n_trials == 192
    assert abs(hits.mean() - 1 / 16) < 3 * max(hits.std(ddof=1) / 4, 1 / 16 / 4)


# ----------------------------------------------------------------------------------- beside a real method


def ridge_top1(study: contract.VoxelStudy, subject: str, responses: Path) -> tuple[float, float]:
    """Top-1 of single trials and averages of a ridge regression (scikit-learn's) to the features of the pictures."""
    with h5py.File(features_of(study)) as file:
        target = np.concatenate([file[level][:] for level in ("low", "mid", "semantic")], axis=1)
    with h5py.File(responses) as file:
        ids = file["stimulus_id"].asstr()[:]
        row_of = {name: row for row, name in enumerate(ids_of(study))}
        stimulus = np.array([row_of[name] for name in ids])[file["stimulus"][:]]
        values, test = file["response"][:], file["split"][:] == 1
    model = RidgeCV(alphas=np.logspace(0, 6, 13)).fit(values[~test], target[stimulus[~test]])
    candidates = np.unique(stimulus[test])
    gallery = target[candidates] - target[: candidates[0]].mean(axis=0)

    def found(x: np.ndarray, shown: np.ndarray) -> float:
        predicted = model.predict(x) - target[: candidates[0]].mean(axis=0)
        cosine = (predicted @ gallery.T) / np.linalg.norm(gallery, axis=1)
        return float((candidates[cosine.argmax(axis=1)] == shown).mean())

    means = np.stack([values[stimulus == one].mean(axis=0) for one in candidates])
    return found(values[test], stimulus[test]), found(means, candidates)


@named
def test_ridge_is_not_better(study, tmp_path, voxels):
    write_stimuli(tmp_path / "stimuli.h5", study)
    for subject in study.subjects():
        write_responses(tmp_path / "responses.h5", study, subject, voxels)
        rows = observe(tmp_path, truth_of(study, subject), voxels)
        single, averaged = ridge_top1(study, subject, tmp_path / "responses.h5")
        assert averaged > 2 / 16, "ridge learns something"
        assert top1(rows) > single + 0.1
        assert top1(rows, "all") >= averaged


# ---------------------------------------------------------------------------------------- a Gaussian toy


def test_it_is_the_exact_posterior_classifier(tmp_path):
    """Known factors, gains of runs and covariance, many training trials: the maximum of the exact posterior."""
    rng = np.random.default_rng(3)
    n_voxels, n_factors, n_train, n_test, n_runs = 12, 4, 40, 10, 6
    weights = rng.standard_normal((n_train + n_test, n_factors))
    basis = 0.5 * rng.standard_normal((n_factors, n_voxels))
    evoked, offset = rng.standard_normal((2, n_voxels))
    gain, deviation = np.exp(0.2 * rng.standard_normal(n_runs)), rng.uniform(0.5, 2, n_voxels)
    mixing = rng.standard_normal((n_voxels, 3))
    noise = 1.5 * mixing @ mixing.T + 0.5 * np.eye(n_voxels)
    run = np.repeat(np.arange(n_runs), 1000)
    shown = np.where(run < 4, rng.integers(0, n_train, len(run)), n_train + rng.integers(0, n_test, len(run)))
    clean = gain[run][:, None] * (evoked + weights[shown] @ basis)
    values = (clean + offset + rng.multivariate_normal(np.zeros(n_voxels), noise, len(run))) / deviation
    names = [f"v{number}" for number in range(n_voxels)]
    with artefact.create_h5(tmp_path / "truth.h5", MADE) as file:
        # Voxels of the truth stand in another order than those of the responses, as a region would choose them.
        file["weights"], file["basis"], file["evoked"] = weights, basis[:, ::-1], evoked[::-1]
        file["voxel"], file["gain"] = names[::-1], gain
        file["run"] = [f"r{number}" for number in range(n_runs)]
        file["shown"], file["shown_run"] = shown, run
        file["stimulus_id"] = [f"s-{row:02d}" for row in range(n_train + n_test)]
    with artefact.create_h5(tmp_path / "responses.h5", MADE) as file:
        # Every file lists the stimuli in an order of its own: ids tell which is which.
        file["response"] = values.astype(np.float32)
        file["stimulus"] = (n_train + n_test - 1 - shown).astype(np.int32)
        file["stimulus_id"] = [f"s-{row:02d}" for row in reversed(range(n_train + n_test))]
        file["split"], file["voxel"] = (run >= 4).astype(np.uint8), names
        file["normalisation/training/mean"], file["normalisation/training/deviation"] = offset * 0, deviation
    with artefact.create_h5(tmp_path / "stimuli.h5", MADE) as file:
        file["split"] = ["train"] * n_train + ["test"] * n_test
        for name in ("stimulus_id", "concept", "caption"):
            file[name] = [f"{name[0]}-{row:02d}" for row in range(n_train + n_test)]
    rows = observe(tmp_path, tmp_path / "truth.h5", {"normalise": "training"}, repetitions=(1,))
    test = run >= 4
    density = multivariate_normal(np.zeros(n_voxels), noise)
    left = (values * deviation - offset)[test]
    posterior = np.stack(
        [density.logpdf(left - gain[run[test]][:, None] * (evoked + weights[n_train + one] @ basis))
         for one in range(n_test)],
        axis=1,
    )  # fmt: skip
    exact = float((posterior.argmax(axis=1) == shown[test] - n_train).mean())
    assert 0.3 < exact < 0.9, "too easy or too hard to tell anything"
    assert top1(rows) == pytest.approx(exact, abs=0.015)


# --------------------------------------------------------------------------------------------- refusals


def test_responses_that_the_truth_is_not_about_are_refused(study, tmp_path):
    write_responses(tmp_path / "responses.h5", study, "01", {})
    with h5py.File(truth_of(study, "01")) as known, h5py.File(tmp_path / "responses.h5", "a") as responses:
        with pytest.raises(stage.InputError, match=r"Set voxels.delay to 0 \(found 2\)"):
            truth.known(known, responses, ids_of(study), {"voxels": {"delay": 2}, "roi": {}})
        responses["voxel"][3] = "V9-001"
        with pytest.raises(stage.InputError, match=r"voxel V9-001 \(1 in all\) is not among the"):
            truth.known(known, responses, ids_of(study), {"voxels": {}, "roi": {}})
    with h5py.File(truth_of(study, "02")) as known, h5py.File(tmp_path / "responses.h5") as responses:
        with pytest.raises(stage.InputError, match=r"responses are not the 512 trials of .*one by one"):
            truth.known(known, responses, ids_of(study), {"voxels": {}, "roi": {}})
