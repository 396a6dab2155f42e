"""Simulated studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from brain2clip.settings.base import Block, Seed, neutral
from brain2clip.settings.study_base import (
    FEW_CONCEPTS,
    FEW_SUBJECTS,
    EegStudyBase,
    Extent,
    VoxelStudyBase,
)

#: Sessions of a version that is tried out.
FEW_SESSIONS = 3


class SimulatedNoise(Block):
    """Strength of each disturbance of the simulated EEG at the sensors."""

    pink_uv: float = Field(8.0, ge=0, description="standard deviation of 1/f brain background per channel, microvolt")
    alpha_uv: float = Field(5.0, ge=0, description="mean amplitude of the occipital alpha rhythm, microvolt")
    sensor_uv: float = Field(1.0, ge=0, description="standard deviation of white sensor noise, microvolt")
    mains_uv: float = Field(2.0, ge=0, description="amplitude of the 50 Hz hum, microvolt")
    blink_uv: float = Field(120.0, ge=0, description="peak of a blink at the frontal electrodes, microvolt")
    blinks_per_minute: float = Field(12.0, ge=0, description="mean number of blinks per minute")
    drift_uv: float = Field(20.0, ge=0, description="standard deviation of slow electrode drift, microvolt")


class SimulatedStudy(EegStudyBase):
    """The embedded simulated experiment; its truth is known."""

    simulated: ClassVar[bool] = True
    pass_on: ClassVar[Literal["always", "asked", "never"]] = "always"
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset(
        {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"}
    )

    kind: Literal["simulated"] = "simulated"
    subjects: int = Field(4, ge=1, le=99, description="number of simulated subjects")
    sessions: int = Field(2, ge=1, le=9, description="recording sessions per subject")
    training_concepts: int = Field(100, ge=2, le=368, description="training concepts")
    pictures_per_concept: int = Field(10, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    training_repetitions: int = Field(2, ge=1, description="presentations of a training picture over all sessions")
    test_repetitions: int = Field(20, ge=1, description="presentations of a test picture over all sessions")
    surplus: float = Field(
        0.02, ge=0, le=0.5, description="share of pictures that are shown once more than intended in a session"
    )
    catch_trials: float = Field(0.02, ge=0, le=0.5, description="share of target (catch) trials")
    soa: float = Field(0.2, gt=0.05, le=60, description="time from one picture onset to the next within a sequence, s")
    sequence: int = Field(20, ge=1, description="pictures per sequence; a pause of 1.5 s follows")
    sfreq: float = Field(250.0, gt=0, description="sampling rate of the recording, Hz")
    snr: float = Field(
        1.0,
        gt=0,
        description="difficulty: factor on the amplitude of picture-driven sources (1: about 3 microvolt)",
    )
    noise: SimulatedNoise = Field(default_factory=SimulatedNoise, description="disturbances")
    seed: Seed = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")

    @property
    def has(self) -> frozenset[str] | None:
        """All."""
        return frozenset({"pictures", "captions"})

    @property
    def n_stimuli(self) -> int | None:
        """Of training and test."""
        return self.training_concepts * self.pictures_per_concept + self.test_concepts

    @property
    def recorded_sessions(self) -> int | None:
        """Every session has a name."""
        return self.sessions

    @property
    def extent(self) -> Extent | None:
        """As it is simulated, surplus presentations left out."""
        pictures = (self.training_concepts * self.pictures_per_concept, self.test_concepts)
        trials = (pictures[0] * self.training_repetitions, pictures[1] * self.test_repetitions)
        return Extent(trials, pictures, self.sfreq)

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Fewer of everything."""
        return {**_smaller_simulation(self), "sessions": 1}


class SimulatedFmriStudy(VoxelStudyBase):
    """Simulated fMRI of the same world as the simulated EEG; its truth is known."""

    answered: ClassVar[bool] = True
    simulated: ClassVar[bool] = True
    pass_on: ClassVar[Literal["always", "asked", "never"]] = "always"
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset(
        {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"}
    )

    kind: Literal["simulated_fmri"] = "simulated_fmri"
    subjects: int = Field(2, ge=1, le=99, description="number of simulated subjects")
    training_concepts: int = Field(100, ge=2, le=368, description="training concepts")
    pictures_per_concept: int = Field(8, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    sessions: int = neutral(
        1,
        ge=1,
        le=99,
        description="sessions of a subject; training trials and test trials are each divided among them in the order "
        "of presentation; 1: the session has no name",
    )
    training_repetitions: int = Field(1, ge=1, description="presentations of a training picture")
    test_repetitions: int = Field(35, ge=1, description="presentations of a test picture")
    run_trials: int = Field(50, ge=2, description="trials of a run")
    voxels_per_roi: int = Field(
        60, ge=4, description="mean number of voxels of a region; regions and subjects differ from it"
    )
    snr: float = Field(
        0.25,
        gt=0,
        description="difficulty: deviation of the picture-driven part over that of the noise of a trial (0.25: some 5 "
        "percent of a trial's variance)",
    )
    noise_correlation: float = Field(0.3, ge=0, lt=1, description="part of the noise variance that neighbours share")
    drift: float = Field(0.5, ge=0, description="deviation of slow changes over a run, in units of the noise")
    seed: Seed = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")

    @property
    def has(self) -> frozenset[str] | None:
        """All."""
        return frozenset({"pictures", "captions"})

    @property
    def n_stimuli(self) -> int | None:
        """Of training and test."""
        return self.training_concepts * self.pictures_per_concept + self.test_concepts

    @property
    def recorded_sessions(self) -> int | None:
        """A single session has no name."""
        return self.sessions if self.sessions > 1 else 0

    @model_validator(mode="after")
    def _trials_in_each_session(self) -> SimulatedFmriStudy:
        pictures = self.training_concepts * self.pictures_per_concept
        fewest = min(pictures * self.training_repetitions, self.test_concepts * self.test_repetitions)
        if self.sessions > fewest:
            raise ValueError(
                f"sessions: found {self.sessions}, but training or test has only {fewest} trials; expected at most "
                f"{fewest}"
            )
        return self

    @property
    def extent(self) -> Extent | None:
        """As it is simulated; of all seven regions."""
        pictures = (self.training_concepts * self.pictures_per_concept, self.test_concepts)
        trials = (pictures[0] * self.training_repetitions, pictures[1] * self.test_repetitions)
        return Extent(trials, pictures, inputs=7 * self.voxels_per_roi)

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Fewer of everything."""
        return {**_smaller_simulation(self), "sessions": min(FEW_SESSIONS, self.sessions)}


def _smaller_simulation(study: Any) -> dict[str, Any]:
    """Numbers of a simulated study, none larger than it has."""
    few = {
        **{"subjects": FEW_SUBJECTS, "training_concepts": FEW_CONCEPTS, "pictures_per_concept": 4},
        **{"test_concepts": FEW_CONCEPTS, "training_repetitions": 2, "test_repetitions": 8},
    }
    return {name: min(count, getattr(study, name)) for name, count in few.items()}
