"""brain2clip: from raw brain recordings to tables of how well the seen pictures can be found from them.

In a notebook, ``brain2clip.Results("mine.yaml")`` opens the results of a configuration (docs/notebook.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain2clip.notebook import Model as Model
    from brain2clip.notebook import Results as Results

__version__ = "0.2.0"
__all__ = ["Model", "Results"]


def __getattr__(name: str) -> Any:
    """Names for notebooks, imported only when they are used, because every stage imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.notebook"), name)
