"""Base of judges: pictures as network inputs, weights from a file, and features of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from brain2clip.generation.picture_metrics import COMMON
from brain2clip.readers import user_files
from brain2clip.stage import InputError

#: Mean and deviation of ImageNet's pictures, with which its networks were trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Pictures per forward pass.
AT_ONCE = 32


def resized(pictures: Tensor, *size: int) -> Tensor:
    """Pictures [n, 3, H, W] at another size (one side or height and width): bilinear, antialiased."""
    return transforms.resize(pictures, list(size) * (2 if len(size) == 1 else 1), antialias=True)


def as_numbers(pictures: NDArray[np.uint8]) -> Tensor:
    """8-bit pictures [n, H, W, 3] as [n, 3, H, W] from 0 to 1; not above 256 pixels, as all of the field's metrics."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return resized(values, COMMON) if max(values.shape[2:]) > COMMON else values


class NetworkJudge:
    """Features of pictures by a network.

    Parameters
    ----------
    network : callable
        Pictures [n, 3, height, width] to features [n, ...].
    size : tuple of int
        Height and width of its input, pixels.
    mean, deviation : sequence of float
        Of its input's colours.
    device : torch.device
    """

    def __init__(self, network: Any, size: tuple[int, int], mean: Any, deviation: Any, device: torch.device) -> None:
        self.network, self.size, self.device = network, size, device
        self.mean, self.deviation = (torch.as_tensor(one).reshape(1, 3, 1, 1).to(device) for one in (mean, deviation))

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [n, p] of square pictures [n, H, W, 3]."""
        parts = []
        with torch.inference_mode():
            for first in range(0, len(pictures), AT_ONCE):
                given = resized(as_numbers(pictures[first : first + AT_ONCE]).to(self.device), *self.size)
                found = self.network((given - self.mean) / self.deviation)
                parts.append(found.float().flatten(1).cpu().numpy())
        return np.concatenate(parts)


def layer_of(network: nn.Module, name: str, setting: str, device: torch.device) -> Any:
    """A network up to one of its nodes, frozen: pictures to what the node gives.

    Raises
    ------
    InputError
        Where the network has no such node.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        made = create_feature_extractor(network.eval(), {name: name}, suppress_diff_warning=True)
    except ValueError:
        nodes = dict(network.named_modules())
        raise InputError(
            f"{setting}: found {name!r}; expected a node of {type(network).__name__}, such as "
            f"{', '.join(one for one in nodes if one.count('.') <= 1 and one)[:300]}"
        ) from None
    made.to(device).eval().requires_grad_(False)
    return lambda pictures: made(pictures)[name]


def fill(network: nn.Module, path: str, setting: str, unused: tuple[str, ...] = (), free: tuple[str, ...] = ()) -> None:
    """Put the weights of a file into a network.

    Parameters
    ----------
    network : Module
    path : str
        A state dict by ``torch.save``, or safetensors.
    setting : str
        That names the file.
    unused : tuple of str
        Beginnings of the names of weights that are left out.
    free : tuple of str
        Beginnings of the names of weights of the network that are not used, and may be absent.

    Raises
    ------
    InputError
        Where there is no such file, it is none of weights, or they are not those of the network.
    """
    weights = _read(user_files.existing(Path(path), "file of weights", setting), setting)
    given = {name.removeprefix("module."): value for name, value in weights.items()}
    given = {name: value for name, value in given.items() if not name.startswith(unused or ("\0",))}
    wanted = network.state_dict()
    lacking = [name for name in wanted if name not in given and not name.startswith(free or ("\0",))]
    strange = [name for name in given if name not in wanted]
    wrong = [name for name in given if name in wanted and given[name].shape != wanted[name].shape]
    wrong += [name for name, one in given.items() if one.is_floating_point() and not torch.isfinite(one).all()]
    if lacking or strange or wrong:
        told = {"absent": lacking, "unknown": strange, "of another shape or not finite": wrong}
        said = "; ".join(f"{len(names)} {what}, as {names[0]}" for what, names in told.items() if names)
        raise InputError(
            f"{path}: not the weights of {type(network).__name__}: {said} (setting {setting}). Use the file that the "
            "description of the setting names"
        )
    network.load_state_dict(given, strict=False)


def _read(path: Path, setting: str) -> Mapping[str, Tensor]:
    """Tensors of a file by name."""
    with user_files.reading(path, "not readable as weights", f"(setting {setting}); download it again"):
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(isinstance(one, Tensor) for one in found.values()):
            raise InputError(f"{path}: not a state dict, which has a tensor for each name (setting {setting})")
        return found
