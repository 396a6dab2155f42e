"""The datasets and attributes of a responses artefact, the same whatever the responses were made from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brain2clip.responses.whitening import Operator
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py

#: Bytes of a chunk of rows.
CHUNK_BYTES = 2**20


def write_trials(file: h5py.File, trials: pd.DataFrame) -> None:
    """What each row is; stimuli are known by their ids, of which the file lists those that occur.

    Parameters
    ----------
    file : h5py.File
        Artefact that is being written.
    trials : pandas.DataFrame
        ``stimulus`` (id), ``split``, ``session``, ``run`` and, of recordings, ``onset`` (s).
    """
    ids, stimulus = np.unique(trials["stimulus"].to_numpy(str), return_inverse=True)
    file["stimulus"] = stimulus.astype(np.int32)
    file["split"] = (trials["split"] == "test").to_numpy(np.uint8)
    if "onset" in trials:
        file["onset"] = trials["onset"].to_numpy(float)
    for name in ("session", "run"):
        write_text(file, name, trials[name])
    write_text(file, "stimulus_id", ids)


def create_response(file: h5py.File, shape: tuple[int, ...], dtype: np.dtype | str) -> h5py.Dataset:
    """Empty dataset ``response`` [n_trials, n_channels, n_times] or [n_trials, n_voxels], chunked by rows."""
    dtype = np.dtype(dtype)
    rows = max(1, min(shape[0], CHUNK_BYTES // (math.prod(shape[1:]) * dtype.itemsize)))
    return file.create_dataset("response", shape, dtype, chunks=(rows, *shape[1:]))


def store(response: h5py.Dataset, begin: int, values: np.ndarray) -> None:
    """Write rows of ``response`` in its precision (:func:`in_precision`)."""
    advice = "use responses.dtype float32, or responses.whitening.clamp"
    response[begin : begin + len(values)] = in_precision(values, response.dtype, advice)


def in_precision(values: np.ndarray, dtype: np.dtype, advice: str) -> np.ndarray:
    """Values in another precision.

    Raises
    ------
    brain2clip.stage.InputError
        When a value is NaN or infinite, or becomes so in that precision; ends with the advice.
    """
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        raise InputError(f"normalised responses reach {np.abs(values).max():.3g}, which {dtype} cannot hold; {advice}")
    return stored


def write_axes(
    file: h5py.File,
    channels: Sequence[str],
    times: np.ndarray,
    position: np.ndarray,
    types: Mapping[str, str] | None = None,
) -> None:
    """Names and types of channels, times (s), positions [n_channels, 3] of electrodes or sensors (m, NaN: unknown).

    Types are those of MNE (``eeg``, ``mag``, ``grad``) by name; of EEG where there are none.
    """
    write_text(file, "channel", channels)
    write_text(file, "channel_type", ["eeg" if types is None else types[name] for name in channels])
    file["times"] = times
    file["position"] = position


def write_quality(
    file: h5py.File, operators: Mapping[str, Operator], erp: np.ndarray, psd: np.ndarray, freqs: np.ndarray
) -> None:
    """Whitening operators by session, evoked response [n_channels, n_times], spectrum [n_channels, n_freqs] (Hz)."""
    for session, operator in operators.items():
        group = file.create_group(f"whitening/{session}")
        group["mean"], group["operator"] = operator.mean, operator.matrix
    quality = file.create_group("quality")
    quality["erp"], quality["psd"], quality["freqs"] = erp, psd, freqs


def write_attributes(file: h5py.File, sfreq: float, unit: str, dropped: Mapping[str, Any]) -> None:
    """Rate (Hz), unit of the responses, and as JSON the counts of dropped trials by name."""
    file.attrs.update({name: json.dumps(counts) for name, counts in dropped.items()})
    file.attrs["sfreq"] = sfreq
    file.attrs["unit"] = unit


def write_not_normalised(file: h5py.File, clamp: float | None = None) -> None:
    """Say that there was no training to fit a normalisation to, and at what it would clamp."""
    file.attrs["normalised"] = False
    if clamp is not None:
        file.attrs["clamp"] = clamp


def write_text(file: h5py.File, name: str, values: Any) -> None:
    """A dataset of strings."""
    import h5py

    file.create_dataset(name, data=[str(value) for value in values], dtype=h5py.string_dtype())
