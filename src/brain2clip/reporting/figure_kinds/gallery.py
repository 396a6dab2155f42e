"""Figure ``gallery``: what was seen and the five best candidates, for some queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip import stage
from brain2clip.names import RUN
from brain2clip.reporting import blocks, figure_base

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.plan import Plan
    from brain2clip.reporting.figure_base import Inputs
    from brain2clip.reporting.thumbnails import Candidates
    from brain2clip.stage import Job


class Figure(figure_base.FigureBase):
    """Queries of one run of the shown method."""

    order = 50

    @staticmethod
    def inputs(plan: Plan, study: str) -> Inputs | None:
        """Rows of the first run of the shown method, and the stimuli; where stimuli are looked for by averages."""
        if "all" not in plan.config.retrieval.repetitions or "stimulus" not in plan.config.retrieval.tasks:
            return None
        runs = figure_base.shown_runs(plan, study)[:1]
        return {
            "rows": plan.made_files("retrieval", runs, ".parquet", plan.retrieval_spec),
            "stimuli": plan.stimuli_file(study, plan.shown_method(study)),
        }

    @staticmethod
    def settings(plan: Plan, study: str) -> dict[str, Any]:
        """Label of the shown method."""
        return {"methods": figure_base.labels(plan, [plan.shown_method(study)])}

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """First block, subject and seed of the shown method."""
        from brain2clip.reporting import reading, thumbnails
        from brain2clip.retrieval import statistics

        rows = statistics.of_metric(reading.of_shown(job, "rows"), "top-1")
        if rows.empty:
            raise stage.InputError(
                "figure gallery: no rows of its method for the task stimulus with all repetitions averaged; expected "
                "stimulus in retrieval.tasks and all in retrieval.repetitions"
            )
        first = rows.iloc[0]
        names = list(RUN)
        one = rows[(rows[names] == first[names]).all(axis=1)]
        block = ", ".join(first[name] for name in blocks.BLOCK)
        title = (
            f"{job.settings['methods'][first['method']]}: {block}, subject {first['subject']}, seed {first['seed']}; "
            f"{one['n_candidates'].iloc[0]} candidates"
        )
        return figure_gallery(one, thumbnails.candidates_of(job), title)


def figure_gallery(rows: pd.DataFrame, candidates: Candidates, title: str) -> drawn.Figure:
    """One row per query: seen stimulus on the left, then the best five; the right one has a green frame.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows of one run, of the task ``stimulus`` among all candidates, with all repetitions averaged.
    candidates : Candidates
    title : str
        Which run is shown.
    """
    from brain2clip.reporting import thumbnails

    shown = chosen(rows)
    n_best = min(thumbnails.N_BEST, int(rows["n_candidates"].max()))
    made, axes = thumbnails.sheet(len(shown), n_best, title)
    draw = thumbnails.drawing(candidates)
    for line, (_, row) in zip(axes, shown.iterrows(), strict=True):
        draw(line[0], row["target"])
        thumbnails.frame(line[0], "black", 0.8)
        line[0].set_ylabel(f"rank {row['rank']}", fontsize=8)
        for axis, candidate in zip(line[1:], row["top_ids"][:n_best], strict=True):
            draw(axis, candidate)
            thumbnails.mark(axis, candidate == row["target"])
    return made


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Queries that are shown: evenly spaced in the order of the queries, never chosen by result."""
    from brain2clip.reporting import thumbnails

    ordered = rows.sort_values("query")
    return ordered.iloc[thumbnails.evenly_spaced(len(ordered))]
