"""Recall of each class by every method, and below it metrics over all classes: balanced accuracy, AUC, Top-1."""

from __future__ import annotations

from brain2clip import settings, stage
from brain2clip.names import MetricName
from brain2clip.reporting import classes
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of, names_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import EMPTY, Numbers, common, interval_name, resampling, title
from brain2clip.retrieval import metric_base, statistics


class Table(TableBase[settings.ClassesTable]):
    """A line for each class, a column for each method."""

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records and sheet of one study, protocol and signal."""
        metric = self.settings.metric
        name, shown = MetricName.read(metric), Numbers(metric)
        rows = statistics.of_metric(part.rows, metric)
        if not statistics.are_classes(rows):
            raise stage.InputError(
                f"table of kind classes, {part.title}: the candidates of task {name.task} are not classes; name "
                "another task in its metric, as in category:balanced-accuracy, or take a table of another kind"
            )
        records: list[Record] = []
        recall: dict[str, dict[str, str]] = {}
        for method in part.methods:
            records += levels_of(part, method, metric, self.context)
            found = statistics.recalls(part.of(method), metric)
            for target, own in found.groupby("target"):
                record = {
                    **names_of(part, method, self.context),
                    **{"level": "class", "target": target, "metric": str(name._replace(base="recall"))},
                    **{"task": name.task, "value": own["value"].mean(), "n_subjects": len(own)},
                    "n_queries": int(own["n_queries"].sum()),
                }
                records.append(record)
                recall.setdefault(str(target), {})[method] = shown.number(record["value"])
        sizes = {str(one["target"]): one["n_queries"] for one in records if one["level"] == "class"}
        body = [
            [target, str(sizes[target]), *(cells.get(method, EMPTY) for method in part.methods)]
            for target, cells in recall.items()
        ]
        body += [[], *self._together(part, name, records), self._largest(part, records)]
        header = ["class", "queries", *(part.name(method, self.context) for method in part.methods)]
        caption = (
            "Recall of each class (%), the share of its queries with rank 1: mean over training seeds and "
            f"subjects; queries of all subjects. Below: {title(shown, part, self.context)}, with "
            f"{interval_name(self.context)}. {resampling(records, self.context)} "
            f"{common([one for one in records if one['metric'] == metric], shown)}"
        )
        return records, Sheet(part.title, header, body, caption)

    def _together(self, part: Part, name: MetricName, records: list[Record]) -> list[list[str]]:
        """Lines of the metrics over all classes that are computed, with intervals; the table's own first."""
        lines = []
        for base in dict.fromkeys([name.base, classes.BALANCED, "auc", "top-1"]):
            metric = str(name._replace(base=base))
            shown, cells = Numbers(metric), []
            for method in part.methods:
                own = [one for one in records if (one["method"], one["metric"]) == (method, metric)]
                new = own or levels_of(part, method, metric, self.context)
                records += [] if own else new
                means = [one for one in new if one["level"] == "mean"]
                cells.append(f"{shown.number(means[0]['value'])} {shown.interval(means[0])}" if means else EMPTY)
            if set(cells) != {EMPTY}:
                lines.append([metric_base.load(base).words, "", *cells])
        return lines

    def _largest(self, part: Part, records: list[Record]) -> list[str]:
        """Line of the share of the largest class."""
        shares = {one["method"]: one["largest_class"] for one in records if one["level"] == "mean"}
        shown = Numbers(self.settings.metric)
        return ["largest class", "", *(shown.number(shares.get(method, float("nan"))) for method in part.methods)]
