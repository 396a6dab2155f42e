"""Local files of a tower, and the names that open_clip knows. Light to import: the Snakefile uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from brain2clip.internals import open_clip_files
from brain2clip.internals.open_clip_files import QUICK_GELU, Known
from brain2clip.names import suggestion
from brain2clip.readers import user_files
from brain2clip.stage import InputError

LOCAL = "local-dir:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
#: How a tower of the drawn world was trained lies beside it (:mod:`brain2clip.simulation.train_tower`).
DRAWN = "training.json"


def of(model: str, pretrained: str | None) -> list[str]:
    """Files of ``local-dir:FOLDER`` (vocabulary included), or a checkpoint by path and the config beside it.

    None for a tag of the hub.
    """
    if not model.startswith(LOCAL):
        if pretrained is None or not is_path(pretrained):
            return []
        beside = Path(pretrained).parent / CONFIG
        return [pretrained, *([str(beside)] if os.path.isfile(beside) else [])]
    folder = Path(model.removeprefix(LOCAL))
    vocabulary = vocabulary_of(folder)
    return [str(folder / CONFIG), str(folder / WEIGHTS), *([] if vocabulary is None else [str(vocabulary)])]


def of_drawn_world(model: str) -> bool:
    """Whether a tower was trained on drawn pictures only."""
    return model.startswith(LOCAL) and os.path.isfile(Path(model.removeprefix(LOCAL)) / DRAWN)


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
        if os.path.isdir(path):
            raise InputError(f"towers.*.pretrained: {path} is a folder; give the file of the weights in it")
        if os.path.isfile(path) and (instead := user_files.stands_in(path)) is not None:
            raise InputError(f"{path}: expected a file of the tower {model!r}, found {instead}")
        if os.path.isfile(path) and path.name == CONFIG:
            config(path)


def check_there(model: str, pretrained: str | None) -> None:
    """Refuse a tower whose local files are not there.

    Raises
    ------
    brain2clip.stage.InputError
        With the setting and the files.
    """
    absent = [path for path in of(model, pretrained) if not os.path.isfile(path)]
    if not absent:
        return
    if not model.startswith(LOCAL):
        raise InputError(
            f"towers.*.pretrained: no file {', '.join(absent)}; expected a checkpoint of {model}, or one of its tags"
        )
    folder = model.removeprefix(LOCAL)
    if not os.path.isdir(folder):
        raise InputError(f"towers.*.model: {folder}: no such folder; expected {CONFIG} and {WEIGHTS} in it")
    raise InputError(
        f"towers.*.model: {folder}: no {' and no '.join(Path(path).name for path in absent)} in it; expected {CONFIG} "
        f"and {WEIGHTS}"
    )


def check_names(model: str, pretrained: str | None, known: Known) -> None:
    """Refuse a model that open_clip does not know, and a name of weights that is neither a file nor a tag of it.

    Raises
    ------
    brain2clip.stage.InputError
        With the names that are meant or known.
    """
    if model.startswith(LOCAL):
        return
    if model not in known.models:
        raise InputError(
            f"towers.*.model: open_clip knows no model {model!r}{suggestion(model, known.models)}; "
            "see open_clip.list_models(), or give 'local-dir:FOLDER'"
        )
    tags = known.tags.get(model, {})
    if pretrained is not None and pretrained not in tags and not os.path.isfile(pretrained):
        raise InputError(
            f"towers.*.pretrained: {pretrained!r} is neither a file nor a tag of {model}; "
            f"tags: {', '.join(tags) or 'none'}"
        )


def check_activation(model: str, pretrained: str | None, known: Known) -> str | None:
    """Refuse weights that were trained with QuickGELU in a model with GELU: shapes fit, and embeddings are wrong.

    Returns
    -------
    str or None
        A sentence where nothing says what the weights were trained with.

    Raises
    ------
    brain2clip.stage.InputError
        With the right model.
    """
    if model.startswith(LOCAL) or pretrained is None:  # the folder's own config says which
        return None
    has = known.models[model]
    beside = config_beside(model, pretrained)
    if beside is not None:
        wanted, source = bool(config(beside)["model_cfg"].get("quick_gelu", False)), str(beside)
    elif os.path.isfile(pretrained):
        repository = _repository_of(Path(pretrained))
        found = None if repository is None else known.repository_with_quick_gelu(repository)
        if found is None:
            return (
                f"{pretrained}: no {CONFIG} in its folder, so the activation that the weights were trained with is "
                f"unknown; assumed {'QuickGELU' if has else 'GELU'}"
            )
        wanted, source = found, f"open_clip's list of {repository}"
    else:
        # The other way round is open_clip's own: roberta-ViT-B-32 has QuickGELU and its tag does not say so.
        wanted = has or known.tags[model][pretrained].quick_gelu
        source = f"open_clip's list of the tag {pretrained}"
    if wanted == has:
        return None
    right = f"{model}{QUICK_GELU}" if wanted else model.removesuffix(QUICK_GELU)
    if right == model or right not in known.models:
        right = "local-dir:FOLDER, with the config of the weights beside them"
    raise InputError(
        f"towers.*.model: {model!r} computes {'QuickGELU' if has else 'GELU'}, but its weights {pretrained!r} were "
        f"trained with {'QuickGELU' if wanted else 'GELU'} (by {source}), so embeddings would be wrong; take model: "
        f"{right}"
    )


def config_beside(model: str, pretrained: str | None) -> Path | None:
    """Config that lies beside a checkpoint by path, which says what the weights are of; None where there is none."""
    if model.startswith(LOCAL) or pretrained is None or not os.path.isfile(pretrained):
        return None
    beside = Path(pretrained).parent / CONFIG
    return beside if os.path.isfile(beside) else None


def _repository_of(path: Path) -> str | None:
    """Repository of the hub whose cache a file lies in (``models--owner--name``), or None."""
    for part in path.absolute().parts:
        if part.startswith("models--") and part.count("--") >= 2:
            _, owner, name = part.split("--", 2)
            return f"{owner}/{name}"
    return None


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
        return open_clip_files.config_of(model)
    path = Path(model.removeprefix(LOCAL)) / CONFIG
    if not os.path.isfile(path):
        return None
    found: dict[str, Any] = config(path)["model_cfg"]
    return found


def vocabulary_of(folder: Path) -> Path | None:
    """Vocabulary file that the config of a local tower names for open_clip's own tokenizer, or None."""
    path = folder / CONFIG
    if not os.path.isfile(path):
        return None
    kwargs = config(path)["model_cfg"]["text_cfg"].get("tokenizer_kwargs")
    name = kwargs.get("bpe_path") if isinstance(kwargs, dict) else None
    return folder / name if isinstance(name, str) else None
