"""How large files of further vectors of pictures become, as far as it is known before anything runs.

The stage refuses what is too large as well; here it is refused before anything else has run for hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip.settings import Tower, Vector
from brain2clip.stage import InputError
from brain2clip.stimuli import weights

if TYPE_CHECKING:
    from brain2clip.plan.jobs import Plan

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
    parts += [f"{unknown} whose size is not known yet"] if unknown else []
    return f"Further vectors of pictures still to be made: {' and '.join(parts)} (in {plan.results}/vectors)"


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
