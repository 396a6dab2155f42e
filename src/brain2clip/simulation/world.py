"""The simulated world: a grammar of pictures, their captions, and the features that brain sources respond to.

A *concept* is an object with a texture and a colour ("a striped red fish"); there are 16 x 6 x 8 = 768. An
*exemplar* is one picture of a concept: it adds scene, place, size, rotation, jitter of hue and brightness,
and the phase of the texture, all drawn from a seed. :data:`HELD_OUT` names 400 concepts that neither the CLIP
tower nor the training part of any study may use. They are split into two halves: studies with an even seed are tested
on the first, studies with an odd seed on the second. So choices can be made on one study and results reported from
another one without a common test concept.

Every function here is a pure function of its arguments. Coordinates are in picture widths, from the top left
corner; colours are sRGB in [0, 1] unless said otherwise.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.floating]
Point = tuple[float, float]

CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("fish", "bird", "rabbit", "butterfly"),
    "plant": ("tree", "flower", "mushroom", "leaf"),
    "tool": ("hammer", "key", "cup", "umbrella"),
    "vehicle": ("car", "boat", "plane", "rocket"),
}
OBJECTS: tuple[str, ...] = tuple(name for members in CATEGORIES.values() for name in members)
TEXTURES: dict[str, str] = {
    "plain": "no pattern",
    "striped": "stripes",
    "dotted": "dots",
    "checked": "checks",
    "wavy": "waves",
    "ringed": "rings",
}
"""Adjective of each texture, and the noun that a caption may use instead."""
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.11, 0.12),
    "orange": (0.97, 0.54, 0.08),
    "yellow": (0.97, 0.87, 0.17),
    "green": (0.13, 0.63, 0.25),
    "blue": (0.13, 0.36, 0.88),
    "purple": (0.53, 0.18, 0.68),
    "pink": (0.98, 0.56, 0.75),
    "brown": (0.46, 0.27, 0.13),
}
SCENES: dict[str, str] = {
    "beach": "on a beach",
    "forest": "in a forest",
    "snow": "in the snow",
    "night": "at night",
    "city": "in a city",
    "sunset": "at sunset",
}
"""Name of each scene, and the phrase that places an object in it."""

N_HELD_OUT = 400
OVERSAMPLING = 4
"""Pictures are drawn larger by this factor in each direction, then averaged down."""
_HELD_OUT_SEED = 20_240_740
_EMBEDDING_SEED = 8_128
_PAIRS = ((0, 1), (0, 2), (1, 2))
"""Pairs of the words object, texture and colour, by their index."""
_CONTOUR = {"night": (226, 226, 236)}
_USUAL_CONTOUR = (28, 26, 30)


@dataclass(frozen=True, order=True)
class Concept:
    """What a picture shows.

    Attributes
    ----------
    object, texture, colour
        One of :data:`OBJECTS`, :data:`TEXTURES` and :data:`COLOURS`.
    """

    object: str
    texture: str
    colour: str

    def __post_init__(self) -> None:
        for value, allowed in ((self.object, OBJECTS), (self.texture, TEXTURES), (self.colour, COLOURS)):
            if value not in allowed:
                raise ValueError(f"The world has no {value!r}; it has {', '.join(allowed)}.")

    @property
    def number(self) -> int:
        """Index of the concept in :data:`CONCEPTS`, from 0."""
        textures, colours = list(TEXTURES), list(COLOURS)
        place = OBJECTS.index(self.object) * len(textures) + textures.index(self.texture)
        return place * len(colours) + colours.index(self.colour)

    @property
    def name(self) -> str:
        """Words of the concept, as in ``striped red fish``."""
        return f"{self.texture} {self.colour} {self.object}"

    @property
    def identifier(self) -> str:
        """Name that is safe in a file name, as in ``striped_red_fish``."""
        return self.name.replace(" ", "_")

    @property
    def category(self) -> str:
        """Superordinate category of the object, as in ``animal``."""
        return next(name for name, members in CATEGORIES.items() if self.object in members)


@dataclass(frozen=True)
class Exemplar:
    """One picture, before it is drawn.

    Attributes
    ----------
    concept
        What the picture shows.
    index, seed
        Arguments of :func:`exemplar` that gave this one.
    scene
        One of :data:`SCENES`.
    scene_seed
        Seed of the details of the scene (horizon, trunks, houses, flakes).
    x, y
        Centre of the figure, picture widths from the top left corner.
    size
        Half the width of the figure's unit box, picture widths.
    rotation
        Turn of the figure, degrees clockwise.
    hue, brightness
        Shift of the hue (turns) and factor on the brightness (1: no change).
    phase
        Offset of the texture in the unit box of the figure, two numbers in [0, 1).
    """

    concept: Concept
    index: int
    seed: int
    scene: str
    scene_seed: int
    x: float
    y: float
    size: float
    rotation: float
    hue: float
    brightness: float
    phase: Point


CONCEPTS: tuple[Concept, ...] = tuple(
    Concept(name, texture, colour) for name in OBJECTS for texture in TEXTURES for colour in COLOURS
)


def _balanced(concepts: Sequence[Concept], n: int, seed: int) -> tuple[Concept, ...]:
    """Draw n concepts so that the first k of them, for any k, use all objects, textures and colours evenly.

    Among equally good concepts, the one whose pairs of words were drawn least often comes first. So most pairs occur
    in a larger draw.
    """
    if not 0 <= n <= len(concepts):
        raise ValueError(f"{n} concepts were asked for; there are {len(concepts)} to draw from.")
    left = [concepts[i] for i in np.random.default_rng(seed).permutation(len(concepts))]
    textures, colours = list(TEXTURES), list(COLOURS)
    numbers = [(OBJECTS.index(one.object), textures.index(one.texture), colours.index(one.colour)) for one in left]
    words = np.array(numbers, dtype=np.intp).reshape(-1, 3).T
    lengths = np.array((len(OBJECTS), len(textures), len(colours)))
    # The cell of each concept in each one-way and two-way table of counts, and the number of cells of each table.
    cells = [*words, *(words[i] * lengths[j] + words[j] for i, j in _PAIRS)]
    sizes = [*lengths, *(lengths[i] * lengths[j] for i, j in _PAIRS)]
    # A difference in a one-way table outweighs all differences in the two-way tables.
    weights = [1.0 if table < len(lengths) else 1e-6 * size for table, size in enumerate(sizes)]
    crowding = np.zeros(len(left))
    drawn = []
    for _ in range(n):
        best = int(crowding.argmin())
        drawn.append(left[best])
        for cell, weight in zip(cells, weights):
            crowding += weight * (cell == cell[best])
        crowding[best] = np.inf
    return tuple(drawn)


HELD_OUT: tuple[Concept, ...] = _balanced(CONCEPTS, N_HELD_OUT, _HELD_OUT_SEED)
"""Test concepts: no tower and no training part of a study may use them."""
HALVES: tuple[tuple[Concept, ...], tuple[Concept, ...]] = (HELD_OUT[: N_HELD_OUT // 2], HELD_OUT[N_HELD_OUT // 2 :])
"""Test concepts of studies with an even seed, and of studies with an odd seed."""
TRAINABLE: tuple[Concept, ...] = tuple(concept for concept in CONCEPTS if concept not in set(HELD_OUT))
"""All other concepts."""


def training_concepts(n: int, seed: int) -> tuple[Concept, ...]:
    """Draw concepts for the training part of a study, evenly over objects, textures and colours.

    Parameters
    ----------
    n
        How many, at most 368.
    seed
        Seed of the draw.

    Returns
    -------
    tuple of Concept
        n different concepts, none of them held out.
    """
    return _balanced(TRAINABLE, n, seed)


def test_concepts(n: int, seed: int) -> tuple[Concept, ...]:
    """Draw concepts for the test part of a study, evenly over objects, textures and colours.

    Parameters
    ----------
    n
        How many, at most 200.
    seed
        Seed of the study: even seeds draw from the first of :data:`HALVES`, odd seeds from the second. An even and an
        odd seed share no test concept; two even (or two odd) seeds draw from the same 200 in different orders.

    Returns
    -------
    tuple of Concept
        n different concepts from :data:`HELD_OUT`.
    """
    half = HALVES[seed % 2]
    if not 0 <= n <= len(half):
        raise ValueError(f"{n} test concepts were asked for; {len(half)} are held out for studies of one seed.")
    return _balanced(half, n, seed)


test_concepts.__test__ = False  # type: ignore[attr-defined]  # the name looks like a test to pytest


def exemplar(concept: Concept, index: int, seed: int) -> Exemplar:
    """Draw one exemplar of a concept.

    Parameters
    ----------
    concept
        What the picture shows.
    index
        Number of the exemplar, from 0.
    seed
        Seed of the set of pictures; other seeds give other pictures.

    Returns
    -------
    Exemplar
        Always the same for the same arguments.
    """
    rng = np.random.default_rng([seed, concept.number, index])
    return Exemplar(
        concept=concept,
        index=index,
        seed=seed,
        scene=list(SCENES)[int(rng.integers(len(SCENES)))],
        scene_seed=int(rng.integers(2**31)),
        x=float(rng.uniform(0.40, 0.60)),
        y=float(rng.uniform(0.40, 0.60)),
        size=float(rng.uniform(0.27, 0.40)),
        rotation=float(rng.uniform(-22.0, 22.0)),
        hue=float(rng.uniform(-0.012, 0.012)),
        brightness=float(rng.uniform(0.90, 1.08)),
        phase=(float(rng.uniform()), float(rng.uniform())),
    )


# ----------------------------------------------------------------------------------------------------
# Words
# ----------------------------------------------------------------------------------------------------

PROMPTS: tuple[str, ...] = (
    "a photo of {a_name}",
    "{a_name}",
    "a picture of {a_name}",
    "{a_coloured} with {pattern}",
    "a photo of {a_coloured} with {pattern}",
)
"""Templates that name the concept only."""
CAPTIONS: tuple[str, ...] = (
    *PROMPTS,
    "a photo of {a_name} {place}",
    "{a_name} {place}",
    "{a_coloured} with {pattern} {place}",
    "{scene}, {a_name}",
)
"""Templates of captions, with and without the scene."""
CAPTION_KINDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("object",): ("a photo of {an_object}", "{an_object}", "a picture of {an_object}"),
    ("object", "colour"): ("a photo of {a_coloured}", "{a_coloured}"),
    ("object", "texture"): ("a photo of {a_textured}", "{an_object} with {pattern}"),
    ("object", "scene"): ("a photo of {an_object} {place}", "{an_object} {place}", "{scene}, {an_object}"),
    ("object", "texture", "colour"): PROMPTS,
    ("object", "texture", "colour", "scene"): CAPTIONS[len(PROMPTS) :],
}
"""Templates by what they say about a picture. Templates that do not name object, texture and colour are used only to
train a tower; all their words occur in :data:`CAPTIONS`."""


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _words(concept: Concept, scene: str) -> dict[str, str]:
    return {
        "a_name": _with_article(concept.name),
        "an_object": _with_article(concept.object),
        "a_textured": _with_article(f"{concept.texture} {concept.object}"),
        "a_coloured": _with_article(f"{concept.colour} {concept.object}"),
        "pattern": TEXTURES[concept.texture],
        "place": SCENES[scene],
        "scene": scene,
    }


def describe(concept: Concept, scene: str, template: str) -> str:
    """Fill a template of :data:`CAPTION_KINDS` for a concept in one of :data:`SCENES`."""
    return template.format(**_words(concept, scene))


def caption(shown: Exemplar, variant: int) -> str:
    """Describe a picture.

    Parameters
    ----------
    shown
        The picture.
    variant
        Index into :data:`CAPTIONS`, modulo their number.

    Returns
    -------
    str
        Such as ``a photo of a striped red fish on a beach``.
    """
    return describe(shown.concept, shown.scene, CAPTIONS[variant % len(CAPTIONS)])


def prompt(concept: Concept) -> str:
    """Return the class prompt of a concept, as in ``a photo of a striped red fish``."""
    return prompts(concept)[0]


def prompts(concept: Concept) -> tuple[str, ...]:
    """Return all class prompts of a concept, one per template of :data:`PROMPTS`."""
    return tuple(describe(concept, next(iter(SCENES)), template) for template in PROMPTS)


def vocabulary() -> tuple[str, ...]:
    """Return every word that captions can contain and the names of the categories, without punctuation, sorted."""
    captions = (describe(concept, scene, template) for concept in CONCEPTS for scene in SCENES for template in CAPTIONS)
    words = {word.strip(",") for text in captions for word in text.split()}
    return tuple(sorted(words | set(CATEGORIES)))


# ----------------------------------------------------------------------------------------------------
# Shapes: outlines in a unit box, x to the right and y down, both from -1 to 1
# ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A closed outline that is added to the figure, or cuts a hole into the parts drawn before."""

    outline: tuple[Point, ...]
    hole: bool = False


def _polygon(*points: Point, hole: bool = False) -> _Part:
    return _Part(points, hole)


def _arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360, n: int = 28) -> list[Point]:
    """Points on an ellipse; angles in degrees, clockwise on the screen, 0 to the right."""
    angles = np.deg2rad(np.linspace(start, stop, n))
    return [(float(x + rx * np.cos(t)), float(y + ry * np.sin(t))) for t in angles]


def _ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0, hole: bool = False) -> _Part:
    """Ellipse around (x, y), turned by `tilt` degrees clockwise on the screen."""
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return _Part(tuple((x + c * u - s * v, y + s * u + c * v) for u, v in _arc(0, 0, rx, ry)), hole)


def _box(left: float, top: float, right: float, bottom: float) -> _Part:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _petals(n: int, y: float, distance: float, radius: float) -> list[_Part]:
    angles = 2 * np.pi * np.arange(n) / n - np.pi / 2
    return [_ellipse(distance * float(np.cos(t)), y + distance * float(np.sin(t)), radius, radius) for t in angles]


_SHAPES: dict[str, tuple[_Part, ...]] = {
    "fish": (
        _ellipse(-0.22, 0, 0.76, 0.50),
        _polygon((0.30, 0), (1.0, -0.58), (0.82, 0), (1.0, 0.58)),
        _polygon((-0.35, -0.40), (0.05, -0.80), (0.22, -0.34)),
        _ellipse(-0.62, -0.12, 0.09, 0.09, hole=True),
    ),
    "bird": (
        _ellipse(0.08, 0.10, 0.58, 0.40, tilt=15),
        _ellipse(-0.48, -0.34, 0.29, 0.29),
        _polygon((-0.70, -0.46), (-1.0, -0.26), (-0.66, -0.20)),
        _polygon((0.45, 0.10), (1.0, 0.22), (0.96, 0.52), (0.40, 0.42)),
        _polygon((-0.05, 0.35), (0.07, 0.35), (0.07, 0.95), (-0.22, 0.95), (-0.22, 0.84), (-0.05, 0.84)),
        _polygon((0.22, 0.35), (0.34, 0.35), (0.34, 0.95), (0.05, 0.95), (0.05, 0.84), (0.22, 0.84)),
        _ellipse(-0.55, -0.40, 0.07, 0.07, hole=True),
    ),
    "rabbit": (
        _ellipse(-0.30, -0.52, 0.19, 0.50, tilt=-10),
        _ellipse(0.30, -0.52, 0.19, 0.50, tilt=10),
        _ellipse(0, 0.38, 0.66, 0.58),
        _ellipse(-0.25, 0.26, 0.09, 0.11, hole=True),
        _ellipse(0.25, 0.26, 0.09, 0.11, hole=True),
    ),
    "butterfly": (
        _ellipse(-0.54, -0.36, 0.50, 0.38, tilt=35),
        _ellipse(0.54, -0.36, 0.50, 0.38, tilt=-35),
        _ellipse(-0.42, 0.40, 0.38, 0.32, tilt=-35),
        _ellipse(0.42, 0.40, 0.38, 0.32, tilt=35),
        _ellipse(0, 0.02, 0.11, 0.62),
        _polygon((-0.03, -0.5), (-0.30, -0.98), (-0.20, -0.98), (0.05, -0.55)),
        _polygon((0.03, -0.5), (0.30, -0.98), (0.20, -0.98), (-0.05, -0.55)),
    ),
    "tree": (
        _polygon((0, -1.0), (0.48, -0.38), (-0.48, -0.38)),
        _polygon((0, -0.66), (0.62, 0.08), (-0.62, 0.08)),
        _polygon((0, -0.24), (0.76, 0.58), (-0.76, 0.58)),
        _box(-0.15, 0.55, 0.15, 1.0),
    ),
    "flower": (
        *_petals(6, -0.34, 0.42, 0.27),
        _ellipse(0, -0.34, 0.42, 0.42),
        _ellipse(0, -0.34, 0.16, 0.16, hole=True),
        _box(-0.07, 0.30, 0.07, 1.05),
        _ellipse(0.28, 0.68, 0.30, 0.13, tilt=-35),
    ),
    "mushroom": (
        _Part((*_arc(0, 0.05, 0.90, 0.86, 180, 360), (0.72, 0.20), (-0.72, 0.20))),
        _polygon((-0.24, 0.15), (0.24, 0.15), (0.34, 0.95), (-0.34, 0.95)),
    ),
    "leaf": (
        _Part((*_arc(-0.72, -0.1, 1.20, 1.20, -47, 47), *_arc(0.92, -0.1, 1.20, 1.20, 133, 227))),
        _polygon((0.04, 0.70), (0.16, 0.70), (0.30, 1.08), (0.16, 1.12)),
        _polygon((0.06, -0.55), (0.14, -0.55), (0.15, 0.62), (0.05, 0.62), hole=True),
    ),
    "hammer": (
        _polygon((-0.68, -0.88), (0.50, -0.88), (0.92, -0.48), (0.50, -0.36), (-0.68, -0.36)),
        _box(-0.20, -0.40, 0.14, 1.0),
    ),
    "key": (
        _ellipse(-0.55, 0, 0.46, 0.46),
        _box(-0.15, -0.14, 1.0, 0.14),
        _box(0.74, 0.05, 1.0, 0.52),
        _box(0.36, 0.05, 0.58, 0.42),
        _ellipse(-0.58, 0, 0.19, 0.19, hole=True),
    ),
    "cup": (
        _ellipse(0.54, 0.0, 0.44, 0.46),
        _ellipse(0.58, 0.0, 0.22, 0.26, hole=True),
        _polygon((-0.85, -0.72), (0.56, -0.72), (0.40, 0.76), (-0.69, 0.76)),
    ),
    "umbrella": (
        _Part(
            (
                *_arc(0, 0.0, 0.98, 0.84, 180, 360),
                *_arc(0.735, 0.0, 0.245, 0.16, 0, -180, n=8),
                *_arc(0.245, 0.0, 0.245, 0.16, 0, -180, n=8),
                *_arc(-0.245, 0.0, 0.245, 0.16, 0, -180, n=8),
                *_arc(-0.735, 0.0, 0.245, 0.16, 0, -180, n=8),
            )
        ),
        _Part(
            (
                (-0.07, -0.98),
                (0.07, -0.98),
                (0.07, 0.72),
                *_arc(0.24, 0.72, 0.17, 0.13, 180, 0, n=8),
                *_arc(0.24, 0.72, 0.31, 0.28, 0, 180, n=12),
            )
        ),
    ),
    "car": (
        _polygon(
            (-1.0, 0.02),
            (-0.62, -0.04),
            (-0.38, -0.52),
            (0.36, -0.52),
            (0.64, -0.04),
            (1.0, 0.06),
            (1.0, 0.42),
            (-1.0, 0.42),
        ),
        _ellipse(-0.55, 0.42, 0.25, 0.25),
        _ellipse(0.55, 0.42, 0.25, 0.25),
        _polygon((-0.42, -0.06), (-0.27, -0.38), (-0.06, -0.38), (-0.06, -0.06), hole=True),
        _polygon((0.08, -0.06), (0.08, -0.38), (0.27, -0.38), (0.42, -0.06), hole=True),
    ),
    "boat": (
        _polygon((-0.98, 0.40), (0.98, 0.40), (0.62, 0.92), (-0.66, 0.92)),
        _box(-0.06, -0.95, 0.06, 0.42),
        _polygon((0.12, -0.92), (0.86, 0.24), (0.12, 0.24)),
        _polygon((-0.12, -0.66), (-0.12, 0.24), (-0.72, 0.24)),
    ),
    "plane": (
        _Part((*_arc(0, -0.60, 0.16, 0.42, 180, 360), (0.13, 0.85), (0, 0.98), (-0.13, 0.85))),
        _polygon((0, -0.42), (1.0, 0.20), (1.0, 0.40), (0, 0.16), (-1.0, 0.40), (-1.0, 0.20)),
        _polygon((0, 0.50), (0.46, 0.80), (0.46, 0.95), (0, 0.82), (-0.46, 0.95), (-0.46, 0.80)),
    ),
    "rocket": (
        _Part(
            (
                (0, -1.0),
                *_arc(-0.02, 0.0, 0.38, 0.62, -50, 35, n=10),
                (0.26, 0.62),
                (-0.26, 0.62),
                *_arc(0.02, 0.0, 0.38, 0.62, 145, 230, n=10),
            )
        ),
        _polygon((-0.28, 0.08), (-0.72, 0.62), (-0.72, 0.94), (-0.24, 0.58)),
        _polygon((0.28, 0.08), (0.72, 0.62), (0.72, 0.94), (0.24, 0.58)),
        _polygon((-0.20, 0.60), (0.20, 0.60), (0, 1.05)),
        _ellipse(0, -0.22, 0.15, 0.15, hole=True),
    ),
}


# ----------------------------------------------------------------------------------------------------
# Textures: where the second colour (ink) is, in the coordinates of the figure's unit box
# ----------------------------------------------------------------------------------------------------


def _striped(u: Floats, v: Floats) -> NDArray[np.bool_]:
    return np.sin(2 * np.pi * u / 0.46) > 0


def _dotted(u: Floats, v: Floats) -> NDArray[np.bool_]:
    period = 0.44
    return np.hypot(u % period - period / 2, v % period - period / 2) < 0.31 * period


def _checked(u: Floats, v: Floats) -> NDArray[np.bool_]:
    return (np.sin(2 * np.pi * u / 0.62) > 0) ^ (np.sin(2 * np.pi * v / 0.62) > 0)


def _wavy(u: Floats, v: Floats) -> NDArray[np.bool_]:
    return np.sin(2 * np.pi * (v + 0.13 * np.sin(2 * np.pi * u / 0.72)) / 0.46) > 0


def _ringed(u: Floats, v: Floats) -> NDArray[np.bool_]:
    return np.sin(2 * np.pi * np.hypot(u - 0.25, v - 0.25) / 0.44) > 0


_SECOND_INK: dict[str, Callable[[Floats, Floats], NDArray[np.bool_]]] = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "wavy": _wavy,
    "ringed": _ringed,
}
_PERIOD = {"striped": 0.46, "dotted": 0.44, "checked": 0.62, "wavy": 0.46, "ringed": 0.44}


def _texture_image(shown: Exemplar, pixels: int) -> Image.Image:
    """Return a black and white picture that is white where the second ink is."""
    steps = ((np.arange(pixels) + 0.5) / pixels).astype(np.float32)
    dx, dy = (steps[None, :] - shown.x) / shown.size, (steps[:, None] - shown.y) / shown.size
    angle = np.deg2rad(shown.rotation)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    period = _PERIOD[shown.concept.texture]
    u = cosine * dx + sine * dy + np.float32(shown.phase[0] * period)
    v = -sine * dx + cosine * dy + np.float32(shown.phase[1] * period)
    ink = _SECOND_INK[shown.concept.texture](u, v)
    return Image.fromarray((ink * np.uint8(255)).astype(np.uint8))


# ----------------------------------------------------------------------------------------------------
# Scenes
# ----------------------------------------------------------------------------------------------------


def _bytes(colour: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * min(max(value, 0.0), 1.0)) for value in colour)
    return red, green, blue


def _gradient(pixels: int, top: Sequence[float], bottom: Sequence[float]) -> Image.Image:
    ramp = np.linspace(np.asarray(top), np.asarray(bottom), pixels)
    column = np.round(255 * np.clip(ramp, 0, 1)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(column[:, None], (pixels, pixels, 3))))


def _beach(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.55, 0.78, 0.95), (0.80, 0.92, 0.98))
    pen = ImageDraw.Draw(picture)
    sea, sand = pixels * rng.uniform(0.38, 0.48), pixels * rng.uniform(0.56, 0.68)
    pen.rectangle((0, sea, pixels, pixels), fill=_bytes((0.20, 0.58, 0.72)))
    pen.rectangle((0, sand, pixels, pixels), fill=_bytes((0.93, 0.84, 0.62)))
    return picture


def _forest(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.30, 0.46, 0.30), (0.16, 0.28, 0.14))
    pen = ImageDraw.Draw(picture)
    for left in (np.arange(6) + rng.uniform(0, 0.8, 6)) / 6 * pixels:
        pen.rectangle((left, 0, left + pixels * rng.uniform(0.03, 0.07), pixels), fill=_bytes((0.24, 0.18, 0.12)))
    ground = pixels * rng.uniform(0.82, 0.90)
    pen.rectangle((0, ground, pixels, pixels), fill=_bytes((0.20, 0.26, 0.10)))
    return picture


def _snow(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.72, 0.77, 0.84), (0.84, 0.88, 0.92))
    pen = ImageDraw.Draw(picture)
    hill = pixels * rng.uniform(0.60, 0.72)
    pen.ellipse(
        (-pixels * rng.uniform(0.2, 0.6), hill, pixels * rng.uniform(1.2, 1.6), 2 * pixels),
        fill=(250, 251, 253),
    )
    for x, y in rng.uniform(0, pixels, (18, 2)):
        pen.ellipse((x, y, x + pixels / 32, y + pixels / 32), fill=(255, 255, 255))
    return picture


def _night(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.03, 0.04, 0.14), (0.10, 0.12, 0.30))
    pen = ImageDraw.Draw(picture)
    for x, y in rng.uniform(0, pixels, (22, 2)):
        pen.ellipse((x, y, x + pixels / 64, y + pixels / 64), fill=(240, 240, 210))
    x, y, radius = pixels * rng.uniform(0.08, 0.92), pixels * rng.uniform(0.06, 0.14), pixels * 0.06
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(245, 243, 215))
    return picture


def _city(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.70, 0.72, 0.74), (0.82, 0.82, 0.82))
    pen = ImageDraw.Draw(picture)
    width = pixels / 5
    for house in range(5):
        left, top, shade = house * width, pixels * rng.uniform(0.10, 0.55), rng.uniform(0.38, 0.55)
        pen.rectangle((left, top, left + width, pixels), fill=_bytes((shade, shade, shade * 1.05)))
        for x in (0.2, 0.6):
            for y in np.arange(top + width * 0.2, pixels * 0.86, width * 0.5):
                window = (left + x * width, y, left + (x + 0.2) * width, y + width * 0.25)
                pen.rectangle(window, fill=_bytes((0.85, 0.82, 0.62)))
    pen.rectangle((0, pixels * 0.88, pixels, pixels), fill=_bytes((0.25, 0.25, 0.27)))
    return picture


def _sunset(rng: np.random.Generator, pixels: int) -> Image.Image:
    picture = _gradient(pixels, (0.46, 0.30, 0.52), (1.0, 0.68, 0.36))
    pen = ImageDraw.Draw(picture)
    x, y, radius = pixels * rng.uniform(0.1, 0.9), pixels * rng.uniform(0.62, 0.74), pixels * 0.12
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_bytes((1.0, 0.92, 0.62)))
    pen.rectangle((0, pixels * 0.78, pixels, pixels), fill=_bytes((0.26, 0.16, 0.26)))
    return picture


_PAINTERS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    "beach": _beach,
    "forest": _forest,
    "snow": _snow,
    "night": _night,
    "city": _city,
    "sunset": _sunset,
}


# ----------------------------------------------------------------------------------------------------
# Pictures
# ----------------------------------------------------------------------------------------------------


def ink(shown: Exemplar) -> tuple[float, float, float]:
    """Return the first ink of the figure after jitter, sRGB in [0, 1]."""
    hue, saturation, value = colorsys.rgb_to_hsv(*COLOURS[shown.concept.colour])
    return colorsys.hsv_to_rgb((hue + shown.hue) % 1.0, saturation, min(value * shown.brightness, 1.0))


def _second_ink(first: Sequence[float]) -> tuple[float, float, float]:
    """White for a dark first ink, nearly black for a light one, so that every texture is visible in every colour."""
    luminance = float(np.dot(first, (0.299, 0.587, 0.114)))
    return (0.97, 0.96, 0.93) if luminance < 0.56 else (0.20, 0.17, 0.20)


def _masks(shown: Exemplar, pixels: int) -> tuple[Image.Image, Image.Image]:
    """Draw the figure, and the figure together with its contour line, as 8-bit masks of `pixels` x `pixels`."""
    figure, grown = Image.new("L", (pixels, pixels)), Image.new("L", (pixels, pixels))
    fill, line = ImageDraw.Draw(figure), ImageDraw.Draw(grown)
    angle = np.deg2rad(shown.rotation)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    width = round(pixels * 0.025)
    for part in _SHAPES[shown.concept.object]:
        place = (np.asarray(part.outline) @ turn * shown.size + (shown.x, shown.y)) * pixels
        outline = [(float(x), float(y)) for x, y in place]
        fill.polygon(outline, fill=0 if part.hole else 255)
        line.polygon(outline, fill=0 if part.hole else 255)
        line.line([*outline, outline[0]], fill=255, width=width)
    return figure, grown


def draw(shown: Exemplar, size: int = 64) -> NDArray[np.uint8]:
    """Draw an exemplar, anti-aliased.

    Parameters
    ----------
    shown
        The exemplar.
    size
        Width and height, pixels.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        sRGB picture.
    """
    pixels = size * OVERSAMPLING
    picture = _PAINTERS[shown.scene](np.random.default_rng(shown.scene_seed), pixels)
    figure, grown = _masks(shown, pixels)
    first = ink(shown)
    picture.paste(_CONTOUR.get(shown.scene, _USUAL_CONTOUR), mask=grown)
    picture.paste(_bytes(first), mask=figure)
    if shown.concept.texture in _SECOND_INK:
        texture = Image.new("L", figure.size)
        texture.paste(figure, mask=_texture_image(shown, pixels))
        picture.paste(_bytes(_second_ink(first)), mask=texture)
    return np.asarray(picture.reduce(OVERSAMPLING))


def figure_mask(shown: Exemplar, size: int = 64) -> Floats:
    """Return the share of each pixel that the figure covers.

    Parameters
    ----------
    shown
        The exemplar.
    size
        Width and height, pixels.

    Returns
    -------
    ndarray, shape (size, size)
        Share in [0, 1].
    """
    figure, _ = _masks(shown, size * OVERSAMPLING)
    return np.asarray(figure.reduce(OVERSAMPLING), dtype=float) / 255


# ----------------------------------------------------------------------------------------------------
# Features
# ----------------------------------------------------------------------------------------------------

_FIELDS_SEED = 2_670
"""Of 2,000 seeds, the one whose receptive fields leave the smallest part of the picture uncovered."""
_N_FIELDS = 20
_N_POOLS = 6
_REACH = 0.5
"""Largest eccentricity of a receptive field, picture widths from the centre (the point of fixation)."""
_HALF_MAGNIFICATION = 0.15
"""Eccentricity at which cortical magnification has fallen to one half, picture widths."""
_ORIENTATIONS = (0, 45, 90, 135)
_WAVELENGTHS = (1 / 16, 1 / 6)
"""Wavelengths of the fine and the coarse Gabor filters, picture widths."""
_N_HARMONICS = 6
_LAGS = ((0, 3), (3, 0), (3, 3), (3, -3), (0, 6), (6, 0))
_CONCEPT_SIZE = 24


@lru_cache(maxsize=4)
def _gabor_bank(size: int) -> Floats:
    """Transfer functions of quadrature Gabor filters, shape (scales * orientations, size, size).

    One-sided Gaussians around the preferred frequency, with a bandwidth of about 1.2 octaves as in macaque V1
    (De Valois et al., 1982); the modulus of the response is the energy of a pair of cells in quadrature
    (Adelson and Bergen, 1985).
    """
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    filters = []
    for wavelength in _WAVELENGTHS:
        centre = 1 / (wavelength * size)
        for degrees in _ORIENTATIONS:
            angle = np.deg2rad(degrees)
            away = (fx - centre * np.cos(angle)) ** 2 + (fy - centre * np.sin(angle)) ** 2
            filters.append(np.exp(-away / (2 * (0.35 * centre) ** 2)))
    return np.stack(filters)


def _energy(luminance: Floats) -> Floats:
    """Orientation energy of a picture, shape (scales * orientations, size, size)."""
    spectrum = np.fft.fft2(luminance - luminance.mean())
    return np.abs(np.fft.ifft2(spectrum * _gabor_bank(luminance.shape[0])))


def _receptive_fields(n: int, smallest: float, slope: float, rng: np.random.Generator) -> Floats:
    """Centre (right, down) and standard deviation of n foveated receptive fields, shape (n, 3), picture widths.

    Eccentricities are spaced evenly on a cortex whose magnification falls as 1 / (e + e2) in both directions (Horton
    and Hoyt, 1991), so they crowd around the centre; angles go round by the golden angle; both are jittered. Sizes grow
    linearly with eccentricity (Dumoulin and Wandell, 2008), and neighbours overlap.
    """
    eccentricity = np.linspace(0, _REACH, 1001)
    density = eccentricity / (eccentricity + _HALF_MAGNIFICATION) ** 2
    share = (np.arange(n) + rng.uniform(0.2, 0.8, n)) / n
    from_centre = np.interp(share, np.cumsum(density) / density.sum(), eccentricity)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n) + rng.normal(0, 0.25, n) + rng.uniform(0, 2 * np.pi)
    x, y = 0.5 + from_centre * np.cos(angle), 0.5 + from_centre * np.sin(angle)
    return np.stack((x, y, smallest + slope * from_centre), axis=1)


@lru_cache(maxsize=1)
def _low_fields() -> tuple[Floats, Floats]:
    """Receptive fields of luminance, contrast and colour, and the larger ones over which energy is pooled.

    As in Freeman and Simoncelli (2011), the pooling regions are several times as large as the receptive fields and
    grow with eccentricity.
    """
    rng = np.random.default_rng(_FIELDS_SEED)
    return _receptive_fields(_N_FIELDS, 0.04, 0.20, rng), _receptive_fields(_N_POOLS, 0.10, 0.25, rng)


def receptive_fields() -> Floats:
    """Return the receptive field of every low-level feature of :func:`features`, in its order.

    Returns
    -------
    ndarray, shape (n_low, 3)
        Centre (right, down) and standard deviation of a Gaussian window, picture widths. Windows have no borders, so
        they do not coincide with the cells of a grid that a readout may use.
    """
    fields, pools = _low_fields()
    return np.concatenate((np.tile(fields, (4, 1)), np.tile(pools, (len(_WAVELENGTHS) * len(_ORIENTATIONS), 1))))


@lru_cache(maxsize=4)
def _windows(size: int) -> tuple[Floats, Floats]:
    """Gaussian windows of the receptive fields and of the pooling regions, each (n, size * size); each sums to 1."""
    steps = (np.arange(size) + 0.5) / size
    both = []
    for fields in _low_fields():
        x, y, width = fields.T[:, :, None]
        across, down = np.exp(-(((steps - x) / width) ** 2) / 2), np.exp(-(((steps - y) / width) ** 2) / 2)
        window = (down[:, :, None] * across[:, None, :]).reshape(len(fields), -1)
        both.append(window / window.sum(1, keepdims=True))
    return both[0], both[1]


def _opponent(picture: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Luminance, red-green and blue-yellow of a picture, each (size, size).

    These are the three axes of the lateral geniculate nucleus (Derrington, Krauskopf and Lennie, 1984), here computed
    as plain differences of sRGB values.
    """
    red, green, blue = np.moveaxis(picture.astype(float) / 255, -1, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue, red - green, blue - (red + green) / 2


def _low(luminance: Floats, red_green: Floats, blue_yellow: Floats, energy: Floats) -> Floats:
    fields, pools = _windows(luminance.shape[0])
    channels = np.stack((luminance, luminance**2, red_green, blue_yellow)).reshape(4, -1)
    mean, square, red_green, blue_yellow = channels @ fields.T
    contrast = np.sqrt(np.maximum(square - mean**2, 0))
    pooled = energy.reshape(len(energy), -1) @ pools.T
    return np.concatenate((mean, contrast, red_green, blue_yellow, pooled.ravel()))


def _shape_numbers(mask: Floats) -> Floats:
    """Area, position, elongation, axis, compactness and contour harmonics of a figure.

    The harmonics of the radial profile represent the curvature and convexity of the contour; V4 neurons are tuned to
    these (Pasupathy and Connor, 2002).
    """
    size = mask.shape[0]
    y, x = (np.indices(mask.shape) + 0.5) / size
    area = mask.sum()
    cx, cy = (mask * x).sum() / area, (mask * y).sum() / area
    dx, dy = x - cx, y - cy
    xx, yy, xy = ((mask * product).sum() / area for product in (dx * dx, dy * dy, dx * dy))
    spread = np.hypot(xx - yy, 2 * xy)
    eccentricity = np.sqrt(2 * spread / (xx + yy + spread))
    perimeter = np.hypot(*np.gradient(mask)).sum()
    radius = np.sqrt(area / np.pi) / size
    sector = ((np.arctan2(dy, dx) / (2 * np.pi)) % 1 * 32).astype(int) % 32
    profile = np.zeros(32)
    np.maximum.at(profile, sector.ravel(), (np.hypot(dx, dy) * (mask > 0.5)).ravel() / radius)
    harmonics = np.abs(np.fft.rfft(profile))[1 : _N_HARMONICS + 1] / len(profile)
    basic = (
        area / size**2,
        cx,
        cy,
        eccentricity,
        (xx - yy) / (xx + yy),
        2 * xy / (xx + yy),
        4 * np.pi * area / perimeter**2,
    )
    return np.concatenate((basic, harmonics))


def _texture_numbers(luminance: Floats, energy: Floats, mask: Floats) -> Floats:
    """Moments, oriented energy and autocorrelations of luminance inside a figure.

    A small part of the statistics of Portilla and Simoncelli (2000); V2 responds to these (Freeman et al., 2013).
    """
    inside = mask > 0.9
    values = luminance[inside]
    mean, deviation = values.mean(), max(values.std(), 0.05)
    z = np.where(inside, (luminance - mean) / deviation, 0.0)
    moments = (mean, deviation, (z[inside] ** 3).mean(), (z[inside] ** 4).mean())
    pairs = [
        (z * np.roll(z, lag, (0, 1))).sum() / max((inside & np.roll(inside, lag, (0, 1))).sum(), 1) for lag in _LAGS
    ]
    return np.concatenate((moments, energy[:, inside].mean(-1), deviation**2 * np.asarray(pairs)))


def _colour_numbers(shown: Exemplar) -> Floats:
    """Membership of the figure's ink in each colour category, summing to 1.

    Human V4 clusters hues by category (Brouwer and Heeger, 2013).
    """
    distance = np.linalg.norm(np.asarray(list(COLOURS.values())) - np.asarray(ink(shown)), axis=1)
    member = np.exp(-((distance / 0.25) ** 2))
    return member / member.sum()


@lru_cache(maxsize=1)
def _embeddings() -> dict[str, Floats]:
    """Return a fixed vector for each word; vectors of objects of one category have a common part, so are similar."""
    rng = np.random.default_rng(_EMBEDDING_SEED)
    words = (*CATEGORIES, *OBJECTS, *TEXTURES, *COLOURS)
    vectors = {word: rng.standard_normal(_CONCEPT_SIZE) / np.sqrt(_CONCEPT_SIZE) for word in words}
    for category, members in CATEGORIES.items():
        for member in members:
            vectors[member] = 0.7 * vectors[category] + np.sqrt(1 - 0.7**2) * vectors[member]
    return vectors


def _semantic(shown: Exemplar) -> Floats:
    concept, vectors = shown.concept, _embeddings()
    meaning = vectors[concept.object] + 0.4 * vectors[concept.colour] + 0.4 * vectors[concept.texture]
    category = [float(concept.category == name) for name in CATEGORIES]
    scene = [float(shown.scene == name) for name in SCENES]
    return np.concatenate((meaning, category, scene))


def feature_names() -> dict[str, tuple[str, ...]]:
    """Return the name of every dimension of :func:`features`, under the same keys and in the same order."""
    fields, pools = ([f"{n:02d}" for n in range(1, count + 1)] for count in (_N_FIELDS, _N_POOLS))
    bank = [f"{scale}_{degrees}" for scale in ("fine", "coarse") for degrees in _ORIENTATIONS]
    low = [f"{kind}_{n}" for kind in ("luminance", "contrast", "red_green", "blue_yellow") for n in fields]
    low += [f"energy_{member}_{n}" for member in bank for n in pools]
    mid = ["area", "x", "y", "eccentricity", "axis_cosine", "axis_sine", "compactness"]
    mid += [f"contour_{n}" for n in range(1, _N_HARMONICS + 1)]
    mid += ["figure_mean", "figure_deviation", "figure_skewness", "figure_kurtosis"]
    mid += [f"figure_energy_{member}" for member in bank]
    mid += [f"figure_correlation_{dy}_{dx}" for dy, dx in _LAGS]
    mid += [f"colour_{name}" for name in COLOURS]
    semantic = [f"concept_{n}" for n in range(_CONCEPT_SIZE)]
    semantic += [f"category_{name}" for name in CATEGORIES] + [f"scene_{name}" for name in SCENES]
    return {"low": tuple(low), "mid": tuple(mid), "semantic": tuple(semantic)}


def features(shown: Exemplar, picture: NDArray[np.uint8]) -> dict[str, Floats]:
    """Compute the features of a picture that visual areas respond to, on three levels.

    Parameters
    ----------
    shown
        The exemplar.
    picture : ndarray of uint8, shape (size, size, 3)
        Output of :func:`draw` for this exemplar.

    Returns
    -------
    dict of ndarray
        Not standardised; :func:`feature_names` gives the names of the dimensions.

        ``low`` (128)
            Luminance, contrast and colour opponency in 20 foveated receptive fields, and energy of 4 orientations at 2
            spatial scales, pooled over 6 larger regions (:func:`receptive_fields`): a coarse model of V1 and V2 (Hubel
            and Wiesel, 1968; Kay et al., 2008; Freeman and Simoncelli, 2011).
        ``mid`` (39)
            Shape, size and position of the figure, texture statistics inside it, colour category: V2 to V4.
        ``semantic`` (34)
            Concept vector (object, with less weight colour and texture; related objects are similar), superordinate
            category, scene. Ventral temporal cortex orders objects by category and hardly responds to nuisances such
            as position and size (Kriegeskorte et al., 2008; Grill-Spector and Weiner, 2014).

    Notes
    -----
    The citations justify the kinds of features. Numbers of features and weights are choices of this simulation.
    """
    luminance, red_green, blue_yellow = _opponent(picture)
    energy = _energy(luminance)
    mask = figure_mask(shown, picture.shape[0])
    return {
        "low": _low(luminance, red_green, blue_yellow, energy),
        "mid": np.concatenate(
            (_shape_numbers(mask), _texture_numbers(luminance, energy, mask), _colour_numbers(shown))
        ),
        "semantic": _semantic(shown),
    }
