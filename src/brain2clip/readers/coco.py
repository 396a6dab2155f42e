"""Pictures of COCO: their numbers, and captions (``captions_train2017.json`` and the like) by them."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from brain2clip.readers import user_files
from brain2clip.stage import InputError

EXPECTED = "expected the JSON of COCO's annotations_trainval2017.zip: annotations with image_id and caption"

#: Names of the files of 2014. A number is the same picture in train and val, in 2014 and 2017.
_NAME = re.compile(r"COCO_[a-z]+[0-9]*_(?P<number>[0-9]{12})", re.IGNORECASE)


def number_in(name: str) -> int | None:
    """Number of a picture in COCO from the name of its file without ending, or None if it is no such name."""
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else None


def files(folder: Path, setting: str) -> list[Path]:
    """Files of captions in a folder, sorted; at least one."""
    found = sorted(folder.glob("captions_*.json")) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder}: no captions_*.json (setting {setting}); {EXPECTED}")
    return found


def read(path: Path, setting: str) -> dict[int, list[str]]:
    """Sentences by the number of the picture, in the order of the file, without blank ones.

    Raises
    ------
    brain2clip.stage.InputError
        If the file is missing or has another format.
    """
    user_files.existing(path, "file of captions", setting)
    stat = path.stat()
    return _read(path, setting, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, setting: str, mtime_ns: int, size: int) -> dict[int, list[str]]:
    text = user_files.text(path, f"(setting {setting}); {EXPECTED}")
    found: dict[int, list[str]] = {}
    with user_files.reading(path, "not captions of COCO", f"(setting {setting}); {EXPECTED}"):
        for one in json.loads(text)["annotations"]:
            if sentence := " ".join(one["caption"].split()):
                found.setdefault(int(one["image_id"]), []).append(sentence)
    return found
