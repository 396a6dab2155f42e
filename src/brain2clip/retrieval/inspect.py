"""Stage ``inspect``: what the prompts of a trained NeuroCLIP do to the test pictures, for figures.

Band gains of the dynamic filter per picture, the size of the instance prompt beside the patch tokens, and the cosine
between a picture's embedding and its own averaged test response with and without prompts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.models.neuroclip import NeuroClipVisual, Pictures
from brain2clip.retrieval import tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.training.data import load_responses, open_stimuli, placed
from brain2clip.training.predict import Predictor


def run(job: stage.Job) -> None:
    """Write the tables of gains and of the prompt effect."""
    test = load_responses([job.input("responses")], "test", job.expects.get("responses"))
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    with open_stimuli(job.input("stimuli"), job.expects.get("features")) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        ids = stimuli["stimulus_id"].asstr()[:][candidates]
        predictor = Predictor(job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        groups = trial_groups(test.stimulus, "all", 0)
        brains = predictor.brains(np.stack([test.values[trials].mean(axis=0) for _, trials in groups]))
        shown = np.searchsorted(candidates, [stimulus for stimulus, _ in groups])
        pictures = predictor.pictures(candidates[shown])
    assert isinstance(predictor.model.visual, NeuroClipVisual)  # the rule takes no other method
    gains, prompts = effect(predictor.model.visual, pictures, torch.from_numpy(brains).to(predictor.device))
    made = job.provenance()
    run_columns = {name: job.settings["run"][name] for name in ("method", "subject", "seed")}
    index = np.arange(gains.shape[1])
    artefact.write_table(
        job.output("gains"),
        pd.DataFrame(
            {
                **run_columns,
                "stimulus_id": np.repeat(ids[shown], len(index)),
                "band_index": np.tile(index, len(shown)),
                "gain": gains.ravel(),
            }
        ),
        made,
    )
    artefact.write_table(
        job.output("prompts"), pd.DataFrame({**run_columns, "stimulus_id": ids[shown], **prompts}), made
    )


@torch.inference_mode()
def effect(
    visual: NeuroClipVisual, pictures: Pictures, brains: torch.Tensor
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gains [n, K] (ones without a filter) and the prompt effect per picture.

    ``cosine_before`` is taken with the frozen tower's embedding through the same trained head, ``cosine_after`` with
    the prompted one; ``token_shift`` is the norm of the instance prompt over the norm of the patch tokens.
    """
    tokens, bands = pictures.tokens, pictures.band_tokens
    assert tokens is not None
    assert bands is not None
    gains = torch.ones(len(tokens), bands.shape[1])
    shift = torch.zeros(len(tokens))
    if visual.instance is not None:
        if visual.instance.gains is not None:
            gains = visual.instance.gains(tokens).float().cpu()
        if not visual.extra:
            prompt = visual.instance(tokens, bands)
            shift = (prompt.flatten(1).norm(dim=1) / tokens.flatten(1).norm(dim=1)).float().cpu()
    own = F.normalize(brains.float(), dim=-1)
    after = (F.normalize(visual(pictures).float(), dim=-1) * own).sum(dim=-1)
    frozen = visual.head(pictures.embedding) if visual.tower.readout.block is None else None
    before = torch.full_like(after, torch.nan) if frozen is None else (F.normalize(frozen, dim=-1) * own).sum(dim=-1)
    return gains.numpy(), {
        "cosine_before": before.cpu().numpy(),
        "cosine_after": after.cpu().numpy(),
        "token_shift": shift.numpy(),
    }


if __name__ == "__main__":
    stage.main(run)
