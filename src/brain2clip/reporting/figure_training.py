"""Figure ``training``: loss per epoch of every method, and retrieval of held-out concepts where it was measured."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brain2clip.reporting import blocks, style

_PANELS = {"loss": ("training loss (nats)", 1.0), "held_out_top1": ("held-out concepts, Top-1 (%)", 100.0)}


def figure_training(history: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Mean over subjects and seeds per epoch, one standard deviation shaded.

    Parameters
    ----------
    history : DataFrame
        Columns ``study, signal, protocol, method, subject, seed, epoch, loss, held_out_top1``.
    methods : mapping
        Name to label, in the order of the tables.
    """
    numbers = blocks.ordered(methods, history["method"])
    panels = [
        (title, part, column)
        for title, part in blocks.split(history)
        for column in _PANELS
        if column in part and part[column].notna().any()
    ]
    made, axes = style.grid(len(panels))
    for axis, (title, part, column) in zip(axes, panels, strict=True):
        _curves(axis, part, column, numbers)
        axis.set_title(title)
    style.legend_below(made, axes)
    return made


def _curves(axis: Axes, part: pd.DataFrame, column: str, numbers: Mapping[str, tuple[int, str]]) -> None:
    label, factor = _PANELS[column]
    for method, (number, name) in numbers.items():
        runs = part[(part["method"] == method) & part[column].notna()]
        if runs.empty:
            continue
        by_epoch = (runs.set_index("epoch")[column] * factor).groupby(level=0)
        mean, spread = by_epoch.mean(), by_epoch.std().fillna(0.0)
        colour = style.colour(number)
        axis.plot(mean.index, mean, color=colour, linestyle=style.line(number), label=name)
        axis.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="epoch", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
