"""Published datasets of fMRI."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from brain2clip.settings.base import EachOnce, Filled
from brain2clip.settings.study_base import (
    Extent,
    Labels,
    StudyBase,
    VoxelStudyBase,
)

#: Where the terms of the Natural Scenes Dataset are, and the form that goes with them.
NSD_TERMS = "https://cvnlab.slite.page/p/IB6BSeW_7o (and the form https://forms.gle/xue2bCdM9LaFNMeb7)"
#: Largest number of sessions of a subject; number of sessions of the test of 982 pictures.
NSD_SESSIONS, NSD_EARLY = 40, 37
#: Sessions of each subject.
NSD_RECORDED = {"01": 40, "02": 40, "03": 32, "04": 30, "05": 40, "06": 32, "07": 40, "08": 30}
#: Sessions of CSI4 of BOLD5000, and of its other subjects.
BOLD5000_RECORDED = 9, 15


class GodStudy(VoxelStudyBase):
    """Generic Object Decoding (Horikawa and Kamitani 2017), preprocessed, downloaded file by file."""

    answered: ClassVar[bool] = True
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

    answered: ClassVar[bool] = True
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


def _as_text(value: Any) -> Any:
    """YAML reads the name of a test set as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _accepted(value: Any) -> Any:
    """Refuse every value except true; on a command line it is a string."""
    if value is not True and value not in ("true", "True"):
        found = str(value).lower() if value is None or isinstance(value, bool) else repr(value)
        raise ValueError(
            f"found {found}; expected true, which says that you have accepted the terms of the "
            f"Natural Scenes Dataset: {NSD_TERMS}. They allow research and education only, and no part of the "
            "data may be passed on; nothing is fetched or read before it is set"
        )
    return True


def _not_said() -> Any:
    """The terms are not accepted by default."""
    return False


class NsdStudy(VoxelStudyBase):
    """Natural Scenes Dataset (Allen et al. 2022): single-trial betas of 8 people, pictures of COCO."""

    answered: ClassVar[bool] = True
    # The pictures depend on the subjects: each saw 9,000 pictures of their own.
    unread: ClassVar[frozenset[str]] = StudyBase.unread - {"subjects"}
    of_stimuli: ClassVar[frozenset[str]] = frozenset({"subjects", "captions", "pictures"})
    #: Settings that decide which pictures are unpacked.
    of_pictures: ClassVar[tuple[str, ...]] = (
        *("kind", "accept_terms", "root", "manifest", "subjects", "sessions", "test", "pictures"),
    )
    # Betas are not among them: with other voxels of the same trials no feature is made again.
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({*of_pictures, "captions"})

    kind: Literal["nsd"] = "nsd"
    accept_terms: Annotated[Literal[True], BeforeValidator(_accepted)] = Field(
        default_factory=_not_said,
        validate_default=True,
        description=f"true: you have read and accepted the terms of the dataset, {NSD_TERMS}; nothing is fetched or "
        "read without it",
    )
    root: Filled | None = Field(
        None,
        description="folder with a copy of the bucket natural-scenes-dataset in the same layout (nsddata, "
        "nsddata_betas, nsddata_stimuli); null: the files of manifest are downloaded",
    )
    manifest: Filled | None = Field(
        None,
        description="what to download, made by python -m brain2clip.readers.nsd_files from a listing of the bucket; no "
        "hashes are published, so only sizes are checked; null: root is read",
    )
    subjects: Labels | Literal["all"] = Field("all", description="labels 01 to 08; those with 40 sessions: 01 02 05 07")
    sessions: (
        Annotated[int, Field(ge=1, le=NSD_SESSIONS)]
        | Annotated[tuple[Annotated[int, Field(ge=1, le=NSD_SESSIONS)], ...], Field(min_length=1), EachOnce]
        | Literal["all"]
    ) = Field(
        "all",
        description="all (40, 40, 32, 30, 40, 32, 40, 30 for subjects 01 to 08), the first n, or a list of numbers",
    )
    test: Annotated[Literal["1000", "982", "515"], BeforeValidator(_as_text)] = Field(
        "1000",
        description="which of the 1,000 pictures that all subjects share are the test. 1000: all that were shown in "
        "these sessions (MindEye2); 982: all that were shown in sessions 1 to 37, later sessions are left out "
        "(Brain-Diffuser, MindEye1); 515: those that every subject saw three times in the first 30 sessions, the other "
        "shared pictures are left out",
    )
    betas: Literal["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"] = Field(
        "betas_fithrf_GLMdenoise_RR", description="version 1, 2 or 3 of the single-trial betas, in func1pt8mm"
    )
    format: Literal["hdf5", "nifti"] = Field(
        "hdf5",
        description="format of the files of betas; both hold the same numbers. hdf5: only the needed voxels are read, "
        "which is fast; nifti: whole sessions are unpacked, and the voxels of mask stay in memory",
    )
    mask: Filled = Field("nsdgeneral", description="file of roi/ whose values above 0 are the voxels that are read")
    regions: Annotated[tuple[Filled, ...], EachOnce] = Field(
        ("prf-visualrois", "streams", "floc-faces", "floc-words", "floc-places", "floc-bodies"),
        description="files of roi/ that name regions within the mask: prf-visualrois (all labels), prf-visualrois-1 "
        "(one label), V1v (the name of a label)",
    )
    pictures: bool = Field(
        True,
        description="true: nsd_stimuli.hdf5 (39.6 GB) is in root, or is downloaded; false: ready_features or captions "
        "are used instead of pictures",
    )
    captions: Filled | None = Field(
        None,
        description="folder of COCO's captions_train2017.json and captions_val2017.json, or "
        "COCO_73k_annots_curated.npy; they describe the whole picture of COCO, but only a square of it was shown",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """What is given."""
        given = {"pictures": self.pictures, "captions": self.captions}
        return frozenset(name for name, there in given.items() if there)

    @property
    def n_stimuli(self) -> int | None:
        """Pictures of all subjects together: each subject has other training pictures."""
        training, test = self.extent.pictures
        return training * (8 if self.subjects == "all" else len(self.subjects)) + test

    @property
    def extent(self) -> Extent:
        """For a subject with 40 sessions: 30,000 trials of 10,000 pictures, a tenth of them shared; 15,000 voxels."""
        most = NSD_EARLY if self.test == "982" else NSD_SESSIONS
        count = {"all": most}.get(str(self.sessions)) or (
            self.sessions if isinstance(self.sessions, int) else len(self.sessions)
        )
        trials, seen = (
            750 * count,
            {NSD_SESSIONS: 1.0, NSD_EARLY: 0.984}.get(count, min(1.0, 2.4 * count / NSD_SESSIONS)),
        )
        test = (515, 1545) if self.test == "515" else (round(1000 * seen), round(0.1 * trials))
        return Extent((trials - round(0.1 * trials), test[1]), (round(9000 * seen), test[0]), inputs=15000)

    @property
    def recorded_sessions(self) -> int:
        """Smallest number of sessions of the subjects that are used."""
        if self.sessions != "all":
            return self.sessions if isinstance(self.sessions, int) else len(self.sessions)
        known = [NSD_RECORDED.get(one, NSD_SESSIONS) for one in self.subjects]
        fewest = min(NSD_RECORDED.values() if self.subjects == "all" else known)
        return min(fewest, NSD_EARLY) if self.test == "982" else fewest

    def for_pictures(self) -> dict[str, Any]:
        """What the unpacked pictures depend on, as JSON; a study can be made of it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name in self.of_pictures}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.root is None) == (self.manifest is None):
            raise ValueError(
                "give either root (a copy of the bucket on disk) or manifest (what to download), and only one of them"
            )
        return self

    @model_validator(mode="after")
    def _early_sessions(self) -> Self:
        last = (
            self.sessions
            if isinstance(self.sessions, int)
            else max(() if self.sessions == "all" else self.sessions, default=0)
        )
        if self.test == "982" and last > NSD_EARLY:
            raise ValueError(
                f"test: 982 uses sessions 1 to {NSD_EARLY}, but sessions names {last}; expected sessions: all, or at "
                f"most {NSD_EARLY}, or test: 1000"
            )
        return self


class Bold5000Study(VoxelStudyBase):
    """BOLD5000 (Chang et al. 2019), betas of Release 2.0: 4 people, 4,916 pictures, 113 of them repeated."""

    answered: ClassVar[bool] = True
    of_stimuli: ClassVar[frozenset[str]] = frozenset({"pictures", "captions", "class_names"})
    stimuli_read: ClassVar[frozenset[str] | None] = of_stimuli | {"kind", "root", "trials"}

    kind: Literal["bold5000"] = "bold5000"
    root: Filled = Field(
        description="folder with the unpacked betas of Release 2.0 (figshare article 14456124), at any depth: for "
        "source arrays py/CSI1_GLMbetas-TYPED-…_allses_LHLOC.npy and so on; for source volumes "
        "CSI1_GLMbetas-TYPED-…_ses-01.nii.gz and the masks sub-CSI1_mask-LHLOC.nii.gz of ds001499"
    )
    subjects: Labels | Literal["all"] = Field("all", description="labels CSI1 to CSI4")
    source: Literal["arrays", "volumes"] = Field(
        "arrays",
        description="arrays: voxels of ten regions, all sessions in one file (betas TYPED only); volumes: a "
        "file for each session",
    )
    space: Literal["affine", "grid"] = Field(
        "affine",
        description="source volumes: how masks are matched with the voxels of the betas. affine: by their position in "
        "space; grid: only by their shape (volumes of the release are reported to be shifted against the anatomy)",
    )
    betas: Literal["TYPEA-ASSUMEHRF", "TYPEB-FITHRF", "TYPEC-FITHRF-GLMDENOISE", "TYPED-FITHRF-GLMDENOISE-RR"] = Field(
        "TYPED-FITHRF-GLMDENOISE-RR", description="version of the betas, as in the names of the files"
    )
    pictures: Filled | None = Field(
        None,
        description="folder of the pictures (Presented_Stimuli, with Scene, COCO and ImageNet), which may not be "
        "passed on; null: ready_features or texts",
    )
    captions: Filled | None = Field(
        None, description="folder of COCO's captions_*.json, for the pictures of COCO; null: none"
    )
    class_names: Filled | None = Field(
        None,
        description="table of WordNet ids and names (two columns, tab separated: n01443537, goldfish), or "
        "imagenet_final_labels.txt, for prompts of the pictures of ImageNet; names of scenes are taken from their file "
        "names",
    )
    trials: Filled = Field(
        "workflow/manifests/bold5000-trials.csv.gz",
        description="picture of each trial, from the dataset's events tables",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """What is given."""
        given = {"pictures": self.pictures, "captions": self.captions}
        return frozenset(name for name, path in given.items() if path)

    @property
    def recorded_sessions(self) -> int:
        """Nine for CSI4, which has the fewest; fifteen for the others."""
        return BOLD5000_RECORDED[0] if self.subjects == "all" or "CSI4" in self.subjects else BOLD5000_RECORDED[1]

    @property
    def extent(self) -> Extent | None:
        """As for CSI1 to CSI3: 4,803 pictures once, 113 about four times; about 1,700 voxels of all regions."""
        return Extent((4803, 451), (4803, 113), inputs=1700)

    @model_validator(mode="after")
    def _of_arrays(self) -> Self:
        if self.source == "arrays" and self.betas != "TYPED-FITHRF-GLMDENOISE-RR":
            raise ValueError(
                f"betas: found {self.betas}; source: arrays has only TYPED-FITHRF-GLMDENOISE-RR; set betas to it, "
                "or take source: volumes"
            )
        if self.source == "arrays" and self.space != "affine":
            raise ValueError(
                f"space: found {self.space}; source: arrays has no masks to be matched; leave space out, or take "
                "source: volumes"
            )
        return self
