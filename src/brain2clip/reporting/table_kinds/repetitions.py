"""Every method by the number of averaged test repetitions."""

from __future__ import annotations

import math

from brain2clip import settings
from brain2clip.names import MetricName
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import EMPTY, Numbers, chance_of, common, interval_name, resampling, title


class Table(TableBase[settings.RepetitionsTable]):
    """Every method by the number of averaged test repetitions."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        base = MetricName.read(self.settings.metric)._replace(repetitions="all")
        shown = Numbers(str(base))
        there = part.rows.loc[part.rows["task"] == base.task, "repetitions"].astype(str)
        counts = sorted(there.unique(), key=lambda count: math.inf if count == "all" else float(count))
        records: list[Record] = []
        body: list[list[str]] = []
        for method in part.methods:
            cells = []
            for count in counts:
                new = levels_of(part, method, str(base._replace(repetitions=count)), self.context)
                records += new
                cells.append(f"{shown.number(new[-1]['value'])} {shown.interval(new[-1])}" if new else EMPTY)
            if method == part.first_ceiling(self.context) and body:
                body.append([])
            body.append([part.name(method, self.context), *cells])
        metrics = [str(base._replace(repetitions=count)) for count in counts]
        chances = [chance_of([one for one in records if one["metric"] == metric]) for metric in metrics]
        body += [[], ["chance", *map(shown.number, chances)]]
        caption = (
            f"{title(shown, part, self.context)}; by the number of test repetitions that are averaged, in disjoint "
            f"groups, with {interval_name(self.context)}. Means over training seeds, queries and then subjects. "
            f"{resampling(records, self.context)} {common(records, shown, queries=False)}"
        )
        return records, Sheet(part.title, ["method", *counts], body, caption)
