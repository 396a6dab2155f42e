"""Tasks: both directions of retrieval, galleries, pools against exact n-way accuracy, the observer's posterior."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from brain2clip import artefact, stage
from brain2clip.names import SOUGHT, TASKS
from brain2clip.responses import same_samples
from brain2clip.retrieval import metric_base, query_table, rank, similarities, summaries, tasks
from brain2clip.training.data import Responses

RUN = {"study": "s", "signal": "vc", "protocol": "intra", "method": "m", "subject": "01", "seed": 0}


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def some_queries(n_queries: int, n_candidates: int, seed: int) -> tasks.Queries:
    rng = np.random.default_rng(seed)
    ids = np.array([f"id-{number}" for number in range(n_candidates)], dtype=object)
    target = rng.integers(n_candidates, size=n_queries)
    return tasks.Queries("stimulus", "all", ids, target, rng.standard_normal((n_queries, n_candidates)))


# ------------------------------------------------------------------------------------------- directions


def test_classes_are_candidates_and_several_pictures_share_one() -> None:
    classes = tasks.gallery(np.eye(3), ["cat", "dog", "owl"], ["owl", "cat", "owl", "dog"])
    brains = np.array([[0.1, 0.2, 0.9], [0.9, 0.1, 0.2]])
    found = tasks.of_brains("category", 2, brains, np.array([2, 1]), classes)
    assert found.ids[found.target].tolist() == ["owl", "cat"]
    assert similarities.ranks(found.similarity, found.target).tolist() == [1, 1]
    with pytest.raises(ValueError, match="2 of them distinct"):
        tasks.gallery(np.eye(3), ["cat", "cat", "owl"], ["owl"])


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 6))
def test_to_brain_is_a_gallery_per_round_of_responses(seed: int, n_rounds: int, n_stimuli: int) -> None:
    """Against the obvious loop: the g-th response to every stimulus is gallery g, every embedding asks once."""
    rng = np.random.default_rng(seed)
    extra = rng.integers(0, 3, n_stimuli) * (rng.random(n_stimuli) < 0.5)
    extra[rng.integers(n_stimuli)] = 0  # one stimulus has no more than n_rounds
    stimulus = np.repeat(np.arange(n_stimuli) + 1, n_rounds + extra)  # stimulus 0 was never shown
    brains, pictures = unit(rng, len(stimulus), 5), unit(rng, n_stimuli + 1, 5)
    names = [f"p{number}" for number in range(n_stimuli + 1)]
    candidates = tasks.gallery(pictures, names, names)
    found = tasks.of_brains("stimulus-to-brain", 3, brains, stimulus, candidates)
    expected = []
    for number in range(n_rounds):
        responses = [brains[np.flatnonzero(stimulus == one)[number]] for one in range(1, n_stimuli + 1)]
        for one in range(1, n_stimuli + 1):
            cosines = [float(pictures[one] @ response) for response in responses]
            expected.append((names[one], 1 + sum(other >= cosines[one - 1] for other in cosines) - 1))
    got = zip(found.ids[found.target], similarities.ranks(found.similarity, found.target), strict=True)
    assert list(got) == expected
    assert found.task == "stimulus-to-brain"


def test_permuted_labels_are_at_chance_in_both_directions() -> None:
    rng = np.random.default_rng(5)
    pictures = unit(rng, 40, 16)
    names = [f"p{number}" for number in range(40)]
    stimulus = np.repeat(np.arange(40), 50)
    near = pictures[stimulus] + 0.3 * rng.standard_normal((2000, 16))
    for labels, low, high in ((stimulus, 0.3, 1.0), (rng.permutation(40)[stimulus], 0.0, 0.1)):
        for task in ("stimulus", "stimulus-to-brain"):
            one = tasks.of_brains(task, 1, near, labels, tasks.gallery(pictures, names, names))
            order = np.argsort(one.target, kind="stable")
            assert len(order) == 2000
            assert low <= metric_base.load("top-1").value(similarities.ranks(one.similarity, one.target), 40) <= high


# ------------------------------------------------------------------------------------------ ideal observer


def test_observer_finds_responses_by_the_posterior_of_the_picture() -> None:
    """Order of responses by p(x | s) / sum over pictures of p(x | s'), by the densities themselves."""
    rng = np.random.default_rng(3)
    means, noise = 2 * rng.standard_normal((6, 4)), np.cov(rng.standard_normal((4, 20)))
    stimulus = np.repeat(np.arange(6), 2)
    responses = means[stimulus] + rng.standard_normal((12, 4)) @ np.linalg.cholesky(noise).T
    log_density = np.stack([multivariate_normal(mean, noise).logpdf(responses) for mean in means], axis=1)
    discriminant = log_density - rng.standard_normal((12, 1))  # known up to a constant per response
    labels = {name: np.array([f"{name}{number}" for number in range(6)], dtype=object) for name in SOUGHT}
    found = tasks.of_observer(["caption", "caption-to-brain"], 1, discriminant, stimulus, labels)
    assert [one.task for one in found] == ["caption", "caption-to-brain"]
    assert found[0].ids.tolist() == labels["caption"].tolist()
    density = np.exp(log_density)
    posterior = density / density.sum(axis=1, keepdims=True)
    expected = np.concatenate([posterior[0::2].T, posterior[1::2].T])
    assert (np.argsort(found[1].similarity, axis=1) == np.argsort(expected, axis=1)).all()


def test_observer_leaves_out_what_is_another_decision(caplog: pytest.LogCaptureFixture) -> None:
    labels = {
        "stimulus": np.array(["a", "b", "c"], dtype=object),
        "category": np.array(["cat", "cat", "owl"], dtype=object),
        "caption": np.array(["", "one", "two"], dtype=object),
    }
    with caplog.at_level("INFO", "brain2clip"):
        found = tasks.of_observer(TASKS, "all", np.eye(3), np.arange(3), labels)
    assert [one.task for one in found] == ["stimulus", "stimulus-to-brain"]
    assert "task category left out; test pictures share a category" in caplog.text


# ----------------------------------------------------------------------------------------------- pools


@given(st.integers(0, 2**31), st.integers(3, 7), st.data())
def test_all_pools_together_give_exact_n_way_accuracy(seed: int, n_candidates: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, n_candidates))
    queries = some_queries(9, n_candidates, seed)
    found = [tasks.in_pool(queries, np.array(pool)) for pool in itertools.combinations(range(n_candidates), size)]
    hits = np.concatenate([rank == 1 for _, rank in found])
    exact = metric_base.load(f"{size}-way").per_query(
        similarities.ranks(queries.similarity, queries.target), n_candidates
    )
    assert hits.mean() == pytest.approx(exact.mean())


def test_random_pools_agree_with_n_way_accuracy() -> None:
    queries = some_queries(400, 60, 1)
    queries.similarity[np.arange(400), queries.target] += 1.5
    table = query_table.table([queries], RUN, {"size": 10, "draws": 300, "seed": 0})
    inside = table[table["pool"] > 0]
    exact = metric_base.load("10-way").value(similarities.ranks(queries.similarity, queries.target), 60)
    by_pool = (inside["rank"] == 1).groupby(inside["pool"]).mean()
    assert len(by_pool) == 300
    assert (inside["rank"] == 1).mean() == pytest.approx(exact, abs=4 * by_pool.std() / np.sqrt(300))
    assert set(inside["n_candidates"]) == {10}
    counts = inside.groupby("pool")["target"].nunique()
    assert counts.max() <= 10


def test_pools_are_seeded_and_the_same_for_every_method() -> None:
    drawn = tasks.pools(50, 7, 60, seed=3)
    assert (drawn == tasks.pools(50, 7, 60, seed=3)).all()
    assert (drawn != tasks.pools(50, 7, 60, seed=4)).any()
    assert (np.diff(drawn, axis=1) > 0).all()
    assert len(np.unique(drawn)) == 50
    assert (tasks.pools(50, 7, 5, seed=3) == drawn[:5]).all()  # more draws change none of the earlier ones


def test_pools_larger_than_the_gallery_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "brain2clip"):
        table = query_table.table([some_queries(9, 5, 0)], RUN, {"size": 6, "draws": 2, "seed": 0})
    assert set(table["pool"]) == {0}
    assert "has 5 candidates, fewer than 6" in caplog.text


# ------------------------------------------------------------------------------------------- the stage

SETTINGS = {
    "run": RUN,
    "method": {},
    "tower": {},
    "retrieval": {
        **{
            "tasks": [task for task in TASKS if task != "template"],
            "repetitions": [1, "all"],
            "pools": {"size": 4, "draws": 3},
        },
    },
}
N_TRAIN, N_TEST, REPETITIONS, WIDTH = 4, 6, 5, 8


class FakePredictor:
    """Brains are responses as they are; candidates come from the stimuli file."""

    kinds: ClassVar[dict[str, str]] = {"stimulus": "embedding", "caption": "caption_embedding"}
    refuses: ClassVar[set[str]] = set()

    def __init__(self, method, tower, tensors, responses, stimuli, rows, subject) -> None:
        assert subject == "01"
        self.stimuli, self.rows = stimuli, rows
        self.concepts = np.unique(stimuli["concept"].asstr()[:][rows])
        arrays = {kind: stimuli[name][:][rows] for kind, name in self.kinds.items()}
        of = stimuli["concept"].asstr()[:][rows]
        self.arrays = {**arrays, "category": np.stack([arrays["stimulus"][of == one].mean(0) for one in self.concepts])}

    def placed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        length = np.linalg.norm(values, axis=1)
        return values / length[:, None], length

    def candidates(self, kind: str) -> np.ndarray:
        if kind in self.refuses:
            raise stage.InputError(f"no candidates of kind {kind}")
        return self.arrays[kind]


@pytest.fixture
def ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    made = artefact.Provenance("test", {}, "code")
    n = N_TRAIN + N_TEST
    pictures = unit(rng, n, WIDTH)
    stimulus = np.repeat(np.arange(n), REPETITIONS)
    ids = [f"s{number}" for number in range(n)]
    with artefact.create_h5(tmp_path / "stimuli.h5", made) as file:
        file["split"] = ["train"] * N_TRAIN + ["test"] * N_TEST
        file["stimulus_id"], file["concept"] = ids, [f"c{number // 2}" for number in range(n)]
        file["embedding"], file["caption_embedding"] = pictures, pictures + 0.01

    shown = stimulus[N_TRAIN * REPETITIONS :]
    values = pictures[shown] + 0.2 * rng.standard_normal((N_TEST * REPETITIONS, WIDTH))
    digests = same_samples.RowDigests(len(values))
    digests.add(values)
    recordings = same_samples.Recordings.of([("sub-01_run-1", digests.sketch())])
    loaded = Responses(
        *(values, shown, np.zeros(len(shown), np.int64), np.zeros(0), 0.0, ["v"] * WIDTH, ids), recordings=recordings
    )
    monkeypatch.setattr(rank, "tested", lambda *_: loaded)
    monkeypatch.setattr(rank, "Predictor", FakePredictor)
    monkeypatch.setattr(rank.artefact, "read_tensors", lambda *_: {})
    for name in ("responses.h5", "checkpoint.safetensors"):
        (tmp_path / name).touch()

    def run(**retrieval) -> tuple:
        given = {**SETTINGS, "retrieval": {**SETTINGS["retrieval"], **retrieval}}
        inputs = {name: [tmp_path / "stimuli.h5"] for name in ("responses", "stimuli", "checkpoint")}
        outputs = {name: tmp_path / f"{name}.parquet" for name in ("rows", "summary")}
        rank.run(stage.Job("rank", given, "code", {}, inputs, outputs))
        options = {
            "metrics": ["top-1", "median-rank", "mean-rank", "2-way"],
            "bootstrap": 100,
            "level": 0.95,
            "seed": 0,
        }
        summary = {"summary": outputs.pop("summary")}
        summaries.run(stage.Job("summaries", options, "code", {}, {"rows": [outputs["rows"]]}, summary))
        return artefact.read_table(outputs["rows"]), artefact.read_table(summary["summary"])

    return run


@pytest.mark.parametrize("meant", [False, True])
def test_two_subjects_with_the_same_samples_are_refused(ranked, tmp_path, caplog, meant) -> None:
    """Also where each is trained and tested by itself."""
    rows, _ = ranked()
    one = same_samples.Recordings.noted(rows)
    assert one.names == ("sub-01_run-1",)
    own = same_samples.RowDigests(500)
    own.add(np.random.default_rng(1).standard_normal((500, WIDTH)))
    two = same_samples.Recordings(("sub-02_run-1",), one.sketches, meant)
    three = same_samples.Recordings.of([("sub-03_run-1", own.sketch())])
    for name, recordings in (("01", one), ("02", two), ("03", three)):
        recordings.note(rows)
        made = artefact.Provenance("test", {}, "code")
        artefact.write_table(tmp_path / f"{name}.parquet", rows.assign(subject=name), made)

    def summarised(*names: str) -> None:
        options = {"metrics": ["top-1"], "bootstrap": 100, "level": 0.95, "seed": 0}
        given = {"rows": [tmp_path / f"{name}.parquet" for name in names]}
        summaries.run(stage.Job("summaries", options, "code", {}, given, {"summary": tmp_path / "summary.parquet"}))

    summarised("01", "01", "03")  # seeds of one subject
    assert caplog.text == ""
    words = "sub-01_run-1 and sub-02_run-1 hold the same samples"
    if meant:
        summarised("01", "02", "03")
        assert words in caplog.text
    else:
        with pytest.raises(stage.InputError, match=words):
            summarised("01", "02", "03")


def test_the_stage_writes_every_task_and_pool(ranked) -> None:
    table, summary = ranked()
    assert table.columns.tolist() == list(query_table.COLUMNS)
    assert table["pool"].dtype == np.int32
    everything = table[table["pool"] == 0].groupby(["task", "repetitions"])
    assert everything.size().to_dict() == {
        (task, repetitions): N_TEST * (REPETITIONS if repetitions == "1" else 1)
        for task in SETTINGS["retrieval"]["tasks"]
        for repetitions in ("1", "all")
    }
    counts = everything["n_candidates"].first()
    of_classes = ["category", "category-csls"]
    assert set(counts[of_classes]) == {N_TEST // 2}
    assert set(counts.drop(of_classes)) == {N_TEST}
    assert set(table.loc[table["task"] == "category", "target"]) == {"c2", "c3", "c4"}
    assert set(table.loc[table["task"] == "caption-to-brain", "target"]) == {f"s{n}" for n in range(4, 10)}
    pooled = table[table["pool"] > 0]
    # Three classes fill no pool, and scores that all candidates went into are none of a pool.
    assert set(pooled["task"]) == {"stimulus", "caption", "stimulus-to-brain", "caption-to-brain"}
    assert set(pooled["top_ids"].str.len()) == {0}
    names = set(summary["metric"])
    assert {"top-1", "top-1@1", "category:top-1", "stimulus/4:top-1@1", "caption-to-brain/4:2-way"} <= names
    assert not any(name.startswith(("stimulus:", "category/")) for name in names)
    assert (table[table["repetitions"] == "all"].groupby("task")["rank"].mean() < 1.5).all()


def test_a_margin_says_how_certain_a_response_is_where_its_length_does(ranked) -> None:
    table, _ = ranked(tasks=["stimulus"])
    assert ((table["margin"] > 0) == (table["rank"] == 1)).all()
    one = tasks.of_brains(
        "stimulus", 1, np.eye(3), np.arange(3), tasks.gallery(np.eye(3), list("abc"), list("abc")), np.array([1, 2, 4])
    )
    np.testing.assert_allclose(one.margins(), [1, 2, 4])
    np.testing.assert_allclose(one.margins(np.array([1, 2]), np.array([1, 2])), [2, 4])
    assert tasks.to_brain(one).length is None


@pytest.mark.parametrize(("n_queries", "neighbours"), [(12, 3), (4, 10)])
def test_csls_is_that_of_its_paper_on_all_queries_at_once(n_queries: int, neighbours: int) -> None:
    """Conneau et al. 2018: 2 cos(x, y) - r(x) - r(y), r the mean cosine of the nearest on the other side; by hand."""
    rng = np.random.default_rng(3)
    brains, candidates = (unit(rng, count, 5) for count in (n_queries, 6))
    shown = rng.integers(0, 6, n_queries)
    names = list("abcdef")
    given = "all", brains, shown, tasks.gallery(candidates, names, names), rng.random(n_queries), neighbours
    found, plain = tasks.of_brains("stimulus-csls", *given), tasks.of_brains("stimulus", *given)
    for query, candidate in itertools.product(range(n_queries), range(6)):
        of_query = sorted((brains[query] @ other for other in candidates), reverse=True)[:neighbours]
        of_candidate = sorted((other @ candidates[candidate] for other in brains), reverse=True)[:neighbours]
        expected = 2 * brains[query] @ candidates[candidate] - np.mean(of_query) - np.mean(of_candidate)
        assert found.similarity[query, candidate] == pytest.approx(expected)
    assert (found.task, found.target.tolist(), found.length) == ("stimulus-csls", plain.target.tolist(), None)
    # One query more changes what the others get: that is what transductive means.
    fewer = tasks.of_brains("stimulus-csls", "all", brains[1:], shown[1:], *given[3:4], None, neighbours)
    assert not np.allclose(fewer.similarity, found.similarity[1:])


def test_a_candidate_that_is_near_to_all_queries_loses_by_csls() -> None:
    similarity = np.hstack([0.5 * np.eye(8), np.full((8, 1), 0.6)])
    names = np.array(list("abcdefghi"), dtype=object)
    plain = tasks.Queries("stimulus", "all", names, np.arange(8), similarity)
    assert (plain.similarity.argmax(axis=1) == 8).all()
    assert (tasks.scored(plain, "stimulus-csls", 3).similarity.argmax(axis=1) == np.arange(8)).all()


def test_a_single_task_is_what_it_was_before_tasks(ranked) -> None:
    table, summary = ranked(tasks=["stimulus"], pools=None)
    assert set(table["task"]) == {"stimulus"}
    assert set(table["pool"]) == {0}
    assert summary["metric"].tolist() == [
        f"{name}{ending}" for ending in ("@1", "") for name in ("top-1", "median-rank", "mean-rank", "2-way")
    ]


def test_a_task_that_a_method_cannot_do_stops(ranked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePredictor, "refuses", {"caption"})
    with pytest.raises(stage.InputError, match="no candidates of kind caption"):
        ranked()
    ranked(tasks=["stimulus", "category"])
