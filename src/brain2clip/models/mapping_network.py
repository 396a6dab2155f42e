"""A mapping of any kind from responses to the frozen CLIP space, with an input layer for each subject of a joint model.

What is public of BrainCLIP is its abstract; the forms here are this project's reading of it (docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Mapping as Named

import torch
from torch import Tensor, nn

from brain2clip import kinds
from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import Network, Supervision


class MappingNetwork(nn.Module):
    """Responses of one or several subjects to the frozen CLIP space.

    For one subject (or subjects with the same channels) the network takes the flattened response. For joint training
    every subject has a linear layer from its inputs to ``subject_width`` numbers, and the network is shared.

    Parameters
    ----------
    settings : Network
    supervision : Supervision
        For the start of the scale.
    inputs : int or mapping
        Size of a flattened response, or that of every subject by label.
    width : int
        d of the CLIP space, or width of the readout's output.
    readout : ReadoutModule, optional
        From frozen vectors of pictures to the target space; it is trained with the network if it has trained
        parameters.
    """

    def __init__(
        self,
        settings: Network,
        supervision: Supervision,
        inputs: int | Named[str, int],
        width: int,
        readout: ReadoutModule | None = None,
    ) -> None:
        super().__init__()
        self.readout = readout
        self.own: nn.ModuleDict | None = None
        if isinstance(inputs, int):
            n_in = inputs
        else:
            own = {key(subject): nn.Linear(size, settings.subject_width) for subject, size in inputs.items()}
            self.own, n_in = nn.ModuleDict(own), settings.subject_width
        self.shared: nn.Module = kinds.load("mappings", settings.kind)(settings, n_in, width)
        self.scale = nn.Parameter(torch.tensor(supervision.scale_init), requires_grad=supervision.learn_scale)

    def enter(self, responses: Tensor, subject: str | None = None) -> Tensor:
        """Input [B, n] of the shared network from responses [B, *shape] of a subject."""
        flat = responses.flatten(1)
        return flat if self.own is None else self.own[key(str(subject))](flat)

    def forward(self, responses: Tensor, subject: str | None = None) -> tuple[Tensor, Tensor | None]:
        """Embedding [B, d] of responses of one subject, and what the kind adds to the loss (a scalar) or None."""
        return self.shared(self.enter(responses, subject))

    def parameter_groups(self, lr: float) -> list[dict]:
        """Trained parameters; no decay on vectors."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            {"params": [one for one in trained if one.ndim > 1], "lr": lr},
            {"params": [one for one in trained if one.ndim <= 1], "lr": lr, "weight_decay": 0.0},
        ]


def key(subject: str) -> str:
    """Name of a subject's layer: a label alone may be a name that a module already has."""
    return f"sub-{subject}"
