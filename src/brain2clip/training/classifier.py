"""Learned context of the zero-shot classifier: trained on training responses and training classes, mapping frozen."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip import stage
from brain2clip.models.context import ContextPrompt, class_name, prompts_with_room
from brain2clip.settings import Classifier
from brain2clip.stimuli.frozen_clip import Clip
from brain2clip.training import balance
from brain2clip.training.loop import steps_of

log = logging.getLogger("brain2clip")


def learn_context(
    clip: Clip,
    brains: Tensor,
    concepts: np.ndarray,
    scale: Tensor,
    centre: Tensor | None,
    settings: Classifier,
    seed: int,
    balanced: bool = False,
) -> Tensor:
    """Context [m, D] under which the class of a training response is the most similar one.

    Cross-entropy over the training classes of the scaled cosine between responses and prompts.

    Parameters
    ----------
    clip : Clip
    brains : Tensor [n, d]
        Embeddings of training responses, by a mapping that did not see them.
    concepts : ndarray [n] of str
        Concept of each response.
    scale : Tensor
        Logarithm of the mapping's scale.
    centre : Tensor [d] or None
        Mean training embedding of texts, where the mapping centres.
    settings : Classifier
    seed : int
        Of the start of the context and the order of responses.
    balanced : bool
        Whether all classes are drawn equally often (:mod:`brain2clip.training.balance`).
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    names, label = np.unique(concepts, return_inverse=True)
    target = torch.from_numpy(label).to(brains.device)
    prompt = ContextPrompt.random(clip.model, settings.tokens)
    tokens = prompts_with_room(clip.tokenize, [class_name(name) for name in names], settings.tokens).to(brains.device)
    optimiser = torch.optim.Adam([prompt.context], lr=settings.lr)
    unit = F.normalize(brains.detach().clone().float(), dim=-1)
    factor = scale.detach().exp()
    steps = steps_of(balance.size(label) if balanced else len(unit), settings.batch_size)
    loss = torch.zeros(())
    for _ in stage.progress(range(settings.epochs), "train: epochs of the context", every_s=10):
        order = balance.order(label, rng) if balanced else rng.permutation(len(unit))
        for batch in np.array_split(order, steps):
            rows = torch.from_numpy(batch).to(brains.device)
            classes = class_embeddings(prompt, tokens, centre)
            loss = F.cross_entropy(factor * unit[rows] @ classes.T, target[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    log.info("train: context of %d tokens for %d classes, last loss %.3f", settings.tokens, len(names), loss.item())
    return prompt.context.detach()


def class_embeddings(prompt: ContextPrompt, tokens: Tensor, centre: Tensor | None) -> Tensor:
    """Unit-length embeddings [n, d] of classes, after subtracting the text centre if there is one."""
    unit = F.normalize(prompt(tokens).float(), dim=-1)
    return unit if centre is None else F.normalize(unit - centre, dim=-1)
