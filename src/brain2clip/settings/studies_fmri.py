"""Published datasets of fMRI."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from brain2clip.settings.base import Filled
from brain2clip.settings.study_base import (
    Extent,
    Labels,
    VoxelStudyBase,
)


class GodStudy(VoxelStudyBase):
    """Generic Object Decoding (Horikawa and Kamitani 2017), preprocessed, downloaded file by file."""

    of_stimuli: ClassVar[frozenset[str]] = frozenset({"captions", "pictures", "class_names"})

    kind: Literal["god"] = "god"
    subjects: Labels | Literal["all"] = Field(
        "all", description="source figshare: labels 01 to 05; source fmriprep: labels 01 to 03"
    )
    source: Literal["figshare", "fmriprep"] = Field(
        "figshare",
        description="figshare: Subject1.h5 and so on of article 7387130 (5 subjects, one training and 35 test trials "
        "of a picture); fmriprep: the newer files of three subjects (5 training and 24 test trials)",
    )
    captions: Filled | None = Field(
        None,
        description="sentences of the training pictures, from their authors: JSON (picture id to list of sentences) "
        "or JSON lines; null: class prompts only",
    )
    pictures: Filled | None = Field(
        None,
        description="folder of the pictures, which are on request, <folder>/**/<picture id>.<JPEG or jpg or png>; "
        "null: ready_features or class prompts only",
    )
    class_names: Filled | None = Field(
        None,
        description="table of WordNet ids and names (two columns, tab separated: n01443537, goldfish) of the training "
        "classes, for their prompts; those of the 50 test classes are known",
    )
    manifest: Filled = Field("workflow/manifests/god.csv", description="what to download: path, size, hash, url")

    @property
    def has(self) -> frozenset[str] | None:
        """What is given."""
        given = {"pictures": self.pictures, "captions": self.captions}
        return frozenset(name for name, path in given.items() if path)

    @property
    def extent(self) -> Extent | None:
        """1,200 training and 50 test pictures; some 4,500 voxels of visual cortex."""
        training, test = (1, 35) if self.source == "figshare" else (5, 24)
        return Extent((1200 * training, 50 * test), (1200, 50), inputs=4500, concepts=(150, 50))


class ThingsFmriStudy(VoxelStudyBase):
    """THINGS-fMRI (Hebart et al. 2023): single-trial betas, 720 x 12 training and 100 test pictures."""

    of_stimuli: ClassVar[frozenset[str]] = frozenset({"pictures"})

    kind: Literal["things_fmri"] = "things_fmri"
    root: Filled = Field(description="folder of the unpacked single-trial betas (sub-01_ResponseData.h5 and so on)")
    subjects: Labels | Literal["all"] = Field("all", description="labels 01 to 03")
    pictures: Filled | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "ready_features or text prompts of the concepts",
    )
    keep_test_concepts: bool = Field(
        False,
        description="the 100 test pictures show concepts of the training pictures. false: training trials of those "
        "concepts are left out, so that retrieval is zero-shot; true: all are kept, and reports say so",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures, where their folder is given."""
        return frozenset({"pictures"} if self.pictures else ())

    @property
    def extent(self) -> Extent | None:
        """720 concepts with twelve pictures each once, and 100 pictures twelve times; some 6,000 voxels of a region."""
        training = 8640 if self.keep_test_concepts else 7440
        return Extent((training, 1200), (training, 100), inputs=6000, concepts=(training // 12, 100))
