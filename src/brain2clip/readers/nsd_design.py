"""Design of the Natural Scenes Dataset: ``nsd_expdesign.mat``, whose numbers all count from 1.

It has three arrays. ``masterordering`` [30000] is the place of each trial's picture among the 10,000 of a subject, the
same for all subjects. ``subjectim`` [8, 10000] is the number of the picture at each place (1 to 73,000). ``sharedix``
[1000] has the pictures that all subjects share; they are at the first places. Everywhere else here pictures are counted
from 0, like the column ``nsdId`` and the rows of ``imgBrick``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brain2clip.readers import user_files
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Trials of a session, and of its twelve runs.
TRIALS = 750
RUNS = (63, 62) * 6
#: Sessions of each subject.
SESSIONS = {"01": 40, "02": 40, "03": 32, "04": 30, "05": 40, "06": 32, "07": 40, "08": 30}
#: Number of sessions that every subject has, and number of times that a picture is shown.
FEWEST, COMPLETE = min(SESSIONS.values()), 3
#: Sessions of the test of 982 pictures.
EARLY = 37
#: Trials, subjects, pictures of a subject and shared ones, as published; a design of that size must hold COUNTS.
PUBLISHED = (30000, 8, 10000, 1000)
#: By number of sessions: pictures seen, seen three times; shared pictures seen, seen at least twice, three times.
COUNTS = {
    30: {"seen": 9209, "complete": 5445, "shared": 907, "twice": 766, "thrice": 515},
    32: {"seen": 9411, "complete": 6234, "shared": 930},
    37: {"seen": 9841, "shared": 982},
    40: {"seen": 10000, "complete": 10000, "shared": 1000},
}
#: Trials with a shared picture in 37 sessions.
EARLY_TRIALS = 2770
ARRAYS = ("masterordering", "subjectim", "sharedix")


@dataclass(frozen=True)
class Design:
    """The picture of each trial.

    Attributes
    ----------
    path : Path
        The file.
    place : ndarray [n_trials] int
        Place of the picture of each trial among those of a subject, from 0.
    pictures : ndarray [n_subjects, n_pictures] int
        Number of the picture at each place (``nsdId``, from 0).
    n_shared : int
        Number of shared pictures; they are at the first places.
    """

    path: Path
    place: NDArray[np.int64]
    pictures: NDArray[np.int64]
    n_shared: int

    @property
    def is_published(self) -> bool:
        """Whether it has the size of the published one."""
        return (len(self.place), *self.pictures.shape, self.n_shared) == PUBLISHED

    def trials(self, sessions: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the trials of some sessions (from 1), in their order."""
        last = len(self.place) // TRIALS
        if max(sessions) > last:
            raise InputError(
                f"{self.path}: {len(self.place)} trials, that is {last} sessions of {TRIALS}; but "
                f"studies.*.sessions names session {max(sessions)}; expected at most {last}"
            )
        return np.concatenate([np.arange(TRIALS) + TRIALS * (session - 1) for session in sessions])

    def shown(self, subject: str, trials: NDArray[np.int64]) -> NDArray[np.int64]:
        """``nsdId`` of the picture of some trials of a subject."""
        if int(subject) > len(self.pictures):
            raise InputError(
                f"{self.path}: subjectim has {len(self.pictures)} subjects, but studies.*.subjects names {subject}"
            )
        return self.pictures[int(subject) - 1, self.place[trials]]

    def counts(self, sessions: int) -> NDArray[np.int64]:
        """How often the picture at each place was shown in the first sessions."""
        return np.bincount(self.place[: TRIALS * sessions], minlength=self.pictures.shape[1])

    def sides(self, test: str, trials: NDArray[np.int64]) -> NDArray[np.object_]:
        """``train``, ``test`` or nothing (left out) for some trials.

        Parameters
        ----------
        test : str
            ``1000`` and ``982``: every shared picture is test; ``515``: those that every subject saw three times in the
            sessions that all subjects have; the other shared pictures are left out.
        trials : ndarray [n] int
        """
        place = self.place[trials]
        found = np.where(place < self.n_shared, "test", "train").astype(object)
        if test == "515":
            incomplete = self.counts(FEWEST)[place] < COMPLETE
            found[(place < self.n_shared) & incomplete] = ""
        return found


def read(path: Path, setting: str) -> Design:
    """The design.

    Parameters
    ----------
    path : Path
        ``nsd_expdesign.mat``.
    setting : str
        Setting that names it, for messages.

    Raises
    ------
    brain2clip.stage.InputError
        If it is missing or damaged; if an array is missing, counts from 0, or contradicts another array; if it has the
        size of the published design but other counts.
    """
    user_files.existing(path, "design of the experiment", setting)
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> Design:
    from scipy.io import loadmat

    with user_files.reading(path, "not readable as a MATLAB file", "; get it once more"):
        stored = loadmat(path, variable_names=ARRAYS)
    order, pictures, shared = (_whole(stored, name, path) for name in ARRAYS)
    order, shared = order.ravel(), shared.ravel()
    pictures = np.atleast_2d(pictures)
    places = np.arange(1, pictures.shape[1] + 1)
    if not np.array_equal(np.unique(order), places):
        raise _wrong(
            path,
            f"masterordering holds {order.min()} to {order.max()}, and subjectim has {len(places)} pictures of a "
            f"subject; expected each of 1 to {len(places)}",
        )
    twice = [number + 1 for number, own in enumerate(pictures) if len(np.unique(own)) < len(own)]
    if twice:
        raise _wrong(path, f"subjectim lists a picture twice for subject {twice[0]}")
    if len(shared) > len(places) or any(set(own[: len(shared)]) != set(shared) for own in pictures):
        raise _wrong(path, f"the first {len(shared)} pictures of a subject in subjectim are not those of sharedix")
    found = Design(path, order - 1, pictures - 1, len(shared))
    if found.is_published:
        _check_published(found)
    return found


def _whole(stored: dict[str, Any], name: str, path: Path) -> NDArray[np.int64]:
    """An array of whole numbers from 1."""
    if name not in stored:
        raise _wrong(path, f"no array {name}")
    values = np.asarray(stored[name])
    if not values.size or values.dtype.kind not in "iuf" or not np.array_equal(values, np.round(values)):
        raise _wrong(path, f"{name} is {values.dtype} {values.shape}, expected whole numbers")
    if values.min() < 1:
        raise _wrong(path, f"{name} begins at {values.min():g}, so it counts from 0; the published file counts from 1")
    return values.astype(np.int64)


def _check_published(design: Design) -> None:
    """Refuse a design of the published size with other counts than were published."""
    for sessions, expected in COUNTS.items():
        shown = design.counts(sessions)
        own = shown[: design.n_shared]
        found = {
            "seen": (shown > 0).sum(),
            "complete": (shown >= COMPLETE).sum(),
            "shared": (own > 0).sum(),
            "twice": (own > 1).sum(),
            "thrice": (own >= COMPLETE).sum(),
        }
        other = {name: int(found[name]) for name, count in expected.items() if found[name] != count}
        if other:
            raise _wrong(
                design.path,
                f"after {sessions} sessions {', '.join(f'{name} {count}' for name, count in other.items())}, expected "
                f"{', '.join(f'{name} {expected[name]}' for name in other)}",
            )
    early = int(design.counts(EARLY)[: design.n_shared].sum())
    if early != EARLY_TRIALS:
        raise _wrong(design.path, f"{early} trials of shared pictures in {EARLY} sessions, expected {EARLY_TRIALS}")


def _wrong(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}; this is not the design of the experiment (nsd_expdesign.mat): get it once more")
