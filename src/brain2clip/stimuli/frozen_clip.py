"""Frozen CLIP models through open_clip: by name and tag, by name and checkpoint, or from a local folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brain2clip import shared
from brain2clip.internals import open_clip as internals
from brain2clip.readers import pictures
from brain2clip.settings import Tower
from brain2clip.stage import InputError
from brain2clip.stimuli import hub, weights
from brain2clip.stimuli.weights import LOCAL

log = logging.getLogger("brain2clip")


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP with its transform and tokenizer.

    Attributes
    ----------
    model : open_clip.CLIP
        In evaluation mode, no parameter wants a gradient.
    preprocess : callable
        The model's own evaluation transform, picture to normalised tensor [3, H, W].
    tokenize : callable
        Texts to token ids [n, context].
    mean, std : Tensor [3, 1, 1]
        Of the transform's normalisation.
    image_size : (int, int)
        Height and width, pixels.
    """

    model: Any
    preprocess: Any
    tokenize: Any
    mean: Tensor
    std: Tensor
    image_size: tuple[int, int]


def load(tower: Tower, device: str | torch.device = "cpu") -> Clip:
    """Load a tower in fp32 on a device.

    Raises
    ------
    InputError
        Where the model, tag, checkpoint or folder does not exist or is damaged, the hub cannot be reached, weights are
        not finite, or they were trained for another activation than the model has.
    """
    _check_source(tower)
    _check_reachable(tower)
    clip = _loaded(tower)
    clip.model.to(device)
    return clip


def load_shared(tower: Tower, device: str | torch.device = "cpu") -> Clip:
    """The same, or what is kept of it (:mod:`brain2clip.shared`).

    Not for training: a model that is made draws its weights before others are put there, so what is drawn later would
    be other numbers.
    """
    files = weights.of(tower.model, tower.pretrained)
    clip = shared.kept("tower", files, tower.model_dump_json(), partial(load, tower))
    clip.model.to(device)
    return clip


def _loaded(tower: Tower) -> Clip:
    """A tower in main memory."""
    import open_clip

    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            tower.model,
            pretrained=None if tower.model.startswith(LOCAL) else tower.pretrained,
            precision="fp32",
            **_transform(tower),
        )
        tokenize = _tokenizer(tower)
        mean, std = internals.normalisation(model)
        image_size = internals.picture_size(model)
    except InputError:
        raise
    except Exception as error:  # whatever pickle, safetensors, gzip and a model's own constructor make of the files
        told = " ".join(str(error).split())[:600]
        raise InputError(
            f"tower {tower.model!r} with pretrained {tower.pretrained!r} could not be loaded: "
            f"{type(error).__name__}: {told}\n"
            "The weights may be cut short, or belong to another model. Check towers.*.model and towers.*.pretrained; "
            "pretrained may be the path of a checkpoint file."
        ) from None
    _check_finite(model, tower)
    return Clip(
        model=model.eval().requires_grad_(False),
        preprocess=preprocess,
        tokenize=tokenize,
        mean=mean,
        std=std,
        image_size=image_size,
    )


def seen(clip: Clip, paths: Iterable[str]) -> Tensor:
    """Pictures of files as a tower sees them [B, 3, H, W]: resized and cropped by its own transform, 8 bits."""
    return torch.stack([to_bytes(clip.preprocess(pictures.read(path)), clip) for path in paths])


def to_bytes(pictures: Tensor, clip: Clip) -> Tensor:
    """Normalised pictures [..., 3, H, W] back to the 8-bit values that the transform saw; exact."""
    return ((pictures.cpu() * clip.std + clip.mean) * 255).round().clamp(0, 255).to(torch.uint8)


def from_bytes(pictures: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """8-bit pictures [B, 3, H, W] to normalised fp32, as the transform does."""
    return (pictures.float() / 255 - mean.to(pictures.device)) / std.to(pictures.device)


def _tokenizer(tower: Tower) -> Any:
    """The tower's tokenizer; a vocabulary file named in a local config is looked up in its folder."""
    import open_clip

    if not tower.model.startswith(LOCAL):
        return open_clip.get_tokenizer(tower.model)
    vocabulary = weights.vocabulary_of(Path(tower.model.removeprefix(LOCAL)))
    return open_clip.get_tokenizer(tower.model, **({"bpe_path": str(vocabulary)} if vocabulary else {}))


def _check_source(tower: Tower) -> None:
    """Refuse a tower that cannot be loaded, and say what to do."""
    weights.check(tower.model, tower.pretrained)
    if tower.model.startswith(LOCAL):
        for path in map(Path, weights.of(tower.model, tower.pretrained)):
            if not path.is_file():
                raise InputError(f"towers.*.model: {tower.model!r} needs the file {path}, which does not exist")
    known = internals.known()
    weights.check_names(tower.model, tower.pretrained, known)
    if (unsaid := weights.check_activation(tower.model, tower.pretrained, known)) is not None:
        log.warning(unsaid)


def _check_reachable(tower: Tower) -> None:
    """Refuse weights that must come from the hub if it cannot be reached."""
    if tower.model.startswith(LOCAL) or tower.pretrained is None or Path(tower.pretrained).is_file():
        return
    if not _cached(tower) and not hub.reachable():
        raise InputError(
            f"towers.*.pretrained: the weights {tower.pretrained!r} of {tower.model} are not on this machine and the "
            "model hub cannot be reached. Download the checkpoint where there is a network, and give its path as "
            "towers.*.pretrained: /path/to/open_clip_model.safetensors (or model: 'local-dir:FOLDER')."
        )


def _transform(tower: Tower) -> dict[str, Any]:
    """How pictures are prepared for a checkpoint by path, as far as the config beside it says."""
    beside = weights.config_beside(tower.model, tower.pretrained)
    wanted = {} if beside is None else weights.config(beside).get("preprocess_cfg") or {}
    keys = {
        "mean": "image_mean",
        "std": "image_std",
        "interpolation": "image_interpolation",
        "resize_mode": "image_resize_mode",
    }
    return {argument: wanted[key] for key, argument in keys.items() if key in wanted}


def _check_finite(model: Any, tower: Tower) -> None:
    """Refuse weights that are not finite: features would be NaN, or wrong where few are."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            count = int((~torch.isfinite(values)).sum())
            raise InputError(
                f"tower {tower.model!r} with pretrained {tower.pretrained!r}: {count} of {values.numel()} numbers of "
                f"the weight {name} are not finite; copy or download the weights again"
            )


def _cached(tower: Tower) -> bool:
    """Whether the hub's cache already holds the weights."""
    from huggingface_hub import try_to_load_from_cache

    repository, names = internals.on_hub(tower.model, tower.pretrained)
    return bool(repository) and any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
