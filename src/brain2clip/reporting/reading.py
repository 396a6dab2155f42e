"""Tables that figures are drawn from."""

from __future__ import annotations

import pandas as pd

from brain2clip import artefact, stage
from brain2clip.reporting import blocks


def together(job: stage.Job, name: str) -> pd.DataFrame:
    """All tables of an input that have rows, one below the other."""
    files = stage.progress(job.each(name), f"reading {name}")
    tables = [artefact.read_table(path, expected) for path, expected in files]
    return pd.concat([one for one in tables if len(one)] or tables, ignore_index=True)


def of_shown(job: stage.Job, name: str) -> pd.DataFrame:
    """Rows of the one method that the job's settings name."""
    table = together(job, name)
    own = table[table["method"].isin(job.settings["methods"])]
    if own.empty:
        raise stage.InputError(
            f"stage {job.stage}: --input {name} has no row of {', '.join(job.settings['methods'])}; found "
            f"{', '.join(sorted(set(table['method']))) or 'no row at all'}"
        )
    return own


def averaged(job: stage.Job, table: pd.DataFrame) -> str:
    """Method and number of subjects and seeds, in words."""
    method = table["method"].iloc[0]
    counts = [(table[name].nunique(), word) for name, word in (("subject", "subject"), ("seed", "seed"))]
    words = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    return f"{job.settings['methods'][method]}: mean over {words}; {table['stimulus_id'].nunique()} pictures"


def runs_in_words(rows: pd.DataFrame) -> str:
    """Study, protocol, signal, and the number of subjects and seeds of retrieval rows of one block, in words."""
    first = rows.iloc[0]
    counts = [(rows[name].nunique(), name) for name in ("subject", "seed")]
    return ", ".join(
        [
            *(str(first[name]) for name in blocks.BLOCK),
            *(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts),
        ]
    )
