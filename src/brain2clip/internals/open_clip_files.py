"""What open_clip knows of models and tags, read from its files as they lie there.

Planning needs it, and importing open_clip takes seconds (it imports torch). ``internals/open_clip.py`` gives the same
from the import, for the stages. That both are equal is in ``tests/unit/test_internals_open_clip.py``.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Ending of the name of a model that differs from another by QuickGELU only.
QUICK_GELU = "-quickgelu"
#: Names of weight files in a repository of the hub.
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
#: Blocks without which open_clip does not take a JSON file for a model.
BLOCKS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True)
class Tag:
    """Weights by name.

    Attributes
    ----------
    hub : str
        ``owner/name/`` or ``owner/name/file`` on the model hub; empty where they are elsewhere.
    quick_gelu : bool
        Whether they were trained with QuickGELU, x sigmoid(1.702 x), in place of GELU.
    url : str
        Address of their file; empty where they are on the hub only.
    """

    hub: str
    quick_gelu: bool
    url: str = ""


@dataclass(frozen=True)
class Known:
    """All models, with whether each computes QuickGELU; and the tags of each that has any."""

    models: Mapping[str, bool]
    tags: Mapping[str, Mapping[str, Tag]]

    def repository_with_quick_gelu(self, repository: str) -> bool | None:
        """Whether the weights in a repository of the hub, ``owner/name``, were trained so; None: it is not known."""
        tags = (tag for of_model in self.tags.values() for tag in of_model.values())
        return next((tag.quick_gelu for tag in tags if tag.hub.rpartition("/")[0] == repository), None)


@functools.cache
def known() -> Known | None:
    """What stands in the files; None where they are not written as they were, or open_clip is not installed."""
    package = importlib.util.find_spec("open_clip")
    for folder in map(Path, (package and package.submodule_search_locations) or ()):
        try:
            configs = {path.stem: json.loads(path.read_bytes()) for path in folder.glob("model_configs/*.json")}
            models = {name: bool(one.get("quick_gelu")) for name, one in configs.items() if {*BLOCKS} <= {*one}}
            return Known(models, tags_of((folder / "pretrained.py").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError):
            return None  # the stage asks open_clip itself
    return None


def config_of(model: str) -> dict[str, Any] | None:
    """What stands in the file of a model by name; None where there is no such file."""
    package = importlib.util.find_spec("open_clip")
    for folder in map(Path, (package and package.submodule_search_locations) or ()):
        path = folder / "model_configs" / f"{model.replace('/', '-')}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return None


def tags_of(source: str) -> dict[str, dict[str, Tag]]:
    """Tags of all models by the source of ``open_clip/pretrained.py``, whose table is written out.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError, SyntaxError
        Where it is not.
    """
    assigned: dict[str, Any] = {
        target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    table = assigned["_PRETRAINED"]
    found = {}
    for model, tags in zip(table.keys, table.values, strict=True):
        call = assigned[tags.id] if isinstance(tags, ast.Name) else tags  # dict(tag=_pcfg(…), …)
        found[ast.literal_eval(model)] = {tag.arg: _tag(tag.value) for tag in call.keywords}
    with_it = {name: {tag: one for tag, one in tags.items() if one.quick_gelu} for name, tags in found.items()}
    return {**found, **{f"{name}{QUICK_GELU}": tags for name, tags in with_it.items() if tags}}


def _tag(call: Any) -> Tag:
    """Of a call ``_pcfg(url=…, hf_hub=…, quick_gelu=…)``."""
    given = {one.arg: one.value for one in call.keywords if one.arg in ("hf_hub", "quick_gelu", "url")}
    said = {name: ast.literal_eval(value) for name, value in given.items()}
    return Tag(said.get("hf_hub", ""), bool(said.get("quick_gelu", False)), said.get("url", ""))
