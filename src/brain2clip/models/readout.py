"""The contract of readouts (:mod:`brain2clip.models.readouts`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from brain2clip import kinds
from brain2clip.settings import ReadoutBase
from brain2clip.stage import InputError


class ReadoutModule(nn.Module):
    """Base of readouts: the vectors of pictures [B, d_i] to one vector [B, width].

    A kind is a module of :mod:`brain2clip.models.readouts` whose class ``Readout(settings, widths, subjects)`` derives
    from this one, sets ``width`` and defines :meth:`forward`. Fitted values are buffers, which a checkpoint holds
    beside the trained parameters.

    Attributes
    ----------
    width : int
        Size of the output of :meth:`forward`.
    """

    width: int

    def fit(self, vectors: Sequence[Tensor]) -> None:
        """Fit to the vectors [n, d_i] of training pictures from the frozen tower, before the training."""

    def of_texts(self, texts: Tensor, centred: bool = False) -> Tensor:
        """Embeddings of texts [n, d] in CLIP's joint space, changed like those of pictures to [n, width].

        ``centred``: a mean was already subtracted.
        """
        return texts

    def forward(self, vectors: Sequence[Tensor], subject: int | None = None) -> Tensor:
        """One vector [B, width] of each picture, for a subject (in training) or without a subject."""
        raise NotImplementedError


def build(settings: ReadoutBase, widths: Sequence[int], subjects: int = 1) -> ReadoutModule:
    """A readout of vectors of the given widths; ``subjects`` is the number of training subjects."""
    found: ReadoutModule = kinds.load("readouts", settings.kind)(settings, tuple(widths), subjects)
    return found


def one_width(settings: ReadoutBase, widths: Sequence[int]) -> int:
    """Common width of all vectors of a readout.

    Raises
    ------
    InputError
        If the widths differ.
    """
    if len(set(widths)) > 1:
        named = ", ".join(f"{one.name} ({width})" for one, width in zip(settings.inputs, widths))
        raise InputError(
            f"readout.kind: {settings.kind} takes vectors of the same width, found {named}; take kind mix with a "
            "width, which maps each vector to this width, or kind concat"
        )
    return widths[0]
