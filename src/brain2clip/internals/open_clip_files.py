"""Models and tags of open_clip, read from its files without importing it.

Planning needs them, and importing open_clip takes seconds because it imports torch. Stages import open_clip and use
``internals/open_clip.py``. ``tests/unit/test_internals_open_clip.py`` tests that both give the same.
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
#: Blocks that open_clip requires in the JSON file of a model.
BLOCKS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True)
class Tag:
    """Weights by name.

    Attributes
    ----------
    hub : str
        ``owner/name/`` or ``owner/name/file`` on the model hub; empty if the weights are not there.
    quick_gelu : bool
        Whether they were trained with QuickGELU, x sigmoid(1.702 x), instead of GELU.
    url : str
        Address of their file; empty if they are only on the hub.
    """

    hub: str
    quick_gelu: bool
    url: str = ""


@dataclass(frozen=True)
class Known:
    """All models of open_clip and their weights.

    Attributes
    ----------
    models : dict of bool
        Whether each model computes QuickGELU.
    tags : dict of dict of Tag
        For each model with weights, its tags by name.
    """

    models: Mapping[str, bool]
    tags: Mapping[str, Mapping[str, Tag]]

    def repository_with_quick_gelu(self, repository: str) -> bool | None:
        """Whether the weights in a hub repository, ``owner/name``, were trained with QuickGELU; None if unknown."""
        tags = (tag for of_model in self.tags.values() for tag in of_model.values())
        return next((tag.quick_gelu for tag in tags if tag.hub.rpartition("/")[0] == repository), None)


@functools.cache
def known() -> Known | None:
    """Content of open_clip's files; None if they have another form than expected, or open_clip is not installed."""
    package = importlib.util.find_spec("open_clip")
    for folder in map(Path, (package and package.submodule_search_locations) or ()):
        try:
            configs = {path.stem: json.loads(path.read_bytes()) for path in folder.glob("model_configs/*.json")}
            models = {name: bool(one.get("quick_gelu")) for name, one in configs.items() if {*BLOCKS} <= {*one}}
            return Known(models, tags_of((folder / "pretrained.py").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError):
            return None  # the stage will ask the imported open_clip
    return None


def config_of(model: str) -> dict[str, Any] | None:
    """Content of the file of a model; None if there is no such file."""
    package = importlib.util.find_spec("open_clip")
    for folder in map(Path, (package and package.submodule_search_locations) or ()):
        path = folder / "model_configs" / f"{model.replace('/', '-')}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return None


def tags_of(source: str) -> dict[str, dict[str, Tag]]:
    """Tags of all models from the source of ``open_clip/pretrained.py``, which has a literal table of them.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError, SyntaxError
        If the source has no such table.
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
    """Tag from the syntax tree of a call ``_pcfg(url=…, hf_hub=…, quick_gelu=…)``."""
    given = {one.arg: one.value for one in call.keywords if one.arg in ("hf_hub", "quick_gelu", "url")}
    said = {name: ast.literal_eval(value) for name, value in given.items()}
    return Tag(said.get("hf_hub", ""), bool(said.get("quick_gelu", False)), said.get("url", ""))
