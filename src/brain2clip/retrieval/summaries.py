"""Stage ``summaries``: metrics with intervals from the retrieval rows of all runs of a method.

Settings: ``metrics``, ``bootstrap``, ``level``, ``seed`` of the ``retrieval`` settings. Only retrieval rows are read,
so a new metric reruns no training and no ranking.
"""

from __future__ import annotations

import pandas as pd

from brain2clip import artefact, stage
from brain2clip.responses import same_samples
from brain2clip.retrieval import statistics


def run(job: stage.Job) -> None:
    """Write the summaries of the runs, in the order of the inputs.

    Subjects that were trained and tested separately are compared here: two with the same samples are refused, because
    they are one person.
    """
    parts, recordings = [], []
    for path, expected in stage.progress(job.each("rows"), "summaries of runs"):
        rows = artefact.read_table(path, expected)
        recordings.append(same_samples.Recordings.noted(rows))
        parts.append(statistics.summary(rows, job.settings))
    same_samples.refuse_equal(same_samples.together(recordings), "subjects of one table")
    table = pd.concat(parts, ignore_index=True)
    artefact.write_table(job.output("summary"), table, job.provenance(), unknown=statistics.UNKNOWN)


if __name__ == "__main__":
    stage.main(run)
