"""Pictures as input of a picture side, and the base of all picture sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import OneVector, ReadoutBase, Vector
from brain2clip.stage import InputError
from brain2clip.stimuli import tower_vectors


@dataclass(frozen=True)
class Pictures:
    """A batch of pictures as the picture side takes them.

    Attributes
    ----------
    embedding : Tensor [B, d]
        Frozen joint embedding.
    tokens : Tensor [B, N, D] or None
        Patch tokens before position embedding; None: pictures as the frozen tower sees them, without prompts.
    band_tokens : Tensor [B, K, N, D] or None
        Patch tokens of each frequency band.
    vectors : mapping of str to Tensor [B, d_i]
        Further frozen vectors by name (:attr:`brain2clip.settings.Vector.name`).
    rows : Tensor [B] or None
        Rows in the stimulus table; for picture sides whose settings say ``watches``.
    """

    embedding: Tensor
    tokens: Tensor | None = None
    band_tokens: Tensor | None = None
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None

    def vector(self, wanted: Vector) -> Tensor:
        """A frozen vector [B, d]."""
        return self.embedding if wanted.is_embedding else self.vectors[wanted.name]

    def first(self, n: int) -> Pictures:
        """The first n."""
        given = self.tokens, self.band_tokens, self.rows
        tokens, band_tokens, rows = (None if one is None else one[:n] for one in given)
        vectors = {key: one[:n] for key, one in self.vectors.items()}
        return Pictures(self.embedding[:n], tokens, band_tokens, vectors, rows)

    def frozen(self, readout: ReadoutBase) -> list[Tensor]:
        """All frozen vectors of a readout, in its order."""
        return [self.vector(one) for one in readout.inputs]


class Frozen(NamedTuple):
    """The parts of the frozen CLIP that a picture side gets.

    Attributes
    ----------
    width : int
        d of the joint embedding.
    widths : mapping of str to int
        Sizes of the further vectors by name.
    subjects : int
        Number of training subjects.
    bands : int
        K of the filter bank.
    tower : nn.Module or None
        open_clip's picture tower; only where the kind's settings say ``drives_tower``.
    checkpointing : bool
        Recompute activations of each block in the backward pass.
    compiling : bool
        Let blocks of the tower be compiled.
    """

    width: int
    bands: int
    tower: Any = None
    checkpointing: bool = False
    widths: Mapping[str, int] = {}
    subjects: int = 1
    compiling: bool = False

    def size(self, vector: Vector) -> int:
        """Size of a frozen vector, of the file or of the tower."""
        if vector.is_embedding:
            return self.width
        return self.widths[vector.name] if vector.name in self.widths else tower_vectors.width(self.tower, vector)


class PromptEffect(NamedTuple):
    """What prompts do to pictures.

    Attributes
    ----------
    gains : Tensor [B, K]
        Of the frequency bands; ones without a filter.
    shift : Tensor [B]
        Norm of the instance prompt over the norm of the patch tokens.
    before : Tensor [B, shared] or None
        Embedding by the frozen tower, through the same trained head; None if the frozen tower has another space.
    after : Tensor [B, shared]
        Embedding with prompts.
    """

    gains: Tensor
    shift: Tensor
    before: Tensor | None
    after: Tensor


class PictureSideBase(nn.Module):
    """Base of picture sides: :class:`Pictures` to embeddings [B, shared].

    A kind is a module of :mod:`brain2clip.models.visuals` whose class ``PictureSide(settings, frozen)`` derives from
    this one, sets the attributes and defines :meth:`forward`.

    Attributes
    ----------
    tuned : tuple of str
        First parts of the names of parameters that are trained with ``optimiser.lr_visual``.
    takes_parts : bool
        Whether it supports ``micro_batch``.
    head : nn.Module
        Last projection, [B, width] to [B, shared].
    width : int
        Size of the embedding before the head.
    inner : int
        Width of the computations, which decides about the precision.
    micro_batch : int or None
        Pictures that go through a tower with trained prompts or adapters at once in training
        (:mod:`brain2clip.models.micro_batches`); None: all.
    """

    tuned: ClassVar[tuple[str, ...]] = ()
    takes_parts: ClassVar[bool] = False

    head: nn.Module
    width: int
    inner: int
    micro_batch: int | None = None

    def fit(self, pictures: Pictures) -> None:
        """Fit to training pictures before training, if the settings say ``fitted``.

        The pictures have all vectors of the settings, and no tokens.
        """

    def begin(self, epoch: int, n_rows: int) -> None:
        """Prepare an epoch, counted from 1, with pictures of rows below ``n_rows``; if the settings say ``watches``."""

    def learn(self, rows: Tensor, similarity: Tensor) -> None:
        """Note the mean cosine [B] between pictures of a step and their responses; if settings say ``watches``."""

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared], without a subject."""
        raise NotImplementedError

    def seen_by(self, pictures: Pictures, subjects: Sequence[int]) -> list[Tensor]:
        """Embedding [B, shared] for each given subject, in training.

        Used only if the settings say ``by_subject``.
        """
        raise NotImplementedError

    def of_texts(self, texts: Tensor) -> Tensor:
        """Embedding [n, shared] of texts [n, d] of CLIP's joint space as if they were pictures."""
        return self.head(texts)

    def check_texts(self) -> None:
        """Refuse texts if pictures leave CLIP's joint space, because texts are in that space only.

        Raises
        ------
        InputError
            If pictures leave that space.
        """

    def merge(self) -> None:
        """Prepare for use after training; results change by rounding only."""

    @torch.inference_mode()
    def effect(self, pictures: Pictures) -> PromptEffect:
        """What prompts do to pictures; for figures.

        Raises
        ------
        InputError
            Where the kind has no prompts.
        """
        raise InputError(f"{type(self).__module__} has no prompts to inspect; take a method of visual.kind: neuroclip")


class ReadPictureSide(PictureSideBase):
    """Base of picture sides with a readout: vectors, then the readout, then the head.

    Attributes
    ----------
    settings : ReadoutBase
    readout : ReadoutModule
    """

    settings: ReadoutBase
    readout: ReadoutModule

    def fit(self, pictures: Pictures) -> None:
        """Fit the readout to frozen vectors of training pictures."""
        self.readout.fit(pictures.frozen(self.settings))

    @property
    def rescales(self) -> bool:
        """Whether pictures stay in CLIP's joint space, but with another length than in the tower."""
        return self.settings.leaves_joint_space is None and not isinstance(self.settings, OneVector)

    def vectors(self, pictures: Pictures) -> list[Tensor]:
        """Vectors [B, d_i] of the readout, in its order."""
        raise NotImplementedError

    def forward(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared]."""
        return self.head(self.readout(self.vectors(pictures)))

    def seen_by(self, pictures: Pictures, subjects: Sequence[int]) -> list[Tensor]:
        """Embedding [B, shared] for each subject; pictures go through the tower once."""
        vectors = self.vectors(pictures)
        return [self.head(self.readout(vectors, subject)) for subject in subjects]

    def of_texts(self, texts: Tensor) -> Tensor:
        """Embedding [n, shared] of texts [n, d] as if they were pictures."""
        return self.head(self.readout.of_texts(texts))

    def check_texts(self) -> None:
        """Refuse texts if no part of the picture vector is in CLIP's joint space."""
        where = self.settings.without_texts
        if where is not None:
            raise InputError(
                "the tasks category and caption are impossible for a method whose pictures leave CLIP's joint space "
                f"(visual.{where}), because texts are in that space only; remove the tasks from retrieval.tasks, "
                "remove the method from the experiments, or take a readout that stays in the joint space (leave "
                "visual.readout out)"
            )
