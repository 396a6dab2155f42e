"""Metrics with intervals from retrieval rows, and paired differences between methods.

The bootstrap resamples what another experiment would draw again: stimuli if the candidates are pictures (all queries of
a picture together), queries if the candidates are a few fixed categories, and subjects for numbers over several
subjects. Metrics over classes, which count the same whatever their size, resample queries within each class. Seeds of
training are averaged, never resampled; their scatter is part of that between subjects. Random pools of candidates are
averaged as well: a query counts in every pool that it is in, and all of that goes with its stimulus.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, assert_never

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from brain2clip.names import RUN, MetricName
from brain2clip.retrieval import metric_base
from brain2clip.retrieval.metric_base import MetricBase, Statistic
from brain2clip.stage import InputError

Cluster = Literal["auto", "target", "query"]

SUMMARY_COLUMNS = [*RUN, "metric", "value", "ci_low", "ci_high", "chance", "n_queries", "largest_class", "concepts"]
#: Numbers of a summary that may be unknown (NaN), unlike the value itself.
UNKNOWN = frozenset({"ci_low", "ci_high", "chance", "largest_class"})

#: From this many distinct targets on, targets are taken as a sample of stimuli; below, as fixed categories.
FEWEST_STIMULI = 10
#: From this many subjects on, the crossed bootstrap decides; below, Student's t over subjects, which covers what it
#: says also with 3 or 4 of them, where the bootstrap covers 88 to 90 % (150 simulated studies each).
FEWEST_SUBJECTS = 8
#: From this many queries of every class of a subject on, they are drawn within classes, whose sizes then stay; with
#: fewer, such draws see too little scatter (none with one query), and all queries are drawn together, weighted.
FEWEST_OF_CLASS = 10
#: Means of subjects that differ by less (relative to them, where they are above 1) are equal: over several seeds the
#: same mean comes out differently in its last digits, and Student's interval of such would be of no width.
ROUNDING = 1e-9
#: All sign patterns are enumerated up to this many subjects, a random sample of them is drawn above.
_EXACT_SUBJECTS = 16
_SIGN_SAMPLES = 20_000
_CHUNK = 1 << 22


# ------------------------------------------------------------------------------------------- one run


def bootstrap_interval(
    values: ArrayLike,
    cluster: ArrayLike,
    statistic: Statistic = "mean",
    n: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    stratum: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over queries, by resampling clusters of queries.

    Clusters that hold the same values are exchangeable, so counts of distinct clusters are drawn (multinomial)
    instead of clusters; this is the same distribution and fast for many queries.

    Parameters
    ----------
    values : array [n_queries]
    cluster : array [n_queries]
        Queries with the same label are resampled together.
    statistic : {'mean', 'share', 'median'}
        ``'share'`` is the mean of values between 0 and 1. Where all of them are 0, or all 1, resampling sees no
        scatter at all; the interval is then the exact binomial (Clopper-Pearson) one with clusters as trials.
    n : int
        Number of bootstrap samples.
    level : float
        Coverage, 0 to 1.
    seed : int
    stratum : array [n_queries], optional
        Classes that count the same, however many queries they have: clusters are drawn within each, and the mean of a
        sample is that over their means.
    weight : array [n_queries], optional
        Of each query, in a mean.

    Returns
    -------
    low, high : float
        NaN without queries, and where a value is.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0 or np.isnan(values).any():
        return math.nan, math.nan
    codes = np.unique(np.asarray(cluster), return_inverse=True)[1].reshape(-1)
    if statistic == "share" and np.ptp(values) == 0 and values[0] in (0.0, 1.0):
        return _clopper_pearson(values[0], int(codes.max()) + 1, level)
    rng = np.random.default_rng(seed)
    match statistic:
        case "mean" | "share":
            strata = np.zeros(len(values), np.int64) if stratum is None else np.asarray(stratum)
            weights = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
            samples = _balanced_samples(values, codes, strata, weights, n, rng)
        case "median":
            samples = _median_samples(values, codes, n, rng)
        case other:
            assert_never(other)
    return _percentiles(samples, level)


def summary(rows: pd.DataFrame, retrieval: Mapping[str, Any], cluster: Cluster = "auto") -> pd.DataFrame:
    """Summaries of retrieval rows, one line per run, task (in pools or not), averaged repetitions and metric.

    Parameters
    ----------
    rows : DataFrame
        One row per query, columns of :data:`brain2clip.retrieval.query_table.COLUMNS` but the best candidates.
    retrieval : mapping
        Of the ``retrieval`` settings: ``metrics``, ``bootstrap``, ``level``, ``seed``; where the test asked for what
        training showed, also ``concepts``: ``"seen"``.
    cluster : {'auto', 'target', 'query'}
        What is resampled, see :func:`cluster_labels`.

    Returns
    -------
    DataFrame
        Columns of :data:`SUMMARY_COLUMNS`. Metrics that need more candidates than there are, are left out, and so are
        metrics over classes where the candidates are none. ``largest_class`` is the share of the queries that the
        largest class has (NaN where candidates are no classes): the accuracy of naming it always.
    """
    lines = []
    pooled = (rows["pool"] > 0).rename("pooled")
    for keys, part in rows.groupby([*RUN, "repetitions", "task", pooled], sort=False, dropna=False):
        *run, repetitions, task, in_pools = keys
        n_candidates = _one_count(part)
        classes = are_classes(part)
        for base in metric_names(retrieval["metrics"], n_candidates, classes):
            metric = metric_base.load(base)
            table = part.assign(a=_per_query(part, metric), stratum=0, weight=1.0)
            value, kept = metric.over(table["a"].to_numpy()), table
            if metric.of_classes:
                value, kept = _over_classes(table, "a").item(), _by_class(table, ["a"], cluster)
            given = metric.statistic, retrieval["bootstrap"], retrieval["level"], retrieval["seed"]
            drawn = cluster_labels(kept, cluster), *given, kept["stratum"], kept["weight"]
            low, high = bootstrap_interval(kept["a"], *drawn)
            name = MetricName(base, str(repetitions), task, n_candidates if in_pools else None)
            known = [_chance(part, metric), part["query"].nunique(), _largest(part) if classes else math.nan]
            lines.append([*run, str(name), value, low, high, *known, retrieval.get("concepts", "unseen")])
    return pd.DataFrame(lines, columns=SUMMARY_COLUMNS)


def metric_names(metrics: Sequence[str], n_candidates: int, classes: bool) -> list[str]:
    """Metrics of the settings for which there are enough candidates, and classes where they need them; in order."""
    loaded = {name: metric_base.load(name) for name in metrics}
    return [name for name, one in loaded.items() if one.applies(n_candidates) and (classes or not one.of_classes)]


def are_classes(rows: pd.DataFrame) -> bool:
    """Whether the candidates of retrieval rows of one task are classes."""
    return bool(rows["classes"].any())


def recalls(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Share of the queries of each class that are recognised: by subject, the mean over seeds.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows of one method.
    metric : str
        Task, pools and repetitions pick the rows; the metric itself is not read.

    Returns
    -------
    DataFrame
        ``subject, target, value, n_queries``.
    """
    part = of_metric(rows, metric)
    part = part.assign(value=(part["rank"] == 1).astype(float))
    by_seed = part.groupby(["subject", "target", "seed"], sort=True)["value"].agg(["mean", "size"]).reset_index()
    found = by_seed.groupby(["subject", "target"], sort=True).agg(value=("mean", "mean"), n_queries=("size", "first"))
    return found.reset_index()


def of_metric(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Retrieval rows that a metric is about: its task, its repetitions, in pools of its size or all candidates."""
    name = MetricName.read(metric)
    chosen = (rows["repetitions"].astype(str) == name.repetitions) & (rows["task"] == name.task)
    if name.pool is None:
        return rows[chosen & (rows["pool"] == 0)]
    return rows[chosen & (rows["pool"] > 0) & (rows["n_candidates"] == name.pool)]


def cluster_labels(rows: pd.DataFrame, cluster: Cluster = "auto") -> NDArray[np.int64]:
    """Label of the cluster of every query, 0 to one less than their number.

    Parameters
    ----------
    rows : DataFrame
        Columns ``subject``, ``query`` and ``target``; a query has several rows where there are pools.
    cluster : {'auto', 'target', 'query'}
        ``'target'``: queries of one target go together (the stimuli are a sample); ``'query'``: each query of a
        subject by itself (the targets are fixed categories); ``'auto'``: ``'target'`` from :data:`FEWEST_STIMULI`
        distinct targets on.
    """
    targets = pd.factorize(rows["target"])[0].astype(np.int64)
    if _by_target(len(set(targets.tolist())), cluster):
        return targets
    return rows.groupby(["subject", "query"], sort=False).ngroup().to_numpy(dtype=np.int64)


# ------------------------------------------------------------------------------------- several subjects


def mean_over_subjects(
    rows: pd.DataFrame,
    metric: str,
    n: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    cluster: Cluster = "auto",
) -> dict[str, Any]:
    """Mean of a metric over subjects with its interval, for one method.

    Averaged and resampled as in :func:`paired_difference`, with zero in the place of the second method.

    Returns
    -------
    dict
        ``value``, ``ci_low``, ``ci_high`` (bootstrap), ``t_low``, ``t_high`` (t-interval over subject means),
        ``decides`` (which of the two: ``ci`` or ``t``), ``chance``, ``largest_class``, ``n_subjects``, ``n_seeds``,
        ``n_stimuli``, ``n_queries``, ``resampled``.
    """
    part = of_metric(rows, metric)
    found = _effect(part, None, metric, n, level, seed, cluster)
    of = metric_base.load(MetricName.read(metric).base)
    subjects = [own for _, own in part.groupby("subject")]
    return {
        "value": float(found["means"].mean()) if len(found["means"]) else math.nan,
        **found["intervals"],
        "chance": _mean(np.array([_chance(own, of) for own in subjects])),
        "largest_class": _mean(np.array([_largest(own) for own in subjects if are_classes(own)])),
        **found["counts"],
    }


def paired_difference(
    rows_a: pd.DataFrame,
    rows_b: pd.DataFrame,
    metric: str = "top-1",
    n: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    cluster: Cluster = "auto",
) -> dict[str, Any]:
    """Difference of a metric between two methods on the same queries: a minus b.

    **Averaged.** Each query of each subject gets one value per seed (for Top-k: 1 or 0; for n-way: its
    probability; for ranks: the rank). These are averaged over seeds, for each method over its own seeds, and
    subtracted: with common seeds this is the mean of the differences per (subject, seed, query). The result is the
    mean over the queries of a subject, then the mean over subjects, each subject counting the same. For a
    median (``median-rank``) the value of a subject is the median over queries, averaged over seeds. Subjects and
    queries that only one of the methods has are left out.

    **Resampled.** ``ci_low`` and ``ci_high`` are percentiles of a crossed bootstrap: in every sample, subjects are
    drawn with replacement and, independently, stimuli are drawn with replacement; a drawn stimulus counts for all
    subjects, because all saw the same pictures, and all its queries and seeds go with it (the "pigeonhole bootstrap"
    of Owen, 2007, Annals of Applied Statistics 1:386; it is conservative). Where there are only a few fixed
    categories as targets, the queries of every subject are drawn instead, each subject's on their own. With one
    subject, only stimuli (queries) are drawn; for a median, only subjects.

    **Beside it**, from the subject means alone: the t-interval with ``n_subjects - 1`` degrees of freedom, which
    decides below :data:`FEWEST_SUBJECTS` subjects (``decides``: ``t``, else ``ci``), and the two-sided p of the
    sign-flip permutation test, exact up to 16 subjects, else from 20,000 random patterns. Its smallest possible value
    is ``2 / 2**n_subjects``: with 4 subjects it cannot fall below 0.125.

    Parameters
    ----------
    rows_a, rows_b : DataFrame
        Retrieval rows of one study, signal, protocol and method each.
    metric : str
        As in the summary (:class:`brain2clip.names.MetricName`); task, pools and repetitions pick the rows.
    n, level, seed
        Bootstrap samples, coverage, seed.
    cluster : {'auto', 'target', 'query'}
        See :func:`cluster_labels`.

    Returns
    -------
    dict
        ``metric``, ``value_a``, ``value_b``, ``difference``, ``ci_low``, ``ci_high``, ``t_low``, ``t_high``,
        ``decides``, ``p_sign_flip`` (NaN below 2 subjects), ``n_subjects``, ``n_seeds`` (smaller of the two),
        ``n_stimuli``, ``n_queries`` (per subject and seed, summed over subjects), ``resampled`` (words).
    """
    part_a, part_b = of_metric(rows_a, metric), of_metric(rows_b, metric)
    found = _effect(part_a, part_b, metric, n, level, seed, cluster)
    means = found["means"]
    return {
        "metric": metric,
        "value_a": _mean(found["means_a"]),
        "value_b": _mean(found["means_a"] - means),
        "difference": _mean(means),
        **found["intervals"],
        "p_sign_flip": sign_flip(means, seed),
        **found["counts"],
    }


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean over subjects, ``len(values) - 1`` degrees of freedom; NaN below 2 subjects."""
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        return math.nan, math.nan
    half = special.stdtrit(values.size - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def sign_flip(values: ArrayLike, seed: int = 0) -> float:
    """Two-sided p of the sign-flip permutation test that the mean over subjects is zero; NaN below 2 subjects."""
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        return math.nan
    exact = values.size <= _EXACT_SUBJECTS
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=values.size)))
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_SIGN_SAMPLES, values.size))
    sums = np.abs(signs @ values)
    beyond = int(np.count_nonzero(sums >= abs(values.sum()) * (1 - 1e-12)))
    # A random sample of patterns counts the observed one as well (Phipson & Smyth, 2010).
    return beyond / len(signs) if exact else (beyond + 1) / (len(signs) + 1)


# ----------------------------------------------------------------------------------------------- inside


def _effect(
    rows_a: pd.DataFrame,
    rows_b: pd.DataFrame | None,
    metric: str,
    n: int,
    level: float,
    seed: int,
    cluster: Cluster,
) -> dict[str, Any]:
    """Subject means of a - b (of a alone without b), the intervals of their mean, and what was counted."""
    of = metric_base.load(MetricName.read(metric).base)
    queries = _query_table(rows_a, rows_b, of)
    crossed = bool(len(queries)) and _by_target(queries["target"].nunique(), cluster)
    table = _by_class(queries, ["a", "difference"], cluster) if of.of_classes else queries.assign(stratum=0, weight=1.0)
    labels = cluster_labels(table, cluster)
    median = of.statistic == "median"
    if median:
        means_a, means = _median_means(rows_a, rows_b, table, of)
    elif of.of_classes:
        means_a, means = (_over_classes(table, name).to_numpy() for name in ("a", "difference"))
    else:
        means_a = table.groupby("subject")["a"].mean().to_numpy()
        means = table.groupby("subject")["difference"].mean().to_numpy()
    rng = np.random.default_rng(seed)
    share = of.is_share and rows_b is None
    if not len(means) or np.isnan(means).any():
        interval, words = _NONE, "nothing"
    elif median:
        interval = _percentiles(_draw(len(means), n, rng) @ means / len(means), level) if len(means) > 1 else _NONE
        words = "subjects"
    elif share and np.ptp(table["difference"]) == 0 and table["difference"].iloc[0] in (0.0, 1.0):
        interval = _clopper_pearson(float(table["difference"].iloc[0]), int(labels.max()) + 1, level)
        words = "exact binomial"
    else:
        if crossed:
            stimuli, subjects = _crossed_draws(int(labels.max()) + 1, len(means), n, seed)
            by_subject = _means_of_stimuli(table, labels, stimuli)
        else:
            by_subject = _means_of_queries(table, labels, n, rng)
            subjects = _draw(len(means), n, rng)
        interval = _percentiles(_over_subjects(by_subject, subjects), level)
        words = ("subjects and " if len(means) > 1 else "") + ("stimuli" if crossed else "queries")
    t_low, t_high = t_interval(means, level)
    if of.is_share:  # no share is below 0 or above 1, whatever Student says; no difference of two below -1
        t_low, t_high = (float(np.clip(end, 0 if rows_b is None else -1, 1)) for end in (t_low, t_high))
    by_t = 2 <= len(means) < FEWEST_SUBJECTS and np.ptp(means) > ROUNDING * max(1.0, np.abs(means).max())
    seeds = [part["seed"].nunique() for part in (rows_a, rows_b) if part is not None]
    return {
        "means": means,
        "means_a": means_a,
        "intervals": {
            **{"ci_low": interval[0], "ci_high": interval[1], "t_low": t_low, "t_high": t_high},
            "decides": "t" if by_t else "ci",
        },
        "counts": {
            "n_subjects": len(means),
            "n_seeds": min(seeds),
            "n_stimuli": queries["target"].nunique(),
            "n_queries": len(queries[["subject", "query"]].drop_duplicates()),
            "resampled": words,
        },
    }


_NONE = (math.nan, math.nan)


def _over_classes(table: pd.DataFrame, name: str) -> pd.Series:
    """Of each subject: the mean over classes of the mean over their queries."""
    return table.groupby(["subject", "target"])[name].mean().groupby("subject").mean()


def _by_class(table: pd.DataFrame, names: list[str], cluster: Cluster) -> pd.DataFrame:
    """Values in which classes count the same, with ``stratum`` and ``weight`` for :func:`bootstrap_interval`.

    Where the classes are a sample themselves, one value for each subject and class, and they are what is resampled.
    Else queries are, within each class of a subject, or weighted by its size where a class has few.
    """
    if len(table) and _by_target(table["target"].nunique(), cluster):
        means = table.groupby(["subject", "target"], sort=False)[names].mean().reset_index()
        return means.assign(query=np.arange(len(means)), pool=0, stratum=0, weight=1.0)
    queries = table.groupby(["subject", "target"])["query"]
    if len(table) and queries.nunique().min() >= FEWEST_OF_CLASS:
        return table.assign(stratum=pd.factorize(table["target"], sort=True)[0], weight=1.0)
    return table.assign(stratum=0, weight=1 / queries.transform("size"))


def _chance(rows: pd.DataFrame, metric: MetricBase) -> float:
    """Chance of rows of one task and subject: of classes of unequal size what naming the largest always gives."""
    counts = [int(count) for count in rows["n_candidates"].unique()]
    if len(counts) == 1 and not (are_classes(rows) and not rows["pool"].any()):
        return metric.chance(counts[0])
    if len(counts) == 1:
        queries = rows.drop_duplicates(["query"])["target"].value_counts().to_numpy()
        return metric.best_guess(np.pad(queries, (0, counts[0] - len(queries))))
    return _mean(rows["n_candidates"].map({count: metric.chance(count) for count in counts}).to_numpy(np.float64))


def _largest(rows: pd.DataFrame) -> float:
    """Share of the queries of one subject that the largest class has."""
    return float(rows.drop_duplicates(["query"])["target"].value_counts(normalize=True).iloc[0])


def _query_table(rows_a: pd.DataFrame, rows_b: pd.DataFrame | None, metric: MetricBase) -> pd.DataFrame:
    """One row per (subject, query, pool): value of a and difference a - b, averaged over seeds."""
    keys = ["subject", "query", "target", "pool"]
    table = _seed_means(rows_a, metric, keys).rename("a").reset_index()
    if rows_b is None:
        return table.assign(difference=table["a"])
    other = _seed_means(rows_b, metric, keys).rename("b").reset_index()
    there = table.merge(other, on=["subject", "query", "pool"], how="inner")
    if (there["target_x"] != there["target_y"]).any():
        subject = there.loc[there["target_x"] != there["target_y"], "subject"].iloc[0]
        raise InputError(
            f"subject {subject}: queries with the same number have different stimuli in the two methods, which were "
            "tested on different trials; leave the comparison out, or test both on the same stimuli"
        )
    joined = table.merge(other, on=keys, how="inner", validate="one_to_one")
    if joined.empty and len(table) and len(other):
        raise ValueError("the two methods have no query in common: they were tested on different subjects")
    return joined.assign(difference=joined["a"] - joined["b"])


def _seed_means(rows: pd.DataFrame, metric: MetricBase, keys: list[str]) -> pd.Series:
    return rows.assign(_value=_per_query(rows, metric)).groupby(keys)["_value"].mean()


def _per_query(rows: pd.DataFrame, metric: MetricBase) -> NDArray[np.float64]:
    """Values of queries that may be of several runs and have different numbers of candidates, [n_rows]."""
    values = np.empty(len(rows))
    run = ["subject", "seed", "pool"] if metric.of_classes else []
    parts = rows.groupby(["n_candidates", *run], sort=False, dropna=False).indices
    rank, target, margin = (rows[name].to_numpy() for name in ("rank", "target", "margin"))
    for key, chosen in parts.items():
        count = int(key[0] if isinstance(key, tuple) else key)
        values[chosen] = metric.of_run(rank[chosen], count, target[chosen], margin[chosen])
    return values


def _median_means(
    rows_a: pd.DataFrame, rows_b: pd.DataFrame | None, table: pd.DataFrame, metric: MetricBase
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per subject: median over the common queries, averaged over seeds."""

    def of(rows: pd.DataFrame) -> pd.Series:
        common = rows.merge(table[["subject", "query", "pool"]], on=["subject", "query", "pool"])
        common = common.assign(_value=_per_query(common, metric))
        return common.groupby(["subject", "seed"])["_value"].median().groupby("subject").mean()

    means_a = of(rows_a).to_numpy()
    return means_a, means_a if rows_b is None else means_a - of(rows_b).to_numpy()


def _means_of_queries(
    table: pd.DataFrame, labels: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mean of every subject in every sample of its own queries, [n_subjects, n]."""
    subject = pd.factorize(table["subject"], sort=True)[0]
    value, stratum, weight = (table[name].to_numpy() for name in ("difference", "stratum", "weight"))
    parts = [subject == one for one in range(subject.max() + 1)]
    return np.stack([_balanced_samples(value[own], labels[own], stratum[own], weight[own], n, rng) for own in parts])


def _means_of_stimuli(
    table: pd.DataFrame, labels: NDArray[np.int64], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of every subject in every sample of stimuli, which counts how often each is drawn, [n_subjects, n]."""
    subject = pd.factorize(table["subject"], sort=True)[0]
    shape = (subject.max() + 1, labels.max() + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (subject, labels), table["difference"].to_numpy())
    np.add.at(counts, (subject, labels), 1.0)
    with np.errstate(invalid="ignore"):
        return (sums @ drawn.T) / (counts @ drawn.T)


def _over_subjects(by_subject: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over resampled subjects, [n]; a subject without any drawn stimulus does not count in that sample."""
    there = np.isfinite(by_subject)
    total = (drawn.T * np.where(there, by_subject, 0.0)).sum(axis=0)
    weight = (drawn.T * there).sum(axis=0)
    return total[weight > 0] / weight[weight > 0]


def _balanced_samples(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    strata: NDArray[np.int64],
    weights: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Bootstrap samples of the mean over strata of their weighted means, [n]; clusters are drawn within strata."""
    parts = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    numbers = [np.unique(codes[own], return_inverse=True)[1].reshape(-1) for own in parts]
    samples = [_mean_samples(values[own], weights[own], code, n, rng) for own, code in zip(parts, numbers)]
    return samples[0] if len(samples) == 1 else np.mean(samples, axis=0)


def _mean_samples(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    codes: NDArray[np.int64],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Bootstrap samples of the weighted mean, [n]."""
    sums = np.bincount(codes, weights=weights * values)
    counts = np.bincount(codes, weights=weights)
    kinds, times = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    drawn = [drawn @ kinds for drawn in _drawn_kinds(times, n, rng)]
    total = np.concatenate(drawn)
    return total[:, 0] / total[:, 1]


def _median_samples(
    values: NDArray[np.float64], codes: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Bootstrap samples of the median, [n], from counts of the distinct values."""
    distinct, code = np.unique(values, return_inverse=True)
    if len(values) == codes.max() + 1:
        kinds, times = np.eye(len(distinct)), np.bincount(code)
    else:
        kinds, times = np.zeros((codes.max() + 1, len(distinct))), np.ones(codes.max() + 1, dtype=np.int64)
        np.add.at(kinds, (codes, code), 1.0)
    medians = []
    for drawn in _drawn_kinds(times, n, rng):
        below = np.cumsum(drawn @ kinds, axis=1)
        half = below[:, -1:] / 2
        lower, upper = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
        medians.append((distinct[lower] + distinct[upper]) / 2)
    return np.concatenate(medians)


def _drawn_kinds(times: NDArray[np.int64], n: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each kind of cluster is drawn, when as many clusters are drawn as there are; in chunks of samples."""
    size = max(1, _CHUNK // len(times))
    for start in range(0, n, size):
        yield rng.multinomial(times.sum(), times / times.sum(), size=min(size, n - start)).astype(np.float64)


@functools.lru_cache(maxsize=8)
def _crossed_draws(
    n_stimuli: int, n_subjects: int, n: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each stimulus and each subject is drawn, [n, n_stimuli] and [n, n_subjects].

    The same for all methods and metrics of a table, and most of the time that these took.
    """
    rng = np.random.default_rng(seed)
    return _draw(n_stimuli, n, rng), _draw(n_subjects, n, rng)


def _draw(n_units: int, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each unit is drawn, [n, n_units]."""
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n).astype(np.float64)


def _percentiles(samples: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _clopper_pearson(share: float, n_trials: int, level: float) -> tuple[float, float]:
    """Exact binomial interval for none (0.0) or all (1.0) of n trials."""
    reach = ((1 - level) / 2) ** (1 / n_trials)
    return (0.0, 1 - reach) if share == 0 else (reach, 1.0)


def _by_target(n_targets: int, cluster: Cluster) -> bool:
    match cluster:
        case "target":
            return True
        case "query":
            return False
        case "auto":
            return n_targets >= FEWEST_STIMULI
        case other:
            assert_never(other)


def _one_count(rows: pd.DataFrame) -> int:
    counts: Sequence[int] = rows["n_candidates"].unique().tolist()
    if len(counts) != 1:
        raise ValueError(f"queries of one run have different numbers of candidates: {sorted(counts)}")
    return int(counts[0])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
