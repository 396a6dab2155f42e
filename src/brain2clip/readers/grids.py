"""Whether two volumes have the same voxels: by their positions in space, not by their shapes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest distance between voxels of the same grid, in voxels: headers are rounded.
TOLERANCE = 0.1


def affine_of(image: Any) -> NDArray[np.float64] | None:
    """Affine [4, 4] of a NIfTI image, or None if its header has none.

    Without a code of sform or qform, libraries invent an affine from the sizes of the voxels. One with two axes in the
    same direction is of a damaged header.
    """
    from nibabel import orientations

    header, affine = image.header, np.asarray(image.affine, float)
    known = header["sform_code"] > 0 or header["qform_code"] > 0
    if not (known and np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 0):
        return None
    return None if np.isnan(orientations.io_orientation(affine)).any() else affine


def forms_differ(image: Any) -> bool:
    """Whether sform and qform of a header differ; the sform is used."""
    sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    if sform is None or qform is None or not abs(np.linalg.det(sform)) > 0:
        return False
    return _distance(np.linalg.inv(sform) @ qform, image.shape[:3]) > TOLERANCE


def laid_on(
    values: NDArray[Any], affine: NDArray[np.float64], grid: tuple[int, ...], onto: NDArray[np.float64]
) -> NDArray[Any] | None:
    """Values of a volume in the order of another grid's axes, or None where it is not the same grid.

    Parameters
    ----------
    values : ndarray [x, y, z]
        A volume, and ``affine`` [4, 4] the places of its voxels.
    grid : tuple of int
        Shape of the other volume, and ``onto`` [4, 4] the places of its voxels.

    Returns
    -------
    ndarray or None
        The same values, axes swapped and turned where the same grid is stored in another order: exact, nothing is
        resampled.
    """
    from nibabel import orientations

    to_voxel = np.linalg.inv(onto) @ affine
    axes = orientations.io_orientation(to_voxel)
    if np.isnan(axes).any():
        return None
    turned = orientations.apply_orientation(values, axes)
    if turned.shape != tuple(grid):
        return None
    place = to_voxel @ orientations.inv_ornt_aff(axes, values.shape)
    return turned if _distance(place, grid) <= TOLERANCE else None


def same_shape(values: NDArray[Any], grid: tuple[int, ...]) -> NDArray[Any] | None:
    """Values of a volume as they are, or None where it has another shape than the grid."""
    return values if values.shape == tuple(grid) else None


def _distance(place: NDArray[np.float64], grid: tuple[int, ...]) -> float:
    """Farthest that an affine map moves a voxel of a grid: that is a corner."""
    corners = np.array([(*corner, 1) for corner in product(*((0, length - 1) for length in grid))], float).T
    return float(np.abs(place @ corners - corners).max())
