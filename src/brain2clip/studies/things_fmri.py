"""THINGS-fMRI (Hebart et al. 2023): single-trial betas, from a folder that the user has unpacked.

3 subjects, 9840 trials each: 720 concepts x 12 training pictures, shown once, and 100 test pictures, shown 12 times
(once in each of 12 sessions). Per subject three files:

- ``sub-01_ResponseData.h5``, 16 GB: a pandas data frame in the fixed format, voxels in rows and trials in columns. It
  is read by h5py, some voxels at a time; nothing in it is unpickled.
- ``sub-01_StimulusMetadata.csv``: trial_id, session, run, trial_type (train, test), stimulus (``dog_01b.jpg``).
- ``sub-01_VoxelMetadata.csv``: coordinates, noise ceilings and, in columns of zeros and ones, regions.

Details that the files do not show: numbers of runs begin anew in every session; the test pictures show concepts
of the training pictures (other pictures of them), so that retrieval is zero-shot only without the training trials of
those concepts (setting ``keep_test_concepts``). Prompts and the folder of pictures are those of the EEG studies of
THINGS, so that the same tower gives the same features.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import SPLITS, suggestion
from brain2clip.readers import hdf5, labels, things, user_files
from brain2clip.readers.contract import VoxelStudy
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SUBJECTS = ("01", "02", "03")
#: Training concepts and pictures of each; test pictures and how often each is shown.
CONCEPTS, PER_CONCEPT = 720, 12
TEST_PICTURES, TEST_REPETITIONS = 100, 12
FILES = ("ResponseData.h5", "StimulusMetadata.csv", "VoxelMetadata.csv")
NEEDED = ("trial_id", "session", "run", "trial_type", "stimulus")
#: Coordinates are no regions, whatever their values.
NO_REGIONS = re.compile(r"voxel_.*|subject_id|nc_.*|prf.*|splithalf.*")
#: Bytes of signals that are read at the same time.
BLOCK_BYTES = 2**26
_STIMULUS = re.compile(r"(?P<stem>(?P<concept>.+)_\d+[a-z]+)\.jpg")


class Study(VoxelStudy):
    """THINGS-fMRI."""

    Settings = schema.ThingsFmriStudy
    block: schema.ThingsFmriStudy
    licence = "betas: CC0; pictures: of the THINGS database, for research only, not to be passed on"
    citation = (
        "Hebart, Contier, Teichmann, et al. (2023). THINGS-data, a multimodal collection of large-scale datasets for "
        "investigating object representations in human brain and behavior. eLife 12, e82580, doi:10.7554/eLife.82580; "
        "pictures: Hebart et al. (2019). THINGS. PLOS ONE 14, e0223792"
    )

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.root = Path(self.block.root)
        self.zero_shot = not self.block.keep_test_concepts
        self._labels = cache(self._read_labels)
        self._voxels = cache(self._read_voxels)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        return labels.wanted(self.setting("subjects"), self.block.subjects, SUBJECTS, "THINGS-fMRI")

    def files(self, subject: str) -> list[str]:
        """Betas, labels and voxels of a subject."""
        return [str(self._file(subject, ending)) for ending in FILES]

    def stimulus_files(self) -> list[str]:
        """Labels of the first wanted subject; the pictures are not listed, :meth:`stimulus_table` checks them."""
        return [str(self._file(self.subjects()[0], "StimulusMetadata.csv"))]

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split; training trials of test concepts are left out where the setting says so."""
        training, test = (set(self._of_side(self._labels(subject), side)["concept"]) for side in SPLITS)
        lost = 0 if self.block.keep_test_concepts else PER_CONCEPT * len(training & test)
        return {"train": CONCEPTS * PER_CONCEPT - lost, "test": TEST_PICTURES * TEST_REPETITIONS}

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures in alphabetical order, then test pictures.

        Without ``keep_test_concepts`` there are no training pictures of test concepts.

        Raises
        ------
        brain2clip.stage.InputError
            When no labels are there, they are not those of the dataset, or a picture is not in its place.
        """
        table = self._kept(self._all_pictures).reset_index(drop=True).assign(image="")
        if self.block.pictures is not None:
            named = [(concept, f"{stem}.jpg") for concept, stem in zip(table["concept"], table["stimulus_id"])]
            table["image"] = things.picture_files(self.block.pictures, named, self.setting("pictures"))
        return things.with_prompts(table)

    @property
    def _all_pictures(self) -> pd.DataFrame:
        """``stimulus_id``, ``concept``, ``split`` of the dataset's pictures.

        All subjects saw the same; they are read from the first wanted one whose labels are there.
        """
        paths = [self._file(subject, "StimulusMetadata.csv") for subject in self.subjects()]
        there = [subject for subject, path in zip(self.subjects(), paths) if path.is_file()]
        if not there:
            raise InputError(f"{paths[0]}: no such file (setting studies.{self.name}.root)")
        return _pictures_of(self._labels(there[0]))

    def _kept(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of labels or pictures without training rows of test concepts, unless these are kept."""
        if self.block.keep_test_concepts:
            return table
        of_test = table["concept"].isin(self._of_side(table, "test")["concept"])
        return table[(table["split"] == "test") | ~of_test]

    @staticmethod
    def _of_side(table: pd.DataFrame, side: str) -> pd.DataFrame:
        return table[table["split"] == side]

    # -------------------------------------------------------------------------------------------- rows

    def rows(self, subject: str) -> pd.DataFrame:
        """What each trial is, in the order of the columns of the betas; trials that are left out have no stimulus."""
        table = self._labels(subject)
        rows = table[["stimulus_id", "concept", "split", "session", "run"]].rename(columns={"stimulus_id": "stimulus"})
        left_out = ~table.index.isin(self._kept(table).index)
        rows.loc[left_out, ["stimulus", "concept", "split"]] = ""
        return rows

    def _read_labels(self, subject: str) -> pd.DataFrame:
        """``trial_id``, ``session``, ``run``, ``split``, ``stimulus_id``, ``concept`` of a subject's trials."""
        import pandas as pd

        path = self._file(subject, "StimulusMetadata.csv")
        table = self._read_csv(path)
        absent = [name for name in NEEDED if name not in table]
        if absent:
            raise InputError(
                f"{path}: no column {absent[0]!r}{suggestion(absent[0], table)}; found {', '.join(map(str, table))}"
            )
        parts = table["stimulus"].str.extract(f"^{_STIMULUS.pattern}$")
        bad = (parts["stem"].isna() | ~table["trial_type"].isin(SPLITS)).to_numpy()
        if bad.any():
            row = table.iloc[int(bad.argmax())]
            raise InputError(
                f"{path}: {bad.sum()} trials cannot be read, the first is {row['stimulus']!r} of type "
                f"{row['trial_type']!r}; expected pictures such as dog_01b.jpg of type train or test"
            )
        found = table[["trial_id", "session", "run"]].assign(
            split=table["trial_type"], stimulus_id=parts["stem"], concept=parts["concept"]
        )
        with user_files.reading(path, "no numbers in the column trial_id", "; unpack it again"):
            found["trial_id"] = pd.to_numeric(found["trial_id"])
        if found.isna().any(axis=None) or not found["trial_id"].is_unique:
            raise InputError(
                f"{path}: trials without trial_id, session or run, or with the same trial_id; expected each trial "
                "once; unpack it again"
            )
        self._check_numbers(found, path)
        return found.sort_values("trial_id", ignore_index=True)

    def _check_numbers(self, labels: pd.DataFrame, path: Path) -> None:
        """Refuse other pictures and presentations than the dataset has."""
        training, test = (labels[labels["split"] == side] for side in SPLITS)
        per_concept = training.groupby("concept")["stimulus_id"].nunique()
        shown = test["stimulus_id"].value_counts()
        good = (
            len(per_concept) == CONCEPTS
            and (per_concept == PER_CONCEPT).all()
            and training["stimulus_id"].is_unique
            and len(shown) == TEST_PICTURES
            and (shown == TEST_REPETITIONS).all()
        )
        if not good:
            raise InputError(
                f"{path}: {len(training)} training trials of {training['stimulus_id'].nunique()} pictures and "
                f"{len(per_concept)} concepts, {len(test)} test trials of {len(shown)} pictures; expected {CONCEPTS} "
                f"concepts with {PER_CONCEPT} pictures each, shown once, and {TEST_PICTURES} test pictures, shown "
                f"{TEST_REPETITIONS} times; unpack the file again"
            )

    # ------------------------------------------------------------------------------------------ voxels

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Columns of zeros and ones of the table of voxels."""
        table = self._voxels(subject)
        found = {}
        for name in table:
            values = table[name].to_numpy()
            if values.dtype.kind in "biuf" and not NO_REGIONS.fullmatch(str(name)) and set(values) <= {0, 1}:
                found[str(name)] = values == 1
        return found

    def voxel_names(self, subject: str) -> list[str]:
        """Numbers of the voxels (column ``voxel_id``), or their places in the table."""
        table = self._voxels(subject)
        return [str(name) for name in (table["voxel_id"] if "voxel_id" in table else range(len(table)))]

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Betas [n_trials, len(voxels)] of some voxels: their rows, some at a time, in the order of the trials."""
        import numpy as np

        labels = self._labels(subject)
        signals = np.empty((len(labels), len(voxels)), np.float32)
        with self._betas(subject) as (betas, order):
            step = max(1, BLOCK_BYTES // (betas.dtype.itemsize * betas.shape[1]))
            for begin in range(int(voxels[0]), int(voxels[-1]) + 1, step):
                low, high = np.searchsorted(voxels, (begin, begin + step))
                if low < high:  # h5py takes long for scattered rows, so those between are read, too
                    block = betas[int(voxels[low]) : int(voxels[high - 1]) + 1]
                    signals[:, low:high] = block[voxels[low:high] - voxels[low]][:, order].T
        return signals

    @contextmanager
    def _betas(self, subject: str) -> Iterator[tuple[h5py.Dataset, NDArray[np.int64]]]:
        """The betas [n_voxels, n_trials] in the file, and the column of each trial in the order of the labels."""
        path, shape = self._file(subject, FILES[0]), (len(self._voxels(subject)), len(self._labels(subject)))
        user_files.existing(path, "file", self.setting("root"))
        with hdf5.opened(path, "; unpack it again") as file:
            found: list[h5py.Dataset] = []
            file.visititems(lambda _, item: found.append(item) if _is_block(item) else None)
            betas = [item for item in found if item.shape == shape]
            if len(betas) != 1:
                listing = ", ".join(f"{item.name} {item.shape}" for item in found) or "none"
                raise InputError(
                    f"{path}: {len(betas)} blocks of {shape[0]} voxels x {shape[1]} trials; expected one, as in the "
                    f"tables of the same folder, in a pandas data frame of the fixed format (blocks found: {listing})"
                )
            hdf5.check_written(betas[0], path, "; unpack it again")
            yield betas[0], self._order(betas[0], subject)

    def _order(self, betas: h5py.Dataset, subject: str) -> NDArray[np.int64]:
        """Column of each trial: by its number where the columns of the frame are numbers, else as they stand."""
        import numpy as np

        trials = self._labels(subject)["trial_id"].to_numpy()
        items = betas.parent.get(betas.name.rpartition("/")[2].replace("_values", "_items"))
        if items is None or items.dtype.kind not in "iu":
            return np.arange(len(trials))
        place = {int(name): column for column, name in enumerate(items[:])}
        lost = [int(trial) for trial in trials if int(trial) not in place]
        if lost:
            raise InputError(
                f"{self._file(subject, FILES[0])}: no column of {len(lost)} trials, the first is trial_id {lost[0]} of "
                f"{self._file(subject, FILES[1])}; expected the files of one subject"
            )
        return np.array([place[int(trial)] for trial in trials])

    def _read_voxels(self, subject: str) -> pd.DataFrame:
        return self._read_csv(self._file(subject, "VoxelMetadata.csv"))

    def _read_csv(self, path: Path) -> pd.DataFrame:
        import pandas as pd

        user_files.existing(path, "file", self.setting("root"))
        content = user_files.text(path, "; unpack it again")
        text = dict.fromkeys(("session", "run", "trial_type", "stimulus"), str)
        with user_files.reading(path, "not a table", "; unpack it again"):
            user_files.check_columns(next(csv.reader(content.splitlines())), path, "; unpack it again")
            return pd.read_csv(io.StringIO(content), dtype=text)

    def _file(self, subject: str, ending: str) -> Path:
        return self.root / f"sub-{subject}_{ending}"


def _pictures_of(labels: pd.DataFrame) -> pd.DataFrame:
    """``stimulus_id``, ``concept``, ``split``, each picture once: training before test, in alphabetical order."""
    table = labels[["stimulus_id", "concept", "split"]].drop_duplicates()
    return table.sort_values(["split", "stimulus_id"], ascending=[False, True], ignore_index=True)


def _is_block(item: Any) -> bool:
    """Whether an item of a file is a block of float values of a pandas data frame."""
    name = item.name.rpartition("/")[2]
    return bool(re.fullmatch(r"block\d+_values", name)) and item.ndim == 2 and item.dtype.kind == "f"
