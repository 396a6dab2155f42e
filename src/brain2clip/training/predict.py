"""Use a trained model: embeddings of brain responses and of candidate pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch
from torch.nn import functional as F

from brain2clip.settings import Contrastive, Tower, parse
from brain2clip.stage import InputError
from brain2clip.training.data import PictureSource, Responses
from brain2clip.training.model import CHANNELS, build, channels_from_tensor, device_of_choice, picture_source

AT_ONCE = 512


class Predictor:
    """A trained method.

    Parameters
    ----------
    method, tower : mapping
        Their settings.
    tensors : mapping
        The checkpoint.
    responses : Responses
        For shape and sampling rate.
    stimuli : h5py.File
        Open stimuli artefact.
    rows : ndarray
        Rows of the candidates.
    """

    def __init__(
        self,
        method: Mapping[str, Any],
        tower: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        responses: Responses,
        stimuli: h5py.File,
        rows: np.ndarray,
    ) -> None:
        trained = channels_from_tensor(tensors[CHANNELS])
        if trained != responses.channel:
            raise InputError(
                f"the model was trained on the channels {', '.join(trained)}, these responses have "
                f"{', '.join(responses.channel)}; name them in studies.*.responses.channels so that all subjects agree"
            )
        self.tensors = {name: tensor for name, tensor in tensors.items() if name != CHANNELS}
        self.rows = rows
        self.ridge = method["kind"] == "ridge"
        if self.ridge:
            self.gallery = torch.from_numpy(stimuli["embedding"][:][rows])
            return
        settings = parse(Contrastive, method)
        self.device = device_of_choice()
        self.model, clip = build(settings, parse(Tower, tower), responses, stimuli, self.device)
        missing = set(self.model.load_state_dict(self.tensors, strict=False).missing_keys)
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        assert missing <= frozen, f"checkpoint lacks {sorted(missing - frozen)[:3]}"
        self.model.eval()
        self.pictures: PictureSource = picture_source(settings, parse(Tower, tower), stimuli, rows, clip, self.device)

    @torch.inference_mode()
    def brains(self, values: np.ndarray) -> np.ndarray:
        """Unit-length embeddings [n, shared] of responses [n, C, T]."""
        parts = []
        for part in torch.from_numpy(values).split(AT_ONCE):
            if self.ridge:
                predicted = part.flatten(1) @ self.tensors["weight"] + self.tensors["intercept"]
                parts.append(predicted - self.tensors["centre"])
            else:
                parts.append(self.model.brain(part.to(self.device)).cpu())
        return F.normalize(torch.cat(parts).float(), dim=-1).numpy()

    @torch.inference_mode()
    def candidates(self) -> np.ndarray:
        """Unit-length embeddings [G, shared] of the candidates, in the order of ``rows``."""
        if self.ridge:
            return F.normalize(F.normalize(self.gallery, dim=-1) - self.tensors["centre"], dim=-1).numpy()
        parts = [self.model.picture(self.pictures(rows)).cpu() for rows in _parts(self.rows)]
        return F.normalize(torch.cat(parts).float(), dim=-1).numpy()


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
