"""Similarity and identification of pictures: the usual metrics of generated pictures. Arrays only.

An undefined correlation, because one side is constant, is set to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Side at which pixels are compared, after all pictures were brought to :data:`COMMON`.
SIDE = 425
COMMON = 256
#: Grey of red, green and blue (luma of ITU-R BT.709, as scikit-image's ``rgb2gray``).
GREY = np.array([0.2125, 0.7154, 0.0721])
#: Gaussian window of SSIM, and the edge that it spoils.
SIGMA, TRUNCATE, EDGE = 1.5, 3.5, 5
#: Constants of SSIM for values from 0 to 1.
C1, C2 = 0.01**2, 0.03**2
#: Correlations as near as this are equal: networks compute in single precision, and a tie counts against.
TIE = 1e-6
#: Deviation, as a part of the largest value, up to which values are constant.
CONSTANT = 1e-6


def standardised(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows [n, p] centred and of unit length, so that their products are correlations; constant ones are zero."""
    centred = values - values.mean(axis=1, keepdims=True, dtype=np.float64).astype(values.dtype)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = length <= CONSTANT * np.sqrt(values.shape[1]) * np.abs(values).max(axis=1, keepdims=True)
    return np.where(flat, 0, centred / np.where(flat, 1, length)).astype(values.dtype)


@dataclass(frozen=True)
class Looked:
    """A picture with what is compared of its pixels.

    Attributes
    ----------
    colours : ndarray [height * width * 3]
        All numbers, from 0 to 1.
    centre, length : float
        Their mean, and the length that they have without it; 0 for a picture of one colour.
    grey, mean, variance : ndarray [height, width]
        Grey from 0 to 1, and its local mean and variance under the Gaussian window.
    """

    colours: NDArray[np.float64]
    centre: float
    length: float
    grey: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def at(cls, picture: NDArray[np.floating]) -> Looked:
        """Of an RGB picture [height, width, 3] from 0 to 1."""
        values = picture.astype(np.float64)
        grey, colours = values @ GREY, values.ravel()
        mean, centre = _window(grey), float(colours.mean())
        length = 0.0 if np.ptp(colours) <= CONSTANT else float(np.linalg.norm(colours - centre))
        return cls(colours, centre, length, grey, mean, _window(grey * grey) - mean * mean)


def pixcorr(a: Looked, b: Looked) -> float:
    """Pearson correlation of all numbers of two pictures of one shape."""
    if not (a.length and b.length):
        return 0.0
    return float(a.colours @ b.colours - a.colours.size * a.centre * b.centre) / (a.length * b.length)


def ssim(a: Looked, b: Looked) -> float:
    """Structural similarity of two pictures of one shape (Wang et al. 2004): Gaussian window, population covariance."""
    covariance = _window(a.grey * b.grey) - a.mean * b.mean
    above = (2 * a.mean * b.mean + C1) * (2 * covariance + C2)
    below = (a.mean**2 + b.mean**2 + C1) * (a.variance + b.variance + C2)
    inside = slice(EDGE, -EDGE)
    return float((above / below)[inside, inside].mean())


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = ndimage.gaussian_filter(values, SIGMA, truncate=TRUNCATE)
    return found


def ranks(correlation: NDArray[np.floating], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of the seen picture among all test pictures by their correlation with a given one, 1 (best) to N.

    A tie counts as an error: a picture that is equally similar to all has the last rank.

    Parameters
    ----------
    correlation : ndarray [N, n]
        R[j, i] of the features of seen picture j and given picture i.
    own : ndarray [n] int
        Row that was seen.
    """
    right = correlation[own, np.arange(correlation.shape[1])]
    return len(correlation) - np.count_nonzero(correlation < right - TIE, axis=0).astype(np.int64)


def two_way(rank: NDArray[np.int64], n_candidates: int) -> NDArray[np.float64]:
    """Two-way identification: share of other test pictures that are less similar than the seen one; chance 1/2."""
    return (n_candidates - rank) / (n_candidates - 1)


def others(count: int, seed: int = 0) -> NDArray[np.int64]:
    """For each of so many places another one: a random permutation of one cycle, so that nothing stays in place."""
    order = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, 1)
    return found
