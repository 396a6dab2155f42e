"""Accuracy by region of the brain or by subject: computed as in the tables, drawn as points with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from brain2clip import stage
from brain2clip.names import MetricName, Sought
from brain2clip.reporting import style
from brain2clip.reporting.wording import Numbers, interval_kind
from brain2clip.retrieval import statistics

#: What is shown: of classes that have unequally many queries, or are few, the balanced number.
METRIC, OF_CLASSES = "top-1", "balanced-accuracy"
#: Tasks whose queries are brain responses, by what they look for.
TASKS: Mapping[Sought, str] = {
    "stimulus": "seen stimulus",
    "category": "class by its prompts",
    "caption": "caption",
    "template": "class by other pictures of it",
}


def by_region(
    rows: pd.DataFrame, options: Mapping[str, Any], by: str = "signal", repetitions: str = "all"
) -> pd.DataFrame:
    """Accuracy of every task, region and method: mean over seeds, queries and subjects, as in the tables.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows of one study and protocol; those among all candidates are used.
    options : mapping
        ``bootstrap``, ``level``, ``seed`` of the ``retrieval`` settings.
    by : str
        Another column in the place of regions, as ``subject``.
    repetitions : str
        Averaged test repetitions of the rows that are used.

    Returns
    -------
    DataFrame
        ``task, signal`` (or the other column), ``method, metric, value, low, high, chance, n_candidates, n_subjects,
        interval`` (how it was made: ``t``, ``bootstrap`` or ``exact``).
    """
    found = []
    for task in TASKS:
        chosen = statistics.of_metric(rows, str(MetricName(METRIC, repetitions, task)))
        base = OF_CLASSES if statistics.are_classes(chosen) and not _are_like_stimuli(chosen) else METRIC
        metric = str(MetricName(base, repetitions, task))
        for (place, method), part in chosen.groupby([by, "method"], sort=False):
            one = statistics.mean_over_subjects(part, metric, options["bootstrap"], options["level"], options["seed"])
            kept = {name: one[name] for name in ("value", "chance", "n_subjects")}
            kept |= {end: one[f"{one['decides']}_{end}"] for end in ("low", "high")}
            count = int(part["n_candidates"].max())
            names = {"task": task, by: place, "method": method, "metric": metric, "interval": interval_kind(one)}
            found.append({**names, **kept, "n_candidates": count})
    return pd.DataFrame(found)


def _are_like_stimuli(rows: pd.DataFrame) -> bool:
    """Whether classes are many and have equally many queries: balanced accuracy, with its interval, is Top-1 then."""
    sizes = rows.drop_duplicates(["subject", "target", "query"]).groupby(["subject", "target"]).size()
    whole = sizes.groupby("subject").size().nunique() == 1 if len(sizes) else False
    return bool(whole and sizes.nunique() == 1 and rows["target"].nunique() >= statistics.FEWEST_STIMULI)


def dots(
    axis: Axes,
    points: pd.DataFrame,
    regions: Sequence[str],
    numbers: Mapping[str, tuple[int, str]],
    upright: bool = True,
    by: str = "signal",
) -> None:
    """Points with intervals by region, methods side by side; regions on the x axis, or (not upright) on the y axis."""
    shown = [place for place in regions if place in set(points[by])]
    places = {name: place for place, name in enumerate(shown)}
    step = 0.7 / max(len(numbers), 1)
    for position, (method, (number, label)) in enumerate(numbers.items()):
        part = points[points["method"] == method]
        if part.empty:
            continue
        value = 100 * part["value"].to_numpy()
        low, high = 100 * part[["low", "high"]].to_numpy().T
        error = np.maximum([value - low, high - value], 0)
        place = part[by].map(places).to_numpy() + step * (position - (len(numbers) - 1) / 2)
        look: dict[str, Any] = {"fmt": "o", "ms": 4.5, "color": style.colour(number), "label": label, "elinewidth": 1.4}
        if upright:
            axis.errorbar(place, value, yerr=error, **look)
        else:
            axis.errorbar(value, place, xerr=error, **look)
    scale(axis, points, upright)
    if upright:
        axis.set_xticks(range(len(shown)), shown, rotation=45 if len(shown) > 6 else 0)
        axis.set(xlim=(-0.6, len(shown) - 0.4))
        axis.grid(visible=False, axis="x")
    else:
        axis.set_yticks(range(len(shown)), shown)
        axis.set(ylim=(len(shown) - 0.4, -0.6))
        axis.grid(visible=False, axis="y")


def scale(axis: Axes, points: pd.DataFrame, upright: bool = True) -> None:
    """Chance as a dashed line, and the axis of accuracy: the y axis, or (not upright) the x axis."""
    chance = 100 * float(points["chance"].mean())
    line = axis.axhline if upright else axis.axvline
    line(chance, color="black", linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    words = Numbers(str(points["metric"].iloc[0])).short
    # Room for points at zero.
    bottom = -0.03 * 100 * float(points[["high", "value", "chance"]].max(axis=None))
    if upright:
        axis.set(ylabel=words, ylim=(bottom, None))
    else:
        axis.set(xlabel=words, xlim=(bottom, None))


def interval(job: stage.Job, points: pd.DataFrame) -> str:
    """What points of :func:`by_region` and their intervals are, in words."""
    count = int(points["n_subjects"].max())
    level = job.settings["retrieval"]["level"]
    found = set(points["interval"]) - {""}
    few = 2 <= count < statistics.FEWEST_SUBJECTS
    how = ["t over subjects"] if few and "t" in found else []
    if "bootstrap" in found:
        how += ["bootstrap where all are equal" if few else "bootstrap"]
    if "exact" in found:
        how += ["exact where all or none are right"]
    return f"mean of {count} subject{'' if count == 1 else 's'}, {level * 100:g} % CI ({'; '.join(how) or 'none'})"
