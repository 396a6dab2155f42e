"""The simulated fMRI study for readers: paths and content of its files.

Its pictures are those of the simulated EEG study with the same seed and counts. What writes the files is in
``simulate_pictures`` and ``simulate_voxels``; this module does not import them, so that a change of the generator does
not count as a change of the reader.

Layout below ``results/raw/{study}``, beside what :mod:`brain2clip.readers.drawn_pictures` lists::

    sub-01/sub-01_voxels.h5             rows (trials and rest) by voxels, regions
    derivatives/truth/sub-01.h5         the noise-free response of a subject to every picture
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip import settings as schema
from brain2clip.names import NO_LABEL
from brain2clip.readers import drawn_pictures
from brain2clip.readers.contract import VoxelStudy
from brain2clip.readers.simulated_base import SimulatedStudy
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


class Study(SimulatedStudy, VoxelStudy):
    """Simulated fMRI."""

    Settings = schema.SimulatedFmriStudy
    block: schema.SimulatedFmriStudy

    def files(self, subject: str) -> list[str]:
        """The signals."""
        return [str(self.root / f"sub-{subject}" / f"sub-{subject}_voxels.h5")]

    def rows(self, subject: str) -> pd.DataFrame:
        """What each row of the signals is; a single session has no name."""
        import pandas as pd

        with self._open(subject) as file:
            shown, split, run = (file[name].asstr()[:] for name in ("stimulus", "split", "run"))
            session = file["session"].asstr()[:] if "session" in file else NO_LABEL
        rows = pd.DataFrame({"stimulus": shown, "concept": "", "split": split, "session": session, "run": run})
        rows.loc[rows["stimulus"] == drawn_pictures.REST, "stimulus"] = ""
        seen = rows["stimulus"] != ""
        rows.loc[seen, "concept"] = self.concepts_of(list(rows.loc[seen, "stimulus"]), Path(self.files(subject)[0]))
        return rows

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """V1 to V4, LOC, FFA, PPA, and of these LVC (V1 to V3), HVC (LOC, FFA, PPA) and VC (all)."""
        with self._open(subject) as file:
            return {name: mask[:].astype(bool) for name, mask in file["region"].items()}

    def voxel_names(self, subject: str) -> list[str]:
        """Region and number within it, as in ``V1-001``."""
        with self._open(subject) as file:
            return file["voxel"].asstr()[:].tolist()

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] in units of the noise of a trial."""
        with self._open(subject) as file:
            return file["signal"][:, voxels]

    def expected_counts(self, subject: str) -> dict[str, int]:
        """Trials per split; the same for every subject."""
        given = self.block
        return {
            "train": given.training_concepts * given.pictures_per_concept * given.training_repetitions,
            "test": given.test_concepts * given.test_repetitions,
        }

    @contextmanager
    def _open(self, subject: str) -> Iterator[h5py.File]:
        """The file of signals, its layout checked."""
        from brain2clip import artefact

        path = Path(self.files(subject)[0])
        with artefact.open_h5(path, {"stage": "simulate_voxels"}) as file:
            absent = [name for name in ("signal", "stimulus", "split", "run", "voxel", "region") if name not in file]
            if absent:
                raise InputError(
                    f"{path}: {', '.join(absent)} is missing; found {', '.join(file)}. Delete the file and run "
                    "snakemake again."
                )
            yield file
