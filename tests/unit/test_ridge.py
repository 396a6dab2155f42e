import brain_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as Sklearn
from sklearn.preprocessing import StandardScaler

from brain2clip import artefact, stage
from brain2clip.settings import Ridge, Tower
from brain2clip.training import train
from brain2clip.training.data import Responses
from brain2clip.training.methods import ridge


def example(seed, n, p, d=3):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, p)) * rng.uniform(0.5, 2, p) + rng.standard_normal(p)).astype(np.float32)
    return x, x @ rng.standard_normal((p, d)) / np.sqrt(p) + 0.1 * rng.standard_normal((n, d))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 20), p=st.integers(2, 40), alpha=st.sampled_from([0.1, 10.0, 1e3]))
def test_both_ways_are_scikit_learns_ridge(seed, n, p, alpha):
    x, y = example(seed, n, p)
    new = example(seed + 1, 5, p)[0]
    scaler = StandardScaler().fit(x.astype(np.float64))
    expected = Sklearn(alpha=alpha).fit(scaler.transform(x), y).predict(scaler.transform(new.astype(np.float64)))
    for solved in (ridge.Primal(ridge.Moments.of(x, y)), ridge.Dual(x, y)):
        weight, intercept = solved.at(alpha)
        np.testing.assert_allclose(new @ weight + intercept, expected, atol=2e-4, rtol=1e-4)
        (predicted,) = solved.predicted(new, [alpha])
        np.testing.assert_allclose(predicted, expected, atol=1e-4, rtol=1e-3)


def test_a_fold_left_out_is_as_if_it_were_not_there():
    for n, p in ((30, 6), (12, 40)):
        x, y = example(0, n, p)
        fold = np.array([1, 4, 7])
        kept = np.delete(np.arange(n), fold)
        found = ridge.Problem(x, y).solutions(without=fold).at(1.0)[0]
        np.testing.assert_allclose(found, ridge.Dual(x[kept], y[kept]).at(1.0)[0], atol=1e-8)


def test_the_smaller_space_is_taken():
    assert isinstance(ridge.Problem(*example(0, 30, 6)).solutions(), ridge.Primal)
    assert isinstance(ridge.Problem(*example(0, 6, 30)).solutions(), ridge.Dual)


def test_a_voxel_that_never_changes_gets_no_weight():
    x, y = example(0, 10, 30)
    x[:, 3] = 0.1
    weight, intercept = ridge.Dual(x, y).at(1.0)
    assert np.isfinite(weight).all()
    kept = np.delete(np.arange(30), 3)
    np.testing.assert_allclose(x[:, 3:4] @ weight[3:4] + x[:, kept] @ weight[kept] + intercept,
                               x[:, kept] @ ridge.Dual(x[:, kept], y).at(1.0)[0] + ridge.Dual(x[:, kept], y).at(1.0)[1],
                               atol=1e-5)  # fmt: skip


def test_the_choice_of_the_penalty_is_the_same_in_both_ways(monkeypatch):
    x, _ = example(0, 60, 80)
    embedding = np.random.default_rng(1).standard_normal((60, 8))
    x[:, :8] += embedding
    responses = Responses(x, np.arange(60), np.zeros(60, int), np.zeros(0), 0.0, [], [])
    concept = np.array([f"c{i // 2}" for i in range(60)])
    block = Ridge(tower="t", alphas=(0.1, 10.0, 1e3))
    dual, dual_history = ridge.fit(responses, embedding, concept, block)
    monkeypatch.setattr(ridge.Problem, "solutions", _primal)
    primal, primal_history = ridge.fit(responses, embedding, concept, block)
    np.testing.assert_allclose(dual_history, primal_history, rtol=1e-9)
    for name, value in primal.items():
        np.testing.assert_allclose(dual[name], value, atol=1e-5)


def _primal(problem, without=None):
    kept = slice(None) if without is None else np.delete(np.arange(len(problem.x)), without)
    return ridge.Primal(ridge.Moments.of(problem.x[kept], problem.y[kept]))


# ---------------------------------------------------------------------------------------------- stage


@pytest.fixture
def job(tmp_path):
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_voxels(tmp_path / "sub-01.h5", embedding, 60)

    def make(**method):
        block = Ridge(tower="t", alphas=(1.0, 10.0, 100.0), **method).model_dump(mode="json")
        outputs = {"checkpoint": tmp_path / "model.safetensors", "history": tmp_path / "model.parquet"}
        inputs = {"responses": [tmp_path / "sub-01.h5"], "stimuli": [tmp_path / "stimuli.h5"]}
        tower = Tower(model="local-dir:nowhere").model_dump(mode="json")
        given = {"method": block, "tower": tower, "seed": 0, "protocol": {"kind": "intra-subject"}}
        return stage.Job("train", given, "code", {}, inputs, outputs)

    return make


def test_the_target_may_be_the_mean_of_all_sentences(job):
    one = job(target="text")
    train.run(one)
    tensors = artefact.read_tensors(one.outputs["checkpoint"])
    with artefact.open_h5(one.inputs["stimuli"][0]) as stimuli:
        links = np.concatenate([stimuli["caption_link"][:], stimuli["prompt_link"][:]])
        encoded = stimuli["sentence_embedding"][:]
        image = stimuli["embedding"][: brain_files.TRAIN]
    rows = np.stack([encoded[links[links[:, 0] == row, 1]].mean(axis=0) for row in range(brain_files.TRAIN)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(tensors["centre"], rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(tensors["text_centre"], rows.mean(axis=0), atol=1e-6)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    np.testing.assert_allclose(tensors["stimulus_centre"], image.mean(axis=0), atol=1e-6)
    with artefact.open_h5(one.inputs["responses"][0]) as source:
        x = source["response"][: brain_files.TRAIN * brain_files.REPETITIONS]
    x = x.reshape(brain_files.TRAIN, brain_files.REPETITIONS, -1).mean(axis=1)
    history = artefact.read_table(one.outputs["history"])
    assert list(history) == ["alpha", "held_out_mrr", "seconds", "cpu_seconds", "device"]
    assert (history["seconds"] > 0).all()
    best = history.set_index("alpha")["held_out_mrr"].idxmax()
    standard = StandardScaler().fit_transform(x.astype(np.float64))
    expected = Sklearn(alpha=best).fit(standard, rows).predict(standard)
    found = x @ tensors["weight"].numpy() + tensors["intercept"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_text_target_needs_a_sentence_of_every_training_stimulus(job):
    one = job(target="text")
    with artefact.open_h5(one.inputs["stimuli"][0]) as source:
        kept = {name: source[name][:] for name in source}
        attributes = dict(source.attrs)
    for name in ("caption_link", "prompt_link"):
        kept[name] = kept[name][kept[name][:, 0] != 5]
    one.inputs["stimuli"] = [one.inputs["stimuli"][0].with_name("bare.h5")]
    with artefact.create_h5(one.inputs["stimuli"][0], brain_files.MADE) as target:
        target.attrs.update({key: attributes[key] for key in ("kind", "cache")})
        for name, values in kept.items():
            target[name] = values
    with pytest.raises(stage.InputError, match=r"target: text needs a sentence .*train-005"):
        train.run(one)
