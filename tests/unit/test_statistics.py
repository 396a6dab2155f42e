"""Intervals cover what they claim, and the paired difference sees what is there and nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from brain2clip.names import MetricName
from brain2clip.retrieval import metric_base, statistics

METRICS = ["top-1", "top-3", "top-5", "top-10", "median-rank", "mean-rank", "2-way", "4-way", "10-way", "50-way"]
RETRIEVAL = {"metrics": METRICS, "bootstrap": 500, "level": 0.95, "seed": 0}


def rows_of(
    rank: np.ndarray,
    method: str = "neuroclip",
    subject: str = "01",
    seed: int = 0,
    n_candidates: int = 20,
    target: np.ndarray | None = None,
    repetitions: str = "all",
) -> pd.DataFrame:
    names = {"study": "simulated", "signal": "broad", "protocol": "intra-subject", "method": method}
    target = np.arange(len(rank)) if target is None else target
    return pd.DataFrame(
        {
            **{name: [value] * len(rank) for name, value in names.items()},
            **{"subject": subject, "seed": seed, "repetitions": repetitions, "query": np.arange(len(rank))},
            **{"target": [f"picture-{one}" for one in target], "n_candidates": n_candidates, "rank": rank},
            **{"task": "stimulus", "pool": 0, "margin": np.nan, "classes": False},
        }
    )


def study(
    rng: np.random.Generator, effect: float, method: str, n_subjects: int = 4, n_seeds: int = 3, n_stimuli: int = 60
) -> pd.DataFrame:
    """Hits by a logistic model with difficulty of stimuli and skill of subjects in common to all methods."""
    shared = np.random.default_rng(99)
    difficulty, skill = shared.normal(0, 1, n_stimuli), shared.normal(0, 0.5, n_subjects)
    parts = []
    for subject, seed in itertools.product(range(n_subjects), range(n_seeds)):
        share = 1 / (1 + np.exp(-(difficulty + skill[subject] + effect)))
        rank = np.where(rng.random(n_stimuli) < share, 1, 5)
        parts.append(rows_of(rank, method, f"{subject:02d}", seed))
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize(("statistic", "truth"), [("share", 0.6), ("mean", 0.6)])
def test_interval_covers_the_truth(statistic: statistics.Statistic, truth: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for number in range(400):
        values = (rng.random(100) < truth).astype(float)
        low, high = statistics.bootstrap_interval(values, np.arange(100), statistic, 500, 0.95, number)
        covered += low <= truth <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_interval_of_the_median_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for number in range(300):
        low, high = statistics.bootstrap_interval(rng.integers(1, 52, 101), np.arange(101), "median", 400, 0.9, number)
        covered += low <= 26 <= high
    assert 0.86 <= covered / 300 <= 0.97


def test_clusters_count_not_queries() -> None:
    """Forty copies of a query say no more than one: only resampling of clusters knows."""
    rng = np.random.default_rng(3)
    few = (rng.random(50) < 0.5).astype(float)
    cluster = np.repeat(np.arange(50), 40)
    width = np.ptp(statistics.bootstrap_interval(few, np.arange(50)))
    clustered = np.ptp(statistics.bootstrap_interval(np.repeat(few, 40), cluster))
    naive = np.ptp(statistics.bootstrap_interval(np.repeat(few, 40), np.arange(2000)))
    assert clustered == pytest.approx(width, rel=0.15)
    assert naive == pytest.approx(width / np.sqrt(40), rel=0.2)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_equals_plain_resampling(statistic: statistics.Statistic) -> None:
    """The fast way (counts of kinds of clusters) against the obvious one."""
    rng = np.random.default_rng(4)
    cluster = rng.integers(0, 30, 200)
    values = rng.integers(1, 20, 200) + cluster % 5
    parts = [values[cluster == one] for one in np.unique(cluster)]
    of = np.mean if statistic == "mean" else np.median
    samples = [of(np.concatenate([parts[one] for one in rng.integers(0, len(parts), len(parts))])) for _ in range(4000)]
    expected = np.quantile(samples, [0.025, 0.975])
    found = statistics.bootstrap_interval(values, cluster, statistic, 4000)
    np.testing.assert_allclose(found, expected, atol=0.5 if statistic == "median" else 0.12)


def test_all_right_is_not_certain() -> None:
    low, high = statistics.bootstrap_interval(np.ones(50), np.arange(50), "share")
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 50, 1)), 1.0)
    low, high = statistics.bootstrap_interval(np.zeros(50), np.arange(50), "share")
    assert (low, high) == (0.0, pytest.approx(stats.beta.ppf(0.975, 1, 50)))
    assert statistics.bootstrap_interval(np.ones(50), np.arange(50), "mean") == (1.0, 1.0)


def test_no_queries_give_no_interval() -> None:
    assert np.isnan(statistics.bootstrap_interval([], [])).all()


def test_interval_is_deterministic() -> None:
    values = np.random.default_rng(0).random(80)
    assert statistics.bootstrap_interval(values, np.arange(80), seed=1) == statistics.bootstrap_interval(
        values, np.arange(80), seed=1
    )


# --------------------------------------------------------------------------------------------- summary


def test_summary_has_the_columns_and_metrics_of_the_contract() -> None:
    rng = np.random.default_rng(5)
    both = [rows_of(rng.integers(1, 21, 40)), rows_of(rng.integers(1, 21, 80), repetitions="4")]
    found = statistics.summary(pd.concat(both), RETRIEVAL)
    assert found.columns.tolist() == [
        *("study", "signal", "protocol", "method", "subject", "seed", "metric", "value", "ci_low", "ci_high"),
        *("chance", "n_queries", "largest_class", "concepts"),
    ]
    names = ["top-1", "top-3", "top-5", "top-10", "median-rank", "mean-rank", "2-way", "4-way", "10-way"]
    assert found["metric"].tolist() == names + [f"{name}@4" for name in names]
    assert (found["n_queries"] == [40] * 9 + [80] * 9).all()
    assert ((found["ci_low"] <= found["value"]) & (found["value"] <= found["ci_high"])).all()
    rank = both[0]["rank"].to_numpy()
    by_name = found.set_index("metric")
    assert by_name.loc["top-3", "value"] == np.mean(rank <= 3)
    assert by_name.loc["median-rank", "value"] == np.median(rank)
    assert by_name.loc["2-way", "value"] == pytest.approx(np.mean((20 - rank) / 19))
    assert by_name.loc["top-1", "chance"] == 0.05


def test_metrics_beyond_the_candidates_are_left_out() -> None:
    found = statistics.summary(rows_of(np.array([1, 2, 2]), n_candidates=2), RETRIEVAL)
    assert found["metric"].tolist() == ["top-1", "median-rank", "mean-rank", "2-way"]


def test_few_categories_are_fixed_and_their_trials_are_resampled() -> None:
    rows = rows_of(np.ones(40, dtype=int), n_candidates=2, target=np.arange(40) % 2)
    assert len(set(statistics.cluster_labels(rows))) == 40
    assert len(set(statistics.cluster_labels(rows, "target"))) == 2
    many = rows_of(np.ones(40, dtype=int), target=np.arange(40) % 20)
    assert len(set(statistics.cluster_labels(many))) == 20


def test_large_runs_are_fast_enough_to_be_summarised() -> None:
    rng = np.random.default_rng(6)
    rows = rows_of(rng.integers(1, 201, 16_000), n_candidates=200, target=np.arange(16_000) % 200, repetitions="1")
    found = statistics.summary(rows, {**RETRIEVAL, "bootstrap": 2000})
    top = found.set_index("metric").loc["top-1@1"]
    assert top["ci_low"] <= 0.005 <= top["ci_high"]


# ------------------------------------------------------------------------------------------ names, pools


@given(
    st.sampled_from(["top-1", "10-way", "median-rank", "lab.metrics:Hit"]),
    st.sampled_from(["all", "1", "12"]),
    st.sampled_from(["stimulus", "category", "caption-to-brain"]),
    st.none() | st.integers(2, 999),
)
def test_a_written_name_is_read_again(base: str, repetitions: str, task: str, pool: int | None) -> None:
    name = MetricName(base, repetitions, task, pool)
    assert MetricName.read(str(name)) == name


def test_names_are_those_of_the_settings() -> None:
    name = MetricName
    assert str(name("top-1")) == "top-1"
    assert str(name("top-1", "4")) == "top-1@4"
    assert str(name("top-1", pool=300)) == "stimulus/300:top-1"
    assert str(name("top-5", "1", "category")) == "category:top-5@1"
    assert str(MetricName.read("stimulus:top-1")) == "top-1"
    for wrong in ("smell:top-1", "category/0:top-1", "top-1@0", "top-1@", "a/b:top-1", ""):
        with pytest.raises(ValueError, match="no metric is named"):
            name.read(wrong)


@pytest.mark.parametrize(
    ("base", "kind", "number"),
    [
        *[("top-5", "top-k", 5), ("10-way", "n-way", 10), ("median-rank", "median-rank", None)],
        *[("lab.hits:Top5", "lab.hits:Top5", None), ("top-0", "top-0", None), ("my-own-3", "my-own-k", 3)],
    ],
)
def test_kind_of_a_metric_is_its_name_without_its_number(base: str, kind: str, number: int | None) -> None:
    assert (MetricName(base).kind, MetricName(base).number) == (kind, number)


def pooled(rank: np.ndarray, n_pools: int, target: np.ndarray | None = None, n_candidates: int = 20) -> pd.DataFrame:
    """The same queries in several pools, with the same ranks."""
    one = rows_of(rank, target=target, n_candidates=n_candidates)
    return pd.concat([one.assign(pool=number) for number in range(1, n_pools + 1)], ignore_index=True)


@pytest.mark.parametrize("n_targets", [40, 2])
def test_pools_are_averaged_never_resampled_as_if_they_were_more_queries(n_targets: int) -> None:
    """Thirty pools of the same ranks say no more than one, whether stimuli or queries are resampled."""
    rank = np.random.default_rng(11).integers(1, 4, 40)
    target = np.arange(40) % n_targets
    size = max(n_targets, 5)
    one, many = (pooled(rank, count, target, size) for count in (1, 30))
    for metric in (f"stimulus/{size}:top-1", f"stimulus/{size}:mean-rank"):
        first, second = (statistics.summary(rows, RETRIEVAL).set_index("metric").loc[metric] for rows in (one, many))
        assert second["value"] == pytest.approx(first["value"])
        assert second["n_queries"] == 40
        width = first["ci_high"] - first["ci_low"]
        assert second["ci_high"] - second["ci_low"] == pytest.approx(width, rel=0.15)
        first, second = (statistics.mean_over_subjects(rows, metric, 500) for rows in (one, many))
        assert second["n_queries"] == 40
        assert second["ci_high"] - second["ci_low"] == pytest.approx(first["ci_high"] - first["ci_low"], rel=0.15)


def test_tasks_and_pools_do_not_mix() -> None:
    rank = np.array([1, 2, 2, 3])
    rows = pd.concat(
        [
            rows_of(rank),
            rows_of(np.ones(4, dtype=int)).assign(task="category", n_candidates=10),
            pooled(np.array([1, 1, 2, 2]), 3, n_candidates=5),
        ]
    )
    found = statistics.summary(rows, RETRIEVAL).set_index("metric")["value"]
    assert found[["top-1", "category:top-1", "stimulus/5:top-1"]].tolist() == [0.25, 1.0, 0.5]
    for metric in ("top-1", "category:top-1", "stimulus/5:top-1"):
        assert statistics.mean_over_subjects(rows, metric, 200)["value"] == found[metric]
    assert statistics.mean_over_subjects(rows, "stimulus/5:top-1", 200)["chance"] == pytest.approx(0.2)
    assert np.isnan(statistics.mean_over_subjects(rows, "stimulus/7:top-1", 200)["value"])


# ------------------------------------------------------------------------------------ paired difference


def test_difference_is_detected() -> None:
    rng = np.random.default_rng(7)
    found = statistics.paired_difference(study(rng, 1.0, "a"), study(rng, 0.0, "b"), "top-1", 1000)
    assert found["ci_low"] > 0
    assert found["t_low"] > 0
    assert found["difference"] == pytest.approx(found["value_a"] - found["value_b"])
    assert (found["n_subjects"], found["n_seeds"], found["n_stimuli"], found["n_queries"]) == (4, 3, 60, 240)
    assert found["resampled"] == "subjects and stimuli"
    assert found["p_sign_flip"] == 2 / 2**4


def test_no_difference_is_not_detected() -> None:
    rng = np.random.default_rng(8)
    wrong = 0
    for number in range(100):
        found = statistics.paired_difference(study(rng, 0.3, "a"), study(rng, 0.3, "b"), "top-1", 300, seed=number)
        wrong += not found["ci_low"] <= 0 <= found["ci_high"]
    assert wrong <= 8


def test_difference_is_the_mean_of_differences_by_hand() -> None:
    a = pd.concat([rows_of(np.array([1, 2, 1]), "a", "01", 0), rows_of(np.array([1, 1, 3]), "a", "01", 1)])
    b = pd.concat([rows_of(np.array([2, 1, 1]), "b", "01", 0), rows_of(np.array([2, 2, 3]), "b", "01", 1)])
    one = rows_of(np.array([1, 1, 1]), "a", "02"), rows_of(np.array([1, 1, 4]), "b", "02")
    found = statistics.paired_difference(pd.concat([a, one[0]]), pd.concat([b, one[1]]), n=200)
    first, second = (2 / 3 + 2 / 3) / 2 - (2 / 3 + 0) / 2, 1 / 3
    assert found["difference"] == pytest.approx((first + second) / 2)
    assert found["t_low"] == pytest.approx(
        np.mean([first, second]) - stats.t.ppf(0.975, 1) * np.std([first, second], ddof=1) / np.sqrt(2)
    )


def test_one_subject_resamples_stimuli_only() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(1, 5, 50), rng.integers(1, 9, 50)
    found = statistics.paired_difference(rows_of(a), rows_of(b), "mean-rank", 500)
    assert found["resampled"] == "stimuli"
    assert np.isnan([found["t_low"], found["p_sign_flip"]]).all()
    expected = statistics.bootstrap_interval((a - b).astype(float), np.arange(50), "mean", 4000)
    np.testing.assert_allclose([found["ci_low"], found["ci_high"]], expected, atol=0.15)


def test_categories_resample_the_queries_of_each_subject() -> None:
    rng = np.random.default_rng(10)

    def of(method: str) -> pd.DataFrame:
        both = [
            rows_of(rng.integers(1, 3, 80 + number), method, f"0{number}", 0, 2, np.arange(80 + number) % 2)
            for number in (1, 2, 3)
        ]
        return pd.concat(both)

    found = statistics.paired_difference(of("a"), of("b"), n=300)
    assert found["resampled"] == "subjects and queries"
    assert found["ci_low"] <= found["difference"] <= found["ci_high"]


def test_median_rank_uses_medians_of_subjects() -> None:
    a = pd.concat([rows_of(np.array([1, 2, 9]), subject="01"), rows_of(np.array([3, 4, 9]), subject="02")])
    b = pd.concat([rows_of(np.array([5, 5, 5]), subject="01"), rows_of(np.array([5, 5, 5]), subject="02")])
    found = statistics.paired_difference(a, b, "median-rank", 200)
    assert (found["value_a"], found["value_b"], found["difference"]) == (3, 5, -2)


def test_other_targets_for_the_same_queries_are_refused() -> None:
    rank = np.array([1, 2, 3])
    with pytest.raises(ValueError, match="subject 01: queries with the same number have different stimuli"):
        statistics.paired_difference(rows_of(rank), rows_of(rank, target=np.array([7, 8, 9])))


def test_sign_flip_is_exact_and_its_sample_agrees() -> None:
    values = np.array([0.3, 0.1, -0.05, 0.2, 0.15])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=5)]
    assert statistics.sign_flip(values) == np.mean(np.array(sums) >= values.sum() - 1e-12)
    many = np.random.default_rng(0).normal(0.3, 1, 25)
    reference = stats.permutation_test(
        (many,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert statistics.sign_flip(many) == pytest.approx(reference.pvalue, abs=0.02)


@pytest.mark.parametrize(("n_subjects", "decides"), [(1, "ci"), (2, "t"), (7, "t"), (8, "ci")])
def test_few_subjects_are_judged_by_student(n_subjects: int, decides: str) -> None:
    rng = np.random.default_rng(12)
    rows = pd.concat([rows_of(rng.integers(1, 3, 30), subject=f"{number:02d}") for number in range(n_subjects)])
    other = rows.assign(rank=rng.integers(1, 3, len(rows)))
    assert statistics.mean_over_subjects(rows, "top-1", 200)["decides"] == decides
    assert statistics.paired_difference(rows, other, "top-1", 200)["decides"] == decides


def test_students_interval_of_a_share_stays_a_share_and_one_without_scatter_decides_nothing() -> None:
    apart = pd.concat([rows_of(np.ones(10, dtype=int), subject="01"), rows_of(np.full(10, 5), subject="02")])
    found = statistics.mean_over_subjects(apart, "top-1", 200)
    assert (found["t_low"], found["t_high"], found["decides"]) == (0, 1, "t")
    alike = pd.concat([rows_of(np.ones(10, dtype=int), subject=subject) for subject in ("01", "02")])
    found = statistics.mean_over_subjects(alike, "top-1", 200)
    assert (found["decides"], found["resampled"]) == ("ci", "exact binomial")
    assert found["ci_low"] < 1


def test_subjects_that_are_equal_but_for_rounding_are_equal() -> None:
    """Three seeds: as many hits for every subject, spread over queries in different ways."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        hits, parts = int(rng.integers(20, 120)), []
        for subject in ("01", "02"):
            rank = np.full(150, 2)
            rank[rng.choice(150, hits, replace=False)] = 1
            parts += [rows_of(rank[seed::3], subject=subject).assign(seed=seed) for seed in range(3)]
        rows = pd.concat(parts, ignore_index=True)
        found = statistics.mean_over_subjects(rows, "top-1", 100)
        assert found["decides"] == "ci"
        assert found["ci_high"] - found["ci_low"] > 0.01
        better = statistics.paired_difference(rows, rows.assign(rank=2), "top-1", 100)
        assert better["decides"] == "ci", "no difference is certain because it was rounded"


def test_mean_over_subjects_weights_subjects_equally() -> None:
    rows = pd.concat([rows_of(np.ones(10, dtype=int), subject="01"), rows_of(np.full(30, 5), subject="02")])
    found = statistics.mean_over_subjects(rows, "top-1", 200)
    assert found["value"] == 0.5
    assert found["chance"] == metric_base.load("top-1").chance(20)
