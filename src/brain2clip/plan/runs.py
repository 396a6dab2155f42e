"""Runs: the models of a configuration, and the subjects whose trials train them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from brain2clip import kinds
from brain2clip.settings import Protocol
from brain2clip.settings.protocols import WITHOUT
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from brain2clip.settings import Config, Experiment, MethodBase, StudyBase

#: Takes the place of the subject in the name of a joint model.
EVERYONE = "all"


class Run(NamedTuple):
    """One model: what its files are named after."""

    study: str
    signal: str
    protocol: str
    method: str
    subject: str
    seed: int

    @property
    def path(self) -> str:
        """Path below a stage's folder, without ending."""
        return f"{self.block}/sub-{self.subject}_seed-{self.seed}"

    @property
    def block(self) -> str:
        """Folder of the runs of all subjects and seeds."""
        return f"{self.study}/{self.signal}/{self.protocol}/{self.method}"

    @property
    def columns(self) -> dict[str, str | int]:
        """Columns of every table that name this run (:data:`brain2clip.names.RUN`)."""
        return self._asdict()


class Applied(NamedTuple):
    """A model on recordings of another study."""

    name: str
    run: Run
    model: Run

    @property
    def path(self) -> str:
        """Path below the folder of the stage, without ending."""
        _, rest = self.run.path.split("/", 1)
        return f"{self.name}/{rest}"


class Runs:
    """Studies, subjects and runs of a configuration.

    Parameters
    ----------
    config : Config
        A valid configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.results = config.results
        # Results are cached as long as this plan exists.
        for name in ("study", "subjects", "runs_of", "applied", "methods_on"):
            setattr(self, name, cache(getattr(self, name)))

    # ----------------------------------------------------------------------------------------- studies

    def study(self, name: str) -> Any:
        """A study of the configuration (contract: :mod:`brain2clip.readers.contract`)."""
        block = self.block(name)
        loaded = kinds.load("studies", block.kind)
        return loaded(name=name, settings=block.model_dump(mode="json"), results=self.results)

    def block(self, study: str) -> StudyBase:
        """Settings of a study."""
        return self.config.studies[study]

    def subjects(self, study: str) -> tuple[str, ...]:
        """Labels of the subjects of a study, sorted."""
        return tuple(self.study(study).subjects())

    def simulated_studies(self, modality: str | None = None) -> list[str]:
        """Studies that the pipeline makes itself, of one modality or of all."""
        return [
            name
            for name, block in self.config.studies.items()
            if block.simulated and modality in (None, block.modality)
        ]

    def is_voxels(self, study: str) -> bool:
        """Whether the responses of a study are voxels, and its signals regions."""
        return self.block(study).modality == "fmri"

    def is_preprocessed(self, study: str) -> bool:
        """Whether the responses of a study come from the authors' own epochs."""
        return getattr(self.block(study), "source", None) == "preprocessed"

    def is_downloaded(self, study: str) -> bool:
        """Whether the workflow fetches the files of a study."""
        return hasattr(self.study(study), "downloads")

    @cached_property
    def studies_run(self) -> list[str]:
        """Studies of all experiments, sorted."""
        return sorted({experiment.study for experiment in self.config.experiments.values()})

    @cached_property
    def studies_ranked(self) -> list[str]:
        """Studies of all experiments, and those that models are applied to, sorted."""
        return sorted({*self.studies_run, *(one.study for one in self.config.apply.values())})

    @cached_property
    def studies_used(self) -> list[str]:
        """The same, and those of exports, sorted."""
        return sorted({*self.studies_ranked, *(one.study for one in self.config.exports.values())})

    def methods_on(self, study: str) -> set[str]:
        """Methods that rank a study: of its experiments, and of those that are applied to it."""
        own = [one for one in self.config.experiments.values() if one.study == study]
        own += [self.config.experiments[one.experiment] for one in self.config.apply.values() if one.study == study]
        return {name for one in own for name in one.methods}

    # -------------------------------------------------------------------------------------------- runs

    def method(self, name: str) -> MethodBase:
        """Settings of a method."""
        return self.config.methods[name]

    def methods(self, **wanted: bool | str) -> list[str]:
        """Names of the methods with some capabilities (:class:`brain2clip.settings.MethodBase`)."""
        return [
            name
            for name, method in self.config.methods.items()
            if all(getattr(method, key) == value for key, value in wanted.items())
        ]

    def runs_of(self, experiment: Experiment) -> list[Run]:
        """All runs of an experiment; of a method that draws nothing, one seed is enough."""
        return [
            Run(experiment.study, signal, protocol, method, subject, seed)
            for signal in experiment.signals
            for protocol in experiment.protocols
            for method in experiment.methods
            for subject in self.subjects(experiment.study)
            for seed in experiment.seeds[: None if self.method(method).seeds_differ else 1]
        ]

    @cached_property
    def _runs(self) -> list[Run]:
        return sorted({run for experiment in self.config.experiments.values() for run in self.runs_of(experiment)})

    def runs(self) -> list[Run]:
        """Runs of all experiments, each once; sorted: the order of keys in the configuration must not matter."""
        return self._runs

    @cached_property
    def blocks(self) -> dict[str, list[Run]]:
        """Runs of all subjects and seeds by study, signal, protocol and method, as one path."""
        found: dict[str, list[Run]] = {}
        for run in self.runs():
            found.setdefault(run.block, []).append(run)
        return found

    @cached_property
    def _generated(self) -> list[tuple[Run, str]]:
        experiments = self.config.experiments.values()
        return sorted({(run, name) for one in experiments for name in one.generators for run in self.runs_of(one)})

    def generated(self) -> list[tuple[Run, str]]:
        """Runs with generated pictures, each with the name of a generator; sorted."""
        return self._generated

    def oracles(self) -> list[tuple[str, str]]:
        """Study and generator of all pictures that are generated of the seen ones; sorted."""
        return sorted({(run.study, generator) for run, generator in self._generated})

    @cached_property
    def points_wanted(self) -> frozenset[Run]:
        """Runs whose predictions must be points of the tower's raw space."""
        return frozenset(run for run, _ in self._generated)

    def protocol(self, name: str) -> Protocol:
        """A protocol; that of the models which new subjects start from (:meth:`started_from`) is joint."""
        found = self.config.protocols.get(name)
        return Protocol(kind="joint") if found is None and name.startswith(WITHOUT) else self.config.protocols[name]

    def model_of(self, run: Run) -> Run:
        """The run whose training makes a run's model: of all subjects together for a joint protocol."""
        return run._replace(subject=EVERYONE) if self.protocol(run.protocol).kind == "joint" else run

    def started_from(self, model: Run) -> Run | None:
        """The joint model of all other subjects that a model goes on from; the same for any number of sessions."""
        if not self.protocol(model.protocol).continues or not self.method(model.method).trained:
            return None
        return model._replace(protocol=f"{WITHOUT}{model.subject}", subject=EVERYONE)

    def starts(self, models: Iterable[Run]) -> list[Run]:
        """Models that others go on from, each once; no run is ranked with them."""
        return list(dict.fromkeys(one for one in map(self.started_from, models) if one is not None))

    def continuing(self) -> list[str]:
        """Names of the protocols whose models go on from others."""
        return [name for name, protocol in self.config.protocols.items() if protocol.continues]

    def first_sessions(self, run: Run, subject: str) -> int | None:
        """How many sessions of a subject a run's model trains on; None for all of them."""
        return self.protocol(run.protocol).first_sessions if subject == run.subject else None

    def first_sessions_read(self) -> list[tuple[str, str, str, int]]:
        """Study, signal, subject and number of first sessions of all responses that models read a part of; sorted."""
        found = ((run, self.first_sessions(run, run.subject)) for run in self.runs() if self.method(run.method).trained)
        return sorted({(run.study, run.signal, run.subject, count) for run, count in found if count is not None})

    def models(self, runs: Iterable[Run]) -> list[Run]:
        """Runs that are trained, each once, in the order of the first run that needs it."""
        return list(dict.fromkeys(self.model_of(run) for run in runs if self.method(run.method).trained))

    def applied(self) -> list[Applied]:
        """All models on recordings of other studies; methods that are not trained cannot be applied.

        Raises
        ------
        InputError
            Where a subject has no model.
        """
        found = []
        for name, one in self.config.apply.items():
            experiment = self.config.experiments[one.experiment]
            known = self.subjects(experiment.study)
            for subject in self.subjects(one.study):
                whose = one.subject or subject
                if whose not in known:
                    raise InputError(
                        f"apply.{name}: experiment {one.experiment!r} has no model of subject {whose}, only of "
                        f"{', '.join(known)}; set apply.{name}.subject to the subject whose models rank the subjects "
                        f"of {one.study!r}"
                    )
                found += [
                    Applied(name, run._replace(study=one.study, subject=subject), run)
                    for run in self.runs_of(experiment)
                    if run.subject == whose and self.method(run.method).trained
                ]
        return found

    def sources(self, run: Run) -> list[str]:
        """Subjects whose training trials train the model of a run.

        Raises
        ------
        InputError
            If there is no other subject.
        """
        everyone = self.subjects(run.study)
        if run.protocol not in self.config.protocols and run.protocol.startswith(WITHOUT):
            return self._others(run, run.protocol.removeprefix(WITHOUT), "new-subject")
        kind = self.protocol(run.protocol).kind
        match kind:
            case "joint":
                return list(everyone)
            case "intra-subject" | "new-subject":
                return [run.subject]
            case "leave-one-subject-out":
                return self._others(run, run.subject, kind)
            case _:
                assert_never(kind)

    def _others(self, run: Run, subject: str, kind: str) -> list[str]:
        """All subjects but one."""
        others = [other for other in self.subjects(run.study) if other != subject]
        if not others:
            named = [name for name, one in self.config.protocols.items() if one.continues]
            name = ", ".join(named) if kind == "new-subject" else run.protocol
            raise InputError(
                f"protocols.{name}: {kind} needs at least two subjects in {run.study}; "
                "name more subjects, or leave the protocol out of the experiments of this study"
            )
        return others
