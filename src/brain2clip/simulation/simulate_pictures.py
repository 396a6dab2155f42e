"""Stage ``simulate_pictures``: draw the pictures of a simulated study and compute the features that drive responses.

Studies of EEG and of fMRI with the same seed and counts have the same pictures and features.

Outputs ``stimuli`` (stimuli.tsv, the PNG files beside it), ``features`` (features.h5) and ``record`` (size and hash of
the table and of every picture; written last).
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brain2clip import artefact, settings, stage
from brain2clip.readers import contract, drawn_pictures, file_records
from brain2clip.simulation import world

if TYPE_CHECKING:
    import pandas as pd

SIZE = 64
"""Width and height of a picture, pixels."""
FOLDERS = {"train": "training", "test": "test"}
CAPTIONS = {
    "simulated": ("a photo of {a_name} {place}",),
    "simulated_fmri": ("a photo of {a_name} {place}", "{a_coloured} with {pattern} {place}", "{scene}, {a_name}"),
}
"""Captions of a picture by kind of study, of :data:`world.CAPTIONS`. Data of fMRI come with several."""
Study = Annotated[settings.SimulatedStudy | settings.SimulatedFmriStudy, Field(discriminator="kind")]


@dataclass(frozen=True)
class Picture:
    """A picture to draw.

    Attributes
    ----------
    split : str
        ``train`` or ``test``.
    number : int
        From 1 within the split.
    category : int
        Number of its concept within the split, from 1.
    shown : world.Exemplar
        What it shows.
    """

    split: str
    number: int
    category: int
    shown: world.Exemplar

    @property
    def path(self) -> Path:
        """Relative to the stimulus table, as in ``training/00001_striped_red_fish/striped_red_fish_01.png``."""
        concept = self.shown.concept.identifier
        folder = f"{self.category:05d}_{concept}"
        return Path(FOLDERS[self.split]) / folder / f"{concept}_{self.shown.index + 1:02d}.png"


def pictures(study: settings.SimulatedStudy | settings.SimulatedFmriStudy) -> Iterator[Picture]:
    """All pictures in the order of the stimulus table."""
    for category, concept in enumerate(world.training_concepts(study.training_concepts, study.seed)):
        for index in range(study.pictures_per_concept):
            number = category * study.pictures_per_concept + index + 1
            yield Picture("train", number, category + 1, world.exemplar(concept, index, study.seed))
    for category, concept in enumerate(world.test_concepts(study.test_concepts, study.seed)):
        yield Picture("test", category + 1, category + 1, world.exemplar(concept, 0, study.seed))


def run(job: stage.Job) -> None:
    """Draw all pictures, then write the features, the table and, last, the record."""
    import pandas as pd

    study = settings.parse(Study, job.settings["study"])
    table, record = job.output("stimuli"), job.output("record")
    for path in (table, record):
        path.unlink(missing_ok=True)
    aside = table.parent / ".pictures.part"
    for folder in (aside, *(table.parent / folder for folder in FOLDERS.values())):
        shutil.rmtree(folder, ignore_errors=True)

    rows, levels = [], []
    try:
        for picture in stage.progress(list(pictures(study)), "pictures"):
            pixels = world.draw(picture.shown, SIZE)
            path = aside / picture.path
            path.parent.mkdir(parents=True, exist_ok=True)
            png = encode(pixels)
            path.write_bytes(png)
            levels.append(world.features(picture.shown, pixels))
            rows.append(describe(picture, CAPTIONS[study.kind], hashlib.sha256(png).hexdigest()))
        for name in FOLDERS.values():
            (aside / name).rename(table.parent / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)

    frame = pd.DataFrame(rows)
    write_features(job, frame, levels)
    artefact.write_text(table, frame.to_csv(sep="\t", index=False, lineterminator="\n"))
    file_records.write(record, record.parents[1].name, [table, *(table.parent / path for path in frame["image"])])


def describe(picture: Picture, captions: Sequence[str], digest: str) -> dict[str, str]:
    """Row of the stimulus table; captions by their templates."""
    variants = [world.CAPTIONS.index(template) for template in captions]
    return {
        "stimulus_id": drawn_pictures.stimulus_id(picture.split, picture.number),
        "split": picture.split,
        "concept": picture.shown.concept.name,
        "image": picture.path.as_posix(),
        "caption": contract.SEPARATOR.join(world.caption(picture.shown, variant) for variant in variants),
        "sha256": digest,
        "prompts": contract.SEPARATOR.join(world.prompts(picture.shown.concept)),
    }


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of sRGB pixels, shape (height, width, 3)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_features(job: stage.Job, table: pd.DataFrame, levels: Sequence[Mapping[str, NDArray[np.floating]]]) -> None:
    """Write the features of all pictures, standardised over the training pictures.

    Datasets: ``stimulus_id [n]`` and for each level ``low``, ``mid``, ``semantic`` ``[n, n_features]`` (z-scores;
    0 where a feature never varies in training).
    """
    training = (table["split"] == "train").to_numpy()
    with artefact.create_h5(job.output("features"), job.provenance()) as file:
        file["stimulus_id"] = table["stimulus_id"].to_list()
        for level in levels[0]:
            raw = np.stack([features[level] for features in levels])
            mean, deviation = raw[training].mean(0), raw[training].std(0)
            varies = deviation > 1e-9
            file[level] = np.where(varies, (raw - mean) / np.where(varies, deviation, 1), 0)


if __name__ == "__main__":
    stage.main(run)
