"""Ranks and metrics: properties, an independent implementation, brute force, chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import top_k_accuracy_score

from brain2clip.retrieval import ranks

FINITE = st.floats(-1e6, 1e6, width=32)
SIMILARITY = hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=FINITE)


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_is_one_plus_those_not_worse(similarity: np.ndarray, seed: int) -> None:
    target = np.random.default_rng(seed).integers(similarity.shape[1], size=len(similarity))
    found = ranks.ranks(similarity, target)
    for row, own, rank in zip(similarity, target, found, strict=True):
        others = np.delete(row, own)
        assert rank == 1 + sum(other >= row[own] for other in others)
    assert found.dtype == np.int64


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_ignores_scale_and_order_of_candidates(similarity: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_candidates = similarity.shape[1]
    target, order = rng.integers(n_candidates, size=len(similarity)), rng.permutation(n_candidates)
    base = ranks.ranks(similarity, target)
    assert (base == ranks.ranks(2 * similarity, target)).all()
    assert (base == ranks.ranks(similarity[:, order], np.argsort(order)[target])).all()


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_matches_place_among_the_best(similarity: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(similarity.shape[1], size=len(similarity))
    indices, values = ranks.best(similarity, similarity.shape[1])
    assert (np.diff(values, axis=1) <= 0).all()
    assert (np.sort(indices, axis=1) == np.arange(similarity.shape[1])).all()
    places = (indices == target[:, None]).argmax(axis=1) + 1
    assert (ranks.ranks(similarity, target) >= places).all()


def test_constant_or_broken_similarity_is_last() -> None:
    target = np.array([0, 3, 4])
    assert ranks.ranks(np.zeros((3, 5)), target).tolist() == [5, 5, 5]
    assert ranks.ranks(np.full((3, 5), np.nan), target).tolist() == [5, 5, 5]
    broken = np.array([[1.0, np.nan, 0.0]])
    assert ranks.ranks(broken, [0]).tolist() == [2]
    assert ranks.ranks(broken, [1]).tolist() == [3]


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_top_k_equals_sklearn(k: int) -> None:
    rng = np.random.default_rng(k)
    similarity, target = rng.standard_normal((300, 20)), rng.integers(20, size=300)
    expected = top_k_accuracy_score(target, similarity, k=k, labels=np.arange(20))
    assert ranks.value(f"top-{k}", ranks.ranks(similarity, target), 20) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_n_way_equals_all_draws(n: int) -> None:
    n_candidates = 7
    for rank in range(1, n_candidates + 1):
        others = [place for place in range(1, n_candidates + 1) if place != rank]
        draws = list(itertools.combinations(others, n - 1))
        expected = np.mean([all(rank < other for other in draw) for draw in draws])
        assert ranks.n_way([rank], n_candidates, n)[0] == pytest.approx(expected)


def test_n_way_of_all_is_top_1_and_chance_is_one_over_n() -> None:
    every = np.arange(1, 201)
    np.testing.assert_allclose(ranks.n_way(every, 200, 200), ranks.top_k(every, 1), atol=1e-12)
    for n in (2, 4, 10, 50, 100, 200):
        assert ranks.n_way(every, 200, n).mean() == pytest.approx(1 / n) == ranks.chance(f"{n}-way", 200)
    with pytest.raises(ValueError, match="5-way"):
        ranks.n_way([1], 4, 5)


@pytest.mark.parametrize("metric", ["top-1", "top-5", "top-10", "median-rank", "mean-rank"])
def test_chance_is_the_mean_over_all_ranks(metric: str) -> None:
    assert ranks.value(metric, np.arange(1, 51), 50) == pytest.approx(ranks.chance(metric, 50))


def test_random_similarity_gives_chance() -> None:
    rng = np.random.default_rng(3)
    rank = ranks.ranks(rng.standard_normal((4000, 40)), rng.integers(40, size=4000))
    for k in (1, 5, 10):
        hits = int(ranks.top_k(rank, k).sum())
        low, high = stats.binom.interval(0.9999, 4000, ranks.chance(f"top-{k}", 40))
        assert low <= hits <= high


def test_metric_names() -> None:
    assert ranks.applies("top-5", 5)
    assert not ranks.applies("10-way", 5)
    assert ranks.applies("median-rank", 2)
    assert ranks.chance("top-10", 4) == 1
    assert ranks.is_share("2-way")
    assert not ranks.is_share("mean-rank")
    with pytest.raises(ValueError, match="no metric named 'top-0'"):
        ranks.parse("top-0")


def test_wrong_shapes_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[Q, G\]"):
        ranks.ranks(np.zeros((2, 3)), [0])
    with pytest.raises(ValueError, match="outside the 3 candidates"):
        ranks.ranks(np.zeros((1, 3)), [3])


@given(hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 5)), st.integers(1, 7), st.integers(0, 99))
def test_groups_are_disjoint_full_and_of_one_stimulus(stimulus: np.ndarray, repetitions: int, seed: int) -> None:
    groups = ranks.trial_groups(stimulus, repetitions, seed)
    used = [index for _, indices in groups for index in indices]
    assert len(used) == len(set(used))
    for one, indices in groups:
        assert len(indices) == repetitions
        assert (stimulus[indices] == one).all()
    for one in np.unique(stimulus):
        assert sum(name == one for name, _ in groups) == (stimulus == one).sum() // repetitions


def test_groups_nest_and_repeat() -> None:
    stimulus = np.tile(np.arange(6), 16)
    fours = [set(indices) for _, indices in ranks.trial_groups(stimulus, 4, seed=5)]
    twos = [set(indices) for _, indices in ranks.trial_groups(stimulus, 2, seed=5)]
    assert fours == [twos[2 * number] | twos[2 * number + 1] for number in range(len(fours))]
    again = ranks.trial_groups(stimulus, 4, seed=5)
    assert all((a == sorted(b)).all() for (_, a), b in zip(again, fours, strict=True))
    other = [set(indices) for _, indices in ranks.trial_groups(stimulus, 4, seed=6)]
    assert other != fours


def test_all_repetitions_make_one_group_per_stimulus() -> None:
    groups = ranks.trial_groups([2, 0, 2, 2], "all", seed=0)
    assert [(one, indices.tolist()) for one, indices in groups] == [(0, [1]), (2, [0, 2, 3])]
