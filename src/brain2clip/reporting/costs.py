"""Cost of training, from the histories of models."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from brain2clip import artefact, stage
from brain2clip.reporting import blocks
from brain2clip.training import cost

COLUMNS = ["study", "signal", "protocol", "method", "subject", "seed", "epochs", *cost.COLUMNS, "device"]
#: Description for captions.
WORDS = (
    "training of one model, from its first to its last epoch, including the search for the epoch if there was one; "
    "without loading data and CLIP. CPU seconds are summed over all threads of the process"
)


def read(job: stage.Job) -> pd.DataFrame:
    """Costs of all models among a job's inputs ``history``: a row each, columns :data:`COLUMNS`."""
    if not job.inputs.get("history"):
        return pd.DataFrame(columns=COLUMNS)
    files = stage.progress(job.each("history"), "reading history")
    found = [{**blocks.from_run_path(path), **of(artefact.read_table(path, expected))} for path, expected in files]
    return pd.DataFrame(found, columns=COLUMNS)


def of(history: pd.DataFrame) -> dict[str, float | str | None]:
    """Epochs, seconds, CPU seconds and device of one model; none if its history does not have them.

    Epochs are those of the final training; seconds include the search for their number.
    """
    spent = {
        name: sum(history[column].sum() for column in (name, f"search_{name}") if column in history)
        for name in cost.COLUMNS
        if name in history and len(history)
    }
    return {
        "epochs": len(history) if "epoch" in history else None,
        **{name: spent.get(name) for name in cost.COLUMNS},
        "device": devices(history["device"]) if "device" in history else None,
    }


def devices(found: Iterable[str | None]) -> str:
    """Devices in words."""
    return ", ".join(sorted({one for one in found if one}))
