"""Ring bands over spatial frequency that sum to one, and the patch tokens of each band.

CLIP's patch embedding is linear and has no bias, so the patch tokens of a picture filtered with gains g_k are the
sum over k of g_k times the tokens of band k: a trained filter needs neither Fourier transform nor picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brain2clip.settings import FilterBank
from brain2clip.stage import InputError

#: Pictures whose bands are made at the same time on a CPU: so many fit into its cache (a third of the time of a batch).
AT_ONCE = 4


def radial_frequency(height: int, width: int) -> Tensor:
    """Radial spatial frequency of each coefficient of ``torch.fft.rfft2``.

    Returns
    -------
    Tensor [height, width // 2 + 1]
        In parts of the Nyquist frequency (0.5 cycles per pixel); up to sqrt(2) in the corners.
    """
    vertical = torch.fft.fftfreq(height)[:, None]
    horizontal = torch.fft.rfftfreq(width)[None, :]
    return torch.sqrt(vertical**2 + horizontal**2) / 0.5


def windows(frequency: Tensor, bank: FilterBank) -> Tensor:
    """Window of each band at given radial frequencies.

    Centres are spaced evenly in log frequency from ``bank.lowest`` to 1 (Nyquist). Raised-cosine neighbours cross as
    cos^2 and sin^2, so that the windows sum to one; the first band keeps everything below its centre (the mean
    included), the last everything above.

    Parameters
    ----------
    frequency : Tensor [...]
        Parts of the Nyquist frequency.

    Returns
    -------
    Tensor [K, ...]
    """
    if bank.bands == 1:
        return torch.ones_like(frequency)[None]
    lowest = torch.log(torch.tensor(bank.lowest))
    step = -lowest / (bank.bands - 1)
    place = (torch.log(frequency.clamp_min(1e-12)) - lowest) / step
    place = place.clamp(0, bank.bands - 1)
    index = torch.arange(bank.bands).reshape(-1, *[1] * frequency.ndim)
    if bank.shape == "box":
        return (torch.round(place) == index).to(frequency.dtype)
    distance = (place - index).abs().clamp_max(1)
    return torch.cos(torch.pi / 2 * distance) ** 2


class BandTokens(nn.Module):
    """Patch tokens of a picture and of its frequency bands, through a frozen patch embedding.

    Parameters
    ----------
    patch_embedding : nn.Conv2d
        CLIP's own: stride = kernel size, no bias.
    image_size : (int, int)
        Height and width, pixels.
    bank : FilterBank
    """

    window: Tensor

    def __init__(self, patch_embedding: nn.Conv2d, image_size: tuple[int, int], bank: FilterBank) -> None:
        super().__init__()
        if patch_embedding.bias is not None:
            raise InputError("the patch embedding has a bias, so bands of a picture do not add up to its tokens")
        self.patch_embedding = patch_embedding
        self.image_size = tuple(image_size)
        self.register_buffer("window", windows(radial_frequency(*image_size), bank), persistent=False)

    def embed(self, pictures: Tensor) -> Tensor:
        """Patch tokens [B, N, D] of normalised pictures [B, 3, H, W], before position embedding."""
        x = self.patch_embedding(pictures)
        return x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)

    def bands(self, pictures: Tensor) -> Tensor:
        """Pictures of each band [B, K, 3, H, W]; they sum to the pictures. Always in fp32."""
        with torch.autocast(pictures.device.type, enabled=False):
            spectrum = torch.fft.rfft2(pictures.float())
            filtered = spectrum[:, None] * self.window[None, :, None]
            return torch.fft.irfft2(filtered, s=self.image_size)

    def of_bands(self, pictures: Tensor) -> Tensor:
        """Tokens of the bands of pictures [B, K, N, D]; over K they sum to those of the pictures."""
        at_once = AT_ONCE if pictures.device.type == "cpu" else max(1, len(pictures))
        parts = []
        for some in pictures.split(at_once):
            bands = self.bands(some)
            parts.append(self.embed(bands.flatten(0, 1)).unflatten(0, bands.shape[:2]))
        return torch.cat(parts)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, D] of the pictures and [B, K, N, D] of their bands."""
        return self.embed(pictures), self.of_bands(pictures)
