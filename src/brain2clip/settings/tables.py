"""Tables of the report: one class for each kind."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, SerializeAsAny, Tag

from brain2clip import kinds
from brain2clip.names import MetricName
from brain2clip.settings.base import EXTERNAL, EachOnce, Kind, Name, from_outside, tag


def _read(text: str) -> str:
    """A metric of a task, written without what is the default: ``stimulus:top-1`` is ``top-1``."""
    return str(MetricName.read(text))


class TableBase(Kind):
    """Settings that every table has, and what must be there for its kind."""

    family: ClassVar[str] = "tables"
    #: Whether it shows all numbers of averaged repetitions, whichever its metric names.
    by_repetitions: ClassVar[bool] = False
    #: Whether it shows what training cost, so that histories are read.
    of_costs: ClassVar[bool] = False

    #: Whether it shows protocols by their number of sessions.
    of_sessions: ClassVar[bool] = False
    #: Whether it shows how generated pictures compare with the seen ones.
    of_pictures: ClassVar[bool] = False

    kind: str
    experiments: Annotated[tuple[Name, ...], EachOnce] = Field(
        min_length=1, description="experiments whose runs it shows"
    )
    metric: Annotated[str, AfterValidator(_read)] = Field(
        "top-1",
        description="metric shown: one of retrieval.metrics, with @R for R averaged repetitions and, before it, "
        "'TASK:' for another task than stimulus or 'TASK/SIZE:' for pools, as in category:top-1@1",
    )

    @property
    def compared_with(self) -> tuple[str, ...]:
        """Methods that the experiments must run."""
        return ()

    def modules(self) -> list[str]:
        """Modules of its kind and its metrics, sorted: roots of the fingerprint of what makes it.

        Beside its own metric, where classes are unequal, stands the balanced accuracy.
        """
        metrics = {MetricName.read(self.metric).kind, "balanced-accuracy"}
        return sorted({kinds.module_of(self.family, self.kind), *(kinds.module_of("metrics", one) for one in metrics)})


class ComparisonBase(TableBase):
    """Settings of a table of differences to a method."""

    reference: Name = Field(description="method that the other methods are compared with")

    @property
    def compared_with(self) -> tuple[str, ...]:
        """The reference."""
        return (self.reference,)


class MethodsTable(TableBase):
    """Methods by subjects."""

    kind: Literal["methods"] = "methods"


class AblationTable(ComparisonBase):
    """Every method, and its difference from the reference."""

    kind: Literal["ablation"] = "ablation"


class RepetitionsTable(TableBase):
    """Every method by the number of averaged test repetitions."""

    by_repetitions: ClassVar[bool] = True

    kind: Literal["repetitions"] = "repetitions"


class SessionsTable(TableBase):
    """Every method by the number of sessions of the tested subject that it trained on, a line for each protocol."""

    of_sessions: ClassVar[bool] = True

    kind: Literal["sessions"] = "sessions"


class ContrastTable(ComparisonBase):
    """Paired differences to the reference with intervals and a permutation test."""

    kind: Literal["contrast"] = "contrast"


class ClassesTable(TableBase):
    """Recall of each class, and metrics over all classes: for studies whose candidates are classes."""

    kind: Literal["classes"] = "classes"

    def modules(self) -> list[str]:
        """Also those of the metrics that it shows beside its own."""
        return sorted({*super().modules(), *(kinds.module_of("metrics", name) for name in ("auc", "top-k"))})


class OverviewTable(TableBase):
    """EEG and fMRI side by side: a line per study, signal, protocol and method, a column per task."""

    kind: Literal["overview"] = "overview"


class CostsTable(TableBase):
    """Cost of training, and accuracy."""

    of_costs: ClassVar[bool] = True

    kind: Literal["costs"] = "costs"


class GenerationTable(TableBase):
    """Generated pictures compared with the nearest training pictures, a perfect prediction, and chance."""

    of_pictures: ClassVar[bool] = True

    kind: Literal["generation"] = "generation"


Table = Annotated[
    Annotated[MethodsTable, Tag("methods")]
    | Annotated[AblationTable, Tag("ablation")]
    | Annotated[RepetitionsTable, Tag("repetitions")]
    | Annotated[SessionsTable, Tag("sessions")]
    | Annotated[ContrastTable, Tag("contrast")]
    | Annotated[OverviewTable, Tag("overview")]
    | Annotated[CostsTable, Tag("costs")]
    | Annotated[ClassesTable, Tag("classes")]
    | Annotated[GenerationTable, Tag("generation")]
    | Annotated[SerializeAsAny[TableBase], from_outside(TableBase), Tag(EXTERNAL)],
    Discriminator(tag("tables")),
]
