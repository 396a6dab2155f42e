"""Classifiers of ImageNet by torchvision, at a layer."""

from __future__ import annotations

import torch
from torch import nn

from brain2clip.generation import judge_base
from brain2clip.settings.judges import TorchvisionJudge

SETTING = "judges.*.weights"


class Judge(judge_base.NetworkJudge):
    """What a layer of a classifier gives; its weights are of a file, and nothing is fetched.

    Parameters
    ----------
    settings : TorchvisionJudge
    device : torch.device
    """

    def __init__(self, settings: TorchvisionJudge, device: torch.device) -> None:
        network = built(settings.model)
        judge_base.fill(network, settings.weights, SETTING)
        layer = judge_base.layer_of(network, settings.layer, "judges.*.layer", device)
        super().__init__(layer, (settings.size, settings.size), *judge_base.IMAGENET, device)


def built(model: str) -> nn.Module:
    """The network as its published weights were trained."""
    from torchvision import models

    # Inception's weights are of TensorFlow: it takes ImageNet's normalisation back itself, with weights only.
    own = {"transform_input": True, "init_weights": False} if model == "inception_v3" else {}
    made: nn.Module = models.get_model(model, weights=None, **own)
    return made
