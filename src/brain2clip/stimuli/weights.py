"""Local files that define a tower. Light to import: the Snakefile lists them as inputs."""

from __future__ import annotations

import json
from pathlib import Path

LOCAL = "local-dir:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def of(model: str, pretrained: str | None) -> list[str]:
    """Files of ``local-dir:FOLDER`` (vocabulary included) or a checkpoint by path; none for a hub tag."""
    if not model.startswith(LOCAL):
        return [pretrained] if pretrained and Path(pretrained).suffix else []
    folder = Path(model.removeprefix(LOCAL))
    vocabulary = vocabulary_of(folder)
    return [str(folder / CONFIG), str(folder / WEIGHTS), *([] if vocabulary is None else [str(vocabulary)])]


def vocabulary_of(folder: Path) -> Path | None:
    """Vocabulary file that the config of a local tower names for open_clip's own tokenizer, or None."""
    config = folder / CONFIG
    if not config.is_file():
        return None
    text = json.loads(config.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    name = text.get("tokenizer_kwargs", {}).get("bpe_path")
    return None if name is None else folder / name
