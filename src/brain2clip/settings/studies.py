"""Datasets: one class for each kind of study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SerializeAsAny, Tag, field_validator, model_validator

from brain2clip.settings.base import (
    EXTERNAL,
    Block,
    EachOnce,
    Filled,
    Kind,
    Name,
    Seed,
    Text,
    from_outside,
    neutral,
    suggest,
    tag,
)
from brain2clip.settings.responses import Responses
from brain2clip.settings.voxels import Voxels

#: Settings that only the report reads.
REPORTED = frozenset({"licence", "citation"})


#: Of a version that is tried out: two subjects, so that one may be left out; concepts of each side of the split.
FEW_SUBJECTS, FEW_CONCEPTS = 2, 20

#: Labels of subjects, sessions, runs, tasks: at least one, each once.
Labels = Annotated[tuple[Name, ...], Field(min_length=1), EachOnce]
#: Values of a column or entity: at least one, each once.
Values = Annotated[tuple[Filled, ...], Field(min_length=1), EachOnce]


class Split(Block):
    """How training and test trials of a user's dataset are told apart; the other trials are training."""

    by: Literal["column", "run", "session", "task", "concepts"] = Field(
        description="column: a column of events.tsv; run, session, task: the BIDS entity; concepts: a list"
    )
    column: str | None = Field(None, description="name of the events.tsv column, for by: column")
    test: Values = Field(
        description="values that mean test: column values, entity labels ('02' or '01/02' for session/run), or concepts"
    )
    train: Values | None = Field(None, description="values that mean training (null: every value that is not test)")
    training: Literal["required", "optional"] = neutral(
        "required",
        description="optional: a subject may have test trials only; they are ranked by models of other subjects "
        "(protocol leave-one-subject-out, or an apply entry), and whitened or z-scored as in the training "
        "of that model",
    )
    concepts: Literal["unseen", "seen"] = neutral(
        "unseen",
        description="for a study with pictures. unseen: no concept of the test may occur in training (zero-shot), "
        "otherwise an error; seen: the test may show concepts or pictures of training, in other trials; "
        "tables, figures and summaries then say so and keep such numbers apart from zero-shot ones. "
        "Categories are always seen",
    )

    @model_validator(mode="after")
    def _column_named(self) -> Split:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("split.column goes with split.by: column, and only with it")
        both = [value for value in self.train or () if value in self.test]
        if both:
            raise ValueError(f"split: {both[0]!r} stands in train and in test; expected one side for each value")
        if self.by == "concepts" and self.concepts == "seen":
            raise ValueError(
                "split.concepts: seen contradicts split.by: concepts, which lists unseen ones; split by column, run, "
                "session or task"
            )
        return self


@dataclass(frozen=True)
class Extent:
    """How much was recorded, as far as the settings tell.

    Attributes
    ----------
    trials : (int, int)
        Training and test trials of a subject.
    pictures : (int, int)
        Training and test stimuli.
    rate : float
        Sampling rate of the recordings, Hz (fMRI: 0).
    inputs : int
        Recorded channels, or voxels of a region.
    concepts : (int, int), optional
        Training and test concepts; None: each stimulus is one.
    """

    trials: tuple[int, int]
    pictures: tuple[int, int]
    rate: float = 0.0
    inputs: int = 64
    concepts: tuple[int, int] | None = None


class StudyBase(Kind):
    """Settings that every study has, and what the plan must know of its kind."""

    family: ClassVar[str] = "studies"
    modality: ClassVar[Literal["eeg", "fmri"]]
    #: Whether the pipeline makes the recordings itself, so that their truth is known.
    simulated: ClassVar[bool] = False
    #: Whether its pictures may be passed on with a results page: always (drawn by the pipeline), where the user says so
    #: (``asked``), or never, as those of a published dataset whose licence forbids it.
    pass_on: ClassVar[Literal["always", "asked", "never"]] = "never"
    #: Settings that neither responses nor stimuli read. Steps from signal to response are passed beside the study, and
    #: who else takes part must not matter to a subject.
    unread: ClassVar[frozenset[str]] = (
        frozenset({"responses", "voxels", "ready_features", "ready_vectors", "subjects", "equal_pictures"})
        | {"first_concepts", "templates"}
        | REPORTED
    )
    #: Settings that only the stimuli read: responses are the same without pictures and sentences.
    of_stimuli: ClassVar[frozenset[str]] = frozenset()
    #: All settings that the stimuli read (None: whatever is not ``unread``).
    stimuli_read: ClassVar[frozenset[str] | None] = None

    kind: str
    equal_recordings: Literal["refuse", "allow"] = neutral(
        "refuse",
        description="two recordings (runs, sessions or subjects) that hold the same samples: an error, or a warning",
    )
    equal_pictures: Literal["refuse", "allow"] = Field(
        "refuse",
        description="refuse: no stimulus of the test may have the pixels of a training stimulus (or its ready "
        "features); allow: such pairs are counted in the log",
    )
    first_concepts: int | None = Field(
        None,
        ge=1,
        description="recorded studies: use only so many concepts of training and so many of the test, the first ones "
        "(null: all); for debug versions",
    )
    templates: Filled | None = Field(
        None,
        description="files of further pictures of the test concepts, such as more/{concept}/*.jpg, for the task "
        "template; copies of test pictures and files of the same name are left out, pictures with the "
        "same pixels are refused",
    )
    ready_vectors: dict[Name, Filled] = Field(
        default_factory=dict,
        description="vectors of the stimuli from other models, of any width, by name: HDF5 or npz file with "
        "stimulus_id [n] and embedding [n, d]; a readout uses one by ready: NAME",
    )

    @field_validator("templates")
    @classmethod
    def _of_each_concept(cls, templates: str | None) -> str | None:
        if templates is not None and "{concept}" not in templates:
            raise ValueError(
                f"expected {{concept}} in the pattern, for the name of each test concept; found {templates!r}"
            )
        return templates

    @property
    def part(self) -> str | None:
        """The setting, with its value, by which some pictures are never shown; None: all are, as far as known."""
        return None

    @property
    def has(self) -> frozenset[str] | None:
        """What its stimuli have, of ``pictures`` and ``captions``; None where only the data tell."""
        return None

    @property
    def n_stimuli(self) -> int | None:
        """Number of its stimuli; None where only the data tell."""
        return None

    @property
    def extent(self) -> Extent | None:
        """How much was recorded; None where only the data tell."""
        return None

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Settings of a version that is tried out in a minute, for the given labels of all subjects."""
        found: dict[str, Any] = {"first_concepts": FEW_CONCEPTS}
        if "subjects" in type(self).model_fields:
            own = getattr(self, "subjects")  # noqa: B009  # of a kind from outside perhaps a number
            found["subjects"] = min(own, FEW_SUBJECTS) if isinstance(own, int) else list(subjects[:FEW_SUBJECTS])
        return found

    def for_responses(self) -> dict[str, Any]:
        """What the responses of one subject depend on, as JSON; a study can be made of it."""
        return self._without(self.unread | self.of_stimuli)

    def for_stimuli(self) -> dict[str, Any]:
        """What the table of stimuli (and the pictures, where the pipeline makes them) depends on, as JSON."""
        found = self._without(self.unread | {"equal_recordings"})
        return found if self.stimuli_read is None else {key: found[key] for key in found if key in self.stimuli_read}

    def _without(self, names: frozenset[str]) -> dict[str, Any]:
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in names}


class EegStudyBase(StudyBase):
    """Settings that every study of EEG has."""

    modality: ClassVar[Literal["eeg", "fmri"]] = "eeg"

    responses: Responses = Field(default_factory=Responses, description="from recording to responses")


class SimulatedNoise(Block):
    """Strength of each disturbance of the simulated EEG at the sensors."""

    pink_uv: float = Field(8.0, ge=0, description="standard deviation of 1/f brain background per channel, microvolt")
    alpha_uv: float = Field(5.0, ge=0, description="mean amplitude of the occipital alpha rhythm, microvolt")
    sensor_uv: float = Field(1.0, ge=0, description="standard deviation of white sensor noise, microvolt")
    mains_uv: float = Field(2.0, ge=0, description="amplitude of the 50 Hz hum, microvolt")
    blink_uv: float = Field(120.0, ge=0, description="peak of a blink at the frontal electrodes, microvolt")
    blinks_per_minute: float = Field(12.0, ge=0, description="mean number of blinks per minute")
    drift_uv: float = Field(20.0, ge=0, description="standard deviation of slow electrode drift, microvolt")


class SimulatedStudy(EegStudyBase):
    """The embedded simulated experiment; its truth is known."""

    simulated: ClassVar[bool] = True
    pass_on: ClassVar[Literal["always", "asked", "never"]] = "always"
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset(
        {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"}
    )

    kind: Literal["simulated"] = "simulated"
    subjects: int = Field(4, ge=1, le=99, description="number of simulated subjects")
    sessions: int = Field(2, ge=1, le=9, description="recording sessions per subject")
    training_concepts: int = Field(100, ge=2, le=368, description="training concepts")
    pictures_per_concept: int = Field(10, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    training_repetitions: int = Field(2, ge=1, description="presentations of a training picture over all sessions")
    test_repetitions: int = Field(20, ge=1, description="presentations of a test picture over all sessions")
    surplus: float = Field(
        0.02, ge=0, le=0.5, description="share of pictures that are shown once more than intended in a session"
    )
    catch_trials: float = Field(0.02, ge=0, le=0.5, description="share of target (catch) trials")
    soa: float = Field(0.2, gt=0.05, le=60, description="time from one picture onset to the next within a sequence, s")
    sequence: int = Field(20, ge=1, description="pictures per sequence; a pause of 1.5 s follows")
    sfreq: float = Field(250.0, gt=0, description="sampling rate of the recording, Hz")
    snr: float = Field(
        1.0,
        gt=0,
        description="difficulty: factor on the amplitude of picture-driven sources (1: about 3 microvolt)",
    )
    noise: SimulatedNoise = Field(default_factory=SimulatedNoise, description="disturbances")
    seed: Seed = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")

    @property
    def has(self) -> frozenset[str] | None:
        """All."""
        return frozenset({"pictures", "captions"})

    @property
    def n_stimuli(self) -> int | None:
        """Of training and test."""
        return self.training_concepts * self.pictures_per_concept + self.test_concepts

    @property
    def extent(self) -> Extent | None:
        """As it is simulated, surplus presentations left out."""
        pictures = (self.training_concepts * self.pictures_per_concept, self.test_concepts)
        trials = (pictures[0] * self.training_repetitions, pictures[1] * self.test_repetitions)
        return Extent(trials, pictures, self.sfreq)

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Fewer of everything."""
        return {**_smaller_simulation(self), "sessions": 1}


class UserStudyBase(StudyBase):
    """Settings of a user's own data that say what was shown, whatever was recorded."""

    pass_on: ClassVar[Literal["always", "asked", "never"]] = "asked"

    split: Split = Field(description="what is training and what is test")
    stimuli: Filled | None = Field(
        None,
        description="table of the pictures (TSV with columns stimulus_id, concept, image[, caption][, split]); image "
        "paths are relative to the table; with a split column (train, test) the events need not tell the split",
    )
    categories: dict[Filled, Annotated[tuple[Filled, ...], EachOnce]] | None = Field(
        None,
        description="instead of pictures: each stimulus name with its text prompts, which are the candidates, e.g. "
        "{face: ['a photo of a face']}",
    )
    licence: Text = Field("see the dataset", description="licence of the dataset, for the report")
    citation: Text = Field("see the dataset", description="how to cite the dataset, for the report")

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures of the table, whose captions only the table tells; categories have neither."""
        return frozenset({"pictures", "captions"} if self.categories is None else ())

    def for_responses(self) -> dict[str, Any]:
        """As for every study; of categories the names alone, because responses do not read their texts."""
        found = super().for_responses()
        if self.categories is not None:
            found["categories"] = {name: [] for name in self.categories}
        return found

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.stimuli is None) == (self.categories is None):
            raise ValueError(
                "give either stimuli (a table of pictures) or categories (text prompts), and only one of them"
            )
        return self


class BidsEegStudy(UserStudyBase, EegStudyBase):
    """Any BIDS EEG dataset on disk."""

    kind: Literal["bids_eeg"] = "bids_eeg"
    root: Filled = Field(description="folder of the BIDS dataset, relative to the working directory or absolute")
    subjects: Labels | Literal["all"] = Field("all", description="BIDS subject labels without 'sub-'")
    tasks: Labels = Field(description="BIDS task labels to read")
    stimulus: Filled = Field(
        description="what names the stimulus of an event: a column of events.tsv, or a template with columns and the "
        "entities subject, session, task, run in braces, e.g. '{task}-{tot_img_number}'"
    )
    keep: dict[Filled, Values] = neutral(
        {},
        description="events.tsv columns and the values that make an event a trial, e.g. {trial_type: [image]}",
    )
    entities: dict[str, str | None] = neutral(
        {},
        description="further BIDS entities (acq, desc, ses, run, space of electrodes ...) with the label of the files "
        "to read, if there are several, e.g. {acq: clean}; null: the files without this entity",
    )
    extension: Literal[".vhdr", ".edf", ".bdf", ".set", ".fif"] | None = neutral(
        None, description="format to read if a recording exists in several (null: it exists in one)"
    )

    @field_validator("entities")
    @classmethod
    def _entities_of_files(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        own = {"sub": "subjects", "task": "tasks", "split": "nothing: all parts of a recording are read"}
        for key in value:
            if key in own:
                raise ValueError(f"entities: {key} is no entity to choose by; its setting is {own[key]}")
            if not (key.isascii() and key.isalpha()):
                raise ValueError(f"entities: {key!r} is no BIDS entity; expected its short name, as acq or desc")
        return value


class ThingsEeg2Study(EegStudyBase):
    """THINGS-EEG2 (Gifford et al. 2022) from its BIDS version, NEMAR nm000232, downloaded file by file."""

    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({"kind", "manifest", "images"})

    renamed: ClassVar[dict[str, str]] = {"signal": "source"}

    kind: Literal["things_eeg2"] = "things_eeg2"
    subjects: Labels | Literal["all"] = Field("all", description="labels 01 to 10")
    sessions: Labels | Literal["all"] = Field("all", description="recording sessions, labels 01 to 04")
    runs: Labels | Literal["all"] = Field(
        "all", description="training runs of each session, labels 01 to 05; the test run is always read"
    )
    source: Literal["raw", "preprocessed"] = Field(
        "raw",
        description="raw: the recordings (6 GB per subject); preprocessed: the dataset authors' own epochs (about "
        "1 GB per subject: 17 channels, 100 Hz, already whitened, by them also on test trials)",
    )
    manifest: Filled = Field(
        "workflow/manifests/things-eeg2.csv", description="what to download: path, size, hash, url"
    )
    images: Filled = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="number, split, folder, file name of each picture; the unpacked archives are checked against it",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures from the dataset's archives."""
        return frozenset({"pictures"})

    @property
    def part(self) -> str | None:
        """A run shows a tenth of the training pictures, a session half of them."""
        if self.runs != "all":
            return f"runs: {list(self.runs)}"
        return f"sessions: {list(self.sessions)}" if self.sessions != "all" and len(self.sessions) == 1 else None

    @property
    def extent(self) -> Extent | None:
        """16,540 pictures four times and 200 pictures eighty times over four sessions of five training runs."""
        sessions = 4 if self.sessions == "all" else len(self.sessions)
        runs = 5 if self.runs == "all" else len(self.runs)
        pictures = (16540 * min(2, sessions) * runs // 10, 200)
        return Extent((3308 * sessions * runs, 4000 * sessions), pictures, 1000.0, 63, (1654, 200))

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """One run of one session."""
        sessions = ["01"] if self.sessions == "all" else list(self.sessions[:1])
        runs = ["01"] if self.runs == "all" else list(self.runs[:1])
        return {**super().smaller(subjects), "sessions": sessions, "runs": runs}


class ThingsEeg1Study(EegStudyBase):
    """THINGS-EEG1 (Grootswagers et al. 2022) from OpenNeuro ds003825, downloaded file by file."""

    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({"kind", "test", "pictures", "manifest", "test_concepts"})

    kind: Literal["things_eeg1"] = "things_eeg1"
    subjects: Labels | Literal["all"] = Field(
        "all",
        description="labels 01 to 50; all: without the four that the authors exclude (01, 06, 18, 23). 49 and 50 have "
        "caps of 128 channels, the others of 63: across subjects name responses.channels that all have",
    )
    test: Literal["concepts", "block"] = Field(
        "concepts",
        description="test trials. concepts: pictures of the 200 test concepts of THINGS-EEG2 among the 22,248 main "
        "trials; block: the test block (200 pictures, 12 times each). Training leaves out all concepts of the test",
    )
    targets: Literal["keep", "drop"] = Field(
        "drop",
        description="whether to keep pictures during which the fixation point changed, which asked for a key press",
    )
    pictures: Filled | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "text prompts of the concepts are the candidates",
    )
    manifest: Filled = Field(
        "workflow/manifests/things-eeg1.csv", description="what to download: path, size, hash, url"
    )
    test_concepts: Filled = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="table of the 1854 concepts (columns split, concept_folder); those of split test are the test "
        "concepts",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures, where their folder is given."""
        return frozenset({"pictures"} if self.pictures else ())

    @property
    def extent(self) -> Extent | None:
        """12 pictures of each of 1,854 concepts once, and 200 pictures twelve times."""
        if self.test == "block":
            return Extent((22248 - 2400, 2400), (22248 - 2400, 200), 1000.0, 63, (1654, 200))
        return Extent((22248 - 2400, 2400), (22248 - 2400, 2400), 1000.0, 63, (1654, 200))

    def for_responses(self) -> dict[str, Any]:
        """As for every study; of the folder of pictures only that there is one, which decides what a stimulus is."""
        found = super().for_responses()
        return {**found, "pictures": found["pictures"] and "given"}


class VoxelStudyBase(StudyBase):
    """Settings that every study of fMRI has."""

    modality: ClassVar[Literal["eeg", "fmri"]] = "fmri"

    voxels: Voxels = Field(default_factory=Voxels, description="from voxel signals to responses")
    ready_features: dict[Name, Filled] = Field(
        default_factory=dict,
        description="embeddings in place of pictures that you do not have, by tower: HDF5 or npz file with "
        "stimulus_id [n] and embedding [n, d]; d is that of the tower, whose text side is used as it is",
    )


class SimulatedFmriStudy(VoxelStudyBase):
    """Simulated fMRI of the same world as the simulated EEG; its truth is known."""

    simulated: ClassVar[bool] = True
    pass_on: ClassVar[Literal["always", "asked", "never"]] = "always"
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset(
        {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"}
    )

    kind: Literal["simulated_fmri"] = "simulated_fmri"
    subjects: int = Field(2, ge=1, le=99, description="number of simulated subjects")
    training_concepts: int = Field(100, ge=2, le=368, description="training concepts")
    pictures_per_concept: int = Field(8, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    training_repetitions: int = Field(1, ge=1, description="presentations of a training picture")
    test_repetitions: int = Field(35, ge=1, description="presentations of a test picture")
    run_trials: int = Field(50, ge=2, description="trials of a run")
    voxels_per_roi: int = Field(
        60, ge=4, description="mean number of voxels of a region; regions and subjects differ from it"
    )
    snr: float = Field(
        0.25,
        gt=0,
        description="difficulty: deviation of the picture-driven part over that of the noise of a trial (0.25: some 5 "
        "percent of a trial's variance)",
    )
    noise_correlation: float = Field(0.3, ge=0, lt=1, description="part of the noise variance that neighbours share")
    drift: float = Field(0.5, ge=0, description="deviation of slow changes over a run, in units of the noise")
    seed: Seed = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")

    @property
    def has(self) -> frozenset[str] | None:
        """All."""
        return frozenset({"pictures", "captions"})

    @property
    def n_stimuli(self) -> int | None:
        """Of training and test."""
        return self.training_concepts * self.pictures_per_concept + self.test_concepts

    @property
    def extent(self) -> Extent | None:
        """As it is simulated; of all seven regions."""
        pictures = (self.training_concepts * self.pictures_per_concept, self.test_concepts)
        trials = (pictures[0] * self.training_repetitions, pictures[1] * self.test_repetitions)
        return Extent(trials, pictures, inputs=7 * self.voxels_per_roi)

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Fewer of everything."""
        return _smaller_simulation(self)


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


class VoxelTableStudy(UserStudyBase, VoxelStudyBase):
    """Any voxel data on disk: a file of voxel signals and a table of its rows per subject."""

    kind: Literal["voxel_table"] = "voxel_table"
    signals: Filled = Field(
        description="file of voxel signals, {subject} stands for the label: .nii or .nii.gz (x, y, z, rows), .npz "
        "(array 'data' [rows, voxels]), .npy, or .h5 (dataset 'data'; BData files by their own layout)"
    )
    table: Filled = Field(
        description="table of the rows of the signals with a header, tab, comma or space separated; {subject} stands "
        "for the label"
    )
    columns: Values | None = neutral(None, description="names of the table's columns where it has no header")
    subjects: Labels = Field(description="subject labels")
    mask: Filled | None = neutral(None, description="NIfTI mask of the voxels to read, {subject} stands for the label")
    rois: dict[Filled, Filled] = neutral(
        {},
        description="regions by name: NIfTI mask, or the name of a mask [voxels] in an .npz or .h5 file of signals",
    )
    space: Literal["affine", "grid"] = neutral(
        "affine",
        description="how NIfTI masks and regions are matched with the voxels of the signals. affine: by their "
        "position in space, from the headers (another order of the axes is corrected, another grid "
        "refused); grid: by the shape alone, voxel by voxel",
    )
    stimulus: Filled = Field(description="column that names the stimulus of a row")
    rest: Annotated[tuple[Filled, ...], EachOnce] = neutral(
        (), description="values of that column that mean no stimulus, e.g. [rest]"
    )
    run: Filled | None = neutral(None, description="column that names the run of a row (null: one run)")
    session: Filled | None = neutral(
        None,
        description="column that names the session of a row, needed if each session numbers its runs from the start "
        "(null: one session)",
    )
    split: Split = Field(
        description="what is training and what is test (by: column, run, session or concepts; a run may be named "
        "with its session, as in 01/2); {subject} in its values stands for the label, so that runs of one person can "
        "be folds, each a subject named after the run it leaves out"
    )

    @model_validator(mode="after")
    def _split_of_rows(self) -> Self:
        by = self.split.by
        if by == "task":
            raise ValueError("split.by: task is of recordings; a voxel table has column, run, session and concepts")
        if by in ("run", "session") and getattr(self, by) is None:
            raise ValueError(f"split.by: {by} needs the setting {by}, the column that names the {by} of a row")
        named = {"stimulus": self.stimulus, "run": self.run, "session": self.session, "split.column": self.split.column}
        for key, column in named.items():
            if self.columns is not None and column is not None and column not in self.columns:
                raise ValueError(f"{key}: {column!r} is none of columns{suggest(column, self.columns)}")
        return self


def _smaller_simulation(study: Any) -> dict[str, Any]:
    """Numbers of a simulated study, none larger than it has."""
    few = {
        **{"subjects": FEW_SUBJECTS, "training_concepts": FEW_CONCEPTS, "pictures_per_concept": 4},
        **{"test_concepts": FEW_CONCEPTS, "training_repetitions": 2, "test_repetitions": 8},
    }
    return {name: min(count, getattr(study, name)) for name, count in few.items()}


Study = Annotated[
    Annotated[SimulatedStudy, Tag("simulated")]
    | Annotated[BidsEegStudy, Tag("bids_eeg")]
    | Annotated[ThingsEeg2Study, Tag("things_eeg2")]
    | Annotated[ThingsEeg1Study, Tag("things_eeg1")]
    | Annotated[SimulatedFmriStudy, Tag("simulated_fmri")]
    | Annotated[GodStudy, Tag("god")]
    | Annotated[ThingsFmriStudy, Tag("things_fmri")]
    | Annotated[VoxelTableStudy, Tag("voxel_table")]
    | Annotated[SerializeAsAny[StudyBase], from_outside(StudyBase), Tag(EXTERNAL)],
    Discriminator(tag("studies")),
]
