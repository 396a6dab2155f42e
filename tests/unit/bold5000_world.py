"""Files of BOLD5000 as Release 2.0 has them, with few voxels, for the trials that stand in the repository."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

TYPE = "TYPED-FITHRF-GLMDENOISE-RR"
TRIALS = {"CSI1": 5254, "CSI2": 5254, "CSI3": 5254, "CSI4": 3108}
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
SIZES = {f"{side}{name}": 2 + number for side in ("LH", "RH") for number, name in enumerate(REGIONS)}
GRID = (6, 5, 4)


def planted(subject: str, n_voxels: int, begin: int = 0) -> np.ndarray:
    """Betas [n_trials, n_voxels], each trial and voxel with its own."""
    trial, voxel = np.ogrid[: TRIALS[subject], begin : begin + n_voxels]
    return ((trial * 15485863 + voxel * 32452843 + int(subject[3:]) * 49979687) % 20011 / 3000 - 3).astype(np.float32)


def irregular(subject: str, name: str, masks: bool) -> str:
    """Names of the published masks."""
    if not masks:
        return name
    if name == "RHRSC" and subject == "CSI2":
        return "RHRRSC"
    return name.replace("LOC", "LO") if subject in ("CSI2", "CSI3") else name


def write_arrays(root: Path, *subjects: str) -> Path:
    """Arrays of regions, below a folder ``py``."""
    (root / "py").mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        begin = 0
        for name, size in SIZES.items():
            np.save(root / f"py/{subject}_GLMbetas-{TYPE}_allses_{name}.npy", planted(subject, size, begin))
            begin += size
    return root


def masks() -> dict[str, np.ndarray]:
    """Masks [X, Y, Z], two of which share a voxel."""
    places = np.random.default_rng(3).permutation(int(np.prod(GRID)))
    found, begin = {}, 0
    for name, size in SIZES.items():
        mask = np.zeros(int(np.prod(GRID)), np.uint8)
        mask[places[begin : begin + size]] = 1
        found[name], begin = mask.reshape(GRID), begin + size - 1
    return found


def write_volumes(root: Path, subject: str, counts: dict[str, int]) -> Path:
    """Volumes of each session and masks, with the irregular names."""
    root.mkdir(parents=True, exist_ok=True)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    values, begin = planted(subject, int(np.prod(GRID))), 0
    for session, count in counts.items():
        own = values[begin : begin + count].T.reshape(*GRID, count)
        path = root / f"{subject}_GLMbetas-{TYPE}_ses-{session}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(own, affine), path)
        begin += count
    for name, mask in masks().items():
        path = root / f"sub-{subject}_mask-{irregular(subject, name, True)}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(mask, affine), path)
    return root
