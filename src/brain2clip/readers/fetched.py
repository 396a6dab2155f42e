"""Whether the content of a file is on this machine, or only a link or pointer file of git-annex, DataLad or Git LFS."""

from __future__ import annotations

import os
from pathlib import Path

from brain2clip.stage import InputError

#: How pointer files begin (git-annex, unlocked; Git LFS).
POINTERS = (b"/annex/objects/", b"version https://git-lfs.github.com/spec/")
#: Pointer files are shorter than this, bytes.
POINTER_SIZE = 1024
GET = "download its content (datalad get, git annex get, git lfs pull), or remove the file"


def check_here(path: Path) -> None:
    """Refuse folders, broken links and pointer files.

    Raises
    ------
    brain2clip.stage.InputError
        With the reason, and what to do.
    """
    if not path.is_file():
        if path.is_symlink():
            raise InputError(f"{path}: a link to {os.readlink(path)}, which does not exist; {GET}")
        raise InputError(f"{path}: {'a folder, expected a file' if path.is_dir() else 'no such file'}")
    if path.stat().st_size >= POINTER_SIZE:
        return
    try:
        with path.open("rb") as file:
            head = file.read(max(map(len, POINTERS)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if head.startswith(POINTERS):
        raise InputError(f"{path}: a pointer file of git-annex or Git LFS instead of the content; {GET}")
