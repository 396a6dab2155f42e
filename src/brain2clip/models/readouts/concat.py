"""Concatenated vectors, each centred, scaled, and, if set, reduced to principal components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import Concatenation, Part, Spatial
from brain2clip.stage import InputError


class Reduced(nn.Module):
    """A part: (x - mean) B, scaled so that its mean square length is the square of the part's weight.

    B [d, k] are the first principal components of the training pictures, or the identity.
    """

    mean: Tensor
    basis: Tensor | None
    scale: Tensor

    def __init__(self, settings: Part, n_in: int) -> None:
        super().__init__()
        self.settings = settings
        self.width = n_in if settings.components is None else settings.components
        if self.width > n_in:
            raise InputError(
                f"readout: {settings.components} components of {settings.vector.name}, which has {n_in} numbers; "
                "expected at most as many"
            )
        self.register_buffer("mean", torch.zeros(n_in))
        self.register_buffer("basis", None if settings.components is None else torch.zeros(n_in, self.width))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Mean, components and scale of training pictures [n, d]."""
        self.mean = x.double().mean(dim=0).float().to(self.mean.device)
        if self.basis is not None:
            self.basis = components(x, self.width, self.settings.vector.name).to(self.mean.device)
        self.scale = torch.ones_like(self.scale)
        length = self(x).double().square().sum(dim=-1).mean().sqrt()
        if not length > 0:
            raise InputError(
                f"readout: {self.settings.vector.name} is the same for all training pictures; leave it out"
            )
        self.scale = (self.settings.weight / length).float()

    def forward(self, x: Tensor) -> Tensor:
        """The part [B, k] of vectors [B, d]; always in full precision."""
        with torch.autocast(x.device.type, enabled=False):
            centred = x.float() - self.mean
            return (centred if self.basis is None else centred @ self.basis) * self.scale


def components(x: Tensor, count: int, what: str) -> Tensor:
    """First principal components [d, count] of rows [n, d], by scikit-learn; the same for the same rows.

    Raises
    ------
    InputError
        Where there are fewer rows than components.
    """
    from sklearn.decomposition import PCA  # takes a second to import: only where it is needed

    if count >= len(x):
        raise InputError(
            f"readout: {count} components of {what} are fitted on training pictures, but there are only {len(x)}; "
            "take fewer components"
        )
    # A full decomposition of thousands of numbers takes minutes, the randomised one seconds.
    solver = "full" if min(x.shape) <= 1000 else "randomized"
    fitted = PCA(count, svd_solver=solver, random_state=0, iterated_power=7).fit(x.double().cpu().numpy())
    return torch.from_numpy(fitted.components_.T.copy()).float()


class Readout(ReadoutModule):
    """All parts."""

    def __init__(self, settings: Concatenation | Spatial, widths: tuple[int, ...], subjects: int) -> None:
        super().__init__()
        parts = [Reduced(part, width) for part, width in zip(settings.listed(), widths)]
        self.parts = nn.ModuleList(parts)
        self.width = sum(part.width for part in parts)

    def fit(self, vectors: Sequence[Tensor]) -> None:
        """Each part to its own vectors."""
        for part, vector in zip(self.parts, vectors):
            part.fit(vector)  # type: ignore[operator]  # a Reduced

    def of_texts(self, texts: Tensor, centred: bool = False) -> Tensor:
        """Texts in the parts of the joint space; in other parts (the layout of the picture) the mean, zero."""
        found = []
        for part in self.parts:
            assert isinstance(part, Reduced)
            if part.settings.in_joint_space:
                found.append(part(texts + part.mean if centred else texts))
            else:
                found.append(texts.new_zeros(len(texts), part.width))
        return torch.cat(found, dim=-1)

    def forward(self, vectors: Sequence[Tensor], subject: int | None = None) -> Tensor:
        """The parts [B, k_1 + k_2 + …]."""
        return torch.cat([part(vector) for part, vector in zip(self.parts, vectors)], dim=-1)
