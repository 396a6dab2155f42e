"""Small drawings of the page, as SVG that follows the colours of the page; all text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

#: Width and height of the drawing of one line, and the room at its ends.
WIDTH, HEIGHT, ROOM = 280, 30, 10
#: Size of a curve's drawing, and the room for its axes.
CURVE, LEFT, BOTTOM, TOP = (640, 300), 48, 44, 12
#: Colours of lines that the style sheet has, and dashes, so that lines differ without colours.
COLOURS = 8
DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Scale:
    """From values to places of an axis.

    Attributes
    ----------
    low, high : float
        Ends.
    ticks : tuple of float
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float, start: float = ROOM, end: float = WIDTH - ROOM) -> float:
        """Where a value stands between two places; what lies beyond an end stands at it."""
        share = (value - self.low) / (self.high - self.low)
        return round(start + min(max(share, 0.0), 1.0) * (end - start), 2)


def scale(values: Sequence[float], zero: bool = True) -> Scale:
    """An axis with round ends that holds some values; from zero on, unless some lie below or it need not be there."""
    known = [value for value in values if not math.isnan(value)] or [0.0, 1.0]
    low, high = (min(0.0, *known) if zero else min(known)), max(known)
    if high <= low:
        high = low + 1.0
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (factor * step) <= 5.01)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(first * step, last * step, tuple(round(number * step, 10) for number in range(first, last + 1)))


def line(
    axis: Scale,
    measured: tuple[float, float, float],
    words: str,
    dots: Sequence[float] = (),
    marks: Sequence[tuple[str, float]] = (),
) -> Markup:
    """A value with its interval, a dot for each subject, and vertical marks.

    Parameters
    ----------
    axis : Scale
    measured : (float, float, float)
        Value and ends of its interval, in the unit of the axis; an interval that is not known is not drawn.
    words : str
        The same in words, for screen readers.
    dots : sequence of float
    marks : sequence of (str, float)
        Class of the style sheet, and value.
    """
    middle, (value, low, high) = HEIGHT / 2, measured
    parts = [
        Markup('<line class="{}" x1="{x}" x2="{x}" y1="0" y2="{}"/>').format(name, HEIGHT, x=axis.place(at))
        for name, at in marks
        if not math.isnan(at)
    ]
    if not (math.isnan(low) or math.isnan(high)):
        ends = axis.place(low), axis.place(high)
        parts.append(Markup('<line class="interval" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(*ends, y=middle))
    parts += [
        Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(axis.place(dot), middle + (5 if n % 2 else -5))
        for n, dot in enumerate(dots)
    ]
    if not math.isnan(value):
        at = axis.place(value)
        parts.append(Markup('<path class="mean" d="M{0} {1}l5 5l-5 5l-5 -5z"/>').format(at, middle - 5))
    return _svg("strip", WIDTH, HEIGHT, words, parts)


def ruler(axis: Scale) -> Markup:
    """The axis below such lines."""
    parts = [Markup('<line class="axis" x1="{}" x2="{}" y1="1" y2="1"/>').format(ROOM, WIDTH - ROOM)]
    for tick in axis.ticks:
        at = axis.place(tick)
        anchor = "start" if at < 2 * ROOM else "end" if at > WIDTH - 2 * ROOM else "middle"
        shift = -4 if anchor == "start" else 4 if anchor == "end" else 0
        parts.append(Markup('<line class="axis" x1="{x}" x2="{x}" y1="1" y2="5"/>').format(x=at))
        parts.append(
            Markup('<text x="{}" y="17" text-anchor="{}">{}</text>').format(
                at + shift, anchor, f"{tick:g}".replace("-", "−")
            )
        )
    return _svg("strip", WIDTH, 22, f"axis from {axis.low:g} to {axis.high:g}", parts)


@dataclass(frozen=True)
class Series:
    """A line of a curve.

    Attributes
    ----------
    label : str
    points : sequence of (value, low, high)
        By the number of the place on the axis; NaN where there is none.
    """

    label: str
    points: Sequence[tuple[float, float, float]]


def curve(places: Sequence[str], series: Sequence[Series], chance: float, across: str, up: str, words: str) -> Markup:
    """Lines over places, with intervals.

    Parameters
    ----------
    places : sequence of str
        Names on the horizontal axis.
    series : sequence of Series
    chance : float
    across, up : str
        Labels of the axes.
    words : str
        Description for screen readers.
    """
    width, height = CURVE
    axis = scale([chance, *(one[0] for line in series for one in line.points)])
    step = (width - LEFT - 20) / max(1, len(places))
    floor, top = height - BOTTOM, TOP

    def y(value: float) -> float:
        return axis.place(value, floor, top)

    parts = []
    for tick in axis.ticks:
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, width - 10, y=y(tick))
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 6, y(tick) + 4, f"{tick:g}")
        )
    for number, place in enumerate(places):
        at = round(LEFT + (number + 0.5) * step, 1)
        parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(at, floor + 16, place))
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format((LEFT + width) / 2, height - 6, across)
    )
    parts.append(
        Markup('<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>').format(floor / 2, up)
    )
    if not math.isnan(chance):
        parts.append(
            Markup('<line class="chance" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, width - 10, y=y(chance))
        )
    for number, one in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * min(12.0, 0.7 * step / max(1, len(series)))
        points = [
            (round(LEFT + (n + 0.5) * step + shift, 1), *point)
            for n, point in enumerate(one.points)
            if not math.isnan(point[0])
        ]
        look = f"s{number % COLOURS}"
        for at, _, low, high in points:
            if not (math.isnan(low) or math.isnan(high)):
                parts.append(
                    Markup('<line class="whisker {}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
                        look, y(low), y(high), x=at
                    )
                )
        path = " ".join(f"{at},{y(value)}" for at, value, _, _ in points)
        dash = DASHES[number // COLOURS % len(DASHES)] if len(series) > COLOURS else DASHES[number % len(DASHES)]
        parts.append(Markup('<polyline class="{}" stroke-dasharray="{}" points="{}"/>').format(look, dash, path))
        for at, value, _, _ in points:
            parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="3.5"/>').format(look, at, y(value)))
    return _svg("curve", width, height, words, parts)


def key(number: int, count: int) -> Markup:
    """The line of a curve beside its name."""
    dash = DASHES[number // COLOURS % len(DASHES)] if count > COLOURS else DASHES[number % len(DASHES)]
    parts = [
        Markup('<line class="{}" stroke-dasharray="{}" x1="1" x2="35" y1="7" y2="7"/>').format(
            f"s{number % COLOURS}", dash
        )
    ]
    return Markup('<svg class="curve key" width="36" height="14" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def _svg(look: str, width: float, height: float, words: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        look, width, height, words, Markup("").join(parts)
    )
