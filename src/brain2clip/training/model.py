"""Put a model together from settings and artefacts, to train it or to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch

from brain2clip.models.neuroclip import BrainToClip
from brain2clip.settings import Contrastive, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training.data import PictureSource, Responses

if TYPE_CHECKING:
    from brain2clip.stimuli.towers import Clip


#: Name under which a checkpoint keeps the channels that it was trained on.
CHANNELS = "channels"


def channels_as_tensor(channels: list[str]) -> torch.Tensor:
    """Channel names as UTF-8 bytes, one name a line: a checkpoint holds tensors only."""
    return torch.tensor(list("\n".join(channels).encode()), dtype=torch.uint8)


def channels_from_tensor(tensor: torch.Tensor) -> list[str]:
    """Inverse of :func:`channels_as_tensor`."""
    return bytes(tensor.tolist()).decode().split("\n")


def device_of_choice() -> torch.device:
    """CUDA where present, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(
    settings: Contrastive, tower: Tower, responses: Responses, stimuli: h5py.File, device: torch.device
) -> tuple[BrainToClip, Clip | None]:
    """A fresh model for responses of that shape, and the CLIP whose tower it drives (None for a frozen side)."""
    clip = None
    if settings.visual.kind == "neuroclip":
        if stimuli.attrs["kind"] != "pictures":
            raise InputError(
                "visual.kind: neuroclip tunes prompts of pictures, but this study has text candidates only; "
                "use a method with visual.kind: frozen"
            )
        from brain2clip.stimuli import towers  # open_clip takes seconds to import: only where it is needed

        clip = towers.load(tower, device)
    model = BrainToClip(
        settings,
        responses.values.shape[1:],
        responses.sfreq,
        stimuli["embedding"].shape[1],
        tower.filter_bank.bands,
        None if clip is None else clip.model.visual,
    )
    return model.to(device), clip


def picture_source(
    settings: Contrastive, tower: Tower, stimuli: h5py.File, rows: np.ndarray, clip: Clip | None, device: torch.device
) -> PictureSource:
    """Pictures of those rows as the model takes them."""
    if clip is None:
        return PictureSource(stimuli, rows, with_tokens=False, device=device)
    bands = None
    if stimuli.attrs["cache"] == "pictures":
        bands = BandTokens(clip.model.visual.conv1, clip.image_size, tower.filter_bank).to(device)
    return PictureSource(stimuli, rows, True, device, bands, (clip.mean, clip.std))
