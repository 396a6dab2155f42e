"""Figure ``sessions``: accuracy by the number of sessions of the tested subject that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brain2clip.names import SOUGHT
from brain2clip.reporting import blocks, figure_base
from brain2clip.settings import Protocol, dump

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job

#: Largest number of sessions over the smallest, from which on the axis is logarithmic: 1 and 2 of 40 lie too close.
WIDE = 10
#: Distance of the points of neighbouring curves at one number, as a part of the smallest distance of two numbers, or of
#: a fifth of the axis.
BESIDE, PARTS = 0.09, 5
#: Lines of the curves; none is dashed as chance is.
LOOKS = ("-", "-.", ":", (0, (1, 0.6)))


class Figure(figure_base.FigureBase):
    """A panel for each signal and method, a curve for each start of its models."""

    order = 33
    metrics = ("top-1", "balanced-accuracy")

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of all runs with a number of sessions; where some take all, the responses say how many these are."""
        runs = plan.session_runs(study)
        if not runs or not set(SOUGHT) & set(plan.config.retrieval.tasks):
            return None
        found = {"rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec)}
        if any(plan.config.protocols[run.protocol].sessions == "all" for run in runs):
            found["responses"] = plan.responses_files(study, list(dict.fromkeys(run.signal for run in runs)))
        return found

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Labels of the methods, upper bounds among them, the protocols, and what intervals depend on."""
        runs = plan.session_runs(study)
        methods = {run.method for run in runs}
        return {
            "methods": figure_base.labels(plan, methods),
            "ceilings": sorted(methods & set(plan.methods(knows_truth=True))),
            "sessions": {name: dump(plan.config.protocols[name]) for name in sorted({run.protocol for run in runs})},
            "retrieval": plan.config.retrieval.intervals(),
            "repetitions": figure_base.shown_repetitions(plan),
        }

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """Curves of all methods."""
        from brain2clip.reporting import accuracy, reading

        whole = recorded(job) if job.inputs.get("responses") else {}
        points = points_of(reading.together(job, "rows"), job.settings, whole)
        means = points[points["subject"] == ""]
        words = accuracy.interval(job, means) if _has_interval(points) else "mean of 2 subjects, without an interval"
        return figure_sessions(points, job.settings, whole, words)


def recorded(job: Job) -> dict[tuple[str, str], int]:
    """Number of sessions with training trials in responses of all sessions, by signal and subject.

    Where trials name no session there is no number.
    """
    from brain2clip import artefact
    from brain2clip.names import NO_LABEL, SPLITS

    found = {}
    for path, expected in job.each("responses"):
        run = blocks.from_response_path(path)
        with artefact.open_h5(path, expected) as file:
            training = file["split"][:] == SPLITS.index("train")
            names = set(file["session"].asstr()[:][training].tolist())
        if names and not names & {"", NO_LABEL}:
            found[run["signal"], run["subject"]] = len(names)
    return found


def points_of(
    rows: pd.DataFrame, given: Mapping[str, Any], whole: Mapping[tuple[str, str], int] | None = None
) -> pd.DataFrame:
    """Accuracy by number of sessions: mean over subjects with its interval, as in the tables, and of every subject.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows.
    given : mapping
        Settings of the figure.
    whole : mapping, optional
        Number of all sessions by signal and subject (:func:`recorded`).

    Returns
    -------
    DataFrame
        Columns of :func:`brain2clip.reporting.accuracy.by_region`, of the first task that there is; ``curve`` (kind of
        protocol, start, part that is trained), ``count`` (number of sessions; infinite for all of them where their
        number is unknown), ``all`` (whether these are all), and ``subject``, empty for the mean.
    """
    import pandas as pd

    from brain2clip.reporting import accuracy
    from brain2clip.reporting.session_curves import curve_of

    task = next(task for task in accuracy.TASKS if (rows["task"] == task).any())
    rows = rows[rows["task"] == task]
    options, repetitions = given["retrieval"], given.get("repetitions", "all")
    known = {name: Protocol.model_validate(one) for name, one in given["sessions"].items()}
    found: list[pd.DataFrame] = []
    seen = set()
    for (signal, protocol), block in rows[rows["protocol"].isin(known)].groupby(["signal", "protocol"], sort=False):
        own = known[str(protocol)]
        key = (signal, curve_of(own), own.sessions)
        if key in seen:  # two protocols with the same settings have the same models
            continue
        seen.add(key)
        numbers = {one: (whole or {}).get((str(signal), str(one)), float("inf")) for one in block["subject"].unique()}
        if own.first_sessions is not None:
            numbers = dict.fromkeys(numbers, float(own.first_sessions))
        mean = accuracy.by_region(block, options, repetitions=repetitions)
        mean = mean.assign(subject="", count=max(numbers.values()))
        alone = accuracy.by_region(
            block, {**options, "bootstrap": 1}, "subject", repetitions
        )  # without their intervals
        alone = alone.assign(signal=signal, count=alone["subject"].map(numbers))
        for part in (mean, alone):
            found.append(part.assign(curve=[curve_of(own)] * len(part), all=own.first_sessions is None))
    return pd.concat(found, ignore_index=True)


def figure_sessions(
    points: pd.DataFrame, given: Mapping[str, Any], whole: Mapping[tuple[str, str], int], words: str
) -> drawn.Figure:
    """Thick lines for means over subjects with their intervals, thin ones for subjects, chance dashed.

    Parameters
    ----------
    points : DataFrame
        From :func:`points_of`.
    given : mapping
        Settings of the figure.
    whole : mapping
        Number of all sessions by signal and subject.
    words : str
        What means and intervals are.
    """
    from brain2clip.reporting import accuracy, style
    from brain2clip.reporting.session_curves import WORDS

    ceilings = set(given.get("ceilings", ()))
    numbers = blocks.ordered(given["methods"], points["method"])
    shown = [name for name in numbers if name not in ceilings] or list(numbers)
    panels = [
        (signal, method, part[part["method"] == method], part[part["method"].isin(ceilings - {method})])
        for signal, part in points.groupby("signal", sort=False)
        for method in shown
        if (part["method"] == method).any()
    ]
    made, axes = style.grid(len(panels), columns=2, width=4.3, height=3.1)
    drawn_points = points[points["method"].isin({*shown, *ceilings})]
    top = 100 * float(drawn_points[["value", "chance", *(["high"] if _has_interval(points) else [])]].max(axis=None))
    for axis, (signal, method, part, bounds) in zip(axes, panels, strict=True):
        _curves(axis, part, _ticks(points[points["signal"] == signal], whole, str(signal)))
        for _, bound in bounds[bounds["subject"] == ""].groupby("method", sort=False):
            label = numbers[bound["method"].iloc[0]][1]
            value = 100 * float(bound["value"].mean())
            axis.axhline(value, color=style.GREY, linewidth=1.2, linestyle=style.LINES[2], label=label)
        accuracy.scale(axis, part)
        axis.set_ylim(-0.03 * top, 1.05 * top)  # one axis for all panels
        task = accuracy.TASKS[part["task"].iloc[0]]
        repetitions = figure_base.repetitions_in_words(given.get("repetitions", "all"))
        axis.set_title(f"{signal}, {numbers[method][1]}: {task}, of {part['n_candidates'].max()}{repetitions}")
    style.legend_below(made, axes, columns=3)
    kinds_shown = " and ".join(dict.fromkeys(curve[0] for curve in WORDS if curve in set(points["curve"])))
    text = f"{given.get('study', '')}, {kinds_shown}: {words}".removeprefix(", ")
    style.title(made, text)
    return made


def _has_interval(points: pd.DataFrame) -> bool:
    """Student's interval of two subjects is many times as wide as all that is to be seen, so there is none of two."""
    return bool(points.loc[points["subject"] == "", "n_subjects"].max() != 2)


def _ticks(points: pd.DataFrame, whole: Mapping[tuple[str, str], int], signal: str) -> dict[float, tuple[float, str]]:
    """Place on the axis and label of each number of sessions.

    All sessions stand at their number, in words as well; of an unknown number they stand behind the last one.
    """
    import math

    counts = sorted({float(one) for one in points.loc[points["subject"] == "", "count"]})
    every = sorted({number for (one, _), number in whole.items() if one == signal})
    known = [one for one in counts if math.isfinite(one)]
    places = {one: (one, f"{one:g}") for one in known}
    if points["all"].any():
        if every and math.isfinite(counts[-1]):
            label = f"{every[-1]} (all)" if len(every) == 1 else f"{every[0]}–{every[-1]} (all)"
            places[float(every[-1])] = (float(every[-1]), label)
        else:
            last, before = (known[-1:] or [0.0])[0], (known[-2:-1] or [0.0])[0]
            places[math.inf] = (last + max(1.0, last - before), "all")
    return places


def _curves(axis: Axes, part: pd.DataFrame, ticks: Mapping[float, tuple[float, str]]) -> None:
    """Curves of one method, beside each other at each number of sessions."""
    import numpy as np

    from brain2clip.reporting import style
    from brain2clip.reporting.session_curves import WORDS

    curves = [curve for curve in WORDS if curve in set(part["curve"])]
    at = sorted(place for place, _ in ticks.values())
    logarithmic = len(at) > 1 and at[-1] >= WIDE * at[0]
    scaled = np.log2(at) if logarithmic else np.array(at)
    gap = float(min(np.diff(scaled).min(), np.ptp(scaled) / PARTS)) if len(at) > 1 else 1.0
    subjects = part.loc[part["subject"] != "", "subject"].nunique()
    for position, curve in enumerate(curves):
        number = list(WORDS).index(curve)  # the same look in all panels
        shift = BESIDE * gap * (position - (len(curves) - 1) / 2)

        def placed(counts: pd.Series, shift: float = shift) -> np.ndarray:
            # A subject with fewer sessions than another one stands at its own number.
            x = np.array([ticks[one][0] if one in ticks else one for one in counts], float)
            return x * 2**shift if logarithmic else x + shift

        own = part[[one == curve for one in part["curve"]]].sort_values(["count", "all"])
        mean = own[own["subject"] == ""]
        if subjects > 1:
            for _, one in own[own["subject"] != ""].groupby("subject"):
                axis.plot(
                    placed(one["count"]), 100 * one["value"], color=style.colour(number), linewidth=0.7, alpha=0.4
                )
        value, low, high = (100 * mean[name].to_numpy() for name in ("value", "low", "high"))
        error = np.maximum([value - low, high - value], 0) if subjects != 2 else None
        look: dict[str, Any] = {
            "linestyle": LOOKS[number],
            "linewidth": 1.8,
            "marker": style.MARKERS[number],
            "ms": 4.5,
        }
        x, colour = placed(mean["count"]), style.colour(number)
        axis.plot(x, value, color=colour, zorder=4, label=WORDS[curve], **look)
        axis.errorbar(x, value, yerr=error, fmt="none", ecolor=colour, elinewidth=1.1, capsize=2, zorder=3)
    if subjects > 1:
        axis.plot([], [], color=style.GREY, linewidth=0.7, label="single subjects")
    if logarithmic:
        axis.set_xscale("log", base=2)
    axis.set_xticks(at, [label for _, label in sorted(ticks.values())])
    axis.minorticks_off()
    edge = 0.5 * gap
    axis.set_xlim(*((at[0] / 2**edge, at[-1] * 2**edge) if logarithmic else (at[0] - edge, at[-1] + edge)))
    axis.grid(visible=False, axis="x")
    axis.set_xlabel(f"training sessions of the tested subject{' (logarithmic)' if logarithmic else ''}")
