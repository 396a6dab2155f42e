"""Regions: named sets of voxels."""

from __future__ import annotations

from typing import Annotated

from brain2clip.settings.base import Block, EachOnce, Filled, neutral


class Roi(Block):
    """A named set of voxels: a signal of fMRI, as a band is one of EEG."""

    include: Annotated[tuple[Filled, ...], EachOnce] = neutral(
        (), description="names of regions in the dataset whose voxels are used (none: all voxels)"
    )
    exclude: Annotated[tuple[Filled, ...], EachOnce] = neutral(
        (), description="names of regions whose voxels are left out"
    )
