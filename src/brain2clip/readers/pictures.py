"""The only reader of pictures: 8-bit RGB as a person would see it, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip.readers import file_records, user_files
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

#: Background of transparent parts.
BACKGROUND = "white"
#: Largest value of 16-bit grey, and the number of values of 12-bit data, which cameras and scanners store in 16 bits.
DEEP, SHALLOW = 65535, 4096
HINT = (
    "; it may be cut short, damaged, too large or of an unknown format: open it in a viewer and save it as "
    "8-bit RGB PNG"
)


def read(path: Path | str) -> Image.Image:
    """A picture as 8-bit RGB. Pictures that the pipeline drew or unpacked must match their record.

    The orientation that a camera noted (EXIF) is applied. Transparent parts are laid over white, so that the colours
    that a file keeps under them never show. 16-bit grey is scaled to 8 bits by its full range and float grey from
    [0, 1]. CMYK is converted without its colour profile, and those of RGB are not applied, as in CLIP's own transform.

    Raises
    ------
    brain2clip.stage.InputError
        Where the file is no picture, is cut short, holds several pictures or too many pixels, or has values whose range
        is not known.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    file_records.check_if_own(path)
    with user_files.reading(path, "not readable as a picture", HINT):
        if (instead := user_files.stands_in(path)) is not None:
            raise InputError(f"{path}: expected a picture, found {instead}")
        with Image.open(path) as stored:
            frames = getattr(stored, "n_frames", 1)
            if frames > 1 and stored.format != "MPO":  # its others are previews
                raise InputError(
                    f"{path}: {frames} pictures in one file (an animation or pages); expected a single one"
                )
            return _rgb(ImageOps.exif_transpose(stored), path)


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    import numpy as np
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        if "transparency" in image.info:
            raise _unknown(path, f"grey of mode {image.mode} with a transparent value")
        grey = np.asarray(image)
        return Image.fromarray(_whole_float(grey, path) if image.mode == "F" else _deep(grey, path)).convert("RGB")
    if image.has_transparency_data:
        under = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", under.size, BACKGROUND), under).convert("RGB")
    return image.convert("RGB")


def _deep(grey: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
    """8 bits of 16-bit grey."""
    import numpy as np

    low, high = int(grey.min()), int(grey.max())
    if low < 0 or high > DEEP or 0 < high < SHALLOW:
        raise _unknown(path, f"grey values from {low} to {high} in more than 8 bits; expected 16 bits, up to {DEEP}")
    return np.round(grey / (DEEP / 255)).astype(np.uint8)


def _whole_float(grey: NDArray[np.float32], path: Path) -> NDArray[np.uint8]:
    """8 bits of float grey."""
    import numpy as np

    low, high = float(grey.min()), float(grey.max())
    if not (low >= 0 and high <= 1):  # NaN as well
        raise _unknown(path, f"grey values from {low:g} to {high:g} as floating point; expected 0 to 1")
    return np.round(grey * 255).astype(np.uint8)


def _unknown(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: {found}. Which value is black and which is white is not known: save it as 8-bit grey or RGB"
    )
