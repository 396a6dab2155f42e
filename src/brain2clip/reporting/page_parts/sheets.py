"""Tables as they are read: the sheets of the Markdown files of the stage ``tables``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from brain2clip.reporting import typeset

_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Sheet:
    """One block of a table.

    Attributes
    ----------
    title, caption : str
    header : list of str
    rows : list of lists of str
    notes : list of str
    """

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def read(path: Path) -> list[Sheet]:
    """All sheets of a page that :func:`brain2clip.reporting.typeset.markdown` wrote."""
    found = []
    for part in path.read_text(encoding="utf-8").split("\n\n## ")[1:]:
        for one in typeset.read_markdown(f"## {part}"):
            header, *rows = one["rows"] or [[]]
            # Captions are broken behind hyphens, too.
            caption = re.sub(r"(?<=\w)- (?=\w)", "-", one["caption"])
            notes = [_ESCAPED.sub(r"\1", line[2:]) for line in part.splitlines() if line.startswith("- ")]
            found.append(Sheet(one["title"], caption, header, rows, notes))
    return found
