"""SwAV's ResNet-50 (self-supervised on ImageNet), at its average pool."""

from __future__ import annotations

import torch

from brain2clip.generation import judge_base
from brain2clip.settings.judges import SwavJudge

#: What the published file holds beside the trunk, and what the trunk does not need: the classifier.
HEADS, CLASSIFIER = ("projection_head.", "prototypes."), ("fc.",)


class Judge(judge_base.NetworkJudge):
    """torchvision's ResNet-50 with the weights of a file; nothing is fetched.

    Parameters
    ----------
    settings : SwavJudge
    device : torch.device
    """

    def __init__(self, settings: SwavJudge, device: torch.device) -> None:
        from torchvision.models import resnet50

        network = resnet50(weights=None)
        judge_base.fill(network, settings.weights, "judges.*.weights", HEADS, CLASSIFIER)
        layer = judge_base.layer_of(network, "avgpool", "judges.*", device)
        super().__init__(layer, (settings.size, settings.size), *judge_base.IMAGENET, device)
