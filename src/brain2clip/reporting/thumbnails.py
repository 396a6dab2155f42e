"""Rows of stimuli, by their pictures or words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain2clip import artefact, stage
from brain2clip.readers.pictures import read as read_picture
from brain2clip.reporting import style
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from PIL import Image

#: Queries and candidates that are shown at most.
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


def candidates_of(job: stage.Job) -> Candidates:
    """How the stimuli of a job's input ``stimuli`` are shown."""
    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        names, images, concepts, captions = (
            [str(text) for text in file[key].asstr()[:]] for key in ("stimulus_id", "image", "concept", "caption")
        )
        pictures_known = file.attrs["kind"] == "pictures"
    pictures = {} if not pictures_known else {name: Path(path) for name, path in zip(names, images, strict=True)}
    words = {name: caption or concept or name for name, concept, caption in zip(names, concepts, captions, strict=True)}
    return Candidates(pictures, words)


def sheet(n_rows: int, n_best: int, title: str) -> tuple[Figure, NDArray[np.object_]]:
    """An empty figure and its axes [n_rows, 1 + n_best]: the seen stimulus, then the best candidates."""
    made = style.figure(1.15 * (n_best + 1) + 0.6, 1.28 * n_rows + 0.7)
    axes = made.subplots(n_rows, n_best + 1, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for number, axis in enumerate(axes[0]):
        axis.set_title("seen" if number == 0 else f"{number}.", loc="center", fontsize=9)
    style.title(made, title)
    return made, axes


def drawing(candidates: Candidates) -> Callable[[Axes, str], None]:
    """How a stimulus is drawn: its picture where the study has pictures, else its words."""
    return _picture(candidates) if candidates.picture else _text(candidates)


def mean_training_picture(job: stage.Job, most: int) -> tuple[NDArray[np.float64], int]:
    """Mean of training pictures of a job's input ``stimuli``, evenly spaced, and how many: the square in their middle.

    Returns
    -------
    picture : array [height, width, 3]
        0 to 1.
    count : int
        At most ``most``.
    """
    from PIL import ImageOps

    with artefact.open_h5(*job.each("stimuli")[0]) as file:
        rows = np.flatnonzero(file["split"].asstr()[:] != "test")
        names, images = (file[key].asstr()[:] for key in ("stimulus_id", "image"))
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]
    total = np.zeros((_THUMBNAIL, _THUMBNAIL, 3))
    for row in rows:
        total += np.asarray(ImageOps.fit(_opened(names[row], Path(images[row])), (_THUMBNAIL, _THUMBNAIL)))
    return total / (255 * len(rows)), len(rows)


def frame(axis: Axes, colour: str, width: float) -> None:
    """A frame around a stimulus, without ticks."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=width)


def mark(axis: Axes, right: bool) -> None:
    """A green frame for a candidate that is right, a thin one else."""
    frame(axis, style.GREEN if right else "#CCCCCC", 3.5 if right else 0.6)


def evenly_spaced(count: int) -> NDArray[np.int64]:
    """Places that are shown of so many, never picked by result."""
    return np.linspace(0, count - 1, min(N_QUERIES, count)).round().astype(np.int64)


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
    small = _opened(name, pictures.get(name))
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(small)


def _opened(name: str, path: Path | None) -> Image.Image:
    if path is None or not path.is_file():
        raise InputError(f"no picture file for stimulus {name}; expected {path} (run from the folder above it)")
    return read_picture(path)
