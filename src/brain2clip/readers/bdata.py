"""BData, the HDF5 layout of Kamitani Lab: voxels and labels are columns of one matrix, told apart by its metadata.

``dataset`` (or ``dataSet``) is float64 [n_rows, n_columns]. ``metadata`` (or ``metaData``) holds ``key`` [K] and
``value`` [K, n_columns]: 1 where a column belongs to a key, NaN where the key says nothing of it, other numbers for
attributes such as ``voxel_x``. ``vmap/<key>/<number>``, if it exists, is the text for a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.names import suggestion
from brain2clip.readers import hdf5
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

MATRIX = ("dataset", "dataSet")
METADATA = ("metadata", "metaData")
VOXELS = "VoxelData"
#: Keys of regions of interest begin so; their names here do not.
ROI = "ROI_"
#: Bytes of the matrix that are read at the same time.
BLOCK_BYTES = 2**26
_HINT = "expected BData as bdpy writes it: dataset [rows, columns], metadata/key [K], metadata/value [K, columns]"


class BData:
    """A BData file, opened whenever something is read from it.

    Parameters
    ----------
    path : Path
        HDF5 file.

    Raises
    ------
    brain2clip.stage.InputError
        At the first reading, if the file is absent, not HDF5, or has another layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    # ------------------------------------------------------------------------------------------ layout

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        with self._opened() as file:
            matrix = file[self._one_of(file, MATRIX)]
            if matrix.ndim != 2 or matrix.dtype.kind != "f" or not all(matrix.shape):
                raise self._wrong(f"{matrix.name} is {matrix.dtype} {matrix.shape}")
            hdf5.check_written(matrix, self.path, "")
            return matrix.shape

    @cached_property
    def _metadata(self) -> dict[str, NDArray[np.float64]]:
        """Values [n_columns] by key."""
        with self._opened() as file:
            group = file[self._one_of(file, METADATA)]
            absent = [name for name in ("key", "value") if name not in group]
            if absent:
                raise self._wrong(f"{group.name} has no {' and no '.join(absent)}; found {', '.join(group)}")
            if group["key"].ndim != 1 or group["key"].dtype.kind not in "SO":
                raise self._wrong(
                    f"{group['key'].name} is {group['key'].dtype} {group['key'].shape}, expected a list of text"
                )
            keys, values = [_text(key) for key in group["key"][:]], group["value"]
            if values.shape != (len(keys), self.shape[1]) or values.dtype.kind != "f":
                raise self._wrong(
                    f"{values.name} is {values.dtype} {values.shape}, expected float ({len(keys)}, {self.shape[1]}) "
                    f"for {len(keys)} keys and {self.shape[1]} columns"
                )
            if len(set(keys)) != len(keys):
                raise self._wrong(f"{group['key'].name} has a key twice: {', '.join(sorted(keys))}")
            return dict(zip(keys, values[:]))

    @property
    def keys(self) -> list[str]:
        """Keys of the metadata, in their order."""
        return list(self._metadata)

    def attribute(self, key: str) -> NDArray[np.float64]:
        """Values of a key [n_columns], NaN where it says nothing."""
        if key not in self._metadata:
            raise self._wrong(f"no key {key!r}{suggestion(key, self.keys)}; found {', '.join(self.keys)}")
        return self._metadata[key]

    def columns(self, key: str) -> NDArray[np.int64]:
        """Numbers of the columns that belong to a key, at least one.

        Raises
        ------
        brain2clip.stage.InputError
            When there is no such key, or it marks no column.
        """
        found = np.flatnonzero(self.attribute(key) == 1)
        if not len(found):
            raise self._wrong(f"key {key} marks no column with 1")
        return found

    # ------------------------------------------------------------------------------------------ voxels

    @cached_property
    def voxels(self) -> NDArray[np.int64]:
        """Columns of the voxels."""
        return self.columns(VOXELS)

    def regions(self) -> dict[str, NDArray[np.bool_]]:
        """Regions by name (``V1`` for the key ``ROI_V1``), each a mask over :attr:`voxels`.

        A region is a key whose values over the voxels are 1 and otherwise 0 or NaN, and which marks no other column:
        so that a label or a coordinate that happens to be 1 is none.
        """
        found = {}
        for key, values in self._metadata.items():
            own = values[self.voxels]
            marked = own == 1
            others = (values == 1).sum() - marked.sum()
            plain = np.isnan(own) | (own == 0) | marked
            if key != VOXELS and marked.any() and not others and plain.all():
                name = key.removeprefix(ROI)
                if name in found:
                    raise self._wrong(f"two regions are named {name}, by the keys {name} and {ROI}{name}")
                found[name] = marked
        return found

    def signals(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Signals [n_rows, len(voxels)] of voxels by their place among :attr:`voxels`, read block by block of rows."""
        columns = self.voxels[voxels]
        begin, end = int(columns.min()), int(columns.max()) + 1
        signals = np.empty((self.shape[0], len(columns)), np.float32)
        rows = max(1, BLOCK_BYTES // (8 * (end - begin)))
        with self._opened() as file:
            matrix = file[self._one_of(file, MATRIX)]
            for start in range(0, self.shape[0], rows):
                block = matrix[start : start + rows, begin:end]
                signals[start : start + len(block)] = block[:, columns - begin]
        return signals

    # ------------------------------------------------------------------------------------------ labels

    def labels(self, key: str) -> NDArray[np.float64]:
        """Columns of a key [n_rows, n_columns of it], in double precision."""
        columns = self.columns(key)
        with self._opened() as file:
            matrix = file[self._one_of(file, MATRIX)]
            return np.stack([matrix[:, column].astype(float) for column in columns], axis=1)

    def texts(self, key: str) -> list[str]:
        """Texts of the first column of a key, by its ``vmap``.

        Raises
        ------
        brain2clip.stage.InputError
            When there is no vmap of the key, or it lacks a number that occurs.
        """
        numbers = self.labels(key)[:, 0]
        with self._opened() as file:
            if "vmap" not in file or key not in file["vmap"]:
                raise self._wrong(f"no vmap/{key}, which says what the numbers of {key} mean")
            names = {float(number): _text(text[()]) for number, text in file["vmap"][key].items()}
        lost = sorted(set(numbers) - set(names))
        if lost:
            raise self._wrong(f"vmap/{key} lacks {len(lost)} numbers of {key}, the first is {lost[0]:g}")
        return [names[number] for number in numbers]

    # ------------------------------------------------------------------------------------------ inside

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; {_HINT}")
        with hdf5.opened(self.path, f"\n  {_HINT}") as file:
            yield file

    def _one_of(self, file: h5py.File, names: tuple[str, ...]) -> str:
        for name in names:
            if name in file:
                return name
        raise self._wrong(f"neither {' nor '.join(names)} in it; found {', '.join(file) or 'nothing'}")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what}\n  {_HINT}")


def is_bdata(path: Path, hint: str = "") -> bool:
    """Whether an HDF5 file has the two parts of BData; the hint ends messages about a damaged one."""
    with hdf5.opened(path, hint) as file:
        return any(name in file for name in MATRIX) and any(name in file for name in METADATA)


def _text(value: object) -> str:
    """Text of a stored string, which bdpy writes as bytes, and other tools as arrays of one."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode() if isinstance(value, bytes) else str(value)
