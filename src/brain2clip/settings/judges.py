"""Judges: networks that compare a generated picture with the seen one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, Filled, Kind, Text, from_outside, tag


class JudgeBase(Kind):
    """Settings that every judge has."""

    family: ClassVar[str] = "judges"

    #: Where its weights are published, for who must get them; empty where nothing is to be got.
    published: ClassVar[str] = ""

    kind: str
    label: Text = Field("", description="name in tables and figures (empty: the key)")

    @property
    def clip(self) -> tuple[str, str | None] | None:
        """Model and pretrained of the open_clip tower that it is; None: it is none."""
        return None

    @property
    def published_as(self) -> str:
        """File of its weights where they are published, in words."""
        return self.published


class OpenClipJudge(JudgeBase):
    """Image embeddings of an open_clip tower; the tower that the generator takes points of is a partial judge."""

    kind: Literal["open-clip"] = "open-clip"
    model: Filled = Field(description="open_clip architecture, or 'local-dir:FOLDER'")
    pretrained: Filled | None = Field(None, description="pretrained tag or path of a checkpoint (null for local-dir)")

    @property
    def clip(self) -> tuple[str, str | None]:
        """That tower."""
        return self.model, self.pretrained


class TorchvisionJudge(JudgeBase):
    """A classifier of ImageNet by torchvision, at a layer."""

    #: Weights that the field's metrics are computed with: torchvision's name of them and their file.
    weights_of: ClassVar[dict[str, tuple[str, str]]] = {
        "alexnet": ("AlexNet_Weights.IMAGENET1K_V1", "alexnet-owt-7be5be79.pth"),
        "inception_v3": ("Inception_V3_Weights.IMAGENET1K_V1", "inception_v3_google-0cc3c7bd.pth"),
        "efficientnet_b1": ("EfficientNet_B1_Weights.IMAGENET1K_V2", "efficientnet_b1-c27df63c.pth"),
    }

    kind: Literal["torchvision"] = "torchvision"
    model: Literal["alexnet", "inception_v3", "efficientnet_b1"] = Field(description="network of torchvision")
    layer: Filled = Field(description="node of the network, such as features.4, features.11 or avgpool")
    size: int = Field(
        ge=32, description="height and width of its input, pixels: AlexNet 256, Inception 342, EfficientNet 255"
    )
    weights: Filled = Field(
        description="file of the weights on this machine (IMAGENET1K_V1, of EfficientNet-B1 V2); nothing is fetched"
    )

    @property
    def published_as(self) -> str:
        """File of torchvision."""
        name, file = self.weights_of[self.model]
        return f"{file} (torchvision.models.{name}.url says from where)"


class SwavJudge(JudgeBase):
    """SwAV's ResNet-50, at its average pool."""

    published: ClassVar[str] = "swav_800ep_pretrain.pth.tar (github.com/facebookresearch/swav lists its address)"

    kind: Literal["swav"] = "swav"
    size: int = Field(224, ge=32, description="height and width of its input, pixels")
    weights: Filled = Field(
        description="file of the weights on this machine (swav_800ep_pretrain.pth.tar); nothing is fetched"
    )


Judge = Annotated[
    Annotated[OpenClipJudge, Tag("open-clip")]
    | Annotated[TorchvisionJudge, Tag("torchvision")]
    | Annotated[SwavJudge, Tag("swav")]
    | Annotated[SerializeAsAny[JudgeBase], from_outside(JudgeBase), Tag(EXTERNAL)],
    Discriminator(tag("judges")),
]
