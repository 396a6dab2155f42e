"""Which sidecars belong to a recording: the inheritance principle of BIDS, for sidecars of every kind.

A sidecar belongs to a recording if it is in the recording's folder or in a folder above, up to that of the dataset, and
if all entities of its name are in the recording's name with the same labels. Of tables, the nearest is used; of JSON
files all are used, and keys of a nearer one override those of a farther one. Two sidecars in the same folder are an
error, unless one of them has exactly the entities of the recording.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from brain2clip.stage import InputError

#: Any label of an entity.
ANY = "*"


def entities(name: str) -> dict[str, str]:
    """Entities of a BIDS file name with their labels, in order; parts without a hyphen are passed over."""
    parts = (part.partition("-") for part in name.split(".")[0].split("_")[:-1])
    return {key: label for key, hyphen, label in parts if hyphen}


def by_level(path: Path, root: Path, ending: str, own: Mapping[str, str]) -> list[list[Path]]:
    """Sidecars that belong to a recording, for each folder that holds some, the nearest first.

    Parameters
    ----------
    path, root : Path
        The recording, and the folder of its dataset.
    ending : str
        Suffix and extension, e.g. ``channels.tsv``.
    own : mapping
        Entities with the labels that a sidecar may have (:data:`ANY`: all).
    """
    found = []
    for folder in path.parents:
        listed = sorted(os.listdir(folder)) if folder.is_dir() else []
        names = [name for name in listed if name == ending or name.endswith(f"_{ending}")]
        some = [folder / name for name in names if _belongs(entities(name), own)]
        if some:
            found.append(some)
        if folder == root:
            break
    return found


def nearest(path: Path, root: Path, ending: str, own: Mapping[str, str]) -> Path | None:
    """The sidecar of a kind that is used, or None.

    Raises
    ------
    brain2clip.stage.InputError
        If two are equally near.
    """
    for some in by_level(path, root, ending, own):
        return only(some, path)
    return None


def chain(path: Path, root: Path, ending: str, own: Mapping[str, str], like: str = "") -> list[Path]:
    """All JSON files of a kind, the farthest first; of several in a folder the one of the space ``like``."""
    found = []
    for some in by_level(path, root, ending, own):
        same = [one for one in some if entities(one.name).get("space", "") == like]
        found.append(only(same or some, path))
    return found[::-1]


def _belongs(labels: Mapping[str, str], own: Mapping[str, str]) -> bool:
    return all(own.get(key) in (label, ANY) for key, label in labels.items())


def _whole(path: Path) -> dict[str, str]:
    """Entities of a name but for the part of a split recording, which sidecars do not tell."""
    return {key: label for key, label in entities(path.name).items() if key != "split"}


def only(some: list[Path], path: Path) -> Path:
    """The one of some sidecars in a folder, or the recording's own; refused where there are several else."""
    own = [one for one in some if _whole(one) == _whole(path)]
    if len(own) == 1:
        return own[0]
    if len(some) > 1:
        raise InputError(
            f"{some[0].parent}: {' and '.join(one.name for one in some)} both belong to {path.name}\n  BIDS allows "
            "one in a folder; remove one, or choose one by the setting entities if they differ in an entity such as "
            "space"
        )
    return some[0]
