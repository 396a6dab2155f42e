"""BOLD5000 (Chang et al. 2019): 4 people, 4,916 pictures of scenes, COCO and ImageNet; betas of Release 2.0.

The picture of each trial is in ``workflow/manifests/bold5000-trials.csv.gz``, which was made from the 510 events tables
of OpenNeuro ds001499 (CC0). Rows of the betas are taken in the order of session, run and trial: their number agrees,
and nothing else in the files gives an order. What is not obvious from the files:

- The test consists of the 113 pictures that were shown more than once. They are found by name: only later showings
  have a
  type like ``rep_coco``, the first one has ``coco``, so a split by type would put the same picture into training and
  test.
- They were not shown equally often: three or four times to CSI1 and CSI2, two to five times to CSI3. CSI4 stopped after
  9 of 15 sessions and saw 106 of them, one to five times, and 2,952 of all pictures.
- Names of regions are irregular: ``LO`` is ``LOC`` (masks of CSI2 and CSI3), ``RHRRSC`` is ``RHRSC`` (CSI2).

Training has other pictures of the classes of the test, so tables say *seen concepts*.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
from collections import Counter
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import SPLITS
from brain2clip.readers import coco, labels, user_files
from brain2clip.readers.contract import STIMULUS_COLUMNS, VoxelStudy
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.signal_files import Volumes

log = logging.getLogger("brain2clip")

SUBJECTS = ("CSI1", "CSI2", "CSI3", "CSI4")
COLUMNS = ("subject", "session", "run", "trial", "picture", "type")
#: Trials of each side, and pictures of all.
COUNTS = {one: {"train": 4803, "test": 451} for one in SUBJECTS[:3]} | {"CSI4": {"train": 2846, "test": 262}}
REPEATED, PICTURES = 113, 4916
HEMISPHERES = ("LH", "RH")
#: Regions, each with the other names that it has in some files.
REGIONS = {"EarlyVis": (), "LOC": ("LO",), "OPA": (), "PPA": (), "RSC": ("RRSC",)}
_IMAGENET = re.compile(r"(?P<synset>n\d{8})_\d+")
_CLASS = re.compile(r"(?P<synset>n\d{8})[\s:,]+(?P<names>\S.*)")


class Study(VoxelStudy):
    """BOLD5000."""

    Settings = schema.Bold5000Study
    block: schema.Bold5000Study
    licence = "recordings: CC0; betas: see figshare 14456124; pictures: of COCO, ImageNet and SUN, not to be passed on"
    citation = (
        "Chang, Pyles, Marcus, Gupta, Tarr, Aminoff (2019). BOLD5000, a public fMRI dataset while viewing 5000 visual "
        "images. Scientific Data 6, 49, doi:10.1038/s41597-019-0052-3; OpenNeuro ds001499; betas: BOLD5000 Release "
        "2.0, figshare 14456124; Prince, Charest, Kurzawski, et al. (2022). GLMsingle. eLife 11, e77599"
    )
    zero_shot = False

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self.root = Path(self.block.root)
        self._arrays = cache(self._open_arrays)
        self._volumes = cache(self._open_volumes)
        self._masks = cache(self._read_masks)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels, sorted."""
        return labels.wanted(self.setting("subjects"), self.block.subjects, SUBJECTS, "BOLD5000")

    def files(self, subject: str) -> list[str]:
        """Arrays of regions, or volumes of sessions and masks."""
        labels.check(self.name, subject, SUBJECTS)
        if self.block.source == "arrays":
            return [str(path) for path in self._of_regions(subject, "_GLMbetas-{betas}_allses_{region}.npy").values()]
        masks = self._of_regions(subject, "_mask-{region}.nii.gz").values()
        return [*(str(self._session(subject, one)) for one in self._sessions(subject)), *map(str, masks)]

    def stimulus_files(self) -> list[str]:
        """Table of trials, captions and names of classes; pictures are not listed, their existence is checked."""
        found = [self.block.trials]
        if self.block.captions is not None:
            folder = Path(self.block.captions)
            found += map(str, sorted(folder.glob("captions_*.json")) or [folder / "captions_train2014.json"])
        return found if self.block.class_names is None else [*found, self.block.class_names]

    def label_files(self) -> list[str]:
        """Table of trials."""
        return [self.block.trials]

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split."""
        return COUNTS[subject]

    def _of_regions(self, subject: str, ending: str) -> dict[str, Path]:
        """File of each region and hemisphere, by its regular name."""
        found = {}
        for side in HEMISPHERES:
            for region, others in REGIONS.items():
                names = [
                    subject + ending.format(betas=self.block.betas, region=f"{side}{name}")
                    for name in (region, *others)
                ]
                found[f"{side}{region}"] = self._found(names)
        return found

    def _session(self, subject: str, session: str) -> Path:
        return self._found([f"{subject}_GLMbetas-{self.block.betas}_ses-{session}.nii.gz"])

    def _found(self, names: list[str]) -> Path:
        """The one file below the root with one of these names; if there is none, the path where it is expected."""
        every = [*names, *(f"sub-{name}" for name in names)]
        paths = sorted({path for name in every for path in self._below.get(name, ())})
        if len(paths) > 1:
            raise InputError(
                f"{paths[0]} and {paths[1]} are both {names[0]} (setting {self.setting('root')}); expected one: move "
                "the other one out of the folder"
            )
        return paths[0] if paths else self.root / names[0]

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        """Files below the root by name."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            if path.name.endswith((".npy", ".nii.gz")):
                found.setdefault(path.name, []).append(path)
        return found

    # ------------------------------------------------------------------------------------------ trials

    @property
    def _trials(self) -> pd.DataFrame:
        """The table of trials (:func:`read_trials`)."""
        path, setting = Path(self.block.trials), self.setting("trials")
        stat = user_files.existing(path, "table of trials", setting).stat()
        return read_trials(path, setting, stat.st_mtime_ns, stat.st_size)

    def _sessions(self, subject: str) -> list[str]:
        """Labels of a subject's sessions."""
        own = self._trials.loc[self._trials["subject"] == subject, "session"]
        return [f"{int(session):02d}" for session in dict.fromkeys(own)]

    def rows(self, subject: str) -> pd.DataFrame:
        """The picture of each trial, in the order of session, run and trial."""
        import pandas as pd

        repeated = repeated_of(self._trials)
        own = self._trials[self._trials["subject"] == subject]
        lost = len(repeated - set(own["picture"]))
        if lost:
            log.warning(
                "%s: %d of the %d repeated pictures were never shown to this subject; they are still candidates",
                *(subject, lost, len(repeated)),
            )
        names = [stem(picture) for picture in own["picture"]]
        return pd.DataFrame(
            {
                "stimulus": names,
                "concept": [concept_of(name) for name in names],
                "split": ["test" if picture in repeated else "train" for picture in own["picture"]],
                "session": [f"{int(one):02d}" for one in own["session"]],
                "run": [f"{int(one):02d}" for one in own["run"]],
            }
        )

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture of the dataset: training pictures in the order of their names, then the repeated ones.

        Raises
        ------
        brain2clip.stage.InputError
            If pictures are missing in the folder, or a picture of COCO has no caption although captions are given.
        """
        import pandas as pd

        repeated, every = repeated_of(self._trials), set(self._trials["picture"])
        sides = {"train": sorted(every - repeated), "test": sorted(repeated)}
        files = [name for side in SPLITS for name in sides[side]]
        names = [stem(file) for file in files]
        table = pd.DataFrame(
            {
                "stimulus_id": names,
                "split": [side for side in SPLITS for _ in sides[side]],
                "concept": [concept_of(name) for name in names],
                "image": self._images(files),
                "captions": self._captions(names),
                "prompts": self._prompts(names),
            }
        )
        return table[list(STIMULUS_COLUMNS)]

    def coco_ids(self) -> dict[str, int]:
        """Number in COCO of each picture of COCO: the same picture may be in other datasets, such as NSD."""
        names = (stem(picture) for picture in sorted(set(self._trials["picture"])))
        return {name: number for name in names if (number := coco_id(name)) is not None}

    def known_stimuli(self) -> pd.DataFrame | None:
        """Pictures by the table of trials, which is part of the project; their names have their numbers in COCO."""
        import pandas as pd

        if not Path(self.block.trials).is_file():
            return None
        repeated = repeated_of(self._trials)
        files = sorted(set(self._trials["picture"]))
        names = [stem(file) for file in files]
        sides = ["test" if file in repeated else "train" for file in files]
        concepts = [concept_of(name) for name in names]
        return pd.DataFrame({"stimulus_id": names, "split": sides, "concept": concepts, "image": files})

    def _images(self, files: list[str]) -> list[str]:
        """Path of each picture, or empty strings if the setting names no folder."""
        if self.block.pictures is None:
            return [""] * len(files)
        folder, setting = Path(self.block.pictures), self.setting("pictures")
        found = {path.name: str(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        lost = [name for name in files if name not in found]
        if lost:
            raise InputError(
                f"{folder}: {len(lost)} of {len(files)} pictures are missing, the first is {lost[0]} (setting "
                f"{setting})\n  expected the folder Presented_Stimuli of the dataset's stimuli with Scene, COCO and "
                "ImageNet; get it from the authors, or set pictures to null: then ready_features or texts are used"
            )
        return [found[name] for name in files]

    def _captions(self, names: list[str]) -> list[list[str]]:
        """Sentences of the pictures of COCO; none for other pictures."""
        if self.block.captions is None:
            return [[] for _ in names]
        folder, setting = Path(self.block.captions), self.setting("captions")
        tables = [coco.read(path, setting) for path in coco.files(folder, setting)]
        numbers = [coco_id(name) for name in names]
        found: list[list[str]] = [
            [] if number is None else next((table[number] for table in tables if number in table), [])
            for number in numbers
        ]
        lost = [name for name, number, texts in zip(names, numbers, found) if number is not None and not texts]
        if lost:
            raise InputError(
                f"{folder}: no caption for {len(lost)} pictures of COCO, the first is {lost[0]} (setting {setting}); "
                "expected captions_train2014.json, or both captions_train2017.json and captions_val2017.json"
            )
        return found

    def _prompts(self, names: list[str]) -> list[list[str]]:
        """A sentence with the class of a picture of ImageNet or with the scene; none for pictures of COCO."""
        known = {} if self.block.class_names is None else self._class_names(Path(self.block.class_names))
        found: list[list[str]] = []
        for name in names:
            concept = concept_of(name)
            if coco_id(name) is not None:
                found.append([])
            elif _IMAGENET.fullmatch(name):
                found.append([f"a photo of a {known[concept]}"] if concept in known else [])
            else:
                found.append([f"a photo of a {spoken(concept)}"])
        return found

    def _class_names(self, path: Path) -> dict[str, str]:
        """Name of each class of ImageNet: the first name in its line."""
        setting = self.setting("class_names")
        user_files.existing(path, "table of class names", setting)
        found = {}
        for number, line in enumerate(user_files.text(path, f"(setting {setting})").splitlines(), 1):
            if not line.strip():
                continue
            match = _CLASS.fullmatch(line.strip())
            if match is None:
                raise InputError(
                    f"{path}: line {number} is {line!r} (setting {setting}); expected an id, a tab and a name, such as "
                    "n01518878 and ostrich"
                )
            found[match["synset"]] = match["names"].partition(",")[0].strip()
        shown = {match["synset"] for name in set(self._trials["picture"]) if (match := _IMAGENET.match(name))}
        lost = sorted(shown - set(found))
        if lost:
            raise InputError(
                f"{path}: no name for {len(lost)} of {len(shown)} classes, the first is {lost[0]} (setting {setting}); "
                "expected a name for each class"
            )
        return found

    # ------------------------------------------------------------------------------------------ voxels

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions of each hemisphere (LHLOC), of both (LOC), and the hemispheres."""
        import numpy as np

        if self.block.source == "arrays":
            counts = {name: array.shape[1] for name, array in self._arrays(subject).items()}
            owner = np.repeat(list(counts), list(counts.values()))
            own = {name: owner == name for name in counts}
        else:
            masks = self._masks(subject)
            inside = np.logical_or.reduce(list(masks.values()))
            own = {name: mask[inside] for name, mask in masks.items()}
        both = {region: own[f"LH{region}"] | own[f"RH{region}"] for region in REGIONS}
        halves = {side: np.logical_or.reduce([own[f"{side}{region}"] for region in REGIONS]) for side in HEMISPHERES}
        return {**own, **both, **halves}

    def voxel_names(self, subject: str) -> list[str]:
        """Region and number within it, or the place on the grid."""
        if self.block.source == "arrays":
            return [f"{name}-{one}" for name, array in self._arrays(subject).items() for one in range(array.shape[1])]
        first = self._volumes(subject)[0]
        names = first.names()
        return [names[place] for place in self._places(subject)]

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Betas [n_trials, len(voxels)] of some voxels."""
        import numpy as np

        if self.block.source == "volumes":
            places = self._places(subject)[voxels]
            return np.concatenate([session.read(places) for session in self._volumes(subject)])
        signals, begin = [], 0
        for array in self._arrays(subject).values():
            own = voxels[(voxels >= begin) & (voxels < begin + array.shape[1])] - begin
            signals.append(np.asarray(array[:, own], np.float32))
            begin += array.shape[1]
        return np.concatenate(signals, axis=1)

    def _open_arrays(self, subject: str) -> dict[str, NDArray[np.floating]]:
        """Betas [n_trials, n_voxels] of each region; the number of rows must be the number of trials."""
        import numpy as np

        n_trials, found = sum(COUNTS[subject].values()), {}
        for name, path in self._of_regions(subject, "_GLMbetas-{betas}_allses_{region}.npy").items():
            user_files.existing(path, "array of betas", self.setting("root"))
            with user_files.reading(path, "not readable as .npy", "; get it once more"):
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.ndim != 2 or array.dtype.kind != "f" or len(array) != n_trials or not array.shape[1]:
                raise InputError(
                    f"{path}: {array.dtype} {array.shape}, expected betas [{n_trials} trials, voxels] of {subject}, in "
                    "the order of sessions, runs and trials; get it once more"
                )
            found[name] = array
        return found

    def _open_volumes(self, subject: str) -> list[Volumes]:
        """Betas of each session, with a volume for each trial; all sessions have the same grid."""
        from brain2clip.readers.signal_files import Volumes

        counts = Counter(f"{int(one):02d}" for one in self._trials.loc[self._trials["subject"] == subject, "session"])
        found: list[Volumes] = []
        for session in self._sessions(subject):
            path = user_files.existing(self._session(subject, session), "volume of betas", self.setting("root"))
            volumes = Volumes(path, None, f"studies.{self.name}", self.block.space, "root")
            if volumes.n_rows != counts[session]:
                raise InputError(
                    f"{path}: {volumes.n_rows} volumes, expected {counts[session]}, one for each trial of "
                    f"session {session}"
                )
            if found and volumes.grid != found[0].grid:
                raise InputError(
                    f"{path}: {volumes.grid} voxels, but {found[0].path} has {found[0].grid}; get both once more"
                )
            found.append(volumes)
        return found

    def _read_masks(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Mask [n_voxels of the grid] of each region, on the grid of the first session."""
        first = self._volumes(subject)[0]
        files = self._of_regions(subject, "_mask-{region}.nii.gz")
        return {name: first.region(str(path), self.setting("root")) for name, path in files.items()}

    def _places(self, subject: str) -> NDArray[np.int64]:
        """Voxels of the grid that are in at least one region, ascending."""
        import numpy as np

        return np.flatnonzero(np.logical_or.reduce(list(self._masks(subject).values())))


@lru_cache(maxsize=4)
def read_trials(path: Path, setting: str, mtime_ns: int, size: int) -> pd.DataFrame:
    """The table of trials as text, sorted by subject, session, run and trial; read once for each state of the file.

    Raises
    ------
    brain2clip.stage.InputError
        If it is damaged, lacks a column, or has other pictures or repetitions than the dataset.
    """
    import pandas as pd

    with user_files.reading(path, "not a table", f"(setting {setting})"):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
        table = pd.DataFrame(rows, dtype=object)[list(COLUMNS)]
        if table.isna().any(axis=None):
            raise ValueError("a row with too few cells")
        order = table[["session", "run", "trial"]].astype(int).assign(subject=table["subject"])
    table = table.iloc[order.sort_values(["subject", "session", "run", "trial"]).index].reset_index(drop=True)
    repeated = repeated_of(table)
    if table["picture"].nunique() != PICTURES or len(repeated) != REPEATED or set(table["subject"]) != {*SUBJECTS}:
        raise InputError(
            f"{path}: {table['picture'].nunique()} pictures, {len(repeated)} of them repeated, of "
            f"{', '.join(sorted(set(table['subject'])))} (setting {setting}); expected {PICTURES}, {REPEATED} and "
            f"{', '.join(SUBJECTS)}: use the table of the project"
        )
    return table


def repeated_of(table: pd.DataFrame) -> set[str]:
    """Pictures that at least one subject saw more than once; the type of a trial is not used."""
    counts = Counter(zip(table["subject"], table["picture"]))
    return {picture for (_, picture), count in counts.items() if count > 1}


def stem(picture: str) -> str:
    """Id of a picture: its file name without the ending."""
    return picture.rpartition(".")[0]


def coco_id(name: str) -> int | None:
    """Number of a picture in COCO from its id, or None if it is not from COCO."""
    return coco.number_in(name)


def concept_of(name: str) -> str:
    """Class of ImageNet, scene, or the picture itself for COCO, because its pictures show several things."""
    if coco_id(name) is not None:
        return name
    match = _IMAGENET.fullmatch(name)
    return match["synset"] if match else re.sub(r"\d+$", "", name)


def spoken(scene: str) -> str:
    """A scene as a noun: airportTerminal is an airport terminal."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z][A-Z])(?=[a-z])", " ", scene.replace("_", " ")).split()
    return " ".join(word if word.isupper() else word.lower() for word in words)
