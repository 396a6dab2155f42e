"""What figures of single stimuli share: inputs, and rows of the shown method. Light to import, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip.reporting import figure_base

if TYPE_CHECKING:
    import pandas as pd

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.stage import Job


class StimuliFigure(figure_base.FigureBase):
    """Base of figures of what is found of single stimuli: all runs of the shown method, first signal and protocol."""

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of the runs and the stimuli, where stimuli are looked for."""
        if "stimulus" not in plan.config.retrieval.tasks:
            return None
        runs = figure_base.shown_runs(plan, study)
        return {
            "rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec),
            "stimuli": plan.stimuli_file(study, plan.shown_method(study)),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of the shown method, and which rows."""
        methods = figure_base.labels(plan, [plan.shown_method(study)])
        return {"methods": methods, "repetitions": figure_base.shown_repetitions(plan)}


def rows_and_title(job: Job) -> tuple[pd.DataFrame, str]:
    """Retrieval rows of all subjects and seeds together, and the title that says of what they are."""
    from brain2clip.reporting import reading
    from brain2clip.retrieval import statistics

    repetitions = job.settings.get("repetitions", "all")
    rows = statistics.of_metric(reading.of_shown(job, "rows"), f"top-1@{repetitions}")
    title = f"{job.settings['methods'][rows['method'].iloc[0]]}: {reading.runs_in_words(rows)}"
    return rows, title + figure_base.repetitions_in_words(repetitions)
