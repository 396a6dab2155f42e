"""Results of the tables for the page: methods of a block with their subjects, contrasts, curves, published rows.

No number is computed here: all come from the Parquet files of the tables, except means of costs over models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from brain2clip.names import MetricName
from brain2clip.reporting import costs, published
from brain2clip.reporting.page_parts import drawing
from brain2clip.reporting.wording import EMPTY, Numbers

BLOCK = ["study", "signal", "protocol"]


@dataclass
class Line:
    """A method in a block.

    Attributes
    ----------
    method, label : str
    value, low, high : float
        Mean over subjects with the interval that decides, as in the table.
    mean, interval : str
        The same as they are read.
    n_subjects, n_seeds : int
    ceiling : bool
    subjects : list of (str, str)
        Subject and its mean over seeds.
    drawn : Markup
    cost : str
        Seconds of training, epochs, device; empty where it is not known.
    seconds : float
        Mean over models, NaN where it is not known.
    """

    method: str
    label: str
    value: float
    low: float
    high: float
    mean: str
    interval: str
    n_subjects: int
    n_seeds: int
    ceiling: bool
    subjects: list[tuple[str, str]]
    drawn: Markup
    cost: str = ""
    seconds: float = math.nan


@dataclass
class Block:
    """Methods on the same data.

    Attributes
    ----------
    study, signal, protocol : str
    table : str
        The table whose numbers these are.
    metric : str
    shown : Numbers
    concepts : str
    lines : list of Line
        In the order of the configuration, ceilings last.
    chance : float
    ruler : Markup
    n_queries, n_stimuli : str
    """

    study: str
    signal: str
    protocol: str
    table: str
    metric: str
    shown: Numbers
    concepts: str
    lines: list[Line]
    chance: float
    ruler: Markup
    n_queries: int
    n_stimuli: int
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """Study, signal, protocol."""
        return self.study, self.signal, self.protocol

    @property
    def ranked(self) -> list[Line]:
        """Methods that are no ceiling, best first; of ranks the lowest is best."""
        known = [line for line in self.lines if not line.ceiling and not math.isnan(line.value)]
        return sorted(known, key=lambda line: -line.value if _shares(self.metric) else line.value)

    @property
    def ceiling(self) -> Line | None:
        """The first upper bound."""
        return next((line for line in self.lines if line.ceiling), None)


def blocks(tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any], spent: pd.DataFrame) -> list[Block]:
    """A block for each study, signal and protocol: from the first table of methods that has it, or from any table.

    Parameters
    ----------
    tables : mapping
        Parquet files of the tables by name, in the order of the configuration.
    given : mapping
        Settings of the stage.
    spent : DataFrame
        :func:`brain2clip.reporting.costs.read`.
    """
    kinds = {name: table["kind"] for name, table in given["tables"].items()}
    found: dict[tuple[str, ...], Block] = {}
    for name in sorted(tables, key=lambda one: kinds[one] != "methods"):  # stable: else as in the configuration
        metric = given["tables"][name]["metric"]
        frame = tables[name]
        own = frame[frame["metric"] == metric]
        for key, part in own[own["level"] == "mean"].groupby(BLOCK, sort=False, dropna=True):
            if key not in found:
                inside = own[(own[BLOCK] == list(key)).all(axis=1)]
                found[key] = _block(name, metric, part, inside, given, spent)
    return list(found.values())


def _block(
    table: str, metric: str, means: pd.DataFrame, rows: pd.DataFrame, given: Mapping[str, Any], spent: pd.DataFrame
) -> Block:
    shown, times = Numbers(metric), 100 if _shares(metric) else 1
    first = means.iloc[0]
    chance = float(means["chance"].mean())
    ceilings = [float(one["value"]) for one in means.to_dict("records") if one["method"] in given["ceilings"]]
    subjects = rows[rows["level"] == "subject"]
    lows = [_interval(one)[0] for one in means.to_dict("records")]
    highs = [_interval(one)[1] for one in means.to_dict("records")]
    everything = [*means["value"], *subjects["value"], *lows, *highs, chance, *ceilings]
    axis = drawing.scale([times * float(value) for value in everything])
    marks = [("chance", times * chance), *(("ceiling", times * value) for value in ceilings[:1])]
    lines = []
    for one in means.to_dict("records"):
        own = subjects[subjects["method"] == one["method"]].sort_values("subject")
        low, high = _interval(one)
        words = (
            f"{one['label']}: mean {shown.number(one['value'])}{shown.unit}, interval {_worded(shown, one)}; subjects "
            f"{', '.join(map(shown.number, own['value']))}; chance {shown.number(chance)}"
        )
        drawn = drawing.line(
            axis,
            (times * float(one["value"]), times * low, times * high),
            words,
            [times * float(value) for value in own["value"]],
            marks,
        )
        lines.append(
            Line(
                one["method"],
                one["label"],
                float(one["value"]),
                low,
                high,
                shown.spread(one),
                _worded(shown, one),
                _count(one["n_subjects"]),
                _count(one["n_seeds"]),
                one["method"] in given["ceilings"],
                [(subject, shown.number(value)) for subject, value in zip(own["subject"], own["value"], strict=True)],
                drawn,
                *_cost(spent, [first[name] for name in BLOCK], one["method"]),
            )
        )
    return Block(
        str(first["study"]),
        str(first["signal"]),
        str(first["protocol"]),
        table,
        metric,
        shown,
        str(first["concepts"]),
        lines,
        chance,
        drawing.ruler(axis),
        _count(first["n_queries"]),
        _count(first["n_stimuli"]),
    )


def _cost(spent: pd.DataFrame, key: Sequence[str], method: str) -> tuple[str, float]:
    """Cost of training one model, in words, and its seconds: means over models, as in a table of costs."""
    own = spent[(spent[[*BLOCK, "method"]] == [*key, method]).all(axis=1)] if len(spent) else spent
    if own.empty or own["seconds"].isna().all():
        return "", math.nan
    mean = float(own["seconds"].mean())
    epochs = own["epochs"].dropna().astype(int)
    more = (
        [f"{epochs.min()} to {epochs.max()} epochs" if epochs.nunique() > 1 else f"{epochs.iloc[0]} epochs"]
        if len(epochs)
        else []
    )
    return ", ".join([f"{_seconds(mean)} s", *more, costs.devices(own["device"])]), mean


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _interval(record: Mapping[str, Any]) -> tuple[float, float]:
    """The interval that decides."""
    kind = record["decides"]
    if not isinstance(kind, str):
        return math.nan, math.nan
    return float(record[f"{kind}_low"]), float(record[f"{kind}_high"])


def _worded(shown: Numbers, record: Mapping[str, Any], signed: bool = False) -> str:
    """The interval that decides, as it is read; a table from outside may know none."""
    return shown.interval(dict(record), signed) if isinstance(record["decides"], str) else EMPTY


def _count(number: Any) -> int:
    """A count, such as that of subjects; 0 if a table from outside does not have it."""
    return 0 if pd.isna(number) else int(number)


def _shares(metric: str) -> bool:
    return Numbers(metric).unit != ""


# --------------------------------------------------------------------------------------------- differences


@dataclass
class Contrast:
    """A difference of a method to a reference.

    Attributes
    ----------
    words : str
        Method minus reference.
    method, reference : str
    value, interval, p : str
    excludes_zero : bool
        Whether the interval that decides excludes zero.
    drawn : Markup
    n_subjects : int
    number : float
    """

    words: str
    method: str
    reference: str
    value: str
    interval: str
    p: str
    excludes_zero: bool
    drawn: Markup
    n_subjects: int
    number: float


@dataclass
class Contrasts:
    """Differences of a table in one block."""

    table: str
    key: tuple[str, str, str]
    metric: str
    shown: Numbers
    lines: list[Contrast]
    ruler: Markup


def contrasts(tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any]) -> list[Contrasts]:
    """Differences of all tables that have some."""
    found = []
    for name, frame in tables.items():
        differences = frame[frame["level"] == "difference"]
        for (*key, metric), part in differences.groupby([*BLOCK, "metric"], sort=False):
            found.append(_contrasts(name, (key[0], key[1], key[2]), metric, part, given))
    return found


def _contrasts(
    table: str, key: tuple[str, str, str], metric: str, part: pd.DataFrame, given: Mapping[str, Any]
) -> Contrasts:
    shown, times = Numbers(metric), 100 if _shares(metric) else 1
    records = part.to_dict("records")
    axis = drawing.scale([times * value for one in records for value in (one["value"], *_interval(one))])
    lines = []
    for one in records:
        low, high = _interval(one)
        words = f"{one['label']} − {given['methods'].get(one['reference'], one['reference'])}"
        value, interval = shown.signed(one["value"]), _worded(shown, one, signed=True)
        drawn = drawing.line(
            axis,
            (times * float(one["value"]), times * low, times * high),
            f"{words}: {value}, interval {interval}",
            marks=[("zero", 0.0)],
        )
        p = one["p_sign_flip"]
        known = not (math.isnan(low) or math.isnan(high))
        lines.append(
            Contrast(
                words,
                one["method"],
                one["reference"],
                value,
                interval,
                EMPTY if pd.isna(p) else f"{p:.3f}",
                known and (low > 0 or high < 0),
                drawn,
                _count(one["n_subjects"]),
                float(one["value"]),
            )
        )
    return Contrasts(table, key, metric, shown, lines, drawing.ruler(axis))


# ------------------------------------------------------------------------------------------------- answers


def answer(block: Block, compared: Sequence[Contrasts]) -> list[str]:
    """Which method is best, by how much and how certain that is, in sentences."""
    ranked = block.ranked
    if not ranked:
        return ["No method has results here."]
    best, unit, shown = ranked[0], block.shown.unit, block.shown
    said = [f"{best.label} has the best mean: {best.mean}{unit} {best.interval} over {_subjects(best.n_subjects)}."]
    if len(ranked) > 1:
        said.append(f"The next is {ranked[1].label}: {ranked[1].mean}{unit} {ranked[1].interval}.")
    told = False
    for group in compared:
        if group.key == block.key and group.metric == block.metric:
            for one in group.lines:
                if {one.method, one.reference} == {best.method, ranked[1].method if len(ranked) > 1 else ""}:
                    said.append(_certain(one, unit, group.table))
                    told = True
    if not told:
        of_best = [
            (one, group.table)
            for group in compared
            if (group.key, group.metric) == (block.key, block.metric)
            for one in group.lines
            if one.method == best.method
        ]
        said += [_certain(one, unit, table) for one, table in of_best[:1]]
    if len(ranked) > 1 and not told:
        close = best.low <= ranked[1].high if _shares(block.metric) else best.high >= ranked[1].low
        said.append(
            "No table compares these two on the same queries (kind contrast); their intervals "
            f"{'overlap, so which is better is open' if close else 'do not overlap'}."
        )
    said.append(f"Chance is {shown.number(block.chance)}{unit}.")
    if block.ceiling is not None:
        said.append(
            f"The upper bound by the truth of the simulation is {block.ceiling.mean}{unit}: {block.ceiling.label}."
        )
    if best.n_subjects < 5:
        said.append(f"With {_subjects(best.n_subjects)} no order of close methods is certain.")
    return said


def _certain(one: Contrast, unit: str, table: str) -> str:
    verdict = (
        "the interval excludes zero" if one.excludes_zero else "the interval contains zero, so no difference is shown"
    )
    points = " points" if unit else ""
    return f"On the same queries {one.words} is {one.value}{points} {one.interval} (table {table}): {verdict}."


def _subjects(count: int) -> str:
    return f"{count} subject{'' if count == 1 else 's'}"


# -------------------------------------------------------------------------------------------------- curves


@dataclass
class Curve:
    """Methods by the number of averaged repetitions."""

    table: str
    key: tuple[str, str, str]
    drawn: Markup
    names: list[tuple[Markup, str]]
    shown: Numbers


def curves(tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any]) -> list[Curve]:
    """One for each block of the tables in which means of one metric stand for several numbers of repetitions."""
    found = []
    for name, frame in tables.items():
        means = frame[(frame["level"] == "mean") & frame["metric"].notna()]
        parsed = [MetricName.read(metric) for metric in means["metric"]]
        means = means.assign(
            base=[str(one._replace(repetitions="all")) for one in parsed],
            repetitions=[one.repetitions for one in parsed],
        )
        for (*key, base), part in means.groupby([*BLOCK, "base"], sort=False):
            places = sorted(part["repetitions"].unique(), key=lambda one: math.inf if one == "all" else float(one))
            if len(places) > 1:
                found.append(_curve(name, (key[0], key[1], key[2]), base, places, part))
    return found


def _curve(table: str, key: tuple[str, str, str], metric: str, places: Sequence[str], part: pd.DataFrame) -> Curve:
    shown, times = Numbers(metric), 100 if _shares(metric) else 1
    series = []
    for _, own in part.groupby("method", sort=False):
        by_place = {one["repetitions"]: one for one in own.to_dict("records")}
        points = [
            tuple(times * float(number) for number in (by_place[place]["value"], *_interval(by_place[place])))
            if place in by_place
            else (math.nan, math.nan, math.nan)
            for place in places
        ]
        series.append(drawing.Series(own["label"].iloc[0], [(a, b, c) for a, b, c in points]))
    words = f"{shown.short} by averaged test repetitions for {len(series)} methods; the numbers are in the table below"
    chance = times * float(part["chance"].mean())
    drawn = drawing.curve(places, series, chance, "averaged test repetitions", shown.short, words)
    names = [(drawing.key(number, len(series)), one.label) for number, one in enumerate(series)]
    return Curve(table, key, drawn, names, shown)


# ----------------------------------------------------------------------------------------------- published


@dataclass
class Published:
    """A number that others published."""

    study: str
    protocol: str
    scoring: str
    method: str
    metric: str
    subject: str
    value: str
    selection: str
    source: str
    note: str


def published_rows(
    tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any], known: pd.DataFrame
) -> list[Published]:
    """Published rows of the tables, each once, with the selection rule of their source."""
    found: dict[tuple[Any, ...], Published] = {}
    for study, protocol, metric in _beside(tables):
        kinds = given.get("studies", {}).get(study), given.get("protocols", {}).get(protocol)
        for row in published.for_block(known, study, kinds[0], protocol, metric, kinds[1]).to_dict("records"):
            plain = {name: "" if pd.isna(value) else value for name, value in row.items()}
            texts = [str(plain[name]) for name in ("selection", "source", "note")]
            subject = str(plain["subject"])
            value = Numbers(metric).number(row["value"]) + Numbers(metric).unit
            one = Published(study, protocol, row["scoring"], row["method"], metric, subject, value, *texts)
            found[(study, protocol, metric, row["method"], subject, row["value"], *texts)] = one
    return list(found.values())


def _beside(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str, str]]:
    rows = [frame[frame["level"] == "published"][["study", "protocol", "metric"]] for frame in tables.values()]
    if rows:
        yield from pd.concat(rows).drop_duplicates().itertuples(index=False, name=None)
