"""Continue after an error and collect it, so that all errors in data can be reported at once.

The checks of a stage are written once, with an argument that calls each step: :func:`strictly` in stages stops at the
first error, :class:`Attempts` in the check before a run collects all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from brain2clip.stage import InputError

T = TypeVar("T")
#: A number that counts or measures something; those of names (O1, '09') tell what is meant.
_NUMBER = re.compile(r"(?<![\w'])\d[\d.]*")


class Attempt(Protocol):
    """How a step is called: with the value to return if it raises an error, then its arguments."""

    def __call__(self, instead: Any, step: Callable[..., T], *given: Any) -> T:
        """Result of the step."""


def strictly(instead: Any, step: Callable[..., T], *given: Any) -> T:
    """Call the step; its errors are raised."""
    return step(*given)


class Attempts:
    """Calls steps and continues after errors.

    Attributes
    ----------
    refusals : dict
        Sentence of each error to the places where it was found: files and subjects, or none for a setting. Errors that
        differ only in file names and numbers are one; its sentence is the first.
    count : int
        Number of errors so far.
    """

    def __init__(self) -> None:
        self.refusals: dict[str, list[str]] = {}
        self.count = 0
        self._first: dict[str, str] = {}
        self._names: tuple[str, ...] = ()

    def __call__(self, instead: Any, step: Callable[..., T], *given: Any) -> T:
        """Result of the step, or the given value after an error."""
        try:
            return step(*given)
        except InputError as error:
            self.refuse(str(error))
            default: T = instead
            return default

    def refuse(self, sentence: str) -> None:
        """Collect an error."""
        self.count += 1
        told = self._first.setdefault(self._alike(sentence), sentence)
        places = self.refusals.setdefault(told, [])
        if self._names and self._names[0] not in places:
            places.append(self._names[0])

    @contextmanager
    def within(self, *names: str) -> Iterator[None]:
        """Errors in this block belong to something with these names; the first name is shown."""
        before, self._names = self._names, names
        try:
            yield
        finally:
            self._names = before

    def _alike(self, sentence: str) -> str:
        """Part of a sentence that errors of the same kind have in common."""
        if not self._names:
            return sentence
        common = sentence.partition("\n")[0]
        for name in sorted(self._names, key=len, reverse=True):
            common = common.replace(name, "*")
        return _NUMBER.sub("#", common)
