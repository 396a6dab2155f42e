"""Regions: named sets of voxels."""

from __future__ import annotations

from brain2clip.settings.base import Block, neutral


class Roi(Block):
    """A named set of voxels: a signal of fMRI, as a band is one of EEG."""

    include: tuple[str, ...] = neutral(
        (), description="names of regions in the dataset whose voxels are taken (none: all)"
    )
    exclude: tuple[str, ...] = neutral((), description="names of regions whose voxels are left out")
