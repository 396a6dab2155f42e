"""A page for each method of the field, and one that lists them: ``docs/methods``, written by :mod:`.reference`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from brain2clip.documents import recorded
from brain2clip.reporting import published
from brain2clip.settings import field

FOLDER = Path("docs/methods")
PUBLISHED = Path(__file__).resolve().parents[3] / "workflow/published"

_HEAD = "<!-- Generated from workflow/methods and workflow/published by `make docs`; a test fails when they differ. -->"
_INDEX = f"""\
# Methods of the field

{_HEAD}

Each method is a block of settings that do what the authors' own code does, as far as that is known ("as coded"). None
of their code is in this repository. A configuration takes a method by its name. It may name another tower and override
any setting:

```yaml
methods:
  ubp: {{base: field/ubp}}
  ubp-longer: {{base: ubp, label: "UBP, 200 epochs", optimiser: {{epochs: 200}}}}
```

If a configuration has no tower of the name that the method gives, the method brings it along. Each page says how the
original chose its epoch. In [configs/field.yaml](../../configs/field.yaml) the epoch of all methods is chosen by one
rule, and no test item is used. What they reach on a simulated study is in [field.md](../field.md).

One difference holds for all of them: the batches of an epoch have equal sizes (give or take one), unless a method sets
`batches`. In the originals the last batch is smaller.
"""


def pages() -> dict[Path, str]:
    """Path of each page, relative to the root, and its text."""
    table = published.read(sorted(PUBLISHED.glob("*.csv")))
    made = {FOLDER / f"{name}.md": page(name, table) for name in field.names()}
    return {FOLDER / "README.md": index(), **made}


def index() -> str:
    """The list of all methods."""
    lines = [_INDEX, "| name | method | of | as published | original selected |", "|---|---|---|---|---|"]
    for name in field.names():
        one = field.read(name)
        kind = "EEG" if one.modality == "eeg" else "fMRI"
        lines.append(
            f"| [`{name}`]({name}.md) | {one.label} | {kind} | {_cell(one.numbers)} | {_cell(one.selection)} |"
        )
    return "\n".join(lines) + "\n"


def page(name: str, table: pd.DataFrame) -> str:
    """The page of a method.

    Parameters
    ----------
    name : str
    table : DataFrame
        All published rows (:func:`brain2clip.reporting.published.read`).
    """
    one = field.read(name)
    lines = [f"# {one.label}", "", _HEAD, ""]
    lines += [f"- Source: {one.source}", f"- Licence of the original: {one.licence}", f"- Data: {one.data}"]
    lines += [f"- Selection in the original: {one.selection}", f"- Published numbers: {one.numbers}"]
    lines += ["", "## What differs from the original code", ""]
    lines += [
        f"- {text}" for text in [*one.differences, "What the [list of methods](README.md) says about all of them."]
    ]
    lines += _counted(one)
    lines += _published(one, table)
    lines += _recorded(one)
    lines += ["", "## Settings", "", f"`base: field/{name}` starts from:", "", "```yaml"]
    block = {"label": one.label, **one.method}
    lines += [yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=100).rstrip(), "```"]
    if one.towers:
        towers = {tower: block.model_dump(mode="json", exclude_unset=True) for tower, block in one.towers.items()}
        lines += ["", "Tower, where a configuration has none of its name:", "", "```yaml"]
        lines += [yaml.safe_dump(towers, sort_keys=False, width=100).rstrip(), "```"]
    if one.ready:
        listed = ", ".join(f"`{vector}` ({width} numbers)" for vector, width in one.ready.items())
        lines += ["", f"Vectors that the study must name in `ready_vectors`: {listed}."]
    return "\n".join(lines) + "\n"


def _counted(one: field.FieldMethod) -> list[str]:
    """Numbers of parameters as a table."""
    if not one.counts:
        return []
    parts = list(dict.fromkeys(part for count in one.counts for part in count.parts))
    lines = ["", "## Trained parameters", "", f"| responses | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for count in one.counts:
        shape = f"{count.channels} × {count.times}" if count.sfreq else f"{count.channels} voxels"
        cells = [f"{count.parts[part]:,}" if part in count.parts else "" for part in parts]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    return lines


def _published(one: field.FieldMethod, table: pd.DataFrame) -> list[str]:
    """Published means over subjects."""
    rows = table[table["method"].isin(one.published) & table["subject"].isna()]
    if rows.empty:
        return []
    lines = [
        "",
        "## As published",
        "",
        "| study | row | protocol | scoring | metric | value | source | note |",
        "|---" * 8 + "|",
    ]
    for row in rows.to_dict("records"):
        note = "" if pd.isna(row["note"]) else row["note"]
        cells = [
            *(row[name] for name in ("study", "method", "protocol", "scoring", "metric")),
            f"{100 * row['value']:.2f} %",
        ]
        lines.append(f"| {' | '.join(map(_cell, [*cells, row['source'], note]))} |")
    return lines


def _recorded(one: field.FieldMethod) -> list[str]:
    """Its results in the recorded run of ``docs/field.md``, if it was part of that run."""
    lines = ["", "## How it did here", ""]
    table = []
    for protocol, words in (("intra", "within subjects"), ("inter", "across subjects")):
        accuracy = _by_first(f"Accuracy, {protocol}, broad").get(one.label)
        if accuracy is None:
            continue
        differences = _by_first(f"Against the converged frozen baseline, {protocol}, broad")
        against = differences.get(f"{one.label} − Frozen CLIP", {})
        difference = [against.get(name, "") for name in ("difference", "t 95 % CI (decides)")]
        table.append([words, accuracy["mean"], accuracy["95 % CI"], *difference])
    if not table:
        return [*lines, "It was not part of the [recorded run](../field.md) of methods for EEG."]
    heads = ["protocol", ">Top-1 of 200 (%)", "95 % CI", ">minus Frozen CLIP", "95 % CI"]
    told = "On a simulated study ([how it was made](../field.md)). Do not compare these numbers with published ones:"
    return [*lines, told, "", recorded.markdown([heads, *table]).rstrip()]


def _by_first(name: str) -> dict[str, dict[str, str]]:
    """Rows of a table of ``docs/data/field.csv`` by their first cell."""
    heads, *body = recorded.rows(recorded.ROOT / recorded.DATA / "field.csv", name)
    names = [head.removeprefix(">") for head in heads]
    return {row[0]: dict(zip(names, row, strict=True)) for row in body}


def _cell(text: str) -> str:
    """Text of a cell."""
    return text.replace("|", "\\|")
