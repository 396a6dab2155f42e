"""Recordings of the simulated EEG study: how presentations are divided over them, and where they lie.

Layout below ``results/raw/{study}``, a BIDS dataset::

    dataset_description.json  participants.tsv
    stimuli/stimuli.tsv                 and the pictures, see drawn_pictures
    sub-01/brain2clip-files.json        size and hash of every file of the subject, who is complete when it is there
    sub-01/sub-01_sessions.tsv
    sub-01/ses-01/eeg/sub-01_ses-01_task-train_run-01_eeg.vhdr, …_events.tsv, …
    sub-01/ses-01/eeg/sub-01_ses-01_task-test_eeg.vhdr, …
    derivatives/truth/sub-01.h5         the noise-free response of a subject to every picture
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brain2clip import settings as blocks
from brain2clip.readers.contract import Recording
from brain2clip.stage import InputError

TRAINING_RUNS = 2
"""Training recordings per session; the test pictures of a session are one recording, as in THINGS-EEG2."""
COLUMNS = (
    "onset", "duration", "sample", "value", "trial_type", "tot_img_number", "img_category", "category_name",
    "block", "sequence", "img_in_sequence", "soa",
)  # fmt: skip
"""Columns of events.tsv, in the order of the BIDS version of THINGS-EEG2 (NEMAR nm000232)."""


# ------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Plan:
    """How often each picture of one split is shown in one recording session.

    Attributes
    ----------
    times : tuple of int
        Intended presentations of picture 0, 1, ….
    surplus : int
        Number of pictures shown once more than that.
    """

    times: tuple[int, ...]
    surplus: int

    @property
    def n_trials(self) -> int:
        """Image trials of the session, surplus included."""
        return sum(self.times) + self.surplus


def plan(study: blocks.SimulatedStudy, split: str) -> list[Plan]:
    """Divide the presentations of a split over the recording sessions.

    Every session shows every picture ``repetitions // sessions`` times; what is left over goes round the sessions,
    starting at another one for each picture. So a picture gets its number exactly, and sessions differ by one at most.

    Parameters
    ----------
    study : SimulatedStudy
        Settings.
    split : str
        ``train`` or ``test``.

    Returns
    -------
    list of Plan
        One per session.

    Raises
    ------
    brain2clip.stage.InputError
        When a recording would have no trial.
    """
    if split == "train":
        pictures, repetitions = study.training_concepts * study.pictures_per_concept, study.training_repetitions
    else:
        pictures, repetitions = study.test_concepts, study.test_repetitions
    each, left = divmod(repetitions, study.sessions)
    plans = []
    for session in range(study.sessions):
        times = tuple(each + ((session - picture) % study.sessions < left) for picture in range(pictures))
        shown = sum(count > 0 for count in times)
        plans.append(Plan(times, round(study.surplus * shown)))
    fewest, needed = min(each.n_trials for each in plans), TRAINING_RUNS if split == "train" else 1
    if fewest < needed:
        raise InputError(
            f"simulated study: sessions is {study.sessions}, which leaves {fewest} {split} trials for one session; "
            f"expected at least {needed}. Set fewer sessions, or more pictures or repetitions."
        )
    return plans


# ------------------------------------------------------------------------------------------------ parts


def recordings_of_session() -> list[tuple[str, str | None]]:
    """Task and run of every recording of a session."""
    return [("test", None), *(("train", f"{run:02d}") for run in range(1, TRAINING_RUNS + 1))]


def recording(root: Path, subject: str, session: str, task: str, run: str | None) -> Recording:
    """A recording by its BIDS labels."""
    parts = [f"sub-{subject}", f"ses-{session}", f"task-{task}"] + ([f"run-{run}"] if run else [])
    stem = root / f"sub-{subject}" / f"ses-{session}" / "eeg" / "_".join(parts)
    return Recording(subject, task, session, run, root, Path(f"{stem}_eeg.vhdr"), Path(f"{stem}_events.tsv"))
