"""BData files for tests: the layout of bdpy, and Generic Object Decoding with few voxels and all of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from brain2clip.studies.god import TEST_CLASSES

#: Voxels of each region of a small GOD subject; regions overlap, as VC holds all others.
REGIONS = {"V1": range(0, 4), "V2": range(4, 7), "LOC": range(7, 10), "VC": range(0, 10), "HVC": range(7, 10)}
N_VOXELS = 12


def write(
    path: Path,
    columns: Mapping[str, np.ndarray],
    attributes: Mapping[str, Sequence[float]] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    vmap: Mapping[str, Mapping[float, str]] | None = None,
    names: tuple[str, str] = ("dataset", "metadata"),
) -> Path:
    """Write columns by key; regions and attributes are over the columns of ``VoxelData``, which come first."""
    matrix = np.concatenate([np.reshape(values, (len(values), -1)) for values in columns.values()], axis=1)
    widths = {key: np.reshape(values, (len(values), -1)).shape[1] for key, values in columns.items()}
    metadata = {}
    start = 0
    for key, width in widths.items():
        metadata[key] = np.full(matrix.shape[1], np.nan)
        metadata[key][start : start + width] = 1
        start += width
    for key, voxels in (regions or {}).items():
        metadata[f"ROI_{key}"] = np.full(matrix.shape[1], np.nan)
        metadata[f"ROI_{key}"][: widths["VoxelData"]] = 0
        metadata[f"ROI_{key}"][list(voxels)] = 1
    for key, values in (attributes or {}).items():
        metadata[key] = np.full(matrix.shape[1], np.nan)
        metadata[key][: len(values)] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[names[0]] = matrix.astype(float)
        file[f"{names[1]}/key"] = np.array([key.encode() for key in metadata])
        file[f"{names[1]}/description"] = np.array([b"" for _ in metadata])
        file[f"{names[1]}/value"] = np.stack(list(metadata.values()))
        for key, texts in (vmap or {}).items():
            for number, text in texts.items():
                file[f"vmap/{key}/{float(number)}"] = text
    return path


def training_ids() -> list[str]:
    """150 classes that are none of the test classes, 8 pictures each."""
    classes = [f"n{1_500_000 + 7 * index:08d}" for index in range(150)]
    return [f"{name}_{10 * index + 10_042}" for name in classes for index in range(8)]


def ids_of_test() -> list[str]:
    return [f"{name}_{9062 + index}" for index, name in enumerate(TEST_CLASSES)]


def number(image_id: str) -> float:
    """The stimulus number of an image id, as the files have it."""
    synset, _, picture = image_id.partition("_")
    return float(f"{int(synset[1:])}.{int(picture):06d}")


def god_rows(repetitions: int = 35) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Image id, data type and run of each row: training, test, imagery; runs begin anew with each type."""
    training, test = training_ids(), ids_of_test()
    order = np.random.default_rng(0).permutation(len(training))
    ids = [training[index] for index in order] + test * repetitions + test * 2
    kinds = np.repeat([1, 2, 3], [1200, 50 * repetitions, 100])
    runs = np.concatenate([np.arange(1200) // 50, np.arange(50 * repetitions) // 50, np.arange(100) // 25]) + 1
    return ids, kinds, runs


def write_god(path: Path, seed: int = 0, key: str = "stimulus_id", ids: Sequence[str] | None = None, **options) -> Path:
    """A subject of the older files."""
    found, kinds, runs = god_rows()
    numbers = np.array([number(one) for one in (ids or found)])
    if key == "Label":  # several columns, the second being the number of the class
        numbers = np.stack([numbers, np.floor(numbers)], axis=1)
    signals = np.random.default_rng(seed).normal(100, 5, (len(kinds), N_VOXELS))
    columns = {"VoxelData": signals, "DataType": kinds, "Run": runs, key: numbers}
    places = {axis: np.arange(N_VOXELS, dtype=float) for axis in ("voxel_x", "voxel_y", "voxel_z")}
    return write(path, columns, places, REGIONS, **options)


def write_fmriprep(folder: Path, subject: int = 1, voxels: int = N_VOXELS) -> list[Path]:
    """A subject of the newer files: stimulus names by vmap, a file for training and one for the test."""
    paths = []
    for side, ids, repetitions in (("Training", training_ids(), 2), ("Test", ids_of_test(), 3)):
        names = sorted(ids)
        shown = np.tile(np.arange(len(names)), repetitions)
        signals = np.random.default_rng(subject).normal(size=(len(shown), voxels))
        columns = {
            "VoxelData": signals,
            "Session": np.ones(len(shown)),
            "Run": np.arange(len(shown)) // 50 + 1,
            "stimulus_name": shown,
        }
        path = folder / f"sub-{subject:02d}_ImageNet{side}_fmriprep_volume_native.h5"
        vmap = {"stimulus_name": dict(enumerate(names))}
        places = {"voxel_x": np.arange(voxels, dtype=float)}
        regions = {"hV4": range(3), "VC": range(voxels)}
        paths.append(write(path, columns, places, regions, vmap, ("dataSet", "metaData")))
    return paths
