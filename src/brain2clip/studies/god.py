"""Generic Object Decoding (Horikawa and Kamitani 2017), preprocessed, as BData files.

Training shows 1200 pictures (150 classes of ImageNet, 8 each), the test 50 pictures of 50 other classes. Source
``figshare`` (article 7387130): 5 subjects, every training picture once, every test picture 35 times, 500 rows of
imagery, which are not read. Source ``fmriprep``: newer files of three people who saw the same pictures more often,
training and test in a file each. Details that the files do not show:

- A stimulus is a number such as 1518878.010042: class n01518878, picture 10042, so image id ``n01518878_10042``. It is
  exact in double precision only. Newer files have ``stimulus_name``, a number whose text is in the ``vmap``.
- ``DataType`` is 1 for training, 2 for the test, 3 for imagery; its number of a run may begin anew with each.
- Neither pictures nor captions come with the data: pictures are on request, captions are those of other authors, two
  formats of which are read (picture id to sentences, the first being a template with the name of the class; and JSON
  lines). Names of the 50 test classes are known, those of training classes come from ``class_names`` or the template.

The stimulus table is a property of the dataset, the same for all subjects, in the order of ids. It is read from the
label columns of the first wanted subject whose file is there.

Downloads go to ``results/raw/god``, by the name of the dataset: studies with other settings share them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as schema
from brain2clip.names import NO_LABEL, SPLITS
from brain2clip.readers import labels, manifests, user_files
from brain2clip.readers.contract import STIMULUS_COLUMNS, VoxelStudy
from brain2clip.readers.downloaded import DownloadedStudy
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.bdata import BData

#: Values of ``DataType``.
DATA_TYPES = {1: "train", 2: "test", 3: "imagery"}
#: Classes of each side, and pictures of a class.
CLASSES = {"train": 150, "test": 50}
PER_CLASS = {"train": 8, "test": 1}
#: Trials of a subject by source, where they are published.
COUNTS = {"figshare": {"train": 1200, "test": 1750}}
#: Keys that name the stimulus, in the order of preference: text by vmap, or the number.
NAMED = "stimulus_name"
NUMBERED = ("stimulus_id", "Label")
TEMPLATE = re.compile(r"an image of (.+)\.")
ENDINGS = (".JPEG", ".jpg", ".png")
#: Names of the test classes by WordNet id (ImageNetTest_synset.xlsx of the dataset).
TEST_CLASSES = {
    "n01443537": "goldfish",
    "n01621127": "owl",
    "n01677366": "common iguana",
    "n01846331": "duck",
    "n01858441": "swan",
    "n01943899": "conch",
    "n01976957": "crab",
    "n02071294": "killer whale",
    "n02128385": "leopard",
    "n02139199": "bat",
    "n02190790": "housefly",
    "n02274259": "butterfly",
    "n02416519": "goat",
    "n02437136": "camel",
    "n02437971": "domestic llama",
    "n02690373": "airliner",
    "n02797295": "barrow",
    "n02824058": "beer mug",
    "n02882301": "bowling ball",
    "n02916179": "bulldozer",
    "n02950256": "cannon",
    "n02951358": "canoe",
    "n03064758": "coffin",
    "n03122295": "covered wagon",
    "n03124170": "cowboy hat",
    "n03237416": "silk hat",
    "n03272010": "electric guitar",
    "n03345837": "fire extinguisher",
    "n03379051": "football helmet",
    "n03452741": "grand piano",
    "n03455488": "gravestone",
    "n03482252": "hammock",
    "n03495258": "harp",
    "n03584254": "iPod",
    "n03626115": "knob",
    "n03710193": "mailbox",
    "n03716966": "mandolin",
    "n03761084": "microwave",
    "n03767745": "minaret",
    "n03941684": "tweezer",
    "n03954393": "planchet",
    "n04210120": "shredder",
    "n04252077": "snowmobile",
    "n04254777": "sock",
    "n04297750": "stained-glass window",
    "n04387400": "tambourine",
    "n04507155": "umbrella",
    "n04533802": "videocassette recorder",
    "n04554684": "washing machine",
    "n04572121": "welder's mask",
}
_IMAGE_ID = re.compile(r"(n\d{8})_(\d+)")
_FILES = {
    "figshare": re.compile(r"figshare/Subject(\d+)\.h5"),
    "fmriprep": re.compile(r"fmriprep/sub-(\d+)_ImageNet(?:Training|Test)_fmriprep_volume_native\.h5"),
}


class Study(DownloadedStudy, VoxelStudy):
    """Generic Object Decoding."""

    Settings = schema.GodStudy
    block: schema.GodStudy
    dataset = "god"
    licence = "voxels: see figshare article 7387130; pictures (ImageNet) and captions: of their authors, not passed on"
    citation = (
        "Horikawa, Kamitani (2017). Generic decoding of seen and imagined objects using hierarchical visual features. "
        "Nature Communications 8, 15037, doi:10.1038/ncomms15037; data: figshare 7387130; fMRIPrep version: Shen, "
        "Horikawa, Majima, Kamitani (2019). Deep image reconstruction from human brain activity. PLOS Computational "
        "Biology 15, e1006633"
    )

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        super().__init__(name, settings, results)
        self._labels = cache(self._read_labels)
        self._bdata = cache(self._open)

    # ------------------------------------------------------------------------------------------- files

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``, sorted."""
        return self.wanted("subjects", self._listed, f" for source {self.block.source}")

    def stimulus_files(self) -> list[str]:
        """Records of the downloads of one subject, whose labels make the table, captions and names of classes.

        The pictures themselves are not listed: :meth:`stimulus_table` checks that they exist.
        """
        given = [path for path in (self.block.captions, self.block.class_names) if path is not None]
        return [*self.files(self.subjects()[0]), *given]

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """Trials per split, where they are published."""
        return COUNTS.get(self.block.source)

    # ----------------------------------------------------------------------------------------- stimuli

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures in the order of ids, then test pictures.

        Raises
        ------
        brain2clip.stage.InputError
            When no subject's file is there or its labels are not those of the dataset, captions or names lack
            something, or a picture is not in its place.
        """
        import pandas as pd

        ids = self._ids
        concepts = [name.partition("_")[0] for side in SPLITS for name in ids[side]]
        names = [name for side in SPLITS for name in ids[side]]
        captions = self._captions(ids["train"])
        class_names = {**self._class_names(concepts, captions), **TEST_CLASSES}
        templates = _templates(captions)
        table = pd.DataFrame(
            {
                "stimulus_id": names,
                "split": [side for side in SPLITS for _ in ids[side]],
                "concept": concepts,
                "image": self._images(names),
                "captions": [[text for text in captions.get(name, ()) if text not in templates] for name in names],
                "prompts": [
                    [f"an image of {class_names[concept]}."] if concept in class_names else [] for concept in concepts
                ],
            }
        )
        return table[list(STIMULUS_COLUMNS)]

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        """Image ids by side, in the order of the stimulus table."""
        there = [subject for subject in self.subjects() if all(path.is_file() for path in self._paths(subject))]
        if not there:
            raise InputError(
                f"studies.{self.name}: no file of {', '.join(self.subjects())} in {self.root}; expected "
                f"{', '.join(map(str, self._paths(self.subjects()[0])))}; run snakemake, which downloads them"
            )
        return self._ids_of(there[0])

    def _ids_of(self, subject: str) -> dict[str, list[str]]:
        """Image ids of a subject's labels by side, checked against the numbers of the dataset."""
        labels = self._labels(subject)
        found = {side: sorted(set(labels.loc[labels["split"] == side, "image_id"])) for side in SPLITS}
        for side in SPLITS:
            classes = Counter(name.partition("_")[0] for name in found[side])
            if len(classes) != CLASSES[side] or set(classes.values()) != {PER_CLASS[side]}:
                counts = sorted(set(classes.values()))
                raise self._wrong(
                    subject,
                    f"{len(found[side])} {side} pictures of {len(classes)} classes, {counts} of a class; expected "
                    f"{CLASSES[side]} classes with {PER_CLASS[side]} each",
                )
        shared = {name.partition("_")[0] for name in found["train"]} & set(TEST_CLASSES)
        other = {name.partition("_")[0] for name in found["test"]} - set(TEST_CLASSES)
        if shared or other:
            raise self._wrong(
                subject,
                f"test classes {', '.join(sorted(other)) or 'none'} are not test classes of the dataset, and "
                f"{', '.join(sorted(shared)) or 'none'} of the test classes are in training",
            )
        return found

    def _captions(self, training: Sequence[str]) -> dict[str, list[str]]:
        """Sentences by image id, of at least all training pictures."""
        if self.block.captions is None:
            return {}
        path, setting = Path(self.block.captions), f"studies.{self.name}.captions"
        found = read_captions(path, setting)
        lost = [name for name in training if not found.get(name)]
        if lost:
            raise InputError(
                f"{path}: no caption of {len(lost)} of {len(training)} training pictures, the first is {lost[0]} "
                f"(setting {setting}; found {len(found)} pictures)\n  expected a sentence for each picture; get the "
                "file again, or set captions to null"
            )
        return found

    def _class_names(self, concepts: Sequence[str], captions: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Names of training classes by WordNet id: of ``class_names``, else of the template among the captions."""
        if self.block.class_names is None:
            return {
                name.partition("_")[0]: match[1]
                for name, texts in captions.items()
                for text in texts
                if (match := TEMPLATE.fullmatch(text))
            }
        path, setting = Path(self.block.class_names), f"studies.{self.name}.class_names"
        found = read_class_names(path, setting)
        lost = sorted({concept for concept in concepts if concept not in found and concept not in TEST_CLASSES})
        if lost:
            raise InputError(
                f"{path}: no name of {len(lost)} training classes, the first is {lost[0]} (setting {setting})\n"
                "  expected a line such as n01518878, a tab, ostrich for each of the 150"
            )
        return found

    def _images(self, names: Sequence[str]) -> list[str]:
        """Path of each picture, or empty ones where the setting names no folder."""
        if self.block.pictures is None:
            return [""] * len(names)
        folder, setting = Path(self.block.pictures), f"studies.{self.name}.pictures"
        found = {path.stem: str(path) for path in sorted(folder.rglob("n*")) if path.suffix in ENDINGS}
        lost = [name for name in names if name not in found]
        if lost:
            raise InputError(
                f"{folder}: {len(lost)} of {len(names)} pictures are not there, the first is {lost[0]} (setting "
                f"{setting})\n  expected <folder>/**/<picture id> with {', '.join(ENDINGS)}; ask the authors for "
                "them, or set pictures to null: then ready_features or class prompts are used instead"
            )
        return [found[name] for name in names]

    # -------------------------------------------------------------------------------------------- rows

    def rows(self, subject: str) -> pd.DataFrame:
        """What each row of the signals is; imagery has no stimulus.

        Raises
        ------
        brain2clip.stage.InputError
            When the file has another layout, or the pictures are not as many as the dataset has.
        """
        labels = self._labels(subject)
        self._ids_of(subject)
        seen = labels["split"].isin(SPLITS)
        rows = labels[["session", "run"]].copy()
        # A number of a run that begins anew must not make one run of training, test and imagery.
        rows["run"] = labels["split"] + "-" + labels["run"]
        rows["stimulus"] = labels["image_id"].where(seen, "")
        rows["concept"] = rows["stimulus"].str.partition("_")[0]
        rows["split"] = labels["split"].where(seen, "")
        return rows[["stimulus", "concept", "split", "session", "run"]]

    def _read_labels(self, subject: str) -> pd.DataFrame:
        """``split`` (``train``, ``test``, ``imagery``), ``image_id``, ``session``, ``run`` of all rows of a subject."""
        import pandas as pd

        parts = []
        for path, bdata in zip(self._paths(subject), self._bdata(subject)):
            side = "" if self.block.source == "figshare" else "test" if "ImageNetTest" in path.name else "train"
            parts.append(read_labels(bdata, side))
        return pd.concat(parts, ignore_index=True)

    # ------------------------------------------------------------------------------------------ voxels

    def regions(self, subject: str) -> dict[str, NDArray[np.bool_]]:
        """Regions by name, as in the file without ``ROI_``."""
        return self._bdata(subject)[0].regions()

    def voxel_names(self, subject: str) -> list[str]:
        """Numbers of the voxels in the file, from 0."""
        return [str(number) for number in range(len(self._bdata(subject)[0].voxels))]

    def signals(self, subject: str, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] of some voxels."""
        import numpy as np

        return np.concatenate([bdata.signals(voxels) for bdata in self._bdata(subject)])

    def _open(self, subject: str) -> list[BData]:
        """The files of a subject; where there are two, they must have the same voxels."""
        import numpy as np

        from brain2clip.readers.bdata import BData

        for path in self._paths(subject):
            self.check_there(path)
        files = [BData(path) for path in self._paths(subject)]
        first = files[0]
        for other in files[1:]:
            same = len(other.voxels) == len(first.voxels) and all(
                np.array_equal(one.attribute(key)[one.voxels], first.attribute(key)[first.voxels], equal_nan=True)
                for one in (other,)
                for key in ("voxel_x", "voxel_y", "voxel_z")
                if key in first.keys
            )
            if not same:
                raise InputError(
                    f"{other.path}: {len(other.voxels)} voxels at other positions than the {len(first.voxels)} of "
                    f"{first.path}; expected the same voxels in both files of a subject"
                )
        return files

    def _wrong(self, subject: str, what: str) -> InputError:
        paths = ", ".join(map(str, self._paths(subject)))
        records = ", ".join(self.files(subject))
        return InputError(
            f"{paths}: {what}\n  this is not the published file; delete it and its record ({records}) and start "
            "snakemake again, which downloads it"
        )

    # ---------------------------------------------------------------------------------------- manifest

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """Paths of the source's files by subject; training before test."""
        found: dict[str, list[str]] = {}
        for path in self.entries:
            if match := _FILES[self.block.source].fullmatch(path):
                found.setdefault(f"{int(match[1]):02d}", []).append(path)
        complete = 1 if self.block.source == "figshare" else 2
        for subject, paths in found.items():
            if len(paths) != complete:
                raise InputError(
                    f"{self.block.manifest}: lists {', '.join(paths)} for subject {subject}; expected a training and a "
                    f"test file (setting studies.{self.name}.manifest)"
                )
            paths.sort(key=lambda path: "ImageNetTest" in path)
        return found

    def _paths(self, subject: str) -> list[Path]:
        labels.check(self.name, subject, self._listed)  # any of them: not all stages are told the wanted subjects
        return [self.root / path for path in self._listed[subject]]

    def subject_units(self, subject: str) -> list[str]:
        """Units of a subject's files."""
        return [manifests.unit_of(self.relative(path)) for path in self._paths(subject)]


# ------------------------------------------------------------------------------------------------ labels


def image_id(number: float) -> str | None:
    """Image id of a stimulus number, or None where it is none.

    1518878.010042 is picture 10042 of class n01518878: six decimals, so the fraction times 1e6 is a whole number up to
    the rounding of double precision (2^-29 * 1e6 = 0.002 for the largest class numbers).
    """
    if not 1e6 <= number < 1e8:  # NaN is not, either
        return None
    synset = int(number)
    picture = (number - synset) * 1e6
    if abs(picture - round(picture)) > 0.01 or not round(picture):
        return None
    return f"n{synset:08d}_{round(picture)}"


def read_labels(bdata: BData, side: str) -> pd.DataFrame:
    """``split``, ``image_id``, ``session``, ``run`` of each row of a file.

    Parameters
    ----------
    bdata : BData
        The file.
    side : str
        ``train`` or ``test`` for files of one side; empty: by ``DataType``.

    Raises
    ------
    brain2clip.stage.InputError
        When a key is absent, or a value is no image id or data type.
    """
    import numpy as np
    import pandas as pd

    n_rows = bdata.shape[0]
    if side:
        splits = [side] * n_rows
    else:
        types = bdata.labels("DataType")[:, 0]
        unknown = sorted(set(types) - set(DATA_TYPES))
        if unknown:
            raise InputError(f"{bdata.path}: DataType {unknown[0]:g}; expected {', '.join(map(str, DATA_TYPES))}")
        splits = [DATA_TYPES[int(one)] for one in types]
    key, ids, shown = _stimuli(bdata, [split in SPLITS for split in splits])
    bad = [row for row, (one, split) in enumerate(zip(ids, splits)) if one is None and split in SPLITS]
    if bad:
        raise InputError(
            f"{bdata.path}: {key} of {len(bad)} rows is not a stimulus, the first is {shown[bad[0]]} in row "
            f"{bad[0] + 1}; expected numbers such as 1518878.010042 in double precision, or names such as "
            "n01518878_10042"
        )
    found: dict[str, Any] = {"split": splits, "image_id": [one or "" for one in ids]}
    for name in ("session", "run"):
        own = next((known for known in bdata.keys if known.lower() == name), None)
        values = None if own is None else bdata.labels(own)[:, 0]
        if values is not None and not np.isfinite(values).all():
            raise InputError(
                f"{bdata.path}: {own} of {(~np.isfinite(values)).sum()} rows is not a number; expected numbers"
            )
        found[name] = NO_LABEL if values is None else [_whole(value) for value in values]
    return pd.DataFrame(found)


def _whole(value: float) -> str:
    """A number as text, all of its digits: numbers of sessions may be dates."""
    return str(int(value)) if value == int(value) else str(float(value))


def _stimuli(bdata: BData, needed: Sequence[bool]) -> tuple[str, list[str | None], list[str]]:
    """Key that names the stimuli, image id (or None) of each row, and what the file says.

    ``Label`` has several columns, one of which holds the number: the first that does in all rows that are needed.
    """
    if NAMED in bdata.keys:
        texts = bdata.texts(NAMED)
        stems = [text.partition(".")[0] for text in texts]
        return NAMED, [stem if _IMAGE_ID.fullmatch(stem) else None for stem in stems], texts
    keys = [name for name in NUMBERED if name in bdata.keys] or [NUMBERED[0]]
    tried = []
    for key in keys:
        for numbers in bdata.labels(key).T:
            tried.append((key, [image_id(number) for number in numbers], [repr(float(number)) for number in numbers]))
            if not any(one is None for one, wanted in zip(tried[-1][1], needed) if wanted):
                return tried[-1]
    return tried[0]


# ---------------------------------------------------------------------------------------------- sentences


def read_captions(path: Path, setting: str) -> dict[str, list[str]]:
    """Sentences by image id, from one of two formats.

    ``{"n01970164_14781": ["an image of Octopus.", "A dark red octopus …"], …}`` or JSON lines
    ``{"image_id": "n01518878_10042", "category_id": …, "captions": ["A brown …", …]}``.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent or of another format.
    """
    expected = "expected JSON {picture id: [sentence, …]}, or JSON lines with image_id and captions"
    user_files.existing(path, "file of captions", setting)
    text = user_files.text(path, f"(setting {setting}); {expected}")
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        found = _caption_lines(text)
    else:
        if isinstance(found, dict) and "image_id" in found:  # a file of one line
            found = _caption_lines(text)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: not captions (setting {setting}); {expected}")
    for name, sentences in found.items():
        good = isinstance(sentences, list) and sentences and all(isinstance(one, str) and one for one in sentences)
        if not good or not _IMAGE_ID.fullmatch(name):
            raise InputError(f"{path}: {name!r} has {str(sentences)[:80]!r} (setting {setting}); {expected}")
    return {name: [one.strip() for one in sentences] for name, sentences in found.items()}


def _caption_lines(text: str) -> dict[str, Any] | None:
    """Captions of JSON lines, or None where a line is something else."""
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {line["image_id"]: line["captions"] for line in lines}
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError):
        return None


def _templates(captions: Mapping[str, Sequence[str]]) -> set[str]:
    """Sentences that say the class and nothing of the picture: prompts, not captions."""
    return {text for texts in captions.values() for text in texts if TEMPLATE.fullmatch(text)}


def read_class_names(path: Path, setting: str) -> dict[str, str]:
    """Names by WordNet id: two columns separated by a tab.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, or a line is something else.
    """
    user_files.existing(path, "table of class names", setting)
    found = {}
    for number, line in enumerate(user_files.text(path, f"(setting {setting})").splitlines(), 1):
        if not line.strip():
            continue
        synset, _, name = (part.strip() for part in line.partition("\t"))
        if not re.fullmatch(r"n\d{8}", synset) or not name:
            raise InputError(
                f"{path}: line {number} is {line!r} (setting {setting}); expected n01518878, a tab, ostrich"
            )
        found[synset] = name
    return found
