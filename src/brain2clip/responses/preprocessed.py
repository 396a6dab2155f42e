"""Stage ``preprocessed``: the epochs that the authors of a dataset published, as a responses artefact.

Here those of THINGS-EEG2; of a study that names ``epoch_files`` (THINGS-MEG) see :mod:`.ready_epochs`.

The archive ``derivatives/preprocessed_eeg/sub-XX.zip`` holds two pickled dictionaries of arrays,
``preprocessed_eeg_training.npy`` [16540 pictures, 4 repetitions, 17 channels, 100 samples] and
``preprocessed_eeg_test.npy`` [200, 80, 17, 100] (Gifford et al. 2022): no filter, -0.2 to 0.8 s at 100 Hz, baseline
before the onset, whitened per recording session by the mean covariance of training **and test** conditions, repetitions
of all sessions mixed. Settings with other choices are refused.

Unknown values are stored as unknown: session and run of a trial (``n/a``), its onset (NaN), how many surplus
presentations were dropped (no counts), the signal before whitening (``quality`` is of the whitened epochs, the stored
operator is the identity). Electrodes are where a template head has them. Memory holds one array of the archive at a
time.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pandas as pd

from brain2clip import artefact, settings, stage
from brain2clip.names import NO_LABEL, SPLITS, suggestion
from brain2clip.readers import contract, file_records
from brain2clip.responses import (
    choices,
    epoching,
    pickles,
    ready_epochs,
    recording,
    same_samples,
    whitening,
    writing,
)
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py

log = logging.getLogger("brain2clip")

#: Members of the archive, and how often each picture is in them.
MEMBERS = {"train": "preprocessed_eeg_training.npy", "test": "preprocessed_eeg_test.npy"}
REPETITIONS = {"train": 4, "test": 80}
KEYS = ("preprocessed_eeg_data", "ch_names", "times")
SFREQ, TMIN, TMAX = 100.0, -0.2, 0.8
BASELINES = ((None, 0.0), (TMIN, 0.0))
NOTE = (
    "epochs of the dataset's authors (Gifford et al. 2022): whitened per session by the mean covariance of training "
    "and test conditions, resampled in the Fourier domain, surplus presentations dropped by the authors; the quality "
    "is measured on the whitened epochs"
)
#: Pictures that are converted and written at the same time.
CHUNK = 256


class Archived(Protocol):
    """A study that knows its folder.

    Attributes
    ----------
    root : Path
        Folder of the BIDS dataset.
    """

    name: str
    root: Path

    def stimulus_table(self) -> pd.DataFrame:
        """As for every study."""


@dataclass(frozen=True)
class Selection:
    """The part of the authors' epochs that is kept.

    Attributes
    ----------
    channels : list of str
        Names, in the order that is stored.
    rows : list of int
        Their places in the archive.
    samples : slice
        Samples that are kept.
    times : ndarray [n_times]
        Of those, s.
    """

    channels: list[str]
    rows: list[int]
    samples: slice
    times: np.ndarray

    def of(self, epochs: np.ndarray) -> np.ndarray:
        """Kept channels and samples of epochs [..., n_channels, n_times]."""
        return epochs[..., self.rows, self.samples]


def run(job: stage.Job) -> None:
    """Make the responses of one subject."""
    given = job.settings
    loaded = contract.load(given["name"], given["study"], given["results"])
    if hasattr(loaded, "epoch_files"):
        ready_epochs.run(job, loaded)
        return
    study = cast(Archived, loaded)
    responses: Responses = settings.parse(Responses, given["responses"])
    refuse(study.name, given["study"], settings.parse(Band, given["band"]), responses)
    pictures = picture_ids(study.name, study.stimulus_table())
    trials = all_trials(pictures)
    archive = study.root / "derivatives" / "preprocessed_eeg" / f"sub-{given['subject']}.zip"
    file_records.listing(archive, [record for record, _ in job.each("signals")], study.root).check(archive)
    output = job.output("responses")
    output.parent.mkdir(parents=True, exist_ok=True)
    log.warning("preprocessed: %s", NOTE)
    with (
        open_archive(archive, given["subject"]) as source,
        artefact.create_h5(output, job.provenance(), unknown={"onset", "position"}) as file,
    ):
        writing.write_trials(file, trials)
        found = write_epochs(file, source, pictures, responses, output.parent)
        names = {side: f"sub-{given['subject']}_{side}" for side in SPLITS}
        same_samples.checked(loaded, given["subject"], [(names[side], found[side]) for side in SPLITS]).write(file)
        counts: dict[str, Any] = {
            name: {side: {} for side in SPLITS} for name in ("surplus", "cut_off", "bad_segments")
        }
        writing.write_attributes(file, SFREQ, whitening.STANDARD, {**counts, "rejected": {}, "bad_channels": {}})
        file.attrs["note"] = NOTE
    log.info("preprocessed: %d training and %d test trials", *((trials["split"] == side).sum() for side in SPLITS))


# --------------------------------------------------------------------------------------------- settings


def refuse(name: str, study: dict[str, Any], band: Band, responses: Responses) -> None:
    """Refuse settings that differ from the authors' choices.

    Raises
    ------
    brain2clip.stage.InputError
        Names each such setting, what was found and what these epochs allow.
    """
    where = f"studies.{name}.responses"
    allowed: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("band l_freq", band.l_freq or None, (None,)),
        ("band h_freq", band.h_freq, (None,)),
        ("band notch", list(band.notch), ([],)),
        (f"{where}.sfreq", responses.sfreq, (SFREQ,)),
        (f"{where}.tmin", responses.tmin, (TMIN,)),
        (f"{where}.tmax", responses.tmax, (TMAX,)),
        (f"{where}.baseline", responses.baseline, BASELINES),
        (f"{where}.baseline_mode", responses.baseline_mode, ("mean",)),
        (f"{where}.without", responses.without, (None,)),
        (f"{where}.reference", responses.reference, ("recorded",)),
        (f"{where}.scale", responses.scale, (1.0,)),
        (f"{where}.bad_channels", responses.bad_channels, ("keep",)),
        (f"{where}.bad_segments", responses.bad_segments, ("keep",)),
        (f"{where}.reject_uv", responses.reject_uv, (None,)),
        (f"{where}.whitening.kind", responses.whitening.kind, ("none",)),
        (f"{where}.whitening.clamp", responses.whitening.clamp, (None,)),
        (f"{where}.repetitions.train", responses.repetitions.train, (None,)),
        (f"{where}.repetitions.test", responses.repetitions.test, (None,)),
        (f"studies.{name}.source", study.get("source"), ("preprocessed",)),
        (f"studies.{name}.sessions", study.get("sessions", "all"), ("all",)),
        (f"studies.{name}.runs", study.get("runs", "all"), ("all",)),
    ]
    choices.refuse_others(
        allowed,
        f"studies.{name}: source: preprocessed takes the epochs that the dataset's authors published: unfiltered, "
        "whitened, 2 training and 20 test trials per picture and session, all sessions mixed",
        "set these values (the preset gifford-2022-epochs has them all), or take source: raw, which allows any",
    )


def select(where: str, names: list[str], responses: Responses) -> Selection:
    """Channels and samples that the settings ask for.

    Parameters
    ----------
    where : str
        Archive and member, for messages.
    names : list of str
        Channels of the archive.
    responses : Responses
        Settings; ``channels`` and ``crop`` are used.
    """
    wanted: Any = responses.channels
    if isinstance(wanted, str):
        wanted = names if wanted == "all" else epoching.CHANNEL_SETS[wanted]
    lost = [name for name in wanted if name not in names]
    if lost:
        raise InputError(
            f"{where}: no channel {lost[0]!r}{suggestion(lost[0], names)}\n"
            f"  responses.channels wants {len(wanted)} channels, not found: {', '.join(lost)}\n"
            f"  channels found: {', '.join(names)}; for other channels take source: raw"
        )
    whole = _ticks(epoching.epoch_times(SFREQ, responses.model_copy(update={"crop": None})))
    times = epoching.epoch_times(SFREQ, responses)
    begin = int(np.searchsorted(whole, _ticks(times)[0]))
    return Selection(list(wanted), [names.index(name) for name in wanted], slice(begin, begin + len(times)), times)


def _ticks(times: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(times) * SFREQ).astype(int)


# ----------------------------------------------------------------------------------------------- trials


def picture_ids(name: str, stimuli: pd.DataFrame) -> dict[str, np.ndarray]:
    """Stimulus ids by split, in the order of the archive: picture 1 first.

    Raises
    ------
    brain2clip.stage.InputError
        When the ids of a split do not end in 1, 2, 3, … in the order of the table.
    """
    found = {}
    for side in SPLITS:
        found[side] = stimuli.loc[stimuli["split"] == side, "stimulus_id"].to_numpy(object)
        wrong = [text for number, text in enumerate(found[side], 1) if _number(text) != number]
        if wrong or not len(found[side]):
            raise InputError(
                f"studies.{name}: the {side} pictures of the stimulus table are not numbered 1, 2, 3, … in its order "
                f"(found {len(found[side])} rows, first other id: {wrong[0] if wrong else 'none'})\n"
                "  expected the order of the archive, because its rows have no names"
            )
    return found


def all_trials(pictures: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per epoch: training before test, pictures in order, repetitions of a picture together."""
    tables = [
        pd.DataFrame({"stimulus": np.repeat(pictures[side], REPETITIONS[side]), "split": side}) for side in SPLITS
    ]
    return pd.concat(tables, ignore_index=True).assign(session=NO_LABEL, run=NO_LABEL, onset=np.nan)


def _number(stimulus_id: str) -> int | None:
    digits = str(stimulus_id).rpartition("-")[2]
    return int(digits) if digits.isdecimal() else None


# ---------------------------------------------------------------------------------------------- archive


@contextmanager
def open_archive(path: Path, subject: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a subject; damage that shows while it is read is an error of the input."""
    if not path.is_file():
        raise InputError(f"{path}: no such archive of subject {subject}; run snakemake, which downloads it")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{path}: not a complete zip archive ({error}); delete it and its record in downloads, and start "
            "snakemake again, which downloads it"
        ) from None


def load(archive: zipfile.ZipFile, side: str, pictures: int, folder: Path) -> tuple[np.ndarray, list[str]]:
    """Epochs of one split.

    Parameters
    ----------
    archive : zipfile.ZipFile
        Of a subject.
    side : str
        ``train`` or ``test``.
    pictures : int
        Number of pictures of that split.
    folder : Path
        Where the unnamed scratch file goes.

    Returns
    -------
    epochs : ndarray [n_pictures, n_repetitions, n_channels, n_times]
        Standard deviations.
    names : list of str
        Channels.

    Raises
    ------
    brain2clip.stage.InputError
        When the member is absent, damaged, no dictionary of arrays, or of another layout.
    """
    where = f"{archive.filename}: {MEMBERS[side]}"
    with tempfile.TemporaryFile(dir=folder) as scratch:
        _unpack(archive, MEMBERS[side], scratch)
        scratch.seek(0)
        content = pickles.read_dict(scratch, where)
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise InputError(f"{where}: no {', '.join(missing)}; found {', '.join(map(str, content))}")
    epochs, names = content[KEYS[0]], [str(name) for name in np.atleast_1d(content[KEYS[1]])]
    grid = epoching.epoch_times(SFREQ, Responses(tmin=TMIN, tmax=TMAX, sfreq=SFREQ))
    expected = (pictures, REPETITIONS[side], len(names), len(grid))
    if not isinstance(epochs, np.ndarray) or epochs.shape != expected or epochs.dtype.kind != "f":
        raise InputError(
            f"{where}: {KEYS[0]} of shape {np.shape(epochs)}, expected floats of shape {expected}: the {side} "
            "pictures of the stimulus table, their repetitions, the channels of the file, samples"
        )
    _check_axes(where, names, np.asarray(content[KEYS[2]]), grid)
    return epochs, names


def _check_axes(where: str, names: list[str], times: np.ndarray, grid: np.ndarray) -> None:
    """Refuse channels that stand twice and other times than those of the published epochs (s)."""
    if len(set(names)) != len(names):
        raise InputError(f"{where}: a channel occurs twice: {', '.join(names)}")
    if times.shape != grid.shape or times.dtype.kind != "f" or not np.allclose(times, grid, atol=1e-3 / SFREQ):
        raise InputError(
            f"{where}: {times.size} times from {times.ravel()[:1]} to {times.ravel()[-1:]}, expected {len(grid)} from "
            f"{grid[0]:g} to {grid[-1]:g} s"
        )


def _unpack(archive: zipfile.ZipFile, name: str, scratch: IO[bytes]) -> None:
    """Copy the only member of a base name, in whatever folder it is."""
    found = [
        item
        for item in archive.infolist()
        if PurePosixPath(item.filename).name == name and "__MACOSX" not in PurePosixPath(item.filename).parts
    ]
    if len(found) != 1:
        listing = ", ".join(archive.namelist()[:8])
        raise InputError(f"{archive.filename}: {len(found)} members named {name}, expected one; found {listing}")
    own = Path(str(archive.filename)).stem
    others = [part for part in PurePosixPath(found[0].filename).parts if part.startswith("sub-") and part != own]
    if others:
        raise InputError(
            f"{archive.filename}: {name} is in the folder {others[0]}, so it belongs to another subject; expected "
            f"{own}. Get the archive again"
        )
    if found[0].flag_bits & 0x1:
        raise InputError(f"{archive.filename}: {name} is encrypted; get the file again")
    with archive.open(found[0]) as member:
        shutil.copyfileobj(member, scratch, 2**22)


# ---------------------------------------------------------------------------------------------- writing


def write_epochs(
    file: h5py.File, archive: zipfile.ZipFile, pictures: dict[str, np.ndarray], responses: Responses, folder: Path
) -> dict[str, np.ndarray]:
    """Both splits into ``response``, the axes, and what describes the training trials.

    Returns
    -------
    dict
        Sketch of the epochs of each split (:mod:`brain2clip.responses.same_samples`).
    """
    first, last = SPLITS
    names = load(archive, last, len(pictures[last]), folder)[1]  # the small one
    selection = select(f"{archive.filename}: {MEMBERS[last]}", names, responses)
    total = sum(len(pictures[side]) * REPETITIONS[side] for side in SPLITS)
    response = writing.create_response(file, (total, len(selection.rows), len(selection.times)), responses.dtype)
    writing.write_axes(file, selection.channels, selection.times, recording.template_positions(selection.channels))
    begin, sketches = 0, {}
    for side in SPLITS:
        epochs, found = load(archive, side, len(pictures[side]), folder)
        if found != names:
            raise InputError(
                f"{archive.filename}: {MEMBERS[side]} has the channels {', '.join(found)}, but {MEMBERS[last]} "
                f"{', '.join(names)}; expected the same in the same order"
            )
        if side == first:
            _write_quality(file, epochs, selection)
        digests: list[same_samples.RowDigests] = []
        for rows in _chunks(epochs, selection, f"{archive.filename}: {MEMBERS[side]}"):
            writing.store(response, begin, rows)
            begin += len(rows)
            digests.append(same_samples.RowDigests(len(rows)))
            digests[-1].add(rows.reshape(len(rows), -1))
        sketches[side] = same_samples.RowDigests.joined(digests).sketch()
    return sketches


def _chunks(epochs: np.ndarray, selection: Selection, where: str) -> Iterator[np.ndarray]:
    """What is kept of some pictures after the other [n_rows, n_channels, n_times]."""
    for begin in stage.progress(range(0, len(epochs), CHUNK), f"{where}, {CHUNK} pictures at once"):
        kept = selection.of(epochs[begin : begin + CHUNK])
        if not np.isfinite(kept).all():
            picture = begin + int(np.argwhere(~np.isfinite(kept))[0, 0]) + 1
            raise InputError(f"{where}: values that are NaN or infinite, first in picture {picture}; get it again")
        yield kept.reshape(-1, *kept.shape[2:])


def _write_quality(file: h5py.File, epochs: np.ndarray, selection: Selection) -> None:
    """Evoked response and spectrum of the training epochs as they are, and the identity for whitening."""
    from scipy import signal

    count = len(selection.channels)
    erp, psd, freqs = np.zeros((count, len(selection.times))), np.zeros(()), np.zeros(())
    for chunk in range(0, len(epochs), CHUNK):
        some = epochs[chunk : chunk + CHUNK, :, selection.rows].astype(float)
        erp = erp + some[..., selection.samples].sum(axis=(0, 1))
        freqs, density = signal.welch(some, SFREQ, nperseg=some.shape[-1])
        psd = psd + density.sum(axis=(0, 1))
    trials = epochs.shape[0] * epochs.shape[1]
    operators = {NO_LABEL: whitening.Operator(np.zeros(count), np.eye(count))}
    writing.write_quality(file, operators, erp / trials, psd / trials, freqs)
    file["quality"].attrs["unit"] = whitening.STANDARD


if __name__ == "__main__":
    stage.main(run)
