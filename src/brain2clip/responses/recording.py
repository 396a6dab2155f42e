"""Open one BIDS EEG recording with MNE: channel types and positions from the BIDS tables, samples not read yet.

``mne_bids.read_raw_bids`` is not used, because it also turns ``events.tsv`` into annotations: an onset column in
milliseconds then gives no annotation at all, without an error. Trials come from the study instead.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers import bids_files
from brain2clip.readers.contract import Recording
from brain2clip.responses import channels
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

#: Metres per unit of ``coordsystem.json``.
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
#: Coordinate systems whose x points to the nose and y to the left ear (BIDS specification, appendix VIII).
NOSE_FIRST = ("EEGLAB", "EEGLAB-HJ", "CTF", "4DBti", "KitYokogawa")


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
    names = channels.eeg_channels(raw, recording)
    # MNE filters and references by type: what the table calls EEG must be EEG for it too.
    other = [name for name, kind in zip(raw.ch_names, raw.get_channel_types()) if name in names and kind != "eeg"]
    raw.set_channel_types(dict.fromkeys(other, "eeg"), on_unit_change="ignore", verbose="ERROR")
    _check_rate(raw, recording)
    _warn_bad(recording)
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
    electrodes, *systems = files
    table = bids_files.read_tsv(electrodes)
    names = bids_files.names_once(table, electrodes)
    system = bids_files.read_metadata(systems)
    unit = system.get("EEGCoordinateUnits")
    scale = METRES.get(unit) if isinstance(unit, str) else None
    if scale is None or not set("xyz") <= set(table):
        log.warning(
            "%s: not used: expected columns x, y, z and EEGCoordinateUnits m, cm or mm in its coordsystem.json (found "
            "%s, unit %s); positions are those of the recording, where it has some",
            *(electrodes, ", ".join(path.name for path in systems) or "none", unit),
        )
        return found
    places = np.array([[_number(text) for text in table[axis]] for axis in "xyz"]).T * scale
    if system.get("EEGCoordinateSystem") in NOSE_FIRST:
        places = np.stack([-places[:, 1], places[:, 0], places[:, 2]], axis=1)
    by_name = dict(zip(names, places))
    unknown = [name for name in raw.ch_names if name not in by_name]
    if unknown:
        log.warning("%s: no position of %s", electrodes, ", ".join(unknown))
    return np.array([by_name.get(name, np.full(3, np.nan)) for name in raw.ch_names])


def _check_rate(raw: mne.io.BaseRaw, recording: Recording) -> None:
    """Say where ``eeg.json`` tells another sampling rate than the recording, which one of the two has wrong."""
    rate = bids_files.read_metadata(bids_files.metadata_files(recording)).get("SamplingFrequency")
    if isinstance(rate, int | float) and abs(rate - raw.info["sfreq"]) > 0.01 * rate:
        log.warning(
            "%s: sampled at %g Hz, but eeg.json says %g Hz; the recording's own rate is used",
            *(recording.path, raw.info["sfreq"], rate),
        )


def _warn_bad(recording: Recording) -> None:
    found = bids_files.channel_table(recording)
    table = {} if found is None else found[1]
    bad = [name for name, status in zip(table.get("name", []), table.get("status", [])) if status == "bad"]
    if bad:
        log.warning("%s: %s marked as bad and kept all the same", recording.name, ", ".join(bad))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
