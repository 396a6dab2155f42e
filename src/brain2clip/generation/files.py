"""Local files of generators and judges. Light to import: the Snakefile asks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from brain2clip.settings import GeneratorBase, JudgeBase
from brain2clip.stage import InputError
from brain2clip.stimuli import weights
from brain2clip.stimuli.weights import LOCAL

INDEX = "model_index.json"


def of(block: GeneratorBase) -> list[str]:
    """Files of the folders that a generator names, sorted; none of names on the hub."""
    return sorted(path for folder in folders(block) for path in _within(folder))


def folders(block: GeneratorBase) -> list[Path]:
    """Local folders that a generator names."""
    named = (block.model, getattr(block, "adapter", ""))
    return [Path(one.removeprefix(LOCAL)) for one in named if one.startswith(LOCAL)]


def _within(folder: Path) -> list[str]:
    """Weights and configurations of a folder; of one that is not there its index, which Snakemake then misses."""
    found = [str(path) for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model")]
    return found or [str(folder / INDEX)]


def of_judge(block: JudgeBase) -> list[str]:
    """Local files of a judge."""
    model, pretrained = getattr(block, "model", None), getattr(block, "pretrained", None)
    if block.kind == "open-clip" and model is not None:
        return weights.of(model, pretrained)
    own = getattr(block, "weights", None)
    return [str(own)] if own else []


def space(block: GeneratorBase) -> int | None:
    """Number of the embeddings' dimensions that a generator takes, by its folder; None where none is here.

    Raises
    ------
    brain2clip.stage.InputError
        Where the folder's files are none of a pipeline.
    """
    for folder in folders(block):
        path = folder / "unet" / "config.json"
        if os.path.isfile(path):
            try:
                found: Any = json.loads(path.read_text(encoding="utf-8"))
                width = found.get("encoder_hid_dim")
            except (OSError, ValueError, AttributeError) as error:
                raise InputError(f"{path}: not readable as the configuration of a UNet ({error})") from None
            if isinstance(width, int):
                return width
    return None
