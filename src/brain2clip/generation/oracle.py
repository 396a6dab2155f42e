"""Stage ``oracle``: pictures from the embeddings of the test pictures themselves, as for perfect predictions.

Settings: ``name`` of the study, and the others as of ``generate``. Inputs ``stimuli`` (of ``features``), ``negative``,
``weights``. Output ``pictures``: :func:`brain2clip.generation.drawing.write`, in the order of the stimuli.
"""

from __future__ import annotations

import numpy as np

from brain2clip import artefact, stage
from brain2clip.generation import drawing
from brain2clip.retrieval import tasks


def run(job: stage.Job) -> None:
    """Write the pictures of all test stimuli of a study."""
    path = job.input("stimuli")
    with artefact.open_h5(path, job.expects.get("features")) as file:
        if file.attrs["kind"] == "prompts":
            raise stage.InputError(
                f"{path}: its stimuli are texts, but pictures are generated only from embeddings of pictures. Remove "
                "generators from the experiments of this study"
            )
        rows = tasks.candidate_rows(file["split"].asstr()[:])
        ids = file["stimulus_id"].asstr()[:][rows].tolist()
        seen = file["embedding"][:][rows]
    unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    points = drawing.Points(seen, ids, unit, np.zeros_like(seen[0]))
    drawing.write(job, points, {"study": job.settings["name"]})


if __name__ == "__main__":
    stage.main(run)
