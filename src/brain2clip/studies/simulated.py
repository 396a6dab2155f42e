"""The embedded simulated study as its readers see it: where its files are and what they say.

What writes those files is in ``simulate_pictures``, ``simulate_recordings`` and ``simulate_dataset``; this module does
not import them, so that a change of the generator does not count as a change of the reader.

Layout below ``results/raw/{study}``, a BIDS dataset::

    dataset_description.json  participants.tsv
    stimuli/stimuli.tsv                 and the pictures, see drawn_pictures
    sub-01/sub-01_sessions.tsv          written last: a subject is complete when it is there
    sub-01/ses-01/eeg/sub-01_ses-01_task-train_run-01_eeg.vhdr, …_events.tsv, …
    sub-01/ses-01/eeg/sub-01_ses-01_task-test_eeg.vhdr, …
    derivatives/truth/sub-01.h5         the noise-free response of a subject to every picture
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import settings as blocks
from brain2clip.readers import drawn_pictures
from brain2clip.readers.contract import Recording
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd

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
            f"simulated study: sessions is {study.sessions}, which leaves {fewest} {split} trials for one of them; "
            f"at least {needed} are needed. Take fewer sessions, or more pictures or repetitions."
        )
    return plans


# ------------------------------------------------------------------------------------------------ study


class Study:
    """The simulated study; see :class:`brain2clip.readers.contract.Study` for the contract.

    Parameters
    ----------
    name : str
        Name in the configuration.
    settings : dict
        A :class:`brain2clip.settings.SimulatedStudy` as JSON-like dict.
    results : Path
        Folder of everything that the pipeline writes.
    """

    licence = "CC0-1.0"
    citation = "Simulated by brain2clip; no person was recorded."
    modality = "eeg"
    zero_shot = True
    split_from_events = False

    def __init__(self, name: str, settings: dict[str, Any], results: Path) -> None:
        self.name = name
        self.settings: blocks.SimulatedStudy = blocks.parse(blocks.SimulatedStudy, settings)
        self.root = Path(results) / "raw" / name

    def subjects(self) -> tuple[str, ...]:
        """Subject labels without ``sub-``."""
        return tuple(f"{number:02d}" for number in range(1, self.settings.subjects + 1))

    def files(self, subject: str) -> list[str]:
        """The sessions table, which is written when all recordings of the subject are there."""
        return [str(self.root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv")]

    def stimulus_files(self) -> list[str]:
        """The stimulus table, which is written when all pictures are there."""
        return [str(drawn_pictures.table_path(self.root))]

    def label_files(self) -> list[str]:
        """What :meth:`stimulus_files` says: labels are looked up in the table of pictures."""
        return self.stimulus_files()

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings in the order of session, task, run."""
        return [
            recording(self.root, subject, f"{session:02d}", task, run)
            for session in range(1, self.settings.sessions + 1)
            for task, run in recordings_of_session()
        ]

    def stimulus_table(self) -> pd.DataFrame:
        """One row per picture: training pictures by concept, then test pictures."""
        return drawn_pictures.stimulus_table(self.root)

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Image trials; the label is ``tot_img_number`` within the task, for ``value`` repeats in training."""
        import pandas as pd

        path = recording.events
        events = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
        absent = [name for name in ("onset", "trial_type", "tot_img_number") if name not in events]
        if absent:
            raise InputError(
                f"{path}: column {', '.join(absent)} is missing; found {', '.join(events.columns)}. "
                "Delete the subject's folder and let snakemake make it again."
            )
        events = events[events["trial_type"] == "image"].reset_index(drop=True)
        onset = pd.to_numeric(events["onset"], errors="coerce")
        number = pd.to_numeric(events["tot_img_number"], errors="coerce")
        for column, values in (("onset", onset), ("tot_img_number", number)):
            if values.isna().any():
                first = int(values.isna().to_numpy().argmax())
                raise InputError(
                    f"{path}: {column} of image trial {first + 1} is {events[column][first]!r}; expected a number. "
                    "Correct the row, or delete the subject's folder and let snakemake make it again."
                )
        names = [drawn_pictures.stimulus_id(recording.task, int(value)) for value in number]
        rows = drawn_pictures.rows_of(names, drawn_pictures.table_path(self.root), path)
        return pd.DataFrame({"onset": onset.astype(float), "stimulus": rows, "split": recording.task})

    def expected_counts(self, subject: str) -> dict[str, int]:
        """Image trials per split over all sessions, surplus included; the same for every subject."""
        return {split: sum(session.n_trials for session in plan(self.settings, split)) for split in ("train", "test")}


# ------------------------------------------------------------------------------------------------ parts


def recordings_of_session() -> list[tuple[str, str | None]]:
    """Task and run of every recording of a session."""
    return [("test", None), *(("train", f"{run:02d}") for run in range(1, TRAINING_RUNS + 1))]


def recording(root: Path, subject: str, session: str, task: str, run: str | None) -> Recording:
    """A recording by its BIDS labels."""
    parts = [f"sub-{subject}", f"ses-{session}", f"task-{task}"] + ([f"run-{run}"] if run else [])
    stem = root / f"sub-{subject}" / f"ses-{session}" / "eeg" / "_".join(parts)
    return Recording(subject, task, session, run, root, Path(f"{stem}_eeg.vhdr"), Path(f"{stem}_events.tsv"))
