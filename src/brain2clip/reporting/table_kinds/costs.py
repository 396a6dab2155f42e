"""Cost of training and accuracy: accuracy, epochs, seconds, CPU seconds and device of every method."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from brain2clip import settings
from brain2clip.reporting import costs
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of, names_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import EMPTY, Numbers, chance_of, common, interval_name, resampling, span, title

#: Columns, after those of accuracy.
HEADER = ("models", "epochs", "s", "CPU s", "device")
#: Metrics of the records, by column of the costs.
METRICS = ("epochs", "seconds", "cpu_seconds")


class Table(TableBase[settings.CostsTable]):
    """A line for each method."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        metric = self.settings.metric
        shown = Numbers(metric)
        records: list[Record] = []
        body: list[list[str]] = []
        for method in part.methods:
            levels = levels_of(part, method, metric, self.context)
            spent = self._of(part, method)
            records += [*levels, *self._records(part, method, spent)]
            cells = [shown.spread(levels[-1]), shown.interval(levels[-1])] if levels else [EMPTY, EMPTY]
            if method == part.first_ceiling(self.context) and body:
                body.append([])
            body.append([part.name(method, self.context), *cells, *_cells(spent)])
        body += [[], ["chance", shown.number(chance_of(records)), *[""] * (1 + len(HEADER))]]
        header = ["method", shown.short, interval_name(self.context), *HEADER]
        measured = [one for one in records if one["level"] != "cost"]
        caption = (
            f"{title(shown, part, self.context)}: mean over training seeds, queries and then subjects, ± standard "
            f"deviation over seeds of the subject mean. {resampling(measured, self.context)} "
            f"{common(measured, shown)} Costs are means over models: {costs.WORDS}."
        )
        return records, Sheet(part.title, header, body, caption, self._notes(part))

    def _of(self, part: Part, method: str) -> pd.DataFrame:
        """Costs of the models of a method, of the seeds that are shown."""
        found = self.context.costs
        names = {"study": part.study, "signal": part.signal, "protocol": part.protocol, "method": method}
        for name, value in names.items():
            found = found[found[name] == value]
        seeds = part.summary.loc[part.summary["method"] == method, "seed"].unique()
        return found[found["seed"].isin(seeds)]

    def _records(self, part: Part, method: str, spent: pd.DataFrame) -> Iterator[Record]:
        """Every model's numbers, with its subject and seed, and last their means over models."""
        base = {**names_of(part, method, self.context), "level": "cost", "note": costs.devices(spent["device"])}
        for metric in METRICS:
            known = spent[spent[metric].notna()]
            for model in known.to_dict("records"):
                yield {**base, "metric": metric, **{name: model[name] for name in ("subject", "seed")},
                       "value": model[metric], "note": model["device"]}  # fmt: skip
            if len(known):
                yield {**base, "metric": metric, "value": known[metric].mean()}

    def _notes(self, part: Part) -> list[str]:
        """Notes for the comparison of lines."""
        notes = []
        if self.context.kind_of_protocol(part.protocol) == "joint":
            notes.append("Protocol joint: one model for all subjects together.")
        spent = pd.concat([self._of(part, method) for method in part.methods])
        if spent["device"].dropna().nunique() > 1:
            notes.append("Do not compare seconds of different devices; for a GPU, CPU seconds are those of its host.")
        if any(spent["method"].ne(method).all() for method in part.methods):
            notes.append(f"{EMPTY}: nothing is trained, or its time was not measured.")
        return notes


def _cells(spent: pd.DataFrame) -> list[str]:
    """Number of models, epochs, and means over models."""
    if spent.empty:
        return [EMPTY] * len(HEADER)
    epochs = spent["epochs"].dropna().astype(int)
    means = [spent[name].mean() for name in METRICS[1:]]
    return [
        str(len(spent)),
        span(epochs) if len(epochs) else EMPTY,
        *(EMPTY if pd.isna(mean) else seconds(mean) for mean in means),
        costs.devices(spent["device"]) or EMPTY,
    ]


def seconds(value: float) -> str:
    """Three digits at least: seconds of a regression, and of a day."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
