"""Put a model together from settings and artefacts, to train it or to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch

from brain2clip.models.neuroclip import BrainToClip
from brain2clip.settings import Contrastive, Tower
from brain2clip.stage import InputError
from brain2clip.stimuli.filter_bank import BandTokens
from brain2clip.training.data import PictureSource, Responses, inputs_of, names_in_words

if TYPE_CHECKING:
    from brain2clip.stimuli.towers import Clip


#: Names under which a checkpoint keeps the channels or voxels that it was trained on (of a joint model: by subject, the
#: label after a dot) and the subjects of a joint model.
CHANNELS, SUBJECTS = "channels", "subjects"


def names_as_tensor(names: list[str]) -> torch.Tensor:
    """Names as UTF-8 bytes, one a line: a checkpoint holds tensors only."""
    return torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)


def names_from_tensor(tensor: torch.Tensor) -> list[str]:
    """Inverse of :func:`names_as_tensor`."""
    return bytes(tensor.tolist()).decode().split("\n")


def inputs_as_tensors(parts: list[Responses], subjects: list[str] | None) -> dict[str, torch.Tensor]:
    """Names of the inputs of a model; of a joint one (``subjects`` given) also whose they are."""
    if subjects is None:
        return {CHANNELS: names_as_tensor(parts[0].channel)}
    own = {f"{CHANNELS}.{subject}": names_as_tensor(part.channel) for subject, part in zip(subjects, parts)}
    return {SUBJECTS: names_as_tensor(subjects), **own}


def check_inputs(tensors: Mapping[str, torch.Tensor], responses: Responses, subject: str | None) -> None:
    """Responses must have the channels or voxels that the model was trained on.

    Raises
    ------
    InputError
        Where they have others, or a joint model has no layer for the subject.
    """
    name = CHANNELS
    if SUBJECTS in tensors:
        known = names_from_tensor(tensors[SUBJECTS])
        if subject not in known:
            raise InputError(
                f"the model was trained jointly on the subjects {', '.join(known)}; it has no input layer for "
                f"{subject!r}. Test one of them, or take another protocol"
            )
        name = f"{CHANNELS}.{subject}"
    trained, what = names_from_tensor(tensors[name]), inputs_of(responses)
    if trained != responses.channel:
        advice = (
            "make responses and model again from the same voxels (snakemake)"
            if what == "voxels"
            else "name them in studies.*.responses.channels so that all subjects agree"
        )
        raise InputError(
            f"the model was trained on the {what} {names_in_words(trained)}, these responses have "
            f"{names_in_words(responses.channel)}; {advice}"
        )


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
        (*responses.values.shape[1:], 1)[:2],  # a voxel is a channel with one sample
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
