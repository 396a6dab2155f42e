"""How the results page looks: template, style and script, which lie beside this module. Light to import."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
#: Template, style and script of the page.
FILES = ("page.html.j2", "page.css", "page.js")


@cache
def digest() -> str:
    """SHA-256 of all of them; the fingerprint is of Python alone."""
    return hashlib.sha256(b"\0".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()


def text(name: str) -> str:
    """One of them."""
    return (FOLDER / name).read_text(encoding="utf-8")
