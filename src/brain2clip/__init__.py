"""brain2clip: from raw brain recordings to tables that say how well seen pictures can be found again.

In a notebook, ``brain2clip.Results("mine.yaml")`` opens what a configuration's run left (docs/notebook.md).
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
    """What a notebook uses, loaded when it is asked for: every stage imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.notebook"), name)
