"""Figure ``regions``: accuracy by region of the brain, with intervals and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brain2clip.reporting import blocks, style
from brain2clip.retrieval import statistics

#: Tasks that ask with a brain response, by what they look for.
TASKS = {"stimulus": "seen stimulus", "category": "class by its prompts", "caption": "caption"}


def by_region(rows: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
    """Top-1 of every task, region and method: mean over seeds, queries and subjects, as in the tables.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows of one study and protocol; all repetitions averaged and all candidates are used.
    options : mapping
        ``bootstrap``, ``level``, ``seed`` of the ``retrieval`` settings.

    Returns
    -------
    DataFrame
        ``task, signal, method, value, ci_low, ci_high, chance, n_candidates, n_subjects``.
    """
    found = []
    for task in TASKS:
        metric = str(statistics.MetricName("top-1", task=task))
        for (signal, method), part in statistics.of_metric(rows, metric).groupby(["signal", "method"], sort=False):
            one = statistics.mean_over_subjects(part, metric, options["bootstrap"], options["level"], options["seed"])
            kept = {name: one[name] for name in ("value", "ci_low", "ci_high", "chance", "n_subjects")}
            count = int(part["n_candidates"].max())
            found.append({"task": task, "signal": signal, "method": method, **kept, "n_candidates": count})
    return pd.DataFrame(found)


def figure_regions(points: pd.DataFrame, regions: Sequence[str], methods: Mapping[str, str], title: str) -> Figure:
    """One panel per task: regions side by side, a point with its interval per method, chance as a dashed line.

    Parameters
    ----------
    points : DataFrame
        From :func:`by_region`.
    regions : sequence of str
        Order of the regions.
    methods : mapping
        Name to label, in the order of the tables.
    title : str
        Study, protocol, subjects.
    """
    numbers = blocks.ordered(methods, points["method"])
    tasks = [task for task in TASKS if (points["task"] == task).any()]
    width = max(4.0, 0.7 + 0.16 * len(regions) * (len(numbers) + 1.5))
    made, axes = style.grid(len(tasks), columns=1 if width > 5 else 2, width=width, height=2.7)
    for axis, task in zip(axes, tasks, strict=True):
        part = points[points["task"] == task]
        dots(axis, part, regions, numbers)
        axis.set_title(f"{TASKS[task]}, of {part['n_candidates'].max()}")
    style.legend_below(made, axes)
    made.suptitle(title, fontsize=9)
    return made


def dots(
    axis: Axes,
    points: pd.DataFrame,
    regions: Sequence[str],
    numbers: Mapping[str, tuple[int, str]],
    upright: bool = True,
) -> None:
    """Points with intervals by region, methods beside each other; regions on the x axis, or (not upright) on the y."""
    shown = [signal for signal in regions if signal in set(points["signal"])]
    places = {signal: place for place, signal in enumerate(shown)}
    step = 0.7 / max(len(numbers), 1)
    for position, (method, (number, label)) in enumerate(numbers.items()):
        part = points[points["method"] == method]
        if part.empty:
            continue
        value = 100 * part["value"].to_numpy()
        low, high = 100 * part[["ci_low", "ci_high"]].to_numpy().T
        error = np.maximum([value - low, high - value], 0)
        place = part["signal"].map(places).to_numpy() + step * (position - (len(numbers) - 1) / 2)
        look: dict[str, Any] = {"fmt": "o", "ms": 4.5, "color": style.colour(number), "label": label, "elinewidth": 1.4}
        if upright:
            axis.errorbar(place, value, yerr=error, **look)
        else:
            axis.errorbar(value, place, xerr=error, **look)
    chance = 100 * float(points["chance"].mean())
    line = axis.axhline if upright else axis.axvline
    line(chance, color="black", linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    # Room for points at zero.
    bottom = -0.03 * 100 * float(points[["ci_high", "value", "chance"]].max(axis=None))
    if upright:
        axis.set_xticks(range(len(shown)), shown, rotation=45 if len(shown) > 6 else 0)
        axis.set(ylabel="Top-1 (%)", ylim=(bottom, None), xlim=(-0.6, len(shown) - 0.4))
        axis.grid(visible=False, axis="x")
    else:
        axis.set_yticks(range(len(shown)), shown)
        axis.set(xlabel="Top-1 (%)", xlim=(bottom, None), ylim=(len(shown) - 0.4, -0.6))
        axis.grid(visible=False, axis="y")
