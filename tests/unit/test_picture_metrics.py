"""Metrics of generated pictures: by hand, by scikit-image, and what must hold of any features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from brain2clip.generation import picture_metrics
from brain2clip.generation.picture_metrics import Looked


def pictures(count: int, side: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side, side, 3))


def pixcorr(a: np.ndarray, b: np.ndarray) -> float:
    return picture_metrics.pixcorr(Looked.at(a), Looked.at(b))


@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_is_that_of_scikit_image(seed: int) -> None:
    a, b = pictures(2, 61, seed)
    b = 0.7 * a + 0.3 * b
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = structural_similarity(rgb2gray(a), rgb2gray(b), **options)
    assert picture_metrics.ssim(Looked.at(a), Looked.at(b)) == pytest.approx(expected, abs=1e-14)
    assert picture_metrics.ssim(Looked.at(a), Looked.at(a)) == 1


def test_ssim_of_flat_pictures_by_hand() -> None:
    """Without variance the second factor is 1: (2 a b + C1) / (a² + b² + C1)."""
    dark, light = (np.full((30, 30, 3), value) for value in (0.2, 0.8))
    grey = picture_metrics.GREY.sum()
    assert grey == pytest.approx(1)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert picture_metrics.ssim(Looked.at(dark), Looked.at(light)) == pytest.approx(expected)


def test_pixcorr_is_pearson_over_all_colours() -> None:
    a, b = pictures(2)
    assert pixcorr(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-12)
    assert pixcorr(a, 1 - a) == pytest.approx(-1)
    assert pixcorr(a.astype(np.float32), 0.25 * a.astype(np.float32) + 0.1) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_picture_of_one_colour_correlates_with_nothing(value: float) -> None:
    flat = np.full((40, 40, 3), value)
    assert pixcorr(pictures(1)[0], flat) == 0
    assert pixcorr(flat, flat) == 0


def correlations(features_seen: np.ndarray, features_given: np.ndarray) -> np.ndarray:
    return picture_metrics.standardised(features_seen) @ picture_metrics.standardised(features_given).T


def by_definition(seen: np.ndarray, shown: np.ndarray) -> list[float]:
    """Two-way identification as it is written down, pair by pair."""
    n = len(seen)
    r = np.array([[np.corrcoef(y, g)[0, 1] for g in shown] for y in seen])
    return [sum(r[j, i] < r[i, i] for j in range(n) if j != i) / (n - 1) for i in range(n)]


def two_way(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
    own = np.arange(len(shown))
    return picture_metrics.two_way(picture_metrics.ranks(correlations(seen, shown), own), len(seen))


def test_two_way_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((12, 30))
    shown = 0.3 * seen + rng.standard_normal((12, 30))
    found = two_way(seen, shown)
    np.testing.assert_allclose(found, by_definition(seen, shown), atol=1e-12)
    assert 0.5 < found.mean() < 1, "neither perfect nor chance, so that the comparison says something"


def test_two_way_of_equal_pictures_is_one_and_of_shuffled_ones_a_half() -> None:
    seen = np.random.default_rng(1).standard_normal((300, 40))
    assert two_way(seen, seen).tolist() == [1.0] * 300
    shuffled = two_way(seen, seen[picture_metrics.others(300)])
    assert shuffled.mean() == pytest.approx(0.5, abs=4 * shuffled.std() / np.sqrt(300))


def test_ties_count_against() -> None:
    seen = np.random.default_rng(2).standard_normal((5, 20))
    same = np.repeat(seen[:1], 5, axis=0)
    assert two_way(same, seen).tolist() == [0.0] * 5
    assert picture_metrics.ranks(correlations(same, seen), np.arange(5)).tolist() == [5] * 5
    flat = np.ones((5, 20))
    assert two_way(seen, flat).tolist() == [0.0] * 5, "a constant picture is as near to all"


features = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).standard_normal((2, 9, 12)).astype(np.float32)
)


@settings(max_examples=30, deadline=None)
@given(features, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(both: np.ndarray, random) -> None:
    seen, shown = both
    order = np.array(random.sample(range(9), 9))
    back = np.argsort(order)
    rank = picture_metrics.ranks(correlations(seen, shown), np.arange(9))
    moved = picture_metrics.ranks(correlations(seen[order], shown), back)
    assert moved.tolist() == rank.tolist()


@settings(max_examples=30, deadline=None)
@given(features, st.integers(0, 8))
def test_a_copy_of_the_seen_picture_is_a_tie_against(both: np.ndarray, place: int) -> None:
    seen, shown = both
    rank = picture_metrics.ranks(correlations(seen, shown), np.arange(9))
    copied = picture_metrics.ranks(correlations(np.concatenate([seen, seen[[place]]]), shown), np.arange(9))
    assert copied[place] == rank[place] + 1
    assert (copied >= rank).all()


@pytest.mark.parametrize("count", [2, 3, 50])
def test_another_is_never_its_own(count: int) -> None:
    found = picture_metrics.others(count)
    assert sorted(found) == list(range(count))
    assert (found != np.arange(count)).all()
    assert found.tolist() == picture_metrics.others(count).tolist()
