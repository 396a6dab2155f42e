"""Generators of pictures from predicted points of a tower's space."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, model_validator

from brain2clip.settings.base import EXTERNAL, Block, Filled, Kind, Name, Seed, from_outside, neutral, tag


class Start(Block):
    """Image-to-image: the picture from which generation starts, instead of noise only."""

    picture: Literal["nearest"] = Field(
        "nearest", description="nearest: the training picture whose embedding is nearest to the prediction"
    )
    strength: float = Field(
        0.8,
        gt=0,
        le=1,
        description="share of the denoising steps that are run from the picture; at 1 nothing of the picture is left",
    )


class GeneratorBase(Kind):
    """Settings that every generator has."""

    family: ClassVar[str] = "generators"
    #: Towers whose space published weights take: name on the hub to (open_clip model, pretrained tag).
    spaces: ClassVar[dict[str, tuple[str, str]]] = {}
    #: Library that it needs beyond those of the project.
    package: ClassVar[str | None] = None

    kind: str
    model: Filled = Field(description="name on the hub, or 'local-dir:FOLDER' for a folder that save_pretrained wrote")
    tower: Name = Field(description="name of the tower whose raw image embeddings the generator takes")
    size: int = Field(512, ge=16, multiple_of=8, description="height and width of a picture, pixels")
    steps: int = Field(50, ge=1, description="denoising steps")
    guidance: float = Field(4.0, ge=1, description="classifier-free guidance scale; 1: no guidance")
    samples: int = Field(1, ge=1, description="pictures per stimulus")
    seed: Seed = Field(
        0, description="seed of the noise; each stimulus and sample has its own stream of random numbers"
    )
    batch_size: int = Field(8, ge=1, description="pictures that are made at once; it changes pictures by rounding only")
    start: Start | None = neutral(None, description="image-to-image from a picture (null: from noise)")

    @model_validator(mode="after")
    def _some_step(self) -> GeneratorBase:
        if self.start is not None and int(self.steps * self.start.strength) < 1:
            raise ValueError(
                f"start.strength: {self.start.strength} of {self.steps} steps is less than one step; expected at least "
                f"{1 / self.steps:.2g}"
            )
        return self

    @property
    def takes(self) -> tuple[str, str] | None:
        """Model and tag of the tower that published weights take, where they are known."""
        return self.spaces.get(self.model)


class KandinskyGenerator(GeneratorBase):
    """Decoder of Kandinsky 2.2 (diffusers' KandinskyV22Pipeline): raw image embeddings in, no text."""

    spaces: ClassVar[dict[str, tuple[str, str]]] = {
        "kandinsky-community/kandinsky-2-2-decoder": ("ViT-bigG-14", "laion2b_s39b_b160k")
    }
    package = "diffusers"

    kind: Literal["kandinsky"] = "kandinsky"


class IpAdapterGenerator(GeneratorBase):
    """Stable Diffusion XL with an IP-Adapter, which takes raw image embeddings beside an empty text."""

    spaces: ClassVar[dict[str, tuple[str, str]]] = {"h94/IP-Adapter": ("ViT-H-14", "laion2b_s32b_b79k")}
    package = "diffusers"

    kind: Literal["ip-adapter"] = "ip-adapter"
    adapter: Filled = Field("h94/IP-Adapter", description="hub name or 'local-dir:FOLDER' of the adapter")
    subfolder: str = Field("sdxl_models", description="folder of the adapter's weights in it")
    weights: Filled = Field(
        "ip-adapter_sdxl_vit-h.safetensors",
        pattern=r"\.safetensors$",
        description="file of the adapter's weights in that folder",
    )
    scale: float = Field(1.0, gt=0, le=1, description="weight of the adapter relative to the text")

    @property
    def takes(self) -> tuple[str, str] | None:
        """That of the adapter; SDXL itself takes texts."""
        return self.spaces.get(self.adapter)


Generator = Annotated[
    Annotated[KandinskyGenerator, Tag("kandinsky")]
    | Annotated[IpAdapterGenerator, Tag("ip-adapter")]
    | Annotated[SerializeAsAny[GeneratorBase], from_outside(GeneratorBase), Tag(EXTERNAL)],
    Discriminator(tag("generators")),
]
