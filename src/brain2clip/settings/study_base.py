"""What the settings of every kind of study have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from brain2clip.settings.base import Block, EachOnce, Filled, Kind, Name, Text, neutral
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
    """How the trials of a user's dataset are divided into training and test; trials that are not test are training."""

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
        "otherwise an error; seen: the test may show concepts or pictures of training, in other trials; tables, "
        "figures and summaries then say so and keep such results apart from zero-shot results. Categories are always "
        "seen",
    )

    @model_validator(mode="after")
    def _column_named(self) -> Split:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("split.column is needed for split.by: column, and allowed only there")
        both = [value for value in self.train or () if value in self.test]
        if both:
            raise ValueError(f"split: {both[0]!r} is listed in train and in test; expected each value in one of them")
        if self.by == "concepts" and self.concepts == "seen":
            raise ValueError(
                "split.concepts: seen contradicts split.by: concepts, which lists unseen ones; split by column, run, "
                "session or task"
            )
        return self


@dataclass(frozen=True)
class Extent:
    """Amount of recorded data, as far as settings tell.

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
        description="if two recordings (runs, sessions or subjects) hold the same samples: stop with an error, or "
        "only warn",
    )
    equal_pictures: Literal["refuse", "allow"] = Field(
        "refuse",
        description="refuse: no stimulus of the test may have the pixels of a training stimulus (or its ready "
        "features); allow: such pairs are counted in the log",
    )
    first_concepts: int | None = Field(
        None,
        ge=1,
        description="recorded studies: use only this many concepts of training and this many of the test, the first "
        "ones (null: all); for debug versions",
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
    def technique(self) -> str:
        """What was recorded: ``eeg``, ``meg`` or ``fmri``; the first two have the modality ``eeg``."""
        return self.modality

    @property
    def part(self) -> str | None:
        """The setting, with its value, that leaves out some pictures; None: all are shown, as far as known."""
        return None

    @property
    def test_rows_used(self) -> str | None:
        """What responses owe to test trials other than the trial itself, a sentence; None: nothing."""
        return None

    @property
    def has(self) -> frozenset[str] | None:
        """Which of ``pictures`` and ``captions`` its stimuli have; None if only the data tell."""
        return None

    @property
    def n_stimuli(self) -> int | None:
        """Number of its stimuli; None if only the data tell."""
        return None

    @property
    def recorded_sessions(self) -> int | None:
        """Number of named sessions with training trials that every subject has, 0 for none; None: not known yet."""
        return None

    @property
    def extent(self) -> Extent | None:
        """How much was recorded; None if only the data tell."""
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
    """Settings that every study of EEG or MEG has."""

    modality: ClassVar[Literal["eeg", "fmri"]] = "eeg"

    responses: Responses = Field(default_factory=Responses, description="from recording to responses")

    @model_validator(mode="after")
    def _steps_of_technique(self) -> Self:
        """Refuse steps of EEG in a study of MEG, and the reverse."""
        found = self.responses
        if self.technique == "meg":
            if found.reference != "recorded":
                raise ValueError(
                    f"responses.reference: found {found.reference}, which is for EEG; sensors of MEG have no "
                    "reference: leave it out"
                )
            if found.reject_uv is not None:
                raise ValueError(
                    "responses.reject_uv is for EEG (microvolt); for MEG set reject_ft (magnetometers, fT) or "
                    "reject_ft_cm (planar gradiometers, fT/cm)"
                )
        else:
            for name in ("reject_ft", "reject_ft_cm", "head_movement_mm"):
                if getattr(found, name) is not None:
                    raise ValueError(f"responses.{name} is for MEG, but this is a study of EEG; leave it out")
        return self


class UserStudyBase(StudyBase):
    """Settings of a user's own data that say what was shown, whatever was recorded."""

    pass_on: ClassVar[Literal["always", "asked", "never"]] = "asked"

    split: Split = Field(description="what is training and what is test")
    stimuli: Filled | None = Field(
        None,
        description="table of the pictures (TSV with columns stimulus_id, concept, image[, caption][, split]); image "
        "paths are relative to the table; with a split column (train, test) the split is not read from the events",
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


class VoxelStudyBase(StudyBase):
    """Settings that every study of fMRI has."""

    modality: ClassVar[Literal["eeg", "fmri"]] = "fmri"
    #: Whether a row of the signals is the response to its own stimulus, as betas of single trials are. Then a delay
    #: would give every trial the response to a later one.
    answered: ClassVar[bool] = False

    voxels: Voxels = Field(default_factory=Voxels, description="from voxel signals to responses")
    ready_features: dict[Name, Filled] = Field(
        default_factory=dict,
        description="embeddings in place of pictures that you do not have, by tower: HDF5 or npz file with "
        "stimulus_id [n] and embedding [n, d]; d is that of the tower, whose text side is used as it is",
    )

    @property
    def test_rows_used(self) -> str | None:
        """Steps that take all rows of a run, also of a test run."""
        taken = {"detrended": self.voxels.detrend != "none", "z-scored": self.voxels.normalise == "run"}
        steps = [name for name, is_set in taken.items() if is_set]
        if not steps:
            return None
        return f"Test runs are {' and '.join(steps)} with all of their own rows, without their labels."

    @model_validator(mode="after")
    def _delay_of_time_series(self) -> Self:
        if self.answered and self.voxels.delay:
            raise ValueError(
                f"voxels.delay: found {self.voxels.delay}; each row of kind {self.kind} is the response to its own "
                "stimulus, so a delay would give each trial the response to a later one; expected 0: leave it out"
            )
        return self
