"""The simulated fMRI study as its readers see it: where its files are and what they say.

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
from typing import TYPE_CHECKING, Any

from brain2clip import settings as blocks
from brain2clip.readers import drawn_pictures
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

REST = "rest"
"""Stands for the stimulus of a row in which nothing is shown."""


class Study:
    """The simulated fMRI study; see :class:`brain2clip.readers.contract.VoxelStudy` for the contract.

    Parameters
    ----------
    name : str
        Name in the configuration.
    settings : dict
        A :class:`brain2clip.settings.SimulatedFmriStudy` as JSON-like dict.
    results : Path
        Folder of everything that the pipeline writes.
    """

    licence = "CC0-1.0"
    citation = "Simulated by brain2clip; no person was recorded."
    modality = "fmri"
    zero_shot = True
    split_from_events = False

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        self.name = name
        self.settings: blocks.SimulatedFmriStudy = blocks.parse(blocks.SimulatedFmriStudy, settings)
        self.root = Path(results) / "raw" / name

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``."""
        return tuple(f"{number:02d}" for number in range(1, self.settings.subjects + 1))

    def files(self, subject: str) -> list[str]:
        """The signals."""
        return [str(self.root / f"sub-{subject}" / f"sub-{subject}_voxels.h5")]

    def stimulus_files(self) -> list[str]:
        """The stimulus table, which is written when all pictures are there."""
        return [str(drawn_pictures.table_path(self.root))]

    def label_files(self) -> list[str]:
        """What :meth:`stimulus_files` says: labels are looked up in the table of pictures."""
        return self.stimulus_files()

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures by concept, then test pictures."""
        return drawn_pictures.stimulus_table(self.root)

    def rows(self, subject: str) -> pd.DataFrame:
        """What each row of the signals is; there is one session, without a name."""
        import numpy as np
        import pandas as pd

        with self._open(subject) as file:
            shown, split, run = (file[name].asstr()[:] for name in ("stimulus", "split", "run"))
        stimulus = np.full(len(shown), -1)
        seen = shown != REST
        table = drawn_pictures.table_path(self.root)
        stimulus[seen] = drawn_pictures.rows_of(list(shown[seen]), table, Path(self.files(subject)[0]))
        return pd.DataFrame({"stimulus": stimulus, "split": split, "session": "n/a", "run": run})

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
        given = self.settings
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
                    f"{path}: {', '.join(absent)} is missing; found {', '.join(file)}. Delete the file and let "
                    "snakemake make it again."
                )
            yield file
