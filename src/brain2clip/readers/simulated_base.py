"""Common parts of simulated studies: their subjects and stimuli.

The files are written by :mod:`brain2clip.simulation`, which readers do not import, so that a change of the simulation
is not a change of the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip.readers import contract, drawn_pictures

if TYPE_CHECKING:
    import pandas as pd


class SimulatedStudy(contract.Study):
    """Base of simulated studies; a kind adds what was recorded.

    Attributes
    ----------
    root : Path
        Folder of the dataset.
    """

    licence = "CC0-1.0"
    citation = "Simulated by brain2clip; no person was recorded."

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.root = self.results / "raw" / name

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``."""
        return tuple(f"{number:02d}" for number in range(1, self.block.subjects + 1))

    def stimulus_files(self) -> list[str]:
        """The stimulus table, which is written when all pictures are there."""
        return [str(drawn_pictures.table_path(self.root))]

    def label_files(self) -> list[str]:
        """What :meth:`stimulus_files` says: labels are looked up in the table of pictures."""
        return self.stimulus_files()

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures by concept, then test pictures."""
        return drawn_pictures.stimulus_table(self.root)

    def concepts_of(self, names: Sequence[str], source: Path) -> list[str]:
        """Concepts of stimulus ids that a file names; each must be in the stimulus table."""
        return drawn_pictures.concepts_of(names, drawn_pictures.table_path(self.root), source)
