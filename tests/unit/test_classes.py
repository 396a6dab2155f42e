"""Classes of unequal size: the score does not mind, training does not, chance is true, and the reader is told."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import oddball
import pandas as pd
import pytest
import test_tables
import voxel_tables
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge as Sklearn
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_tables import make_job  # noqa: F401  a fixture

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan
from brain2clip.reporting import tables
from brain2clip.retrieval import query_table, rank, statistics, tasks
from brain2clip.training import balance, train
from brain2clip.training.data import load_responses, open_stimuli
from brain2clip.training.folds import folds
from brain2clip.training.methods import lda, ridge

RUN = {"study": "s", "signal": "b", "protocol": "p", "method": "m", "subject": "01", "seed": 0}
RETRIEVAL = {"metrics": ["top-1", "mean-rank", "balanced-accuracy", "auc"], "bootstrap": 2000, "level": 0.95, "seed": 0}


def rows_of(similarity: np.ndarray, target: np.ndarray, run: dict[str, Any] = RUN, task: str = "category") -> Any:
    ids = np.array([f"class {number}" for number in range(similarity.shape[1])], dtype=object)
    return query_table.table([tasks.Queries(task, "all", ids, target, similarity, task == "category")], run)


def unequal(seed: int, n: int = 240, skill: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of two classes, one five times rarer, and the true one."""
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 1 / 6).astype(int)
    return rng.standard_normal((n, 2)) + skill * np.eye(2)[target], target


# ---------------------------------------------------------------------------------------------- metrics


def test_metrics_of_classes_are_scikit_learns_and_chance_is_that_of_the_largest_class() -> None:
    similarity, target = unequal(0)
    found = statistics.summary(rows_of(similarity, target), RETRIEVAL).set_index("metric")
    balanced, auc, top = (found.loc[f"category:{name}"] for name in ("balanced-accuracy", "auc", "top-1"))
    assert balanced["value"] == pytest.approx(balanced_accuracy_score(target, similarity.argmax(1)))
    assert auc["value"] == pytest.approx(roc_auc_score(target, similarity[:, 1] - similarity[:, 0]))
    assert (balanced["chance"], auc["chance"]) == (0.5, 0.5)
    share = np.bincount(target).max() / len(target)
    assert (found["largest_class"] == share).all()
    assert top["chance"] == pytest.approx(share)
    assert found.loc["category:mean-rank", "chance"] == pytest.approx(share + 2 * (1 - share))


@pytest.mark.parametrize("metric", ["balanced-accuracy", "auc"])
def test_intervals_of_classes_are_those_of_resampling_within_classes(metric: str) -> None:
    similarity, target = unequal(1, skill=1.0)
    score = similarity[:, 1] - similarity[:, 0]
    of = balanced_accuracy_score if metric == "balanced-accuracy" else roc_auc_score
    rng, parts = np.random.default_rng(2), [np.flatnonzero(target == one) for one in (0, 1)]
    drawn = (np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(600))
    samples = [of(target[rows], score[rows] > 0 if of is balanced_accuracy_score else score[rows]) for rows in drawn]
    found = statistics.summary(rows_of(similarity, target), RETRIEVAL).set_index("metric").loc[f"category:{metric}"]
    np.testing.assert_allclose(
        found[["ci_low", "ci_high"]].astype(float), np.quantile(samples, [0.025, 0.975]), atol=0.02
    )


def test_classes_of_one_query_each_scatter_as_in_top_1() -> None:
    """A block of each class in every run: drawn within classes, the queries of a run would have no scatter at all."""
    rng = np.random.default_rng(8)
    runs = [{**RUN, "subject": f"{number:02d}"} for number in range(9)]
    rows = pd.concat([rows_of(rng.standard_normal((8, 8)) + 1.2 * np.eye(8), np.arange(8), run) for run in runs])
    top, balanced = (statistics.mean_over_subjects(rows, f"category:{name}") for name in ("top-1", "balanced-accuracy"))
    for name in ("value", "ci_low", "ci_high", "t_low", "decides"):
        assert balanced[name] == pytest.approx(top[name])


def test_an_auc_counts_ties_half() -> None:
    similarity = np.array([[0.0, 0.2], [0.2, 0.0], [0.1, 0.1], [0.0, 0.2]])
    target = np.array([1, 0, 0, 0])
    found = statistics.summary(rows_of(similarity, target), RETRIEVAL).set_index("metric")["value"]
    assert found["category:auc"] == pytest.approx(roc_auc_score(target, similarity[:, 1] - similarity[:, 0]))


def test_equal_classes_have_the_same_number_and_chance_by_both_metrics() -> None:
    rng = np.random.default_rng(3)
    target = np.tile(np.arange(4), 30)
    rows = rows_of(rng.standard_normal((120, 4)) + np.eye(4)[target], target)
    found = statistics.summary(rows, RETRIEVAL).set_index("metric")
    top, balanced = found.loc["category:top-1"], found.loc["category:balanced-accuracy"]
    assert balanced["value"] == pytest.approx(top["value"])
    assert (top["chance"], balanced["chance"], top["largest_class"]) == (0.25, 0.25, 0.25)
    assert "category:auc" not in found.index, "four classes"


def test_pictures_are_no_classes() -> None:
    similarity, target = unequal(4)
    found = statistics.summary(rows_of(similarity, target, task="stimulus"), RETRIEVAL)
    assert found["metric"].tolist() == ["top-1", "mean-rank"]
    assert found["largest_class"].isna().all()
    assert found["chance"].tolist() == [0.5, 1.5]


def test_over_subjects_each_class_of_each_subject_counts_the_same() -> None:
    both = {subject: unequal(number, 60 + 60 * number) for number, subject in enumerate(("01", "02", "03"))}
    rows = pd.concat([rows_of(*one, {**RUN, "subject": subject}) for subject, one in both.items()])
    for metric, of in (("category:balanced-accuracy", None), ("category:auc", roc_auc_score)):
        expected = [
            of(target, similarity[:, 1] - similarity[:, 0])
            if of
            else balanced_accuracy_score(target, similarity.argmax(1))
            for similarity, target in both.values()
        ]
        found = statistics.mean_over_subjects(rows, metric)
        assert found["value"] == pytest.approx(np.mean(expected))
        assert (found["decides"], found["chance"]) == ("t", 0.5)
        assert found["t_low"] == pytest.approx(max(0, statistics.t_interval(expected)[0]))
        assert found["ci_low"] < found["value"] < found["ci_high"]
        same = statistics.paired_difference(rows, rows, metric)
        assert (same["difference"], same["ci_low"], same["ci_high"]) == (0, 0, 0)
    recalls = statistics.recalls(rows, "category:top-1").set_index(["subject", "target"])
    similarity, target = both["02"]
    hits = similarity.argmax(1) == target
    assert recalls.loc[("02", "class 1"), "value"] == pytest.approx(hits[target == 1].mean())
    assert recalls.loc[("02", "class 0"), "n_queries"] == (target == 0).sum()


# --------------------------------------------------------------------------------------------- balance


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(0, 99))
@hypothesis_settings(max_examples=40)
def test_an_epoch_has_as_many_responses_of_every_class_and_all_that_there_are(counts: list[int], seed: int) -> None:
    label = np.repeat([f"c{number}" for number in range(len(counts))], counts)
    order = balance.order(label, np.random.default_rng(seed))
    assert len(order) == balance.size(label) == len(counts) * max(counts)
    assert set(np.unique(label[order], return_counts=True)[1]) == {max(counts)}
    times = np.bincount(order, minlength=len(label))
    for name in np.unique(label):
        assert times[label == name].min() >= 1
        assert np.ptp(times[label == name]) <= 1
    weight = balance.weights(label)
    assert weight.mean() == pytest.approx(1)
    assert np.ptp([weight[label == name].sum() for name in np.unique(label)]) == pytest.approx(0, abs=1e-9)


def test_weighted_ridge_is_scikit_learns_in_both_ways() -> None:
    rng = np.random.default_rng(0)
    for n, p in ((30, 6), (12, 40)):
        x, y = rng.standard_normal((n, p)).astype(np.float32), rng.standard_normal((n, 3))
        label = np.where(np.arange(n) % 5 == 0, "rare", "often")
        weight = balance.weights(label)
        scaler = StandardScaler().fit(x.astype(np.float64), sample_weight=weight)
        fitted = Sklearn(alpha=3.0).fit(scaler.transform(x), y, sample_weight=weight)
        expected = fitted.predict(scaler.transform(x.astype(np.float64)))
        for solved in (ridge.Primal(ridge.Moments.of(x, y, weight)), ridge.Dual(x, y, weight)):
            found, intercept = solved.at(3.0)
            np.testing.assert_allclose(x @ found + intercept, expected, atol=1e-4)
            (predicted,) = solved.predicted(x, [3.0])
            np.testing.assert_allclose(predicted, expected, atol=1e-4)
        kept = np.arange(2, n)
        solved = ridge.Problem(x, y, weight).solutions(without=np.arange(2)).at(1.0)[0]
        np.testing.assert_allclose(solved, ridge.Dual(x[kept], y[kept], weight[kept]).at(1.0)[0], atol=1e-8)


@pytest.mark.parametrize(("n", "p"), [(60, 8), (24, 80)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("even", [True, False])
def test_lda_is_scikit_learns_with_more_and_with_fewer_responses_than_inputs(n, p, n_classes, even) -> None:
    rng = np.random.default_rng(1)
    label = np.array([f"c{number}" for number in rng.integers(0, n_classes, n)])
    x = (rng.standard_normal((n, p)) * rng.uniform(0.5, 3, p) + 2).astype(np.float32)
    x[label == "c1", :3] += 1
    priors = [1 / n_classes] * n_classes if even else None
    within = np.sqrt(sum(x[label == one].var(axis=0) * (label == one).sum() for one in set(label)) / n)
    for shrinkage, own in (("auto", x.astype(np.float64)), (0.3, x / within)):
        found = lda.fit(x, label, shrinkage, even)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors).fit(own, label)
        scores = x @ found["weight"] + found["intercept"]
        expected = model.decision_function(own)
        expected = expected[:, None] if expected.ndim == 1 else expected[:, 1:] - expected[:, :1]
        np.testing.assert_allclose(scores[:, 1:] - scores[:, :1], expected, rtol=1e-4, atol=1e-4)


def test_too_many_inputs_for_lda_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lda, "LARGEST", 100)
    with pytest.raises(stage.InputError, match="found 128, expected at most 100"):
        trained(tmp_path, changed(tmp_path, lambda stimulus, split: split >= 0), kind="lda")


def test_times_are_averaged_in_windows() -> None:
    values = np.arange(2 * 3 * 6, dtype=np.float32).reshape(2, 3, 6)
    found = lda.inputs(values, 2)
    np.testing.assert_array_equal(found[0], [*values[0, :, :3].mean(1), *values[0, :, 3:].mean(1)])
    assert lda.inputs(values, None).shape == (2, 18)
    with pytest.raises(stage.InputError, match=r"windows: 7 .*6 samples"):
        lda.inputs(values, 7)
    with pytest.raises(stage.InputError, match=r"windows: 2 .*no time"):
        lda.inputs(values[:, :, 0], 2)


# --------------------------------------------------------------- an oddball experiment, 5 standards to a target

METHODS: dict[str, dict[str, Any]] = {
    "ridge": {"kind": "ridge", "alphas": [10.0, 1e3], "average_repetitions": False},
    "lda": {"kind": "lda", "windows": 8},
    "mapping": {
        "kind": "mapping", "supervision": {"text": 1.0, "sentences": ["prompts"]}, "average_repetitions": False,
        "optimiser": {"epochs": 4, "batch_size": 64, "lr": 3e-3, "weight_decay": 0.1},
    },
    "prompts": {
        "kind": "contrastive", "encoder": {"width": 16}, "brain_head": {"width": 8},
        "visual": {"kind": "frozen", "head": {"width": 8}}, "average_repetitions": False,
        "objective": {"beta": 0.0, "normalise": "both", "scale_init": 1.0},
        "optimiser": {"epochs": 4, "batch_size": 64, "lr": 3e-3},
    },
}  # fmt: skip


def scored(folder: Path, method: dict[str, Any], subject: int = 1, null: bool = False, seed: int = 0) -> pd.DataFrame:
    """Retrieval rows of a subject by a method."""
    files = oddball.write(folder, subject, null)
    block = settings.dump(settings.parse(settings.Method, {"tower": "none", **method}))
    tower = settings.dump(settings.Tower(model="local-dir:nowhere"))
    inputs = {name: [path] for name, path in files.items()}
    outputs = {"checkpoint": folder / "model.safetensors", "history": folder / "model.parquet"}
    given = {"method": block, "tower": tower, "seed": seed, "protocol": {"kind": "intra-subject"}}
    train.run(stage.Job("train", given, "code", {}, inputs, outputs))
    given = {"method": block, "tower": tower, "run": {**RUN, "subject": f"{subject:02d}", "seed": seed}}
    given["retrieval"] = settings.dump(settings.Retrieval(tasks=("category",), repetitions=(1,)))
    inputs["checkpoint"] = [outputs["checkpoint"]]
    rank.run(stage.Job("rank", given, "code", {}, inputs, {"rows": folder / "rows.parquet"}))
    return artefact.read_table(folder / "rows.parquet")


def mean(rows: list[pd.DataFrame], metric: str) -> dict[str, Any]:
    return statistics.mean_over_subjects(pd.concat(rows), f"category:{metric}@1", 200)


@pytest.mark.parametrize(
    ("name", "null"), [(name, False) for name in METHODS] + [(name, True) for name in ("ridge", "lda")]
)
def test_who_decodes_nothing_has_the_printed_chance_however_rare_the_target(tmp_path: Path, name: str, null) -> None:
    """Labels shuffled, or a brain that targets say nothing to: 160 test responses of each of three subjects.

    Their 27 targets have a standard error of .05, the mean of three subjects one of .03.
    """
    method = METHODS[name] if null else {**METHODS[name], "shuffle_labels": True}
    found = [scored(tmp_path, method, one, null) for one in (1, 2, 3)]
    balanced, top = mean(found, "balanced-accuracy"), mean(found, "top-1")
    assert balanced["chance"] == 0.5
    assert balanced["value"] == pytest.approx(0.5, abs=0.12)
    assert mean(found, "auc")["value"] == pytest.approx(0.5, abs=0.12)
    recalls = statistics.recalls(pd.concat(found), "category:top-1@1").groupby("target")["value"].mean()
    assert recalls.between(0.25, 0.75).all(), "no class is named at the cost of the other"
    assert top["chance"] == top["largest_class"] > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_who_decodes_something_is_above_it(tmp_path: Path, name: str) -> None:
    found = [scored(tmp_path, METHODS[name], 2)]
    assert mean(found, "balanced-accuracy")["value"] > 0.65
    assert mean(found, "auc")["value"] > 0.7


def test_without_balance_the_large_class_is_named(tmp_path: Path) -> None:
    """What the setting is for: the same control names the large class, and only Top-1 calls that good."""
    rows = [scored(tmp_path, {**METHODS["lda"], "shuffle_labels": True, "balance": False}, one) for one in (1, 2, 3)]
    assert mean(rows, "top-1")["value"] > 0.75
    assert mean(rows, "balanced-accuracy")["value"] == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", ["ridge", "mapping"])
def test_classes_of_equal_size_are_trained_on_as_without_balance(tmp_path: Path, name: str) -> None:
    files = oddball.write(tmp_path)
    with artefact.open_h5(files["responses"]) as file:
        kept = {key: file[key][:] for key in file}
    training = [np.flatnonzero((kept["stimulus"] == one) & (kept["split"] == 0))[:40] for one in (0, 1)]
    rows = np.sort(np.concatenate([*training, np.flatnonzero(kept["split"] == 1)]))
    files["responses"] = tmp_path / "equal.h5"
    with artefact.create_h5(files["responses"], oddball.MADE) as file:
        file.attrs["sfreq"] = 20.0
        for key, values in kept.items():
            file[key] = values[rows] if key in ("response", "stimulus", "split", "session") else values
    found = []
    for number, value in enumerate((True, False)):
        block = settings.dump(settings.parse(settings.Method, {"tower": "none", **METHODS[name], "balance": value}))
        given = {"method": block, "tower": settings.dump(settings.Tower(model="local-dir:nowhere")), "seed": 0}
        outputs = {"checkpoint": tmp_path / f"{number}.safetensors", "history": tmp_path / f"{number}.parquet"}
        inputs = {key: [path] for key, path in files.items()}
        train.run(stage.Job("train", {**given, "protocol": {}}, "code", {}, inputs, outputs))
        found.append(artefact.read_tensors(outputs["checkpoint"]))
    assert all((value == found[1][key]).all() for key, value in found[0].items())


# --------------------------------------------------------------------------------------------- refusals


def changed(folder: Path, keep: Any) -> dict[str, list[Path]]:
    """Files of a subject of whose trials only some are left: ``keep`` takes class and split of each."""
    files = oddball.write(folder)
    with artefact.open_h5(files["responses"]) as file:
        kept = {key: file[key][:] for key in file}
    rows = np.flatnonzero(keep(kept["stimulus"], kept["split"]))
    with artefact.create_h5(folder / "some.h5", oddball.MADE) as file:
        file.attrs["sfreq"] = 20.0
        for key, values in kept.items():
            file[key] = values[rows] if key in ("response", "stimulus", "split", "session") else values
    return {"responses": [folder / "some.h5"], "stimuli": [files["stimuli"]]}


def trained(folder: Path, inputs: dict[str, list[Path]], **method: Any) -> None:
    block = settings.dump(settings.parse(settings.Method, {"tower": "none", **method}))
    given = {"method": block, "tower": settings.dump(settings.Tower(model="local-dir:nowhere")), "seed": 0}
    outputs = {"checkpoint": folder / "some.safetensors", "history": folder / "some.parquet"}
    train.run(stage.Job("train", {**given, "protocol": {}}, "code", {}, inputs, outputs))


def test_lda_says_why_it_cannot(tmp_path: Path) -> None:
    one_class = changed(tmp_path, lambda stimulus, split: (stimulus == 0) | (split == 1))
    with pytest.raises(stage.InputError, match=r"knows only classes that it was trained on; 1 of the 2 .*target"):
        trained(tmp_path, one_class, kind="lda")
    with pytest.raises(stage.InputError, match="all 3 training responses are of the class a"):
        lda.Method._check(np.array(["a"] * 3), np.array(["a"]), np.array(["a"]))
    everything = changed(tmp_path, lambda stimulus, split: split >= 0)
    with pytest.raises(stage.InputError, match=r"found 2 of 2 classes.*average_repetitions: false"):
        trained(tmp_path, everything, kind="lda", average_repetitions=True)


def test_ridge_says_why_two_averages_are_too_few(tmp_path: Path) -> None:
    everything = changed(tmp_path, lambda stimulus, split: split >= 0)
    with pytest.raises(stage.InputError, match=r"folds: 5 needs .*found 2, of 2 .*average_repetitions: false"):
        trained(tmp_path, everything, kind="ridge")
    assert len(list(folds(5, np.array(["a", "b"] * 5), "folds"))) == 5


@pytest.mark.parametrize("alphas", [[0.0, 1.0], [-1.0], [], [float("nan")]])
def test_penalties_that_are_no_penalties_are_refused(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="alphas"):
        settings.Ridge(tower="t", alphas=alphas)


def test_a_model_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    inputs = changed(tmp_path, lambda stimulus, split: split >= 0)
    with artefact.open_h5(inputs["stimuli"][0]) as source:
        kept, attributes = {key: source[key][:] for key in source}, dict(source.attrs)
    kept["embedding"] = np.where(np.arange(12) == 3, np.nan, kept["embedding"])
    inputs["stimuli"] = [tmp_path / "broken.h5"]
    with artefact.create_h5(inputs["stimuli"][0], oddball.MADE, {"embedding", "caption_embedding"}) as file:
        file.attrs.update(kind=attributes["kind"], cache=attributes["cache"])
        for key, values in kept.items():
            file[key] = values
    with pytest.raises(stage.InputError, match="not finite"):
        trained(tmp_path, inputs, **METHODS["ridge"])
    assert not (tmp_path / "some.safetensors").exists()


def queries(**changes: Any) -> tasks.Queries:
    similarity, target = unequal(5, 40)
    ids = np.array(["face", "house"], dtype=object)
    return tasks.Queries(**{"task": "category", "repetitions": 1, "ids": ids, "target": target,
                            "similarity": similarity, "classes": True, **changes})  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": np.zeros(40, int)}, "all 40 test responses are of the class face, one of 2"),
        ({"similarity": np.full((40, 2), np.nan)}, "80 of 80 similarities are not finite"),
        ({"similarity": np.where(np.arange(80).reshape(40, 2) == 5, np.inf, 0.1)}, "1 of 80 similarities"),
        ({"ids": np.array(["face"], dtype=object), "target": np.zeros(40, int), "similarity": np.ones((40, 1)),
          "classes": False}, "1 candidate, so every answer is right"),
    ],
)  # fmt: skip
def test_scores_that_would_say_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(stage.InputError, match=words):
        query_table.check(queries(**changes), RUN)
    query_table.check(queries(), RUN)


def test_a_test_response_to_no_candidate_is_refused() -> None:
    np.testing.assert_array_equal(tasks.shown(np.array([3, 5, 8]), [8, 3]), [2, 0])
    with pytest.raises(stage.InputError, match="1 averaged test responses show stimuli that are not candidates"):
        tasks.shown(np.array([3, 5, 8]), [3, 4])


def test_a_test_of_one_class_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = changed(tmp_path, lambda stimulus, split: (split == 0) | (stimulus == 0))
    monkeypatch.setattr(oddball, "write", lambda *_: {name: paths[0] for name, paths in inputs.items()})
    with pytest.raises(stage.InputError, match="are of the class standard, one of 2"):
        scored(tmp_path, METHODS["lda"])


# ------------------------------------------------------------------------------------------------ tables


@pytest.fixture
def class_job(tmp_path: Path) -> stage.Job:
    """Tables of two methods and three subjects whose classes are five to one; one method has one seed of two."""
    inputs: dict[str, list[Path]] = {"rows": [], "summary": []}
    for (method, seeds), subject in itertools.product({"net": (0, 1), "ridge": (0,)}.items(), ("01", "02", "03")):
        for seed in seeds:
            run = {**RUN, "method": method, "subject": subject, "seed": seed}
            similarity, target = unequal(int(subject))
            similarity = similarity + 0.1 * np.random.default_rng(seed).standard_normal(similarity.shape)
            rows = rows_of(similarity, target, run)
            path = tmp_path / method / f"{subject}-{seed}.parquet"
            artefact.write_table(path, rows, oddball.MADE)
            summary = statistics.summary(rows, {**RETRIEVAL, "bootstrap": 100})
            artefact.write_table(path.with_suffix(".summary.parquet"), summary, oddball.MADE, statistics.UNKNOWN)
            inputs["rows"].append(path)
            inputs["summary"].append(path.with_suffix(".summary.parquet"))
    one = {"experiments": ["main"], "metric": "category:balanced-accuracy"}
    shown = {
        "balanced": {**one, "kind": "methods"},
        "plain": {**one, "kind": "methods", "metric": "category:top-1"},
        "classes": {**one, "kind": "classes"},
        "overview": {**one, "kind": "overview", "metric": "top-1"},
        "contrast": {**one, "kind": "contrast", "reference": "ridge"},
    }
    experiment = {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["net", "ridge"], "seeds": [0, 1]}
    given = {"tables": shown, "experiments": {"main": experiment}, "methods": {"net": "Net", "ridge": "Ridge"}}
    given |= {"retrieval": {**RETRIEVAL, "bootstrap": 100}, "protocols": {"p": "leave-one-subject-out"}}
    outputs = {
        f"{name}.{ending}": tmp_path / f"{name}.{ending}" for name in shown for ending in ("parquet", "md", "tex")
    }
    outputs["summary"] = tmp_path / "summary.parquet"
    return stage.Job("tables", given, "code", {}, inputs, outputs)


def test_tables_say_how_unequal_classes_are_and_what_decides(class_job: stage.Job) -> None:
    tables.run(class_job)
    text = {name: " ".join(class_job.output(f"{name}.md").read_text().split()) for name in class_job.settings["tables"]}
    share = artefact.read_table(class_job.output("plain.parquet")).query("level == 'mean'")["largest_class"].mean()
    balanced = artefact.read_table(class_job.output("balanced.parquet")).query("level == 'mean'").set_index("method")
    told = f"always naming the largest class gives a Top-1 of {100 * share:.1f} %"
    for name in ("balanced", "plain", "classes", "overview"):
        assert told in text[name]
    assert f"chance {100 * share:.1f} %" in text["plain"]
    assert "chance 50.0 %" in text["balanced"]
    assert "chance 50.0 %" in text["classes"]
    for method, label in (("net", "Net"), ("ridge", "Ridge")):
        assert f"{label} {100 * balanced.loc[method, 'value']:.1f}" in text["plain"], "the balanced number stands below"
    assert "balanced accuracy" in text["overview"]
    assert f"| {100 * balanced.loc['net', 'value']:.1f} [" in text["overview"], "and is the number of the overview"
    assert "Ridge (1 seed)" in text["balanced"]
    assert "Net (" not in text["balanced"]
    for name in ("balanced", "classes", "overview", "contrast"):
        assert "Student's t over the means of 3 subjects (below 8 subjects)" in text[name]
        assert "share training subjects" in text[name]
    assert "t 95 % CI (decides)" in text["contrast"]

    # A line for each class.
    body = test_tables.cells(class_job.output("classes.md").read_text())
    assert [row[0] for row in body[2:]] == ["class 0", "class 1", "Balanced accuracy", "AUC", "Top-1", "largest class"]
    frame = artefact.read_table(class_job.output("classes.parquet"))
    own = frame[(frame["level"] == "class") & (frame["method"] == "net")].set_index("target")
    assert body[2][2] == f"{100 * own.loc['class 0', 'value']:.1f}"
    assert int(body[2][1]) + int(body[3][1]) == 3 * 240
    mean_of = frame[(frame["level"] == "mean") & (frame["metric"] == "category:balanced-accuracy")]
    assert own["value"].mean() == pytest.approx(mean_of.set_index("method").loc["net", "value"])


def test_a_table_of_classes_needs_classes(make_job) -> None:  # noqa: F811
    job = make_job(seeds=(0,))
    job.settings["tables"] = {"it": {"kind": "classes", "experiments": ["demo"], "metric": "top-1"}}
    with pytest.raises(stage.InputError, match="candidates of task stimulus are not classes"):
        tables.run(job)


def test_equal_classes_need_no_note(make_job) -> None:  # noqa: F811
    job = make_job(seeds=(0,), classes=True)
    job.settings["tables"] = {"main": job.settings["tables"]["main"]}
    tables.run(job)
    assert "unequally" not in job.output("main.md").read_text()


def test_a_study_of_prompts_has_classes_whatever_its_task_is_called(tmp_path: Path) -> None:
    files = oddball.write(tmp_path)
    with open_stimuli(files["stimuli"], None) as file:
        split = file["split"].asstr()[:]
    assert tasks.are_classes("stimulus", split)
    assert not tasks.are_classes("stimulus", np.array(["train", "test"]))
    assert tasks.are_classes("category", np.array(["train", "test"]))
    assert load_responses([files["responses"]], "train", None).values.shape[0] == 320


@pytest.mark.parametrize(
    ("tasks", "study", "words"),
    [
        (["category"], {"kind": "simulated", "subjects": 2}, r"methods\.lda .*test concepts of studies\.s are others"),
        (
            ["category", "caption"],
            None,
            r"methods\.lda .*neither with texts nor with pictures; remove caption from retrieval\.tasks",
        ),
    ],
)
def test_lda_is_refused_before_anything_runs_where_it_cannot_serve(tmp_path: Path, tasks, study, words) -> None:
    data = voxel_tables.write(tmp_path / "data")
    config = {
        "studies": {"s": study or voxel_tables.study(data)},
        "bands": {"b": {}},
        "rois": {"b": {}},
        "towers": {"t": {"model": "local-dir:nowhere"}},
        "protocols": {"p": {"kind": "intra-subject"}},
        "methods": {"lda": {"kind": "lda", "tower": "t"}},
        "experiments": {"e": {"study": "s", "signals": ["b"], "protocols": ["p"], "methods": ["lda"]}},
        "retrieval": {"tasks": tasks},
    }
    plan = Plan(settings.load(config))
    with pytest.raises(stage.InputError, match=words):
        plan.train_spec(plan.runs()[0])
