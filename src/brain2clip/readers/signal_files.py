"""Files of voxel signals of users: NIfTI, npz, npy and HDF5, with a common way to read some of the voxels."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, assert_never

import numpy as np

from brain2clip.names import suggestion
from brain2clip.readers import grids, hdf5, user_files
from brain2clip.readers.bdata import BData, is_bdata
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("brain2clip")

#: Name of the array of signals in .npz and .h5 files.
DATA = "data"
#: Endings of volumes.
NIFTI = (".nii", ".nii.gz")
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


def open_signals(path: Path, mask: str | None, setting: str, space: Literal["affine", "grid"] = "affine") -> Signals:
    """A file of signals by its ending.

    Parameters
    ----------
    path : Path
        .nii, .nii.gz, .npz, .npy, .h5 or .hdf5.
    mask : str or None
        NIfTI mask of the voxels to read, for NIfTI signals.
    setting : str
        Start of the names of settings (``studies.NAME``), for messages.
    space : str
        How masks are matched with the voxels of the signals: ``affine``, by position; ``grid``, by the shape only.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, damaged, of another kind, or of another layout.
    """
    user_files.existing(path, "file of voxel signals", f"{setting}.signals")
    if path.name.endswith(NIFTI):
        return Volumes(path, mask, setting, space)
    if mask is not None:
        raise InputError(
            f"{setting}.mask: {mask!r} is for NIfTI signals, but {path} has no positions of voxels; leave mask out, "
            "and choose regions of the file by rois"
        )
    if path.suffix == ".npz":
        return Archive(path, setting)
    if path.suffix == ".npy":
        return Array(path, setting)
    if path.suffix in (".h5", ".hdf5"):
        return Columns(path) if is_bdata(path, f"(setting {setting}.signals)") else Hdf5(path, setting)
    raise InputError(
        f"{path}: signals of an unknown kind (setting {setting}.signals); expected .nii, .nii.gz, .npz, .npy or .h5"
    )


# ------------------------------------------------------------------------------------------------- NIfTI


class Volumes:
    """NIfTI (x, y, z, rows); voxels are those of the mask, the last coordinate running fastest."""

    def __init__(
        self, path: Path, mask: str | None, setting: str, space: Literal["affine", "grid"], named: str = "signals"
    ) -> None:
        # ``named``: what the setting of the file is called, for messages.
        self.path, self.setting, self.space, self.named = path, setting, space, f"{setting}.{named}"
        shape = self._image.shape
        if len(shape) != 4:
            raise InputError(
                f"{path}: {len(shape)} dimensions {shape}, expected 4 (x, y, z, rows) (setting {self.named})"
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
        return nifti(self.path, self.named)

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
            with user_files.reading(self.path, "not complete", f"(setting {self.named})"):
                volumes = np.asarray(self._image.dataobj[..., start : start + step])
            signals[start : start + volumes.shape[3]] = volumes.reshape(-1, volumes.shape[3])[places].T
        return signals

    def _mask_of(self, source: str, setting: str) -> NDArray[np.bool_]:
        image = nifti(Path(source), setting)
        with user_files.reading(Path(source), "not complete", f"(setting {setting})"):
            values = np.asarray(image.dataobj)
        values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
        mask = self._in_place(values > 0, image, source, setting)
        _say_values(values, source)
        return mask

    def _in_place(self, mask: NDArray[np.bool_], image: Any, source: str, setting: str) -> NDArray[np.bool_]:
        """A mask in the order of the axes of the signals, whose voxels it must have."""
        if self.space == "grid":
            placed, shown = grids.same_shape(mask, self.grid), ("", "")
        elif self.space == "affine":
            own, other = self._affine, self._affine_of(image, source, setting)
            placed = grids.laid_on(mask, other, self.grid, own) if mask.ndim == 3 else None
            shown = (f", affine {_rows(other)}", f", affine {_rows(own)}")
            if placed is not None:
                _say_order(source, other, self.path, own)
        else:
            assert_never(self.space)
        if placed is None:
            raise InputError(
                f"{source}: a mask of {mask.shape} voxels{shown[0]} (setting {setting}), but {self.path} has "
                f"{self.grid}{shown[1]}\n  expected the same voxels in space: resample the mask to the signals "
                "(nilearn.image.resample_to_img, interpolation='nearest'); if only a header is wrong and the grids "
                f"agree voxel by voxel, set {self.setting}.space to grid"
            )
        return placed

    @cached_property
    def _affine(self) -> NDArray[np.float64]:
        return self._affine_of(self._image, self.path, self.named)

    def _affine_of(self, image: Any, path: Path | str, setting: str) -> NDArray[np.float64]:
        with user_files.reading(Path(path), "a damaged header", f"(setting {setting})"):
            found, differ = grids.affine_of(image), grids.forms_differ(image)
        if found is None:
            raise InputError(
                f"{path}: the header does not say where the voxels are (qform and sform code "
                f"{int(image.header['qform_code'])} and {int(image.header['sform_code'])}), so that masks cannot be "
                f"compared with signals (setting {setting})\n  write the affine into the header (fslcpgeom, "
                f"nilearn.image.new_img_like); if the grids agree voxel by voxel, set {self.setting}.space to grid"
            )
        if differ:
            log.warning("%s: sform and qform place the voxels differently; the sform is used", path)
        return found


def nifti(path: Path, setting: str) -> Any:
    """A NIfTI image of numbers, a packed one read up to its checksum.

    Raises
    ------
    brain2clip.stage.InputError
        When the file is absent, damaged or of another kind.
    """
    import nibabel

    if not path.name.endswith(NIFTI):
        raise InputError(f"{path}: expected NIfTI with the ending {' or '.join(NIFTI)} (setting {setting})")
    user_files.existing(path, "file; expected NIfTI", setting)
    with user_files.reading(path, "not readable as NIfTI", f"(setting {setting})"):
        if path.suffix == ".gz":
            _unpack(path)
        image: Any = nibabel.load(path, keep_file_open=True)
    if not isinstance(image, nibabel.Nifti1Image) or image.get_data_dtype().kind not in "fiu":
        raise InputError(
            f"{path}: {type(image).__name__} of {image.get_data_dtype()}; expected volumes of numbers in NIfTI "
            f"(setting {setting})"
        )
    return image


def _unpack(path: Path) -> None:
    """Reach the checksum at the end of a packed file, which readers of some volumes do not."""
    with gzip.open(path) as file:
        while file.read(2**22):
            pass


def _say_values(values: NDArray[Any], source: str) -> None:
    """Warn of probabilities and atlases, which may be used as a mask by mistake."""
    marked = values[np.isfinite(values) & (values != 0)]
    if marked.size and marked.min() != marked.max():
        log.warning(
            "%s: not a mask of two values, values from %g to %g; every voxel above 0 is in the mask",
            *(source, marked.min(), marked.max()),
        )


def _say_order(source: str, other: NDArray[np.float64], path: Path, own: NDArray[np.float64]) -> None:
    import nibabel

    stored, wanted = ("".join(nibabel.aff2axcodes(one)) for one in (other, own))
    if stored != wanted:
        log.info("%s: its axes are %s, but the axes of %s are %s: the axes are reordered", source, stored, path, wanted)


def _rows(affine: NDArray[np.float64]) -> str:
    return np.array2string(affine[:3], precision=4, suppress_small=True).replace("\n", "")


# ------------------------------------------------------------------------------------- arrays and HDF5


class Array:
    """A matrix [rows, voxels] in an .npy file."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting
        self.n_rows, self.n_voxels = _checked(self._matrix, path, setting)

    @cached_property
    def _matrix(self) -> Any:
        with user_files.reading(self.path, "not readable as .npy", f"(setting {self.setting}.signals)"):
            return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def names(self) -> list[str]:
        """Numbers of the columns, from 0."""
        return _numbered(self.n_voxels)

    def own_regions(self) -> dict[str, NDArray[np.bool_]]:
        """None: a matrix names no regions."""
        return {}

    def region(self, source: str, setting: str) -> NDArray[np.bool_]:
        """Refused: there is no second array in the file."""
        raise InputError(f"{setting}: {source!r}, but {self.path} has no masks; expected .npz or .h5 signals for rois")

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
        with user_files.reading(self.path, "not readable as .npz", f"(setting {setting})"):
            with np.load(self.path, allow_pickle=False) as file:
                if name not in file:
                    raise InputError(_no_array(self.path, name, file.files, setting))
                return file[name]


class Hdf5:
    """An HDF5 file with the matrix ``data`` and masks [voxels]."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting
        with self._array(DATA, f"{setting}.signals") as matrix:
            self.n_rows, self.n_voxels = _checked(matrix, path, setting)
            hdf5.check_written(matrix, path, f"(setting {setting}.signals)")

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
        with self._array(DATA, f"{self.setting}.signals") as matrix:
            step = max(1, BLOCK_BYTES // (8 * (end - begin)))
            for start in range(0, self.n_rows, step):
                block = matrix[start : start + step, begin:end]
                signals[start : start + len(block)] = block[:, voxels - begin]
        return signals

    @contextmanager
    def _array(self, name: str, setting: str) -> Iterator[Any]:
        import h5py

        with hdf5.opened(self.path, f"(setting {setting})") as file:
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
