"""Go on after a refusal, and remember it: so that all that is wrong with data can be told at once.

What a stage does step by step, stopping at the first refusal, is written once, with the way in which its steps are
called as an argument: :func:`strictly` in stages, :class:`Attempts` where data are looked at before anything runs.
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
    """How a step is called: with what stands for its result where it refuses its input, then its arguments."""

    def __call__(self, instead: Any, step: Callable[..., T], *given: Any) -> T:
        """Result of the step."""


def strictly(instead: Any, step: Callable[..., T], *given: Any) -> T:
    """The step itself: its refusal is the caller's."""
    return step(*given)


class Attempts:
    """Calls steps and goes on where one refuses.

    Attributes
    ----------
    refusals : dict
        Sentence of each fault to the places where it was found: files and subjects, or none for a setting. What
        differs in names of files and in numbers alone is one fault; its sentence is the first.
    count : int
        Refusals so far, alike or not.
    """

    def __init__(self) -> None:
        self.refusals: dict[str, list[str]] = {}
        self.count = 0
        self._first: dict[str, str] = {}
        self._names: tuple[str, ...] = ()

    def __call__(self, instead: Any, step: Callable[..., T], *given: Any) -> T:
        """Result of the step, or what stands for it."""
        try:
            return step(*given)
        except InputError as error:
            self.refuse(str(error))
            default: T = instead
            return default

    def refuse(self, sentence: str) -> None:
        """Remember a refusal."""
        self.count += 1
        told = self._first.setdefault(self._alike(sentence), sentence)
        places = self.refusals.setdefault(told, [])
        if self._names and self._names[0] not in places:
            places.append(self._names[0])

    @contextmanager
    def within(self, *names: str) -> Iterator[None]:
        """What is refused in this block is of something that these names stand for; the first is shown."""
        before, self._names = self._names, names
        try:
            yield
        finally:
            self._names = before

    def _alike(self, sentence: str) -> str:
        """What faults of the same kind have in common."""
        if not self._names:
            return sentence
        common = sentence.partition("\n")[0]
        for name in sorted(self._names, key=len, reverse=True):
            common = common.replace(name, "*")
        return _NUMBER.sub("#", common)
