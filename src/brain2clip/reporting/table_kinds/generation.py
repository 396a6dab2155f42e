"""Generated pictures against the seen ones, beside the nearest training pictures, a perfect prediction, and chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import pandas as pd

from brain2clip import settings, stage
from brain2clip.reporting.judgements import OF_NETWORKS, OF_PIXELS, PIXELS, SOURCES, Column, chosen, rows_of
from brain2clip.reporting.table_base import COLUMNS, Part, Record, TableBase
from brain2clip.reporting.table_records import names_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import chance_of, interval_name, plural, resampling, span
from brain2clip.retrieval import metric_base, statistics

#: Judges that stand side by side in one sheet, pixels being one.
AT_ONCE = 3
#: Sources that what was generated is compared with.
AGAINST = ("nearest", "another")
MARK = "†"


class Table(TableBase[settings.GenerationTable]):
    """A line for each method, generator and source of pictures, a column for each judge and metric."""

    def build(self, parts: Sequence[Part]) -> tuple[list[Record], list[Sheet]]:
        """Records of all parts, and sheets of each: several where there are many judges."""
        records: list[Record] = []
        sheets: list[Sheet] = []
        for part in parts:
            judged = self._judged(part)
            names = [PIXELS, *(name for name in self.context.settings.get("judges", {}) if name != PIXELS)]
            for first in range(0, len(names), AT_ONCE):
                new, sheet = self._of_judges(part, judged, names[first : first + AT_ONCE])
                records += new
                sheets.append(sheet)
        return records, sheets

    def _judged(self, part: Part) -> pd.DataFrame:
        """Judgements of the runs and generators of this table."""
        experiments = [self.context.settings["experiments"][name] for name in self.settings.experiments]
        generators = {name for one in experiments for name in one.get("generators", ())}
        here = chosen(self.context.judged, study=part.study, signal=part.signal, protocol=part.protocol)
        here = here[here["generator"].isin(generators)]
        found = here.merge(part.summary[["method", "subject", "seed"]].drop_duplicates())
        if found.empty:
            raise stage.InputError(
                f"table of kind generation, {part.title}: no judged pictures; expected experiments with generators "
                "(experiments.*.generators)"
            )
        return found

    def _of_judges(self, part: Part, judged: pd.DataFrame, names: Sequence[str]) -> tuple[list[Record], Sheet]:
        columns = [(name, column) for name in names for column in (OF_PIXELS if name == PIXELS else OF_NETWORKS)]
        records: list[Record] = []
        body: list[list[str]] = []
        for method, generator in product(part.methods, sorted(judged["generator"].unique())):
            own = chosen(judged, method=method, generator=generator)
            if own.empty:
                continue
            lines = {(source, ""): [source] for source in SOURCES}
            lines |= {("generated", one): [f"generated − {one}"] for one in AGAINST}
            for name, column in columns:
                of_judge, numbers = chosen(own, judge=name), column.numbers
                note = f"generator {generator}" + ("; partial judge" if of_judge["partial"].any() else "")
                for found in self._records(part, method, of_judge, name, column):
                    records.append({**found, "note": note})
                    if found["level"] == "mean":
                        shown = f"{numbers.number(found['value'])} {numbers.interval(found)}"
                        lines[found["target"], ""].append(shown)
                    if found["level"] == "difference":
                        p = "" if math.isnan(found["p_sign_flip"]) else f", p {found['p_sign_flip']:.3f}"
                        shown = f"{numbers.signed(found['value'])} {numbers.interval(found, signed=True)}{p}"
                        lines[found["target"], found["reference"]].append(shown)
            head = [part.name(method, self.context), generator]
            body += [[]] if body else []
            for number, line in enumerate(lines.values()):
                body += [[*(head if number == 0 else ["", ""]), *line]]
        chances = [self._chance(records, name, column) for name, column in columns]
        if any(chances):
            body += [[], ["chance", "", "", *chances]]
        labels = {PIXELS: "", **{name: f"{self._label(name, judged)}: " for name in names if name != PIXELS}}
        header = ["method", "generator", "pictures", *(f"{labels[name]}{column.words}" for name, column in columns)]
        return records, Sheet(part.title, header, body, self._caption(records, judged), self._notes(judged, names), 3)

    def _records(self, part: Part, method: str, judged: pd.DataFrame, judge: str, column: Column) -> Iterator[Record]:
        """Runs, subjects and means of each source by one judge, and differences of what was generated to others."""
        options = self.context.settings["retrieval"]
        given = (column.metric, options["bootstrap"], options["level"], options["seed"])
        of = metric_base.load(column.metric)
        base = {**names_of(part, method, self.context), "metric": f"{judge}:{column.name}", "task": judge}
        rows = {one: rows_of(chosen(judged, source=one), column) for one in SOURCES}
        for source, own in rows.items():
            line = {**base, "target": source}
            for (subject, seed), of_run in own.groupby(["subject", "seed"]):
                count = int(of_run["n_candidates"].iloc[0])
                values = of.of_run(of_run["rank"], count, of_run["target"], of_run["margin"])
                kept = {"value": of.over(values), "chance": of.chance(count), "n_queries": of_run["query"].nunique()}
                yield {**line, "level": "run", "subject": subject, "seed": seed, **kept}
            for subject, of_subject in own.groupby("subject"):
                mean = statistics.mean_over_subjects(of_subject, *given)
                yield {**line, "level": "subject", "subject": subject, **mean}
            yield {**line, "level": "mean", **statistics.mean_over_subjects(own, *given)}
        for other in AGAINST:
            found = statistics.paired_difference(rows["generated"], rows[other], *given)
            kept = {name: value for name, value in found.items() if name in COLUMNS and name != "metric"}
            line = {**base, "target": "generated", "reference": other, "level": "difference"}
            yield {**line, "value": found["difference"], **kept}

    def _chance(self, records: Sequence[Record], name: str, column: Column) -> str:
        of_column = [one for one in records if one["metric"] == f"{name}:{column.name}" and one["level"] == "mean"]
        chance = chance_of(of_column)
        return "" if math.isnan(chance) else column.numbers.number(chance)

    def _label(self, name: str, judged: pd.DataFrame) -> str:
        label = self.context.settings["judges"][name]
        return f"{label}{MARK}" if chosen(judged, judge=name)["partial"].any() else label

    def _notes(self, judged: pd.DataFrame, names: Sequence[str]) -> list[str]:
        """Which judges are partial."""
        partial = [name for name in names if chosen(judged, judge=name)["partial"].any()]
        labels = [self.context.settings["judges"][name] for name in partial]
        return [
            f"{MARK} {one}: the tower whose embeddings the generator is given, so a partial judge." for one in labels
        ]

    def _caption(self, records: Sequence[Record], judged: pd.DataFrame) -> str:
        candidates = span(judged["n_candidates"].unique().tolist())
        samples = span(chosen(judged, source="generated").groupby("generator")["sample"].nunique().tolist())
        seeds = span(judged.groupby("method")["seed"].nunique().tolist())
        return (
            f"Pictures against the seen ones, with {interval_name(self.context)}. "
            f"{'; '.join(f'{name}: {words}' for name, words in SOURCES.items())}. PixCorr and SSIM: correlation and "
            "structural similarity of pixels. Two-way: share of the other test pictures that are less like it than the "
            "seen one by a network's features, ties against; distance: 1 − their correlation with those of the seen "
            f"one; Top-1: how often the seen one is the nearest of {candidates} test pictures. ↑: more is better, "
            f"↓: less. Means over {samples} {plural('sample', samples)}, {seeds} training {plural('seed', seeds)}, "
            f"stimuli and then subjects; differences are paired. {resampling(records, self.context)} The other test "
            "pictures that a picture is compared with stay the same when stimuli are resampled; the two-sided p of "
            "sign flips over subjects is for information, and cannot be below 2 / 2^subjects."
        )
