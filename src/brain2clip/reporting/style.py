"""The style of all figures: palette, lines, axes, saving.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which can be distinguished with every common form
of colour blindness; after eight methods the line style and the marker change.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from brain2clip import artefact

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7F00")
GREEN = "#009E73"
GREY = "#8C8C8C"
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")

_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "brain2clip",
    "image.interpolation": "nearest",
    # Labels and names of the user's data are text: a dollar does not begin a formula.
    "text.parse_math": False,
}


@contextmanager
def applied() -> Iterator[None]:
    """The look, inside a ``with`` block."""
    with matplotlib.rc_context(_RC):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches, without the global state of pyplot."""
    return Figure(figsize=(width, height), layout="constrained")


def grid(n_panels: int, columns: int = 2, width: float = 4.0, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, filled row by row."""
    columns = max(1, min(columns, n_panels))
    n_rows = -(-n_panels // columns)
    made = figure(max(5.0, width * columns), height * n_rows)
    return made, [made.add_subplot(n_rows, columns, number + 1) for number in range(n_panels)]


def colour(number: int) -> str:
    """Colour of the n-th method."""
    return PALETTE[number % len(PALETTE)]


def line(number: int) -> str:
    """Line style of the n-th method."""
    return LINES[number // len(PALETTE) % len(LINES)]


def marker(number: int) -> str:
    """Marker of the n-th method."""
    return MARKERS[number // len(PALETTE) % len(MARKERS)]


def legend_below(made: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """One legend for all panels, under them, in as many columns as fit into the width of the figure."""
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if not found:
        return
    size = float(_RC["legend.fontsize"])
    longest = max(TextPath((0, 0), label, size=size).get_extents().width for label in found)
    # Points: the line, the gaps beside it and between columns are given in parts of the font size.
    fitting = int(made.get_figwidth() * 72 / (longest + 5 * size))
    columns = max(1, min(columns, len(found), fitting))
    made.set_figheight(made.get_figheight() + (len(found) - 1) // columns * 1.6 * size / 72)  # not from the panels
    made.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def label(made: Figure, text: str) -> None:
    """Put a label above a whole figure, before its title if it has one."""
    known = made.get_suptitle().replace("\n", " ")
    title(made, f"{text.upper()}: {known}" if known else text.upper(), fontweight="bold")


def title(made: Figure, text: str, **given: Any) -> None:
    """Give a figure a title, in lines that fit into its width."""
    made.suptitle(wrapped(made, text), fontsize=9, **given)


def wrapped(made: Figure, title: str) -> str:
    """A title in lines that fit into the width of a figure."""
    return "\n".join(textwrap.wrap(title, int(13 * made.get_figwidth())))


def note(axis: Axes, text: str) -> None:
    """A remark in place of a picture."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center", color=GREY, wrap=True, transform=axis.transAxes)


def save(made: Figure, path: Path | str, provenance: artefact.Provenance | None = None) -> None:
    """Write an SVG: the same figure gives the same bytes; the file's metadata has the provenance."""
    metadata: dict[str, str | None] = {"Date": None, "Creator": None}
    if provenance is not None:
        metadata["Description"] = provenance.json()
    with artefact.aside(path) as part:
        made.savefig(part, format="svg", metadata=metadata)
