"""Methods: one class for each kind; the code is in :mod:`brain2clip.training.methods`."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.names import RUN, Sought
from brain2clip.settings.augmentations import ResponseAugmentation
from brain2clip.settings.base import EXTERNAL, EachOnce, Filled, Kind, Name, Text, from_outside, neutral, tag
from brain2clip.settings.encoders import EegProject, Encoder
from brain2clip.settings.heads import Head
from brain2clip.settings.inputs import Inputs
from brain2clip.settings.mappings import Augmentation, Classifier, LinearNetwork, Network, Supervision
from brain2clip.settings.objective import Objective
from brain2clip.settings.optimisers import MappingBudget, Optimiser, Selection
from brain2clip.settings.readouts import OneVector, Readout
from brain2clip.settings.vectors import Vector
from brain2clip.settings.visual import NeuroClipVisual, Visual


class MethodBase(Kind):
    """Settings of every method, and the properties of its kind that the plan needs."""

    family: ClassVar[str] = "methods"
    #: Whether it writes a checkpoint; a method without one has its own ranking stage.
    trained: ClassVar[bool] = True
    #: Stage that makes its retrieval rows.
    ranked_by: ClassVar[str] = "rank"
    #: Whether its training asks for a GPU.
    on_gpu: ClassVar[bool] = False
    #: Whether it learns epoch by epoch, so that its history is a curve.
    by_epoch: ClassVar[bool] = False
    #: Whether its history has the cost of training (:mod:`brain2clip.training.cost`).
    timed: ClassVar[bool] = False
    #: Whether its training draws random numbers, so that seeds differ.
    random: ClassVar[bool] = False
    #: Whether it predicts frozen vectors of pictures, and not embeddings in a shared space.
    predicts: ClassVar[bool] = False
    #: Whether it knows only the classes that it was trained on, and no texts.
    known_classes: ClassVar[bool] = False
    #: Whether it knows the truth of a simulated study, and is a ceiling.
    knows_truth: ClassVar[bool] = False

    kind: str
    label: Text = Field("", description="name in the tables (empty: the key)")
    tower: Name = Field(description="name of a tower")

    @property
    def joint(self) -> bool:
        """Whether one model can be trained on several subjects that it distinguishes (protocol joint)."""
        return False

    @property
    def no_tuning(self) -> str | None:
        """Why a joint model of other subjects cannot be trained on with those of a new one; None: it can."""
        return f"a method of kind {self.kind} has no input layer for each subject"

    @property
    def package(self) -> str | None:
        """Package that it needs beyond those of the project."""
        return None

    @property
    def needs(self) -> frozenset[str]:
        """What the stimuli of a study must have: ``pictures``, ``captions`` or both."""
        return frozenset()

    @property
    def needed_for(self) -> str:
        """The setting that needs it, for messages."""
        return f"kind {self.kind}"

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Vectors of pictures that it reads beside the joint embedding, each a file."""
        return ()

    @property
    def leaves_joint_space(self) -> str | None:
        """The setting by which its pictures leave CLIP's joint space, where texts are; None: they stay."""
        return None

    @property
    def without_texts(self) -> str | None:
        """The setting by which texts cannot be compared with its pictures; None: they can."""
        return self.leaves_joint_space

    @property
    def joint_space(self) -> bool:
        """Whether its predictions are directions of CLIP's joint space."""
        return self.predicts and self.leaves_joint_space is None

    @property
    def no_points(self) -> str | None:
        """Why its predictions are not points of its tower's raw space, which generators take; None: they are."""
        return f"a method of kind {self.kind} does not predict the embedding of a picture"

    @property
    def points(self) -> Literal["own", "calibrated"] | None:
        """How they become such points: with the length that they have, by a calibration, or not at all."""
        return None if self.no_points else "calibrated"

    @property
    def seeds_differ(self) -> bool:
        """Whether another seed gives another model."""
        return self.random or getattr(self, "shuffle_labels", False)

    @property
    def prompted(self) -> bool:
        """Whether its picture side has prompts and filter gains to look into (stage ``inspect``)."""
        return False

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """Part of its readout whose places a linear head weighs, and rows of their grid; None: there is none."""
        return None


class TrainedMethod(MethodBase):
    """Settings of every trained method."""

    on_gpu: ClassVar[bool] = True

    average_repetitions: bool = Field(True, description="train on the mean over repetitions of a picture")
    inputs: Inputs = neutral(Inputs(), description="part of the responses that is used in training and test")
    shuffle_labels: bool = neutral(
        False, description="control: the pictures of the training trials are permuted; results must be at chance"
    )
    balance: bool = Field(
        True,
        description="if the same categories are in training and test and have unequal numbers of responses, every "
        "class counts the same in training (by drawing, by weights, or by priors); does nothing otherwise",
    )

    def for_points(self) -> Self:
        """Settings of models that are asked for embeddings of responses alone."""
        return self


class Contrastive(TrainedMethod):
    """A brain encoder trained against a picture side by a contrastive loss: NeuroCLIP and its baseline."""

    by_epoch: ClassVar[bool] = True
    timed: ClassVar[bool] = True
    random: ClassVar[bool] = True

    kind: Literal["contrastive"] = "contrastive"
    encoder: Encoder = Field(default_factory=EegProject, description="brain side")
    brain_head: Head = Field(default_factory=Head, description="projection of the brain embedding")
    visual: Visual = Field(default_factory=NeuroClipVisual, description="picture side")
    augmentation: tuple[ResponseAugmentation, ...] = neutral(
        (), description="random changes of responses in training, applied one after the other"
    )
    objective: Objective = Field(default_factory=Objective, description="loss")
    optimiser: Optimiser = Field(default_factory=Optimiser, description="optimiser and budget")
    selection: Selection = Field(default_factory=Selection, description="choice of the epoch")
    shared_head: bool = neutral(
        False,
        description="a last linear layer after both heads, which brain responses, pictures and texts all go through",
    )

    @model_validator(mode="after")
    def _something_joins(self) -> Contrastive:
        waits, epochs = self.optimiser.frozen_epochs, self.optimiser.epochs
        if waits and not self.visual.drives_tower:
            raise ValueError(
                f"optimiser.frozen_epochs ({waits}) is for a picture side with prompts or an adapter; visual.kind: "
                f"{self.visual.kind} is frozen in all epochs, so leave the setting out"
            )
        if waits >= epochs:
            raise ValueError(
                f"optimiser.frozen_epochs ({waits}) leaves none of the optimiser.epochs ({epochs}) to train prompts "
                "or an adapter; expected fewer"
            )
        return self

    @model_validator(mode="after")
    def _mixed_once(self) -> Contrastive:
        if sum(one.mixes for one in self.augmentation) > 1:
            raise ValueError("augmentation: expected at most one kind that mixes responses; found several")
        return self

    @property
    def joint(self) -> bool:
        """Where its encoder takes the number of the subject."""
        return self.encoder.by_subject

    @property
    def package(self) -> str | None:
        """That of its encoder."""
        return self.encoder.package

    @property
    def prompted(self) -> bool:
        """Whether its picture side has prompts and filter gains to look into (stage ``inspect``)."""
        return self.visual.drives_tower

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """Those of the picture side."""
        return self.visual.frozen_vectors if self.optimiser.frozen_epochs else self.visual.vectors

    @property
    def needs(self) -> frozenset[str]:
        """Pictures, where the tower is driven from their patches or vectors are taken from it; captions of a loss."""
        pictures = frozenset({"pictures"} if self.visual.drives_tower else ()) | of_pictures(self.vectors)
        return pictures | frozenset({"captions"} if self._needs_captions else ())

    @property
    def _needs_captions(self) -> bool:
        return self.objective.text > 0 and self.objective.text_source == "captions"

    @property
    def needed_for(self) -> str:
        """The picture side, and the text of the loss."""
        side = f"visual.kind: {self.visual.kind}" if self.visual.drives_tower else "visual.readout"
        return f"{side} or objective.text_source: captions" if self._needs_captions else side

    @property
    def leaves_joint_space(self) -> str | None:
        """The readout of the picture side."""
        return self.visual.leaves_joint_space

    @property
    def without_texts(self) -> str | None:
        """The readout of the picture side."""
        return self.visual.without_texts

    @property
    def no_points(self) -> str | None:
        """What its picture side, or the layer after it, does to the frozen tower's embeddings."""
        moved = [*self.visual.moved, *(["shared_head: true"] if self.shared_head else [])]
        return f"its embeddings of pictures are not those of the frozen tower ({', '.join(moved)})" if moved else None

    @property
    def grid_part(self) -> tuple[int, int] | None:
        """That of the picture side, where nothing comes after its head."""
        return None if self.shared_head else self.visual.grid_part

    @model_validator(mode="after")
    def _texts_have_a_place(self) -> Contrastive:
        if self.objective.text > 0 and self.without_texts:
            raise ValueError(
                f"objective.text: found {self.objective.text:g}; texts are in CLIP's joint space, but pictures leave "
                f"it ({self.without_texts}): expected 0, or a picture side that stays in the joint space"
            )
        return self

    @model_validator(mode="after")
    def _spaces_agree(self) -> Contrastive:
        brain = self.encoder.width if self.brain_head.kind == "none" else self.brain_head.width
        if self.visual.head.kind != "none" and brain != self.visual.head.width:
            raise ValueError(
                f"the embeddings of responses and of pictures must have the same size: the brain side gives {brain} "
                f"({'encoder.width' if self.brain_head.kind == 'none' else 'brain_head.width'}), "
                f"visual.head.width is {self.visual.head.width}"
            )
        return self


class ReadMethod(TrainedMethod):
    """Settings of methods that predict a readout of frozen vectors of a picture."""

    predicts: ClassVar[bool] = True

    readout: Readout = Field(
        default_factory=OneVector, description="from vectors of the picture to the one that is predicted"
    )

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """All of the readout."""
        return self.readout.further

    @property
    def leaves_joint_space(self) -> str | None:
        """The readout."""
        return self.readout.leaves_joint_space

    @property
    def without_texts(self) -> str | None:
        """The readout."""
        return self.readout.without_texts

    @property
    def no_points(self) -> str | None:
        """The readout, where pictures leave the joint space by it."""
        away = self.leaves_joint_space
        return None if away is None else f"its predictions leave CLIP's joint space ({away})"

    @property
    def needs(self) -> frozenset[str]:
        """Pictures, where vectors are taken from the tower."""
        return of_pictures(self.vectors)

    @property
    def needed_for(self) -> str:
        """The readout."""
        return f"readout.kind: {self.readout.kind}"


def of_pictures(vectors: tuple[Vector, ...]) -> frozenset[str]:
    """What the stimuli of a study must have for some vectors."""
    return frozenset({"pictures"} if any(one.ready is None for one in vectors) else ())


class Ridge(ReadMethod):
    """Ridge regression from brain responses to frozen vectors of the pictures."""

    timed: ClassVar[bool] = True
    on_gpu: ClassVar[bool] = False

    kind: Literal["ridge"] = "ridge"
    alphas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], EachOnce] = Field(
        (1e1, 1e2, 1e3, 1e4, 1e5, 1e6),
        min_length=1,
        description="penalties to choose from, by cross-validation over training concepts",
    )
    folds: int = Field(5, ge=2, description="folds of the cross-validation; no concept is in two folds")
    target: Literal["stimulus", "text"] = Field(
        "stimulus",
        description="stimulus: the readout of the picture (of the prompts where a study has none); text: the mean "
        "embedding of the stimulus' captions and class prompts",
    )

    @property
    def no_points(self) -> str | None:
        """The target or the readout."""
        return super().no_points if self.target == "stimulus" else "with target: text it predicts embeddings of texts"

    @property
    def points(self) -> Literal["own", "calibrated"] | None:
        """As it predicts them, where that is the embedding of the picture as it was shown."""
        return "own" if self.no_points is None and not self.vectors else super().points

    @model_validator(mode="after")
    def _can_be_solved(self) -> Ridge:
        if self.readout.learned:
            raise ValueError(
                f"readout.kind: found {self.readout.kind}, which is trained step by step; ridge regression is solved "
                "in one step, so expected one of one, mean, concat, spatial"
            )
        if self.target == "text" and self.readout != OneVector():
            raise ValueError(
                "with target: text the method predicts embeddings of texts; expected no readout of pictures"
            )
        return self


class Lda(TrainedMethod):
    """Linear discriminant analysis of the responses, without CLIP, for classes that were in training."""

    known_classes: ClassVar[bool] = True
    on_gpu: ClassVar[bool] = False

    kind: Literal["lda"] = "lda"
    tower: Name = Field(description="name of a tower; only its list of stimuli is read")
    average_repetitions: bool = Field(False, description="train on the mean over repetitions of a stimulus")
    shrinkage: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = Field(
        "auto", description="shrinkage of the within-class covariance towards uncorrelated inputs; auto: Ledoit-Wolf"
    )
    windows: int | None = Field(
        None,
        ge=1,
        description="EEG: average the samples within this many windows of equal length (null: use every sample)",
    )


class BrainMapping(ReadMethod):
    """A mapping network from brain responses to the frozen CLIP space with image and text supervision: BrainCLIP."""

    by_epoch: ClassVar[bool] = True
    timed: ClassVar[bool] = True
    random: ClassVar[bool] = True

    kind: Literal["mapping"] = "mapping"
    network: Network = Field(default_factory=LinearNetwork, description="mapping network")
    supervision: Supervision = Field(default_factory=Supervision, description="loss")
    augmentation: Augmentation = Field(default_factory=Augmentation, description="augmentation of responses")
    classifier: Classifier = Field(default_factory=Classifier, description="text side of category decoding")
    optimiser: MappingBudget = Field(default_factory=MappingBudget, description="optimiser and budget")
    selection: Selection = Field(default_factory=Selection, description="choice of the epoch")

    @property
    def joint(self) -> bool:
        """Every subject gets an input layer of its own."""
        return True

    @property
    def no_tuning(self) -> str | None:
        """A learned context, which is fitted to networks of folds."""
        return "classifier.kind: context is learned in folds" if self.classifier.kind == "context" else None

    @property
    def needs(self) -> frozenset[str]:
        """Captions, where all text is drawn from them, and what the readout needs."""
        only = self.supervision.text > 0 and self.supervision.sentences == ("captions",)
        return super().needs | frozenset({"captions"} if only else ())

    def for_points(self) -> Self:
        """Without a learned context, which is of texts."""
        return self.model_copy(update={"classifier": Classifier()})

    @property
    def needed_for(self) -> str:
        """The source of the text, or the readout."""
        return super().needed_for if self.vectors else "supervision.sentences: [captions]"

    @model_validator(mode="after")
    def _texts_have_a_place(self) -> BrainMapping:
        if self.supervision.text > 0 and self.leaves_joint_space:
            raise ValueError(
                f"supervision.text: found {self.supervision.text:g}; texts are in CLIP's joint space, but pictures "
                f"leave it ({self.leaves_joint_space}): expected 0, a readout that stays in the joint space, or a "
                "method of another kind"
            )
        if self.supervision.centre and self.readout.learned:
            raise ValueError(
                f"supervision.centre: found true with readout.kind: {self.readout.kind}, whose mean changes during "
                "training; expected false"
            )
        if self.classifier.kind == "context" and self.readout.learned:
            raise ValueError(
                f"classifier.kind: found context with readout.kind: {self.readout.kind}; the context is trained on "
                "folds, but the readout would have been trained on all of them: expected ensemble or prompt"
            )
        if self.readout.by_subject:
            raise ValueError("readout.subject_dropout: expected null; a method of kind mapping trains no picture side")
        return self


class IdealObserver(MethodBase):
    """Ceiling of a simulated study: knows the noise-free response to every picture and the noise covariance."""

    trained: ClassVar[bool] = False
    ranked_by: ClassVar[str] = "ceiling"
    knows_truth: ClassVar[bool] = True

    kind: Literal["ideal-observer"] = "ideal-observer"
    tower: Name = Field(description="name of a tower; only its list of stimuli is read")

    @property
    def joint(self) -> bool:
        """It knows the truth of each subject."""
        return True


class Imported(MethodBase):
    """An imported result: ranks, or similarities of queries and candidates, from a file."""

    trained: ClassVar[bool] = False
    ranked_by: ClassVar[str] = "imported"

    kind: Literal["imported"] = "imported"
    tower: Name = Field(description="name of a tower; only its list of stimuli is read")
    file: Filled = Field(
        description="CSV or Parquet file (docs/import.md); {study}, {signal}, {protocol}, {subject} and {seed} stand "
        "for the values of a run"
    )
    holds: Literal["ranks", "similarities"] = Field(
        "similarities", description="similarities: of each query to every candidate; ranks: of the true candidate only"
    )
    task: Sought = Field("stimulus", description="the task of the results, one of retrieval.tasks")
    repetitions: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        "all",
        description="number of test repetitions that were averaged into a query, as stated by the author of the file "
        "(it cannot be checked, and tables say so); a column repetitions in the file takes precedence",
    )
    seeds: bool = Field(
        False, description="whether the file has results for every seed of the experiment (column seed, or {seed})"
    )
    source: Text = Field(
        min_length=1, description="author and code of the results (paper, code, version); shown in the tables"
    )
    selection: Text = Field(
        "not said",
        description="how epoch and settings were chosen, as stated by the author of the file; shown in the tables",
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> Imported:
        if not self.file.lower().endswith((".csv", ".parquet")):
            raise ValueError(f"file: found {self.file!r}; expected the name of a .csv or a .parquet file")
        unknown = [name for _, name, _, _ in Formatter().parse(self.file) if name is not None and name not in RUN]
        if unknown:
            raise ValueError(
                f"file: found {{{unknown[0]}}} in {self.file!r}; expected only {{subject}}, {{seed}}, {{study}}, "
                f"{{signal}} and {{protocol}} in braces"
            )
        if "{seed}" in self.file and not self.seeds:
            raise ValueError("seeds: found false with {seed} in file; expected true, or one file for all seeds")
        return self

    def for_rows(self) -> dict[str, Any]:
        """What its retrieval rows depend on, as JSON: not what its maker says in words."""
        words = {"label", "source", "selection"}
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in words}

    @classmethod
    def of_rows(cls, given: dict[str, Any]) -> Imported:
        """The settings again from :meth:`for_rows`."""
        return cls.model_validate({**given, "source": "said in the tables"})

    @property
    def joint(self) -> bool:
        """It trains nothing here."""
        return True

    @property
    def seeds_differ(self) -> bool:
        """Whether it has a result for every seed."""
        return self.seeds


Method = Annotated[
    Annotated[Contrastive, Tag("contrastive")]
    | Annotated[BrainMapping, Tag("mapping")]
    | Annotated[Ridge, Tag("ridge")]
    | Annotated[Lda, Tag("lda")]
    | Annotated[IdealObserver, Tag("ideal-observer")]
    | Annotated[Imported, Tag("imported")]
    | Annotated[SerializeAsAny[MethodBase], from_outside(MethodBase), Tag(EXTERNAL)],
    Discriminator(tag("methods")),
]
