"""The embedded simulated study of EEG; its layout is in :mod:`brain2clip.readers.simulated_recordings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from brain2clip import settings as schema
from brain2clip.names import SPLITS
from brain2clip.readers import bids_files, drawn_pictures, file_records
from brain2clip.readers.contract import EegStudy, Recording
from brain2clip.readers.simulated_base import SimulatedStudy
from brain2clip.readers.simulated_recordings import plan, recording, recordings_of_session
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import pandas as pd


class Study(SimulatedStudy, EegStudy):
    """Simulated EEG."""

    Settings = schema.SimulatedStudy
    block: schema.SimulatedStudy

    def files(self, subject: str) -> list[str]:
        """The record of the subject's files, which is there when all of them are."""
        return [str(self.root / f"sub-{subject}" / file_records.NAME)]

    def recordings(self, subject: str) -> list[Recording]:
        """Recordings in the order of session, task, run."""
        return [
            recording(self.root, subject, f"{session:02d}", task, run)
            for session in range(1, self.block.sessions + 1)
            for task, run in recordings_of_session()
        ]

    def trials(self, recording: Recording) -> pd.DataFrame:
        """Image trials; the label is ``tot_img_number`` within the task, for ``value`` repeats in training.

        Raises
        ------
        brain2clip.stage.InputError
            When a file of the subject is not as it was made, or the events are none of this study.
        """
        import pandas as pd

        record = Path(self.files(recording.subject)[0])
        made = file_records.read(record, record.parent)
        made.check_all()
        for one in bids_files.data_files(recording):
            made.check(one)  # and nothing else is read
        path = recording.events
        events = pd.DataFrame(bids_files.read_tsv(path))
        absent = [name for name in ("onset", "trial_type", "tot_img_number") if name not in events]
        if absent:
            raise InputError(
                f"{path}: column {', '.join(absent)} is missing; found {', '.join(events.columns)}. "
                "Delete the subject's folder and run snakemake again."
            )
        events = events[events["trial_type"] == "image"].reset_index(drop=True)
        onset = pd.to_numeric(events["onset"], errors="coerce")
        number = pd.to_numeric(events["tot_img_number"], errors="coerce")
        for column, values in (("onset", onset), ("tot_img_number", number)):
            if values.isna().any():
                first = int(values.isna().to_numpy().argmax())
                raise InputError(
                    f"{path}: {column} of image trial {first + 1} is {events[column][first]!r}; expected a number. "
                    "Correct the row, or delete the subject's folder and run snakemake again."
                )
        names = [drawn_pictures.stimulus_id(recording.task, int(value)) for value in number]
        columns = {"onset": onset.astype(float), "stimulus": names, "concept": self.concepts_of(names, path)}
        return pd.DataFrame({**columns, "split": recording.task})

    def expected_counts(self, subject: str) -> dict[str, int]:
        """Image trials per split over all sessions, surplus included; the same for every subject."""
        return {split: sum(session.n_trials for session in plan(self.block, split)) for split in SPLITS}
