"""Names of runs in figures: which study, signal, protocol, method, subject and seed a row belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

BLOCK = ["study", "protocol", "signal"]
_RUN_FILE = re.compile(r"sub-(?P<subject>.+)_seed-(?P<seed>\d+)\..*")


def from_run_path(path: Path) -> dict[str, str | int]:
    """Study, signal, protocol, method, subject and seed from ``…/study/signal/protocol/method/sub-S_seed-N.suffix``."""
    found = _RUN_FILE.fullmatch(path.name)
    if found is None or len(path.parts) < 5:
        raise ValueError(f"{path}: expected STUDY/BAND/PROTOCOL/METHOD/sub-SUBJECT_seed-SEED.suffix")
    study, signal, protocol, method = path.parts[-5:-1]
    names: dict[str, str | int] = {"study": study, "signal": signal, "protocol": protocol, "method": method}
    return {**names, "subject": found["subject"], "seed": int(found["seed"])}


def from_response_path(path: Path) -> dict[str, str]:
    """Study, signal and subject from ``…/study/signal/sub-S.h5``."""
    if len(path.parts) < 3 or not path.stem.startswith("sub-"):
        raise ValueError(f"{path}: expected STUDY/BAND/sub-SUBJECT.h5")
    return {"study": path.parts[-3], "signal": path.parts[-2], "subject": path.stem.removeprefix("sub-")}


def split(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Parts of a table by study, protocol and signal, each with its title, in order of appearance."""
    return [(", ".join(keys), part) for keys, part in table.groupby(BLOCK, sort=False)]


def ordered(methods: Mapping[str, str], present: pd.Series) -> dict[str, tuple[int, str]]:
    """Methods that are present, in the order of the configuration: name to (number, label)."""
    there = list(dict.fromkeys(present))
    names = [name for name in methods if name in there] + [name for name in there if name not in methods]
    return {name: (number, methods.get(name, name)) for number, name in enumerate(names)}
