"""The embedding and principal components of the patch tokens on a grid, which hold the layout of the picture.

A pooled embedding has lost the layout, and early visual areas respond mainly to it.
"""

from brain2clip.models.readouts.concat import Readout

__all__ = ["Readout"]
