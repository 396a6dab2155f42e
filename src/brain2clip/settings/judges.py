"""Judges: networks that compare a generated picture with the seen one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Filled, Kind, Text, from_outside, tag


class JudgeBase(Kind):
    """Settings that every judge has."""

    family: ClassVar[str] = "judges"

    kind: str
    label: Text = Field("", description="name in tables and figures (empty: the key)")


class OpenClipJudge(JudgeBase):
    """Image embeddings of an open_clip tower; the one that the generator is told about is a partial judge."""

    kind: Literal["open-clip"] = "open-clip"
    model: Filled = Field(description="open_clip architecture, or 'local-dir:FOLDER'")
    pretrained: Filled | None = Field(None, description="pretrained tag or path of a checkpoint (null for local-dir)")


class TorchvisionJudge(JudgeBase):
    """A classifier of ImageNet by torchvision, at a layer."""

    kind: Literal["torchvision"] = "torchvision"
    model: Literal["alexnet", "inception_v3", "efficientnet_b1"] = Field(description="network of torchvision")
    layer: Filled = Field(description="node of the network, as in features.4, features.11 or avgpool")
    size: int = Field(ge=32, description="side of its input, pixels: AlexNet 256, Inception 342, EfficientNet 255")
    weights: Filled = Field(description="file of the weights (IMAGENET1K_V1) on this machine")


class SwavJudge(JudgeBase):
    """SwAV's ResNet-50, at its average pool."""

    kind: Literal["swav"] = "swav"
    size: int = Field(224, ge=32, description="side of its input, pixels")
    weights: Filled = Field(description="file of the weights on this machine")


Judge = Annotated[
    Annotated[OpenClipJudge, Tag("open-clip")]
    | Annotated[TorchvisionJudge, Tag("torchvision")]
    | Annotated[SwavJudge, Tag("swav")]
    | Annotated[SerializeAsAny[JudgeBase], from_outside(JudgeBase), Tag(EXTERNAL)],
    Discriminator(tag("judges")),
]
