"""Kinds: each is a module of its own, found by the name that the configuration gives. Light to import.

A family (encoders, studies, tables, ...) has one package and one name for the class that each of its modules defines:
``kind: tsconv`` of the family ``encoders`` is the class ``Encoder`` of ``brain2clip.models.encoders.tsconv``. Its
settings are a class beside those of the other kinds, in :mod:`brain2clip.settings`. A kind from outside is written
``package.module:Class``, or is named by an entry point of the group ``brain2clip.FAMILY``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


class KindError(ValueError):
    """A kind does not exist or does not fit its family; the message says what was looked for."""


@dataclass(frozen=True)
class Family:
    """Where the kinds of a family are.

    Attributes
    ----------
    package : str
        Dotted package whose modules are the kinds.
    name : str
        Name of the class in each of them.
    """

    package: str
    name: str


FAMILIES = {
    "studies": Family("brain2clip.studies", "Study"),
    "whitenings": Family("brain2clip.responses.whitenings", "Whitening"),
    "views": Family("brain2clip.stimuli.views", "View"),
    "encoders": Family("brain2clip.models.encoders", "Encoder"),
    "mappings": Family("brain2clip.models.mappings", "Mapping"),
    "visuals": Family("brain2clip.models.visuals", "PictureSide"),
    "readouts": Family("brain2clip.models.readouts", "Readout"),
    "filters": Family("brain2clip.models.filters", "Filter"),
    "adapters": Family("brain2clip.models.adapters", "Adapter"),
    "augmentations": Family("brain2clip.training.augmentations", "Augmentation"),
    "schedules": Family("brain2clip.training.schedules", "Schedule"),
    "methods": Family("brain2clip.training.methods", "Method"),
    "generators": Family("brain2clip.generation.generators", "Generator"),
    "judges": Family("brain2clip.generation.judges", "Judge"),
    "scorings": Family("brain2clip.retrieval.scorings", "Scoring"),
    "metrics": Family("brain2clip.retrieval.metrics", "Metric"),
    "tables": Family("brain2clip.reporting.table_kinds", "Table"),
    "figures": Family("brain2clip.reporting.figure_kinds", "Figure"),
}


def shipped(family: str) -> list[str]:
    """Names of the kinds that the project brings, sorted."""
    folder = PACKAGE.joinpath(*FAMILIES[family].package.split(".")[1:])
    return sorted(path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py"))


@cache
def place(family: str, kind: str) -> tuple[str, str]:
    """Dotted module and class of a kind; nothing is imported.

    Raises
    ------
    KindError
        Where neither the project nor an entry point has it.
    """
    if ":" in kind:
        module, _, name = kind.partition(":")
        return module, name
    if kind.replace("_", "-") in shipped(family):
        return f"{FAMILIES[family].package}.{kind.replace('-', '_')}", FAMILIES[family].name
    for entry in metadata.entry_points(group=f"brain2clip.{family}", name=kind):
        return entry.module, entry.attr
    raise KindError(
        f"unknown kind {kind!r} in {family}; expected {', '.join(shipped(family))}, or package.module:Class for one of "
        "your own"
    )


def module_of(family: str, kind: str) -> str:
    """Dotted module of a kind: a root of the fingerprint of what uses it."""
    return place(family, kind)[0]


def is_external(family: str, kind: str) -> bool:
    """Whether a kind comes from outside of the project."""
    return not module_of(family, kind).startswith(f"{FAMILIES[family].package}.")


def load(family: str, kind: str) -> Any:
    """Class of a kind.

    Raises
    ------
    KindError
        Where its module cannot be imported or lacks the class.
    """
    module, name = place(family, kind)
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise KindError(
            f"kind {kind!r} in {family}: cannot import {module} ({error}); its folder must be on PYTHONPATH, or "
            "snakemake must start in it"
        ) from None
    except AttributeError:
        raise KindError(f"kind {kind!r} in {family}: {module} has no {name}") from None


def chosen(block: Any) -> Iterator[tuple[str, str]]:
    """Family and kind of every block inside a settings block that is of a family, itself included."""
    family = getattr(type(block), "family", None)
    if family is not None:
        yield family, block.kind
    for name in getattr(type(block), "model_fields", {}):
        value = getattr(block, name)
        for inner in value if isinstance(value, tuple | list) else [value]:
            yield from chosen(inner)


def modules_of(*blocks: Any) -> list[str]:
    """Modules of all kinds that settings blocks choose, sorted: roots of the fingerprint beside the stage's own."""
    return sorted({module_of(family, kind) for block in blocks for family, kind in chosen(block)})
