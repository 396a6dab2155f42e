"""Settings of methods: those in which each method differs from the most similar one before it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Shown for a missing value.
NONE = "–"


@dataclass(frozen=True)
class Difference:
    """How a method differs from another.

    Attributes
    ----------
    nearest : str or None
        The method of the same kind before it with the fewest other settings; None for the first of its kind, of which
        all settings are listed.
    settings : list of (str, str, str)
        Path of a setting, its value here, its value there; an en dash where it has none, null or its default.
    """

    nearest: str | None
    settings: list[tuple[str, str, str]]


def difference(method: str, methods: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]) -> Difference:
    """Difference of a method from the most similar method before it; of equally similar ones, from the first.

    Methods of another kind have other settings, so a list of differences would name nearly all of them.
    """
    own = flat(used(chosen[method]))
    kind = chosen[method].get("kind")
    before = [other for other in methods[: methods.index(method)] if chosen[other].get("kind") == kind]
    if not before:
        return Difference(None, _between(own, {}))
    found = [(other, _between(own, flat(used(chosen[other])))) for other in before]
    return Difference(*min(found, key=lambda one: len(one[1])))


def used(block: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a method without those that have no effect because of other settings."""
    found = dict(block)
    if (selection := found.get("selection") or {}).get("rule") == "last":
        found["selection"] = {key: value for key, value in selection.items() if key != "share"}
    return found


def flat(block: Any, path: str = "") -> dict[str, str]:
    """Settings by their path, each as text."""
    if isinstance(block, Mapping) and block:
        return {
            key: value for name, one in block.items() for key, value in flat(one, f"{path}.{name}".lstrip(".")).items()
        }
    if block is None:
        return {path: NONE}
    return {path: block if isinstance(block, str) else json.dumps(block, ensure_ascii=False)}


def _between(own: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = [*own, *(name for name in other if name not in own)]
    found = ((name, own.get(name, NONE), other.get(name, NONE)) for name in names)
    return [one for one in found if one[1] != one[2]]
