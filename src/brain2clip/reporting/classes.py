"""Notes of tables with classes: how unequal they are, and the balanced accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain2clip.names import MetricName
from brain2clip.reporting.wording import Numbers
from brain2clip.retrieval import metric_base, statistics

if TYPE_CHECKING:
    from brain2clip.reporting.table_base import Context, Part

#: The metric for classes of unequal size.
BALANCED = "balanced-accuracy"


def notes(part: Part, metric: str, context: Context) -> list[str]:
    """Lines below a table whose classes have unequal numbers of queries; none for other tables."""
    name = MetricName.read(metric)
    rows = statistics.of_metric(part.rows, metric)
    if rows.empty or not statistics.are_classes(rows):
        return []
    options = context.settings["retrieval"]
    given = str(name._replace(base=BALANCED, pool=None)), options["bootstrap"], options["level"], options["seed"]
    found = {method: statistics.mean_over_subjects(part.of(method), *given) for method in part.methods}
    largest = max((one["largest_class"] for one in found.values() if one["n_queries"]), default=0.0)
    n_classes = int(rows["n_candidates"].max())
    if largest < 1 / n_classes + 1e-9:
        return []
    shown = Numbers(given[0])
    text = (
        f"the {n_classes} classes have unequal numbers of queries: always naming the largest class gives a Top-1 of "
        f"{shown.number(largest)} %"
    )
    if metric_base.load(name.base).of_classes:
        return [text]
    chance = shown.number(1 / n_classes)
    listed = ", ".join(f"{context.label(method)} {shown.number(one['value'])}" for method, one in found.items())
    return [f"{text}, and stands as chance here", f"balanced accuracy (%, chance {chance}): {listed}"]
