"""The embedding beside principal components of the patch tokens on a grid: what is where in the picture.

A pooled embedding has lost it, and early visual areas answer to little else.
"""

from brain2clip.models.readouts.concat import Readout

__all__ = ["Readout"]
