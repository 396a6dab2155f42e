"""Pipelines of diffusers: loading them from a folder or from the hub's cache, and what their pictures are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from brain2clip.generation import files
from brain2clip.readers import user_files
from brain2clip.settings import GeneratorBase
from brain2clip.stage import InputError
from brain2clip.stimuli import hub
from brain2clip.stimuli.weights import LOCAL

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

T = TypeVar("T")
#: Files of a pipeline on the hub, without its weights in other formats and precisions.
PARTS = "--include '*.json' '*.txt' '*/*model.safetensors'"


def load(name: str, settings: GeneratorBase, device: torch.device, **given: Any) -> Any:
    """A pipeline, in half precision on a GPU and in single precision on a CPU.

    Weights are safetensors only: no file of a generator is executed.

    Parameters
    ----------
    name : str
        Class of diffusers.
    settings : GeneratorBase
        ``model`` names the hub's repository or a local folder.
    device : torch.device
    **given
        For the class.

    Raises
    ------
    brain2clip.stage.InputError
        Where the library or the weights are not there, or are none of that pipeline.
    """
    import torch

    try:
        import diffusers
        from diffusers.utils import logging
        from transformers.utils import logging as of_transformers
    except ImportError as error:
        raise InputError(
            f"generators: {' '.join(str(error).split())[:200]}; generators need diffusers and transformers; install "
            "them with the extra [generate]"
        ) from None
    for one in (logging, of_transformers):  # bars and advice to programmers do not belong into the log of a job
        one.set_verbosity_error()
        one.disable_progress_bar()
    _check_files(settings)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    options = {"dtype": dtype, "use_safetensors": True, **given}
    make = getattr(diffusers, name).from_pretrained
    pipeline = fetched(settings.model, "model", PARTS, lambda source, **where: make(source, **options, **where))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def fetched(model: str, key: str, parts: str, get: Callable[..., T]) -> T:
    """What ``get`` makes of a local folder, of the hub's cache, or else of the hub.

    Parameters
    ----------
    model : str
        ``local-dir:FOLDER`` or a name on the hub.
    key : str
        Setting that says so, below ``generators.*``.
    parts : str
        What to fetch of the repository, as arguments of the hub's own command.
    get : callable
        Takes folder or name and ``local_files_only``.
    """
    local = model.startswith(LOCAL)
    source = model.removeprefix(LOCAL)
    try:
        return get(source, local_files_only=True)
    except Exception as error:  # whatever the hub's client, safetensors and a pipeline's own constructor raise
        told = _told(error)
    if local:
        raise InputError(
            f"generators.*.{key}: {model!r} could not be loaded: {told}\nThe files may be cut short, belong to "
            "another pipeline, or not be safetensors. Expected the files that save_pretrained of diffusers writes"
        )
    if not hub.reachable():
        raise InputError(
            f"generators.*.{key}: {model!r} is not complete in the cache of this machine, and the model hub cannot "
            f"be reached. Download it where there is a network (hf download {model} --local-dir FOLDER {parts}), "
            f"copy the folder and set generators.*.{key}: 'local-dir:FOLDER'. ({told})"
        )
    try:
        return get(source, local_files_only=False)
    except Exception as error:
        raise InputError(f"generators.*.{key}: {model!r} could not be downloaded and loaded: {_told(error)}") from None


def started(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """8-bit pictures [b, H, W, 3] as pipelines take them: [b, 3, H, W] in [0, 1]."""
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def as_bytes(images: NDArray[np.floating], model: str) -> NDArray[np.uint8]:
    """Pictures of a pipeline (``output_type="np"``, in [0, 1]) in 8 bits.

    Raises
    ------
    brain2clip.stage.InputError
        Where they are not finite.
    """
    if not np.isfinite(images).all():
        raise InputError(
            f"generators.*.model: {model} made a picture with numbers that are not finite. On a GPU it computes in "
            "half precision, whose largest number is 65504: lower generators.*.guidance, or compute on a CPU (set "
            "CUDA_VISIBLE_DEVICES to an empty value). If a CPU gives the same, copy the weights again"
        )
    return np.rint(images * 255).astype(np.uint8)


def _check_files(settings: GeneratorBase) -> None:
    """Refuse a folder that is not there, and pointers or web pages in place of weights."""
    for folder in files.folders(settings):
        if not folder.is_dir():
            raise InputError(
                f"generators.*: the folder {folder} does not exist; expected what save_pretrained of diffusers writes, "
                f"with {files.INDEX}"
            )
    for path in map(Path, files.of(settings)):
        if path.is_file() and (instead := user_files.stands_in(path)) is not None:
            raise InputError(f"{path}: expected a file of the generator, found {instead}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
