"""Betas of a session of the Natural Scenes Dataset: int16, 300 times the percent signal change, in one of two formats.

HDF5 holds the MATLAB array ``betas`` [X, Y, Z, trials]; h5py shows its axes reversed, [trials, Z, Y, X]. NIfTI has
[X, Y, Z, trials]. Voxels are numbered like a mask [X, Y, Z] that is flattened: the last coordinate runs fastest.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip.readers import grids, hdf5, signal_files, user_files
from brain2clip.readers.nsd_design import TRIALS
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")

#: Stored number for one percent.
SCALE = 300
DATA = "betas"
AGAIN = "; get the file once more"


def percent(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    """Percent signal change of stored numbers."""
    return stored.astype(np.float32) / np.float32(SCALE)


class Hdf5Betas:
    """A session in HDF5.

    Attributes
    ----------
    path : Path
    grid : (int, int, int)
        X, Y, Z.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path = path
        user_files.existing(path, "file of betas", setting)
        with hdf5.opened(path, AGAIN) as file:
            if DATA not in file:
                raise InputError(f"{path}: no dataset {DATA!r}; found {', '.join(file) or 'none'}{AGAIN}")
            data = file[DATA]
            _check_stored(data.dtype, path)
            if data.ndim != 4 or data.shape[0] != TRIALS:
                turned = data.ndim == 4 and data.shape[3] == TRIALS
                raise InputError(
                    f"{path}: {DATA} is {data.shape} as h5py shows it, expected ({TRIALS}, Z, Y, X)"
                    + (
                        "; its axes are not reversed, so it is not the file that was published, which MATLAB wrote"
                        if turned
                        else ""
                    )
                    + AGAIN
                )
            hdf5.check_written(data, path, AGAIN)
            self.grid = (data.shape[3], data.shape[2], data.shape[1])

    def read(self, places: NDArray[np.int64]) -> NDArray[np.int16]:
        """Stored numbers [TRIALS, n] of voxels, by their ascending numbers in the grid."""
        found = np.empty((TRIALS, len(places)), np.int16)
        x, y, z = np.unravel_index(places, self.grid)
        # Neighbours along the last coordinate are read together; all trials of a voxel are contiguous in the file.
        ends = np.flatnonzero((np.diff(places) != 1) | (np.diff(z) != 1)) + 1
        with hdf5.opened(self.path, AGAIN) as file:
            data = file[DATA]
            for own in np.split(np.arange(len(places)), ends):
                first, last = own[0], own[-1]
                found[:, own] = data[:, z[first] : z[last] + 1, y[first], x[first]]
        return found


class NiftiBetas:
    """A session in NIfTI.

    Attributes
    ----------
    path : Path
    grid : (int, int, int)
        X, Y, Z.
    """

    def __init__(self, path: Path, setting: str) -> None:
        import nibabel

        self.path, self.setting = path, setting
        user_files.existing(path, "file of betas", setting)
        with user_files.reading(path, "not readable as NIfTI", AGAIN):
            image: Any = nibabel.load(path)
            scaling = (image.dataobj.slope, image.dataobj.inter)  # nibabel takes them out of the header
        _check_stored(image.get_data_dtype(), path)
        if scaling != (1, 0):
            raise InputError(f"{path}: its header scales the numbers with {scaling}; expected no scaling{AGAIN}")
        if len(image.shape) != 4 or image.shape[3] != TRIALS:
            raise InputError(f"{path}: {image.shape}, expected (X, Y, Z, {TRIALS}){AGAIN}")
        self.grid = image.shape[:3]
        self.affine = grids.affine_of(image)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.int16]:
        """Stored numbers [TRIALS, n] of voxels, by their ascending numbers in the grid; this unpacks the whole file."""
        image = signal_files.nifti(self.path, self.setting)
        found = np.empty((TRIALS, len(places)), np.int16)
        step = max(1, signal_files.BLOCK_BYTES // (2 * int(np.prod(self.grid))))
        for start in range(0, TRIALS, step):
            with user_files.reading(self.path, "not complete", AGAIN):
                volumes = np.asarray(image.dataobj[..., start : start + step])
            found[start : start + volumes.shape[3]] = volumes.reshape(-1, volumes.shape[3])[places].T
        return found


def _check_stored(dtype: np.dtype[Any], path: Path) -> None:
    """Refuse numbers of another type: floats are already percent signal change and must not be divided again."""
    if dtype == np.int16:
        return
    already = (
        "; these seem to be percent signal change already, as on the surface or in prepared files, so dividing "
        f"by {SCALE} would be wrong"
        if dtype.kind == "f"
        else ""
    )
    raise InputError(f"{path}: {dtype} numbers, expected int16 (percent signal change times {SCALE}){already}{AGAIN}")


def read_labels(path: Path, grid: tuple[int, ...], betas: Hdf5Betas | NiftiBetas, setting: str) -> NDArray[np.int64]:
    """Labels of the voxels [X * Y * Z] of a file of ``roi/``, whole numbers; -1 and 0 are no region.

    Parameters
    ----------
    path : Path
        NIfTI.
    grid : tuple of int
        Grid of the betas.
    betas : Hdf5Betas or NiftiBetas
        A session, for its position in space and for messages.
    setting : str
        Setting that names the file.

    Raises
    ------
    brain2clip.stage.InputError
        If it is missing, damaged, on another grid, has other axes than the betas, or has values that are not whole
        numbers.
    """
    import nibabel

    image = signal_files.nifti(path, setting)
    with user_files.reading(path, "not complete", f"(setting {setting})"):
        values = np.asarray(image.dataobj)
        affine = grids.affine_of(image)
    if values.shape != tuple(grid):
        raise InputError(
            f"{path}: {values.shape} voxels, but {betas.path} has {tuple(grid)} (setting {setting}); expected a file "
            "of the same subject in func1pt8mm"
        )
    own = getattr(betas, "affine", None)
    if own is not None and affine is not None:
        turned, kept = ("".join(nibabel.aff2axcodes(one)) for one in (affine, own))
        if turned != kept:
            raise InputError(
                f"{path}: its axes are {turned}, those of {betas.path} are {kept} (setting {setting}); expected the "
                "same axes: get both files once more"
            )
        if not np.allclose(affine, own, atol=grids.TOLERANCE):
            log.warning("%s: the header differs in position from %s; voxels are matched one by one", path, betas.path)
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        raise InputError(f"{path}: values that are not whole numbers (setting {setting}); expected labels of regions")
    return values.astype(np.int64).ravel()


def read_names(path: Path) -> dict[int, str]:
    """Names of labels from a colour table of FreeSurfer: number, name, and perhaps more in each line."""
    found = {}
    for line in user_files.text(path, AGAIN).splitlines():
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) < 2 or not re.fullmatch("-?[0-9]+", parts[0]):
            raise InputError(f"{path}: found line {line!r}; expected a number and a name{AGAIN}")
        found[int(parts[0])] = parts[1]
    return found
