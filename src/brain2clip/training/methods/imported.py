"""An imported result. It is not trained here: the stage ``imported`` reads its file."""

from __future__ import annotations

from typing import NoReturn

from brain2clip.settings import Imported
from brain2clip.stage import InputError
from brain2clip.training.method import Checkpoint, Study


class Method:
    """Imported ranks, so there is nothing to train (:mod:`brain2clip.retrieval.imported`)."""

    def __init__(self, settings: Imported) -> None:
        pass

    def train(self, study: Study) -> NoReturn:
        """Refused."""
        raise InputError("an imported result is not trained; the stage imported reads its file")

    def ready(self, checkpoint: Checkpoint) -> NoReturn:
        """Refused."""
        raise InputError("an imported result has no checkpoint; the stage imported reads its file")
