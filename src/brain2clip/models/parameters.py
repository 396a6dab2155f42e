"""Trained parameters of a model, to and from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def trainable(module: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and buffers by name, as a checkpoint holds them."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def restore(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load trained parameters into a new model, for use in evaluation mode."""
    missing = set(model.load_state_dict(tensors, strict=False).missing_keys)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert missing <= frozen, f"checkpoint lacks {sorted(missing - frozen)[:3]}"
    model.eval()
