"""Views: a picture as the tower sees it, degraded in one way."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, SerializeAsAny, Tag

from brain2clip import kinds
from brain2clip.settings.base import EXTERNAL, Kind, Seed, canonical, dump, from_outside, tag


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"expected an odd number of pixels, so that the kernel has a middle; found {value}")
    return value


#: Size of a Gaussian kernel of deviation 0.3 ((k - 1) / 2 - 1) + 0.8 pixels, OpenCV's rule; 1 does nothing.
Kernel = Annotated[int, Field(ge=1, le=999), AfterValidator(_odd)]


class ViewBase(Kind):
    """Picture as the tower reads it, degraded in one way: settings of all kinds."""

    family: ClassVar[str] = "views"

    kind: str

    @property
    def name(self) -> str:
        """Short name of just these settings, safe in the name of a file: kind and numbers, as ``foveal-45-0.5-3``.

        Of kinds from outside, and of those whose settings are not all numbers, the module and a digest.
        """
        values = [value for key, value in dump(self).items() if key != "kind"]
        if kinds.is_external(self.family, self.kind) or not all(isinstance(one, int | float) for one in values):
            module = kinds.module_of(self.family, self.kind).rpartition(".")[2]
            word = re.sub("[^A-Za-z0-9]+", "-", module).strip("-")
            return f"{word or 'view'}-{hashlib.sha256(canonical(self).encode()).hexdigest()[:8]}"
        return "-".join([self.kind, *(str(one).removesuffix(".0") for one in values)])


class Blur(ViewBase):
    """Gaussian blur, the same everywhere."""

    kind: Literal["blur"] = "blur"
    kernel: Kernel = Field(
        15, description="size of the kernel, an odd number of pixels of the tower's input; its deviation follows"
    )


class FovealBlur(ViewBase):
    """Gaussian blur that grows from the centre outwards."""

    kind: Literal["foveal"] = "foveal"
    kernel: Kernel = Field(
        51, description="size of the kernel, an odd number of pixels of the tower's input; its deviation follows"
    )
    strength: float = Field(0.5, ge=0, le=1, description="share of the sharp picture at the centre")
    decay: float = Field(
        3.0, ge=0, le=100, description="that share falls as exp(-decay d), where d is 1 in the farthest corner"
    )


class Noise(ViewBase):
    """Gaussian noise on every pixel and colour, always the same for the same picture."""

    kind: Literal["noise"] = "noise"
    deviation: float = Field(25.0, gt=0, le=255, description="standard deviation, in parts of 255")
    seed: Seed = Field(0, description="seed of the noise")


class LowResolution(ViewBase):
    """Fewer pixels: bilinear down and up again."""

    kind: Literal["low-resolution"] = "low-resolution"
    share: float = Field(0.1, gt=0, le=1, description="share of the rows and of the columns that is left")


class Mosaic(ViewBase):
    """Square blocks of one colour each, their mean."""

    kind: Literal["mosaic"] = "mosaic"
    block: int = Field(5, ge=1, le=999, description="edge of a block, pixels of the tower's input")


class LowPass(ViewBase):
    """Low spatial frequencies, with the raised cosine of the bands of a tower's filter bank as edge."""

    kind: Literal["low-pass"] = "low-pass"
    cutoff: float = Field(0.2, gt=0, le=1, description="frequency of half the amplitude, in parts of Nyquist's")
    width: float = Field(1.0, gt=0, le=10, description="octaves over which the amplitude falls from one to zero")


View = Annotated[
    Annotated[Blur, Tag("blur")]
    | Annotated[FovealBlur, Tag("foveal")]
    | Annotated[Noise, Tag("noise")]
    | Annotated[LowResolution, Tag("low-resolution")]
    | Annotated[Mosaic, Tag("mosaic")]
    | Annotated[LowPass, Tag("low-pass")]
    | Annotated[SerializeAsAny[ViewBase], from_outside(ViewBase), Tag(EXTERNAL)],
    Discriminator(tag("views")),
]
