"""Files that hold something else than their name says: nothing, a web page, a pointer to content that is elsewhere."""

from __future__ import annotations

from pathlib import Path

#: Beginnings, each with what a file is that begins so and what to do about it.
_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself; fetch it with git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer and not the file itself; fetch it with git annex get"),
    (b"../.git/annex/", "a git-annex pointer and not the file itself; fetch it with git annex get"),
    (b"<!doctype html", "a web page, as servers send where a file is not to be had; download it again"),
    (b"<html", "a web page, as servers send where a file is not to be had; download it again"),
    (b"<?xml", "an XML text, as servers send where a file is not to be had; download it again"),
)


def told(path: Path) -> str | None:
    """What a file is that cannot be what its name says, and what to do; None where nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        return "empty; copy or download it again"
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((words for beginning, words in _BEGINNINGS if plain.startswith(beginning)), None)
