"""Ranks and groups of trials: properties and an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brain2clip.retrieval import similarities
from brain2clip.retrieval.repetitions import trial_groups

FINITE = st.floats(-1e6, 1e6, width=32)
SIMILARITY = hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=FINITE)


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_is_one_plus_those_not_worse(similarity: np.ndarray, seed: int) -> None:
    target = np.random.default_rng(seed).integers(similarity.shape[1], size=len(similarity))
    found = similarities.ranks(similarity, target)
    for row, own, rank in zip(similarity, target, found, strict=True):
        others = np.delete(row, own)
        assert rank == 1 + sum(other >= row[own] for other in others)
    assert found.dtype == np.int64


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_ignores_scale_and_order_of_candidates(similarity: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_candidates = similarity.shape[1]
    target, order = rng.integers(n_candidates, size=len(similarity)), rng.permutation(n_candidates)
    base = similarities.ranks(similarity, target)
    assert (base == similarities.ranks(2 * similarity, target)).all()
    assert (base == similarities.ranks(similarity[:, order], np.argsort(order)[target])).all()


@given(SIMILARITY, st.integers(0, 2**31))
def test_rank_matches_place_among_the_best(similarity: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(similarity.shape[1], size=len(similarity))
    indices, values = similarities.best(similarity, similarity.shape[1])
    assert (np.diff(values, axis=1) <= 0).all()
    assert (np.sort(indices, axis=1) == np.arange(similarity.shape[1])).all()
    places = (indices == target[:, None]).argmax(axis=1) + 1
    assert (similarities.ranks(similarity, target) >= places).all()


def test_constant_similarity_is_last_and_broken_similarity_has_no_rank() -> None:
    target = np.array([0, 3, 4])
    assert similarities.ranks(np.zeros((3, 5)), target).tolist() == [5, 5, 5]
    for broken in (np.nan, np.inf):
        for own in (0, 1):
            with pytest.raises(ValueError, match="1 of 3 similarities not finite"):
                similarities.ranks(np.array([[1.0, broken, 0.0]]), [own])


def test_a_margin_is_the_distance_to_the_best_other_candidate() -> None:
    similarity = np.array([[0.1, 0.7, 0.3], [0.5, 0.2, 0.5]])
    np.testing.assert_allclose(similarities.margins(similarity, [1, 1]), [0.4, -0.3])
    np.testing.assert_allclose(similarities.margins(similarity, [0, 0]), [-0.6, 0])
    assert np.isnan(similarities.margins(np.ones((2, 1)), [0, 0])).all()


def test_wrong_shapes_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[Q, G\]"):
        similarities.ranks(np.zeros((2, 3)), [0])
    with pytest.raises(ValueError, match="outside the 3 candidates"):
        similarities.ranks(np.zeros((1, 3)), [3])


@given(hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 5)), st.integers(1, 7), st.integers(0, 99))
def test_groups_are_disjoint_full_and_of_one_stimulus(stimulus: np.ndarray, repetitions: int, seed: int) -> None:
    groups = trial_groups(stimulus, repetitions, seed)
    used = [index for _, indices in groups for index in indices]
    assert len(used) == len(set(used))
    for one, indices in groups:
        assert len(indices) == repetitions
        assert (stimulus[indices] == one).all()
    for one in np.unique(stimulus):
        assert sum(name == one for name, _ in groups) == (stimulus == one).sum() // repetitions


def test_groups_nest_and_repeat() -> None:
    stimulus = np.tile(np.arange(6), 16)
    fours = [set(indices) for _, indices in trial_groups(stimulus, 4, seed=5)]
    twos = [set(indices) for _, indices in trial_groups(stimulus, 2, seed=5)]
    assert fours == [twos[2 * number] | twos[2 * number + 1] for number in range(len(fours))]
    again = trial_groups(stimulus, 4, seed=5)
    assert all((a == sorted(b)).all() for (_, a), b in zip(again, fours, strict=True))
    other = [set(indices) for _, indices in trial_groups(stimulus, 4, seed=6)]
    assert other != fours


def test_all_repetitions_make_one_group_per_stimulus() -> None:
    groups = trial_groups([2, 0, 2, 2], "all", seed=0)
    assert [(one, indices.tolist()) for one, indices in groups] == [(0, [1]), (2, [0, 2, 3])]
