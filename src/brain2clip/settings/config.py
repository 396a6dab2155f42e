"""The whole configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from brain2clip.names import TECHNIQUES, MetricName
from brain2clip.settings.applied import Apply
from brain2clip.settings.bands import Band
from brain2clip.settings.base import Block, Filled, Name, neutral, suggest
from brain2clip.settings.downloads import Download
from brain2clip.settings.experiments import Experiment
from brain2clip.settings.exports import Export
from brain2clip.settings.figures import Figures
from brain2clip.settings.generators import Generator
from brain2clip.settings.judges import Judge
from brain2clip.settings.methods import Method
from brain2clip.settings.page import Page
from brain2clip.settings.protocols import WITHOUT, Protocol
from brain2clip.settings.responses import Responses
from brain2clip.settings.retrieval import Retrieval
from brain2clip.settings.rois import Roi
from brain2clip.settings.studies import Study
from brain2clip.settings.tables import Table
from brain2clip.settings.towers import Tower


def _a_folder(path: str) -> str:
    """A folder; braces would be Snakemake's wildcards."""
    if Path(path).name in ("", "..") or "{" in path or "}" in path:
        raise ValueError(f"expected the path of a folder, without braces; found {path!r}")
    return path


class Config(Block):
    """The whole configuration."""

    results: Annotated[Filled, AfterValidator(_a_folder)] = Field(
        "results", description="folder for everything that the pipeline writes, a path without braces"
    )
    debug: bool = Field(
        False, description="marks a debug version (brain2clip run --debug) in every table; changes nothing else"
    )
    missing_gpu: Literal["stop", "cpu"] = Field(
        "stop",
        description="what a job does if it was given a GPU (by CUDA_VISIBLE_DEVICES or SLURM) but PyTorch finds "
        "none: stop, or compute on the CPU",
    )
    seeds_together: bool = Field(
        False,
        description="train all seeds of a subject, protocol and method together in one pass, for a GPU that a single "
        "training does not fill. It works for contrastive methods with encoder eegproject and visual.kind: frozen, "
        "where snakemake runs the jobs itself or SLURM runs several in one (docs/slurm.md). Models change by "
        "rounding only",
    )
    presets: dict[Name, Responses] = Field(
        default_factory=dict,
        description="named settings of responses; 'base: name' in studies.*.responses starts from one and overrides "
        "what is listed",
    )
    download: Download = Field(default_factory=Download, description="how datasets are fetched")
    studies: dict[Name, Study] = Field(min_length=1, description="datasets by name")
    bands: dict[Name, Band] = Field(default_factory=dict, description="filter bands by name, for studies of EEG")
    rois: dict[Name, Roi] = Field(
        default_factory=dict,
        description="sets of voxels by name, for studies of fMRI; each is a signal, as a band is for EEG",
    )
    towers: dict[Name, Tower] = Field(min_length=1, description="frozen CLIPs by name")
    protocols: dict[Name, Protocol] = Field(min_length=1, description="protocols by name")
    methods: dict[Name, Method] = Field(
        min_length=1,
        description="methods by name; 'base: other' starts from another method and overrides what is listed",
    )
    generators: dict[Name, Generator] = neutral(
        {}, description="generators of pictures from predictions, by name; experiments.*.generators says for which runs"
    )
    judges: dict[Name, Judge] = neutral(
        {},
        description="networks that compare generated pictures with the seen ones, by name; each of them judges "
        "all generated pictures",
    )
    experiments: dict[Name, Experiment] = Field(min_length=1, description="what is run")
    retrieval: Retrieval = Field(default_factory=Retrieval, description="ranking and statistics")
    tables: dict[Name, Table] = Field(default_factory=dict, description="tables by name")
    figures: Figures = Field(default_factory=Figures, description="figures")
    page: Page = neutral(Page(), description="results page")
    apply: dict[Name, Apply] = Field(
        default_factory=dict,
        description="trained models applied to other recordings, by name; brain2clip apply shows the results",
    )
    exports: dict[Name, Export] = Field(default_factory=dict, description="responses in other projects' formats")

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        problems = []

        def check(where: str, name: str, kind: str) -> None:
            known = getattr(self, kind)
            if name not in known:
                problems.append(f"{where}: no {kind} entry named {name!r}{suggest(name, known)}")

        for label, method in self.methods.items():
            check(f"methods.{label}.tower", method.tower, "towers")
        for label, generator in self.generators.items():
            check(f"generators.{label}.tower", generator.tower, "towers")
        for label, experiment in self.experiments.items():
            check(f"experiments.{label}.study", experiment.study, "studies")
            for kind in ("protocols", "methods"):
                for name in getattr(experiment, kind):
                    check(f"experiments.{label}.{kind}", name, kind)
            for name in experiment.generators:
                check(f"experiments.{label}.generators", name, "generators")
            known = self._signals_of(experiment.study)
            for name in experiment.signals:
                check(f"experiments.{label}.signals", name, known)
        for label, table in self.tables.items():
            for name in table.experiments:
                check(f"tables.{label}.experiments", name, "experiments")
            for name in table.compared_with:
                check(f"tables.{label}.reference", name, "methods")
        for label, one in self.apply.items():
            check(f"apply.{label}.experiment", one.experiment, "experiments")
            check(f"apply.{label}.study", one.study, "studies")
        if self.figures.method is not None:
            check("figures.method", self.figures.method, "methods")
        for label, export in self.exports.items():
            check(f"exports.{label}.study", export.study, "studies")
            if self._signals_of(export.study) == "rois":
                problems.append(f"exports.{label}.study: {export.study!r} is a study of fMRI; exports are of EEG")
            for name in export.signals:
                check(f"exports.{label}.signals", name, "bands")
        if not problems:
            problems = [*self._ceilings_need_truth(), *self._protocols_fit(), *self._tables_are_filled()]
            problems += self._recorded_alike()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _signals_of(self, study: str) -> str:
        """Block whose entries are the signals of an experiment."""
        return "rois" if study in self.studies and self.studies[study].modality == "fmri" else "bands"

    def _ceilings_need_truth(self) -> list[str]:
        """An ideal observer needs a simulated study, whose truth is known."""
        return [
            f"experiments.{label}.methods: {name!r} is an ideal observer, but study {one.study!r} is not simulated"
            for label, one in self.experiments.items()
            for name in one.methods
            if self.methods[name].knows_truth and not self.studies[one.study].simulated
        ]

    def _protocols_fit(self) -> list[str]:
        """Voxels of two subjects are not the same inputs; only some models know whose a response is."""
        problems = []
        if any(protocol.continues for protocol in self.protocols.values()):
            problems += [
                f"protocols.{name}: a name that begins with {WITHOUT} stands for the models of all subjects but one, "
                "which new-subject protocols start from; take another name"
                for name in self.protocols
                if name.startswith(WITHOUT)
            ]
        for label, one in self.experiments.items():
            kinds = {self.protocols[name].kind for name in one.protocols}
            if self.studies[one.study].modality == "fmri" and "leave-one-subject-out" in kinds:
                problems.append(
                    f"experiments.{label}.protocols: leave-one-subject-out on {one.study!r}, where each subject has "
                    "other voxels; take intra-subject, joint or new-subject"
                )
            if "new-subject" in kinds:
                problems += [
                    f"experiments.{label}.methods: {name!r}: a new subject cannot go on from a model of others: "
                    f"{self.methods[name].no_tuning}; protocol new-subject takes methods of kind mapping (others train "
                    "on as few sessions under kind: intra-subject with sessions)"
                    for name in one.methods
                    if self.methods[name].trained and self.methods[name].no_tuning
                ]
            if "joint" in kinds:
                problems += [
                    f"experiments.{label}.methods: {name!r} ({self.methods[name].kind}) cannot train on all subjects "
                    "together; protocol joint takes methods of kind mapping, and methods whose encoder knows the "
                    "subject (atm)"
                    for name in one.methods
                    if not self.methods[name].joint
                ]
        return problems

    def _recorded_alike(self) -> list[str]:
        """A model needs responses that were made like its training responses."""
        problems = []
        for label, one in self.apply.items():
            new, of_model = self.studies[one.study], self.studies[self.experiments[one.experiment].study]
            name = "responses" if of_model.modality == "eeg" else "voxels"
            where = f"apply.{label}.study: {one.study!r}"
            if new.technique != of_model.technique:
                problems.append(
                    f"{where} is a study of {TECHNIQUES[new.technique]}, and the models are of "
                    f"{TECHNIQUES[of_model.technique]}"
                )
                continue
            ours, theirs = (getattr(study, name).model_dump(mode="json") for study in (new, of_model))
            differ = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
            if differ:
                theirs_at = f"studies.{self.experiments[one.experiment].study}.{name}"
                problems.append(
                    f"{where}: its {name} differ from the settings that the models were trained with "
                    f"({', '.join(differ)}); set "
                    f"studies.{one.study}.{name} as {theirs_at}"
                )
        return problems

    def _tables_are_filled(self) -> list[str]:
        """The metrics of tables must be computed."""
        problems = []
        for label, table in self.tables.items():
            name = MetricName.read(table.metric)
            where = f"tables.{label}.metric: {table.metric!r}"
            shown = {protocol for one in table.experiments for protocol in self.experiments[one].protocols}
            if table.of_sessions and all(self.protocols[protocol].sessions is None for protocol in shown):
                problems.append(
                    f"tables.{label}.experiments: found protocols {', '.join(sorted(shown))}, none of which says how "
                    "many sessions it takes; expected one with protocols.*.sessions, which a table of kind sessions "
                    "shows"
                )
            if name.task not in self.retrieval.tasks:
                problems.append(
                    f"{where} needs the task {name.task} in retrieval.tasks, found {', '.join(self.retrieval.tasks)}"
                )
            if name.pool is not None and name.transductive:
                problems.append(
                    f"{where}: scores from all queries and candidates have no pools; expected {name.task}: alone"
                )
            elif name.pool is not None and (self.retrieval.pools is None or name.pool != self.retrieval.pools.size):
                problems.append(f"{where} needs retrieval.pools of size {name.pool}")
            if name.repetitions not in map(str, self.retrieval.repetitions) and not table.by_repetitions:
                problems.append(
                    f"{where} needs {name.repetitions} in retrieval.repetitions, "
                    f"found {', '.join(map(str, self.retrieval.repetitions))}"
                )
            if name.base not in self.retrieval.metrics:
                problems.append(
                    f"{where} is not computed; add {name.base} to retrieval.metrics, "
                    f"found {', '.join(self.retrieval.metrics)}"
                )
            ran = {method for one in table.experiments for method in self.experiments[one].methods}
            problems += [
                f"tables.{label}.reference: {method!r} is run by none of its experiments "
                f"({', '.join(table.experiments)})"
                for method in table.compared_with
                if method not in ran
            ]
        return problems
