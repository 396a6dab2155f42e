"""Figure ``pictures``: which test pictures are found easily, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain2clip.reporting.figure_of_stimuli import StimuliFigure, rows_and_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib import figure as drawn

    from brain2clip.reporting.thumbnails import Candidates
    from brain2clip.stage import Job

#: Easy and hard pictures that are shown.
N_SHOWN = 8


class Figure(StimuliFigure):
    """All runs of the shown method: first signal and protocol."""

    order = 52

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """All subjects and seeds together."""
        from brain2clip.reporting import thumbnails

        rows, title = rows_and_title(job)
        return figure_pictures(by_picture(rows), thumbnails.candidates_of(job), title)


def by_picture(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean rank and Top-1 of every stimulus over subjects, seeds and queries, easiest first; ties by id.

    Returns
    -------
    DataFrame
        ``target, rank, top1, n_candidates``.
    """
    found = rows.assign(top1=rows["rank"] == 1).groupby("target", as_index=False)
    means = found.agg(rank=("rank", "mean"), top1=("top1", "mean"), n_candidates=("n_candidates", "max"))
    return means.sort_values(["rank", "top1", "target"], ascending=[True, False, True], ignore_index=True)


def figure_pictures(table: pd.DataFrame, candidates: Candidates, title: str) -> drawn.Figure:
    """Mean ranks of all pictures from the easiest to the hardest, and the two ends as pictures.

    Parameters
    ----------
    table : DataFrame
        From :func:`by_picture`.
    candidates : Candidates
    title : str
    """
    import numpy as np

    from brain2clip.reporting import style, thumbnails

    count = min(N_SHOWN, (len(table) + 1) // 2)
    ends = [("easy", table.iloc[:count]), ("hard", table.iloc[max(count, len(table) - count) :].iloc[::-1])]
    made = style.figure(1.05 * count + 1.2 if count > 4 else 6.0, 5.6)
    upper, lower = np.ravel(np.asarray(made.subfigures(2, 1, height_ratios=(1, 1.15))))
    axis = upper.add_subplot()
    axis.plot(range(1, len(table) + 1), table["rank"], "o-", ms=3, color=style.colour(0))
    most = int(table["n_candidates"].max())
    axis.axhline((most + 1) / 2, color="black", linewidth=1.2, linestyle=(0, (4, 3)))
    axis.text(1, (most + 1) / 2, "chance", va="bottom", fontsize=8)
    axis.set(xlabel="test stimuli, from the easiest to the hardest", ylabel="mean rank (1 is best)", yscale="log")
    ticks = [rank for rank in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if rank <= most]
    axis.set_yticks(ticks, list(map(str, ticks)))
    axis.yaxis.minorticks_off()
    axis.set_ylim(0.9, 1.1 * most)
    axis.set_title(style.wrapped(made, title))
    axes = lower.subplots(2, count, squeeze=False)
    draw = thumbnails.drawing(candidates)
    for line, (name, part) in zip(axes, ends, strict=True):
        for place, cell in enumerate(line):
            if place >= len(part):
                cell.set_axis_off()
                continue
            one = part.iloc[place]
            draw(cell, one["target"])
            thumbnails.frame(cell, style.GREEN if name == "easy" else style.PALETTE[1], 1.5)
            cell.set_title(f"rank {one['rank']:.1f}\n{100 * one['top1']:.0f} %", loc="center", fontsize=7)
        line[0].set_ylabel(name, fontsize=9)
    return made
