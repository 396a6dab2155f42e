"""Figure ``sweep``: accuracy by the part of the responses that methods get; as a matrix for two windows of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brain2clip.names import SOUGHT
from brain2clip.reporting import blocks, figure_base
from brain2clip.settings import canonical

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

#: Inputs of a method (:class:`brain2clip.settings.Inputs`) in words, for the axes.
WORDS = {
    "channels": "channels",
    "without": "without channels",
    "window": "middle of the window, from picture onset (ms)",
    "test_window": "middle of the test window, from picture onset (ms)",
    "repetitions": "training repetitions of a picture",
    "draw": "choice of the repetitions",
    "concepts": "training concepts",
    "pictures_per_concept": "training pictures of a concept",
    "seed": "seed of the draw",
}
#: The two windows of temporal generalisation.
WINDOWS = ("window", "test_window")


class Figure(figure_base.FigureBase):
    """Experiments whose methods differ in their inputs, a panel for each, and for each protocol and signal."""

    order = 34
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all runs of these experiments."""
        experiments = [plan.config.experiments[label] for label in plan.varied(study)]
        if not experiments or not set(SOUGHT) & set(plan.config.retrieval.tasks):
            return None
        runs = sorted({run for one in experiments for run in plan.runs_of(one)})
        return {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """What each method gets and which are a curve, by experiment; what intervals depend on."""
        return {
            "panels": {label: panel(plan, label, over) for label, over in plan.varied(study).items()},
            "retrieval": plan.config.retrieval.intervals(),
            "repetitions": figure_base.shown_repetitions(plan),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Curves or matrices."""
        from brain2clip.reporting import reading

        return figure_sweep(points_of(reading.together(job, "rows"), job.settings), job.settings)


def panel(plan: Plan, label: str, over: Sequence[str]) -> dict[str, Any]:
    """What differs between the methods of an experiment, as JSON.

    Parameters
    ----------
    plan : Plan
    label : str
        Name of the experiment.
    over : sequence of str
        Inputs in which its methods differ.

    Returns
    -------
    dict
        ``over``; ``methods``: name to ``series`` (label of the curve) and ``at`` (values of these inputs). Methods that
        are alike in all else are one curve; what has no inputs, as a ceiling, is at no value.
    """
    experiment = plan.config.experiments[label]
    given = {name: getattr(plan.config.methods[name], "inputs", None) for name in experiment.methods}
    dumped = {name: None if block is None else block.model_dump(mode="json") for name, block in given.items()}
    alike: dict[str, list[str]] = {}
    for name, inputs in dumped.items():
        block = plan.config.methods[name].model_dump(mode="json")
        rest = {key: value for key, value in block.items() if key not in ("label", "inputs")}
        kept = {key: value for key, value in (inputs or {}).items() if key not in over}
        alike.setdefault(canonical([rest, kept]), []).append(name)
    labels, found = figure_base.labels(plan, experiment.methods), {}
    for names in alike.values():
        first, last = min(labels[name] for name in names), max(labels[name] for name in names)
        same = next((place for place, pair in enumerate(zip(first, last)) if pair[0] != pair[1]), len(first))
        series = first[:same].partition(" (")[0].rstrip(" ,-") if len(names) > 1 else first
        for name in names:
            inputs = dumped[name]
            at = None if inputs is None else [inputs[key] for key in over]
            found[name] = {"series": series or names[0], "at": at}
    return {"over": list(over), "methods": found}


def points_of(rows: pd.DataFrame, given: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy of every method: mean over subjects with its interval, as in the tables.

    Returns
    -------
    DataFrame
        Columns of :func:`brain2clip.reporting.accuracy.by_region`, of the first task that there is, ``experiment`` and
        ``title`` (study, protocol and signal).
    """
    import pandas as pd

    from brain2clip.reporting import accuracy

    task = next(task for task in accuracy.TASKS if (rows["task"] == task).any())
    rows = rows[rows["task"] == task]
    found = []
    for experiment, one in given["panels"].items():
        own = rows[rows["method"].isin(one["methods"])]
        for title, block in blocks.split(own):
            points = accuracy.by_region(block, given["retrieval"], repetitions=given.get("repetitions", "all"))
            found.append(points.assign(experiment=experiment, title=title))
    return pd.concat(found, ignore_index=True)


def figure_sweep(points: pd.DataFrame, given: Mapping[str, Any]) -> drawn.Figure:
    """A panel for each experiment, protocol and signal; of temporal generalisation one for each curve as well.

    Parameters
    ----------
    points : DataFrame
        From :func:`points_of`.
    given : mapping
        Settings of the figure.
    """
    from brain2clip.reporting import accuracy, style

    panels: list[tuple[str, str, pd.DataFrame]] = []
    for (experiment, title), part in points.groupby(["experiment", "title"], sort=False):
        methods = given["panels"][experiment]["methods"]
        own = part.assign(series=[methods[name]["series"] for name in part["method"]])
        if set(WINDOWS) <= set(given["panels"][experiment]["over"]):
            shown = [one for _, one in own.groupby("series", sort=False) if len(one) > 1]
            panels += [(f"{experiment}, {one['series'].iloc[0]}", title, one) for one in shown]
        else:
            panels.append((experiment, title, own))
    made, axes = style.grid(len(panels), columns=2, width=4.8, height=3.4)
    repetitions = figure_base.repetitions_in_words(given.get("repetitions", "all"))
    for axis, (head, title, part) in zip(axes, panels, strict=True):
        over = given["panels"][part["experiment"].iloc[0]]
        (_matrix if set(WINDOWS) <= set(over["over"]) else _curves)(axis, part, over)
        words = f"{accuracy.TASKS[part['task'].iloc[0]]}, of {part['n_candidates'].max()}{repetitions}"
        axis.set_title(f"{head}\n{title}: {words}")
    style.legend_below(made, axes)
    many, level = points["n_subjects"].max(), given["retrieval"]["level"] * 100
    text = f"mean over {many} subject{'' if many == 1 else 's'}, {level:g} % CI as in the tables"
    style.title(made, text)
    return made


def _curves(axis: Axes, part: pd.DataFrame, panel: Mapping[str, Any]) -> None:
    """A line with intervals for each curve, over values in their order; what has no inputs is a line across."""
    import numpy as np

    from brain2clip.reporting import accuracy, style

    over = panel["over"]
    at = {name: method["at"] for name, method in panel["methods"].items()}
    values = sorted({canonical(one): one for one in at.values() if one is not None}.values(), key=_place)
    by_time = over == ["window"] and all(one[0] is not None for one in values)
    x_of = {canonical(one): _middle(one[0]) if by_time else float(number) for number, one in enumerate(values)}
    ordered = not any(isinstance(one[0], list) for one in values) or by_time  # sets of channels have no order
    curves = part["series"].nunique()
    for number, (series, own) in enumerate(part.groupby("series", sort=False)):
        look: dict[str, Any] = {"color": style.colour(number), "label": str(series)}
        value, low, high = (100 * own[name].to_numpy() for name in ("value", "low", "high"))
        found = [at[name] for name in own["method"]]
        if None in found:
            axis.axhline(value[0], linewidth=1.2, linestyle=style.LINES[2], **look)
            continue
        x = np.array([x_of[canonical(one)] for one in found])
        order, beside = np.argsort(x), 0.0 if by_time else 0.08 * (number - (curves - 1) / 2)
        error = np.maximum([value - low, high - value], 0)[:, order]
        style_of: dict[str, Any] = {"fmt": "o-" if ordered else "o", "ms": 4, "elinewidth": 1.2, **look}
        axis.errorbar(x[order] + beside, value[order], yerr=error, **style_of)
    accuracy.scale(axis, part)
    if not by_time:
        words = [", ".join(map(_words, value)) for value in values]
        turned = sum(map(len, words)) > 45
        axis.set_xticks(range(len(words)), words, rotation=30 if turned else 0, ha="right" if turned else "center")
        axis.set_xlim(-0.5, len(words) - 0.5)
        axis.grid(visible=False, axis="x")
    axis.set_xlabel(", ".join(WORDS[name] for name in over))


def _matrix(axis: Axes, part: pd.DataFrame, panel: Mapping[str, Any]) -> None:
    """Training windows by test windows; a window without another one for the test is on the diagonal."""
    import numpy as np

    from brain2clip.reporting.wording import Numbers

    places = [panel["over"].index(name) for name in WINDOWS]
    pairs = []
    for name in part["method"]:
        window, test = (panel["methods"][name]["at"][place] for place in places)
        pairs.append((tuple(window), tuple(test or window)))
    shown = sorted({one for pair in pairs for one in pair})
    values = np.full((len(shown), len(shown)), np.nan)
    for (window, test), value in zip(pairs, part["value"], strict=True):
        values[shown.index(window), shown.index(test)] = 100 * value
    chance = 100 * float(part["chance"].mean())
    highest = max(float(np.nanmax(values)), chance + 1e-6)
    image = axis.imshow(values, origin="lower", cmap="viridis", vmin=chance, vmax=highest)
    words = Numbers(str(part["metric"].iloc[0])).short
    axis.figure.colorbar(image, ax=axis, label=f"{words}, from chance ({chance:.1f})", shrink=0.85)
    ticks = [f"{_middle(window):.0f}" for window in shown]
    axis.set_xticks(range(len(shown)), ticks)
    axis.set_yticks(range(len(shown)), ticks)
    axis.grid(visible=False)
    axis.set(xlabel=WORDS["test_window"], ylabel="training window (ms)")


def _middle(window: Sequence[float]) -> float:
    """Middle of a window, ms."""
    return 500 * (window[0] + window[1])


def _place(value: Sequence[Any]) -> list[tuple[bool, float, str]]:
    """By which values are ordered: numbers by size, lists by length, then as texts; all of it last."""
    return [
        (one is None, float(one) if isinstance(one, int | float) else float(len(one or ())), canonical(one))
        for one in value
    ]


def _words(value: Any) -> str:
    """A value below an axis."""
    if value is None:
        return "all"
    if isinstance(value, list):
        return " + ".join(map(str, value)) if len(value) <= 2 else f"{len(value)} named"
    return str(value)
