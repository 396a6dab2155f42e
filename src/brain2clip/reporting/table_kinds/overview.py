"""EEG and fMRI side by side: a line per block and method, a column per task, chance below each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brain2clip import settings
from brain2clip.names import TASKS, MetricName, Task
from brain2clip.reporting import classes
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import Numbers, averaged, chance_of, in_pools, interval_name, resampling

#: What is looked for in each task, for the caption.
SOUGHT_IN: Mapping[Task, str] = {
    "stimulus": "finding the seen stimulus",
    "category": "its class, by class prompts",
    "caption": "its caption",
    "stimulus-to-brain": "finding the brain response to a picture",
    "caption-to-brain": "the brain response to a caption",
    "template": "its class, by the mean of the class's other pictures",
    "stimulus-csls": "the seen stimulus, by CSLS",
    "category-csls": "its class, by class prompts and CSLS",
    "caption-csls": "its caption, by CSLS",
}


class Table(TableBase[settings.OverviewTable]):
    """EEG and fMRI side by side: a line per block and method, a column per task, chance below each block."""

    def build(self, parts: Sequence[Part]) -> tuple[list[Record], list[Sheet]]:
        """Records of all parts, and one sheet of them together."""
        name = MetricName.read(self.settings.metric)
        known = {task for part in parts for task in part.rows["task"].unique()}
        alike = [task for task in TASKS if name._replace(task=task).transductive == name.transductive]
        columns = [task for task in alike if task in known]
        shown = Numbers(str(name._replace(task="stimulus")))
        records: list[Record] = []
        body: list[list[str]] = []
        for part in parts:
            chances: dict[str, list[Record]] = {task: [] for task in columns}
            head = [self.context.modality(part.study), part.study, part.signal, part.protocol]
            body += [[]] if body else []
            for number, method in enumerate(part.methods):
                cells = []
                for task in columns:
                    new = levels_of(part, method, _shown(name, task, part), self.context)
                    records += new
                    chances[task] += new
                    cells.append(f"{shown.number(new[-1]['value'])} {shown.interval(new[-1])}" if new else "")
                body.append([*(head if number == 0 else [""] * len(head)), part.name(method, self.context), *cells])
            chance = [shown.number(chance_of(chances[task])) if chances[task] else "" for task in columns]
            body.append([*[""] * len(head), "chance", *chance])
        header = ["modality", "study", "signal", "protocol", "method", *columns]
        balanced = any(record["metric"] != str(name._replace(task=record["task"])) for record in records)
        words = ", ".join(f"{task}: {SOUGHT_IN[task]}" for task in columns)
        pooled = "" if name.pool is None else f", {in_pools(name.pool, self.context)}"
        caption = (
            f"{shown.short}{averaged(name)}{pooled}, mean over training seeds, queries and then subjects, with "
            f"{interval_name(self.context)}. One column per task ({words}). Candidates differ by study, so chance is "
            f"given below each block{'; for classes, the balanced accuracy is shown' if balanced else ''}. "
            f"{resampling(records, self.context)}"
        )
        notes = [
            f"{part.title}: {note}"
            for part in parts
            for task in columns
            for note in classes.notes(part, _shown(name, task, part), self.context)
        ]
        notes += [f"{part.title}: {note}" for part in parts for note in self.of_imported(part)]
        return records, [Sheet("EEG and fMRI side by side", header, body, caption, notes, left=5)]


def _shown(name: MetricName, task: Task, part: Part) -> str:
    """Metric of a column: for classes, balanced accuracy takes the place of Top-1 if it is computed."""
    balanced = str(name._replace(task=task, base=classes.BALANCED))
    if name.base == "top-1" and task == "category" and (part.summary["metric"] == balanced).any():
        return balanced
    return str(name._replace(task=task))
