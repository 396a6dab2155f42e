"""Points for generators: what calibrates predictions, what it may see, and what ``embed`` writes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import brain_files
import h5py
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference
from sklearn.linear_model import RidgeCV

from brain2clip import artefact, kinds, stage
from brain2clip.retrieval import embed
from brain2clip.settings import BrainMapping, Contrastive, MethodBase, Ridge, Tower
from brain2clip.training import calibrate, points, train
from brain2clip.training.data import Responses, Stimuli, open_stimuli
from brain2clip.training.points import Calibration

LINEAR: dict[str, Any] = {
    "tower": "tiny",
    "optimiser": {"epochs": 15, "batch_size": 20, "lr": 3e-3},
    "augmentation": {"noise": 0.0, "dropout": 0.0},
}
MAPPING = BrainMapping.model_validate(LINEAR)
RIDGE = Ridge.model_validate({"tower": "tiny", "folds": 4, "alphas": [1.0, 10.0, 100.0]})
#: Meets pictures in the tower's own space, of 24 numbers.
IN_CLIP: dict[str, Any] = {
    "tower": "tiny",
    "encoder": {"width": 16},
    "brain_head": {"width": 24},
    "optimiser": {"epochs": 2, "batch_size": 20},
    "visual": {"kind": "frozen", "head": {"kind": "none"}},
}
RUN = {"study": "s", "signal": "x", "protocol": "p", "method": "m", "subject": "01", "seed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    for subject in range(3):
        brain_files.write_voxels(folder / f"voxels-{subject}.h5", embedding, 60, subject, noise=0.2)
        brain_files.write_responses(folder / f"eeg-{subject}.h5", embedding, subject)
    brain_files.save_tower(folder / "tower")
    return folder


def job_of(folder: Path, method: MethodBase, files: list[str], outputs: dict[str, Path], **also: Any) -> stage.Job:
    tower = Tower(model=f"local-dir:{folder / 'tower'}").model_dump(mode="json")
    given = {"method": method.model_dump(mode="json"), "tower": tower, "seed": 0, "protocol": {}, "subjects": ["01"]}
    inputs = {"responses": [folder / one for one in files], "stimuli": [folder / "stimuli.h5"]}
    return stage.Job("calibrate", {**given, **also}, "code", {}, inputs, outputs)


def calibrated(folder: Path, made: Path, method: MethodBase, files: list[str], **also: Any) -> dict[str, torch.Tensor]:
    calibrate.run(job_of(folder, method, files, {"calibration": made / "calibration.safetensors"}, **also))
    return artefact.read_tensors(made / "calibration.safetensors", None)


def embedded(folder: Path, made: Path, method: MethodBase, files: list[str], subject: str = "01", **also: Any) -> Path:
    """Embeddings of the first file's test responses, by a model that was trained on all of them."""
    outputs = {"checkpoint": made / "model.safetensors", "history": made / "history.parquet"}
    job = job_of(folder, method, files, outputs, **also)
    train.run(job)
    settings = {name: job.settings[name] for name in ("method", "tower")}
    inputs = {**job.inputs, "responses": job.inputs["responses"][:1], "checkpoint": [outputs["checkpoint"]]}
    if (made / "calibration.safetensors").exists():
        inputs["calibration"] = [made / "calibration.safetensors"]
    for name, given in (("plain", {}), ("points", {"points": True})):
        own = {**settings, **given, "run": {**RUN, "subject": subject}}
        embed.run(stage.Job("embed", own, "code", {}, inputs, {"embeddings": made / f"{name}.h5"}))
    return made


def rows(n: int = 60, d: int = 8, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    point = rng.standard_normal((n, d)) * np.geomspace(3, 0.1, d) + 2
    direction = point @ rng.standard_normal((d, d)) + noise * rng.standard_normal((n, d))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True), point


# ----------------------------------------------------------------------------------------------- the regression


@pytest.mark.parametrize(("n", "noise", "cv"), [(60, 1.0, None), (60, 0.01, None), (6, 1.0, 6), (12, 0.1, 12)])
def test_it_is_ridge_regression_of_what_the_start_leaves_and_the_penalty_is_that_of_leaving_one_out(n, noise, cv):
    """Against scikit-learn: its own short cut, and for few rows a fit without each of them."""
    direction, point = rows(n, noise=noise)
    found = Calibration.fit(direction, point)
    x, y = direction - direction.mean(axis=0), point - point.mean(axis=0)
    begun = direction @ points.start(x, y)
    penalties = points.PENALTIES * np.linalg.svd(x, compute_uv=False)[0] ** 2
    chosen = RidgeCV(penalties, scoring="neg_mean_squared_error", cv=cv).fit(direction, point - begun)
    assert found.penalty == pytest.approx(chosen.alpha_)
    reference = Reference(found.penalty, solver="svd").fit(direction, point - begun)
    np.testing.assert_allclose(found(direction), begun + reference.predict(direction), rtol=1e-5)


def test_the_start_has_the_smallest_error_of_all_it_may_be():
    """By brute force over the factor and the noise; two numbers, whatever the width."""
    _, point = rows()
    direction = point + np.random.default_rng(1).standard_normal(point.shape)
    x, y = direction - direction.mean(axis=0), point - point.mean(axis=0)
    covariance = np.cov(y.T, bias=True)
    largest = np.linalg.eigvalsh(covariance)[-1]

    def error(weight: np.ndarray) -> float:
        return float(((y - x @ weight) ** 2).sum())

    tried = []
    for noise in points.NOISE * largest:
        shape = covariance @ np.linalg.inv(covariance + noise * np.eye(len(covariance)))
        factor = np.sum(y * (x @ shape)) / np.sum((x @ shape) ** 2)
        tried.append(error(factor * shape))
    assert error(points.start(x, y)) == pytest.approx(min(tried))
    assert max(tried) > 1.01 * min(tried)


def test_with_many_rows_it_finds_a_rotation_that_no_start_holds_and_of_nothing_it_makes_the_mean():
    direction, point = rows(4000, noise=0.05)
    found = Calibration.fit(direction[:3000], point[:3000])(direction[3000:])
    left = point[3000:] - found
    assert (left**2).sum() < 0.2 * ((point[3000:] - point.mean(axis=0)) ** 2).sum()
    unrelated = np.random.default_rng(1).permutation(point[:3000])
    nothing = Calibration.fit(direction[:3000], unrelated)(direction[3000:])
    spread = np.linalg.norm(point - point.mean(axis=0), axis=1).mean()
    assert np.linalg.norm(nothing - point.mean(axis=0), axis=1).max() < 0.2 * spread


# ------------------------------------------------------------------------------------------------ what it sees


class Memory:
    """A method that knows the pictures of responses that it has seen, and of others says the same always."""

    def __init__(self, *_: Any) -> None:
        self.studies: list[Any] = []

    def train(self, study: Any) -> tuple[dict[str, torch.Tensor], None]:
        self.studies.append(study)
        return {}, None

    def ready(self, checkpoint: Any) -> Any:
        study = self.studies[-1]
        known = {row.tobytes(): stimulus for one in study.sets for row, stimulus in zip(one.values, one.stimulus)}
        embedding = checkpoint.stimuli["embedding"][:]

        class Side:
            centre = None

            @staticmethod
            def brains(responses: torch.Tensor) -> torch.Tensor:
                found = [known.get(row.numpy().tobytes()) for row in responses]
                other = np.ones(embedding.shape[1], np.float32)
                return torch.from_numpy(np.stack([other if one is None else embedding[one] for one in found]))

        return Side()


def study_of(folder: Path, method: MethodBase, files: list[str], stimuli: Stimuli, **also: Any) -> Any:
    return calibrate.study_of(job_of(folder, method, files, {}, **also), method, stimuli)


def test_no_prediction_is_of_a_response_or_a_concept_that_its_model_has_seen(folder: Path) -> None:
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        concept = stimuli["concept"].asstr()[:]
        study, kind = study_of(folder, MAPPING, ["voxels-0.h5"], stimuli), Memory()
        found = list(calibrate.left_out(study, kind, False))
        assert sorted(row for one in found for row in one.stimulus) == list(range(brain_files.TRAIN))
        for one, fold in zip(found, kind.studies, strict=True):
            assert not set(concept[one.stimulus]) & set(concept[fold.sets[0].stimulus])
            assert np.ptp(one.direction) == 0  # it remembers none of them
        in_sample = kind.ready(type("Seen", (), {"stimuli": stimuli})).brains(torch.from_numpy(fold.sets[0].values))
        assert (in_sample.std(dim=0) > 0).all()


def test_few_concepts_are_split_by_stimuli(folder: Path) -> None:
    with h5py.File("few.h5", "w", driver="core", backing_store=False) as few:
        few["concept"] = ["face" if row % 2 else "house" for row in range(brain_files.TRAIN + brain_files.TEST)]
        few["embedding"] = np.zeros((brain_files.TRAIN + brain_files.TEST, 24), np.float32)
        with open_stimuli(folder / "stimuli.h5", None) as stimuli:
            single = BrainMapping.model_validate({**LINEAR, "average_repetitions": False})
            study, kind = study_of(folder, single, ["voxels-0.h5"], stimuli), Memory()
        found = list(calibrate.left_out(replace(study, stimuli=Stimuli(few)), kind, False))
    for one, fold in zip(found, kind.studies, strict=True):
        assert len(one.stimulus) == len(set(one.stimulus)) == 8  # all trials of a stimulus are one prediction
        assert len(fold.sets[0].stimulus) == 64
        assert not set(one.stimulus) & set(fold.sets[0].stimulus)


def test_a_model_for_unknown_subjects_is_asked_about_subjects_it_does_not_know(folder: Path) -> None:
    files = ["eeg-0.h5", "eeg-1.h5"]
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        study, kind = study_of(folder, MAPPING, files, stimuli, subjects=["01", "02"]), Memory()
        found = list(calibrate.left_out(study, kind, True))
    assert sorted(row for one in found for row in one.stimulus) == list(range(brain_files.TRAIN))
    for number, fold in enumerate(kind.studies):
        assert np.unique(fold.sets[0].subject).tolist() == [1 - number % 2]


def with_rubbish(folder: Path, made: Path) -> Path:
    """The same training rows; test responses, pictures and sentences replaced."""
    made.mkdir()
    rng = np.random.default_rng(3)
    for name in ("voxels-0.h5", "stimuli.h5"):
        with artefact.open_h5(folder / name, None) as old, artefact.create_h5(made / name, brain_files.MADE) as new:
            new.attrs.update(dict(old.attrs))
            test = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)
            for key in old:
                value = old[key][:]
                if key == "response":
                    value[old["split"][:] == 1] = 1e3 * rng.standard_normal()
                if key in ("embedding", "caption_embedding", "prompt_embedding"):
                    value[test] = 1e3 * rng.standard_normal(value[test].shape)
                new[key] = value
    (made / "tower").symlink_to(folder / "tower")
    return made


def test_no_row_of_the_test_enters(folder: Path, tmp_path: Path) -> None:
    before = calibrated(folder, tmp_path, MAPPING, ["voxels-0.h5"])
    after = calibrated(with_rubbish(folder, tmp_path / "rubbish"), tmp_path, MAPPING, ["voxels-0.h5"])
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_it_gains_is_said_by_other_folds(folder: Path) -> None:
    """Of predictions that know nothing a calibration gains nothing beyond the mean, however many numbers it has."""
    rng = np.random.default_rng(0)
    _, embedding = rows(40, 24)
    folds = [np.arange(40)[fold::5] for fold in range(5)]
    zero = np.zeros(24, np.float32)
    guessed = [
        calibrate.Predictions(None, fold, rng.standard_normal((8, 24)).astype(np.float32), zero, own)
        for fold, own in enumerate(folds)
    ]
    _, after, mean = calibrate.gain(guessed, embedding)
    assert after < mean + 0.02
    told = [replace(one, direction=embedding[one.stimulus].astype(np.float32)) for one in guessed]
    before, after, mean = calibrate.gain(told, embedding)
    assert before == pytest.approx(1)
    assert after > mean + 0.05


def test_lengths_of_predictions_are_no_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of one fold may give lengths that one of another does not."""
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        study = study_of(folder, MAPPING, ["voxels-0.h5"], stimuli)
        kind = kinds.load("methods", "mapping")(MAPPING)
        before = list(calibrate.left_out(study, kind, False))
        ready, calls = kind.ready, iter(range(1, 6))

        def longer(checkpoint: Any) -> Any:
            side, factor = ready(checkpoint), float(next(calls))
            brains = side.brains
            monkeypatch.setattr(side, "brains", lambda responses: factor * brains(responses))
            return side

        monkeypatch.setattr(kind, "ready", longer)
        after = list(calibrate.left_out(study, kind, False))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.direction, other.direction, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- embed


def test_a_mapping_is_calibrated_and_its_directions_stay(folder: Path, tmp_path: Path) -> None:
    found = calibrated(folder, tmp_path, MAPPING, ["voxels-0.h5"])
    assert found["cosine.after"] > found["cosine.mean"]
    embedded(folder, tmp_path, MAPPING, ["voxels-0.h5"])
    with artefact.open_h5(tmp_path / "plain.h5", None) as plain, artefact.open_h5(tmp_path / "points.h5", None) as file:
        assert "point" not in plain
        assert set(file) - set(plain) == {"point"}
        for name in plain:
            assert np.array_equal(plain[name][:], file[name][:])
        predicted, point = file["predicted"][:], file["point"][:]
    assert point.dtype == np.float32
    expected = predicted.astype(np.float64) @ found["weight"].numpy() + found["intercept"].numpy()
    np.testing.assert_allclose(point, expected, rtol=1e-6)
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        seen = stimuli["embedding"][brain_files.TRAIN :]
        mean = stimuli["embedding"][: brain_files.TRAIN].mean(axis=0)
    assert ((point - seen) ** 2).sum() < 0.7 * ((mean - seen) ** 2).sum()


def test_the_point_of_ridge_is_its_prediction_at_the_length_of_training_pictures(folder: Path, tmp_path: Path) -> None:
    embedded(folder, tmp_path, RIDGE, ["voxels-0.h5"])
    tensors = artefact.read_tensors(tmp_path / "model.safetensors", None)
    with artefact.open_h5(folder / "voxels-0.h5", None) as file:
        test = file["response"][:][file["split"][:] == 1].reshape(brain_files.TEST, brain_files.REPETITIONS, -1)
    with artefact.open_h5(folder / "stimuli.h5", None) as stimuli:
        length = np.linalg.norm(stimuli["embedding"][: brain_files.TRAIN], axis=1).mean()
    by_hand = (test.mean(axis=1) @ tensors["weight"].numpy() + tensors["intercept"].numpy()) * length
    with artefact.open_h5(tmp_path / "points.h5", None) as file, artefact.open_h5(tmp_path / "plain.h5", None) as plain:
        np.testing.assert_allclose(file["point"][:], by_hand, rtol=1e-4, atol=1e-4)
        assert file["predicted"][:].tobytes() == plain["predicted"][:].tobytes()
        assert np.ptp(np.linalg.norm(file["point"][:], axis=1)) > 0.01 * length  # of their own lengths


def test_a_joint_model_has_a_calibration_for_each_subject(folder: Path, tmp_path: Path) -> None:
    files, joint = ["voxels-0.h5", "voxels-1.h5"], {"protocol": {"kind": "joint"}, "subjects": ["01", "02"]}
    found = calibrated(folder, tmp_path, MAPPING, files, **joint)
    assert {name for name in found if name.startswith("weight")} == {"weight.01", "weight.02"}
    assert not torch.equal(found["weight.01"], found["weight.02"])
    embedded(folder, tmp_path, MAPPING, files, "01", **joint)
    with artefact.open_h5(tmp_path / "points.h5", None) as file:
        expected = file["predicted"][:].astype(np.float64) @ found["weight.01"].numpy() + found["intercept.01"].numpy()
        np.testing.assert_allclose(file["point"][:], expected, rtol=1e-6)


def test_contrastive_methods_have_points_where_pictures_stay_where_the_tower_puts_them(
    folder: Path, tmp_path: Path
) -> None:
    method = Contrastive.model_validate(IN_CLIP)
    assert method.points == "calibrated"
    assert not method.joint_space  # its figures are what they were
    calibrated(folder, tmp_path, method, ["eeg-0.h5"])
    with pytest.raises(stage.InputError, match="contrastive has its own shared space"):
        embedded(folder, tmp_path, method, ["eeg-0.h5"])
    settings = {"run": RUN, "method": method.model_dump(mode="json"), "points": True}
    job = job_of(folder, method, ["eeg-0.h5"], {"embeddings": tmp_path / "points.h5"})
    inputs = {**job.inputs, "checkpoint": [tmp_path / "model.safetensors"]}
    inputs["calibration"] = [tmp_path / "calibration.safetensors"]
    embed.run(stage.Job("embed", {**settings, "tower": job.settings["tower"]}, "code", {}, inputs, job.outputs))
    with artefact.open_h5(tmp_path / "points.h5", None) as file:
        assert file["point"].shape == (brain_files.TEST, 24)


def test_a_control_is_calibrated_on_the_pictures_that_it_was_trained_on(folder: Path) -> None:
    control = BrainMapping.model_validate({**LINEAR, "shuffle_labels": True})
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        true, permuted = (study_of(folder, one, ["voxels-0.h5"], stimuli).sets[0] for one in (MAPPING, control))
        expected: list[Responses] = train.shuffled([true], 0)
    assert (permuted.stimulus == expected[0].stimulus).all()
    assert (permuted.stimulus != true.stimulus).any()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (RIDGE, "predictions have a meaningful length"),
        (Contrastive.model_validate({**IN_CLIP, "shared_head": True}), r"shared_head: true"),
    ],
)
def test_what_needs_or_can_have_no_calibration_is_refused(folder: Path, tmp_path: Path, method, words) -> None:
    with pytest.raises(stage.InputError, match=words):
        calibrated(folder, tmp_path, method, ["eeg-0.h5"])


# -------------------------------------------------------------------------------------------------- settings

VISUAL = {"kind": "frozen", "head": {"kind": "none"}}
NEURO: dict[str, Any] = {"head": {"kind": "none"}, "fusion": {"kind": "none"}, "prompts": {"depth": "off"}}
GRID = {"kind": "one", "pool": "grid", "grid": 2}


@pytest.mark.parametrize(
    ("kind", "given", "points_of", "reason"),
    [
        (Ridge, {}, "own", None),
        (Ridge, {"target": "text"}, None, "target: text"),
        (Ridge, {"readout": GRID}, None, "readout.pool: grid"),
        (Ridge, {"readout": {"kind": "one", "view": {"kind": "blur"}}}, "calibrated", None),
        (BrainMapping, {"supervision": {"text": 1.0}}, "calibrated", None),
        (BrainMapping, {"supervision": {"text": 0.0}, "readout": GRID}, None, "readout.pool: grid"),
        (Contrastive, {"visual": VISUAL}, "calibrated", None),
        (Contrastive, {"visual": {"kind": "frozen"}}, None, "visual.head.kind: linear"),
        (Contrastive, {"visual": {**VISUAL, "head": {"kind": "none", "norm": True}}}, None, "visual.head.norm: true"),
        (Contrastive, {"visual": {**VISUAL, "readout": GRID}}, None, "visual.readout.pool: grid"),
        (Contrastive, {"visual": VISUAL, "shared_head": True}, None, "shared_head: true"),
        (Contrastive, {"visual": NEURO}, "calibrated", None),
        (Contrastive, {}, None, "visual.prompts.depth: deep, visual.fusion.kind: cross-attention, visual.head.kind"),
        (Contrastive, {"visual": {**NEURO, "adapter": {"kind": "lora"}}}, None, "visual.adapter.kind: lora"),
    ],
)  # fmt: skip
def test_who_has_points_and_which_setting_takes_them_away(kind, given, points_of, reason) -> None:
    method = kind.model_validate({"tower": "tiny", **given})
    assert method.points == points_of
    assert (method.no_points is None) == (reason is None)
    assert reason is None or reason in method.no_points


def test_a_context_of_texts_is_not_trained_for_points() -> None:
    method = BrainMapping.model_validate({**LINEAR, "classifier": {"kind": "context"}})
    assert method.for_points().classifier.kind == "ensemble"
    assert method.for_points().model_copy(update={"classifier": method.classifier}) == method
