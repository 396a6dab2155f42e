"""Local files of generators and judges. Light to import: the Snakefile asks."""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brain2clip.readers import user_files
from brain2clip.settings import GeneratorBase, JudgeBase
from brain2clip.stage import InputError
from brain2clip.stimuli import weights
from brain2clip.stimuli.weights import LOCAL

INDEX = "model_index.json"


def of(block: GeneratorBase) -> list[str]:
    """Files of the folders that a generator names, sorted; of an adapter its weights. None of names on the hub."""
    adapter = adapter_file(block)
    found = _within(Path(block.model.removeprefix(LOCAL))) if block.model.startswith(LOCAL) else []
    return sorted([*found, *([] if adapter is None else [str(adapter)])])


def folders(block: GeneratorBase) -> list[Path]:
    """Local folders that a generator names."""
    named = (block.model, getattr(block, "adapter", ""))
    return [Path(one.removeprefix(LOCAL)) for one in named if one.startswith(LOCAL)]


def adapter_file(block: GeneratorBase) -> Path | None:
    """Weights of a local adapter, of a generator that has one."""
    adapter = getattr(block, "adapter", "")
    if not adapter.startswith(LOCAL):
        return None
    return Path(adapter.removeprefix(LOCAL), getattr(block, "subfolder", ""), getattr(block, "weights", ""))


def _within(folder: Path) -> list[str]:
    """Weights and configurations of a folder; of one that is not there its index, which Snakemake then misses."""
    found = [str(path) for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model")]
    return found or [str(folder / INDEX)]


def of_judge(block: JudgeBase) -> list[str]:
    """Local files of a judge."""
    if block.clip is not None:
        return weights.of(*block.clip)
    own = getattr(block, "weights", None)
    return [str(own)] if own else []


def problems(judges: Mapping[str, JudgeBase]) -> Iterator[str]:
    """A sentence for each judge whose weights are not there, or are something else.

    Files of open_clip towers are checked as those of every tower (:func:`brain2clip.stimuli.weights.check_there`).
    """
    if "pixels" in judges:
        yield "judges.pixels: this name is reserved for the comparison by pixels; expected another name"
    for name, block in judges.items():
        for path in () if block.clip is not None else of_judge(block):
            if not os.path.isfile(path):
                source = f": {block.published_as}" if block.published_as else ""
                yield (
                    f"judges.{name}.weights: no such file {path!r}, and it is not downloaded; expected the published "
                    f"weights{source}. Download the file and set its path there, or remove the judge"
                )
            elif (instead := user_files.stands_in(Path(path))) is not None:
                yield f"judges.{name}.weights: {path}: expected a file of weights, found {instead}"


def same_tower(block: JudgeBase, tower: Mapping[str, Any]) -> bool:
    """Whether a judge is a tower (``model``, ``pretrained``): by name, by folder, or by the bytes of its weights."""
    if block.clip is None:
        return False
    of_tower = (str(tower["model"]), tower["pretrained"])
    if block.clip == of_tower:
        return True
    own, told = _weights_of(*block.clip), _weights_of(*of_tower)
    return own is not None and told is not None and filecmp.cmp(own, told, shallow=False)


def _weights_of(model: str, pretrained: str | None) -> Path | None:
    """The file of the weights of a tower, where it is on this machine."""
    found = (Path(path) for path in weights.of(model, pretrained) if not path.endswith(".json"))
    return next((path for path in found if path.is_file()), None)


def space(block: GeneratorBase) -> int | None:
    """Number of the embeddings' dimensions that a generator takes, by its files; None where they are not here.

    Raises
    ------
    brain2clip.stage.InputError
        Where the folder's files are none of a pipeline.
    """
    adapter = adapter_file(block)
    if adapter is not None and adapter.is_file():
        return _adapter_space(adapter)
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


def _adapter_space(path: Path) -> int | None:
    """The same by the weights of an adapter; None where it takes something else than an embedding."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            name = "image_proj.proj.weight"
            return int(file.get_slice(name).get_shape()[1]) if name in file.keys() else None  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as the weights of an adapter ({error})") from None
