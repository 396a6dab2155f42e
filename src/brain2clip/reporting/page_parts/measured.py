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
from brain2clip.reporting.wording import EMPTY, TASKS, Numbers, averaged, interval_kind

BLOCK = ["study", "signal", "protocol"]
#: The task that is shown first if a block has it, so that all blocks show the same task.
FIRST_TASK = "stimulus"
#: How intervals were made, in words.
INTERVALS = {"t": "t over subjects", "bootstrap": "bootstrap", "exact": "exact binomial", "": ""}
#: Smallest number of subjects for which p is shown: with fewer subjects it cannot be below 0.05.
FEWEST_FOR_P = 6


@dataclass
class Line:
    """A method in a block.

    Attributes
    ----------
    method, label : str
    value, low, high : float
        Mean over subjects with the interval that decides, as in the table.
    mean, interval, by : str
        The same as text, and how the interval was made.
    n_subjects, n_seeds : int
    ceiling, control : bool
    subjects : list of (str, str)
        Subject and its mean over seeds.
    drawn : Markup
    cost : str
        Seconds of training, epochs, device; empty where it is not known.
    models : str
        Number of models that are averaged, and their total cost.
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
    by: str
    n_subjects: int
    n_seeds: int
    ceiling: bool
    control: bool
    subjects: list[tuple[str, str]]
    drawn: Markup
    cost: str = ""
    models: str = ""
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
        Best first, controls behind, ceilings last.
    chance : float
    ruler : Markup
    n_queries, n_stimuli : str
    others : list of (str, list of str, str, str)
        Of every other task: its name, the labels of the methods that are best there, their value, and that of the
        block's best method.
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
    others: list[tuple[str, list[str], str, str]] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """Study, signal, protocol."""
        return self.study, self.signal, self.protocol

    @property
    def ranked(self) -> list[Line]:
        """Methods that are neither control nor ceiling, best first; of ranks the lowest is best."""
        known = [line for line in self.lines if not line.ceiling and not line.control and not math.isnan(line.value)]
        return sorted(known, key=lambda line: -line.value if _shares(self.metric) else line.value)

    @property
    def controls(self) -> list[Line]:
        """Control methods, with their results."""
        return [line for line in self.lines if line.control and not math.isnan(line.value)]

    @property
    def ceiling(self) -> Line | None:
        """The first upper bound."""
        return next((line for line in self.lines if line.ceiling), None)


def blocks(tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any], spent: pd.DataFrame) -> list[Block]:
    """A block for each study, signal and protocol, from a table of the first task if there is one.

    Among several such tables, those with all repetitions and candidates, Top-1 and kind ``methods`` are preferred.

    Parameters
    ----------
    tables : mapping
        Parquet files of the tables by name, in the order of the configuration.
    given : mapping
        Settings of the stage.
    spent : DataFrame
        :func:`brain2clip.reporting.costs.read`.
    """
    found: dict[tuple[str, ...], Block] = {}
    for name in sorted(tables, key=lambda one: _place(given["tables"][one])):  # stable: else as in the configuration
        metric = given["tables"][name]["metric"]
        frame = tables[name]
        own = frame[frame["metric"] == metric]
        for key, part in own[own["level"] == "mean"].groupby(BLOCK, sort=False, dropna=True):
            if key not in found:
                inside = own[(own[BLOCK] == list(key)).all(axis=1)]
                found[key] = _block(name, metric, part, inside, given, spent)
    for block in found.values():
        block.others = _others(block, tables, given)
    return list(found.values())


def _place(table: Mapping[str, Any]) -> tuple[bool, ...]:
    """Sort key of tables for a block: False sorts first."""
    name = MetricName.read(table["metric"])
    whole = name.repetitions == "all" and name.pool is None
    return name.task != FIRST_TASK, not whole, table["kind"] != "methods", name.base != "top-1"


def _others(
    block: Block, tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any]
) -> list[tuple[str, list[str], str, str]]:
    """Which methods are best in the other tasks of the tables, by the same metric."""
    own, known = MetricName.read(block.metric), {line.method: line for line in block.ranked}
    found: dict[str, dict[str, float]] = {}
    metrics: dict[str, str] = {}
    for frame in tables.values():
        means = frame[(frame["level"] == "mean") & (frame[BLOCK] == list(block.key)).all(axis=1)]
        for metric, part in means[means["metric"].notna()].groupby("metric", sort=False):
            name = MetricName.read(metric)
            if name.task == own.task or name != own._replace(task=name.task):
                continue
            metrics[name.task] = metric
            pairs = zip(part["method"], part["value"], strict=True)
            found.setdefault(name.task, {}).update({one: float(v) for one, v in pairs if not math.isnan(v)})
    lines = []
    for task, values in found.items():
        ranked = {method: value for method, value in values.items() if not _apart(method, given)}
        if not ranked or not known:
            continue
        best = (max if _shares(metrics[task]) else min)(ranked.values())
        shown, first = Numbers(metrics[task]), block.ranked[0].method
        names = [given["methods"].get(one, one) for one, value in ranked.items() if value == best]
        lines.append((task, names, shown.number(best), shown.number(ranked.get(first, math.nan))))
    return lines


def _apart(method: str, given: Mapping[str, Any]) -> bool:
    """Whether a method is a control or a ceiling, which is never called best."""
    return method in given["ceilings"] or is_control(method, given)


def is_control(method: str, given: Mapping[str, Any]) -> bool:
    """Whether a method is a control: it was trained with permuted pictures."""
    return bool(given["chosen"].get(method, {}).get("shuffle_labels", False))


def task_words(metric: str, count: int | None = None) -> str:
    """The task of a metric with its candidates, in words."""
    name = MetricName.read(metric)
    if name.pool is not None:
        return TASKS[name.task].format(f"{name.pool} drawn at random") + averaged(name)
    words = TASKS[name.task].format(count or "all")
    return words + averaged(name)


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
                INTERVALS[interval_kind(one)],
                _count(one["n_subjects"]),
                _count(one["n_seeds"]),
                one["method"] in given["ceilings"],
                is_control(one["method"], given),
                [(subject, shown.number(value)) for subject, value in zip(own["subject"], own["value"], strict=True)],
                drawn,
                *_cost(spent, [first[name] for name in BLOCK], one["method"]),
            )
        )
    best = -1 if _shares(metric) else 1
    lines.sort(key=lambda one: (one.ceiling, one.control, math.isnan(one.value), best * one.value))
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


def _cost(spent: pd.DataFrame, key: Sequence[str], method: str) -> tuple[str, str, float]:
    """What training of one model took, in words, of how many, and its seconds: means over models, as in a table."""
    own = spent[(spent[[*BLOCK, "method"]] == [*key, method]).all(axis=1)] if len(spent) else spent
    if own.empty or own["seconds"].isna().all():
        return "", "", math.nan
    mean = float(own["seconds"].mean())
    epochs = own["epochs"].dropna().astype(int)
    more = (
        [f"{epochs.min()} to {epochs.max()} epochs" if epochs.nunique() > 1 else f"{epochs.iloc[0]} epochs"]
        if len(epochs)
        else []
    )
    timed = own["seconds"].notna().sum()
    models = f"mean of {timed} models, {_seconds(float(own['seconds'].sum()))} s in all" if timed > 1 else "one model"
    return ", ".join([f"{_seconds(mean)} s", *more, costs.devices(own["device"])]), models, mean


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
    value, interval, by, p : str
        As they are read, how the interval was made, and p where it can say something.
    excludes_zero : bool
        Whether the interval that decides does not include zero.
    drawn : Markup
    n_subjects : int
    number : float
    """

    words: str
    method: str
    reference: str
    value: str
    interval: str
    by: str
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
    task: str
    shown: Numbers
    lines: list[Contrast]
    ruler: Markup


def contrasts(
    tables: Mapping[str, pd.DataFrame], given: Mapping[str, Any], counts: Mapping[tuple[str, ...], int]
) -> list[Contrasts]:
    """Differences of all tables that have some; ``counts`` has the candidates by study, signal, protocol and task."""
    found = []
    for name, frame in tables.items():
        differences = frame[frame["level"] == "difference"]
        for (*key, metric), part in differences.groupby([*BLOCK, "metric"], sort=False):
            task = task_words(metric, counts.get((*key, MetricName.read(metric).task)))
            found.append(_contrasts(name, (key[0], key[1], key[2]), metric, task, part, given))
    return found


def _contrasts(
    table: str, key: tuple[str, str, str], metric: str, task: str, part: pd.DataFrame, given: Mapping[str, Any]
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
        p = one["p_sign_flip"] if _count(one["n_subjects"]) >= FEWEST_FOR_P else math.nan
        known = not (math.isnan(low) or math.isnan(high))
        lines.append(
            Contrast(
                words,
                one["method"],
                one["reference"],
                value,
                interval,
                INTERVALS[interval_kind(one)],
                EMPTY if pd.isna(p) else f"{p:.3f}",
                known and (low > 0 or high < 0),
                drawn,
                _count(one["n_subjects"]),
                float(one["value"]),
            )
        )
    return Contrasts(table, key, metric, task, shown, lines, drawing.ruler(axis))


# ------------------------------------------------------------------------------------------------- answers


def answer(block: Block, compared: Sequence[Contrasts]) -> list[str]:
    """Which method is best, by how much and how certain that is, in sentences."""
    ranked = block.ranked
    if not ranked:
        return ["No method has results here."]
    best, unit, shown = ranked[0], block.shown.unit, block.shown
    together = [line.label for line in ranked if line.value == best.value]
    seeds = f"{best.n_seeds} training seed{'' if best.n_seeds == 1 else 's'}"
    said = [
        f"{best.label} has the best mean{f' (the same: {_listed(together[1:])})' if together[1:] else ''}: {best.mean}"
        f"{unit} {best.interval}{f' ({best.by})' if best.by else ''} over {_subjects(best.n_subjects)}, {seeds}."
    ]
    if len(ranked) > 1:
        second = ranked[1]
        said.append(
            f"The next is {second.label}: {second.mean}{unit} {second.interval}"
            f"{f' ({second.by})' if second.by else ''}."
        )
        said += _compared(block, compared)
    said.append(f"Chance is {shown.number(block.chance)}{unit}.")
    if block.ceiling is not None:
        said.append(f"The ceiling is {block.ceiling.mean}{unit}: {block.ceiling.label}, which knows the simulation.")
    said += _elsewhere(block)
    certain = "the order of close methods is not certain"
    if best.n_subjects < 5:
        said.append(f"With {_subjects(best.n_subjects)} {certain}.")
    return said


def _compared(block: Block, compared: Sequence[Contrasts]) -> list[str]:
    """How the two best methods differ on the same queries, and where no table says so, what is known instead."""
    (best, second), unit = block.ranked[:2], block.shown.unit
    here = [group for group in compared if group.key == block.key]
    both = {best.method, second.method}
    pairs = [(group, one) for group in here for one in group.lines if {one.method, one.reference} == both]
    if said := [_certain(one, unit, group.table) for group, one in pairs if group.metric == block.metric]:
        return said
    close = best.low <= second.high if _shares(block.metric) else best.high >= second.low
    apart = f"their intervals {'overlap, so which is better is open' if close else 'do not overlap'}"
    if pairs:
        group, one = pairs[0]
        points = " points" if group.shown.unit else ""
        said = [
            f"These two are compared on the same queries only for another task, {group.task}: {one.words} is "
            f"{one.value}{points} {one.interval} (table {group.table}). For this task {apart}."
        ]
    else:
        said = [f"No table compares these two on the same queries (kind contrast); {apart}."]
    others = ((group, one) for group in here if group.metric == block.metric for one in group.lines)
    said += [_certain(one, unit, group.table) for group, one in others if one.method == best.method][:1]
    return said


def _elsewhere(block: Block) -> list[str]:
    """On which other tasks another method is best."""
    best, unit = block.ranked[0], block.shown.unit
    if not block.others:
        return []
    other = [one for one in block.others if best.label not in one[1]]
    if not other:
        return [f"It is the best on the other tasks of the tables too ({', '.join(one[0] for one in block.others)})."]
    told = (f"{task}: {_listed(names)} {value}{unit} (this one: {own}{unit})" for task, names, value, own in other)
    return [f"On other tasks another method is best: {'; '.join(told)}."]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def _certain(one: Contrast, unit: str, table: str) -> str:
    verdict = (
        "the interval does not include zero"
        if one.excludes_zero
        else "the interval includes zero, so no difference is shown"
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


def curves(tables: Mapping[str, pd.DataFrame], repetitions: Mapping[tuple[str, ...], str]) -> list[Curve]:
    """One for each block of the tables in which means of one metric stand for several numbers of repetitions.

    ``repetitions`` has how many all of them are, by study, signal and protocol, where it is known.
    """
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
                whole = repetitions.get((key[0], key[1], key[2]), "")
                found.append(_curve(name, (key[0], key[1], key[2]), base, places, part, whole))
    return found


def _curve(
    table: str, key: tuple[str, str, str], metric: str, places: Sequence[str], part: pd.DataFrame, whole: str
) -> Curve:
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
    names_of_places = [f"all ({whole})" if one == "all" and whole else one for one in places]
    drawn = drawing.curve(names_of_places, series, chance, "averaged test repetitions", shown.short, words)
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
