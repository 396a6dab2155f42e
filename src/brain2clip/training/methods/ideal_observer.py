"""The ideal observer of a simulated study. It is not trained: the stage ``ceiling`` computes its ranks."""

from __future__ import annotations

from typing import NoReturn

from brain2clip.settings import IdealObserver
from brain2clip.stage import InputError
from brain2clip.training.method import Checkpoint, Study


class Method:
    """Knows the noise-free responses, so there is nothing to train (:mod:`brain2clip.retrieval.ceiling`)."""

    def __init__(self, settings: IdealObserver) -> None:
        pass

    def train(self, study: Study) -> NoReturn:
        """Refused."""
        raise InputError("an ideal observer is not trained; the stage ceiling computes its ranks")

    def ready(self, checkpoint: Checkpoint) -> NoReturn:
        """Refused."""
        raise InputError("an ideal observer has no checkpoint; the stage ceiling computes its ranks")
