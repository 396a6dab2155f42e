"""Figure ``confusion``: which candidates come first for which stimuli."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain2clip import artefact
from brain2clip.reporting.figure_of_stimuli import StimuliFigure, rows_and_title

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib import figure as drawn
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from brain2clip.stage import Job

#: Candidates whose names and numbers can be read in a matrix.
READABLE = 20
#: Pairs that are listed.
N_PAIRS = 15


class Figure(StimuliFigure):
    """All runs of the shown method: first signal and protocol."""

    order = 54

    @staticmethod
    def draw(job: Job) -> drawn.Figure:
        """All subjects and seeds together."""
        rows, title = rows_and_title(job)
        return figure_confusion(confused(job, rows), title)


@dataclass(frozen=True)
class Confusion:
    """How often each candidate was the best one.

    Attributes
    ----------
    names : list of str
        Words for the candidates, with neighbours in CLIP side by side.
    share : array [n, n]
        Share of the queries of a row's stimulus in which the candidate of the column came first; rows sum to 1, rows
        without a query are 0.
    """

    names: list[str]
    share: NDArray[np.float64]


def confused(job: Job, rows: pd.DataFrame) -> Confusion:
    """Shares of one method's rows; the order is that of the stimuli's embeddings and not of the results."""
    import numpy as np

    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        ids = [str(name) for name in file["stimulus_id"].asstr()[:]]
        words = [str(one) or name for name, one in zip(ids, file["concept"].asstr()[:], strict=True)]
        place = {name: row for row, name in enumerate(ids)}
        seen = sorted({*rows["target"], *(best[0] for best in rows["top_ids"])}, key=place.__getitem__)
        embedding = file["embedding"][[place[name] for name in seen]].astype(np.float64)
    order = by_likeness(embedding)
    ordered = [seen[number] for number in order]
    number = {name: position for position, name in enumerate(ordered)}
    share = np.zeros((len(ordered), len(ordered)))
    targets = rows["target"].map(number).to_numpy()
    np.add.at(share, (targets, [number[best[0]] for best in rows["top_ids"]]), 1)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    named = [words[place[name]] for name in ordered]
    return Confusion([word if named.count(word) == 1 else name for word, name in zip(named, ordered)], share)


def by_likeness(embedding: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order [n] in which neighbours by the cosine of embeddings [n, d] stand beside each other (average linkage)."""
    import numpy as np
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(embedding) < 3:
        return np.arange(len(embedding))
    unit = embedding / (np.linalg.norm(embedding, axis=1, keepdims=True) + 1e-12)
    return np.asarray(leaves_list(linkage(unit, "average", optimal_ordering=True)), np.int64)


def figure_confusion(found: Confusion, title: str) -> drawn.Figure:
    """Matrix of candidates with rank 1 by seen stimulus, with names or, if these are too many, frequent pairs.

    Parameters
    ----------
    found : Confusion
    title : str
    """
    from brain2clip.reporting import style

    n = len(found.names)
    if n <= READABLE:
        size = 2.2 + 0.42 * n
        made = style.figure(max(4.5, size + 0.8), max(3.6, size))
        axis = made.add_subplot()
        _matrix(axis, found)
        names = [textwrap.shorten(name, 24, placeholder="…") for name in found.names]
        axis.set_xticks(range(n), names, rotation=90)
        axis.set_yticks(range(n), names)
        for row in range(n):
            for column in range(n):
                value = 100 * found.share[row, column]
                if value >= 0.5:
                    colour = "white" if value > 50 else "black"
                    axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5, color=colour)
    else:
        made = style.figure(9.5, 4.6)
        left, right = made.subplots(1, 2, width_ratios=(1.15, 1))
        _matrix(left, found)
        left.set(xticks=[], yticks=[])
        _pairs(right, found)
    style.title(made, title)
    return made


def _matrix(axis: Axes, found: Confusion) -> None:
    n = len(found.names)
    image = axis.imshow(100 * found.share, cmap="Blues", vmin=0, vmax=100, aspect="equal")
    axis.figure.colorbar(image, ax=axis, shrink=0.8, label="queries (%)")
    axis.grid(visible=False)
    axis.set(xlabel=f"candidate with rank 1, of {n}", ylabel="seen")


def _pairs(axis: Axes, found: Confusion) -> None:
    """The pairs that are confused most, both directions together."""
    import numpy as np

    from brain2clip.reporting import style

    both = (found.share + found.share.T) / 2
    first, second = np.triu_indices(len(both), 1)
    order = np.argsort(-both[first, second], kind="stable")[:N_PAIRS]
    order = order[both[first[order], second[order]] > 0]
    if not len(order):
        style.note(axis, "no class was confused with another")
        return
    values = 100 * both[first[order], second[order]]
    names = [
        " – ".join(textwrap.shorten(found.names[row], 22, placeholder="…") for row in (first[one], second[one]))
        for one in order
    ]
    axis.barh(range(len(order)), values, color=style.colour(0), height=0.7)
    axis.set_yticks(range(len(order)), names)
    axis.set(ylim=(len(order) - 0.4, -0.6), xlabel="queries in which the other came first (%)")
    axis.grid(visible=False, axis="y")
    axis.set_title("most often confused")
