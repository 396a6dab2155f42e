"""Natural Scenes Dataset (Allen et al. 2022): single-trial betas of 8 people who saw 9,000 to 10,000 pictures each.

Files have the layout of the dataset's bucket, in a folder of the user (``root``) or downloaded (``manifest``). Nothing
is read or fetched unless the terms are accepted, and no part of the dataset is in this project. What is not obvious
from the files:

- The design counts from 1 (:mod:`brain2clip.readers.nsd_design`), the pictures from 0: id ``nsd-02950`` is ``nsdId``
  2950, row 2950 of ``imgBrick``, number 2951 of design and ``responses.tsv``, and file ``shared…_nsd02951.png``.
- Betas are whole numbers, 300 times the percent signal change, with axes that depend on the format
  (:mod:`brain2clip.readers.nsd_betas`). Row r of session s is trial 750 (s - 1) + r of the design.
- ``nsdgeneral`` is -1 outside of the region; voxels above 0 are used.

Test pictures are not shown in training. But training has other pictures of the same things (people, cats, streets), and
concepts cannot be kept apart. So each picture is a concept of its own, and tables say *seen concepts*, which is the
cautious choice. No picture is in both training and test.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import SPLITS
from brain2clip.readers import bids_files, coco, file_records, labels, nsd_design, nsd_files, overlap, user_files
from brain2clip.readers.contract import STIMULUS_COLUMNS, VoxelStudy
from brain2clip.readers.downloaded import DownloadedStudy
from brain2clip.readers.nsd_design import RUNS, SESSIONS, TRIALS, Design
from brain2clip.settings.studies_fmri import NSD_TERMS
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.manifests import Entry
    from brain2clip.readers.nsd_betas import Hdf5Betas, NiftiBetas

log = logging.getLogger("brain2clip")

#: X, Y, Z of func1pt8mm by subject.
GRIDS = {
    "01": (81, 104, 83),
    "02": (82, 106, 84),
    "03": (81, 106, 82),
    "04": (85, 99, 80),
    "05": (79, 97, 78),
    "06": (85, 113, 83),
    "07": (78, 95, 81),
    "08": (80, 103, 78),
}
#: Names of labels if the dataset's own table is missing.
NAMES = {
    "prf-visualrois": dict(enumerate(("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"), 1)),
    "streams": {5: "ventral"},
}
#: Dataset of the pictures in :data:`brain2clip.readers.nsd_files.BRICK`.
BRICK_DATA = "imgBrick"
_ID = re.compile(r"nsd-(\d{5})")


class Study(DownloadedStudy, VoxelStudy):
    """Natural Scenes Dataset."""

    Settings = schema.NsdStudy
    block: schema.NsdStudy
    dataset = "nsd"
    licence = (
        f"terms of the Natural Scenes Dataset, {NSD_TERMS}: research and education only, no part of it may be "
        "passed on; pictures: of COCO's authors"
    )
    citation = (
        "Allen, St-Yves, Wu, et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial "
        "intelligence. Nature Neuroscience 25, 116-126, doi:10.1038/s41593-021-00962-x; pictures and captions: Lin et "
        "al. (2014). Microsoft COCO. ECCV"
    )
    zero_shot = False

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        if self.block.root is not None:
            self.root = Path(self.block.root)
        self._inside = cache(self._read_inside)
        self._session = cache(self._open_session)
        self._stored = cache(self._read_stored)
        self._shown = cache(self._checked_shown)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels, sorted."""
        return labels.wanted(self.setting("subjects"), self.block.subjects, SESSIONS, "the Natural Scenes Dataset")

    def sessions(self, subject: str) -> tuple[int, ...]:
        """Numbers of the sessions of a subject that are used, from 1.

        Raises
        ------
        brain2clip.stage.InputError
            If the subject has no session with that number.
        """
        labels.check(self.name, subject, SESSIONS)
        there, asked = SESSIONS[subject], self.block.sessions
        if asked == "all":
            return tuple(range(1, 1 + (min(there, nsd_design.EARLY) if self.block.test == "982" else there)))
        numbers = tuple(range(1, asked + 1)) if isinstance(asked, int) else tuple(sorted(asked))
        if max(numbers) > there:
            raise InputError(
                f"{self.setting('sessions')}: session {max(numbers)}, but subject {subject} has {there}; expected at "
                f"most {there}, all, or other subjects"
            )
        return numbers

    def files(self, subject: str) -> list[str]:
        """Betas, masks, design, and the files that name and check them; for downloads, their records."""
        return self._inputs(self._of_subject(subject))

    def stimulus_files(self) -> list[str]:
        """Design, table of the pictures and captions, and the record of the unpacked pictures."""
        given = [nsd_files.DESIGN, *self._there([nsd_files.PICTURES])]
        found = self._inputs(given)
        if self.block.captions is not None:
            found += map(str, self._caption_files())
        return [*found, str(self._pictures / file_records.NAME)] if self.block.pictures else found

    def subject_units(self, subject: str) -> list[str]:
        """Units of a subject's files."""
        return [self.unit(path) for path in self._of_subject(subject)]

    def shared_units(self) -> list[str]:
        """Units of the design, the table of pictures and the pictures."""
        given = [nsd_files.DESIGN, *self._there([nsd_files.PICTURES])]
        return [self.unit(path) for path in [*given, *([nsd_files.BRICK] if self.block.pictures else [])]]

    def downloads(self) -> dict[str, tuple[Entry, ...]]:
        """Files of the manifest that this study may need; none if it reads a folder of the user."""
        return {} if self.block.root is not None else super().downloads()

    def _of_subject(self, subject: str) -> list[str]:
        """Keys of a subject's files in the bucket."""
        block = self.block
        families = dict.fromkeys([block.mask, *block.regions])
        found = [nsd_files.betas(subject, block.betas, one, block.format) for one in self.sessions(subject)]
        found += [nsd_files.roi(subject, name) for name in families]
        extra = [*(nsd_files.names(subject, name) for name in block.regions), nsd_files.responses(subject)]
        return [*found, nsd_files.DESIGN, *self._there(extra)]

    def _there(self, paths: Iterable[str]) -> list[str]:
        """Files that are in the manifest or in the folder; tables of names and of cross-checks may be missing."""
        if self.block.root is None:
            return [path for path in paths if path in self.entries]
        return [path for path in paths if (self.root / path).is_file()]

    def _inputs(self, paths: Iterable[str]) -> list[str]:
        if self.block.root is not None:
            return [str(self.root / path) for path in paths]
        return list(dict.fromkeys(self.record(self.unit(path)) for path in paths))

    def _file(self, path: str) -> Path:
        """An existing file; a downloaded file is first compared with its record."""
        found = self.root / path
        if self.block.root is None:
            self.check_there(found)
        return user_files.existing(found, "file", self._source)

    @property
    def _source(self) -> str:
        return self.setting("manifest" if self.block.root is None else "root")

    # ------------------------------------------------------------------------------------------- design

    @cached_property
    def design(self) -> Design:
        """The picture of each trial."""
        return nsd_design.read(self._file(nsd_files.DESIGN), self._source)

    def _trials(self, subject: str) -> NDArray[np.int64]:
        """Numbers of a subject's trials in the design, in the order of sessions."""
        return self.design.trials(self.sessions(subject))

    def _checked_shown(self, subject: str) -> NDArray[np.int64]:
        """``nsdId`` of each trial, compared with the subject's own table of trials if it exists."""
        shown = self.design.shown(subject, self._trials(subject))
        path = nsd_files.responses(subject)
        if self._there([path]):
            self._compare(self._file(path), subject, shown)
        return shown

    def _compare(self, path: Path, subject: str, shown: NDArray[np.int64]) -> None:
        """Refuse a table of trials that names other pictures than the design."""
        import numpy as np

        table = bids_files.read_table(path, "\t")
        for name in ("SESSION", "73KID"):
            if name not in table:
                raise InputError(f"{path}: no column {name}; found {', '.join(table)}; get it once more")
        with user_files.reading(path, "no numbers in SESSION or 73KID", "; get it once more"):
            session, number = (np.array(table[name], float) for name in ("SESSION", "73KID"))
        for place, one in enumerate(self.sessions(subject)):
            told, own = number[session == one], shown[TRIALS * place : TRIALS * (place + 1)]
            if len(told) != TRIALS:
                raise InputError(f"{path}: {len(told)} trials of session {one}, expected {TRIALS}; get it once more")
            other = np.flatnonzero(told - 1 != own)
            if len(other):
                first = int(other[0])
                from_0 = np.array_equal(told, own)
                raise InputError(
                    f"{path}: {len(other)} of {TRIALS} trials of session {one} show another picture than "
                    f"in {self.design.path}; the first is trial {first + 1}: 73KID {told[first]:g}, in the design "
                    f"{own[first] + 1}"
                    + ("; one of the two counts from 0, but both published files count from 1" if from_0 else "")
                    + "\n  expected the two files as they were published: get both once more"
                )

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture that a wanted subject was shown: training pictures, then test pictures, by ``nsdId``.

        Raises
        ------
        brain2clip.stage.InputError
            If the design is missing or not the published one, the table of pictures contradicts it, or a picture has no
            caption although captions are given.
        """
        import pandas as pd

        sides = self._sides
        numbers = [number for side in SPLITS for number in sorted(sides[side])]
        self._check_pictures()
        names = [id_of(number) for number in numbers]
        table = pd.DataFrame(
            {
                "stimulus_id": names,
                "split": [side for side in SPLITS for _ in sides[side]],
                "concept": names,
                "image": [str(self._pictures / path_of(number)) if self.block.pictures else "" for number in numbers],
                "captions": self._captions(numbers),
                "prompts": [[] for _ in numbers],
            }
        )
        return table[list(STIMULUS_COLUMNS)]

    @cached_property
    def _sides(self) -> dict[str, set[int]]:
        """``nsdId`` of the pictures of each side, over all wanted subjects."""
        found: dict[str, set[int]] = {side: set() for side in SPLITS}
        for subject in self.subjects():
            trials = self._trials(subject)
            shown, sides = self.design.shown(subject, trials), self.design.sides(self.block.test, trials)
            for side in SPLITS:
                found[side].update(shown[sides == side].tolist())
        return found

    @property
    def _pictures(self) -> Path:
        """Folder of the unpacked pictures of this study; other studies may have other subjects."""
        return self.results / "raw" / self.name / "pictures"

    @property
    def bricked(self) -> bool:
        """Whether its pictures are rows of an array, to be unpacked (stage ``bricks``)."""
        return self.block.pictures

    def brick_files(self) -> list[str]:
        """Files from which the pictures are unpacked."""
        return self._inputs([nsd_files.DESIGN, nsd_files.BRICK])

    def brick(self) -> tuple[Path, str, dict[str, int]]:
        """File, dataset [n, height, width, 3], and the row of each picture by its path in the folder of pictures."""
        numbers = sorted(number for side in SPLITS for number in self._sides[side])
        return self._file(nsd_files.BRICK), BRICK_DATA, {path_of(number): number for number in numbers}

    # ---------------------------------------------------------------------------- captions and other names

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """Columns of the table of pictures; row n is ``nsdId`` n."""
        path = self._file(nsd_files.PICTURES)
        table: dict[str, list[str]] = dict(bids_files.read_table(path, ","))
        for name in ("nsdId", "cocoId", "cocoSplit"):
            if name not in table:
                raise InputError(f"{path}: no column {name}; found {', '.join(table)}; get it once more")
        if table["nsdId"] != [str(number) for number in range(len(table["nsdId"]))]:
            raise InputError(
                f"{path}: nsdId begins {', '.join(table['nsdId'][:3])}; expected 0, 1, 2 and so on, like the rows of "
                f"{BRICK_DATA}; get it once more"
            )
        return table

    def _check_pictures(self) -> None:
        """Refuse a table of pictures, if it exists, whose shared or seen pictures are not those of the design."""
        if not self._there([nsd_files.PICTURES]):
            return
        wanted = {"shared1000": self.design.pictures[0, : self.design.n_shared]}
        wanted |= {f"subject{int(one)}": self.design.pictures[int(one) - 1] for one in self.subjects()}
        # Four subjects lack sessions: their columns may mark the pictures of the design, or those that they saw.
        last = len(self.design.place) // TRIALS
        recorded = {one: tuple(range(1, 1 + min(last, SESSIONS[one]))) for one in self.subjects()}
        seen = {
            f"subject{int(one)}": set(self.design.shown(one, self.design.trials(own)).tolist())
            for one, own in recorded.items()
        }
        for name, numbers in wanted.items():
            if name not in self._listed:
                continue
            told = {row for row, cell in enumerate(self._listed[name]) if cell.strip() in ("True", "TRUE", "1", "1.0")}
            own = set(numbers.tolist())
            if told != own and told != seen.get(name):
                raise InputError(
                    f"{self.root / nsd_files.PICTURES}: {name} marks {len(told)} pictures, {len(told & own)} of them "
                    f"are among the {len(own)} in {self.design.path}\n"
                    "  expected the same pictures (this table counts from 0, the design from 1); get both files once "
                    "more"
                )

    def coco_ids(self) -> dict[str, int]:
        """Number in COCO of each picture of the study: the same picture may be in other datasets, such as BOLD5000.

        Raises
        ------
        brain2clip.stage.InputError
            If the table of pictures is missing, or a number in it is none.
        """
        sides = self._sides
        numbers = sorted(sides["train"] | sides["test"])
        return {id_of(number): self._coco_id(number) for number in numbers}

    def source_pictures(self) -> dict[str, str]:
        """Of each picture that of COCO which it is cut out of; an unknown one without the table of pictures."""
        if self._there([nsd_files.PICTURES]):
            return {name: overlap.source("coco", number) for name, number in self.coco_ids().items()}
        log.warning(
            "%s: no such file, so the numbers of the pictures in COCO are not known; models of this study can be "
            "applied to studies of COCO, and theirs to this one, only where apply.*.concepts is seen",
            self.root / nsd_files.PICTURES,
        )
        return {id_of(number): overlap.source("coco", None) for side in SPLITS for number in self._sides[side]}

    def known_stimuli(self) -> pd.DataFrame | None:
        """Pictures by the design, where it and the table of pictures lie there."""
        import pandas as pd

        needed = [nsd_files.DESIGN, *self._there([nsd_files.PICTURES])]
        if not all((self.root / path).is_file() and self._is_complete(path) for path in needed):
            return None
        sides = {id_of(number): side for side in SPLITS for number in sorted(self._sides[side])}
        table = pd.DataFrame({"stimulus_id": [*sides], "split": [*sides.values()], "concept": [*sides], "image": ""})
        return table.assign(source_picture=table["stimulus_id"].map(self.source_pictures()))

    def _is_complete(self, path: str) -> bool:
        """Whether a file need not be downloaded, or its download is finished."""
        return self.block.root is not None or Path(self.record(self.unit(path))).is_file()

    def in_bold5000(self) -> tuple[str, ...]:
        """Pictures of the study that are in BOLD5000, too (column ``BOLD5000``)."""
        numbers = sorted(self._sides["train"] | self._sides["test"])
        return tuple(id_of(one) for one in numbers if self._cell("BOLD5000", one) in ("True", "TRUE", "1", "1.0"))

    def _cell(self, name: str, number: int) -> str:
        path = self.root / nsd_files.PICTURES
        if name not in self._listed:
            raise InputError(f"{path}: no column {name}; found {', '.join(self._listed)}; get it once more")
        if number >= len(self._listed[name]):
            raise InputError(
                f"{path}: {len(self._listed[name])} pictures, but the design shows nsdId {number}; get both once more"
            )
        return self._listed[name][number]

    def _coco_id(self, number: int) -> int:
        """Number of a picture in COCO."""
        found = self._cell("cocoId", number)
        if not re.fullmatch("[0-9]+", found):
            raise InputError(
                f"{self.root / nsd_files.PICTURES}: nsdId {number} has cocoId {found!r}; expected a number; get it "
                "once more"
            )
        return int(found)

    def _caption_files(self) -> list[Path]:
        given = Path(str(self.block.captions))
        if given.suffix == ".npy":
            return [given]
        return [given / f"captions_{split}.json" for split in ("train2017", "val2017")]

    def _captions(self, numbers: Sequence[int]) -> list[list[str]]:
        """Sentences of pictures, at least one for each; none if the setting names no file."""
        if self.block.captions is None:
            return [[] for _ in numbers]
        files = self._caption_files()
        found = self._of_array(files[0], numbers) if files[0].suffix == ".npy" else self._of_coco(numbers)
        lost = [id_of(number) for number, texts in zip(numbers, found) if not texts]
        if lost:
            raise InputError(
                f"{self.block.captions}: no caption for {len(lost)} of {len(numbers)} pictures, the first is {lost[0]} "
                f"(setting {self.setting('captions')}); get the files once more, or set captions to null"
            )
        return found

    def _of_coco(self, numbers: Sequence[int]) -> list[list[str]]:
        """By the number of the picture in COCO, in the file of its split."""
        setting = self.setting("captions")
        given = {path.stem.removeprefix("captions_"): path for path in self._caption_files()}
        by_split = {split: coco.read(path, setting) for split, path in given.items()}
        found = []
        for number in numbers:
            split, coco_id = self._cell("cocoSplit", number), self._coco_id(number)
            if split not in by_split:
                raise InputError(
                    f"{self.root / nsd_files.PICTURES}: nsdId {number} has cocoSplit {split!r}; expected "
                    f"{' or '.join(by_split)}; get it once more"
                )
            found.append(by_split[split].get(coco_id, []))
        return found

    def _of_array(self, path: Path, numbers: Sequence[int]) -> list[list[str]]:
        """Rows of an array of sentences, blank ones left out."""
        import numpy as np

        setting = self.setting("captions")
        user_files.existing(path, "file of captions", setting)
        what = "not an array of text that can be read without running code"
        with user_files.reading(path, what, f"(setting {setting})"):
            texts = np.load(path, allow_pickle=False)
        if texts.ndim != 2 or texts.dtype.kind != "U" or len(texts) <= max(numbers):
            raise InputError(
                f"{path}: {texts.dtype} {texts.shape} (setting {setting}); expected text with a row for each of the "
                "73,000 pictures; get it once more"
            )
        return [[sentence for text in texts[one] if (sentence := " ".join(text.split()))] for one in numbers]

    # -------------------------------------------------------------------------------------------- rows

    def rows(self, subject: str) -> pd.DataFrame:
        """The picture of each trial; shared pictures that the test leaves out have no stimulus.

        Raises
        ------
        brain2clip.stage.InputError
            If design or table of trials are not the published ones, or contradict each other.
        """
        import numpy as np
        import pandas as pd

        sides = self.design.sides(self.block.test, self._trials(subject))
        names = [id_of(number) if side else "" for number, side in zip(self._shown(subject), sides)]
        sessions = [f"{one:02d}" for one in self.sessions(subject)]
        runs = np.repeat([f"{number:02d}" for number in range(1, len(RUNS) + 1)], RUNS)
        return pd.DataFrame(
            {
                "stimulus": names,
                "concept": names,
                "split": sides,
                "session": np.repeat(sessions, TRIALS).astype(object),
                "run": np.tile(runs, len(sessions)).astype(object),
            }
        )

    # ------------------------------------------------------------------------------------------ voxels

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions within the mask: whole files, labels by number, and by name (with the file if two share it)."""
        found: dict[str, NDArray[np.bool_]] = {self.block.mask: self._inside(subject) >= 0}
        named: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {}
        for family in self.block.regions:
            values = self._labels_of(subject, family)[self._inside(subject)]
            found[family] = values > 0
            names = self._names_of(subject, family)
            for label in sorted({*values[values > 0].tolist(), *(one for one in names if one > 0)}):
                found[f"{family}-{label}"] = values == label
                if label in names:
                    named.setdefault(names[label], []).append((family, values == label))
        for name, masks in named.items():
            for family, mask in masks:
                found[name if len(masks) == 1 else f"{family}-{name}"] = mask
        return found

    def voxel_names(self, subject: str) -> list[str]:
        """Places on the grid, counted from 0."""
        import numpy as np

        places = np.stack(np.unravel_index(self._inside(subject), self._grid(subject)), axis=1)
        return ["-".join(map(str, place)) for place in places]

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Percent signal change [n_trials, len(voxels)] of some voxels, session after session."""
        import numpy as np

        from brain2clip.readers import nsd_betas

        sessions = self.sessions(subject)
        signals = np.empty((TRIALS * len(sessions), len(voxels)), np.float32)
        for place, session in enumerate(sessions):
            part = slice(TRIALS * place, TRIALS * (place + 1))
            if self.block.format == "nifti":
                stored = self._stored(subject)[part][:, voxels]
            else:
                stored = self._session(subject, session).read(self._inside(subject)[voxels])
            signals[part] = nsd_betas.percent(stored)
        return signals

    def _read_stored(self, subject: str) -> NDArray[np.int16]:
        """Numbers [n_trials, n_voxels] of the mask, as stored; a packed file is read only once."""
        import numpy as np

        inside = self._inside(subject)
        return np.concatenate([self._session(subject, one).read(inside) for one in self.sessions(subject)])

    def _open_session(self, subject: str, session: int) -> Hdf5Betas | NiftiBetas:
        """Betas of a session; all sessions must have the same grid."""
        from brain2clip.readers import nsd_betas

        path = self._file(nsd_files.betas(subject, self.block.betas, session, self.block.format))
        opened = nsd_betas.Hdf5Betas if self.block.format == "hdf5" else nsd_betas.NiftiBetas
        found = opened(path, self._source)
        first = self.sessions(subject)[0]
        wanted = GRIDS[subject] if self.design.is_published else found.grid
        if session != first:
            wanted = self._grid(subject)
        if found.grid != wanted:
            raise InputError(
                f"{path}: {found.grid} voxels, expected {wanted} for subject {subject} in func1pt8mm; the file is of "
                "another subject or resolution: get the right one"
            )
        return found

    def _grid(self, subject: str) -> tuple[int, ...]:
        return self._session(subject, self.sessions(subject)[0]).grid

    def _read_inside(self, subject: str) -> NDArray[np.int64]:
        """Places of the voxels of the mask in the grid, ascending; values above 0 count, because -1 is outside."""
        import numpy as np

        found = np.flatnonzero(self._labels_of(subject, self.block.mask) > 0)
        if not len(found):
            raise InputError(
                f"{self.root / nsd_files.roi(subject, self.block.mask)}: no voxel above 0 (setting "
                f"{self.setting('mask')}); expected a mask: name another file of roi/"
            )
        return found

    def _labels_of(self, subject: str, family: str) -> NDArray[np.int64]:
        """Labels of all voxels of the grid by a file of ``roi/``."""
        from brain2clip.readers import nsd_betas

        session = self._session(subject, self.sessions(subject)[0])
        setting = self.setting("mask" if family == self.block.mask else "regions")
        path = self._file(nsd_files.roi(subject, family))
        return nsd_betas.read_labels(path, session.grid, session, setting)

    def _names_of(self, subject: str, family: str) -> dict[int, str]:
        """Names of labels, from the dataset's table if it exists."""
        from brain2clip.readers import nsd_betas

        path = nsd_files.names(subject, family)
        return nsd_betas.read_names(self._file(path)) if self._there([path]) else NAMES.get(family, {})


def id_of(number: int) -> str:
    """Id of a picture by its ``nsdId``, from 0."""
    return f"nsd-{number:05d}"


def number_of(name: str) -> int | None:
    """``nsdId`` of an id, or None if it is not an id of NSD."""
    match = _ID.fullmatch(name)
    return int(match[1]) if match else None


def path_of(number: int) -> str:
    """Path of a picture in the folder of pictures, with a thousand pictures in each subfolder."""
    return f"{number // 1000:02d}/{id_of(number)}.png"
