"""Softened contrastive loss between brains and pictures.

With s the scaled similarities, y = (1 - beta) I + beta q the targets and q a soft target from the similarity of the
frozen CLIP embeddings, the loss is the mean of the cross-entropies over rows and over columns; beta = 0 is symmetric
InfoNCE (after Gao et al., SoftCLIP, AAAI 2024; the paper's own equations are not public).
"""

from __future__ import annotations

import math
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.settings import Objective
from brain2clip.stage import InputError

#: Range of the logarithm of the scale where both sides have unit length: a factor of 1 to 100.
SCALE = (0.0, math.log(100))


def logits(
    brain: Tensor,
    picture: Tensor,
    scale: Tensor,
    normalise: Literal["image", "both"],
    scaling: Literal["softplus", "exp", "linear", "none"] | None = None,
) -> Tensor:
    """Scaled similarities [B, U].

    Recipe A (``image``): only the picture has unit length, the scale is softplus(a). Recipe B (``both``): both have,
    the scale is exp(a), a being kept in [0, ln 100] by :func:`keep_scale`. ``scaling`` names another scale.
    """
    picture = F.normalize(picture.float(), dim=-1)
    if normalise == "image":
        brain = brain.float()
    elif normalise == "both":
        brain = F.normalize(brain.float(), dim=-1)
    else:
        assert_never(normalise)
    if scaling is None:
        scaling = "softplus" if normalise == "image" else "exp"
    return scaled(brain, scale, scaling) @ picture.T


def scaled(brain: Tensor, scale: Tensor, scaling: Literal["softplus", "exp", "linear", "none"]) -> Tensor:
    """Embeddings [B, d] times a function of the scale a."""
    if scaling == "softplus":
        return F.softplus(scale) * brain
    if scaling == "exp":
        return scale.exp() * brain
    if scaling == "linear":
        return scale * brain
    if scaling == "none":
        return brain
    assert_never(scaling)


@torch.no_grad()
def keep_scale(scale: Tensor) -> None:
    """Put the logarithm of a scale back into its range after a step; a clamp in the product would have no gradient.

    As CLIP does.
    """
    scale.clamp_(*SCALE)


def soft_target(frozen: Tensor, settings: Objective) -> Tensor:
    """Soft target q [U, U] between pictures; rows sum to one.

    ``clip``: softmax of the cosine of the frozen embeddings over a temperature; ``uniform``: label smoothing. With
    ``disentangle`` the diagonal is left out.
    """
    if settings.soft_target == "uniform":
        similarity = torch.zeros(len(frozen), len(frozen), device=frozen.device)
    elif settings.soft_target == "clip":
        unit = F.normalize(frozen.float(), dim=-1)
        similarity = unit @ unit.T / settings.soft_temperature
    else:
        assert_never(settings.soft_target)
    return (without_true_pair(similarity) if settings.disentangle else similarity).softmax(dim=-1)


def perplexity(target: Tensor) -> float:
    """Number of pictures that share the mass of soft targets [U, U]: exp of the mean entropy of the rows."""
    return float(torch.special.entr(target.double()).sum(dim=-1).mean().exp())


def temperature_of(frozen: Tensor, settings: Objective, batch_size: int, seed: int) -> float:
    """Temperature at which soft targets of batches have the perplexity that the settings ask for.

    Parameters
    ----------
    frozen : Tensor [n, d]
        Embeddings of the training pictures.
    settings : Objective
        With ``soft_perplexity``.
    batch_size, seed : int
        Of the training; some batches are drawn.

    Raises
    ------
    InputError
        Where no temperature gives it.
    """
    wanted, size = settings.soft_perplexity, min(batch_size, len(frozen))
    assert wanted is not None
    most = size - 1 if settings.disentangle else size
    if settings.soft_target != "clip" or wanted >= most:
        raise InputError(
            f"objective.soft_perplexity: found {wanted:g} with soft_target {settings.soft_target}; expected less "
            f"than the {most} "
            "pictures of a batch over which it can be spread, and soft_target: clip"
        )
    generator = torch.Generator().manual_seed(seed)
    batches = [frozen[torch.randperm(len(frozen), generator=generator)[:size].to(frozen.device)] for _ in range(8)]
    low, high = math.log(1e-4), math.log(1e4)
    for _ in range(50):
        middle = (low + high) / 2
        own = settings.model_copy(update={"soft_temperature": math.exp(middle)})
        found = sum(math.log(perplexity(soft_target(batch, own))) for batch in batches) / len(batches)
        low, high = (middle, high) if found < math.log(wanted) else (low, middle)
    return math.exp((low + high) / 2)


def without_true_pair(similarity: Tensor) -> Tensor:
    """Similarities [U, U] whose diagonal gets no mass."""
    return similarity.masked_fill(torch.eye(len(similarity), dtype=torch.bool, device=similarity.device), -torch.inf)


def softened_contrastive(scores: Tensor, picture_of: Tensor, frozen: Tensor, settings: Objective) -> Tensor:
    """Loss of a batch.

    Parameters
    ----------
    scores : Tensor [B, U]
        Scaled similarity of each brain response to each distinct picture of the batch.
    picture_of : Tensor [B]
        Column of the picture that each response belongs to; every column occurs at least once.
    frozen : Tensor [U, d]
        Frozen CLIP embeddings of the pictures, for the soft target.
    settings : Objective

    Returns
    -------
    Tensor
        Scalar. Rows: each response against all pictures. Columns: each picture against all responses, the mass of a
        picture shared evenly by its responses.
    """
    own = picture_of.unsqueeze(1)
    one = torch.ones_like(own, dtype=scores.dtype)
    share = 1 / torch.zeros_like(scores[0]).index_add(0, picture_of, one[:, 0])[own]
    directions = settings.directions
    if settings.beta == 0 or (settings.disentangle and scores.shape[1] == 1):  # a single picture has no negatives
        belongs = torch.zeros_like(scores).scatter_(1, own, one)
        return cross_entropy(scores, belongs, share * belongs, directions)
    # Targets by response: a row of q, and a column of it of which the response has its share.
    soft = soft_target(frozen, settings).to(scores.dtype)
    rows, columns = (one.contiguous().index_select(0, picture_of) for one in (soft, soft.T))
    if not settings.disentangle:
        for target in (rows, columns):
            target.mul_(settings.beta).scatter_add_(1, own, (1 - settings.beta) * one)
        return cross_entropy(scores, rows, columns.mul_(share), directions)
    belongs = torch.zeros_like(scores).scatter_(1, own, one)
    negatives = scores.masked_fill(belongs.bool(), torch.finfo(scores.dtype).min)
    hard = cross_entropy(scores, belongs, share * belongs, directions)
    return torch.lerp(hard, cross_entropy(negatives, rows, columns.mul_(share), directions), settings.beta)


def cross_entropy(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    directions: Literal["both", "brain-to-picture", "picture-to-brain"] = "both",
) -> Tensor:
    """Mean cross-entropy of rows, of columns, or the mean of both.

    Of the targets [B, U] each row of ``rows`` and each column of ``columns`` is a distribution.
    """
    if directions == "both":
        of_rows, of_columns = of_one_direction(scores, rows, 1), of_one_direction(scores, columns, 0)
        return -(of_rows + of_columns) / 2
    if directions == "brain-to-picture":
        return -of_one_direction(scores, rows, 1)
    if directions == "picture-to-brain":
        return -of_one_direction(scores, columns, 0)
    assert_never(directions)


def of_one_direction(scores: Tensor, target: Tensor, dim: int) -> Tensor:
    """Mean logarithm of the probability that scores [B, U] give to targets, distributions along ``dim``."""
    return (target * scores.log_softmax(dim=dim)).sum() / scores.shape[1 - dim]
