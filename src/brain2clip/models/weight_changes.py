"""Common parts of adapters: trained changes of frozen weights whose memory other models use as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Changed(nn.Module):
    """Parametrization of a frozen weight by a change whose parameters are held elsewhere."""

    change: nn.Module

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        self.__dict__["change"] = change  # not a submodule: a checkpoint has each parameter once

    def forward(self, weight: Tensor) -> Tensor:
        """Weight with the change."""
        return weight + self.change().to(weight.dtype)


class WeightChanges(nn.Module):
    """Base of adapters: holds the changes, but no part of the tower."""

    places: list[tuple[nn.Module, str]]

    def __init__(self) -> None:
        super().__init__()
        self.changes = nn.ModuleDict()
        self.__dict__["places"] = []  # modules of the tower are not parts of the adapter

    def add(self, label: str, module: Any, name: str, change: nn.Module) -> None:
        """Replace a weight of a module of the tower by the frozen weight plus ``change()``."""
        self.changes[label] = change.to(getattr(module, name).device)
        parametrize.register_parametrization(module, name, Changed(change))
        self.places.append((module, name))

    def merge(self) -> None:
        """Put the changes into new weights; weights that the tower shares with other models are not changed."""
        for module, name in self.places:
            with torch.no_grad():
                merged = getattr(module, name).detach().clone()
            parametrize.remove_parametrizations(module, name, leave_parametrized=False)
            module.register_parameter(name, nn.Parameter(merged, requires_grad=False))
        self.places.clear()
