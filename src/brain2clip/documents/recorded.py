"""Tables of recorded runs in hand-written pages, made from CSV files of ``docs/data`` and JSON files of ``bench``.

A pair of comments marks the place of a table in a page, and :mod:`.reference` writes the table between them::

    <!-- table: field.csv, Accuracy within subjects -->
    <!-- end of table -->

A file of ``docs/data`` has one table, or several with their names in its first column, ``table``. Cells are shown as
they are. A column that begins with ``>`` is aligned to the right. A JSON file is one that ``bench/gpu.py`` wrote. The
file ``published/STUDY.csv`` is in ``workflow``, and the name is a kind of protocol.
"""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCS = Path("docs")
DATA = Path("docs/data")
BENCH = Path("bench")
WORKFLOW = Path("workflow")

_PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<file>[^\s,]+\.(?:csv|json))(?:, (?P<name>[^\n]+?))? -->\n).*?"
    r"(?P<end><!-- end of table -->)",
    re.S,
)


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Path of each page with such tables, relative to the root, and its text."""
    made = {}
    for path in sorted((root / DOCS).glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _PLACE.search(text):
            made[path.relative_to(root)] = filled(text, root)
    return made


def filled(text: str, root: Path) -> str:
    """A page with its tables in place of the text between the comments."""

    def table(found: re.Match[str]) -> str:
        file, name = Path(found["file"]), found["name"] or ""
        if file.parent == Path("published"):
            made = published(root / WORKFLOW / file, name)
        else:
            made = rows(root / DATA / file, name) if file.suffix == ".csv" else measured(root / BENCH / file, name)
        return found["begin"] + "\n" + markdown(made) + "\n" + found["end"]

    return _PLACE.sub(table, text)


@cache
def _read(path: Path) -> dict[str, list[list[str]]]:
    """The tables of a file by name; the name of a single one is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0][0] != "table":
        return {"": lines}
    found: dict[str, list[list[str]]] = {}
    for name, *cells in lines[1:]:
        found.setdefault(name, []).append(cells)
    return found


def rows(path: Path, name: str = "") -> list[list[str]]:
    """A table of a file, header first.

    Parameters
    ----------
    path : Path
    name : str
        Name of the table, in a file with several.

    Raises
    ------
    LookupError
        The file holds no table of that name.
    """
    found = _read(path)
    if name not in found:
        raise LookupError(f"{path}: holds no table {name!r}, but {', '.join(map(repr, found))}")
    return found[name]


def published(path: Path, protocol: str) -> list[list[str]]:
    """Published numbers of a study under a protocol, header first: a row for each method and source, in percent.

    Parameters
    ----------
    path : Path
        File of ``workflow/published``.
    protocol : str
        ``intra-subject``, for example.

    Raises
    ------
    LookupError
        The file has no row of that protocol.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    own = [line for line in lines if line["protocol"] == protocol]
    if not own:
        known = sorted({line["protocol"] for line in lines})
        raise LookupError(f"{path}: has no row of the protocol {protocol!r}, but of {', '.join(map(repr, known))}")
    metrics = list(dict.fromkeys(line["metric"] for line in own))
    subjects = sorted({line["subject"] for line in own if line["subject"]})
    found: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for line in own:
        key = (line["method"], line["scoring"], line["selection"], line["source"])
        found.setdefault(key, {})[line["subject"], line["metric"]] = f"{100 * float(line['value']):.1f}"

    by_subject = [metric for metric in metrics if any(line["subject"] and line["metric"] == metric for line in own)]

    def of(numbers: dict[tuple[str, str], str], subject: str) -> str:
        return " / ".join(filter(None, (numbers.get((subject, metric)) for metric in by_subject)))

    heads = [
        *("method", "scoring", *(f">{metric}" for metric in metrics)),
        *(f">{subject}" for subject in subjects),
        *("selection", "source"),
    ]
    body = [
        [
            *(method, scoring, *(numbers.get(("", metric), "") for metric in metrics)),
            *(of(numbers, subject) for subject in subjects),
            *(selection, source),
        ]
        for (method, scoring, selection, source), numbers in found.items()
    ]
    return [heads, *body]


def measured(path: Path, name: str) -> list[list[str]]:
    """A table of measurements by ``bench/gpu.py``, header first: ``step`` or ``epochs``.

    Raises
    ------
    LookupError
        There is no such part.
    """
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"]

    def number(value: Any, digits: int) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    match name:
        case "step":
            heads = [
                "batch",
                "precision",
                ">step (s)",
                ">against bare",
                ">with copies (s)",
                ">share of the card's rate",
            ]
            return [
                [*heads, ">peak (GB)"],
                *(
                    [
                        str(row["batch"]),
                        row["precision"].replace("tf32", "TF32"),
                        number(row["step_s"], 4),
                        number(row["against_bare"], 2),
                        number(row.get("with_copies_s"), 4),
                        f"{number(100 * row['share_of_peak'], 0)} %",
                        number(row["peak_gb"]["allocated"], 1),
                    ]
                    for row in parts[name]["rows"]
                ),
            ]
        case "epochs":
            return [
                ["method and protocol", ">s", ">pictures/s", ">peak (GB)"],
                *(
                    [
                        row["label"],
                        number(row["seconds"], 2),
                        number(row["pictures_per_s"], 0),
                        number(row["peak_gb"]["allocated"], 1),
                    ]
                    for row in parts[name]["rows"]
                ),
            ]
        case _:
            raise LookupError(f"{path}: no table is made of the part {name!r}")


def markdown(table: list[list[str]]) -> str:
    """A table, header first, in Markdown."""
    head, *body = table
    right = [name.startswith(">") for name in head]
    heads = [name.removeprefix(">") for name in head]
    lines = [heads, ["---:" if one else "---" for one in right], *body]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
