"""Stage ``train``: one model per subject, protocol, method and seed. Reads training trials only.

The epoch is either fixed in advance, or chosen on training concepts kept aside and the model then trained again on
all training concepts for that many epochs. Test trials are never opened here.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brain2clip import artefact, stage
from brain2clip.models.encoders import trainable
from brain2clip.models.neuroclip import BrainToClip
from brain2clip.settings import Contrastive, Optimiser, Ridge, Tower, parse
from brain2clip.training import ridge
from brain2clip.training.data import PictureSource, Responses, check_same_stimuli, load_responses, open_stimuli
from brain2clip.training.model import CHANNELS, build, channels_as_tensor, device_of_choice, picture_source
from brain2clip.training.objective import logits, softened_contrastive

log = logging.getLogger("brain2clip")
#: Width of a tower from which bf16 pays on a CPU that has it.
WIDE = 512


@dataclass(frozen=True)
class Pairs:
    """Training pairs on the device.

    Attributes
    ----------
    responses : Tensor [n, C, T]
    stimulus : ndarray [n]
        Row of the stimulus table of each response.
    units : list of ndarray
        What a batch is drawn from: the responses of one picture, or single responses where there are few stimuli.
    """

    responses: Tensor
    stimulus: np.ndarray
    units: list[np.ndarray]


def run(job: stage.Job) -> None:
    """Train and write the checkpoint and its history."""
    method = job.settings["method"]
    seed = job.settings["seed"]
    device = device_of_choice()
    files = job.inputs["responses"]
    responses = load_responses(files, "train", job.expects.get("epochs"), method["average_repetitions"])
    if method["shuffle_labels"]:
        responses = shuffled(responses, seed)
    log.info(
        "train: %d responses of %d subject(s), %d stimuli, %s",
        len(responses.values), len(files), len(np.unique(responses.stimulus)), stage.on_device(device),
    )  # fmt: skip
    with open_stimuli(job.input("stimuli"), job.expects.get("features")) as stimuli:
        check_same_stimuli(responses, stimuli, job.input("stimuli"))
        concept = stimuli["concept"].asstr()[:]
        if method["kind"] == "ridge":
            settings = parse(Ridge, method)
            tensors, history = ridge.fit(responses, stimuli["embedding"][:], concept, settings)
        else:
            settings = parse(Contrastive, method)
            tower = parse(Tower, job.settings["tower"])
            torch.manual_seed(seed)
            model, clip = build(settings, tower, responses, stimuli, device)
            pictures = picture_source(settings, tower, stimuli, np.unique(responses.stimulus), clip, device)
            history = fit(model, settings, responses, pictures, concept, seed, device)
            tensors = trainable(model)
    tensors = {**tensors, CHANNELS: channels_as_tensor(responses.channel)}
    made = job.provenance()
    artefact.write_table(job.output("history"), history, made)
    artefact.write_tensors(job.output("checkpoint"), tensors, made)


def shuffled(responses: Responses, seed: int) -> Responses:
    """Control: the stimuli of the training responses permuted among each other."""
    order = np.random.default_rng(seed).permutation(len(responses.stimulus))
    return replace(responses, stimulus=responses.stimulus[order])


def fit(
    model: BrainToClip,
    settings: Contrastive,
    responses: Responses,
    pictures: PictureSource,
    concept: np.ndarray,
    seed: int,
    device: torch.device,
) -> pd.DataFrame:
    """Train in place, choosing the epoch by the settings' rule; history with a row per epoch."""
    everything = np.arange(len(responses.stimulus))
    if settings.selection.rule == "last":
        return loop(model, settings, pairs(responses, everything, device), pictures, seed, device)
    held_out = held_out_rows(responses, concept, settings.selection.share, seed)
    start = {name: value.clone() for name, value in trainable(model).items()}
    kept = pairs(responses, np.setdiff1d(everything, held_out), device)
    aside = pairs(responses, held_out, device)
    search = loop(model, settings, kept, pictures, seed, device, validation=aside)
    best = int(search["epoch"][search["held_out_top1"].idxmax()])
    log.info("train: epoch %d is best on held-out concepts (Top-1 %.3f); training again on all concepts",
             best, search["held_out_top1"].max())  # fmt: skip
    model.load_state_dict(start, strict=False)
    final = loop(model, settings, pairs(responses, everything, device), pictures, seed, device, stop_after=best)
    final["held_out_top1"] = search["held_out_top1"][:best].to_numpy()
    return final


def loop(
    model: BrainToClip,
    settings: Contrastive,
    data: Pairs,
    pictures: PictureSource,
    seed: int,
    device: torch.device,
    validation: Pairs | None = None,
    stop_after: int | None = None,
) -> pd.DataFrame:
    """The training loop: AdamW over batches of pictures, each with all its responses."""
    budget = settings.optimiser
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameter_groups(budget.lr, budget.lr_visual), weight_decay=budget.weight_decay)
    steps = max(1, len(data.units) // budget.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate(budget, steps * budget.epochs))
    autocast = precision(budget, device, model.visual.width)
    history = []
    epochs = range(1, (stop_after or budget.epochs) + 1)
    for epoch in stage.progress(epochs, "train: epochs", every_s=10):
        started = time.perf_counter()
        model.train()
        losses = []
        for batch in np.array_split(rng.permutation(len(data.units)), steps):
            rows = np.concatenate([data.units[unit] for unit in batch])
            distinct, picture_of = np.unique(data.stimulus[rows], return_inverse=True)
            seen = pictures(distinct)
            with autocast():
                brain = model.brain(data.responses[torch.from_numpy(rows).to(device)])
                picture = model.picture(seen)
            scores = logits(brain, picture, model.scale, settings.objective.normalise)
            owner = torch.from_numpy(picture_of).to(device)
            loss = softened_contrastive(scores, owner, seen.embedding, settings.objective)
            if not torch.isfinite(loss):
                raise stage.InputError(
                    f"training diverged in epoch {epoch} (loss {loss.item()}): lower optimiser.lr or lr_visual, or "
                    "check the responses' whitening (responses.whitening)"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), budget.clip_norm)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        history.append(
            {
                "epoch": epoch,
                "loss": float(np.mean(losses)),
                "scale": model.scale.item(),
                "lr": schedule.get_last_lr()[0],
                "held_out_top1": math.nan if validation is None else top1(model, validation, pictures),
                "seconds": time.perf_counter() - started,
            }
        )
    return pd.DataFrame(history)


def pairs(responses: Responses, rows: np.ndarray, device: torch.device) -> Pairs:
    """Chosen responses on the device, grouped for batches.

    A picture comes with all its responses (subjects of leave-one-subject-out, single repetitions), so that it goes
    through the tower once per batch. Where stimuli are few categories, single responses are drawn.
    """
    stimulus = responses.stimulus[rows]
    order = np.argsort(stimulus, kind="stable")
    units = np.split(order, np.flatnonzero(np.diff(stimulus[order])) + 1)
    many_per_stimulus = len(rows) > 50 * len(units)
    return Pairs(
        responses=torch.from_numpy(responses.values[rows]).to(device),
        stimulus=stimulus,
        units=[np.array([row]) for row in range(len(rows))] if many_per_stimulus else units,
    )


def held_out_rows(responses: Responses, concept: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Responses to a share of the training concepts (at least two concepts)."""
    concepts = np.unique(concept[responses.stimulus])
    count = max(2, round(share * len(concepts)))
    if count >= len(concepts):
        raise stage.InputError(
            f"selection.share {share} of {len(concepts)} training concepts leaves none to train on; "
            "use selection.rule: last"
        )
    chosen = np.random.default_rng(seed).choice(concepts, count, replace=False)
    return np.flatnonzero(np.isin(concept[responses.stimulus], chosen))


@torch.inference_mode()
def top1(model: BrainToClip, data: Pairs, pictures: PictureSource) -> float:
    """Share of responses whose own picture is the most similar among the pictures of the set."""
    model.eval()
    distinct, picture_of = np.unique(data.stimulus, return_inverse=True)
    candidates = torch.cat(
        [model.picture(pictures(part)) for part in np.array_split(distinct, len(distinct) // 256 + 1)]
    )
    scores = (
        torch.nn.functional.normalize(model.brain(data.responses), dim=-1)
        @ torch.nn.functional.normalize(candidates, dim=-1).T
    )
    return float((scores.argmax(dim=1).cpu().numpy() == picture_of).mean())


def learning_rate(budget: Optimiser, steps: int):
    """Factor on the learning rate by step: linear rise, then constant or half a cosine down to zero."""
    rise = max(1, round(budget.warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        if budget.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor


def precision(budget: Optimiser, device: torch.device, width: int):
    """A context maker: bf16 autocast where asked for, or where the device is fast with it.

    On a CPU the casts of a narrow tower cost more than its bf16 products save (bench/prompted_tower.py), so there it is
    taken from ``WIDE`` on.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = width >= WIDE and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if budget.precision == "bf16" or (budget.precision == "auto" and fast):
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext


if __name__ == "__main__":
    stage.main(run)
