"""Arrays for training and evaluation: brain responses by split, pictures by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from brain2clip import artefact, shared
from brain2clip.internals import torch_device
from brain2clip.models.pictures import Pictures
from brain2clip.names import SPLITS
from brain2clip.responses import same_samples
from brain2clip.responses.same_samples import Recordings
from brain2clip.settings import Vector
from brain2clip.stage import InputError, Job
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.stimuli.frozen_clip import from_bytes

ROWS_AT_ONCE = 2048
#: Rows of a slice, at most: what is read passes through memory once more.
SLICE = 256


@dataclass(frozen=True)
class Normalisation:
    """Whitening of channels or z-scores of voxels, as it was fitted to training trials.

    Attributes
    ----------
    mean : ndarray [C] or [V]
    operator : ndarray [C, C] or [V]
        Whitening operator, or one over the deviation.
    """

    mean: np.ndarray
    operator: np.ndarray

    def apply(self, values: np.ndarray, clamp: float | None = None) -> np.ndarray:
        """Normalised values [n, C, T] or [n, V] float32, which go beyond ``clamp`` nowhere."""
        if self.operator.ndim == 1:
            made = (values - self.mean) * self.operator
        else:
            made = self.operator @ (values - self.mean[:, None])
        return (made if clamp is None else np.clip(made, -clamp, clamp)).astype(np.float32)

    @classmethod
    def read(cls, source: h5py.File) -> Normalisation | None:
        """That of a responses artefact, the mean over sessions; None where nothing is fitted over all training."""
        if "whitening" in source:
            names: list[str] = []  # a session without a name is n/a, which HDF5 takes for a path
            source["whitening"].visit(lambda name: names.append(name) if name.endswith("operator") else None)
            own = [source["whitening"][name].parent for name in names]
            found = [cls(one["mean"][:], one["operator"][:]) for one in own]
            return cls.mean_of(found) if found else None
        if "normalisation/training" in source:
            own = source["normalisation/training"]
            return cls(own["mean"][:], 1 / own["deviation"][:])
        if "normalisation/session" in source:
            parts = source["normalisation/session"].values()
            return cls.mean_of([cls(one["mean"][:], 1 / one["deviation"][:]) for one in parts])
        return None

    @classmethod
    def mean_of(cls, parts: Sequence[Normalisation]) -> Normalisation:
        """Mean of several."""
        return cls(np.mean([one.mean for one in parts], axis=0), np.mean([one.operator for one in parts], axis=0))


@dataclass(frozen=True)
class Responses:
    """Brain responses of one or several subjects.

    Attributes
    ----------
    values : ndarray [n, C, T] or [n, V] float32
        Signals of channels over time, or of voxels.
    stimulus : ndarray [n] int64
        Number among ``stimulus_id``; after :func:`placed` the row of the stimuli file.
    subject : ndarray [n] int64
        Number of the file that the row came from.
    times : ndarray [T]
        s; empty for voxels.
    sfreq : float
        Hz; 0 for voxels.
    channel : list of str
        Names, in the order of C or V.
    stimulus_id : list of str
        Identities of the stimuli; after :func:`placed` those of the stimuli file.
    is_averaged : bool
        Whether repetitions were averaged, so that rows have no order of their own but that of subject and stimulus.
    recordings : Recordings
        What all of them come from, whatever their split, to be compared with others.
    is_normalised : bool
        False where there was no training trial to fit whitening or z-scores to.
    clamp : float or None
        What values are clamped at when they get normalised.
    normalisation : Normalisation or None
        What was fitted to training trials, the mean over sessions and subjects; None where nothing was.
    """

    values: np.ndarray
    stimulus: np.ndarray
    subject: np.ndarray
    times: np.ndarray
    sfreq: float
    channel: list[str]
    stimulus_id: list[str]
    is_averaged: bool = False
    recordings: Recordings = field(default_factory=Recordings)
    is_normalised: bool = True
    clamp: float | None = None
    normalisation: Normalisation | None = None

    def without(self, stimuli: Sequence[str]) -> Responses:
        """Rows of all other stimuli."""
        names = [name for name in self.stimulus_id if name not in set(stimuli)]
        place = {name: number for number, name in enumerate(names)}
        renumbered = np.array([place.get(name, -1) for name in self.stimulus_id], np.int64)[self.stimulus]
        kept = renumbered >= 0
        rows = {name: getattr(self, name)[kept] for name in ("values", "subject")}
        return replace(self, **rows, stimulus=renumbered[kept], stimulus_id=names)

    def averaged(self) -> Responses:
        """Mean over the repetitions of a stimulus within a subject, rows sorted by subject and stimulus."""
        keys, group = np.unique(np.stack([self.subject, self.stimulus], axis=1), axis=0, return_inverse=True)
        group = group.reshape(-1)
        total = np.zeros((len(keys), *self.values.shape[1:]), np.float32)
        for place, value in zip(group, self.values):  # faster than np.add.at for long rows
            total[place] += value
        total /= np.bincount(group).astype(np.float32).reshape(-1, *[1] * (self.values.ndim - 1))
        return replace(self, values=total, stimulus=keys[:, 1], subject=keys[:, 0], is_averaged=True)


def load_responses(
    files: list[Path],
    split: str,
    expected: Mapping[str, Any] | list[Mapping[str, Any]] | None,
    average: bool = False,
    choose: Callable[[Responses], Responses] | None = None,
) -> Responses:
    """Responses of one split, of all subjects as one; the rows of the other split are never read.

    Parameters
    ----------
    files : list of path
        One per subject.
    split : str
        ``"train"`` or ``"test"``.
    expected : mapping or list of mapping
        Expected provenance of the files (one for each).
    average : bool
        Average repetitions file by file: at no time are single trials of two subjects in memory.
    choose : callable, optional
        Selects a part of the trials of each file before they are averaged.

    Raises
    ------
    InputError
        Where the files have other channels, voxels or times, or some recordings share samples.
    """
    return replace(together(load_each(files, split, expected, average, choose), files), is_averaged=average)


def together(loaded: Sequence[Responses], files: Sequence[Path] = ()) -> Responses:
    """Responses of several subjects as one set; ``files`` are where they come from, for messages.

    Raises
    ------
    InputError
        Where they have other channels, voxels or times.
    """
    first, names = loaded[0], [*map(str, files)] or [f"set {number + 1}" for number in range(len(loaded))]
    for name, part in zip(names, loaded):
        difference = first_difference(first, part)
        if difference:
            raise InputError(f"{name}: {difference} than in {names[0]}, but both train one model; {_way_out(first)}")
    ids = list(dict.fromkeys(name for part in loaded for name in part.stimulus_id))
    return replace(
        first,
        values=first.values if len(loaded) == 1 else np.concatenate([part.values for part in loaded]),
        stimulus=np.concatenate([_renumbered(part, ids) for part in loaded]),
        subject=np.concatenate([part.subject for part in loaded]),
        stimulus_id=ids,
        recordings=same_samples.together([part.recordings for part in loaded]),
        is_normalised=all(part.is_normalised for part in loaded if len(part.values)),
        normalisation=_together(loaded),
    )


def _together(loaded: Sequence[Responses]) -> Normalisation | None:
    """Normalisation of the loaded responses, the mean over subjects that have one."""
    found = [part.normalisation for part in loaded if len(part.values)]
    known = [one for one in found if one is not None]
    return Normalisation.mean_of(known) if known and len(known) == len(found) else None


def load_each(
    files: list[Path],
    split: str,
    expected: Mapping[str, Any] | list[Mapping[str, Any]] | None,
    average: bool = False,
    choose: Callable[[Responses], Responses] | None = None,
) -> list[Responses]:
    """As :func:`load_responses`, one for each subject, who may have voxels of their own."""
    wanted = expected if isinstance(expected, list) else [expected] * len(files)

    def load(number: int) -> Responses:
        with artefact.open_h5(files[number], wanted[number]) as source:
            part = _responses(source, np.flatnonzero(source["split"][:] == SPLITS.index(split)), number)
        part = part if choose is None else choose(part)
        return part.averaged() if average and len(part.values) else part

    if len(files) == 1 and choose is None:  # of many subjects it would be much to keep
        known = json.dumps([wanted[0], split, average], sort_keys=True, default=dict)
        return [shared.kept(f"{split} responses", files, known, lambda: load(0))]
    loaded = [load(number) for number in range(len(files))]
    if len(files) > 1:
        where = f"{files[0].parent}: responses of {len(files)} subjects"
        same_samples.refuse_equal(same_samples.together([part.recordings for part in loaded]), where)
    return loaded


def _responses(source: h5py.File, rows: np.ndarray, number: int) -> Responses:
    """Chosen rows of an open responses artefact."""
    voxels = "voxel" in source
    return Responses(
        values=_read_rows(source["response"], rows),
        stimulus=source["stimulus"][:][rows].astype(np.int64),
        subject=np.full(len(rows), number),
        times=np.zeros(0) if voxels else source["times"][:],
        sfreq=0.0 if voxels else float(source.attrs["sfreq"]),
        channel=list(source["voxel" if voxels else "channel"].asstr()[:]),
        stimulus_id=list(source["stimulus_id"].asstr()[:]),
        recordings=Recordings.read(source),
        is_normalised=bool(source.attrs.get("normalised", True)),
        clamp=source.attrs.get("clamp"),
        normalisation=Normalisation.read(source),
    )


def first_difference(one: Responses, other: Responses) -> str | None:
    """Why two sets of responses cannot go through the same model, in words, or None."""
    if one.channel != other.channel:
        return f"other {inputs_of(one)} ({names_in_words(other.channel)} instead of {names_in_words(one.channel)})"
    if one.sfreq != other.sfreq or not np.array_equal(one.times, other.times):
        start = f" from {other.times[0]:g} s" if len(other.times) else ""
        return f"another time axis ({len(other.times)} samples at {other.sfreq} Hz{start})"
    return None


def inputs_of(responses: Responses) -> str:
    """Word for the inputs of a model of these responses."""
    return "voxels" if responses.values.ndim == 2 else "channels"


def names_in_words(names: list[str]) -> str:
    """All names where they can be read, else their number and the first."""
    return ", ".join(names) if len(names) <= 130 else f"{len(names)} from {names[0]} to {names[-1]}"


def _way_out(responses: Responses) -> str:
    """What to do about subjects whose inputs differ."""
    if responses.values.ndim == 2:
        return "each subject has other voxels: take protocol intra-subject, or joint with a method of kind mapping"
    return "name the channels in studies.*.responses.channels so that all subjects have the same in the same order"


def _read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Chosen rows as float32, some thousand at a time."""
    values = np.empty((len(rows), *dataset.shape[1:]), np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        values[start : start + len(part)] = dataset[part]
    return values


def rows_of(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows of a dataset, in the order asked for: slices in its own order, as h5py is slow where rows are listed."""
    values = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    order = np.argsort(rows, kind="stable")
    ends = (np.diff(rows[order]) != 1) | (np.diff(order) != 1) | (np.arange(1, len(order)) % SLICE == 0)
    for part in np.split(order, np.flatnonzero(ends) + 1) if len(order) else ():
        values[part[0] : part[-1] + 1] = dataset[rows[part[0]] : rows[part[-1]] + 1]
    return values


class Stimuli:
    """An open stimuli artefact, and the files of further vectors of its stimuli.

    Attributes
    ----------
    vectors : mapping of str to h5py.Dataset [n, d]
        By name (:attr:`brain2clip.settings.Vector.name`), in the rows of the stimuli.
    """

    def __init__(self, file: h5py.File, vectors: Mapping[str, h5py.Dataset] | None = None) -> None:
        self.file = file
        self.vectors = vectors or {}

    def __getitem__(self, name: str) -> h5py.Dataset:
        return self.file[name]

    def __contains__(self, name: str) -> bool:
        return name in self.file

    @property
    def attrs(self) -> Any:
        """Attributes of the stimuli artefact."""
        return self.file.attrs

    def vector(self, wanted: Vector) -> h5py.Dataset:
        """Dataset [n, d] of a vector.

        Raises
        ------
        InputError
            Where no file of it was given.
        """
        if wanted.is_embedding:
            return self["embedding"]
        if wanted.name not in self.vectors:
            there = ", ".join(self.vectors) or "none"
            raise InputError(f"no file of the vector {wanted.name} was given (--input vectors=PATH); found {there}")
        return self.vectors[wanted.name]

    def widths(self) -> dict[str, int]:
        """Size of each further vector."""
        return {name: one.shape[1] for name, one in self.vectors.items()}


class PictureSource:
    """Pictures by row of the stimulus table, from a stimuli artefact.

    Tokens and further vectors are held in memory while they fit into ``memory_gb``, else read for every batch; where
    the artefact keeps 8-bit pictures, tokens and bands are made on the device by the tower's own patch embedding.

    Parameters
    ----------
    stimuli : Stimuli
        Open.
    rows : ndarray
        Rows that will be asked for.
    with_tokens : bool
        Whether patch tokens are needed (not for a frozen picture side).
    device : torch.device
    bands : BandTokens or None
        For artefacts that keep pictures.
    normalisation : (Tensor, Tensor) or None
        Mean and deviation of the tower's pictures, likewise.
    vectors : sequence of Vector
        Further vectors that will be asked for.
    """

    def __init__(
        self,
        stimuli: Stimuli,
        rows: np.ndarray,
        with_tokens: bool,
        device: torch.device,
        bands: BandTokens | None = None,
        normalisation: tuple[Tensor, Tensor] | None = None,
        vectors: Sequence[Vector] = (),
        memory_gb: float = 8.0,
    ) -> None:
        self.rows = np.unique(rows)
        self.device = device
        self.bands = bands
        self.normalisation = normalisation
        self.embedding = torch.from_numpy(stimuli["embedding"][self.rows]).to(device)
        tokens = () if not with_tokens else ("band_tokens",) if "band_tokens" in stimuli else ("pictures",)
        self.tokens = {name: stimuli[name] for name in tokens}
        self.vectors = {one.name: stimuli.vector(one) for one in vectors}
        self.held: dict[str, Tensor] = {}
        left = memory_gb * 1e9
        # Vectors first: they are small, and every picture side reads them.
        for name, source in {**self.vectors, **self.tokens}.items():
            left -= float(np.prod(source.shape[1:])) * source.dtype.itemsize * len(self.rows)
            if left >= 0:
                self.held[name] = torch.from_numpy(rows_of(source, self.rows)).to(device)

    def __call__(self, rows: np.ndarray) -> Pictures:
        """Pictures of distinct rows, in the order asked for."""
        place = np.searchsorted(self.rows, rows)
        known = self.frozen(rows)
        embedding, vectors = known.embedding, known.vectors
        arrays = {name: self._take(name, source, place) for name, source in self.tokens.items()}
        if "pictures" in arrays:
            assert self.bands is not None
            assert self.normalisation is not None
            with torch.no_grad():
                tokens, band_tokens = self.bands(from_bytes(arrays["pictures"], *self.normalisation))
            return Pictures(embedding, tokens, band_tokens, vectors)
        if arrays:
            band_tokens = arrays["band_tokens"].float()
            return Pictures(embedding, band_tokens.sum(dim=1), band_tokens, vectors)
        return Pictures(embedding, vectors=vectors)

    def frozen(self, rows: np.ndarray) -> Pictures:
        """Pictures of distinct rows without their tokens."""
        place = np.searchsorted(self.rows, rows)
        vectors = {name: self._take(name, source, place).float() for name, source in self.vectors.items()}
        return Pictures(self.embedding[torch_device.copied(place, self.device)], vectors=vectors)

    def _take(self, name: str, source: h5py.Dataset, place: np.ndarray) -> Tensor:
        if name in self.held:
            return self.held[name].index_select(0, torch_device.copied(place, self.device))
        return torch_device.copied(rows_of(source, self.rows[place]), self.device)


@contextmanager
def open_stimuli(
    path: Path,
    expected: Mapping[str, Any] | None,
    vectors: Sequence[tuple[Path, Mapping[str, Any] | None]] = (),
) -> Iterator[Stimuli]:
    """Open a stimuli artefact and files of further vectors, each with what it must carry.

    Raises
    ------
    brain2clip.artefact.ArtefactError
        Where vectors are of other stimuli, or stand in another order.
    """
    with ExitStack() as stack:
        file = stack.enter_context(artefact.open_h5(path, expected))
        ids = file["stimulus_id"][:]
        found = {}
        for own, must in vectors:
            other = stack.enter_context(artefact.open_h5(own, must))
            if not np.array_equal(other["stimulus_id"][:], ids):
                raise artefact.ArtefactError(
                    f"{own}: its {len(other['stimulus_id'])} stimuli are not the {len(ids)} of {path}, in their "
                    "order; run snakemake, which makes both again"
                )
            found[str(other.attrs["name"])] = other["vector"]
        yield Stimuli(file, found)


def stimuli_of(job: Job) -> AbstractContextManager[Stimuli]:
    """The stimuli of a job, and further vectors that it was given."""
    vectors = job.each("vectors") if job.inputs.get("vectors") else []
    return open_stimuli(job.input("stimuli"), job.expects.get("features"), vectors)


def placed(responses: Responses, file: Stimuli, path: Path) -> Responses:
    """Responses whose stimuli are rows of a stimuli file.

    Single trials keep their order; averages are sorted by subject and row. Of a file that says that it holds part of
    the stimuli (``first_concepts`` of the study), trials of the others are left out.

    Raises
    ------
    brain2clip.artefact.ArtefactError
        Where the file lacks a stimulus.
    """
    ids = list(file["stimulus_id"].asstr()[:])
    lost = sorted(set(responses.stimulus_id) - set(ids))
    if lost and file.attrs.get("part", False):
        responses = responses.without(lost)
    elif lost:
        raise artefact.ArtefactError(
            f"{path}: {len(lost)} of the {len(responses.stimulus_id)} stimuli of the responses are not among its "
            f"{len(ids)}, the first is {lost[0]}; run snakemake, which makes both again"
        )
    found = replace(responses, stimulus=_renumbered(responses, ids), stimulus_id=ids)
    if not responses.is_averaged:
        return found
    order = np.lexsort((found.stimulus, found.subject))
    return replace(found, values=found.values[order], stimulus=found.stimulus[order], subject=found.subject[order])


def _renumbered(responses: Responses, ids: Sequence[str]) -> np.ndarray:
    """Place of each response's stimulus among other ids [n]."""
    place = {name: number for number, name in enumerate(ids)}
    return np.array([place[name] for name in responses.stimulus_id], np.int64)[responses.stimulus]


@dataclass(frozen=True)
class Pairs:
    """Training pairs on the device.

    Attributes
    ----------
    responses : list of Tensor [n, *shape]
        One for each set of responses: subjects who have inputs of their own cannot be one tensor.
    part, place : ndarray [n]
        Set and row in it, of each response.
    stimulus : ndarray [n]
        Row of the stimulus table of each response.
    subject : ndarray [n]
        Number of the subject of each response among those of the model.
    units : list of ndarray
        What a batch is drawn from: the responses of one picture, or single responses where there are few stimuli.
    classes : ndarray [n_units] of str or None
        Class of each unit (a single response), where classes of unequal size are drawn equally often; else None.
    """

    responses: list[Tensor]
    part: np.ndarray
    place: np.ndarray
    stimulus: np.ndarray
    subject: np.ndarray
    units: list[np.ndarray]
    classes: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> list[tuple[int, np.ndarray, Tensor]]:
        """Chosen responses by set: its number, the rows that are in it, in the order asked for, and their values."""
        found = []
        for number in np.unique(self.part[rows]):
            own = rows[self.part[rows] == number]
            values = self.responses[number]
            found.append(
                (int(number), own, values.index_select(0, torch_device.copied(self.place[own], values.device)))
            )
        return found


def pairs(
    sets: Sequence[Responses], rows: np.ndarray, device: torch.device, classes: np.ndarray | None = None
) -> Pairs:
    """Chosen responses (rows of all sets one after the other) on the device, grouped for batches.

    A picture comes with all its responses (subjects of leave-one-subject-out, single repetitions), so that it goes
    through the tower once per batch. Where stimuli are few categories, single responses are drawn, and so they are
    where ``classes`` names that of every response of all sets, which are to be drawn equally often.
    """
    part = np.repeat(np.arange(len(sets)), [len(one.stimulus) for one in sets])[rows]
    first = np.cumsum([0, *(len(one.stimulus) for one in sets)])[part]
    stimulus = np.concatenate([one.stimulus for one in sets])[rows]
    subject = part if len(sets) > 1 else sets[0].subject[rows]
    own = [(rows - first)[part == number] for number in range(len(sets))]
    place = np.empty(len(rows), np.int64)
    for number, chosen in enumerate(own):
        place[part == number] = np.arange(len(chosen))
    order = np.argsort(stimulus, kind="stable")
    units = np.split(order, np.flatnonzero(np.diff(stimulus[order])) + 1)
    single = classes is not None or len(rows) > 50 * len(units)
    return Pairs(
        responses=[torch.from_numpy(one.values[chosen]).to(device) for one, chosen in zip(sets, own)],
        part=part,
        place=place,
        stimulus=stimulus,
        subject=subject,
        units=[np.array([row]) for row in range(len(rows))] if single else units,
        classes=None if classes is None else classes[rows],
    )
