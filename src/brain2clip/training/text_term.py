"""Texts of training pictures beside the pictures, for a loss that compares brain responses with both."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brain2clip.internals import torch_device
from brain2clip.settings import Objective
from brain2clip.training.data import Stimuli
from brain2clip.training.texts import Texts


class TextTerm:
    """Mean text of each training picture, each distinct text once.

    Parameters
    ----------
    stimuli : Stimuli
    settings : Objective
    rows : ndarray
        Rows of the training pictures, sorted.
    length : Tensor
        Length that texts get: that of pictures, among which they are put.
    device : torch.device

    Raises
    ------
    InputError
        Where a training picture has no text.
    """

    def __init__(
        self, stimuli: Stimuli, settings: Objective, rows: np.ndarray, length: Tensor, device: torch.device
    ) -> None:
        texts = Texts(stimuli, (settings.text_source,))
        texts.require(rows, f"objective.text: {settings.text:g}")
        unit, number = np.unique(texts.means(rows), axis=0, return_inverse=True)
        self.rows, self.number, self.device = rows, number.reshape(-1), device
        self.embedding = (torch.from_numpy(unit) * length).to(device)

    def of(self, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Distinct texts [m, d] of some pictures, and the place among them of each one's own."""
        distinct, place = np.unique(self.number[np.searchsorted(self.rows, rows)], return_inverse=True)
        return self.embedding[torch_device.copied(distinct, self.device)], place
