"""The device on which a stage computes, chosen in the same way for all stages."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from brain2clip.stage import InputError, no_cuda

#: Environment variable that passes ``missing_gpu`` of the configuration to jobs.
MISSING = "BRAIN2CLIP_MISSING_GPU"
#: Environment variables by which a scheduler or a user gives GPUs to a job; the first one that is set counts.
GIVEN = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")
#: Values that mean: no GPU.
NONE = ("", "-1", "NoDevFiles")


def given() -> str | None:
    """The environment variable, with its value, that gives this job a GPU; None if it has none."""
    for name in GIVEN:
        value = os.environ.get(name)
        if value is not None:
            return None if value in NONE or (name == GIVEN[-1] and value == "0") else f"{name}={value}"
    return None


def chosen(asked: bool = False) -> torch.device:
    """Return the CUDA device if there is one, else the CPU.

    Parameters
    ----------
    asked : bool
        Whether the rule of this job requests a GPU.

    Raises
    ------
    InputError
        If the rule requests a GPU and the job has one, but PyTorch cannot use it. Otherwise the job would run many
        times longer without anybody noticing.
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
    """Name of the GPU, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if platform.machine() in ("x86_64", "AMD64") and not torch.cpu._is_avx512_bf16_supported():
        return False  # oneDNN reports bf16 for every AVX-512 processor and emulates it
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def copied(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device; on a GPU the call returns before the copy is complete."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def tf32(on: bool = True) -> Iterator[None]:
    """Multiply single precision in TF32 on a GPU (relative error about 1e-3). Use it only where nothing is trained."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# --------------------------------------------------------------------------------------------------- memory


def room_gb(device: torch.device) -> float | None:
    """Memory of a GPU that this process has reserved or can still get, GB (1e9 bytes); None for a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return (free + torch.cuda.memory_reserved(device)) / 1e9


def held_gb(device: torch.device) -> float:
    """Memory of a GPU that tensors of this process use now, GB; 0 for a CPU."""
    return torch.cuda.memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def watch_peak(device: torch.device) -> None:
    """Reset the measurement of :func:`peak_gb`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float:
    """Largest memory of a GPU that tensors have used since :func:`watch_peak`, GB; NaN for a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
