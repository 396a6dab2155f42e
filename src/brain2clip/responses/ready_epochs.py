"""Epochs that the authors of THINGS-MEG published as FIF files, as a responses artefact (stage ``preprocessed``).

``derivatives/preprocessed/preprocessed_P1-epo.fif`` and its parts hold [27,048 epochs, 271 sensors, 281 samples] of a
subject: 0.1 to 40 Hz, -0.1 to 1.3 s at 200 Hz (both ends included), each epoch and sensor divided by the standard
deviation of its own baseline. Event ids are numbers of pictures, 999999 is a catch trial. Settings with
other choices come too late and are refused; whitening with training trials and a crop are free.

Only some epochs are read at a time, so tens of megabytes of memory are enough for files of any size. Unknown values are
stored as unknown: the run of a trial (``n/a``), its onset (NaN), and its session if the epochs are not in the order of
whole sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from brain2clip import artefact, settings, stage
from brain2clip.names import NO_LABEL, SPLITS
from brain2clip.readers import user_files
from brain2clip.responses import checks, choices, epoching, same_samples, whitening, writing
from brain2clip.responses.epochs import BASELINE_UNIT
from brain2clip.settings import Band, Responses
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import mne

log = logging.getLogger("brain2clip")

SFREQ, TMIN, N_TIMES, N_SENSORS = 200.0, -0.1, 281, 271
#: Values of tmax for all 281 samples, and for all except the last (the sample at tmax is left out).
TMAX = (1.305, 1.3)
#: Edges of the filter that was applied to the epochs, Hz.
FILTER = (0.1, 40.0)
#: The sensor that these epochs lack.
WITHOUT = ("MRO11-1609",)
#: Smallest and largest deviation of a baseline that was divided by its own deviation, after samples were left out.
SCALED = (0.2, 2.0)
#: Bytes of epochs in memory at the same time.
CHUNK_BYTES = 2**26
NOTE = (
    "epochs of the dataset's authors (Hebart et al. 2023): 0.1 to 40 Hz, each epoch and sensor divided by the standard "
    "deviation of its own baseline, 200 Hz; head movement between runs ignored"
)


class Ready(Protocol):
    """A study whose authors published epochs."""

    name: str

    def epoch_files(self, subject: str) -> list[Path]:
        """Files of a subject, the first part first."""

    def epoch_trials(self, subject: str, values: np.ndarray, where: str) -> pd.DataFrame:
        """``stimulus``, ``concept``, ``split`` (empty: left out), ``session`` of epochs with some event ids."""

    def expected_counts(self, subject: str) -> dict[str, int] | None:
        """As for every study."""


def run(job: stage.Job, study: Any) -> None:
    """Make the responses of one subject."""
    given = job.settings
    responses: Responses = settings.parse(Responses, given["responses"])
    refuse(study.name, given["study"], settings.parse(Band, given["band"]), responses)
    source = Source.open(study, given["subject"], responses)
    output = job.output("responses")
    output.parent.mkdir(parents=True, exist_ok=True)
    log.warning("preprocessed: %s", NOTE)
    kept = source.trials[source.trials["split"] != ""]
    checks.check_trials(study, given["subject"], kept.assign(run=NO_LABEL))
    fits, quality = source.fits(responses)
    operators = {session: fit.operator() for session, fit in fits.items()}
    with artefact.create_h5(output, job.provenance(), unknown={"onset", "position"}) as file:
        writing.write_trials(file, kept.assign(run=NO_LABEL, onset=np.nan))
        names = [f"sub-{given['subject']}_{side}" for side in SPLITS]
        found = zip(names, source.write(file, operators, responses))
        writing.write_quality(file, operators, quality.erp, quality.psd, quality.freqs)
        file["quality"].attrs["unit"] = BASELINE_UNIT
        same_samples.checked(study, given["subject"], list(found)).write(file)
        counts: dict[str, Any] = {
            name: {side: {} for side in SPLITS} for name in ("surplus", "cut_off", "bad_segments")
        }
        unit = whitening.kind_of(responses.whitening).unit or BASELINE_UNIT
        writing.write_attributes(file, SFREQ, unit, {**counts, "rejected": {}, "bad_channels": {}})
        file.attrs["note"] = NOTE
    log.info("preprocessed: %d training and %d test trials", *((kept["split"] == side).sum() for side in SPLITS))


# --------------------------------------------------------------------------------------------- settings


def refuse(name: str, study: dict[str, Any], band: Band, responses: Responses) -> None:
    """Stop if a setting differs from the authors' choices.

    Raises
    ------
    brain2clip.stage.InputError
        Names each such setting, its value and the expected value.
    """
    where = f"studies.{name}.responses"
    allowed: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("band [l_freq, h_freq]", (band.l_freq or None, band.h_freq), (FILTER, (None, None))),
        ("band notch", list(band.notch), ([],)),
        (f"{where}.sfreq", responses.sfreq, (SFREQ,)),
        (f"{where}.tmin", responses.tmin, (TMIN,)),
        (f"{where}.tmax", responses.tmax, TMAX),
        (f"{where}.baseline", responses.baseline, ((None, 0.0), (TMIN, 0.0))),
        (f"{where}.baseline_mode", responses.baseline_mode, ("zscore",)),
        (f"{where}.without", responses.without, (WITHOUT, None)),
        (f"{where}.reference", responses.reference, ("recorded",)),
        (f"{where}.scale", responses.scale, (1.0,)),
        (f"{where}.bad_channels", responses.bad_channels, ("keep",)),
        (f"{where}.bad_segments", responses.bad_segments, ("keep",)),
        *((f"{where}.{key}", getattr(responses, key), (None,)) for key in ("reject_uv", "reject_ft", "reject_ft_cm")),
        (f"{where}.head_movement_mm", responses.head_movement_mm, (None,)),
        (f"{where}.repetitions.train", responses.repetitions.train, (None,)),
        (f"{where}.repetitions.test", responses.repetitions.test, (None,)),
        (f"studies.{name}.onset", study.get("onset", "events"), ("events",)),
        (f"studies.{name}.dropouts", study.get("dropouts", "median"), ("median",)),
    ]
    choices.refuse_others(
        allowed,
        f"studies.{name}: source: preprocessed reads the epochs that the dataset's authors made: 0.1 to 40 Hz, -0.1 "
        "to 1.3 s at 200 Hz, divided by the deviations of their baselines",
        "change these settings (the preset hebart-2023 of configs/things-meg.yaml has them all), or take source: raw, "
        "which allows other values",
    )


# ----------------------------------------------------------------------------------------------- epochs


@dataclass(frozen=True)
class Quality:
    """Description of training epochs: mean [n_channels, n_times], spectrum [n_channels, n_freqs], frequencies in Hz."""

    erp: np.ndarray
    psd: np.ndarray
    freqs: np.ndarray


@dataclass(frozen=True)
class Source:
    """Epochs of a subject, not read yet.

    Attributes
    ----------
    path : Path
        First file, for messages.
    epochs : mne.BaseEpochs
    trials : pandas.DataFrame
        One row per epoch; those without a side are left out.
    channels : list of str
        Channels that are kept.
    samples : slice
        Samples that are kept, and ``times`` [n_times] their times, s.
    """

    path: Path
    epochs: mne.BaseEpochs
    trials: pd.DataFrame
    channels: list[str]
    samples: slice
    times: np.ndarray

    @classmethod
    def open(cls, study: Ready, subject: str, responses: Responses) -> Source:
        """The epochs of a subject, with all checks that do not need the samples.

        Raises
        ------
        brain2clip.stage.InputError
            If they cannot be read, have another rate or other times, are not MEG, lack a wanted channel, or do not
            have the expected pictures.
        """
        import mne

        path = study.epoch_files(subject)[0]
        with user_files.reading(
            path, "MNE cannot read these epochs", "; expected all parts of the file: get them again"
        ):
            epochs = mne.read_epochs(path, preload=False, proj=False, verbose="ERROR")
        expected = np.arange(N_TIMES) / SFREQ + TMIN
        if not np.isclose(epochs.info["sfreq"], SFREQ) or not _same(epochs.times, expected):
            raise InputError(
                f"{path}: {len(epochs.times)} samples from {epochs.times[0]:g} to {epochs.times[-1]:g} s at "
                f"{epochs.info['sfreq']:g} Hz; expected the authors' {N_TIMES} from {TMIN} to {expected[-1]:g} s at "
                f"{SFREQ:g} Hz"
            )
        channels = _channels(path, epochs, responses)
        values = epochs.events[:, 2]
        trials = study.epoch_trials(subject, values, str(path))
        times = epoching.epoch_times(SFREQ, responses)
        begin = int(np.round((times[0] - TMIN) * SFREQ))
        return cls(path, epochs, trials, channels, slice(begin, begin + len(times)), times)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of some kept trials, and their epochs [n, n_channels, N_TIMES], whole and in double precision."""
        rows = np.flatnonzero((self.trials["split"] != "").to_numpy(bool))
        places = [self.epochs.ch_names.index(name) for name in self.channels]
        at_once = max(1, CHUNK_BYTES // (8 * N_TIMES * len(self.epochs.ch_names)))
        for begin in stage.progress(range(0, len(rows), at_once), f"{self.path.name}, {at_once} epochs at once"):
            some = rows[begin : begin + at_once]
            with user_files.reading(self.path, "MNE cannot read these epochs", "; get all parts of the file again"):
                values = self.epochs.get_data(item=some, copy=False, verbose="ERROR")[:, places]
            if len(values) != len(some):
                raise InputError(f"{self.path}: {len(some) - len(values)} epochs are marked as bad; get the file again")
            if not np.isfinite(values).all():
                first = int(some[np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))[0]])
                raise InputError(f"{self.path}: epoch {first + 1} holds NaN or infinite values; get the file again")
            _check_scaled(values, self.path)
            yield some, values

    def fits(self, responses: Responses) -> tuple[dict[str, whitening.Fit], Quality]:
        """Whitening of each session, and a description of the training epochs; reads all epochs once."""
        sides, sessions = (self.trials[name].to_numpy(object) for name in ("split", "session"))
        training = sides == "train"
        kind = whitening.kind_of(responses.whitening)
        count = {name: int(((sessions == name) & training).sum()) for name in sorted(set(sessions[sides != ""]))}
        fits = {name: kind(responses.whitening, self.channels, n) for name, n in count.items()}
        erp = np.zeros((len(self.channels), len(self.times)))
        freqs = np.fft.rfftfreq(N_TIMES, 1 / SFREQ)
        psd = np.zeros((len(self.channels), len(freqs)))
        window = np.hanning(N_TIMES)
        for rows, values in self.chunks():
            for session, fit in fits.items():
                own = training[rows] & (sessions[rows] == session)
                if own.any():
                    fit.add(values[own][..., self.samples])
            learnt = values[training[rows]]
            erp += learnt[..., self.samples].sum(axis=0)
            psd += (np.abs(np.fft.rfft(learnt * window)) ** 2).sum(axis=0)
        psd *= 2 / (SFREQ * (window**2).sum() * training.sum())
        return fits, Quality(erp / training.sum(), psd, freqs)

    def write(
        self, file: h5py.File, operators: dict[str, whitening.Operator], responses: Responses
    ) -> tuple[np.ndarray, ...]:
        """Write whitened epochs into ``response``, and the axes.

        Returns
        -------
        tuple of ndarray
            Sketch of the epochs of each side (:mod:`brain2clip.responses.same_samples`).
        """
        sides, sessions = (self.trials[name].to_numpy(object) for name in ("split", "session"))
        shape = (int((sides != "").sum()), len(self.channels), len(self.times))
        response = writing.create_response(file, shape, responses.dtype)
        digests: dict[str, list[same_samples.RowDigests]] = {side: [] for side in SPLITS}
        begin = 0
        for rows, values in self.chunks():
            for side in SPLITS:
                own = values[sides[rows] == side]
                if len(own):
                    digests[side].append(same_samples.RowDigests(len(own)))
                    digests[side][-1].add(own.reshape(len(own), -1))
            made, clamp = values[..., self.samples], responses.whitening.clamp
            if responses.whitening.scaled:
                of_epochs = zip(made, sessions[rows])
                made = np.stack([operators[session].apply(one, clamp) for one, session in of_epochs])
            elif clamp is not None:
                made = whitening.clamped(made, clamp)
            writing.store(response, begin, made)
            begin += len(rows)
        places = [self.epochs.ch_names.index(name) for name in self.channels]
        position = np.array([self.epochs.info["chs"][place]["loc"][:3] for place in places], dtype=float)
        position[~np.isfinite(position).all(axis=1) | (position == 0).all(axis=1)] = np.nan
        writing.write_axes(file, self.channels, self.times, position, dict.fromkeys(self.channels, "mag"))
        return tuple(same_samples.RowDigests.joined(digests[side]).sketch() for side in SPLITS)


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and bool(np.allclose(found, expected, atol=1e-3 / SFREQ))


def _channels(path: Path, epochs: mne.BaseEpochs, responses: Responses) -> list[str]:
    """Sensors that the settings ask for, in their order."""
    types = dict(zip(epochs.ch_names, epochs.get_channel_types()))
    sensors = [name for name in epochs.ch_names if types[name] == "mag" and name not in (responses.without or ())]
    if not sensors:
        raise InputError(f"{path}: no sensor of type mag among {', '.join(sorted(set(types.values())))}; expected MEG")
    if len(sensors) != N_SENSORS:
        log.warning("%s: %d sensors; the published file has %d", path, len(sensors), N_SENSORS)
    if responses.channels == "all":
        return sensors
    wanted = responses.channels
    names = list(epoching.CHANNEL_SETS[wanted] if isinstance(wanted, str) else wanted)
    lost = [name for name in names if name not in sensors]
    if lost:
        raise InputError(
            f"{path}: no sensor {', '.join(lost[:8])} (responses.channels); found {', '.join(sensors[:8])} and "
            f"{max(len(sensors) - 8, 0)} more"
        )
    return names


def _check_scaled(values: np.ndarray, path: Path) -> None:
    """Refuse epochs [n, n_channels, N_TIMES] that were not divided by the deviations of their baselines."""
    found = float(np.median(values[..., : round(-TMIN * SFREQ) + 1].std(axis=-1)))
    if not SCALED[0] <= found <= SCALED[1]:
        raise InputError(
            f"{path}: the standard deviation of baselines is {found:.3g} (median); expected about 1, because the "
            "authors' epochs are divided by it. Get the published file, or take source: raw"
        )
