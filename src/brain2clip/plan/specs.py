"""The spec of every job: which settings a stage reads, and what it expects of its inputs."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from brain2clip import kinds
from brain2clip.plan.runs import Applied, Run, Runs
from brain2clip.plan.spec import Spec, spec
from brain2clip.readers import contract, templates
from brain2clip.settings import Vector, canonical, dump
from brain2clip.settings.base import suggest
from brain2clip.stage import InputError


class Specs(Runs):
    """One method per stage; arguments are what the stage's files are named after."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for name in (
            *("simulate_pictures_spec", "simulate_recordings_spec", "simulate_voxels_spec", "downloads"),
            *("catalogue_spec", "features_spec", "vectors_spec", "responses_spec", "train_spec", "rank_spec"),
            *("sessions_spec", "responses_of_spec"),
            *(
                "ceiling_spec",
                "imported_spec",
                "summaries_spec",
                "inspect_spec",
                "embed_spec",
                "tables_spec",
                "vectors_of",
            ),
            # Parts that are the same in the specs of many jobs.
            *("_of_method", "_modules_of", "_of_protocol", "_of_tower", "_ranking", "_of_recordings"),
            *("signal_settings", "_responses_modules"),
            *("calibrate_spec", "negative_spec", "generate_spec", "oracle_spec", "judge_spec"),
        ):
            setattr(self, name, cache(getattr(self, name)))

    # ---------------------------------------------------------------------------------------- simulate

    def simulate_pictures_spec(self, study: str) -> Spec:
        """Pictures of a simulated study."""
        values = {"name": study, "study": self.block(study).for_stimuli()}
        return spec("simulate_pictures", "brain2clip.simulation.simulate_pictures", values)

    def simulate_recordings_spec(self, study: str, subject: str) -> Spec:
        """Recordings of a simulated subject."""
        return self._simulated("simulate_recordings", study, subject)

    def simulate_voxels_spec(self, study: str, subject: str) -> Spec:
        """Voxel signals of a simulated subject."""
        return self._simulated("simulate_voxels", study, subject)

    def _simulated(self, stage: str, study: str, subject: str) -> Spec:
        values = {"name": study, "study": self._of_recordings(study), "subject": subject}
        expects = {"simulate_pictures": self.simulate_pictures_spec(study).expected}
        return spec(stage, f"brain2clip.simulation.{stage}", values, expects)

    def truth_spec(self, study: str, subject: str) -> Spec:
        """What writes the truth about a simulated subject."""
        return (self.simulate_voxels_spec if self.is_voxels(study) else self.simulate_recordings_spec)(study, subject)

    def simulate_dataset_spec(self, study: str) -> Spec:
        """Description of a simulated study as a BIDS dataset."""
        values = {
            "name": study,
            "study": {**self.block(study).for_responses(), "subjects": len(self.subjects(study))},
        }
        return spec("simulate_dataset", "brain2clip.simulation.simulate_dataset", values)

    # --------------------------------------------------------------------------------------- downloads

    def downloads(self, *studies: str) -> dict[str, dict[str, tuple[Any, ...]]]:
        """All downloads that studies (none named: all) may ask for: dataset to unit to files of the manifest.

        Raises
        ------
        InputError
            Where two studies want other files of one unit.
        """
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        for name in studies or self.config.studies:
            if not self.is_downloaded(name):
                continue
            study = self.study(name)
            units = found.setdefault(study.dataset, {})
            for unit, files in study.downloads().items():
                if units.setdefault(unit, files) != files:
                    raise InputError(
                        f"studies.{name}: another study has other files for {unit} of {study.dataset}; give both "
                        "studies the same manifest"
                    )
        return found

    def download_spec(self, dataset: str, unit: str) -> Spec:
        """Files of a download and nothing else: neither code nor how they are fetched makes it run again."""
        files = self.downloads()[dataset].get(unit)
        if files is None:
            raise InputError(f"{dataset}: no download named {unit!r}; it is not in the manifest of the study")
        fields = ("path", "size", "algorithm", "hash")
        listed = [{name: getattr(file, name) for name in fields} for file in files]
        values = {"dataset": dataset, "root": f"{self.results}/raw/{dataset}", "files": listed}
        return Spec("download", values)

    def images_spec(self, dataset: str) -> Spec:
        """Unpacked pictures of a dataset that brings them."""
        study = self.bringing_pictures()[dataset]
        values = {"name": dataset, "study": self.block(study).for_stimuli(), "results": self.results}
        return spec("images", "brain2clip.downloads.images", values, kinds=self._study_module(study))

    def bringing_pictures(self) -> dict[str, str]:
        """Datasets that bring their pictures in archives, each with the first study of it."""
        found: dict[str, str] = {}
        for name in self.config.studies:
            if hasattr(self.study(name), "archive_files"):
                found.setdefault(self.study(name).dataset, name)
        return found

    def bricks_spec(self, study: str) -> Spec:
        """Pictures of a study that are rows of one array, unpacked."""
        block: Any = self.block(study)
        values = {"name": study, "study": block.for_pictures(), "results": self.results}
        return spec("bricks", "brain2clip.downloads.bricks", values, kinds=self._study_module(study))

    def bricked(self) -> list[str]:
        """Studies whose pictures are rows of one array."""
        return [name for name in self.config.studies if getattr(self.study(name), "bricked", False)]

    # --------------------------------------------------------------------------------------- responses

    def responses_stage(self, study: str) -> str:
        """Stage that makes the responses of a study."""
        if self.is_voxels(study):
            return "voxels"
        return "preprocessed" if self.is_preprocessed(study) else "epochs"

    def studies_of(self, stage: str) -> list[str]:
        """Studies whose responses a stage makes."""
        return [name for name in self.config.studies if self.responses_stage(name) == stage]

    def responses_spec(self, study: str, signal: str, subject: str) -> Spec:
        """Responses of a subject."""
        stage = self.responses_stage(study)
        values = {
            "name": study,
            "study": self._of_recordings(study),
            "subject": subject,
            "results": self.results,
            "labels": self.study(study).label_digest(),
            **self.signal_settings(study, signal),
        }
        return spec(stage, f"brain2clip.responses.{stage}", values, kinds=self._responses_modules(study, signal))

    def sessions_spec(self, study: str, signal: str, subject: str, sessions: int) -> Spec:
        """Responses of a subject with training trials of the first sessions only."""
        values = {"name": study, "subject": subject, "sessions": sessions}
        expects = {"responses": self.responses_spec(study, signal, subject).expected}
        return spec("sessions", "brain2clip.responses.sessions", values, expects)

    def responses_of_spec(self, run: Run, subject: str) -> Spec:
        """What makes the responses of a subject that a run reads."""
        sessions = self.first_sessions(run, subject)
        if sessions is None:
            return self.responses_spec(run.study, run.signal, subject)
        known = self.block(run.study).recorded_sessions
        where = f"protocols.{run.protocol}.sessions: found {sessions}"
        if known == 0:
            raise InputError(
                f"{where}, and studies.{run.study} names no session; expected a study with sessions, or all"
            )
        if known is not None and sessions > known:
            raise InputError(f"{where}; expected at most the {known} that studies.{run.study} has, or all")
        return self.sessions_spec(run.study, run.signal, subject, sessions)

    def _of_recordings(self, study: str) -> dict[str, Any]:
        return self.block(study).for_responses()

    def _responses_modules(self, study: str, signal: str) -> list[str]:
        return [*self._study_module(study), *kinds.modules_of(*self._signal_blocks(study, signal).values())]

    def signal_settings(self, study: str, signal: str) -> dict[str, Any]:
        """What makes responses of a study's recordings: the study's own settings and those of the band or region."""
        return {name: dump(block) for name, block in self._signal_blocks(study, signal).items()}

    def _signal_blocks(self, study: str, signal: str) -> dict[str, Any]:
        block: Any = self.block(study)
        if self.is_voxels(study):
            return {"voxels": block.voxels, "roi": self.config.rois[signal]}
        return {"responses": block.responses, "band": self.config.bands[signal]}

    def _study_module(self, study: str) -> list[str]:
        return [kinds.module_of("studies", self.block(study).kind)]

    # ----------------------------------------------------------------------------------------- stimuli

    def catalogue_spec(self, study: str) -> Spec:
        """Table of the stimuli of a study."""
        values = {
            "name": study,
            "study": self.block(study).for_stimuli(),
            "results": self.results,
            "digest": self.study(study).catalogue_digest(),
            **self._part(study),
        }
        if (pattern := self.block(study).templates) is not None:
            values["templates"] = {"files": pattern, "digest": templates.digest(pattern)}
        return spec("catalogue", "brain2clip.stimuli.catalogue", values, kinds=self._study_module(study))

    def features_spec(self, study: str, tower: str) -> Spec:
        """Frozen features of the stimuli of a study."""
        values = {
            "name": study,
            "tower": self.config.towers[tower].for_features(),
            "ready": self.ready(study, tower),
            "equal_pictures": self.block(study).equal_pictures,
            **self._part(study),
        }
        expects = {"catalogue": self.catalogue_spec(study).expected}
        return spec("features", "brain2clip.stimuli.features", values, expects)

    def _part(self, study: str) -> dict[str, Any]:
        """How many concepts of each side are taken, where not all are."""
        first = self.block(study).first_concepts
        return {} if first is None else {"first_concepts": first}

    def ready(self, study: str, tower: str) -> str | None:
        """File of embeddings that stand in for a study's pictures, or None."""
        return getattr(self.block(study), "ready_features", {}).get(tower)

    def vectors_spec(self, study: str, tower: str, vector: Vector) -> Spec:
        """A further vector of the stimuli of a study."""
        expects = {"catalogue": self.catalogue_spec(study).expected}
        values: dict[str, Any] = {"name": study, "vector": dump(vector)}
        if vector.ready is not None:
            values["ready"] = self.ready_vector(study, vector.ready)
        else:
            values |= {"tower": self.config.towers[tower].for_vectors(), "tower_name": tower}
        return spec("vectors", "brain2clip.stimuli.vectors", values, expects, kinds.modules_of(vector))

    def ready_vector(self, study: str, name: str) -> str:
        """File of vectors that others made of a study's stimuli.

        Raises
        ------
        InputError
            Where the study names none so.
        """
        there = self.block(study).ready_vectors
        if name not in there:
            raise InputError(f"studies.{study}.ready_vectors: no {name!r}, which a readout takes{suggest(name, there)}")
        return there[name]

    def vectors_of(self, study: str, tower: str) -> dict[str, Vector]:
        """Further vectors that the methods of a study's experiments read of a tower, by name.

        Raises
        ------
        InputError
            Where two of them have one name, or a name cannot be that of a file.
        """
        found: dict[str, Vector] = {}
        for method in sorted(name for name in self.methods_on(study) if self.method(name).tower == tower):
            for vector in self.method(method).vectors:
                if not re.fullmatch("[A-Za-z0-9_.-]+", vector.name):  # as in the Snakefile
                    raise InputError(
                        f"methods.{method}: a vector of its readout has the name {vector.name!r}, which becomes the "
                        "name of a file; expected letters, digits, dots and hyphens (property name of the view's "
                        "settings)"
                    )
                if found.setdefault(vector.name, vector) != vector:
                    raise InputError(
                        f"methods.{method}: two vectors of study {study!r} by tower {tower!r} have the name "
                        f"{vector.name!r}, which becomes the name of a file: {canonical(found[vector.name])} and "
                        f"{canonical(vector)}; give their views other names (property name of their settings)"
                    )
        return dict(sorted(found.items()))

    def vector_named(self, study: str, tower: str, name: str) -> Vector:
        """A further vector by name: of the experiments' methods, else of another method that a file is asked for.

        Raises
        ------
        InputError
            Where no method reads one of that name.
        """
        wanted = self.vectors_of(study, tower)
        others = (one for method in self.config.methods.values() if method.tower == tower for one in method.vectors)
        found = wanted.get(name) or next((one for one in others if one.name == name), None)
        if found is None:
            raise InputError(f"no method with tower {tower!r} reads a vector named {name!r}{suggest(name, wanted)}")
        return found

    def towers_run(self) -> list[tuple[str, str]]:
        """Study and tower of all methods of experiments, applied ones too, each once."""
        return sorted({(one, self.method(name).tower) for one in self.studies_ranked for name in self.methods_on(one)})

    def _vectors_expected(self, run: Run) -> dict[str, Any]:
        """What a reader may expect of the further vectors of a run's method."""
        method = self.method(run.method)
        specs = [self.vectors_spec(run.study, method.tower, one) for one in method.vectors]
        return {"vectors": [one.expected for one in specs]} if specs else {}

    # ---------------------------------------------------------------------------------- export

    def export_spec(self, form: str, study: str, signal: str, subject: str) -> Spec:
        """Responses in another project's format."""
        values = {
            "format": form,
            "name": study,
            "study": self.block(study).for_responses(),
            "results": self.results,
            "subject": subject,
        }
        expects = {"responses": self.responses_spec(study, signal, subject).expected}
        module = "brain2clip.responses.export"
        return spec("export", module, values, expects, self._study_module(study))

    # ------------------------------------------------------------------------------ training, retrieval

    def train_spec(self, run: Run) -> Spec:
        """Model of a run (:meth:`Runs.model_of`), of stage ``tune`` where it goes on from another."""
        method = self.method(run.method)
        self._check_classes(run)
        sources = self.sources(run)
        values = {
            "protocol": self._of_protocol(run.protocol),
            "method": self._of_method(run.method),
            "tower": self._of_tower(method.tower),
            "seed": run.seed,
        }
        if method.joint:
            values["subjects"] = sources
        expects = {
            "responses": [self.responses_of_spec(run, source).expected for source in sources],
            "features": self.features_spec(run.study, method.tower).expected,
            **self._vectors_expected(run),
        }
        start = self.started_from(run)
        if start is None:
            return spec("train", "brain2clip.training.train", values, expects, self._modules_of(run.method))
        values["protocol"] = {"tune": self.protocol(run.protocol).tune}
        expects["start"] = self.train_spec(start).expected
        return spec("tune", "brain2clip.training.tune", values, expects, self._modules_of(run.method))

    def _of_protocol(self, name: str) -> dict[str, Any]:
        """What training reads of a protocol: not of how many sessions its responses are, which these say."""
        kind = self.protocol(name).kind
        return {"kind": "joint" if kind == "new-subject" else kind}

    def _of_method(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in dump(self.method(name)).items() if key != "label"}

    def _of_tower(self, name: str) -> dict[str, Any]:
        return self.config.towers[name].for_features()

    def _modules_of(self, method: str) -> list[str]:
        return kinds.modules_of(self.method(method))

    def _rankers_of(self, method: str) -> list[str]:
        """Modules that a stage loads by name to rank with a method: its own, and scorings that tasks ask for."""
        return [*self._modules_of(method), *self.config.retrieval.scoring_modules()]

    def _ranking(self) -> dict[str, Any]:
        return self.config.retrieval.ranking()

    def _check_classes(self, run: Run) -> None:
        """A method that knows its own classes only cannot serve a study whose test concepts are new, nor texts."""
        if not self.method(run.method).known_classes:
            return
        kind = self.method(run.method).kind
        where = f"methods.{run.method} of kind {kind} knows only the classes that it was trained on"
        if self.study(run.study).zero_shot:
            raise InputError(
                f"{where}, but the test concepts of studies.{run.study} are others; remove the method from the "
                "experiments of this study, or take a method that compares with prompts"
            )
        texts = [task for task in self.config.retrieval.tasks if task.startswith(("caption", "template"))]
        if texts:
            raise InputError(
                f"{where}, and can be compared neither with texts nor with pictures; remove {', '.join(texts)} from "
                "retrieval.tasks, or remove the method"
            )

    def rank_spec(self, run: Run) -> Spec:
        """Retrieval rows of a run."""
        values, expects = self._of_model(run)
        values["retrieval"] = self._ranking()
        return spec("rank", "brain2clip.retrieval.rank", values, expects, self._rankers_of(run.method))

    def apply_spec(self, one: Applied) -> Spec:
        """Retrieval rows of a model on recordings of another study."""
        values, expects = self._of_model(one.model)
        method = self.method(one.model.method)
        values |= {"run": one.run.columns, "model": one.model.columns, "retrieval": self._ranking()}
        if self.may_be_seen(one.name):
            values["concepts"] = "seen"
            if not self.pictures_may_be_seen(one.name):
                values["source_pictures"] = "unseen"
        expects |= {
            "responses": self.responses_spec(one.run.study, one.run.signal, one.run.subject).expected,
            "trained": expects["features"],
            "features": self.features_spec(one.run.study, method.tower).expected,
            **self._vectors_expected(one.run),
        }
        return spec("apply", "brain2clip.retrieval.apply", values, expects, self._rankers_of(one.model.method))

    def may_be_seen(self, name: str) -> bool:
        """Whether models of an entry of ``apply`` may be asked for what their training showed.

        In a study itself its split decides that, and pictures that are equal in spite of it are its own setting.
        """
        one = self.config.apply[name]
        own = self.config.experiments[one.experiment].study == one.study
        return own or one.concepts == "seen" or not self.study(one.study).zero_shot

    def pictures_may_be_seen(self, name: str) -> bool:
        """Whether models of an entry of ``apply`` may be asked for pictures of a collection that training showed.

        A study that is not zero-shot shows concepts of training, but in other pictures.
        """
        one = self.config.apply[name]
        return self.config.experiments[one.experiment].study == one.study or one.concepts == "seen"

    def inspect_spec(self, run: Run) -> Spec:
        """What the prompts of a run do."""
        return spec("inspect", "brain2clip.retrieval.inspect", *self._of_model(run), self._modules_of(run.method))

    def embed_spec(self, run: Run) -> Spec:
        """Predicted embeddings of a run."""
        values, expects = self._of_model(run)
        if run in self.points_wanted:
            values["points"] = True
            if self.method(run.method).points == "calibrated":
                expects["calibrate"] = self.calibrate_spec(self.model_of(run)).expected
        return spec("embed", "brain2clip.retrieval.embed", values, expects, self._modules_of(run.method))

    # -------------------------------------------------------------------------------------- generation

    def calibrate_spec(self, model: Run) -> Spec:
        """What makes points of the predictions of a model (:meth:`Runs.model_of`)."""
        trained = self.train_spec(model)
        module = "brain2clip.training.calibrate"
        return spec("calibrate", module, trained.settings, trained.expects, self._modules_of(model.method))

    def negative_spec(self, tower: str) -> Spec:
        """Embedding of a picture that is zero, by a tower."""
        values = {"tower": self.config.towers[tower].for_vectors()}
        return spec("negative", "brain2clip.generation.negative", values)

    def generate_spec(self, run: Run, generator: str) -> Spec:
        """Pictures of a run's predictions."""
        expects = {"embed": self.embed_spec(run).expected}
        return self._generating("generate", {"run": run.columns}, expects, run.study, generator)

    def oracle_spec(self, study: str, generator: str) -> Spec:
        """Pictures that a generator makes of the test pictures' own embeddings."""
        return self._generating("oracle", {"name": study}, {}, study, generator)

    def _generating(
        self, stage: str, values: dict[str, Any], expects: dict[str, Any], study: str, generator: str
    ) -> Spec:
        block = self.config.generators[generator]
        own = {key: value for key, value in dump(block).items() if key not in ("tower", "batch_size")}
        expects |= {
            "negative": self.negative_spec(block.tower).expected,
            "features": self.features_spec(study, block.tower).expected,
        }
        values |= {"generator": own, "generator_name": generator, "batch_size": block.batch_size}
        return spec(stage, f"brain2clip.generation.{stage}", values, expects, kinds.modules_of(block))

    def judge_spec(self, run: Run, generator: str) -> Spec:
        """How pictures of a run compare with the seen ones."""
        tower = self.config.towers[self.config.generators[generator].tower]
        judges = {
            name: {key: value for key, value in dump(one).items() if key != "label"}
            for name, one in sorted(self.config.judges.items())
        }
        values = {
            "run": run.columns,
            "generator_name": generator,
            "judges": judges,
            "tower": {"model": tower.model, "pretrained": tower.pretrained},
        }
        expects = {
            "embed": self.embed_spec(run).expected,
            "generate": self.generate_spec(run, generator).expected,
            "oracle": self.oracle_spec(run.study, generator).expected,
            "features": self.features_spec(run.study, self.config.generators[generator].tower).expected,
        }
        chosen = kinds.modules_of(*self.config.judges.values())
        return spec("judge", "brain2clip.generation.judge", values, expects, chosen)

    def _of_model(self, run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings and expectations of a stage that uses the model of a run."""
        trained = self.train_spec(self.model_of(run))
        values = {"run": run.columns, **{key: trained.settings[key] for key in ("method", "tower")}}
        expects = {
            "responses": self.responses_of_spec(run, run.subject).expected,
            "features": trained.expects["features"],
            "train": trained.expected,
            **self._vectors_expected(run),
        }
        return values, expects

    def ceiling_spec(self, run: Run) -> Spec:
        """Retrieval rows of an ideal observer."""
        values = {
            "run": run.columns,
            **self.signal_settings(run.study, run.signal),
            "retrieval": self._ranking(),
        }
        expects = {
            "responses": self.responses_spec(run.study, run.signal, run.subject).expected,
            "features": self.features_spec(run.study, self.method(run.method).tower).expected,
            "truth": self.truth_spec(run.study, run.subject).expected,
        }
        chosen = kinds.modules_of(*self._signal_blocks(run.study, run.signal).values())
        return spec(
            "ceiling", "brain2clip.retrieval.ceiling", values, expects, [*chosen, *self._modules_of(run.method)]
        )

    def imported_spec(self, run: Run) -> Spec:
        """Retrieval rows of a result that was made elsewhere."""
        method: Any = self.method(run.method)
        values = {"run": run.columns, "method": method.for_rows(), "retrieval": self._ranking()}
        expects = {"features": self.features_spec(run.study, method.tower).expected}
        return spec("imported", "brain2clip.retrieval.imported", values, expects, self._rankers_of(run.method))

    def retrieval_spec(self, run: Run) -> Spec:
        """What makes the retrieval rows of a run."""
        made = {"rank": self.rank_spec, "ceiling": self.ceiling_spec, "imported": self.imported_spec}
        return made[self.method(run.method).ranked_by](run)

    def concepts_of(self, study: str) -> dict[str, str]:
        """Settings by which a stage says that the test of a study asks for what training showed; none of unseen."""
        return {} if self.study(study).zero_shot else {"concepts": "seen"}

    def summaries_spec(self, block: str) -> Spec:
        """Metrics of the runs of all subjects and seeds of a method (:attr:`Runs.blocks`)."""
        values = {**self.config.retrieval.statistics(), **self.concepts_of(self.blocks[block][0].study)}
        expects = {"rows": [{"origin": self.retrieval_spec(run).origin} for run in self.blocks[block]]}
        module = "brain2clip.retrieval.summaries"
        return spec("summaries", module, values, expects, self.config.retrieval.metric_modules())

    # ------------------------------------------------------------------------------------------ tables

    def tables_spec(self) -> Spec:
        """All tables."""
        config = self.config
        values = {
            "tables": {name: dump(table) for name, table in config.tables.items()},
            "experiments": {name: dump(experiment) for name, experiment in config.experiments.items()},
            "studies": {name: config.studies[name].kind for name in self.studies_run},
            "modalities": {name: config.studies[name].technique for name in self.studies_run},
            "protocols": {name: protocol.words for name, protocol in config.protocols.items()},
            "methods": self.labels(config.methods),
            "ceilings": sorted(self.methods(knows_truth=True)),
            "retrieval": {
                **config.retrieval.intervals(),
                **{key: one for key, one in config.retrieval.ranking().items() if key in ("pools", "csls_neighbours")},
            },
        }
        if imported := self.imported():
            values["imported"] = imported
        if counted := {name: dump(one) for name, one in config.protocols.items() if one.sessions is not None}:
            values["sessions"] = counted
        if config.debug:
            values["debug"] = True
        expects = {
            "summary": [{"origin": self.summaries_spec(block).origin} for block in self.blocks],
            "rows": [{"origin": self.retrieval_spec(run).origin} for run in self.runs()],
        }
        models = self.models_shown()
        if models:
            expects["history"] = [{"origin": self.train_spec(model).origin} for model in models]
        if judged := self.judged_shown():
            values["generators"] = sorted({name for _, name in judged})
            values["judges"] = self.judge_labels()
            expects["judged"] = [{"origin": self.judge_spec(*one).origin} for one in judged]
        chosen = [module for table in config.tables.values() for module in table.modules()]
        return spec("tables", "brain2clip.reporting.tables", values, expects, chosen)

    def models_shown(self) -> list[Run]:
        """Models whose histories the tables read: of the experiments of tables of costs, and of no other."""
        shown = {name for table in self.config.tables.values() if table.of_costs for name in table.experiments}
        runs = sorted({run for name in shown for run in self.runs_of(self.config.experiments[name])})
        return [model for model in self.models(runs) if self.method(model.method).timed]

    def judged_shown(self) -> list[tuple[Run, str]]:
        """Runs and generators whose pictures the tables show: of the experiments of tables of generation only."""
        shown = {name for table in self.config.tables.values() if table.of_pictures for name in table.experiments}
        experiments = (self.config.experiments[name] for name in shown)
        return sorted({(run, name) for one in experiments for name in one.generators for run in self.runs_of(one)})

    def models_timed(self) -> list[Run]:
        """All models whose histories say what training took."""
        return [model for model in self.models(self.runs()) if self.method(model.method).timed]

    def imported(self) -> dict[str, dict[str, Any]]:
        """What tables say of results that were made elsewhere, by method, of those that experiments run."""
        ran = {name for one in self.config.experiments.values() for name in one.methods}
        names = ("file", "holds", "source", "selection")
        return {
            name: {key: dump(self.method(name))[key] for key in names}
            for name in self.methods(ranked_by="imported")
            if name in ran
        }

    def judge_labels(self) -> dict[str, str]:
        """Names of judges in tables and on the page."""
        return {name: one.label or name for name, one in sorted(self.config.judges.items())}

    def labels(self, methods: Any) -> dict[str, str]:
        """Names of methods in tables and figures."""
        return {name: self.method(name).label or name for name in methods}

    def environment(self) -> dict[str, str]:
        """Variables for all jobs: what they need to know and what must make none of them run again.

        How files are fetched, the tables that say from where, which subjects there are, how large files may be, and
        what is done without a GPU.
        """
        listed = [name for name in self.config.studies if self.is_downloaded(name)]
        # A second study of a dataset may read a folder of the user, and name none.
        fetched = [self.study(name) for name in listed if getattr(self.block(name), "manifest", None) is not None]
        manifests = {study.dataset: study.manifest for study in fetched}
        return {
            "BRAIN2CLIP_DOWNLOAD": canonical(self.config.download),
            "BRAIN2CLIP_MISSING_GPU": self.config.missing_gpu,
            "BRAIN2CLIP_MANIFESTS": canonical({name: str(path) for name, path in manifests.items()}),
            contract.SUBJECTS: canonical(
                {name: list(self.subjects(name)) for name in self.studies_used if self.study(name).split_from_events}
            ),
            "BRAIN2CLIP_VECTORS_GB": canonical(
                {name: tower.vectors_limit_gb for name, tower in self.config.towers.items()}
            ),
        }
