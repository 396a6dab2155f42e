import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_clip import IMAGE, pictures, tiny_clip

from brain2clip.settings import FilterBank
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens, radial_frequency, windows

BANKS = st.builds(
    FilterBank,
    bands=st.integers(1, 9),
    shape=st.sampled_from(["raised-cosine", "box"]),
    lowest=st.floats(0.01, 0.9),
)


@given(bank=BANKS, size=st.integers(4, 40))
def test_windows_sum_to_one_and_are_not_negative(bank, size):
    window = windows(radial_frequency(size, size + 1), bank)
    assert window.shape == (bank.bands, size, (size + 1) // 2 + 1)
    assert (window >= 0).all()
    torch.testing.assert_close(window.sum(0), torch.ones(window.shape[1:]))


@given(bank=BANKS)
def test_mean_of_the_picture_is_in_the_first_band(bank):
    assert windows(radial_frequency(8, 8), bank)[0, 0, 0] == 1


def test_radial_frequency_is_one_at_nyquist():
    frequency = radial_frequency(16, 16)
    assert frequency[8, 0] == pytest.approx(1)
    assert frequency[0, 8] == pytest.approx(1)


@pytest.mark.parametrize("shape", ["raised-cosine", "box"])
def test_band_tokens_add_up_to_the_tokens_of_the_picture(shape):
    bands = BandTokens(tiny_clip().visual.conv1, (IMAGE, IMAGE), FilterBank(shape=shape))
    raw, banded = bands(pictures(3))
    torch.testing.assert_close(banded.sum(1), raw, atol=1e-5, rtol=1e-4)


def test_gain_weighted_tokens_are_the_tokens_of_the_filtered_picture():
    """The claim that lets training do without Fourier transforms, against numpy's FFT."""
    bank = FilterBank(bands=4)
    bands = BandTokens(tiny_clip().visual.conv1, (IMAGE, IMAGE), bank)
    image = pictures(1)
    gain = torch.tensor([1.7, 0.2, 1.1, 0.0])
    window = windows(radial_frequency(IMAGE, IMAGE), bank).numpy()
    transfer = np.einsum("k,khw->hw", gain.numpy(), window)
    filtered = np.fft.irfft2(np.fft.rfft2(image.numpy()) * transfer, s=(IMAGE, IMAGE))
    expected = bands.embed(torch.from_numpy(filtered.astype(np.float32)))
    _, banded = bands(image)
    torch.testing.assert_close(torch.einsum("k,bknd->bnd", gain, banded), expected, atol=1e-5, rtol=1e-4)


def test_a_biased_patch_embedding_is_refused():
    with pytest.raises(InputError, match="bias"):
        BandTokens(torch.nn.Conv2d(3, 4, 8, 8), (IMAGE, IMAGE), FilterBank())
