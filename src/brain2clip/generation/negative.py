"""Stage ``negative``: embedding of a picture that is zero after the tower's normalisation.

Guidance points away from it, as in ``diffusers.KandinskyV22PriorPipeline.get_zero_embed``. Settings: ``tower``.
Output: HDF5 with ``embedding [d]``, float32, with the length that the tower gives it.
"""

from __future__ import annotations

from brain2clip import artefact, stage


def run(job: stage.Job) -> None:
    """Write the embedding."""
    import torch

    from brain2clip.settings import Tower, parse
    from brain2clip.stimuli import frozen_clip

    clip = frozen_clip.load_shared(parse(Tower, job.settings["tower"]))
    with torch.inference_mode():
        embedding = clip.model.encode_image(torch.zeros(1, 3, *clip.image_size))[0].float().numpy()
    with artefact.create_h5(job.output("negative"), job.provenance()) as file:
        file["embedding"] = embedding


if __name__ == "__main__":
    stage.main(run)
