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
        What stands once for several rows in a written table stands in each of them, so that they can be sorted and
        filtered.
    notes : list of str
    left : int
        Columns of words, from the first on; the others are numbers.
    """

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]
    left: int = 1


def read(path: Path) -> list[Sheet]:
    """All sheets of a page that :func:`brain2clip.reporting.typeset.markdown` wrote."""
    found = []
    for part in path.read_text(encoding="utf-8").split("\n\n## ")[1:]:
        for one in typeset.read_markdown(f"## {part}"):
            header, *rows = one["rows"] or [[]]
            # Captions are broken behind hyphens, too.
            caption = re.sub(r"(?<=\w)- (?=\w)", "-", one["caption"])
            notes = [_ESCAPED.sub(r"\1", line[2:]) for line in part.splitlines() if line.startswith("- ")]
            found.append(Sheet(one["title"], caption, header, filled(rows, one["left"]), notes, one["left"]))
    return found


def filled(rows: list[list[str]], left: int) -> list[list[str]]:
    """Rows in which words that stand once for a group of rows stand in every one.

    Only blanks at the beginning of a row are filled, and none in the last column of words.
    """
    found: list[list[str]] = []
    for row in rows:
        blank = next((place for place, cell in enumerate(row) if cell), 0)
        found.append([*found[-1][:blank], *row[blank:]] if found and 0 < blank < left else row)
    return found
