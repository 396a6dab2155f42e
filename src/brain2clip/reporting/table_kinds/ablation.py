"""Every method: its mean, and its difference to the reference with interval."""

from __future__ import annotations

from brain2clip import settings
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import difference_of, levels_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import EMPTY, Numbers, chance_of, common, interval_name, resampling, title


class Table(TableBase[settings.AblationTable]):
    """Every method: its mean, and its difference to the reference with interval."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        metric, reference = self.settings.metric, self.settings.reference
        shown = Numbers(metric)
        records: list[Record] = []
        body: list[list[str]] = []
        ordered = [m for m in part.methods if m == reference] + [m for m in part.methods if m != reference]
        for method in ordered:
            levels = levels_of(part, method, metric, self.context)
            records += levels
            change = ["", ""]
            if method != reference and levels and not self.context.is_ceiling(method):
                difference = difference_of(part, method, reference, metric, self.context)
                records.append(difference)
                change = [shown.signed(difference["value"]), shown.interval(difference, signed=True)]
            cells = [shown.spread(levels[-1]), shown.interval(levels[-1])] if levels else [EMPTY, EMPTY]
            if self.context.is_ceiling(method):
                body.append([])
            body.append(
                [part.name(method, self.context) + (" (reference)" if method == reference else ""), *cells, *change]
            )
        body += [[], ["chance", shown.number(chance_of(records)), "", "", ""]]
        name = interval_name(self.context)
        header = ["method", shown.short, name, "difference", name]
        caption = (
            f"{title(shown, part, self.context)}; difference of each method from {self.context.label(reference)} on "
            "the same queries. Means over training seeds, queries and then subjects; ± standard deviation over "
            f"seeds of the subject mean. {resampling(records, self.context)} {common(records, shown)}"
        )
        return records, Sheet(part.title, header, body, caption)
