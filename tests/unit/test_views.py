"""Views: one contract for all kinds, and each against another implementation."""

from __future__ import annotations

import json
import math
import re
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError
from torchvision.transforms.v2 import functional

from brain2clip import fingerprint, kinds, settings
from brain2clip.settings import Block, FilterBank, View, ViewBase, canonical, loading, neutral, parse
from brain2clip.settings.base import EXTERNAL
from brain2clip.stage import InputError
from brain2clip.stimuli import view_base
from brain2clip.stimuli.filter_bank import radial_frequency, windows

#: Settings of each kind, all that are allowed or nearly so.
KERNELS = st.integers(0, 40).map(lambda half: 2 * half + 1)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "blur": st.builds(settings.Blur, kernel=KERNELS),
    "foveal": st.builds(
        settings.FovealBlur, kernel=KERNELS, strength=st.floats(0, 1).map(abs), decay=st.floats(0, 100).map(abs)
    ),
    "noise": st.builds(settings.Noise, deviation=st.floats(1e-9, 255), seed=st.integers(0, 2**32 - 1)),
    "low-resolution": st.builds(settings.LowResolution, share=st.floats(1e-9, 1)),
    "mosaic": st.builds(settings.Mosaic, block=st.integers(1, 40)),
    "low-pass": st.builds(settings.LowPass, cutoff=st.floats(1e-3, 1), width=st.floats(1e-3, 10)),
}
EVERY = st.one_of(*SETTINGS.values())
each = pytest.mark.parametrize("kind", SETTINGS)
#: Views of a picture of one colour are that picture.
SMOOTH = [kind for kind in SETTINGS if kind != "noise"]


def pictures(low: int = 0, high: int = 255, longest: int = 24) -> st.SearchStrategy[np.ndarray]:
    sides = st.integers(1, longest)
    return arrays.arrays(np.uint8, st.tuples(sides, sides, st.just(3)), elements=st.integers(low, high))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Edges, gradients and noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, (height, width, 3)) + np.linspace(0, 150, width)[None, :, None]
    values[height // 3 : height // 2, width // 4 :, 1] = 250
    return values.astype(np.uint8)


def seen(given: np.ndarray, kind: str, **values: Any) -> np.ndarray:
    return view_base.build(parse(View, {"kind": kind, **values}))(given)


# --------------------------------------------------------------------------------------------- contract


def test_every_kind_has_settings_a_module_and_a_case():
    found = {loading._tag(member): loading._plain(member) for member in loading._members(View)}
    assert sorted(kind for kind in found if kind != EXTERNAL) == kinds.shipped("views") == sorted(SETTINGS)
    for kind in SETTINGS:
        assert found[kind].model_fields["kind"].default == kind
        assert found[kind].family == "views"


@each
def test_settings_read_back(kind):
    block = parse(View, {"kind": kind})
    assert json.loads(canonical(block))["kind"] == block.kind == kind
    assert parse(View, canonical(block)) == block


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "blur", "kernel": 4}, "odd number of pixels.*found 4"),
        ({"kind": "blur", "kernel": -1}, "kernel"),
        ({"kind": "foveal", "strength": 1.1}, "strength"),
        ({"kind": "foveal", "kernel": 50}, "odd number of pixels.*found 50"),
        ({"kind": "noise", "deviation": 0}, "deviation"),
        ({"kind": "low-resolution", "share": 0}, "share"),
        ({"kind": "mosaic", "block": 0}, "block"),
        ({"kind": "low-pass", "cutoff": 2}, "cutoff"),
        ({"kind": "low-pass", "width": 0}, "width"),
        ({"kind": "blurr"}, "blurr"),
        ({"kernel": 3}, "union_tag_not_found"),
    ],
)
def test_what_is_wrong_is_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        parse(View, wrong)


class Item(Block):
    """As a method asks for pictures seen in one way."""

    view: View | None = neutral(None)


class Items(Block):
    items: tuple[Item, ...] = ()


@each
def test_the_module_of_a_view_is_a_root_of_the_fingerprint_where_it_is_chosen(kind):
    block = Items(items=({"view": {"kind": kind}}, {}))
    module = f"brain2clip.stimuli.views.{kind.replace('-', '_')}"
    assert kinds.modules_of(block) == [module]
    assert kinds.modules_of(Items(items=({},))) == []
    assert json.loads(canonical(block))["items"][1] == {}
    assert {module, "brain2clip.stimuli.view_base"} <= fingerprint.reachable(*kinds.modules_of(block))


@each
@given(data=st.data())
def test_shape_and_type_stay_and_nothing_depends_on_what_came_before(kind, data):
    block, first, second = data.draw(SETTINGS[kind]), data.draw(pictures()), data.draw(pictures())
    view, before = view_base.build(block), first.copy()
    alone = view(first)
    assert (alone.shape, alone.dtype) == (first.shape, np.uint8)
    np.testing.assert_array_equal(first, before)
    view(second)
    np.testing.assert_array_equal(view(first), alone)
    np.testing.assert_array_equal(view_base.build(block)(np.asfortranarray(first)), alone)


@pytest.mark.parametrize("kind", SMOOTH)
@given(data=st.data())
def test_a_picture_of_one_colour_stays(kind, data):
    block, colour = data.draw(SETTINGS[kind]), data.draw(st.tuples(*[st.integers(0, 255)] * 3))
    height, width = data.draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    plain = np.full((height, width, 3), colour, np.uint8)
    np.testing.assert_array_equal(view_base.build(block)(plain), plain)


@pytest.mark.parametrize("kind", ["mosaic", "low-pass"])
@given(data=st.data())
def test_the_mean_of_each_colour_stays_but_for_rounding(kind, data):
    given = data.draw(pictures(96, 160))  # so far from 0 and 255 that nothing is cut off
    found = view_base.build(data.draw(SETTINGS[kind]))(given)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), given.mean(axis=(0, 1)), atol=0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "blur", "kernel": 1},
        {"kind": "foveal", "kernel": 1},
        {"kind": "foveal", "strength": 1, "decay": 0},
        {"kind": "low-resolution", "share": 1},
        {"kind": "mosaic", "block": 1},
    ],
)
def test_settings_that_change_nothing(values):
    given = picture(21, 34)
    np.testing.assert_array_equal(seen(given, **values), given)


def test_rounding_is_half_to_even_and_ends_at_0_and_255():
    assert view_base.to_bytes(np.array([0.5, 1.5, 2.5, 254.5, -3.0, 255.6])).tolist() == [0, 2, 2, 254, 0, 255]


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"kind": "blur"}, "blur-15"),
        ({"kind": "foveal", "kernel": 45}, "foveal-45-0.5-3"),
        ({"kind": "noise"}, "noise-25-0"),
        ({"kind": "noise", "deviation": 12.5, "seed": 3}, "noise-12.5-3"),
        ({"kind": "low-resolution"}, "low-resolution-0.1"),
        ({"kind": "mosaic"}, "mosaic-5"),
        ({"kind": "low-pass"}, "low-pass-0.2-1"),
    ],
)
def test_names(values, name):
    assert parse(View, values).name == name


@given(one=EVERY, other=EVERY)
def test_names_are_safe_and_tell_settings_apart(one, other):
    assert (one.name == other.name) == (canonical(one) == canonical(other))
    assert re.fullmatch(r"[a-z][a-z0-9.+-]*", one.name)


@pytest.mark.parametrize(
    ("field", "first", "second"),
    [
        ("deviation", 25.1234567, math.nextafter(25.1234567, 26)),  # more digits than people write
        ("deviation", 1e-7, 1e-8),
        ("deviation", 10, 100),
        ("seed", 1, 10),
    ],
)
def test_names_of_near_settings(field, first, second):
    names = {parse(View, {"kind": "noise", field: value}).name for value in (first, second)}
    assert len(names) == 2


class Worded(ViewBase):
    """Settings of a kind of the project that are not all numbers."""

    kind: Literal["blur"] = "blur"
    border: str
    kernel: int = 3


def test_words_of_settings_do_not_stand_in_names():
    names = {Worded(border=word).name for word in ("a/b", "c-3", "c")}
    assert len(names) == 3
    assert all(re.fullmatch(r"blur-[0-9a-f]{8}", name) for name in names)


# ---------------------------------------------------------------------------------------------- outside

OUTSIDE = """
import numpy as np
from brain2clip.settings import ViewBase


class Flip:
    class Settings(ViewBase):
        axis: int = 0

    def __init__(self, settings):
        self.axis = settings.axis

    def __call__(self, picture):
        return np.flip(picture, self.axis)


class Grey(Flip):
    def __call__(self, picture):
        return picture.mean(axis=2)


class Float(Flip):
    def __call__(self, picture):
        return picture / 255


class Forgets(Flip):
    def __call__(self, picture):
        pass
"""


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab/__init__.py").touch()
    (tmp_path / "my_lab/odd_views.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_lab", "my_lab.odd_views"):
        sys.modules.pop(name, None)


def test_a_view_from_outside(my_lab):
    block = parse(View, {"kind": "my_lab.odd_views:Flip", "axis": 1})
    assert parse(View, canonical(block)) == block
    assert kinds.modules_of(Items(items=({"view": block},))) == ["my_lab.odd_views"]
    np.testing.assert_array_equal(view_base.build(block)(picture(4, 6)), picture(4, 6)[:, ::-1])
    names = {
        parse(View, {"kind": f"my_lab.odd_views:{name}", "axis": axis}).name
        for name in ("Flip", "Grey")
        for axis in (0, 1)
    }
    assert len(names) == 4
    assert all(re.fullmatch(r"odd-views-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize(
    ("name", "found"), [("Grey", r"float64 \[4, 6\]"), ("Float", r"float64 \[4, 6, 3\]"), ("Forgets", "NoneType")]
)
def test_a_view_that_gives_no_such_picture_is_refused(my_lab, name, found):
    view = view_base.build(parse(View, {"kind": f"my_lab.odd_views:{name}"}))
    with pytest.raises(InputError, match=rf"odd_views:{name}.*expected uint8 \[4, 6, 3\].*found {found}"):
        view(picture(4, 6))


# ------------------------------------------------------------------------------ against something else

#: Kernel and deviation by OpenCV's rule, pixels.
DEVIATIONS = {1: 0.5, 3: 0.8, 9: 1.7, 15: 2.6, 45: 7.1, 51: 8.0, 57: 8.9, 63: 9.8}


def close(found: np.ndarray, exact: np.ndarray) -> None:
    """Found is the exact one, rounded and cut off; what lies just between two values may go either way."""
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-6


def blurred(given: np.ndarray, kernel: int) -> np.ndarray:
    """Direct sum over the square kernel."""
    half = kernel // 2
    line = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * DEVIATIONS[kernel] ** 2))
    weights = np.outer(line, line)
    padded = np.pad(given.astype(float), ((half, half), (half, half), (0, 0)), mode="reflect")
    patches = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(0, 1))
    return np.einsum("hwcij,ij->hwc", patches, weights / weights.sum())


@pytest.mark.parametrize("kernel", DEVIATIONS)
def test_blur_is_the_direct_sum(kernel):
    given = picture(32, 27)  # the largest kernel sees the picture mirrored twice
    close(seen(given, "blur", kernel=kernel), blurred(given, kernel))


@pytest.mark.parametrize("kernel", [3, 15, 63])
def test_blur_is_that_of_torchvision(kernel):
    given = picture(40, 50)
    planes = torch.from_numpy(given).permute(2, 0, 1).double()
    other = functional.gaussian_blur(planes, [kernel, kernel], [DEVIATIONS[kernel]] * 2)
    np.testing.assert_allclose(view_base.gaussian_blur(given, kernel), other.permute(1, 2, 0), atol=1e-3)


@pytest.mark.parametrize(("kernel", "strength", "decay"), [(45, 0.5, 3.0), (15, 1.0, 0.7)])
def test_foveal_blur_pixel_by_pixel(kernel, strength, decay):
    given = picture(33, 28)
    soft, exact = blurred(given, kernel), np.zeros(given.shape)
    for y in range(33):
        for x in range(28):
            distance = math.dist((y, x), (16, 13.5)) / math.dist((0, 0), (16, 13.5))
            share = strength * math.exp(-decay * distance)
            exact[y, x] = share * given[y, x] + (1 - share) * soft[y, x]
    close(seen(given, "foveal", kernel=kernel, strength=strength, decay=decay), exact)


def test_foveal_blur_without_a_sharp_share_is_the_blur():
    given = picture(30, 30)
    np.testing.assert_array_equal(seen(given, "foveal", kernel=9, strength=0), seen(given, "blur", kernel=9))


def test_noise_has_the_deviation_and_no_structure():
    grey = np.full((200, 180, 3), 128, np.uint8)
    noise = seen(grey, "noise", deviation=20).astype(float) - 128
    assert noise.std() == pytest.approx(20, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.25)
    neighbours = (noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])
    for one, other in neighbours:
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_noise_is_that_of_the_picture_and_the_seed():
    first = np.full((20, 20, 3), 128, np.uint8)
    second = first.copy()
    second[3, 4, 1] += 1
    other_shape = first.reshape(10, 40, 3)
    given = [(first, 0), (second, 0), (first, 1), (other_shape, 0)]
    found = [seen(one, "noise", seed=seed).reshape(-1) for one, seed in given]
    for number, one in enumerate(found):
        for other in found[:number]:
            assert (one == other).mean() < 0.05


def test_noise_of_a_larger_deviation_is_the_same_noise():
    given = np.full((20, 20, 3), 128, np.uint8)
    small, large = (seen(given, "noise", deviation=one).astype(float) - 128 for one in (10, 30))
    assert np.abs(3 * small - large).max() <= 2


#: Noise of a small picture.
DRAWN = [
    *(89, 61, 91, 122, 90, 92, 92, 108, 104, 138, 92, 126),
    *(120, 100, 130, 148, 147, 175, 175, 187, 149, 155, 143, 132),
]


def test_noise_on_another_machine():
    """Values that were drawn once; they may not change with Python, NumPy or the machine."""
    given = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 5 + 60
    assert seen(given, "noise", seed=7).reshape(-1).tolist() == DRAWN


def resized(given: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Bilinear along an axis by its triangle, as wide as a new pixel where there are fewer."""
    n = given.shape[axis]
    scale = n / size
    centres = (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(n) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, given, axes=(1, axis)), 0, axis)


@pytest.mark.parametrize(("share", "height", "width"), [(0.1, 3, 5), (0.37, 11, 18), (0.01, 1, 1)])
def test_low_resolution_is_bilinear_down_and_up(share, height, width):
    given = picture(31, 48)
    small = resized(resized(given.astype(float), 0, height), 1, width)
    exact = resized(resized(small, 0, 31), 1, 48)
    found = seen(given, "low-resolution", share=share)
    assert np.abs(found - exact).max() <= 2  # Pillow rounds four times
    assert np.abs(found - exact).mean() < 0.6


@given(given=pictures(), block=st.integers(1, 30))
def test_mosaic_is_the_mean_of_each_block(given, block):
    found = seen(given, "mosaic", block=block)
    for top in range(0, given.shape[0], block):
        for left in range(0, given.shape[1], block):
            for colour in range(3):
                place = (slice(top, top + block), slice(left, left + block), colour)
                mean = Fraction(int(given[place].sum(dtype=int)), given[place].size)
                assert np.unique(found[place]).tolist() == [round(mean)]


@pytest.mark.parametrize(("height", "width"), [(6, 7), (9, 8)])
def test_low_pass_is_the_direct_sum_over_frequencies(height, width):
    given, cutoff, octaves = picture(height, width), 0.4, 2.0
    exact = np.zeros(given.shape, complex)
    y, x = np.mgrid[:height, :width]
    for v in range(height):
        for u in range(width):
            wave = np.exp(2j * np.pi * (v * y / height + u * x / width))
            cycles = math.hypot(min(v, height - v) / height, min(u, width - u) / width)
            place = -math.inf if cycles == 0 else math.log2(2 * cycles / cutoff) / octaves
            share = 1 if place <= -0.5 else 0 if place >= 0.5 else math.cos(math.pi / 2 * (place + 0.5)) ** 2
            exact += share * wave[:, :, None] * np.einsum("hwc,hw->c", given, wave.conj()) / (height * width)
    close(seen(given, "low-pass", cutoff=cutoff, width=octaves), exact.real)


@pytest.mark.parametrize("bank", [FilterBank(), FilterBank(bands=6, lowest=0.05)])
def test_low_pass_between_two_bands_is_the_sum_of_those_below(bank):
    given = picture(30, 32)
    window = windows(radial_frequency(30, 32), bank)
    centres = np.geomspace(bank.lowest, 1, bank.bands)
    spectrum = np.fft.rfft2(given, axes=(0, 1))
    for last, (low, high) in enumerate(pairwise(centres)):
        kept = window[: last + 1].sum(0).double().numpy()
        exact = np.fft.irfft2(spectrum * kept[:, :, None], s=(30, 32), axes=(0, 1))
        found = seen(given, "low-pass", cutoff=math.sqrt(low * high), width=math.log2(high / low))
        assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3  # the windows are of single precision
