"""Mapping networks and how they are trained."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Block, EachOnce, Kind, from_outside, neutral, tag


class NetworkBase(Kind):
    """Mapping network from a response to the frozen CLIP space: settings of all kinds."""

    family: ClassVar[str] = "mappings"
    renamed: ClassVar[dict[str, str]] = {"name": "kind"}

    kind: str
    subject_width: int = Field(
        512,
        ge=2,
        description="protocols joint and new-subject: each subject has a linear layer that maps its voxels to this "
        "many numbers",
    )


class LinearNetwork(NetworkBase):
    """One matrix."""

    kind: Literal["linear"] = "linear"


class MlpNetwork(NetworkBase):
    """Hidden layer, residual blocks, linear read-out."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(1024, ge=8, description="width of hidden layers")
    blocks: int = Field(1, ge=0, description="residual blocks")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability after the first layer")


class VaeNetwork(NetworkBase):
    """Hidden layer, residual blocks, latent variable (its mean is used in tests), linear read-out."""

    kind: Literal["vae"] = "vae"
    hidden: int = Field(1024, ge=8, description="width of hidden layers")
    blocks: int = Field(1, ge=0, description="residual blocks")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability after the first layer")
    latent: int = Field(256, ge=2, description="size of the latent variable")
    kl: float = Field(1e-3, ge=0, description="beta, weight of the prior in the loss")


class MixerNetwork(NetworkBase):
    """Linear layer, residual mixer blocks, linear read-out, and a projector for retrieval (after MindEye2)."""

    kind: Literal["mixer"] = "mixer"
    hidden: int = Field(1024, ge=8, description="width h of the blocks")
    blocks: int = Field(4, ge=0, description="mixer blocks")
    dropout: float = Field(0.15, ge=0, lt=1, description="dropout probability inside the blocks")
    projector: int = Field(0, ge=0, description="layers of the projector behind the read-out (MindEye2: 3; 0: none)")


Network = Annotated[
    Annotated[LinearNetwork, Tag("linear")]
    | Annotated[MlpNetwork, Tag("mlp")]
    | Annotated[VaeNetwork, Tag("vae")]
    | Annotated[MixerNetwork, Tag("mixer")]
    | Annotated[SerializeAsAny[NetworkBase], from_outside(NetworkBase), Tag(EXTERNAL)],
    Discriminator(tag("mappings", default="linear")),
]


class SoftClip(Block):
    """Second part of a training, without MixCo: targets are softmax(t t' / tau) of the targets t of a batch.

    Similarities of responses and targets are divided by the same tau, which goes from start to end over these epochs
    by half a cosine.
    """

    after: float = Field(
        1 / 3, ge=0, lt=1, description="share of the epochs before this second part, rounded down to whole epochs"
    )
    start: float = Field(0.004, gt=0, description="temperature tau in its first epoch")
    end: float = Field(0.0075, gt=0, description="temperature tau in the last epoch")

    def temperature(self, epoch: int, epochs: int) -> float | None:
        """Temperature tau in an epoch, counted from 1, of so many; None before it begins."""
        first = int(self.after * epochs)
        if epoch <= first:
            return None
        part = (epoch - first - 1) / max(1, epochs - first - 1)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * part)) / 2


class Supervision(Block):
    """Contrastive loss to the image and the text embedding: (1 - text) L(z, image) + text L(z, sentence)."""

    renamed: ClassVar[dict[str, str]] = {"kl": "network.kl (of kind vae)"}

    text: float = Field(0.5, ge=0, le=1, description="lambda, weight of the text: 0 image only, 1 text only")
    sentences: Annotated[tuple[Literal["captions", "prompts"], ...], EachOnce] = Field(
        ("captions", "prompts"),
        min_length=1,
        description="source of the sentence that is drawn for each stimulus and step: its captions, or the prompts "
        "of its class",
    )
    multi_positive: bool = Field(
        True,
        description="equal sentences in a batch share the target; false: all sentences but the stimulus' own are "
        "negatives",
    )
    centre: bool = neutral(
        False,
        description="subtract the mean training embedding of each modality before embeddings are set to unit length",
    )
    scale_init: float = Field(
        2.6593,
        ge=0,
        le=4.6052,
        description="start of the learnable logit scale a; ln(1/0.07) = 2.6593, ln(100) at most",
    )
    learn_scale: bool = Field(True, description="whether the scale is trained, within [1, 100]")
    temperature: float | None = neutral(
        None, gt=0, description="divide similarities by this instead of using the learnable scale (null: use the scale)"
    )
    softclip: SoftClip | None = neutral(None, description="second part of the training, with soft targets (null: none)")


class Augmentation(Block):
    """Random changes of responses in training, never of test responses."""

    noise: float = Field(0.1, ge=0, description="deviation of Gaussian noise, in units of the responses")
    dropout: float = Field(0.2, ge=0, lt=1, description="probability that an input (voxel) is set to zero")
    mixco: float = neutral(
        0.0,
        ge=0,
        description="MixCo: a response is mixed with another one, with a share drawn from Beta(x, x), and both are "
        "targets; 0: off",
    )
    mixed: float = neutral(
        1.0, gt=0, le=1, description="probability that MixCo mixes a response; other responses are not changed"
    )


class Classifier(Block):
    """Text side of zero-shot category decoding."""

    kind: Literal["prompt", "ensemble", "context"] = Field(
        "ensemble",
        description="prompt: the first prompt of a class; ensemble: mean embedding of all its prompts; context: "
        "learned context tokens before the class name (CoOp), trained on training classes after the mapping",
    )
    tokens: int = Field(4, ge=1, description="learned context tokens")
    folds: int = Field(
        5,
        ge=2,
        description="number of folds of the training concepts: the context is trained on predictions from responses "
        "that the mapping was not trained on, so the mapping is trained again without each fold",
    )
    epochs: int = Field(20, ge=1, description="passes over the training responses to train the context")
    batch_size: int = Field(64, ge=2, description="responses per step for the context")
    lr: float = Field(2e-3, gt=0, description="learning rate of the context")
