"""Base of all tables: the runs that they show, and the form of their results.

A kind of table is a module of :mod:`brain2clip.reporting.table_kinds` with a class ``Table``, a subclass of
:class:`TableBase`; its settings are a class of :mod:`brain2clip.settings.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import pandas as pd

from brain2clip import settings
from brain2clip.names import TECHNIQUES, counted
from brain2clip.reporting import classes, costs, judgements
from brain2clip.reporting.typeset import Sheet

#: Columns of the Parquet file of a table.
COLUMNS = [
    *("study", "signal", "protocol", "method", "label", "reference", "level", "subject", "seed", "metric", "value"),
    *("spread", "ci_low", "ci_high", "t_low", "t_high", "p_sign_flip", "chance"),
    *("n_subjects", "n_seeds", "n_stimuli", "n_queries", "resampled", "source", "note", "modality", "task"),
    *("decides", "largest_class", "target", "concepts"),
]
Record = dict[str, Any]
Settings = TypeVar("Settings", bound=settings.TableBase)


@dataclass(frozen=True)
class Context:
    """Data that the tables are made from.

    Attributes
    ----------
    settings : dict
        Of the stage.
    summary : DataFrame
        All summaries together.
    rows : DataFrame
        All retrieval rows together.
    published : DataFrame
        Published rows; empty if they are not shown.
    costs : DataFrame
        Cost of training (:mod:`brain2clip.reporting.costs`), if histories are inputs.
    digests : dict
        By method, SHA-256 of the files of imported results.
    judged : DataFrame
        Judgements of generated pictures (:mod:`brain2clip.reporting.judgements`), of runs that tables show.
    measured : dict
        Means with intervals that were already computed for a table.
    """

    settings: dict[str, Any]
    summary: pd.DataFrame
    rows: pd.DataFrame
    published: pd.DataFrame
    costs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=costs.COLUMNS))
    digests: dict[str, list[str]] = field(default_factory=dict)
    judged: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=judgements.COLUMNS))
    measured: dict[tuple[Any, ...], Record] = field(default_factory=dict)

    def label(self, method: str) -> str:
        """Name of a method in the tables."""
        label = self.settings["methods"].get(method, method)
        if method in self.imported and "imported" not in label.lower():
            label = f"{label} (imported)"
        return f"{label} (ceiling)" if self.is_ceiling(method) and "ceiling" not in label.lower() else label

    @property
    def imported(self) -> dict[str, dict[str, Any]]:
        """Descriptions of imported results, by method."""
        found: dict[str, dict[str, Any]] = self.settings.get("imported", {})
        return found

    def modality(self, study: str) -> str:
        """EEG, MEG or fMRI."""
        return TECHNIQUES[self.settings.get("modalities", {}).get(study, "eeg")]

    def kind_of_study(self, study: str) -> str | None:
        """Kind of a study, where known."""
        return self.settings.get("studies", {}).get(study)

    def kind_of_protocol(self, protocol: str) -> str | None:
        """Kind of a protocol, where known."""
        return self.settings.get("protocols", {}).get(protocol)

    def continues(self, protocol: str) -> bool:
        """Whether models of a protocol start from a joint model of other subjects."""
        counted = self.settings.get("sessions", {}).get(protocol)
        return counted is not None and settings.Protocol.model_validate(counted).continues

    def is_ceiling(self, method: str) -> bool:
        """Whether a method is a ceiling, an upper bound that knows the truth of a simulation."""
        return method in self.settings.get("ceilings", ("ideal-observer",))


@dataclass(frozen=True)
class Part:
    """Runs of one study, signal and protocol that a table shows together.

    Attributes
    ----------
    study, signal, protocol : str
    methods : tuple of str
        In the order of the configuration, ceilings last.
    summary, rows : DataFrame
        Of these runs.
    """

    study: str
    signal: str
    protocol: str
    methods: tuple[str, ...]
    summary: pd.DataFrame
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        """Study, protocol, signal."""
        return f"{self.study}, {self.protocol}, {self.signal}"

    @property
    def subjects(self) -> list[str]:
        """Subjects with at least one run."""
        return sorted(self.summary["subject"].unique())

    @property
    def concepts(self) -> str:
        """``seen`` if test concepts occur in training, else ``unseen`` (zero-shot)."""
        return "seen" if (self.summary["concepts"] == "seen").any() else "unseen"

    def first_ceiling(self, context: Context) -> str | None:
        """The first method that is a ceiling; there is a rule above it."""
        return next((method for method in self.methods if context.is_ceiling(method)), None)

    def of(self, method: str) -> pd.DataFrame:
        """Retrieval rows of a method."""
        return self.rows[self.rows["method"] == method]

    def name(self, method: str, context: Context) -> str:
        """Name of a method, marked if it was trained with fewer seeds than the others."""
        seeds = self.summary.groupby("method")["seed"].nunique()
        label = context.label(method)
        if method not in seeds or seeds[method] == seeds.max() or context.is_ceiling(method):
            return label
        return f"{label} ({seeds[method]} seed{'' if seeds[method] == 1 else 's'})"


class TableBase(Generic[Settings]):
    """A table: from runs to records, which are its Parquet file, and to sheets for reading.

    Parameters
    ----------
    settings : TableBase of the settings
        Of its kind.
    context : Context
        Data of all tables.
    """

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.context = context

    def build(self, parts: Sequence[Part]) -> tuple[list[Record], list[Sheet]]:
        """Records and sheets of all parts: as many sheets as parts, unless a kind shows them together."""
        records: list[Record] = []
        sheets = []
        for part in parts:
            new, sheet = self.of_part(part)
            records += new
            told = [*classes.notes(part, self.settings.metric, self.context), *self.of_imported(part)]
            sheets.append(replace(sheet, notes=[*sheet.notes, *told]))
        return records, sheets

    def of_imported(self, part: Part) -> list[str]:
        """A line for each imported result: its author, and the statements that cannot be checked here."""
        lines = []
        for method in part.methods:
            if method in self.context.imported:
                said = self.context.imported[method]
                rows = part.of(method)
                repetitions = ", ".join(sorted(rows["repetitions"].astype(str).unique()))
                digests = ", ".join(one[:12] for one in self.context.digests.get(method, [])[:3])
                count = len(self.context.digests.get(method, []))
                files = f"{counted(count, 'file')}, SHA-256 {digests}{', …' if count > 3 else ''}"
                ties = "; its ranks as given, with unknown handling of ties" if said["holds"] == "ranks" else ""
                lines.append(
                    f"{self.context.label(method)}: made elsewhere, ranked here ({said['source']}); as stated by its "
                    f"author, test repetitions averaged: {repetitions}, choice of the epoch: {said['selection']}{ties} "
                    f"({files})"
                )
        return lines

    def of_part(self, part: Part) -> tuple[list[Record], Sheet]:
        """Records (keys of :data:`COLUMNS`) and sheet of one study, protocol and signal."""
        raise NotImplementedError
