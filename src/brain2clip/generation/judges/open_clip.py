"""Image embeddings of an open_clip tower."""

from __future__ import annotations

import torch

from brain2clip.generation import judge_base
from brain2clip.settings import Tower
from brain2clip.settings.judges import OpenClipJudge
from brain2clip.stimuli import frozen_clip


class Judge(judge_base.NetworkJudge):
    """The final embedding of a picture, loaded as towers are.

    Parameters
    ----------
    settings : OpenClipJudge
    device : torch.device
    """

    def __init__(self, settings: OpenClipJudge, device: torch.device) -> None:
        clip = frozen_clip.load(Tower(model=settings.model, pretrained=settings.pretrained), device)
        super().__init__(clip.model.encode_image, clip.image_size, clip.mean, clip.std, device)
