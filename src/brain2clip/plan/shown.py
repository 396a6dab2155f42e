"""What figures show: which experiment, method and runs of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain2clip import kinds
from brain2clip.names import BOTH, SOUGHT, MetricName
from brain2clip.plan.files import Files
from brain2clip.plan.runs import Run
from brain2clip.plan.spec import Spec, spec
from brain2clip.reporting import figure_base
from brain2clip.reporting.page_parts import design
from brain2clip.settings import Inputs, canonical, dump
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from brain2clip.settings import Experiment

#: Figures that stand in the results page.
PAGE_FIGURES = ("timecourse", "generalisation", "regions", "sessions")
#: Settings of the tables that the results page reads as well.
PAGE_READS = (
    *("tables", "experiments", "studies", "modalities", "protocols", "methods", "ceilings", "retrieval", "imported"),
    "debug",
    "sessions",
)


class Shown(Files):
    """Choices that figures share, and the figures of a study."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for name in (
            *("main_experiment", "shown_method", "mapped_runs", "regions_experiment"),
            *("figures_of", "figure_inputs"),
        ):
            setattr(self, name, cache(getattr(self, name)))

    # ----------------------------------------------------------------------------------------- choices

    def largest_experiment(self, study: str, methods: Iterable[str]) -> Experiment | None:
        """The experiment with the most runs, of those of a study that run one of some methods; None: none does."""
        wanted = set(methods)
        listed = [
            (len(self.runs_of(one)), name)
            for name, one in self.config.experiments.items()
            if one.study == study and not wanted.isdisjoint(one.methods)
        ]
        return self.config.experiments[max(listed)[1]] if listed else None

    def main_experiment(self, study: str) -> Experiment:
        """The experiment of a study with the most runs: its signal, protocol and seed are those of single runs."""
        found = self.largest_experiment(study, self.config.methods)
        assert found is not None
        return found

    def is_inspected(self, method: str) -> bool:
        """Whether a method has prompts to look into (stage ``inspect``)."""
        return self.method(method).prompted

    def shown_method(self, study: str) -> str:
        """Method of single runs: the named one where it was run, else the first with prompts, else the first.

        A result that was made elsewhere is the last choice: it may be ranks and no more.
        """
        ran = self.main_experiment(study).methods
        if self.config.figures.method in ran:
            return str(self.config.figures.method)
        ours = [name for name in ran if self.method(name).ranked_by != "imported"]
        return next((name for name in ran if self.method(name).prompted), (ours or ran)[0])

    def shown_tower(self, study: str) -> str:
        """Tower of that method."""
        return self.method(self.shown_method(study)).tower

    def has_timecourse(self, study: str) -> bool:
        """Whether the responses of a study have times."""
        return not self.is_voxels(study)

    def timecourse_spec(self, study: str, signal: str, subject: str) -> Spec:
        """Accuracy over time of a subject."""
        run = Run(study, signal, "windows", "ridge", subject, 0)
        values = {"run": run.columns, "window": self.config.figures.window}
        if self.config.figures.generalisation:
            values["generalisation"] = True
        expects = {
            "responses": self.responses_spec(study, signal, subject).expected,
            "features": self.features_spec(study, self.shown_tower(study)).expected,
        }
        return spec("timecourse", "brain2clip.retrieval.timecourse", values, expects)

    def mapped_runs(self, study: str) -> list[Run]:
        """Runs of one method that predict embeddings of CLIP's joint space, of the largest experiment with such.

        First signal and protocol; the named method where it can, else the first that learns epoch by epoch, else the
        first.
        """
        able = self.methods(joint_space=True)
        experiment = self.largest_experiment(study, able)
        if experiment is None:
            return []
        ran = [name for name in experiment.methods if name in able]
        first = sorted(ran, key=lambda name: (name != self.config.figures.method, not self.method(name).by_epoch))
        wanted = (experiment.signals[0], experiment.protocols[0], *first[:1])
        return [run for run in self.runs_of(experiment) if run[1:4] == wanted]

    def pictured(self, study: str) -> tuple[Run, str] | None:
        """First run of the first experiment of a study with generators, and the first of these; None: none has any."""
        for one in self.config.experiments.values():
            if one.study == study and one.generators:
                return self.runs_of(one)[0], str(one.generators[0])
        return None

    def varied(self, study: str) -> dict[str, tuple[str, ...]]:
        """Experiments that give a method several parts of the responses: the inputs in which these differ.

        Methods that differ in other things as well are no sweep, whatever each of them reads.
        """
        found = {}
        for label, experiment in self.config.experiments.items():
            if experiment.study == study and (names := self._varied_in(experiment.methods)):
                found[label] = names
        return found

    def _varied_in(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Inputs in which methods differ that are alike in all else but their labels."""
        alike: dict[str, list[dict[str, Any]]] = {}
        for name in methods:
            block = self.method(name)
            if (inputs := getattr(block, "inputs", None)) is not None:
                rest = {key: value for key, value in dump(block).items() if key not in ("label", "inputs")}
                alike.setdefault(canonical(rest), []).append(inputs.model_dump(mode="json"))
        return tuple(
            name
            for name in Inputs.model_fields
            if any(len({canonical(one[name]) for one in group}) > 1 for group in alike.values())
        )

    def session_runs(self, study: str) -> list[Run]:
        """Runs of all experiments of a study whose protocols say how many sessions; none if all say the same number."""
        known = {name: one for name, one in self.config.protocols.items() if one.sessions is not None}
        own = [one for one in self.config.experiments.values() if one.study == study]
        runs = sorted({run for one in own for run in self.runs_of(one) if run.protocol in known})
        return runs if len({known[run.protocol].sessions for run in runs}) > 1 else []

    def regions_experiment(self, study: str) -> Experiment:
        """The experiment of a study with the most regions, then runs."""
        listed = [
            (len(one.signals), len(self.runs_of(one)), name)
            for name, one in self.config.experiments.items()
            if one.study == study
        ]
        return self.config.experiments[max(listed)[2]]

    def regions_of(self, study: str) -> list[str]:
        """Regions in the order of that experiment, then those of others."""
        others = {region for one in self.config.experiments.values() if one.study == study for region in one.signals}
        return list(dict.fromkeys([*self.regions_experiment(study).signals, *sorted(others)]))

    def region_runs(self, study: str) -> list[Run]:
        """Runs of all regions by the methods of that experiment."""
        experiment = self.regions_experiment(study)
        return [
            run
            for run in self.runs()
            if (run.study, run.protocol) == (study, experiment.protocols[0]) and run.method in experiment.methods
        ]

    def both_studies(self) -> tuple[str, str] | None:
        """The study of recordings and that of fMRI with the most runs.

        None where one is not run, or only one is zero-shot.
        """
        found = []
        for voxels in (False, True):
            ran = [run.study for run in self.runs() if self.is_voxels(run.study) == voxels]
            if not ran:
                return None
            found.append(max(sorted(set(ran)), key=ran.count))
        eeg, fmri = found
        # Zero-shot results and those of seen concepts never stand in one figure.
        return (eeg, fmri) if self.study(eeg).zero_shot == self.study(fmri).zero_shot else None

    def shows_accuracy(self) -> bool:
        """Whether accuracy of averaged brain responses is there to be shown."""
        retrieval = self.config.retrieval
        return "all" in retrieval.repetitions and any(task in SOUGHT for task in retrieval.tasks)

    # ----------------------------------------------------------------------------------------- figures

    def figure_studies(self) -> list[str]:
        """Names that stand for studies in the paths of figures.

        Raises
        ------
        InputError
            Where a study has the name of figures of two studies together.
        """
        if not self.both_studies():
            return self.studies_run
        if BOTH in self.config.studies:
            raise InputError(
                f"studies.{BOTH}: this name is reserved for figures of EEG and fMRI together; take another name"
            )
        return [*self.studies_run, BOTH]

    def figures_of(self, study: str) -> dict[str, str]:
        """Figures that the study's runs can fill: name of the file to kind."""
        return figure_base.figures_of(self, study)  # type: ignore[arg-type]  # a whole plan, when it is asked

    def figure_inputs(self, study: str, name: str) -> dict[str, dict[str, Spec]]:
        """Inputs of a figure: name to files, each with the spec that makes it.

        Raises
        ------
        InputError
            Where the study has no such figure.
        """
        listed = self.figures_of(study)
        if name not in listed:
            raise InputError(f"{study}: no figure named {name!r}; the figures are {', '.join(listed) or 'none'}")
        found: dict[str, dict[str, Spec]] = kinds.load("figures", listed[name]).inputs(self, study)
        return found

    def figure(self, study: str, name: str) -> str:
        """File of a figure."""
        return f"{self.results}/figures/{study}/{name}.svg"

    def figures(self) -> list[str]:
        """Files of all figures."""
        return [self.figure(study, name) for study in self.figure_studies() for name in self.figures_of(study)]

    def figures_spec(self, study: str, name: str) -> Spec:
        """A figure."""
        inputs = self.figure_inputs(study, name)
        kind = self.figures_of(study)[name]
        shown = self.both_studies() if study == BOTH else (study,)
        assert shown is not None
        values = figure_base.settings_of(self, study, kind) | self.concepts_of(shown[0])  # type: ignore[arg-type]
        expects = {key: [{"origin": one.origin} for one in files.values()] for key, files in inputs.items()}
        return spec("figures", "brain2clip.reporting.figures", values, expects, figure_base.modules_of(kind))

    # -------------------------------------------------------------------------------------------- page

    def page_figures(self) -> list[tuple[str, str]]:
        """Study and name of the figures of the results page, which show no picture of a stimulus."""
        return [(study, name) for study in self.studies_run for name in PAGE_FIGURES if name in self.figures_of(study)]

    def page_spec(self) -> Spec:
        """The results page."""
        config, tables = self.config, self.tables_spec()
        values = {
            **{key: tables.settings[key] for key in PAGE_READS if key in tables.settings},
            "name": Path(self.results).name,
            "order": sorted(config.tables),  # that of keys in the configuration must not matter
            "about": {study: self._about(study) for study in self.studies_run},
            "signals": {
                study: {signal: self.signal_settings(study, signal) for signal in sorted(self._signals_run(study))}
                for study in self.studies_run
            },
            "chosen": {name: self._of_method(name) for name in sorted({run.method for run in self.runs()})},
            "towers": {name: {"model": one.model, "pretrained": one.pretrained} for name, one in config.towers.items()},
            "tasks": list(config.retrieval.tasks),
            "repetitions": [str(number) for number in config.retrieval.repetitions],
            "figures": [list(one) for one in self.page_figures()],
            "queries": config.page.queries,
            "design": design.digest(),
        }
        expects = {
            "summary": [{"origin": tables.origin}],
            "table": [{"origin": tables.origin} for _ in config.tables],
            "rows": tables.expects["rows"],
            "history": [{"origin": self.train_spec(model).origin} for model in self.models_timed()],
            "catalogue": [self.catalogue_spec(study).expected for study in self.studies_run],
            "figure": [{"origin": self.figures_spec(*one).origin} for one in self.page_figures()],
        }
        if pictured := self.generated():
            oracles = self.oracles()
            values["generated"] = [[*run, generator] for run, generator in pictured]
            values["oracles"] = [list(one) for one in oracles]
            values["judges"] = self.judge_labels()
            values["generators"] = {
                name: config.generators[name].model for name in sorted({one[1] for one in pictured})
            }
            expects["judged"] = [{"origin": self.judge_spec(*one).origin} for one in pictured]
            expects["generated"] = [{"origin": self.generate_spec(*one).origin} for one in pictured]
            expects["oracle"] = [{"origin": self.oracle_spec(*one).origin} for one in oracles]
        metrics = {kinds.module_of("metrics", MetricName.read(one.metric).kind) for one in config.tables.values()}
        return spec("page", "brain2clip.reporting.page", values, expects, sorted(metrics))

    def _signals_run(self, study: str) -> set[str]:
        return {run.signal for run in self.runs() if run.study == study}

    def _about(self, study: str) -> dict[str, Any]:
        """What the page says of a study, and whether it shows its pictures."""
        block, own = self.block(study), self.study(study)
        asked = self.config.page.pictures
        allowed = block.pass_on == "always" or (block.pass_on == "asked" and asked == "show")
        return {
            "words": (type(block).__doc__ or "").strip().partition("\n")[0],
            "simulated": block.simulated,
            "licence": own.licence,
            "citation": own.citation,
            "pass_on": block.pass_on,
            "pictures": "show" if allowed and asked != "hide" else "hide",
            "part": block.part,
            **({} if block.test_rows_used is None else {"test_rows_used": block.test_rows_used}),
        }
