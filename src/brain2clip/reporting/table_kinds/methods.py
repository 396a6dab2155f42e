"""Methods by subjects, mean over subjects, chance; published rows below."""

from __future__ import annotations

from brain2clip import settings
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of, published_beside
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import (
    EMPTY,
    Numbers,
    chance_of,
    common,
    interval_name,
    plural,
    resampled,
    resampling,
    title,
)


class Table(TableBase[settings.MethodsTable]):
    """Methods by subjects, mean over subjects, chance; published rows below."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        metric, subjects = self.settings.metric, part.subjects
        shown = Numbers(metric)
        records: list[Record] = []
        body: list[list[str]] = []
        for method in part.methods:
            new = levels_of(part, method, metric, self.context)
            records += new
            if not new:
                body.append([part.name(method, self.context), *[EMPTY] * (len(subjects) + 2)])
                continue
            cells = {record["subject"]: shown.subject(record) for record in new if record["level"] == "subject"}
            mean = new[-1]
            row = [*(cells.get(subject, EMPTY) for subject in subjects), shown.spread(mean), shown.interval(mean)]
            if method == part.first_ceiling(self.context) and body:
                body.append([])
            body.append([part.name(method, self.context), *row])
        chance = shown.number(chance_of(records))
        body += [[], ["chance", *[chance] * len(subjects), chance, ""]]
        known, notes = published_beside(part, metric, self.context, subjects, shown)
        records += known
        body += notes.rows
        header = ["method", *(f"sub-{subject}" for subject in subjects), "mean", interval_name(self.context)]
        of_subjects = [record for record in records if record["level"] == "subject"]
        several = any(record.get("n_seeds", 0) > 1 for record in of_subjects)
        single = f"one training seed, [bootstrap over {resampled(of_subjects)}]"
        caption = (
            f"{title(shown, part, self.context)}. Subject: "
            f"{'mean over training seeds ± their standard deviation' if several else single}; "
            f"mean: over {len(subjects)} {plural('subject', len(subjects))}"
            f"{', ± standard deviation over seeds of the subject mean' if several else ''}. "
            f"{resampling(records, self.context)} {common(records, shown)}"
        )
        return records, Sheet(part.title, header, body, caption, notes.notes)
