"""Base of figures, and the list of figures of a study. Light to import: the plan asks figures for their inputs.

A figure is a module of :mod:`brain2clip.reporting.figure_kinds` with a class ``Figure``, a subclass of
:class:`FigureBase`. One of your own is named in ``figures.also`` as ``package.module:Class``. Libraries that draw are
imported inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from brain2clip import kinds
from brain2clip.names import BOTH, MetricName
from brain2clip.settings.figures import Figures, file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from brain2clip.plan import Plan, Run, Spec
    from brain2clip.stage import Job

    #: Inputs of a figure: name to paths, each with the spec of the job that makes it.
    Inputs = dict[str, dict[str, Spec]]


class FigureBase:
    """A figure: its inputs, and how it is drawn."""

    #: Position among the figures of a study; equal positions are sorted by name.
    order: ClassVar[int] = 1000
    #: Whether it shows an EEG and an fMRI study together (:data:`brain2clip.names.BOTH`) instead of one study.
    of_both: ClassVar[bool] = False
    #: Metrics that the figure computes itself.
    metrics: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Artefacts that the figure reads; None if the study has nothing to show.

        Parameters
        ----------
        plan : Plan
        study : str
            Name of a study, or :data:`brain2clip.names.BOTH`.
        """
        raise NotImplementedError

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Settings that the figure reads, as JSON; used only if it has inputs."""
        return {}

    @staticmethod
    def draw(job: Job) -> Figure:
        """The figure, from the artefacts among a job's inputs."""
        raise NotImplementedError


# ---------------------------------------------------------------------------------- figures of a configuration


def figure_kinds(figures: Figures) -> list[str]:
    """Kinds of all figures in their order; figures from outside come last, in the order of the setting."""
    shipped = sorted(kinds.shipped("figures"), key=lambda kind: (kinds.load("figures", kind).order, kind))
    return [*shipped, *figures.also]


def figures_of(plan: Plan, study: str) -> dict[str, str]:
    """Figures for which a study has results: name of the file to kind, in order.

    Parameters
    ----------
    plan : Plan
    study : str
        Name of a study, or :data:`brain2clip.names.BOTH`.
    """
    return {
        file_name(kind): kind
        for kind in figure_kinds(plan.config.figures)
        if kinds.load("figures", kind).of_both == (study == BOTH)
        and kinds.load("figures", kind).inputs(plan, study) is not None
    }


def settings_of(plan: Plan, study: str, kind: str) -> dict[str, Any]:
    """Settings of the job that draws a figure."""
    return {"figure": kind, "study": study, **kinds.load("figures", kind).settings(plan, study)}


def modules_of(kind: str) -> list[str]:
    """Modules of a figure and of the metrics that it computes, sorted: roots of its fingerprint beside the stage's."""
    metrics = (kinds.module_of("metrics", MetricName(metric).kind) for metric in kinds.load("figures", kind).metrics)
    return sorted({kinds.module_of("figures", kind), *metrics})


# --------------------------------------------------------------------------------------------- what figures ask


def main_runs(plan: Plan, study: str) -> list[Run]:
    """Runs of the study's main experiment, of its first signal."""
    experiment = plan.main_experiment(study)
    return [run for run in plan.runs_of(experiment) if run.signal == experiment.signals[0]]


def shown_runs(plan: Plan, study: str) -> list[Run]:
    """Runs of the first protocol and the shown method, for figures of single runs."""
    wanted = (plan.main_experiment(study).protocols[0], plan.shown_method(study))
    return [run for run in main_runs(plan, study) if (run.protocol, run.method) == wanted]


def shown_repetitions(plan: Plan) -> str:
    """Number of averaged test repetitions that figures show: all if it is configured, else the first in the list."""
    asked = [str(number) for number in plan.config.retrieval.repetitions]
    return "all" if "all" in asked else asked[0]


def repetitions_in_words(repetitions: str) -> str:
    """The number of repetitions for a title; empty if all are averaged."""
    return {"all": "", "1": ", single trials"}.get(repetitions, f", {repetitions} averaged")


def labels(plan: Plan, methods: Iterable[str]) -> dict[str, str]:
    """Labels of some methods, in the order of the configuration."""
    wanted = set(methods)
    return {
        name: plain((method.label or name) + (" (imported)" if method.ranked_by == "imported" else ""))
        for name, method in plan.config.methods.items()
        if name in wanted
    }


def plain(label: str) -> str:
    """A label on one line; Matplotlib leaves those that begin with an underscore out of legends."""
    text = " ".join(label.split())
    return f" {text}" if text.startswith("_") else text
