"""Pulses of the trigger channel of a recording, if it has one, and their match with the events of its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.readers import user_files

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pulses(path: Path, channel: str, value: int) -> NDArray[np.float64] | None:
    """Times at which a trigger channel rises to a value.

    Parameters
    ----------
    path : Path
        Recording that MNE opens; only the one channel is read.
    channel : str
        Name of the trigger channel; its type in a table does not matter.
    value : int
        Value of the channel during the wanted pulses.

    Returns
    -------
    ndarray [n_pulses] or None
        s from the start of the recording; None if the file has no such channel.

    Raises
    ------
    brain2clip.stage.InputError
        If the file cannot be read.
    """
    import mne

    with user_files.reading(path, "MNE cannot read its triggers", "; expected a complete recording: get it again"):
        raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
        if channel not in raw.ch_names:
            return None
        raw.pick([channel]).load_data(verbose="ERROR")
        # Lines of a parallel port do not switch at one time, so a wrong value may last one sample; it is no pulse.
        found = mne.find_events(raw, stim_channel=channel, initial_event=True, shortest_event=1, verbose="ERROR")
    times: NDArray[np.float64] = (found[found[:, 2] == value, 0] - raw.first_samp) / raw.info["sfreq"]
    return times


def nearest(times: NDArray[np.float64], onsets: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The pulse of each event, if each pulse belongs to exactly one event.

    Parameters
    ----------
    times, onsets : ndarray
        Pulses and events, s, both in time order.

    Returns
    -------
    ndarray [n_onsets] or None
        Time of the pulse that is nearest to each event; None if two events have the same pulse, or a pulse has no
        event.
    """
    if len(times) != len(onsets) or not len(times):
        return None
    after = np.searchsorted(times, onsets).clip(1, len(times) - 1) if len(times) > 1 else np.zeros(len(onsets), int)
    before = np.maximum(after - 1, 0)
    chosen = np.where(np.abs(times[before] - onsets) <= np.abs(times[after] - onsets), before, after)
    if not np.array_equal(chosen, np.arange(len(onsets))):
        return None
    found: NDArray[np.float64] = times[chosen]
    return found
