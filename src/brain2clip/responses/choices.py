"""Settings that come too late, because others made the epochs: how they are refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from brain2clip.stage import InputError


def refuse_others(allowed: Iterable[tuple[str, Any, tuple[Any, ...]]], head: str, advice: str) -> None:
    """Stop at settings that are other choices than were made.

    Parameters
    ----------
    allowed : iterable of (str, Any, tuple)
        Name of each setting, what was found, and the values that go.
    head, advice : str
        What is taken as it is; and what to do.

    Raises
    ------
    brain2clip.stage.InputError
        Names each such setting, what was found and the first value that goes.
    """
    wrong = [(key, found, values) for key, found, values in allowed if found not in values]
    if wrong:
        lines = [f"  {key}: found {_yaml(found)}, expected {_yaml(values[0])}" for key, found, values in wrong]
        raise InputError(head + "\n" + "\n".join(lines) + f"\n  {advice}")


def _yaml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return "null" if value is None else str(value)
