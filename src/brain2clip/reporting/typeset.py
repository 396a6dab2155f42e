"""A page of tables as Markdown that is readable in a terminal, and as LaTeX with booktabs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "²": r"$^{2}$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$\dagger$",
}
#: Characters that Markdown would read as markup: emphasis, code, links, HTML, cells. Brackets of intervals are kept.
_MARKUP = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\[(?=[^\]]*\][(\[])")

#: Bars between cells, which have no backslash before them, and what a backslash stands before.
_CELLS, _ESCAPED = re.compile(r"(?<!\\)\|"), re.compile(r"\\(.)")


@dataclass(frozen=True)
class Sheet:
    """One block of a table, as text.

    Attributes
    ----------
    title : str
        What the block is about: study, protocol, signal.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences of str
        Body; an empty sequence is a rule between rows.
    caption : str
        Description of the content and how it was obtained.
    notes : sequence of str
        Lines below the block.
    left : int
        Columns that are left-aligned, from the first on; the others are right-aligned.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    notes: Sequence[str] = field(default_factory=tuple)
    left: int = 1


def markdown(name: str, sheets: Sequence[Sheet]) -> str:
    """A page with one section per sheet; columns are padded so that the source itself is a table."""
    parts = [f"# {name}"]
    for sheet in sheets:
        parts += [f"## {plain(sheet.title)}", textwrap.fill(plain(sheet.caption), 110), _markdown_table(sheet)]
        if sheet.notes:
            parts.append("\n".join(f"- {plain(note)}" for note in sheet.notes))
    return "\n\n".join(parts) + "\n"


def read_markdown(page: str) -> list[dict[str, Any]]:
    """Sheets of a page of :func:`markdown`.

    Each has ``title``, ``caption``, ``rows``, of which the first is the header, and ``left``, how many columns are
    left-aligned.
    """
    sheets: list[dict[str, Any]] = []
    for part in page.split("\n\n"):
        lines = part.splitlines()
        if part.startswith("## "):
            sheets.append({"title": _read(part[3:]), "caption": "", "rows": [], "left": 1})
        elif sheets and part.startswith("| "):
            rows = [[_read(cell) for cell in _CELLS.split(line[1:-1])] for line in lines]
            sheets[-1]["rows"] = [rows[0], *rows[2:]]
            sheets[-1]["left"] = sum(not rule.endswith(":") for rule in rows[1])
        elif sheets and not sheets[-1]["rows"]:
            sheets[-1]["caption"] = _read(" ".join(lines))
    return sheets


def _read(text: str) -> str:
    """Text without the backslashes of :func:`plain`."""
    return _ESCAPED.sub(r"\1", text).strip()


def latex(name: str, sheets: Sequence[Sheet]) -> str:
    r"""One ``table`` environment per sheet, to be read by ``\input``; needs the package booktabs."""
    parts = ["% Needs \\usepackage{booktabs}"]
    parts += [_latex_table(f"tab:{name}-{number}", sheet) for number, sheet in enumerate(sheets, 1)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text on one line, escaped for LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def plain(text: str) -> str:
    """Text on one line, escaped for Markdown."""
    return _MARKUP.sub(r"\\\g<0>", _one_line(text))


def _markdown_table(sheet: Sheet) -> str:
    body = [[plain(cell) for cell in row] for row in (sheet.header, *filter(None, sheet.rows))]
    widths = [max(3, *(len(row[column]) for row in body)) for column in range(len(sheet.header))]
    lines = [_markdown_line(row, widths, sheet.left) for row in body]
    rule = ["-" * width if number < sheet.left else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    return "\n".join([lines[0], _markdown_line(rule, widths, sheet.left), *lines[1:]])


def _markdown_line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(width) if number < left else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def _latex_table(label: str, sheet: Sheet) -> str:
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(sheet.title)}. {escape(sheet.caption)}}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{{'l' * sheet.left}{'r' * (len(sheet.header) - sheet.left)}}}",
        "\\toprule",
        _latex_row(sheet.header),
        "\\midrule",
        *(_latex_row(row) if row else "\\midrule" for row in sheet.rows),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"\\par\\smallskip{{\\footnotesize {escape(note)}}}" for note in sheet.notes),
        "\\end{table}",
    ]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    # An opening bracket after a line break would be read as that command's argument.
    return " & ".join("{" + escape(cell) + "}" if cell.startswith("[") else escape(cell) for cell in cells) + " \\\\"


def _one_line(text: str) -> str:
    return " ".join(text.split())
