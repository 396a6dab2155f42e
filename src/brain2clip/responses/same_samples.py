"""Whether two recordings hold the same samples: a copy under another name could be in training and in the test.

Of each recording a sketch is kept: the smallest of the digests of all short stretches of its samples (bottom-k MinHash,
Broder 1997). Equal stretches have equal digests at any position, so the share of digests that two sketches have in
common says how much of the shorter recording is in the longer one: a complete copy, a part of a longer run, the same
rows in another order. Values are used with 12 bits after the leading one, so that a copy in another floating-point
format is recognised.

Digests are made of what was read, before any filter, of the channels or voxels in a fixed order. Rows that repeat their
neighbour (a disconnected electrode, padding) are ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from brain2clip.responses import writing
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from numpy.typing import NDArray

    from brain2clip.readers.contract import Study

    Sketch = NDArray[np.uint64]

log = logging.getLogger("brain2clip")

#: Digests that are kept of a recording.
KEPT = 128
#: ... and noted in a table.
NOTED = 32
#: A stretch has as many rows as are needed for this many values, because a single channel soon repeats itself.
VALUES = 64
#: Two recordings are the same if this share of the shorter one is in the other.
SHARE = 0.1
#: Rows whose digests are made at the same time: so many fit into the processor's cache.
ROWS_AT_ONCE = 1 << 13
#: Fills a sketch with fewer digests.
NONE = np.uint64(2**64 - 1)
GROUP = "recording"


class RowDigests:
    """Digests of rows of samples, whose columns may come some at a time, always in the same order.

    Parameters
    ----------
    n_rows : int
        Samples of a recording, or volumes or trials of voxel signals.
    """

    def __init__(self, n_rows: int) -> None:
        self.rows = np.zeros(n_rows, np.uint64)
        self.n_columns = 0

    def add(self, values: NDArray[np.floating]) -> None:
        """Take more columns [n_rows, n] into account."""
        values = np.asarray(values)
        numbers = np.arange(self.n_columns + 1, self.n_columns + values.shape[1] + 1, dtype=np.uint64)
        self.n_columns += values.shape[1]
        factors = _mixed(numbers) | np.uint64(1)
        for begin in range(0, len(values), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            for column, factor in zip(values[part].T, factors):
                bits = (column.astype(np.float32) + np.float32(0)).view(np.uint32)  # no negative zero
                rounded = (bits.astype(np.uint64) + np.uint64(0x400)) >> np.uint64(11)
                rounded *= factor
                self.rows[part] += rounded  # multilinear hashing

    @classmethod
    def joined(cls, parts: Sequence[RowDigests]) -> RowDigests:
        """Digests of the rows of several parts with the same columns, one after the other."""
        whole = cls(0)
        whole.rows, whole.n_columns = np.concatenate([part.rows for part in parts]), parts[0].n_columns
        return whole

    def sketch(self, rows: NDArray[np.int64] | slice = slice(None)) -> Sketch:
        """Sketch of some rows, in their order: ascending digests [KEPT], the last ones NONE where there are fewer."""
        own = self.rows[rows]
        length = max(1, min(len(own), -(-VALUES // max(self.n_columns, 1))))
        repeats = own[1:] == own[:-1]
        counts = ~(np.append(repeats, False) | np.append(False, repeats)) if len(own) else np.zeros(0, bool)
        starts = len(own) - length + 1
        stretches = np.zeros(max(starts, 0), np.uint64)
        for begin in range(0, len(stretches), ROWS_AT_ONCE):
            part = stretches[begin : begin + ROWS_AT_ONCE]
            for step in range(length if len(own) else 0):
                part[:] = _mixed(part ^ own[begin + step : begin + step + len(part)])
        ordered = np.sort(stretches[counts[: len(stretches)]])  # np.unique takes ten times as long
        smallest = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]][:KEPT]
        return np.append(smallest, np.full(KEPT - len(smallest), NONE))


def _mixed(values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele et al. 2014): every bit of the result depends on every bit given."""
    mixed = np.atleast_1d(values) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@dataclass(frozen=True)
class Recordings:
    """Sketches of recordings.

    Attributes
    ----------
    names : tuple of str
        With the subject, e.g. ``sub-01_task-see_run-02``: what is of one name is one recording.
    sketches : ndarray [n, KEPT] of uint64
    allowed : bool
        Whether equal ones are meant (``equal_recordings: allow``).
    """

    names: tuple[str, ...] = ()
    sketches: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, KEPT), np.uint64))
    allowed: bool = False

    @classmethod
    def of(cls, found: Sequence[tuple[str, Sketch]]) -> Recordings:
        """Names with their sketches."""
        return cls(tuple(name for name, _ in found), np.reshape([one for _, one in found], (-1, KEPT)))

    def allow(self) -> Recordings:
        """The same, and equal ones are meant."""
        return replace(self, allowed=True)

    def note(self, rows: pd.DataFrame) -> None:
        """Into the notes of a table, which its file keeps; fewer digests are enough where all of a subject is equal."""
        rows.attrs[GROUP] = {
            "name": list(self.names),
            "sketch": self.sketches[:, :NOTED].tolist(),
            "allowed": self.allowed,
        }

    @classmethod
    def noted(cls, rows: pd.DataFrame) -> Recordings:
        """From the notes of a table."""
        found = rows.attrs.get(GROUP)
        if found is None:
            return cls()
        sketches = np.full((len(found["name"]), KEPT), NONE)
        sketches[:, :NOTED] = np.array(found["sketch"], np.uint64).reshape(-1, NOTED)
        return cls(tuple(found["name"]), sketches, found["allowed"])

    def write(self, file: h5py.File) -> None:
        """Into a responses artefact."""
        group = file.create_group(GROUP)
        writing.write_text(group, "name", self.names)
        group["sketch"] = self.sketches
        group.attrs["allowed"] = self.allowed

    @classmethod
    def read(cls, file: h5py.File) -> Recordings:
        """From a responses artefact."""
        if GROUP not in file:
            return cls()
        group = file[GROUP]
        return cls(tuple(group["name"].asstr()[:]), group["sketch"][:], bool(group.attrs["allowed"]))


def together(parts: Sequence[Recordings]) -> Recordings:
    """Recordings of several files, each name once."""
    names = [name for part in parts for name in part.names]
    sketches = np.concatenate([np.zeros((0, KEPT), np.uint64), *(part.sketches for part in parts)])
    first = [names.index(name) for name in dict.fromkeys(names)]
    return Recordings(tuple(dict.fromkeys(names)), sketches[first], any(part.allowed for part in parts))


def checked(study: Study, subject: str, found: Sequence[tuple[str, Sketch]]) -> Recordings:
    """Recordings of a subject, ready to be written (:meth:`Recordings.write`).

    Parameters
    ----------
    study : Study
    subject : str
    found : sequence of (str, ndarray)
        Name of each recording, the subject in it, and its sketch.

    Raises
    ------
    brain2clip.stage.InputError
        When two share samples, unless ``equal_recordings: allow``.
    """
    recordings = Recordings.of(found)
    if study.block.equal_recordings == "allow":
        recordings = recordings.allow()
    refuse_equal(recordings, f"study {study.name}, subject {subject}")
    return recordings


def refuse_equal(recordings: Recordings, where: str) -> None:
    """Refuse two recordings that share samples, or warn if this is allowed.

    Parameters
    ----------
    recordings : Recordings
        All that must differ from each other.
    where : str
        Study, subject or files, for the message.

    Raises
    ------
    brain2clip.stage.InputError
        Names the first two, how much they share, and how many such pairs there are.
    """
    pairs = shared(recordings)
    if not pairs:
        return
    one, other, share = max(pairs, key=lambda pair: pair[2])
    said = (
        f"{where}: {one} and {other} hold the same samples ({share:.0%} of the shorter is in the other; "
        f"{len(pairs)} such pair{'s' if len(pairs) > 1 else ''} among {len(recordings.names)} recordings)"
    )
    if recordings.allowed:
        log.warning("%s; used nevertheless (equal_recordings: allow)", said)
        return
    raise InputError(
        f"{said}\n  expected different samples in each recording: otherwise training data are in the test, or one "
        "person counts as two. Is one a copy, or does its header name the data file of the other? Fix or remove it; "
        "if it is intended, set studies.*.equal_recordings: allow"
    )


def shared(recordings: Recordings) -> list[tuple[str, str, float]]:
    """Pairs of recordings that share samples, with the share of the shorter one.

    Of more than two equal ones not every pair is listed, but each in one.
    """
    owner, place = np.nonzero(recordings.sketches != NONE)
    digest = recordings.sketches[owner, place]
    order = np.lexsort((owner, digest))
    digest, owner = digest[order], owner[order]
    again = digest[1:] == digest[:-1]
    pairs = np.unique(np.stack([owner[:-1][again], owner[1:][again]], axis=1), axis=0)
    found = [
        (recordings.names[one], recordings.names[other], _share(recordings.sketches[one], recordings.sketches[other]))
        for one, other in pairs
    ]
    return [pair for pair in found if pair[2] >= SHARE]


def _share(one: Sketch, other: Sketch) -> float:
    """How much of the shorter recording is in the other, from their sketches."""
    largest = min(one[-1], other[-1])  # up to there both sketches are complete
    own, others = (sketch[(sketch <= largest) & (sketch != NONE)] for sketch in (one, other))
    return len(np.intersect1d(own, others)) / max(1, min(len(own), len(others)))
