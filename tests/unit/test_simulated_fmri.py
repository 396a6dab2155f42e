"""The simulated fMRI study: files, counts, regions, and that the truth is what the signals hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from voxel_world import TINY, features_of, job, make, make_voxels, noise_free, truth_of

from brain2clip import artefact, sealing, settings, stage
from brain2clip.readers import contract, drawn_pictures, file_records
from brain2clip.responses import voxels
from brain2clip.retrieval import truth
from brain2clip.simulation import simulate_pictures, simulate_voxels, world

SMALL = ("V1", "V2", "V3", "V4", "LOC", "FFA", "PPA")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> contract.VoxelStudy:
    return make(tmp_path_factory.mktemp("voxels"), TINY)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> contract.VoxelStudy:
    """Pictures and voxels enough for statistics; the repetitions are few."""
    given = {
        **TINY,
        "training_concepts": 100,
        "pictures_per_concept": 3,
        "voxels_per_roi": 60,
        "run_trials": 50,
        "training_repetitions": 4,
    }
    return make(tmp_path_factory.mktemp("large"), given)


def everything(study: contract.VoxelStudy, subject: str) -> np.ndarray:
    return study.signals(subject, np.arange(len(study.voxel_names(subject)))).astype(float)


def residuals(study: contract.VoxelStudy, subject: str) -> np.ndarray:
    return everything(study, subject) - noise_free(study, subject)


# ---------------------------------------------------------------------------------------------- pictures


def test_pictures_are_those_of_the_eeg_study(study, tmp_path):
    """Same seed and counts: the same files and features; only the captions differ in number."""
    eeg = contract.load("eeg", {**{key: TINY[key] for key in TINY if key in EEG_TOO}, "kind": "simulated"}, tmp_path)
    table = Path(eeg.stimulus_files()[0])
    outputs = {"stimuli": table, "features": tmp_path / "features.h5", "record": table.with_name(file_records.NAME)}
    given = {"study": eeg.block.model_dump(mode="json")}
    simulate_pictures.run(job("simulate_pictures", given, {}, outputs))
    of_eeg, of_fmri = (drawn_pictures.read_stimuli(Path(one.stimulus_files()[0])) for one in (eeg, study))
    pd.testing.assert_frame_equal(of_eeg.drop(columns="caption"), of_fmri.drop(columns="caption"))
    with h5py.File(outputs["features"]) as one, h5py.File(features_of(study)) as other:
        for level in drawn_pictures.LEVELS:
            np.testing.assert_array_equal(one[level][:], other[level][:])
    for single, several in zip(eeg.stimulus_table()["captions"], study.stimulus_table()["captions"]):
        assert len(single) == 1
        assert several[0] == single[0]
        assert len(set(several)) == len(several) == 3


EEG_TOO = {"subjects", "training_concepts", "pictures_per_concept", "test_concepts"}


def test_captions_name_the_scene_and_prompts_do_not(study):
    table = study.stimulus_table()
    assert list(table.columns) == list(contract.STIMULUS_COLUMNS)
    for row in table.itertuples():
        assert Path(row.image).is_file()
        colour, thing = row.concept.split()[1:]
        assert all(colour in text and thing in text for text in (*row.captions, *row.prompts))
        assert all(any(scene in text for scene in world.SCENES) for text in row.captions)
        assert not any(scene in text for scene in world.SCENES for text in row.prompts)
    assert set(table["concept"][table["split"] == "train"]).isdisjoint(table["concept"][table["split"] == "test"])


# ------------------------------------------------------------------------------------------------- rows


def test_counts_are_the_expected_ones(study):
    assert study.expected_counts("01") == {"train": 48, "test": 40}
    for subject in study.subjects():
        rows = study.rows(subject)
        shown = rows[rows["stimulus"] != ""]
        assert shown["split"].value_counts().to_dict() == study.expected_counts(subject)
        counts = shown.groupby("split")["stimulus"].value_counts()
        assert set(counts["train"]) == {2}
        assert set(counts["test"]) == {5}
        table = study.stimulus_table().set_index("stimulus_id").loc[shown["stimulus"]]
        assert set(table["split"]) == {"train", "test"}
        assert list(table["split"]) == list(shown["split"])
        assert list(table["concept"]) == list(shown["concept"])
        assert len(everything(study, subject)) == len(rows)


def test_runs_are_of_one_split_and_begin_and_end_with_rest(study):
    rows = study.rows("01")
    assert list(dict.fromkeys(rows["run"])) == [f"train-{n:02d}" for n in (1, 2, 3, 4)] + [
        f"test-{n:02d}" for n in (1, 2, 3)
    ]
    for _, run in rows.groupby("run"):
        rest = (run["stimulus"] == "").to_numpy()
        assert rest[:3].all()
        assert rest[-3:].all()
        assert 0 < (~rest).sum() <= TINY["run_trials"]
        assert not rest[3:-3].any()
        assert set(run["split"][~rest]) == {run["run"].iloc[0].split("-")[0]}
        assert set(run["split"][rest]) == {""}
    assert set(rows["session"]) == {"n/a"}


def test_sessions_divide_what_is_shown_and_one_session_changes_nothing(tmp_path):
    """Trials of either side in their order; the runs of a single session are those from before there were several."""
    one, three = (
        settings.SimulatedFmriStudy.model_validate({**TINY, "sessions": count} if count else TINY) for count in (0, 3)
    )
    assert settings.canonical(one) == settings.canonical(one.model_copy(update={"sessions": 1}))
    rng, expected = simulate_voxels.generator(one, "order", 1), []
    numbers = {"train": (np.arange(24), 2), "test": (24 + np.arange(8), 5)}
    for split, (pictures, repetitions) in numbers.items():
        order = np.concatenate([rng.permutation(pictures) for _ in range(repetitions)])
        expected += [(split, part) for part in np.array_split(order, -(-len(order) // TINY["run_trials"]))]
    runs = simulate_voxels.plan(one, "01")
    assert [(run.split, run.label, run.session) for run in runs] == [
        *(("train", f"train-{n:02d}", "") for n in (1, 2, 3, 4)),
        *(("test", f"test-{n:02d}", "") for n in (1, 2, 3)),
    ]
    for run, (_, part) in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(run.shown[3:-3], part)
    parted = simulate_voxels.plan(three, "01")
    assert [run.session for run in parted] == sorted(run.session for run in parted)
    assert {run.session for run in parted} == {"01", "02", "03"}
    assert len({run.name for run in parted}) == len({run.label for run in parted}) == len(parted)
    for split in numbers:
        shown = [np.concatenate([run.shown[3:-3] for run in part if run.split == split]) for part in (runs, parted)]
        np.testing.assert_array_equal(*shown)
        counts = [
            sum((run.shown >= 0).sum() for run in parted if (run.split, run.session) == (split, session))
            for session in ("01", "02", "03")
        ]
        assert max(counts) - min(counts) <= 1
    with pytest.raises(
        ValueError, match="sessions: found 41, but training or test has only 40 trials; expected at most 40"
    ):
        settings.SimulatedFmriStudy.model_validate({**TINY, "sessions": 41})


@pytest.mark.parametrize("normalise", ["run", "training"])
def test_the_ceiling_knows_the_deviation_of_every_run_of_sessions(tmp_path, normalise):
    study = make(tmp_path, {**TINY, "sessions": 3})
    rows = study.rows("01")
    assert list(dict.fromkeys(rows["session"])) == ["01", "02", "03"]
    output = tmp_path / "responses.h5"
    given = {"name": study.name, "study": study.block.model_dump(mode="json"), "subject": "01", "labels": None}
    given |= {"results": str(study.results), "voxels": {"normalise": normalise}, "roi": {}}
    voxels.run(stage.Job("voxels", given, "code", {}, {}, {"responses": output}))
    with h5py.File(output) as responses, h5py.File(truth_of(study, "01")) as known:
        runs = known["run"].asstr()[:]
        found = truth.deviations(responses, runs)
        for run, one in zip(runs, found, strict=True):
            group = f"normalisation/{f'run/{run}' if normalise == 'run' else 'training'}"
            np.testing.assert_array_equal(one, responses[group]["deviation"][:])
        assert set(responses["session"].asstr()[:]) == {"01", "02", "03"}


def test_all_pictures_are_shown_once_before_any_is_shown_again(study):
    rows = study.rows("02")
    test = rows["stimulus"][rows["split"] == "test"].to_numpy().reshape(TINY["test_repetitions"], -1)
    assert all(len(set(part)) == TINY["test_concepts"] for part in test)
    assert len({tuple(part) for part in test}) == len(test), "orders differ"


def test_regions_and_names(study):
    sizes = []
    for subject in study.subjects():
        regions, names = study.regions(subject), study.voxel_names(subject)
        assert set(regions) == {*SMALL, "LVC", "HVC", "VC"}
        assert len(set(names)) == len(names)
        assert all(regions[name.rsplit("-", 1)[0]][number] for number, name in enumerate(names))
        assert np.sum([regions[name] for name in SMALL], axis=0).tolist() == [1] * len(names)
        assert regions["VC"].all()
        np.testing.assert_array_equal(regions["LVC"], regions["V1"] | regions["V2"] | regions["V3"])
        np.testing.assert_array_equal(regions["HVC"], regions["LOC"] | regions["FFA"] | regions["PPA"])
        sizes.append(len(names))
    assert sizes[0] != sizes[1]


def test_some_voxels_are_the_columns_of_all(study):
    chosen = np.array([0, 3, 17, 40])
    np.testing.assert_array_equal(study.signals("01", chosen), everything(study, "01")[:, chosen])
    assert study.signals("01", chosen).dtype == np.float32


# ------------------------------------------------------------------------------------------------ truth


def test_what_snr_changes_is_what_the_truth_says(study, tmp_path):
    """Two studies of one seed that differ in snr have the same noise: their difference has no error but rounding."""
    other = make(tmp_path, {**TINY, "snr": 2.0})
    for subject in study.subjects():
        signals = everything(other, subject) - everything(study, subject)
        expected = noise_free(other, subject) - noise_free(study, subject)
        assert expected.std() > 1
        np.testing.assert_allclose(signals, expected, atol=1e-5)


def test_residuals_are_the_noise_that_was_asked_for(tmp_path):
    """Unit variance within a run without drift; neighbours share the stated part, far voxels and regions none."""
    given = {**TINY, "subjects": 1, "drift": 0.0, "voxels_per_roi": 25, "test_repetitions": 200, "run_trials": 200}
    study = make(tmp_path, {**given, "noise_correlation": 0.6})
    noise, run = residuals(study, "01"), study.rows("01")["run"]
    noise = noise - pd.DataFrame(noise).groupby(run.to_numpy()).transform("mean").to_numpy()
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.15)
    correlation = np.corrcoef(noise.T)
    with h5py.File(truth_of(study, "01")) as file:
        place = file["place"][:]
    region = np.array([name.split("-")[0] for name in study.voxel_names("01")])
    distance = np.linalg.norm(place[:, None] - place, axis=2)
    same = (region[:, None] == region) & ~np.eye(len(region), dtype=bool)
    assert correlation[same & (distance < 0.05)].mean() == pytest.approx(0.6, abs=0.1)
    assert abs(correlation[same & (distance > 0.6)].mean()) < 0.08
    assert abs(correlation[region[:, None] != region].mean()) < 0.02


def test_drift_is_a_slow_change_of_the_stated_size(tmp_path):
    """Without repetition of anything else, a run of rest-like residuals is a line and a bow plus white noise."""
    given = {**TINY, "subjects": 1, "noise_correlation": 0.0, "training_repetitions": 40, "run_trials": 60}
    study = make(tmp_path, {**given, "drift": 3.0})
    rows = study.rows("01")
    noise, slow = residuals(study, "01"), []
    for run in rows["run"].unique():
        own = noise[(rows["run"] == run).to_numpy()]
        shapes = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(own)), 2)
        fitted = shapes @ np.linalg.lstsq(shapes, own, rcond=None)[0]
        slow.append((fitted - fitted.mean(axis=0)).var(axis=0))
        assert (own - fitted).var() == pytest.approx(1, abs=0.15)
    assert np.mean(slow) == pytest.approx(9, rel=0.15)


def test_runs_differ_in_mean_and_gain(study):
    with h5py.File(truth_of(study, "01")) as file:
        gain = file["gain"][:]
        assert len(file["run"]) == len(gain) == 7
    assert 0 < np.std(np.log(gain)) < 0.2
    means = pd.DataFrame(residuals(study, "01")).groupby(study.rows("01")["run"].to_numpy()).mean()
    assert means.std(axis=0).mean() == pytest.approx(simulate_voxels.RUN_MEAN, rel=0.5)


def test_snr_is_the_deviation_over_training_pictures(large):
    found = []
    for subject in large.subjects():
        with h5py.File(truth_of(large, subject)) as file:
            driven = file["weights"][:300].astype(float) @ file["basis"][:]
        found.append(driven.std(axis=0))
    # Gains of subjects scatter by a tenth, voxels by half; the mean over voxels of two subjects is near the setting.
    assert np.mean(np.concatenate(found)) == pytest.approx(large.block.snr, rel=0.25)
    assert np.std(np.concatenate(found)) > 0.3 * large.block.snr


def test_areas_answer_to_what_is_known_of_them(large):
    table = large.stimulus_table()[:300]
    concepts = [world.Concept(*np.array(name.split())[[2, 0, 1]].tolist()) for name in table["concept"]]
    animal = np.array([concept.category == "animal" for concept in concepts])
    city = np.array(["city" in captions[0] for captions in table["captions"]])
    for subject in large.subjects():
        regions = large.regions(subject)
        with h5py.File(truth_of(large, subject)) as file:
            basis, level = file["basis"][:].astype(float), file["level"].asstr()[:]
            driven, place = file["weights"][:300].astype(float) @ basis, file["place"][:]
        assert (basis[np.ix_(level != "low", regions["V1"])] == 0).all()
        assert (basis[np.ix_(level == "semantic", regions["LVC"])] == 0).all()
        preference = driven[animal].mean(0) - driven[~animal].mean(0)
        assert (preference[regions["FFA"]] > 0).mean() > 0.85
        assert 0.15 < (preference[regions["V1"]] > 0).mean() < 0.85
        preference = driven[city].mean(0) - driven[~city].mean(0)
        assert (preference[regions["PPA"]] > 0).mean() > 0.85
        # The centre of a V1 voxel's squared luminance weights is its place, as far as 20 fields can tell.
        grid = world.receptive_fields()[:20, :2]
        power = basis[:20, regions["V1"]].T ** 2
        centre = power @ grid / power.sum(1, keepdims=True)
        for axis in (0, 1):
            assert np.corrcoef(centre[:, axis], place[regions["V1"]][:, axis])[0, 1] > 0.9


def test_subjects_share_most_of_their_tuning(large):
    """Similarity of pictures in one subject tells that in another, more so where both are of one seed."""
    with h5py.File(features_of(large)) as file:
        features = {level: file[level][:] for level in drawn_pictures.LEVELS}

    def similarity(subject: str, seed: int) -> np.ndarray:
        given = large.block.model_copy(update={"seed": seed})
        brain = simulate_voxels.make_brain(given, subject, features, 300)
        return pdist(brain.weights[:300].astype(float) @ brain.basis[:, np.isin(brain.region, ["V4", "LOC"])])

    one = similarity("01", large.block.seed)
    same = [np.corrcoef(one, similarity(subject, large.block.seed))[0, 1] for subject in ("02", "03", "04")]
    other = [np.corrcoef(one, similarity(subject, seed))[0, 1] for subject, seed in (("02", 1), ("03", 2), ("04", 3))]
    assert min(same) > max(other) + 0.05


# -------------------------------------------------------------------------------------- the same, always


def test_the_same_settings_give_the_same_signals(study, tmp_path):
    again = make(tmp_path, TINY)
    for subject in study.subjects():
        np.testing.assert_array_equal(everything(again, subject), everything(study, subject))
        pd.testing.assert_frame_equal(again.rows(subject), study.rows(subject))


def test_subjects_and_seeds_differ_and_a_further_subject_changes_nothing(study, tmp_path):
    assert not np.array_equal(study.rows("01")["stimulus"], study.rows("02")["stimulus"])
    more = make(tmp_path / "more", {**TINY, "subjects": 3})
    np.testing.assert_array_equal(everything(more, "02"), everything(study, "02"))
    other = make(tmp_path / "other", {**TINY, "seed": 1})
    assert not np.array_equal(study.rows("01")["stimulus"], other.rows("01")["stimulus"])


def test_default_design_is_that_of_the_real_study():
    """Horikawa and Kamitani (2017) showed a training picture once and 50 test pictures 35 times, in 35 runs."""
    given = settings.SimulatedFmriStudy()
    runs = simulate_voxels.plan(given, "01")
    assert len([run for run in runs if run.split == "test"]) == 35
    for run in runs:
        trials = run.shown[run.shown >= 0]
        assert len(trials) == 50
        assert run.split == "train" or sorted(trials) == list(range(800, 850))


# --------------------------------------------------------------------------------------------- refusals


def test_signals_of_other_pictures_and_files_without_a_dataset_are_refused(study, tmp_path):
    given = {**TINY, "subjects": 1}
    copy = contract.load("tiny", given, str(tmp_path))
    shutil.copytree(study.root, copy.root)
    table = drawn_pictures.read_stimuli(Path(copy.stimulus_files()[0]))
    path = Path(copy.stimulus_files()[0])
    table[:-1].to_csv(path, sep="\t", index=False)
    file_records.write(path.with_name(file_records.NAME), "tiny", [path])
    with pytest.raises(stage.InputError, match=r"test-00008 \(1 in all\) have no row in .*stimuli.tsv"):
        copy.rows("01")
    with pytest.raises(stage.InputError, match="has 32 stimuli that are not the 31"):
        make_voxels(copy, given, "01")
    path = Path(copy.files("01")[0])
    with h5py.File(path, "a") as file:
        del file["region"]
    sealing.seal_h5(path)
    with pytest.raises(stage.InputError, match=r"region is missing; found .*Delete the file"):
        copy.regions("01")
    path.unlink()
    with pytest.raises(artefact.ArtefactError, match="no such file"):
        copy.voxel_names("01")
