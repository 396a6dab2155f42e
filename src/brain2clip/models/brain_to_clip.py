"""A brain encoder and a picture side with a shared space: NeuroCLIP and its frozen-CLIP baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brain2clip import kinds
from brain2clip.models import brain_encoder
from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.layers import head
from brain2clip.models.pictures import Frozen, Pictures, PictureSideBase, PromptEffect
from brain2clip.settings import Contrastive
from brain2clip.stage import InputError


class BrainToClip(nn.Module):
    """Both sides.

    Parameters
    ----------
    settings : Contrastive
    inputs : Inputs
        Channels, times and rate of the responses.
    frozen : Frozen
        The parts of the frozen CLIP.

    Attributes
    ----------
    shared : nn.Linear or None
        Last layer of both sides and of texts; None if there is none.
    """

    def __init__(self, settings: Contrastive, inputs: Inputs, frozen: Frozen) -> None:
        super().__init__()
        self.encoder = brain_encoder.build(settings.encoder, inputs)
        self.brain_head = head(settings.brain_head, settings.encoder.width)
        self.visual: PictureSideBase = kinds.load("visuals", settings.visual.kind)(settings.visual, frozen)
        self._check_spaces(settings)
        self.shared = shared_layer(settings) if settings.shared_head else None
        objective = settings.objective
        fixed = objective.scaling == "none"
        self.scale = nn.Parameter(
            torch.tensor(1.0 if fixed else objective.scale_init), requires_grad=objective.learn_scale and not fixed
        )

    def _check_spaces(self, settings: Contrastive) -> None:
        """Without a head, the tower's own width is the shared space."""
        if settings.visual.head.kind != "none":
            return
        picture = self.visual.width
        brain = settings.encoder.width if settings.brain_head.kind == "none" else settings.brain_head.width
        if picture != brain:
            raise InputError(
                f"visual.head.kind: none gives picture embeddings of width {picture}, but the brain side gives "
                f"{brain}; set brain_head.width (or encoder.width) to {picture}, or take visual.head.kind: linear"
            )

    def brain(self, responses: Tensor, subject: Tensor | None = None) -> Tensor:
        """Embedding [B, shared] of responses [B, C, T], of subjects by number [B] for encoders that take it."""
        found = self.encoder(responses) if subject is None else self.encoder(responses, subject)
        return self._met(self.brain_head(found))

    def picture(self, pictures: Pictures) -> Tensor:
        """Embedding [B, shared] of pictures."""
        return self._met(self.visual(pictures))

    def seen_by(self, pictures: Pictures, subjects: Sequence[int]) -> list[Tensor]:
        """Embedding [B, shared] of pictures for each given subject, in training."""
        return [self._met(one) for one in self.visual.seen_by(pictures, subjects)]

    def texts(self, texts: Tensor) -> Tensor:
        """Embedding [n, shared] of texts [n, d] of CLIP's joint space as if they were pictures."""
        return self._met(self.visual.of_texts(texts))

    def effect(self, pictures: Pictures) -> PromptEffect:
        """Effect of the prompts on pictures."""
        found = self.visual.effect(pictures)
        before = None if found.before is None else self._met(found.before)
        return found._replace(before=before, after=self._met(found.after))

    def _met(self, embedding: Tensor) -> Tensor:
        """Embedding [B, shared] after the layer that both sides share, if there is one."""
        if self.shared is None:
            return embedding
        through: Tensor = self.shared(embedding)
        return through

    def parameter_groups(self, lr: float, lr_visual: float) -> list[dict]:
        """Trained parameters: those in the tower (``joins``) have another learning rate; no weight decay on vectors."""
        tuned = tuple(f"visual.{name}" for name in self.visual.tuned)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((name.startswith(tuned), parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": lr_visual if joins else lr, "joins": joins}
            | ({} if decays else {"weight_decay": 0.0})
            for (joins, decays), parameters in groups.items()
        ]


def shared_layer(settings: Contrastive) -> nn.Linear:
    """A layer that both sides go through, from the space where they meet to itself."""
    width = settings.encoder.width if settings.brain_head.kind == "none" else settings.brain_head.width
    return nn.Linear(width, width)
