"""Mapping networks and how they are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brain2clip.settings.base import Block


class Network(Block):
    """Mapping network from a response to the frozen CLIP space."""

    name: Literal["linear", "mlp", "vae"] = Field(
        "linear",
        description="linear: one matrix; mlp: hidden layer and residual blocks; vae: hidden layer, latent variable, "
        "linear read-out (its mean is used in tests)",
    )
    hidden: int = Field(1024, ge=8, description="width of hidden layers (mlp, vae)")
    blocks: int = Field(1, ge=0, description="residual blocks (mlp, vae)")
    latent: int = Field(256, ge=2, description="size of the latent variable (vae)")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability after the first layer (mlp, vae)")
    subject_width: int = Field(
        512, ge=2, description="protocol joint: every subject's own linear layer maps its voxels to this many numbers"
    )


class Supervision(Block):
    """Contrastive loss to the image and the text embedding, and the prior of a VAE.

    (1 - text) L(z, image) + text L(z, sentence) + kl KL(posterior | N(0, 1)).
    """

    text: float = Field(0.5, ge=0, le=1, description="lambda, weight of the text: 0 image only, 1 text only")
    sentences: tuple[Literal["captions", "prompts"], ...] = Field(
        ("captions", "prompts"),
        min_length=1,
        description="what one sentence per stimulus and step is drawn from: its captions, the prompts of its class",
    )
    kl: float = Field(1e-3, ge=0, description="beta, weight of the prior (vae only)")
    multi_positive: bool = Field(
        True,
        description="equal sentences of a batch share the mass of the target; false: all but the own one are negatives",
    )
    centre: bool = Field(
        False, description="take the mean training embedding of each modality away before lengths are set to one"
    )
    scale_init: float = Field(2.6593, description="start of the learnable logit scale a; ln(1/0.07) = 2.6593")
    learn_scale: bool = Field(True, description="whether the scale is trained, within [1, 100]")


class Augmentation(Block):
    """What is done to responses in training, never to test responses."""

    noise: float = Field(0.1, ge=0, description="deviation of Gaussian noise, in units of the responses")
    dropout: float = Field(0.2, ge=0, lt=1, description="probability that an input (voxel) is set to zero")
    mixco: float = Field(
        0.0,
        ge=0,
        description="MixCo: a response is mixed with another by a share from Beta(x, x), both being targets; 0: off",
    )


class Classifier(Block):
    """Text side of zero-shot category decoding."""

    kind: Literal["prompt", "ensemble", "context"] = Field(
        "ensemble",
        description="prompt: the first prompt of a class; ensemble: mean embedding of all its prompts; context: "
        "learned context tokens before the class name (CoOp), trained on training classes after the mapping",
    )
    tokens: int = Field(4, ge=1, description="learned context tokens")
    epochs: int = Field(20, ge=1, description="passes over the training responses for the context")
    batch_size: int = Field(64, ge=2, description="responses per step for the context")
    lr: float = Field(2e-3, gt=0, description="learning rate of the context")
