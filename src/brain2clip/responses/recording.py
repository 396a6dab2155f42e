"""Open one BIDS recording with MNE: channel types and positions from the BIDS tables, samples not read yet.

``mne_bids.read_raw_bids`` is not used, because it also turns ``events.tsv`` into annotations: an onset column in
milliseconds then gives no annotation at all, without an error. Trials come from the study instead.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip.readers import bids_files, recording_files
from brain2clip.readers.contract import PICKS, Recording
from brain2clip.responses import channels, epoching
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

#: Metres per unit of ``coordsystem.json``.
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
#: Coordinate systems whose x points to the nose and y to the left ear (BIDS specification, appendix VIII).
NOSE_FIRST = ("EEGLAB", "EEGLAB-HJ", "CTF", "4DBti", "KitYokogawa")


#: Dimensions in EDF that MNE converts to V; it takes every other dimension for V.
CONVERTED = frozenset({"mV", "uV", "\u00b5V", "\u03bcV", "\x83\xcaV"})
#: MNE's messages about complete recordings of a kind that is not supported, and what to do.
ADVICE = {
    "It must be 1 for raw files": "the file holds epochs; expected the continuous recording, epochs are cut here",
    "Internal Active Shielding": "first apply MaxFilter, or mne.preprocessing.maxwell_filter, which removes the "
    "shielding",
    "v7.3": "the file was saved as MATLAB 7.3; save it again from EEGLAB without the option for files beyond 2 GB, or "
    "install pymatreader",
}
#: Signals that end a process after a crash.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
#: Annotations of a file that mark bad samples; and points at which samples are missing (EEGLAB writes the length of the
#: removed part as the duration).
BAD = re.compile(r"bad($|[ _-])", re.IGNORECASE)
GAP = re.compile(r"(bad[ _-])?boundary$|edge($|[ _-])", re.IGNORECASE)
#: The same in events.tsv, in which other events have other names.
BAD_EVENT = re.compile(r"BAD($|[ _-])")


def open_recording(recording: Recording) -> mne.io.BaseRaw:
    """The recording with its channels of the wanted types only, in the order of the file; in V or T, not loaded.

    ``raw.info["bads"]`` are the channels that the file or ``channels.tsv`` marks as bad.

    Raises
    ------
    brain2clip.stage.InputError
        If a file is damaged or belongs to another recording, MNE cannot read it, or it has no such channel.
    """
    recording_files.check_complete(recording.path)
    if recording.path.suffix.lower() == ".set":
        _probe(recording.path)
    raw = _open(recording)
    _check_sources(raw, recording)
    _check_rate(raw, recording)
    _say_gaps(recording)
    names = channels.chosen(raw, recording)
    if recording.datatype == "eeg":
        # MNE filters and references by type: EEG channels of the table must have the type EEG in MNE, too.
        other = [name for name, kind in zip(raw.ch_names, raw.get_channel_types()) if name in names and kind != "eeg"]
        raw.set_channel_types(dict.fromkeys(other, "eeg"), on_unit_change="ignore", verbose="ERROR")
    raw.reorder_channels(names)
    marked = {name for name, status in _column(recording, "status").items() if status.lower() == "bad"}
    raw.info["bads"] = [name for name in names if name in marked | set(raw.info["bads"])]
    return raw


def _open(recording: Recording) -> mne.io.BaseRaw:
    """The recording as MNE reads it; if a format has two names for each channel, with the names in ``channels.tsv``."""
    raws = (read() for read in _readers(recording.path))
    with readable(recording.path):
        first = next(raws)
    written = set(_column(recording, "name"))
    if recording.datatype == "eeg" or written <= set(first.ch_names):
        return first
    with readable(recording.path):
        return next((raw for raw in raws if written <= set(raw.ch_names)), first)


def _readers(path: Path) -> list[Callable[[], mne.io.BaseRaw]]:
    """Functions that open a recording: with the reader's usual names of channels, then with other names."""
    import mne

    given: dict[str, Any] = {"preload": False, "verbose": "ERROR"}
    if not path.is_dir():
        ending = path.suffix.lower()
        read = partial(mne.io.read_raw, path, **given)
        return [read, partial(read, standardize_names=True)] if ending in (".con", ".sqd") else [read]
    if path.suffix.lower() == ".ds":
        # Names as in the file (MLC11-1609); samples end when the clock of the system stops.
        read = partial(mne.io.read_raw_ctf, path, system_clock="truncate", **given)
        return [read, partial(read, clean_names=True)]
    head = path / recording_files.BTI_HEAD
    files = (recording_files.bti_samples(path), path / recording_files.BTI_CONFIG, head if head.is_file() else None)
    read = partial(mne.io.read_raw_bti, *files, **given)
    return [read, partial(read, rename_channels=False)]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn every error of MNE's readers into one message that includes theirs."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers raise nearly any exception at damaged files
        said = " ".join(str(error).split())
        advice = next((text for words, text in ADVICE.items() if words in said), None)
        raise InputError(
            f"{path}: MNE cannot read this recording ({type(error).__name__}: {said[:300]})\n  "
            + (advice or "expected a complete recording with its data file; get the file again")
        ) from None


def _probe(path: Path) -> None:
    """Refuse a MATLAB file at which SciPy crashes, because the job would end without a message.

    The file is read in a copy of this process; other errors are reported when it is read again.
    """
    from scipy.io import loadmat

    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            loadmat(path, appendmat=False)
        finally:
            os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in {-one for one in CRASHES}:
        raise InputError(
            f"{path}: SciPy's reader of MATLAB files crashes when reading it, so it is damaged; get the file again"
        )


def _check_sources(raw: mne.io.BaseRaw, recording: Recording) -> None:
    """Refuse samples from another recording's file, parts that are left out, and EEGLAB's data of another length."""
    own = {path.resolve(): path for path in recording_files.data_files(recording.path)}
    read = [Path(name) for name in raw.filenames if name is not None]
    foreign = [path for path in read if path.resolve() not in {*own, recording.path.resolve()}]
    if foreign:
        raise InputError(
            f"{recording.path}: its header takes the samples from {foreign[0].name}, which belongs to another "
            f"recording by its name\n  expected files of its own ({', '.join(path.name for path in own.values())}): "
            "the recording was renamed by hand; rename it with mne_bids.copyfiles, or save it again under its name"
        )
    names = {path.resolve() for path in read}
    left = [path for place, path in own.items() if path.suffix == ".fif" and place not in names]
    if left:
        raise InputError(
            f"{recording.path}: {left[0].name} seems to be a part of it, but {read[-1].name} does not say that it "
            "continues there; save the recording again, or remove the file"
        )
    data = read[0] if read else recording.path
    whole = 4 * len(raw.ch_names) * raw.n_times
    if data.suffix == ".fdt" and data.stat().st_size != whole:
        raise InputError(
            f"{data}: {data.stat().st_size} bytes, but {recording.path.name} promises {whole} ({len(raw.ch_names)} "
            f"channels of {raw.n_times} samples); get both files again"
        )


def channel_types(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Types of the channels by name, as MNE calls them: ``eeg``, ``mag``, ``grad``."""
    return dict(zip(raw.ch_names, raw.get_channel_types()))


def compensation(raw: mne.io.BaseRaw) -> int:
    """Grade of the gradient compensation of a recording (CTF, BTi); 0 if there is none.

    Raises
    ------
    brain2clip.stage.InputError
        If sensors have different grades.
    """
    with readable(Path(epoching.source(raw))):
        return raw.compensation_grade or 0


def head_movement(raw: mne.io.BaseRaw, head: mne.transforms.Transform | None) -> float | None:
    """Distance of the sensors of a MEG recording from their places with another head position.

    Parameters
    ----------
    raw : mne.io.BaseRaw
    head : mne.transforms.Transform or None
        The other head position: from device to head (``dev_head_t``).

    Returns
    -------
    float or None
        Mean over sensors, in coordinates of the head, mm; None if a head position is unknown, or for EEG.
    """
    own = raw.info["dev_head_t"]
    sensors = [one for one, kind in zip(raw.info["chs"], raw.get_channel_types()) if kind in PICKS["meg"]]
    if own is None or head is None or not sensors:
        return None
    places = np.array([one["loc"][:3] for one in sensors])
    there, before = (places @ one["trans"][:3, :3].T + one["trans"][:3, 3] for one in (own, head))
    return float(1e3 * np.linalg.norm(there - before, axis=1).mean())


def _column(recording: Recording, name: str) -> dict[str, str]:
    """A column of ``channels.tsv`` by channel, empty if there is no table or no such column."""
    found = bids_files.channel_table(recording)
    table = {} if found is None else found[1]
    return dict(zip(table.get("name", []), table.get(name, [])))


def factors(raw: mne.io.BaseRaw, recording: Recording) -> dict[str, float]:
    """Factors to V for channels that MNE takes for V because it does not know their unit (EDF and BDF).

    The unit in the file is used, else that in ``channels.tsv``; a channel without either is taken as V, with a warning.
    """
    in_file = recording_files.units(recording.path)
    if not in_file:
        return {}
    written = _column(recording, "units")
    found: dict[str, float] = {}
    unknown: list[str] = []
    from_table: list[str] = []
    for name in raw.ch_names:
        unit = in_file.get(name, "")
        if unit in CONVERTED:
            continue
        if unit not in recording_files.VOLTS:
            unit = written.get(name, "")
            (from_table if unit in recording_files.VOLTS else unknown).append(name)
        found[name] = recording_files.VOLTS.get(unit, 1.0)
    if from_table:
        log.info("%s: %d channels have no unit in the file, taken from channels.tsv", recording.name, len(from_table))
    if unknown:
        log.warning(
            "%s: %d channels have no unit anywhere (%s ...), assumed to be in V",
            recording.name,
            len(unknown),
            unknown[0],
        )
    return {name: factor for name, factor in found.items() if factor != 1.0}


def bad_spans(raw: mne.io.BaseRaw, recording: Recording) -> np.ndarray:
    """Spans that are marked as bad: annotations of the file, and events named ``BAD…``.

    Returns
    -------
    ndarray [n, 2]
        Start and end, s from the start of the recording.
    """
    marks = zip(raw.annotations.onset, raw.annotations.duration, raw.annotations.description)
    found = [
        (onset - raw.first_time, 0.0 if GAP.match(text) else duration)
        for onset, duration, text in marks
        if GAP.match(text) or (BAD.match(text) and duration > 0)
    ]
    events = bids_files.read_tsv(recording.events)
    named = zip(*(events.get(name, []) for name in ("onset", "duration", "trial_type")))
    found += [(_number(onset), _number(duration)) for onset, duration, text in named if BAD_EVENT.match(text)]
    spans = np.array(found, float).reshape(-1, 2)
    return np.stack([spans[:, 0], spans[:, 0] + np.nan_to_num(spans[:, 1])], axis=1)


def positions(raw: mne.io.BaseRaw, recording: Recording) -> np.ndarray:
    """Electrode positions from ``electrodes.tsv`` if it exists, else from the file.

    Positions of MEG sensors are those in the file, in coordinates of the device, which do not depend on the head.

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
            "%s, unit %s); positions of the recording are used, if it has any",
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
    """Warn if ``eeg.json`` has another sampling rate than the recording: one of the two is wrong."""
    rate = bids_files.read_metadata(bids_files.metadata_files(recording)).get("SamplingFrequency")
    if isinstance(rate, int | float) and abs(rate - raw.info["sfreq"]) > 0.01 * rate:
        log.warning(
            "%s: sampled at %g Hz, but %s.json says %g Hz; the rate of the recording is used",
            *(recording.path, raw.info["sfreq"], recording.datatype, rate),
        )


def _say_gaps(recording: Recording) -> None:
    """Warn if a recording has parts with time between them: MNE reads them as if there were none.

    It may be right all the same, because onsets are often counted along the samples of the file.
    """
    told = bids_files.read_metadata(bids_files.metadata_files(recording)).get("RecordingType")
    reasons = []
    if isinstance(told, str) and told.strip().lower() in ("epoched", "discontinuous"):
        reasons.append(f"RecordingType is {told} in {recording.datatype}.json")
    if recording_files.is_discontinuous(recording.path):
        reasons.append("its header says EDF+D or BDF+D")
    if reasons:
        log.warning(
            "%s: not one continuous recording (%s); its parts are read one after the other without the time between "
            "them, so onsets must be counted in this way too, and filters and epochs go across the joints: check "
            "both, or save a recording for each part",
            *(recording.path, ", and ".join(reasons)),
        )


def template_positions(channels: list[str]) -> np.ndarray:
    """Electrode positions of the 10-05 system on a template head.

    Returns
    -------
    ndarray [n_channels, 3]
        Head coordinates (x to the right, y to the front, z up), m; NaN where the system has no such name.
    """
    import mne

    name = "colin27_1005"  # as MNE calls it from 1.13 on
    if name not in mne.channels.get_builtin_montages():
        name = "standard_1005"
    info = mne.create_info(channels, 1.0, "eeg", verbose="ERROR")
    info.set_montage(mne.channels.make_standard_montage(name), match_case=False, on_missing="ignore", verbose="ERROR")
    return np.array([channel["loc"][:3] for channel in info["chs"]], dtype=float)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
