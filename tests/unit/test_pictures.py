"""One picture in many files: the pixels of the plain one, or a refusal with the file's name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from brain2clip.readers import pictures
from brain2clip.stage import InputError

HEIGHT, WIDTH = 12, 20


def grey() -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (10 * y + 6 * x).astype(np.uint8)


def rgb() -> np.ndarray:
    return np.stack([grey()] * 3, -1)


def kept(image: Image.Image, path, **how):
    image.save(path, **how)
    return path


def cutout(under: int) -> np.ndarray:
    """The grey picture in the middle, and around it nothing but a colour that must not show."""
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[3:9, 5:15] = 255
    return np.dstack([np.where(alpha > 0, grey(), under)] * 3 + [alpha]).astype(np.uint8)


def over_white() -> np.ndarray:
    whole = cutout(0)
    return np.where(whole[..., 3:] > 0, whole[..., :3], 255)


def with_transparent_colour(path):
    """Grey with one value that means nothing there (PNG's tRNS)."""
    whole = np.where(cutout(0)[..., 3] > 0, np.maximum(grey(), 1), 0).astype(np.uint8)
    return kept(Image.fromarray(whole), path, transparency=0)


def palette(path, **how):
    return kept(Image.fromarray(grey()).convert("P"), path, **how)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    return kept(Image.fromarray(rgb()).transpose(Image.Transpose.ROTATE_90), path, exif=exif)


WHOLE = {
    "rgb.png": lambda path: kept(Image.fromarray(rgb()), path),
    "grey.png": lambda path: kept(Image.fromarray(grey()), path),
    "grey16.png": lambda path: kept(Image.fromarray(grey().astype(np.uint16) * 257), path),
    "grey16.tif": lambda path: kept(Image.fromarray(grey().astype(np.uint16) * 257), path),
    "float.tif": lambda path: kept(Image.fromarray(grey().astype(np.float32) / 255), path),
    "palette.png": palette,
    "opaque.png": lambda path: kept(Image.fromarray(rgb()).convert("RGBA"), path),
    "sideways.png": turned,
    "sideways.tif": turned,
    "cmyk.tif": lambda path: kept(Image.fromarray(rgb()).convert("CMYK"), path),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_same_picture_gives_the_same_pixels(tmp_path, name):
    found = pictures.read(WHOLE[name](tmp_path / name))
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), rgb())


def test_a_jpeg_is_near_to_the_picture_in_all_its_modes(tmp_path):
    for mode in ("L", "RGB", "CMYK"):
        path = kept(Image.fromarray(rgb()).convert(mode), tmp_path / f"{mode}.jpg", quality=100, subsampling=0)
        assert np.abs(np.asarray(pictures.read(path)).astype(int) - rgb()).max() < 6


@pytest.mark.parametrize("under", [0, 90, 255])
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_transparent_parts_lie_over_white_whatever_the_file_has_there(tmp_path, under, ending):
    how = {"lossless": True, "exact": True} if ending == "webp" else {}
    path = kept(Image.fromarray(cutout(under)), tmp_path / f"cutout.{ending}", **how)
    np.testing.assert_array_equal(np.asarray(pictures.read(path)), over_white())


def test_half_transparent_is_half_white(tmp_path):
    half = np.dstack([rgb() * 0 + 100, np.full((HEIGHT, WIDTH), 51, np.uint8)]).astype(np.uint8)
    found = np.asarray(pictures.read(kept(Image.fromarray(half), tmp_path / "half.png")))
    assert np.unique(found).tolist() == [224]  # 255 - 0.2 * (255 - 100)


def test_a_transparent_value_or_palette_entry_is_white_too(tmp_path):
    found = np.asarray(pictures.read(with_transparent_colour(tmp_path / "value.png")))
    np.testing.assert_array_equal(found, over_white())
    entry = Image.fromarray(cutout(7)).quantize(16)
    listed = kept(entry, tmp_path / "entry.png")
    np.testing.assert_array_equal(np.asarray(pictures.read(listed))[0], np.full((WIDTH, 3), 255))
    marked = palette(tmp_path / "marked.gif", transparency=Image.fromarray(grey()).convert("P").getpixel((0, 0)))
    assert np.asarray(pictures.read(marked))[0, 0].tolist() == [255] * 3


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "png")
    return stream.getvalue()


def jpeg() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "jpeg")
    return stream.getvalue()


def animation() -> bytes:
    stream = io.BytesIO()
    first, second = Image.fromarray(grey()), Image.fromarray(255 - grey())
    first.save(stream, "gif", save_all=True, append_images=[second])
    return stream.getvalue()


def tiff(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "tiff")
    return stream.getvalue()


def bomb() -> bytes:
    """A file of some hundred bytes whose header says 60,000 x 60,000 pixels."""
    import struct
    import zlib

    size = struct.pack(">II", 60_000, 60_000)
    whole = png(rgb())
    body = b"IHDR" + size + whole[24:29]
    return whole[:12] + body + struct.pack(">I", zlib.crc32(body)) + whole[33:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty file"),
        (b"\n<!DOCTYPE html><html>404</html>", "found a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "found a pointer file of git-annex or Git LFS",
        ),
        (b"/annex/objects/MD5E-s9--0.png\n", "found a pointer file of git-annex or Git LFS"),
        (b"no picture at all", "not readable as a picture"),
        (png(rgb())[:-40], "not readable as a picture"),
        (png(rgb())[:20], "not readable as a picture"),
        (jpeg()[:1500], "not readable as a picture"),
        (tiff(rgb())[:-200], "not readable as a picture"),
        (animation(), "2 pictures in one file"),
        (bomb(), "not readable as a picture"),
        (tiff(grey().astype(np.uint16) * 16), "grey values from 0 to 3"),  # 12 bits in 16
        (tiff(grey().astype(np.float32)), "grey values from 0 to 2"),
        (tiff(np.where(grey() == 0, np.nan, grey() / 255).astype(np.float32)), "grey values from nan"),
        (tiff(grey().astype(np.int32) * 65537), "grey values from 0 to"),
        (tiff(grey().astype(np.int32) - 9), "grey values from -9"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_its_name(tmp_path, content, words):
    path = tmp_path / "my picture é.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        pictures.read(path)
    assert str(error.value).startswith(f"{path}: ")
