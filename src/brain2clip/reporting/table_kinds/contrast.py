"""Paired differences to the reference with both intervals and the permutation test."""

from __future__ import annotations

import math

from brain2clip import settings
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import difference_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import EMPTY, Numbers, interval_name, resampling, title

#: Beside the interval that decides, where it is not that of all lines.
MARK = "†"


class Table(TableBase[settings.ContrastTable]):
    """Paired differences to the reference with both intervals and the permutation test."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        metric, reference = self.settings.metric, self.settings.reference
        shown = Numbers(metric)
        records: list[Record] = []
        body: list[list[str]] = []
        for method in part.methods:
            if method == reference or self.context.is_ceiling(method):
                continue
            if not (part.summary[part.summary["method"] == method]["metric"] == metric).any():
                body.append([f"{self.context.label(method)} − {self.context.label(reference)}", *[EMPTY] * 7])
                continue
            record = difference_of(part, method, reference, metric, self.context)
            records.append(record)
            p = record["p_sign_flip"]
            body.append(
                [
                    f"{self.context.label(method)} − {self.context.label(reference)}",
                    shown.signed(record["value"]),
                    *(shown.interval(record, signed=True, kind=kind) for kind in ("ci", "t")),
                    EMPTY if math.isnan(p) else f"{p:.3f}",
                    *(str(record[name]) for name in ("n_subjects", "n_seeds", "n_stimuli")),
                ]
            )
        name = interval_name(self.context)
        decides = {record["decides"] for record in records}
        marks = {kind: " (decides)" if decides == {kind} else "" for kind in ("ci", "t")}
        if len(decides) > 1:
            for line, record in zip((one for one in body if one[1] != EMPTY), records, strict=True):
                line[2 if record["decides"] == "ci" else 3] += f" {MARK}"
        header = [
            "contrast",
            "difference",
            f"bootstrap {name}{marks['ci']}",
            f"t {name}{marks['t']}",
            "p (sign flip)",
            "subjects",
            "seeds",
            "stimuli",
        ]
        caption = (
            f"{title(shown, part, self.context)}; paired differences on the same queries. Averaged over training "
            f"seeds, then queries, then subjects. {resampling(records, self.context)} "
            f"{f'{MARK}: the interval that decides. ' if len(decides) > 1 else ''}The t-interval has subjects − 1 "
            f"degrees of freedom; the two-sided p of sign flips over subjects is for information, and cannot be below "
            f"2 / 2^subjects."
        )
        return records, Sheet(part.title, header, body, caption)
