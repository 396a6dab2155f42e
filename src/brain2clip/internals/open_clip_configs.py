"""Architectures as open_clip's files describe them, without importing it: that takes seconds, and planning has none."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any


def of(model: str) -> dict[str, Any] | None:
    """What open_clip knows of a model by name; None where it has no such file."""
    package = importlib.util.find_spec("open_clip")
    for folder in map(Path, (package and package.submodule_search_locations) or ()):
        path = folder / "model_configs" / f"{model.replace('/', '-')}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return None
