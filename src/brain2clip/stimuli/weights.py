"""Local files that define a tower. Light to import: the Snakefile lists them as inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brain2clip.internals import open_clip_configs
from brain2clip.readers import user_files
from brain2clip.stage import InputError

LOCAL = "local-dir:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def of(model: str, pretrained: str | None) -> list[str]:
    """Files of ``local-dir:FOLDER`` (vocabulary included), or a checkpoint by path and the config beside it.

    None for a tag of the hub.
    """
    if not model.startswith(LOCAL):
        if pretrained is None or not is_path(pretrained):
            return []
        beside = Path(pretrained).parent / CONFIG
        return [pretrained, *([str(beside)] if beside.is_file() else [])]
    folder = Path(model.removeprefix(LOCAL))
    vocabulary = vocabulary_of(folder)
    return [str(folder / CONFIG), str(folder / WEIGHTS), *([] if vocabulary is None else [str(vocabulary)])]


def is_path(pretrained: str) -> bool:
    """Whether ``pretrained`` names a file and no tag; tags have neither slash nor dot."""
    return "/" in pretrained or bool(Path(pretrained).suffix)


def check(model: str, pretrained: str | None) -> None:
    """Refuse a tower without weights, and files that cannot be what they are named as: pointers, web pages.

    Raises
    ------
    brain2clip.stage.InputError
        With the file and what it is.
    """
    if pretrained is None and not model.startswith(LOCAL):
        raise InputError(
            f"towers.*.pretrained: {model!r} needs a pretrained tag or the path of a checkpoint; a folder is "
            "model: 'local-dir:FOLDER'"
        )
    for path in map(Path, of(model, pretrained)):
        if path.is_dir():
            raise InputError(f"towers.*.pretrained: {path} is a folder; give the file of the weights in it")
        if path.is_file() and (instead := user_files.stands_in(path)) is not None:
            raise InputError(f"{path}: expected a file of the tower {model!r}, found that it is {instead}")
        if path.is_file() and path.name == CONFIG:
            config(path)


def config(path: Path) -> dict[str, Any]:
    """Config of a tower as open_clip writes it.

    Raises
    ------
    brain2clip.stage.InputError
        Where it is no JSON, or a block is absent.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); copy the config of the tower again") from None
    model = found.get("model_cfg") if isinstance(found, dict) else None
    lacking = [] if isinstance(model, dict) else ["model_cfg"]
    if isinstance(model, dict):
        blocks = [f"model_cfg.{name}" for name in ("vision_cfg", "text_cfg") if not isinstance(model.get(name), dict)]
        lacking = blocks + ([] if isinstance(model.get("embed_dim"), int) else ["model_cfg.embed_dim"])
    if not isinstance(found, dict) or lacking:
        raise InputError(
            f"{path}: lacks {', '.join(lacking)}; expected a config as open_clip writes it, with model_cfg (embed_dim, "
            "vision_cfg, text_cfg) and preprocess_cfg"
        )
    return found


def architecture(model: str) -> dict[str, Any] | None:
    """Description of a tower, with ``embed_dim`` and ``vision_cfg``; None where no file here has it."""
    if not model.startswith(LOCAL):
        return open_clip_configs.of(model)
    path = Path(model.removeprefix(LOCAL)) / CONFIG
    if not path.is_file():
        return None
    found: dict[str, Any] = config(path)["model_cfg"]
    return found


def vocabulary_of(folder: Path) -> Path | None:
    """Vocabulary file that the config of a local tower names for open_clip's own tokenizer, or None."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    kwargs = config(path)["model_cfg"]["text_cfg"].get("tokenizer_kwargs")
    name = kwargs.get("bpe_path") if isinstance(kwargs, dict) else None
    return folder / name if isinstance(name, str) else None
