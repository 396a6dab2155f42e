"""Targets of methods that predict frozen vectors of pictures: a readout, fitted to training pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from brain2clip.models import readout
from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import ReadoutBase
from brain2clip.training.data import Stimuli

#: Beginning of the names under which a checkpoint holds a readout.
PREFIX = "readout."


def of(settings: ReadoutBase, stimuli: Stimuli) -> ReadoutModule:
    """A fresh readout of the vectors of some stimuli."""
    return readout.build(settings, [stimuli.vector(one).shape[1] for one in settings.inputs])


def vectors(settings: ReadoutBase, stimuli: Stimuli, rows: np.ndarray | slice = slice(None)) -> list[Tensor]:
    """Vectors [n, d_i] of a readout, of some rows."""
    if isinstance(rows, slice):
        return [torch.from_numpy(stimuli.vector(one)[rows]).float() for one in settings.inputs]
    distinct, place = np.unique(rows, return_inverse=True)  # as files are read: in their order, each once
    return [torch.from_numpy(stimuli.vector(one)[distinct][place]).float() for one in settings.inputs]


def fitted(settings: ReadoutBase, stimuli: Stimuli, rows: np.ndarray) -> ReadoutModule:
    """A readout that is fitted to training pictures, ``rows``, where it has to be."""
    found = of(settings, stimuli)
    if settings.fitted:
        found.fit(vectors(settings, stimuli, rows))
    return found.eval()


@torch.inference_mode()
def read(
    module: ReadoutModule, settings: ReadoutBase, stimuli: Stimuli, rows: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """What a readout gives for some rows [n, width], float32."""
    return module(vectors(settings, stimuli, rows)).numpy()


def tensors(module: ReadoutModule) -> dict[str, Tensor]:
    """A readout as part of a checkpoint."""
    return {f"{PREFIX}{name}": value for name, value in module.state_dict().items()}


def restored(settings: ReadoutBase, stimuli: Stimuli, checkpoint: Mapping[str, Tensor]) -> ReadoutModule:
    """A readout from a checkpoint."""
    found = of(settings, stimuli)
    own = {name.removeprefix(PREFIX): one for name, one in checkpoint.items() if name.startswith(PREFIX)}
    found.load_state_dict(own)
    return found.eval()
