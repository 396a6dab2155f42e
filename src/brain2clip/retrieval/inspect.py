"""Stage ``inspect``: effect of the prompts of a trained NeuroCLIP on the test pictures, for figures.

Band gains of the dynamic filter per picture, the size of the instance prompt beside the patch tokens, and the cosine
between a picture's embedding and its own averaged test response with and without prompts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip import artefact, stage
from brain2clip.models.pictures import PromptEffect
from brain2clip.retrieval import tasks
from brain2clip.retrieval.repetitions import trial_groups
from brain2clip.training.data import placed, stimuli_of
from brain2clip.training.inputs import share as share
from brain2clip.training.inputs import tested
from brain2clip.training.predict import Predictor


def run(job: stage.Job) -> None:
    """Write the tables of gains and of the prompt effect."""
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    test = tested(job, tensors)
    with stimuli_of(job) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        ids = stimuli["stimulus_id"].asstr()[:][candidates]
        given = (job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        predictor = Predictor(*given, job.settings["run"]["subject"])
        groups = trial_groups(test.stimulus, "all", 0)
        brains = predictor.brains(np.stack([test.values[trials].mean(axis=0) for _, trials in groups]))
        shown = tasks.shown(candidates, [stimulus for stimulus, _ in groups])
        found = predictor.effect(candidates[shown])
    gains, prompts = found.gains.numpy(), columns(found, torch.from_numpy(brains).to(predictor.device))
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
        job.output("prompts"),
        pd.DataFrame({**run_columns, "stimulus_id": ids[shown], **prompts}),
        made,
        unknown={"cosine_before"},
    )


@torch.inference_mode()
def columns(found: PromptEffect, brains: Tensor) -> dict[str, np.ndarray]:
    """The prompt effect per picture, against embeddings [n, shared] of its own responses.

    ``cosine_before`` is taken with the frozen tower's embedding through the same trained head (NaN where there is
    none), ``cosine_after`` with the prompted one; ``token_shift`` is the norm of the instance prompt over the norm of
    the patch tokens.
    """
    own = F.normalize(brains.float(), dim=-1)
    after = (F.normalize(found.after.float(), dim=-1) * own).sum(dim=-1)
    before = torch.full_like(after, torch.nan)
    if found.before is not None:
        before = (F.normalize(found.before, dim=-1) * own).sum(dim=-1)
    return {
        "cosine_before": before.cpu().numpy(),
        "cosine_after": after.cpu().numpy(),
        "token_shift": found.shift.numpy(),
    }


if __name__ == "__main__":
    stage.main(run)
