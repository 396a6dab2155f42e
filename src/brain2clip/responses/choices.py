"""Refuse settings that come too late, because the epochs are already made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from brain2clip.stage import InputError


def refuse_others(allowed: Iterable[tuple[str, Any, tuple[Any, ...]]], head: str, advice: str) -> None:
    """Stop at settings that differ from the choices that were made.

    Parameters
    ----------
    allowed : iterable of (str, Any, tuple)
        Name of each setting, its value, and the allowed values.
    head, advice : str
        First and last line of the message: what cannot be changed, and what to do.

    Raises
    ------
    brain2clip.stage.InputError
        Names each such setting, its value and the first allowed value.
    """
    wrong = [(key, found, values) for key, found, values in allowed if found not in values]
    if wrong:
        lines = [f"  {key}: found {_yaml(found)}, expected {_yaml(values[0])}" for key, found, values in wrong]
        raise InputError(head + "\n" + "\n".join(lines) + f"\n  {advice}")


def _yaml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return "null" if value is None else str(value)
