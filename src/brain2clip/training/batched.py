"""Several seeds of one contrastive method trained in one pass, where the picture side is frozen.

An encoder of one wide layer keeps a GPU busy for a fraction of the time that a step takes to be called. So the models
of all seeds stand side by side in one whose parameters have the seed as their first axis; no number of one seed meets
one of another. Each seed draws from a generator of its own what it draws when it trains alone (weights, order of the
batches, dropout), so its model is that one up to rounding, whichever seeds are beside it.

Supported settings are listed by name (:data:`KNOWN`), layers by class (:func:`side_by_side`). With any other setting or
layer, each seed trains separately.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip import stage
from brain2clip.internals import torch_device
from brain2clip.models.brain_to_clip import BrainToClip
from brain2clip.models.layers import Residual
from brain2clip.models.pictures import Pictures, ReadPictureSide
from brain2clip.settings import Contrastive, EegProject, FrozenVisual, OneVector, dump
from brain2clip.training import cost
from brain2clip.training.data import Pairs
from brain2clip.training.loop import learning_rate, steps_of
from brain2clip.training.objective import keep_scale, logits, perplexity, soft_target, softened_contrastive

if TYPE_CHECKING:
    from brain2clip.training.methods.contrastive import ContrastiveLearner

log = logging.getLogger("brain2clip")

#: Settings of a method that are taken into account here, or are without meaning for a frozen picture side, by block.
#: Neutral ones are absent at their neutral value.
KNOWN = {
    "": "kind label tower average_repetitions balance inputs encoder brain_head visual objective optimiser selection",
    "encoder": "kind width dropout",
    "brain_head": "kind width hidden dropout",
    "visual": "kind head readout",
    "objective": "beta soft_temperature soft_target disentangle normalise scale_init learn_scale",
    "optimiser": "epochs batch_size lr weight_decay schedule warmup clip_norm precision "
    "lr_visual checkpointing compile micro_batch",
    "selection": "rule share",
}


class UnknownError(Exception):
    """These models cannot be trained together; the message says why."""


def unknown(settings: Contrastive) -> str | None:
    """A setting by which seeds of a method train separately; None if they can train together."""
    given = dump(settings)
    for block, known in KNOWN.items():
        for name in given[block] if block else given:
            if name not in known.split():
                return f"{block}.{name}" if block else name
    if type(settings.encoder) is not EegProject:
        return f"encoder.kind: {settings.encoder.kind}"
    if type(settings.visual) is not FrozenVisual:
        return f"visual.kind: {settings.visual.kind}"
    if type(settings.visual.readout) is not OneVector:
        return f"visual.readout.kind: {settings.visual.readout.kind}"
    return None if settings.selection.rule == "last" else f"selection.rule: {settings.selection.rule}"


# ------------------------------------------------------------------------------------------- side by side


class Draws:
    """What the default generator of the device would be for each seed, were it alone.

    Parameters
    ----------
    seeds : sequence of int
    device : torch.device
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._device = device
        self._states = []
        for seed in seeds:
            torch.manual_seed(seed)
            self._states.append(self._state())

    def _state(self) -> Tensor:
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    @contextmanager
    def of(self, place: int) -> Iterator[None]:
        """What is drawn within is drawn by the seed at that place."""
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._states[place], self._device)
        else:
            torch.set_rng_state(self._states[place])
        yield
        self._states[place] = self._state()


class Linear(nn.Module):
    """Linear layers [S, B, n] to [S, B, m]."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked([one.weight for one in layers])
        biases: list[Tensor] = [one.bias for one in layers if one.bias is not None]
        self.bias = _stacked(biases) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """One product for each seed, in one call."""
        weight = self.weight.transpose(1, 2)
        return torch.bmm(x, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), x, weight)


class LayerNorm(nn.Module):
    """Layer norms of one axis [S, B, n]."""

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        first = layers[0]
        if first.bias is None or len(first.normalized_shape) > 1:
            raise UnknownError("a layer norm without weights, or over several axes")
        self.shape, self.eps = first.normalized_shape, first.eps
        self.weight, self.bias = _stacked([one.weight for one in layers]), _stacked([one.bias for one in layers])

    def forward(self, x: Tensor) -> Tensor:
        """As one layer rounds: once."""
        normed = F.layer_norm(x.float(), self.shape, eps=self.eps)
        return torch.addcmul(self.bias.unsqueeze(1), normed, self.weight.unsqueeze(1)).to(x.dtype)


class Dropout(nn.Module):
    """Dropout of every seed by its own draws."""

    def __init__(self, p: float, draws: Draws) -> None:
        super().__init__()
        self.p, self.draws = p, draws

    def forward(self, x: Tensor) -> Tensor:
        """The same call as for one seed, of the same shape, so that the mask is the same."""
        kept = []
        for place, own in enumerate(x):
            with self.draws.of(place):
                kept.append(F.dropout(own, self.p, self.training))
        return torch.stack(kept)


def _stacked(parameters: Sequence[Tensor]) -> nn.Parameter:
    values = torch.stack([one.detach() for one in parameters])
    return nn.Parameter(values, requires_grad=parameters[0].requires_grad)


def side_by_side(modules: Sequence[nn.Module], draws: Draws) -> nn.Module:
    """Modules of all seeds as one whose tensors have the seed as their first axis, parameters by the same names.

    Raises
    ------
    UnknownError
        Where a layer of another class is among them.
    """
    first: Any = modules[0]
    own: Sequence[Any] = modules
    if type(first) is nn.Linear:
        return Linear(own)
    if type(first) is nn.LayerNorm:
        return LayerNorm(own)
    if type(first) is nn.Dropout:
        return Dropout(first.p, draws)
    if type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1):
        return nn.Flatten(2)
    if type(first) in (nn.GELU, nn.Identity):
        return type(first)()
    if type(first) is Residual:
        return Residual(side_by_side([one.inner for one in own], draws))
    if type(first).forward is nn.Sequential.forward:
        return nn.Sequential(*(side_by_side(parts, draws) for parts in zip(*own)))
    raise UnknownError(f"layers of {type(first).__module__}.{type(first).__qualname__}")


class Together(nn.Module):
    """Models of all seeds; its parameters have the names of those of one model.

    Parameters
    ----------
    models : sequence of BrainToClip
    draws : Draws

    Raises
    ------
    UnknownError
        Where they have parts that are not known here.
    """

    def __init__(self, models: Sequence[BrainToClip], draws: Draws) -> None:
        super().__init__()
        self.encoder = side_by_side([one.encoder for one in models], draws)
        self.brain_head = side_by_side([one.brain_head for one in models], draws)
        self.visual = nn.ModuleDict({"head": side_by_side([one.visual.head for one in models], draws)})
        self.scale = _stacked([one.scale for one in models])
        self._side = (models[0].visual,)  # in a tuple: it is no part of this module, and trains nothing
        if {name for name, _ in self.named_parameters()} != {name for name, _ in models[0].named_parameters()}:
            raise UnknownError("a picture side with trained parts other than a head")

    def brain(self, responses: Tensor) -> Tensor:
        """Embeddings [S, B, shared] of responses [S, B, C, T]."""
        found: Tensor = self.brain_head(self.encoder(responses))
        return found

    def picture(self, pictures: Pictures) -> Tensor:
        """Embeddings [S, U, shared] of pictures, those of one seed after the other's."""
        side = self._side[0]
        assert isinstance(side, ReadPictureSide)
        read = side.readout(side.vectors(pictures))
        found: Tensor = self.visual["head"](read.unflatten(0, (len(self.scale), -1)))
        return found

    def groups(self, one: BrainToClip, groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Parameter groups of a model as those of all."""
        own = dict(self.named_parameters())
        names = {parameter: name for name, parameter in one.named_parameters()}
        return [{**group, "params": [own[names[parameter]] for parameter in group["params"]]} for group in groups]

    def clip(self, largest: float) -> None:
        """As ``torch.nn.utils.clip_grad_norm_`` does, by the norm of each seed."""
        gradients = [one.grad for one in self.parameters() if one.grad is not None]
        norms = torch.stack([one.flatten(1).norm(dim=1) if one.ndim > 1 else one.abs() for one in gradients])
        factor = (largest / (norms.norm(dim=0) + 1e-6)).clamp(max=1.0)
        for one in gradients:
            one.mul_(factor.view(-1, *[1] * (one.ndim - 1)))

    @torch.no_grad()
    def hand_back(self, models: Sequence[BrainToClip]) -> None:
        """Put the parameters of each seed into its own model."""
        for name, all_of_them in self.named_parameters():
            for model, own in zip(models, all_of_them):
                model.get_parameter(name).copy_(own)


# ------------------------------------------------------------------------------------------------- training


def check(data: Pairs) -> None:
    """All batches of all seeds must have one shape.

    Raises
    ------
    UnknownError
        Where batches are drawn by class or by response, or pictures have unequally many responses.
    """
    if data.classes is not None or len(data.units) != len(np.unique(data.stimulus)):
        raise UnknownError("batches of single responses")
    if len({len(unit) for unit in data.units}) > 1:
        raise UnknownError("pictures with unequal numbers of responses")
    if len(data.responses) > 1:
        raise UnknownError("several sets of responses")


def train(learners: Sequence[ContrastiveLearner], data: Pairs, seeds: Sequence[int]) -> list[pd.DataFrame | None]:
    """Train the models of all learners in place; the history of each, None of one that diverged.

    As :func:`brain2clip.training.loop.loop` trains each of them. Seconds are those of all, in equal parts; the column
    ``together`` is their number.

    Raises
    ------
    UnknownError
        Before anything is trained.
    """
    check(data)
    settings, device = learners[0].settings, learners[0].device
    budget, objective = settings.optimiser, settings.objective
    model = Together([one.model for one in learners], Draws(seeds, device)).train()
    groups = model.groups(learners[0].model, learners[0].parameter_groups())
    optimiser = torch.optim.AdamW(groups, weight_decay=budget.weight_decay, fused=True)
    steps = steps_of(len(data.units), budget.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate(budget, steps * budget.epochs))
    orders = [np.random.default_rng(seed) for seed in seeds]
    history: list[dict[str, Any]] = []
    well = np.ones(len(seeds), bool)
    log.info("train: seeds %s at once", ", ".join(map(str, seeds)))
    for epoch in stage.progress(range(1, budget.epochs + 1), "train: epochs", every_s=10):
        meter = cost.Meter()
        torch_device.watch_peak(device)
        drawn = [np.array_split(rng.permutation(len(data.units)), steps) for rng in orders]
        losses, spread = [], [math.nan] * len(seeds)
        for step, batches in enumerate(zip(*drawn)):
            rows = [np.concatenate([data.units[unit] for unit in batch]) for batch in batches]
            loss, frozen = _losses(model, learners[0], data, rows)
            if step == 0 and objective.beta > 0:
                spread = [perplexity(soft_target(own, objective)) for own in frozen]
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            if budget.clip_norm is not None:
                model.clip(budget.clip_norm)
            optimiser.step()
            if objective.normalise == "both":
                keep_scale(model.scale)
            schedule.step()
            losses.append(loss.detach())
        found = torch.stack(losses).double().cpu().numpy()  # nobody waits for the device before the end of the epoch
        well &= np.isfinite(found).all(axis=0)
        if not well.any():
            break
        spent = {name: value / len(seeds) for name, value in meter.read().items()}
        history.append(
            {
                "epoch": epoch,
                "loss": found.mean(axis=0),
                "scale": np.array(model.scale.tolist()),
                "lr": schedule.get_last_lr()[0],
                "held_out_top1": math.nan,
                **spent,
                "device": torch_device.name(device),
                "pictures_per_s": len(data.units) / spent["seconds"],
                "gpu_memory_gb": torch_device.peak_gb(device),
                "perplexity": np.array(spread),
                "together": len(seeds),
            }
        )
    model.hand_back([one.model for one in learners])
    return [_of(history, place) if good else None for place, good in enumerate(well)]


def _of(history: Sequence[Mapping[str, Any]], place: int) -> pd.DataFrame:
    """History of one seed."""
    return pd.DataFrame(
        [
            {name: float(one[place]) if isinstance(one, np.ndarray) else one for name, one in row.items()}
            for row in history
        ]
    )


def _losses(
    model: Together, learner: ContrastiveLearner, data: Pairs, rows: Sequence[np.ndarray]
) -> tuple[Tensor, Tensor]:
    """Loss of each seed's batch [S], and the frozen embeddings of its pictures [S, U, d]."""
    objective = learner.settings.objective
    found = [np.unique(data.stimulus[own], return_inverse=True) for own in rows]
    seen = learner.pictures.frozen(np.concatenate([distinct for distinct, _ in found]))
    ((_, _, responses),) = data.take(np.concatenate(rows))
    with learner.autocast():
        brain = model.brain(responses.unflatten(0, (len(rows), -1)))
        picture = model.picture(seen)
    owner = torch_device.copied(np.stack([inverse for _, inverse in found]), learner.device)
    frozen = seen.embedding.unflatten(0, (len(rows), -1))

    def loss(brain: Tensor, picture: Tensor, scale: Tensor, owner: Tensor, frozen: Tensor) -> Tensor:
        scores = logits(brain, picture, scale, objective.normalise)
        return softened_contrastive(scores, owner, frozen, objective)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*batching rule")  # of scatter_, which goes from seed to seed
        return torch.vmap(loss)(brain, picture, model.scale, owner, frozen), frozen
