"""Findings of the check of a study, and the amount of samples that it may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brain2clip.names import SPLITS

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Budget:
    """Samples that may still be read, bytes in double precision; larger files are read in part."""

    left: int

    def take(self, size: int) -> bool:
        """Whether something of this size may be read whole."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass
class Look:
    """Findings of the check of a study.

    Attributes
    ----------
    subjects : tuple of str
        Those that were looked at.
    trials : dict
        Numbers of training and test trials by subject without a fault.
    shown : set of tuple
        Stimulus id and side of every trial.
    shape : str
        Channels, rate and the like in words.
    untrained : set of str
        Subjects with test trials only.
    sessions : dict
        Session of every training trial by subject, where the trials say it.
    seconds : (int, int)
        Seconds that were read of recordings, and those in which some channel moved by more than artefacts do.
    types : set of str
        Types of the channels that were read.
    bad : dict
        Names of the channels that some recording marks as bad, in order.
    moved : float
        How far a head lies from where it lay in the first recording of its subject, at most, mm.
    samples : dict
        What was read of the samples, in words, with how often.
    absent : list of str
        Subjects whose files are still to be made or fetched.
    largest_bytes : int
        The longest recording (or signals of a subject) in memory.
    response_bytes : int
        Responses of all subjects, for one signal.
    """

    subjects: tuple[str, ...] = ()
    trials: dict[str, tuple[int, int]] = field(default_factory=dict)
    shown: set[tuple[str, str]] = field(default_factory=set)
    untrained: set[str] = field(default_factory=set)
    sessions: dict[str, list[str]] = field(default_factory=dict)
    seconds: tuple[int, int] = (0, 0)
    shape: str = ""
    types: set[str] = field(default_factory=set)
    bad: dict[str, None] = field(default_factory=dict)
    moved: float = 0.0
    samples: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    largest_bytes: int = 0
    response_bytes: int = 0

    def read(self, what: str) -> None:
        """Count what was read of the samples."""
        self.samples[what] = self.samples.get(what, 0) + 1

    def took(self, subject: str, trials: pd.DataFrame) -> None:
        """Note what a subject was shown (``stimulus``, ``split``), and whether in training."""
        self.shown.update(trials[["stimulus", "split"]].drop_duplicates().itertuples(index=False, name=None))
        if len(trials) and not (trials["split"] == "train").any():
            self.untrained.add(subject)
        if "session" in trials:
            self.sessions[subject] = trials.loc[trials["split"] == "train", "session"].astype(str).tolist()

    def told(self) -> Iterator[str]:
        """Lines on what was seen."""
        if self.shape:
            yield self.shape
        for place, side in enumerate(SPLITS):
            counts = [found[place] for found in self.trials.values()]
            if counts:
                each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
                yield f"{'training' if side == 'train' else side} trials: {sum(counts)}, {each} of each subject"
        if self.moved:
            yield f"heads lie up to {self.moved:.1f} mm from where they lay in the first recording (head_movement_mm)"
        if self.samples:
            yield "samples read: " + ", ".join(f"{what} of {count}" for what, count in self.samples.items())
        if self.absent:
            yield f"not checked, because still to be made or downloaded: sub-{', sub-'.join(self.absent)}"
