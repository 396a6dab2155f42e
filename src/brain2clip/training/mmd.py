"""Maximum mean discrepancy: a distance between the distributions of two samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_mmd(one: Tensor, other: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Unbiased estimate of the squared MMD; its mean is zero where both have one distribution, so it can be negative.

    Parameters
    ----------
    one, other : Tensor [n, d], [m, d]
        Samples.
    sigmas : sequence of float
        Widths of the Gaussian kernels ``exp(-|x - y|^2 / (2 sigma^2))``, whose mean is taken.

    Returns
    -------
    Tensor
        Scalar, in full precision; zero where a sample has a single member, which has no pair.
    """
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return one.new_zeros((), dtype=torch.float32)
    together = torch.cat([one, other]).float()
    together = together - together.detach().mean(dim=0)  # distances stay, and are differences of smaller numbers
    squares = together.square().sum(dim=1)
    distance = (squares[:, None] + squares[None, :] - 2 * together @ together.T).clamp_min(0)
    itself = torch.eye(n + m, dtype=torch.bool, device=distance.device)
    distance = distance.masked_fill(itself, torch.inf)  # a kernel of zero: pairs of one with itself are left out
    kernel = torch.zeros_like(distance)
    for sigma in sigmas:
        kernel = kernel + (-distance / (2 * sigma**2)).exp() / len(sigmas)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()
