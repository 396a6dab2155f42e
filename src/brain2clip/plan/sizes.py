"""How large files of further vectors of pictures become, as far as it is known before anything runs.

The stage refuses what is too large as well; here it is refused before anything else has run for hours.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip.generation import files as generator_files
from brain2clip.settings import GeneratorBase, Tower, Vector
from brain2clip.stage import InputError
from brain2clip.stimuli import weights

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan

#: What is taken for a generator that is not on this machine: the decoder of Kandinsky 2.2.
COMMON_GB = 2.6
BYTES = {"float32": 4, "float16": 2}


def told(plan: Plan) -> str | None:
    """One sentence on the further vectors that are still to be made; None where there are none.

    Raises
    ------
    InputError
        Where a file would be larger than the settings of its tower allow.
    """
    sizes = unmade(plan)
    if not sizes:
        return None
    known = [size for size in sizes.values() if size is not None]
    unknown = len(sizes) - len(known)
    parts = [f"{len(known)} of {sum(known):.3g} GB"] if known else []
    parts += [f"{unknown} of unknown size"] if unknown else []
    listed = f"{' and '.join(parts)} (in {plan.results}/vectors)"
    return f"Files of further vectors of pictures that are still to be made: {listed}"


def unmade(plan: Plan) -> dict[str, float | None]:
    """Files of further vectors that do not lie there, with the size that they will have, GB; None: not known."""
    found: dict[str, float | None] = {}
    for study, tower in plan.towers_run():
        for name, vector in plan.vectors_of(study, tower).items():
            path = plan.vector(study, tower, name)
            if not Path(path).exists():
                found[path] = _size(plan, study, tower, vector)
    return found


def _size(plan: Plan, study: str, tower: str, vector: Vector) -> float | None:
    block = plan.config.towers[tower]
    rows, numbers = _stimuli(plan, study), width(block, vector)
    if rows is None or numbers is None:
        return None
    size = rows * numbers * BYTES[block.dtype] / 1e9
    if size > block.vectors_limit_gb:
        raise InputError(
            f"towers.{tower}.vectors_limit_gb: found {block.vectors_limit_gb:g}, and {vector.name} of study {study!r} "
            f"({rows} stimuli x {numbers} numbers, {block.dtype}) needs {size:.3g} GB; take a coarser grid or dtype: "
            "float16, or raise the limit"
        )
    return size


def _stimuli(plan: Plan, study: str) -> int | None:
    """Number of stimuli of a study, of its settings or of the table that an earlier run has left."""
    known = plan.block(study).n_stimuli
    table = Path(plan.catalogue(study))
    if known is not None or not table.is_file():
        return known
    from pyarrow import ArrowException, parquet  # takes a moment to import

    try:
        rows: int = parquet.read_metadata(table).num_rows
    except (OSError, ArrowException):
        return None  # whoever reads it says so
    return rows


def width(tower: Tower, vector: Vector) -> int | None:
    """Size of a vector by the description of its tower; None where that does not say."""
    if vector.ready is not None:
        return None
    config = weights.architecture(tower.model)
    vision: Any = None if config is None else config.get("vision_cfg")
    if config is None or not isinstance(vision, dict):
        return None
    joint: int | None = config.get("embed_dim")
    if vector.pool == "tower":
        return joint
    unusual = {"timm_model_name", "attentional_pool"} & {name for name, value in vision.items() if value}
    if unusual or not isinstance(vision.get("layers", 12), int):
        return None  # no Vision Transformer of open_clip's own, or one whose end is built otherwise
    own: int | None = joint if vector.block is None else vision.get("width", 768)
    return None if own is None else own * (vector.grid or 1) ** 2


def gflop(tower: Tower) -> float | None:
    """Work of one forward pass of a picture by the description of its tower, GFLOP; None where that does not say."""
    vision, grid = _vision(tower), patches(tower)
    if vision is None:
        return None
    layers, width = vision.get("layers", 12), vision.get("width", 768)
    if isinstance(layers, list):  # a ResNet with attention pooling, in the work of RN50
        work: float = 12.2 * (vision.get("image_size", 224) / 224) ** 2 * (width / 64) ** 2 * sum(layers) / 16
        return work
    if grid is None:
        return None
    tokens = grid + 1
    per_layer = 24 * tokens * width**2 + 4 * tokens**2 * width
    return float(layers * per_layer + 6 * tokens * width * vision["patch_size"] ** 2) / 1e9


def weights_gb(tower: Tower) -> float | None:
    """Size of the weights of a tower, text side included, in single precision, GB; None where nothing says it."""
    config = weights.architecture(tower.model)
    vision = _vision(tower)
    if config is None or vision is None:
        return None
    layers, width = vision.get("layers", 12), vision.get("width", 768)
    text = config["text_cfg"]
    of_text = 12 * text.get("layers", 12) * text.get("width", 512) ** 2
    of_text += text.get("vocab_size", 49408) * text.get("width", 512)
    of_pictures = 12 * layers * width**2 if isinstance(layers, int) else 38e6 * (width / 64) ** 2 * sum(layers) / 16
    return float(of_text + of_pictures) * 4 / 1e9


def patches(tower: Tower) -> int | None:
    """Patches of a picture by the description of its tower; None of another network than a Vision Transformer."""
    vision = _vision(tower)
    size = None if vision is None else vision.get("patch_size")
    if vision is None or not isinstance(size, int) or not isinstance(vision.get("image_size", 224), int):
        return None
    return int((vision.get("image_size", 224) // size) ** 2)


def cached_gb(tower: Tower, n_pictures: float) -> float:
    """Size of the features of so many pictures, GB: patch tokens of all bands, or 8-bit pictures."""
    vision, grid = _vision(tower) or {}, patches(tower)
    side = vision.get("image_size", 224)
    as_bytes = n_pictures * 3 * (side if isinstance(side, int) else 224) ** 2 / 1e9
    if grid is None:
        return as_bytes
    tokens: float = n_pictures * grid * vision.get("width", 768) * tower.filter_bank.bands * BYTES[tower.dtype] / 1e9
    if tower.cache == "tokens" or (tower.cache == "auto" and tokens <= tower.cache_limit_gb):
        return tokens
    return as_bytes


def _vision(tower: Tower) -> dict[str, Any] | None:
    """Picture side of a tower's description; None where it is not open_clip's own network."""
    config = weights.architecture(tower.model)
    vision: Any = None if config is None else config.get("vision_cfg")
    return vision if isinstance(vision, dict) and "timm_model_name" not in vision else None


def generator_gb(block: GeneratorBase) -> tuple[float, bool]:
    """Weights of a generator as they are stored, GB, and whether that is known: it is of those on this machine."""
    stored = [path for path in generator_files.of(block) if path.endswith(".safetensors") and os.path.isfile(path)]
    return (sum(map(os.path.getsize, stored)) / 1e9, True) if stored else (COMMON_GB, False)
