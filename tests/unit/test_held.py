"""What picture features hold of a known drive."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from brain2clip.retrieval.held import held

N_TRAINING, N_TEST = 120, 60


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((N_TRAINING + N_TEST, 6))
    features = {"seen": 3 * seen + 1, "other": rng.standard_normal((len(seen), 2, 5))}
    drives = {
        "clean": seen @ rng.standard_normal((6, 4)),
        "noisy": seen @ rng.standard_normal((6, 3)) + 3 * rng.standard_normal((len(seen), 3)),
    }
    concept = [f"concept {i // 5}" for i in range(len(seen))]
    return features, drives, concept, np.arange(len(seen)) < N_TRAINING


def test_a_drive_that_is_linear_in_the_features_is_held_and_one_that_is_not_is_not(world):
    found = held(*world).set_index(["features", "drive"])
    assert found.loc[("seen", "clean"), "r2"] > 0.99
    assert 0.2 < found.loc[("seen", "noisy"), "r2"] < 0.6
    for drive in ("clean", "noisy"):
        assert abs(found.loc[("other", drive), "r2"]) < 0.05
    # Each pair has the penalty that suits it.
    assert found.loc[("seen", "clean"), "alpha"] < found.loc[("other", "clean"), "alpha"]


def test_the_share_is_that_of_scikit_learn(world):
    features, drives, concept, training = world
    found = held({"seen": features["seen"]}, {"noisy": drives["noisy"]}, concept, training, alphas=[7.0])
    x, y = features["seen"], drives["noisy"]
    x = (x - x[training].mean(0)) / x[training].std(0)
    predicted = Ridge(7.0).fit(x[training], y[training]).predict(x[~training])
    # Around the mean over training pictures: r2_score takes that over the rows it is given, so shift them to it.
    about = (y[~training] - y[training].mean(0)) ** 2
    wanted = 1 - ((y[~training] - predicted) ** 2).sum() / about.sum()
    assert found["r2"].item() == pytest.approx(wanted)
    assert wanted == pytest.approx(r2_score(y[~training], predicted, multioutput="variance_weighted"), abs=0.05)


def test_test_pictures_choose_nothing(world):
    features, drives, concept, training = world
    rng = np.random.default_rng(1)
    replaced = {
        name: np.where(training[:, None], values, rng.standard_normal(values.shape)) for name, values in drives.items()
    }
    plain, other = held(*world), held(features, replaced, concept, training)
    assert (plain["alpha"] == other["alpha"]).all()
    assert (other["r2"] < 0.1).all()
