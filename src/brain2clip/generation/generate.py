"""Stage ``generate``: pictures from the predictions of a run.

Settings: ``run`` (its columns), ``generator`` (settings without tower and batch size), ``generator_name``,
``batch_size``. Inputs ``embeddings`` (of ``embed``, with points), ``stimuli`` (of ``features``), ``negative``,
``weights`` (files of the generator, for provenance). Output ``pictures``: :func:`brain2clip.generation.drawing.write`.
"""

from __future__ import annotations

from brain2clip import artefact, stage
from brain2clip.generation import drawing


def run(job: stage.Job) -> None:
    """Write the pictures of all test stimuli of a subject."""
    path = job.input("embeddings")
    with artefact.open_h5(path, job.expects.get("embed")) as file:
        if "point" not in file:
            raise stage.InputError(f"{path}: no points of the tower's raw space; run snakemake, which makes it again")
        ids = file["stimulus_id"].asstr()[:].tolist()
        points = drawing.Points(file["point"][:], ids, file["predicted"][:], file["centre"][:])
    drawing.write(job, points, job.settings["run"])


if __name__ == "__main__":
    stage.main(run)
