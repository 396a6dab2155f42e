"""The device that a stage computes on: one place for all stages."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from brain2clip.stage import InputError, no_cuda

#: Variable that hands ``missing_gpu`` of the configuration to jobs.
MISSING = "BRAIN2CLIP_MISSING_GPU"
#: What a scheduler, or a user, hands a job its GPUs with; the first that says something counts.
GIVEN = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")
#: Values that give none.
NONE = ("", "-1", "NoDevFiles")


def given() -> str | None:
    """The variable, with its value, by which this job was given a GPU; None where it was given none."""
    for name in GIVEN:
        value = os.environ.get(name)
        if value is not None:
            return None if value in NONE or (name == GIVEN[-1] and value == "0") else f"{name}={value}"
    return None


def chosen(asked: bool = False) -> torch.device:
    """CUDA where present, else the CPU.

    Parameters
    ----------
    asked : bool
        Whether the rule of this job asks for a GPU.

    Raises
    ------
    InputError
        Where it asks for one and was given one, and PyTorch finds none: it would take many times as long, unseen.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if asked and (by := given()) and os.environ.get(MISSING, "stop") != "cpu":
        raise InputError(
            f"this job was given a GPU ({by}), but PyTorch {torch.__version__} cannot use it: {no_cuda()}. Check "
            "nvidia-smi on that machine; to compute on its CPU instead, set missing_gpu: cpu in the configuration"
        )
    return torch.device("cpu")


def name(device: torch.device) -> str:
    """The card by its name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def has_bf16(device: torch.device) -> bool:
    """Whether a device has products in bf16 of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if platform.machine() in ("x86_64", "AMD64") and not torch.cpu._is_avx512_bf16_supported():
        return False  # oneDNN says yes to every AVX-512, and emulates
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def copied(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on a device; nobody waits for the copy but what uses it there."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def tf32(on: bool = True) -> Iterator[None]:
    """Products of single precision in TF32 on a GPU: about 1e-3 of their size off. For what is not trained."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# --------------------------------------------------------------------------------------------------- memory


def room_gb(device: torch.device) -> float | None:
    """Memory of a GPU that this process has or can have, GB (1e9 bytes); None for a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return (free + torch.cuda.memory_reserved(device)) / 1e9


def held_gb(device: torch.device) -> float:
    """Memory of a GPU that tensors of this process take now, GB; 0 for a CPU."""
    return torch.cuda.memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def watch_peak(device: torch.device) -> None:
    """Let :func:`peak_gb` begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float:
    """The most memory of a GPU that tensors took since :func:`watch_peak`, GB; NaN for a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
