"""Whether a mask has the voxels of the signals: every order of the axes is put right, every other grid is seen."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from brain2clip.readers import grids

GRID = (4, 3, 5)
#: A tilted grid with voxels of three sizes.
TILT = nibabel.eulerangles.euler2mat(0.2, -0.1, 0.3)
AFFINE = nibabel.affines.from_matvec(TILT @ np.diag([3.0, 2.5, 4.0]), [-60, 20, 5])
VALUES = np.random.default_rng(0).random(GRID) > 0.6
ORDERS = [np.column_stack([axes, turns]) for axes in permutations(range(3)) for turns in product((1, -1), repeat=3)]


def test_a_header_with_two_axes_in_one_direction_says_nothing():
    """As a flipped bit of an exponent leaves it."""
    image = nibabel.Nifti1Image(np.ones(GRID, np.int16), AFFINE)
    assert grids.affine_of(image) is not None
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[0, 1] = 1e38
    image.set_sform(affine, 1)
    assert np.linalg.det(affine) > 1
    assert grids.affine_of(image) is None


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_of_the_axes_is_put_right(order):
    stored = orientations.apply_orientation(VALUES, order)
    affine = AFFINE @ orientations.inv_ornt_aff(order, GRID)
    # What it means: a voxel is the one at the same place in space.
    for place in np.argwhere(VALUES)[:3]:
        there = np.linalg.inv(affine) @ AFFINE @ [*place, 1]
        assert stored[tuple(np.rint(there[:3]).astype(int))]
    np.testing.assert_array_equal(grids.laid_on(stored, affine, GRID, AFFINE), VALUES)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (np.eye(4), True),
        (nibabel.affines.from_matvec(np.eye(3), [0.05, -0.05, 0]), True),
        (nibabel.affines.from_matvec(np.eye(3), [0.2, 0, 0]), False),
        (nibabel.affines.from_matvec(np.eye(3), [1, 0, 0]), False),
        (nibabel.affines.from_matvec(np.diag([1, 1, 1.1]), [0, 0, 0]), False),
        (nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.1), [0, 0, 0]), False),
        # Turned, but about another centre: one voxel off.
        (nibabel.affines.from_matvec(np.diag([-1, 1, 1]), [GRID[0], 0, 0]), False),
        (nibabel.affines.from_matvec(np.diag([-1, 1, 1]), [GRID[0] - 1, 0, 0]), True),
        (np.diag([0.0, 1, 1, 1]), False),
    ],
)
def test_another_grid_is_seen(change, same):
    assert (grids.laid_on(VALUES, AFFINE @ change, GRID, AFFINE) is not None) == same


def test_the_grid_may_be_of_one_slice():
    flat = VALUES[:, :, :1]
    turned = AFFINE @ np.diag([1.0, 1, -1, 1])
    np.testing.assert_array_equal(grids.laid_on(flat, turned, flat.shape, AFFINE), flat)
