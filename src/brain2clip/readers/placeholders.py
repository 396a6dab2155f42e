"""Files in place of data: none, a link or pointer without its content, an empty file, a web page.

Standard library only: the Snakefile imports this.
"""

from __future__ import annotations

from pathlib import Path

from brain2clip.readers.fetched import check_here
from brain2clip.stage import InputError

#: How web pages begin, which servers send instead of a file.
PAGES = (b"<!doctype html", b"<html", b"<?xml")


def refuse(path: Path) -> None:
    """Refuse a file that is clearly not data, whatever its format.

    Raises
    ------
    brain2clip.stage.InputError
        When it is absent, a link or pointer whose content is elsewhere, empty, or a web page.
    """
    check_here(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(f"{path}: an empty file; get it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise InputError(f"{path}: a web page of {path.stat().st_size} bytes instead of data; get the file again")
