"""The same learning rate for all steps."""

from __future__ import annotations

from brain2clip.settings import Constant


class Schedule:
    """Factor 1."""

    def __init__(self, settings: Constant, steps: int) -> None:
        pass

    def __call__(self, step: int) -> float:
        """Factor on the learning rate at a step."""
        return 1.0
