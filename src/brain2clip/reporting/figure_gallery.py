"""Figure ``gallery``: what was seen and the five best candidates, for some queries."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain2clip.reporting import style
from brain2clip.stage import InputError

N_QUERIES = 8
N_BEST = 5
_THUMBNAIL = 112


@dataclass(frozen=True)
class Candidates:
    """What can be shown of a candidate.

    Attributes
    ----------
    picture : dict
        Stimulus id to the path of its picture; empty where candidates are text prompts.
    text : dict
        Stimulus id to words.
    """

    picture: dict[str, Path]
    text: dict[str, str]


def figure_gallery(rows: pd.DataFrame, candidates: Candidates, title: str) -> Figure:
    """One row per query: seen stimulus on the left, then the best five; the right one has a green frame.

    Parameters
    ----------
    rows : DataFrame
        Retrieval rows of one run, of the task ``stimulus`` among all candidates, with all repetitions averaged.
    candidates : Candidates
    title : str
        Which run is shown.
    """
    shown = chosen(rows)
    n_best = min(N_BEST, int(rows["n_candidates"].max()))
    made = style.figure(1.15 * (n_best + 1) + 0.6, 1.28 * len(shown) + 0.7)
    axes = made.subplots(len(shown), n_best + 1, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    draw = drawing(candidates)
    for line, (_, row) in zip(axes, shown.iterrows(), strict=True):
        draw(line[0], row["target"])
        frame(line[0], "black", 0.8)
        line[0].set_ylabel(f"rank {row['rank']}", fontsize=8)
        for axis, candidate in zip(line[1:], row["top_ids"][:n_best], strict=True):
            draw(axis, candidate)
            right = candidate == row["target"]
            frame(axis, style.GREEN if right else "#CCCCCC", 3.5 if right else 0.6)
    for number, axis in enumerate(axes[0]):
        axis.set_title("seen" if number == 0 else f"{number}.", loc="center", fontsize=9)
    made.suptitle("\n".join(textwrap.wrap(title, 90)), fontsize=9)
    return made


def chosen(rows: pd.DataFrame, n_queries: int = N_QUERIES) -> pd.DataFrame:
    """Queries that are shown: evenly spaced in the order of the queries, never picked by result."""
    ordered = rows.sort_values("query")
    places = np.linspace(0, len(ordered) - 1, min(n_queries, len(ordered))).round().astype(int)
    return ordered.iloc[places]


def drawing(candidates: Candidates) -> Callable[[Axes, str], None]:
    """How a stimulus is drawn: its picture where the study has pictures, else its words."""
    return _picture(candidates) if candidates.picture else _text(candidates)


def frame(axis: Axes, colour: str, width: float) -> None:
    """A frame around a stimulus, without ticks."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=width)


def _picture(candidates: Candidates) -> Callable[[Axes, str], None]:
    cache: dict[str, NDArray[np.uint8]] = {}

    def draw(axis: Axes, name: str) -> None:
        if name not in cache:
            cache[name] = _thumbnail(name, candidates.picture)
        axis.imshow(cache[name])

    return draw


def _text(candidates: Candidates) -> Callable[[Axes, str], None]:
    def draw(axis: Axes, name: str) -> None:
        words = textwrap.fill(candidates.text.get(name, name), 14)
        axis.text(0.5, 0.5, words, ha="center", va="center", fontsize=7, transform=axis.transAxes)
        axis.set_aspect("equal")

    return draw


def _thumbnail(name: str, pictures: dict[str, Path]) -> NDArray[np.uint8]:
    from PIL import Image

    path = pictures.get(name)
    if path is None or not path.is_file():
        raise InputError(
            f"gallery: no picture file for stimulus {name}; expected {path} (run from the folder above it)"
        )
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return np.asarray(small)
