"""Open one BIDS EEG recording with MNE: channel types and positions from the BIDS tables, samples not read yet.

``mne_bids.read_raw_bids`` is not used, because it also turns ``events.tsv`` into annotations: an onset column in
milliseconds then gives no annotation at all, without an error. Trials come from the study instead.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers import bids_files
from brain2clip.readers.contract import Recording
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

#: Metres per unit of ``coordsystem.json``.
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
#: Coordinate systems whose x points to the nose and y to the left ear (BIDS specification, appendix VIII).
NOSE_FIRST = ("EEGLAB", "EEGLAB-HJ", "CTF", "4DBti", "KitYokogawa")
#: BIDS channel types that MNE calls by another name; others are the same in lower case.
TYPES = {"VEOG": "eog", "HEOG": "eog", "TRIG": "stim", "REF": "misc", "AUDIO": "misc"}


def open_recording(recording: Recording) -> mne.io.BaseRaw:
    """The recording with its EEG channels only, in the order of the file; in V, not loaded.

    Raises
    ------
    brain2clip.stage.InputError
        When MNE cannot read the file, or it holds no EEG channel.
    """
    import mne

    try:
        raw = mne.io.read_raw(recording.path, preload=False, verbose="ERROR")
    except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise InputError(
            f"{recording.path}: MNE cannot read this recording ({type(error).__name__}: {error})\n"
            "  expected a complete EEG file with its data beside it; get the file again"
        ) from None
    types = _types(raw, recording)
    names = [name for name, kind in types.items() if kind == "eeg"]
    if not names:
        raise InputError(
            f"{recording.path}: no channel of type EEG among {', '.join(types)}; "
            f"see column type of {bids_files.channels_file(recording)}"
        )
    return raw.reorder_channels(names)


def positions(raw: mne.io.BaseRaw, recording: Recording) -> np.ndarray:
    """Electrode positions: ``electrodes.tsv`` where there is one, else what the file says.

    Returns
    -------
    ndarray [n_channels, 3]
        x to the right, y to the front, z up, m; NaN where unknown.
    """
    found = np.array([channel["loc"][:3] for channel in raw.info["chs"]], dtype=float)
    found[~np.isfinite(found).all(axis=1) | (found == 0).all(axis=1)] = np.nan
    files = bids_files.coordinate_files(recording)
    if not files:
        return found
    electrodes, coordsystem = files
    table = bids_files.read_tsv(electrodes)
    system = json.loads(coordsystem.read_text(encoding="utf-8-sig"))
    scale = METRES.get(system.get("EEGCoordinateUnits"))
    if scale is None or not {"name", "x", "y", "z"} <= set(table):
        log.warning("%s: no positions in m, cm or mm, left unknown", electrodes)
        return found
    places = np.array([[_number(text) for text in table[axis]] for axis in "xyz"]).T * scale
    if system.get("EEGCoordinateSystem") in NOSE_FIRST:
        places = np.stack([-places[:, 1], places[:, 0], places[:, 2]], axis=1)
    by_name = dict(zip(table["name"], places))
    return np.array([by_name.get(name, np.full(3, np.nan)) for name in raw.ch_names])


def _types(raw: mne.io.BaseRaw, recording: Recording) -> dict[str, str]:
    """MNE type of each channel; ``channels.tsv`` wins over the file."""
    types = dict(zip(raw.ch_names, raw.get_channel_types()))
    path = bids_files.channels_file(recording)
    if not path.exists():
        return types
    table = bids_files.read_tsv(path)
    names = bids_files.column(table, "name", path, "BIDS")
    kinds = bids_files.column(table, "type", path, "BIDS")
    lost = [name for name in names if name not in types]
    if lost:
        raise InputError(
            f"{path}: {len(lost)} channels are not in {recording.path.name}: {', '.join(lost[:8])}\n"
            f"  found there: {', '.join(raw.ch_names)}; the names must agree"
        )
    types.update({name: TYPES.get(kind.upper(), kind.lower()) for name, kind in zip(names, kinds)})
    bad = [name for name, status in zip(names, table.get("status", [])) if status == "bad"]
    if bad:
        log.warning("%s: %s marked as bad and kept all the same", recording.name, ", ".join(bad))
    return types


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
