"""Files of voxel signals that users have: NIfTI, npz, npy and HDF5, behind one way of reading some voxels of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from brain2clip.readers.bdata import BData, is_bdata
from brain2clip.readers.bids_files import suggestion
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Name of the array of signals in .npz and .h5 files.
DATA = "data"
#: Bytes of volumes or rows that are read at the same time.
BLOCK_BYTES = 2**26


class Signals(Protocol):
    """A file of voxel signals.

    Attributes
    ----------
    path : Path
    n_rows, n_voxels : int
    """

    path: Path
    n_rows: int
    n_voxels: int

    def names(self) -> list[str]:
        """A name per voxel."""

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """Regions that the file itself names, masks [n_voxels]."""

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """Mask [n_voxels] that a setting names: a file or an array in this one."""

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)]."""


def open_signals(path: Path, mask: str | None, setting: str) -> Signals:
    """A file of signals by its ending.

    Parameters
    ----------
    path : Path
        .nii, .nii.gz, .npz, .npy, .h5 or .hdf5.
    mask : str or None
        NIfTI mask of the voxels to read, for NIfTI signals.
    setting : str
        Start of the names of settings (``studies.NAME``), for messages.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, of another kind, or of another layout.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of voxel signals (setting {setting}.signals)")
    if path.name.endswith((".nii", ".nii.gz")):
        return Volumes(path, mask, setting)
    if mask is not None:
        raise InputError(
            f"{setting}.mask: {mask!r} is for NIfTI signals, but {path} has no places of voxels; "
            "leave mask out, and name regions of the file in rois"
        )
    if path.suffix == ".npz":
        return Archive(path, setting)
    if path.suffix == ".npy":
        return Array(path, setting)
    if path.suffix in (".h5", ".hdf5"):
        try:
            return Columns(path) if is_bdata(path) else Hdf5(path, setting)
        except OSError as error:
            raise InputError(f"{path}: not a complete HDF5 file ({error}) (setting {setting}.signals)") from None
    raise InputError(
        f"{path}: signals of an unknown kind (setting {setting}.signals); expected .nii, .nii.gz, .npz, .npy or .h5"
    )


# ------------------------------------------------------------------------------------------------- NIfTI


class Volumes:
    """NIfTI (x, y, z, rows); voxels are those of the mask, the last coordinate running fastest."""

    def __init__(self, path: Path, mask: str | None, setting: str) -> None:
        self.path, self.setting = path, setting
        shape = self._image.shape
        if len(shape) != 4:
            raise InputError(
                f"{path}: {len(shape)} dimensions {shape}, expected 4 (x, y, z, rows) (setting {setting}.signals)"
            )
        self.grid, self.n_rows = shape[:3], shape[3]
        mask_setting = f"{setting}.mask"
        inside = np.ones(self.grid, bool) if mask is None else self._mask_of(mask, mask_setting)
        self._places = np.flatnonzero(inside)
        self.n_voxels = len(self._places)
        if not self.n_voxels:
            raise InputError(f"{mask}: no voxel in the mask (setting {mask_setting})")

    @cached_property
    def _image(self) -> Any:
        return _nifti(self.path, f"{self.setting}.signals")

    def names(self) -> list[str]:
        """Coordinates of the grid, counted from 0."""
        places = np.stack(np.unravel_index(self._places, self.grid), axis=1)
        return ["-".join(map(str, place)) for place in places]

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """None: NIfTI names no regions."""
        return {}

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """A NIfTI mask on the same grid."""
        return self._mask_of(source, setting).ravel()[self._places]

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals, some volumes at a time in their order (a packed file is only read forwards)."""
        places = self._places[voxels]
        signals = np.empty((self.n_rows, len(places)), np.float32)
        step = max(1, BLOCK_BYTES // (8 * int(np.prod(self.grid))))
        for start in range(0, self.n_rows, step):
            volumes = np.asarray(self._image.dataobj[..., start : start + step])
            signals[start : start + volumes.shape[3]] = volumes.reshape(-1, volumes.shape[3])[places].T
        return signals

    def _mask_of(self, source: str, setting: str) -> NDArray[np.bool_]:
        image = _nifti(Path(source), setting)
        values = np.asarray(image.dataobj)
        values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
        if values.shape != self.grid:
            raise InputError(
                f"{source}: a mask of {values.shape} voxels (setting {setting}), but {self.path} has {self.grid}; "
                "expected the same grid"
            )
        return values > 0


def _nifti(path: Path, setting: str) -> Any:
    import nibabel

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected NIfTI (setting {setting})")
    try:
        return nibabel.load(path, keep_file_open=True)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise InputError(f"{path}: not readable as NIfTI ({error}) (setting {setting})") from None


# ------------------------------------------------------------------------------------- arrays and HDF5


class Array:
    """A matrix [rows, voxels] in an .npy file."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting
        self.n_rows, self.n_voxels = _checked(self._matrix, path, setting)

    @cached_property
    def _matrix(self) -> Any:
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path}: not readable as .npy ({error}) (setting {self.setting}.signals)") from None

    def names(self) -> list[str]:
        """Numbers of the columns, from 0."""
        return _numbered(self.n_voxels)

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """None: a matrix names no regions."""
        return {}

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """Refused: there is no second array in the file."""
        raise InputError(
            f"{setting}: {source!r}, but {self.path} holds no masks; expected .npz or .h5 signals for rois"
        )

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Columns of the matrix."""
        return self._matrix[:, voxels].astype(np.float32)


class Archive(Array):
    """An .npz file with the matrix ``data`` and masks [voxels]."""

    @cached_property
    def _matrix(self) -> Any:
        return self._load(DATA, f"{self.setting}.signals")

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """An array of the file."""
        return _as_mask(self._load(source, setting), source, setting, self)

    def _load(self, name: str, setting: str) -> Any:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if name not in file:
                    raise InputError(_no_array(self.path, name, file.files, setting))
                return file[name]
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path}: not readable as .npz ({error}) (setting {setting})") from None


class Hdf5:
    """An HDF5 file with the matrix ``data`` and masks [voxels]."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path = path
        with self._array(DATA, f"{setting}.signals") as matrix:
            self.n_rows, self.n_voxels = _checked(matrix, path, setting)

    def names(self) -> list[str]:
        """Numbers of the columns, from 0."""
        return _numbered(self.n_voxels)

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """None: which datasets are regions says the setting rois."""
        return {}

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """A dataset of the file."""
        with self._array(source, setting) as mask:
            return _as_mask(mask[:], source, setting, self)

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Columns of the matrix, some rows at a time."""
        begin, end = int(voxels.min()), int(voxels.max()) + 1
        signals = np.empty((self.n_rows, len(voxels)), np.float32)
        with self._array(DATA, "") as matrix:
            step = max(1, BLOCK_BYTES // (8 * (end - begin)))
            for start in range(0, self.n_rows, step):
                block = matrix[start : start + step, begin:end]
                signals[start : start + len(block)] = block[:, voxels - begin]
        return signals

    @contextmanager
    def _array(self, name: str, setting: str) -> Iterator[Any]:
        import h5py

        with h5py.File(self.path, "r") as file:
            if name not in file or not isinstance(file[name], h5py.Dataset):
                raise InputError(_no_array(self.path, name, list(file), setting))
            yield file[name]


class Columns:
    """A BData file: its regions are its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bdata = BData(path)
        self.n_rows, self.n_voxels = self._bdata.shape[0], len(self._bdata.voxels)

    def names(self) -> list[str]:
        """Numbers of the voxels, from 0."""
        return _numbered(self.n_voxels)

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """Keys of the metadata that are regions."""
        return self._bdata.regions()

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """A region under another name."""
        regions = self._bdata.regions()
        if source not in regions:
            raise InputError(_no_array(self.path, source, list(regions), setting))
        return regions[source]

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Columns of the matrix."""
        return self._bdata.signals(voxels)


def _checked(matrix: Any, path: Path, setting: str) -> tuple[int, int]:
    """Rows and voxels of a matrix of numbers."""
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or not all(matrix.shape):
        raise InputError(
            f"{path}: {DATA} is {matrix.dtype} {matrix.shape}, expected numbers [rows, voxels] "
            f"(setting {setting}.signals)"
        )
    return matrix.shape


def _as_mask(values: Any, source: str, setting: str, signals: Signals) -> NDArray[np.bool_]:
    if values.shape != (signals.n_voxels,) or values.dtype.kind not in "biu":
        raise InputError(
            f"{signals.path}: {source} is {values.dtype} {values.shape} (setting {setting}), expected a mask of "
            f"{signals.n_voxels} voxels"
        )
    return values > 0


def _no_array(path: Path, name: str, found: list[str], setting: str) -> str:
    close = suggestion(name, found)
    return f"{path}: no {name!r}{close} (setting {setting}); found {', '.join(sorted(found)) or 'nothing'}"


def _numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]
