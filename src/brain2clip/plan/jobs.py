"""Every job of a configuration, as rules and ``brain2clip why`` ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from brain2clip.plan.runs import Applied, Run
from brain2clip.plan.shown import Shown
from brain2clip.plan.spec import Spec
from brain2clip.readers import file_records
from brain2clip.stage import InputError

#: Stages in the order of the pipeline.
STAGES = (
    *(
        "download",
        "images",
        "bricks",
        "simulate_pictures",
        "simulate_recordings",
        "simulate_voxels",
        "simulate_dataset",
    ),
    *(
        "epochs",
        "preprocessed",
        "voxels",
        "sessions",
        "catalogue",
        "features",
        "vectors",
        "export",
        "train",
        "tune",
        "rank",
        "apply",
        "ceiling",
        "imported",
        "inspect",
    ),
    *("calibrate", "embed", "negative", "generate", "oracle", "judge"),
    *("timecourse", "summaries", "tables", "figures", "page"),
)


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes
    ----------
    spec : Spec
    inputs : mapping
        Name of each input of the rule to its paths.
    outputs : tuple of str
    on_gpu : bool
        Whether it asks for a GPU.
    """

    spec: Spec
    inputs: Mapping[str, Sequence[str]]
    outputs: tuple[str, ...]
    on_gpu: bool = False

    @property
    def stage(self) -> str:
        """Stage, which is the rule."""
        return self.spec.stage


class Plan(Shown):
    """The jobs of a configuration: a method for each rule, and :meth:`jobs` for all."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for name in (
            *("rank_job", "train_job", "summaries_job", "tables_job", "figures_job", "page_job", "responses_job"),
        ):
            setattr(self, name, cache(getattr(self, name)))

    # Rules ask with their wildcards, which are strings.

    def run(self, w: object) -> Run:
        """The run that wildcards of a rule name."""
        names = {name: getattr(w, name) for name in Run._fields}
        return Run(**{**names, "seed": int(names["seed"])})

    # ----------------------------------------------------------------------------------- jobs by stage

    def simulate_pictures_job(self, study: str) -> Job:
        """Draw the pictures of a study."""
        names = ("stimuli/stimuli.tsv", "derivatives/truth/features.h5", f"stimuli/{file_records.NAME}")
        return Job(self.simulate_pictures_spec(study), {}, tuple(self.raw(study, name) for name in names))

    def simulated_job(self, study: str, subject: str) -> Job:
        """Simulate recordings or voxels of a subject."""
        stimuli, features, _ = self.simulate_pictures_job(study).outputs
        name = f"sub-{subject}_voxels.h5" if self.is_voxels(study) else file_records.NAME
        signals = self.raw(study, f"sub-{subject}/{name}")
        inputs = {"stimuli": [stimuli], "features": [features]}
        return Job(self.truth_spec(study, subject), inputs, (signals, self.truth(study, subject)))

    def simulate_dataset_job(self, study: str) -> Job:
        """Describe a simulated study as a BIDS dataset."""
        return Job(self.simulate_dataset_spec(study), {}, (self.raw(study, "dataset_description.json"),))

    def download_job(self, dataset: str, unit: str) -> Job:
        """Fetch a unit of a dataset."""
        return Job(self.download_spec(dataset, unit), {}, (self.record(dataset, unit),))

    def images_job(self, dataset: str) -> Job:
        """Unpack the pictures of a dataset."""
        study = self.study(self.bringing_pictures()[dataset])
        inputs = {"record": study.archive_files(), "index": study.label_files()}
        names = ("stimuli/stimuli.tsv", f"stimuli/{file_records.NAME}")
        return Job(self.images_spec(dataset), inputs, tuple(self.raw(dataset, name) for name in names))

    def bricks_job(self, study: str) -> Job:
        """Unpack the pictures of a study that are rows of one array."""
        names = ("pictures/pictures.tsv", f"pictures/{file_records.NAME}")
        inputs = {"brick": self.study(study).brick_files()}
        return Job(self.bricks_spec(study), inputs, tuple(self.raw(study, name) for name in names))

    def responses_job(self, study: str, signal: str, subject: str) -> Job:
        """Responses of a subject: ``epochs``, ``preprocessed`` or ``voxels``."""
        own = self.study(study)
        # Tables of the user are no inputs: their time says nothing, and what is read of them stands in the spec.
        labels = own.label_files() if own.label_digest() is None else []
        inputs = {"signals": own.files(subject), "stimuli": labels}
        made = (self.responses(study, signal, subject),)
        return Job(self.responses_spec(study, signal, subject), inputs, made)

    def sessions_job(self, study: str, signal: str, subject: str, sessions: int) -> Job:
        """Responses of a subject with training trials of the first sessions only."""
        inputs = {"responses": [self.responses(study, signal, subject)]}
        made = (self.first_responses(study, signal, subject, sessions),)
        return Job(self.sessions_spec(study, signal, subject, sessions), inputs, made)

    def catalogue_job(self, study: str) -> Job:
        """Table of the stimuli of a study."""
        own = self.study(study)
        inputs = {"stimuli": own.stimulus_files() if own.catalogue_digest() is None else []}
        return Job(self.catalogue_spec(study), inputs, (self.catalogue(study),))

    def features_job(self, study: str, tower: str) -> Job:
        """Features of the stimuli of a study."""
        from brain2clip.stimuli import weights

        block, ready = self.config.towers[tower], self.ready(study, tower)
        inputs = {
            "catalogue": [self.catalogue(study)],
            "weights": weights.of(block.model, block.pretrained),
            "ready": [ready] if ready else [],
        }
        return Job(self.features_spec(study, tower), inputs, (self.features(study, tower),), on_gpu=True)

    def vectors_job(self, study: str, tower: str, name: str) -> Job:
        """A further vector of the stimuli of a study."""
        from brain2clip.stimuli import weights

        block, vector = self.config.towers[tower], self.vector_named(study, tower, name)
        inputs = {"catalogue": [self.catalogue(study)]}
        if vector.ready is not None:
            inputs["ready"] = [self.ready_vector(study, vector.ready)]
        else:
            inputs["weights"] = weights.of(block.model, block.pretrained)
        return Job(self.vectors_spec(study, tower, vector), inputs, (self.vector(study, tower, name),), on_gpu=True)

    def export_job(self, form: str, study: str, signal: str, subject: str) -> Job:
        """Responses in another project's format; the reader of ``ubp`` opens pictures by name."""
        own = self.study(study)
        inputs = {
            "responses": [self.responses(study, signal, subject)],
            "stimuli": own.stimulus_files() if form == "ubp" else own.label_files(),
        }
        made = tuple(self.export(form, study, signal, subject))
        return Job(self.export_spec(form, study, signal, subject), inputs, made)

    def train_job(self, run: Run) -> Job:
        """A model, of stage ``tune`` where it goes on from another."""
        inputs = {
            "responses": [self.responses_of(run, source) for source in self.sources(run)],
            "stimuli": [self.features_of(run)],
            "vectors": self.vector_files(run),
        }
        if (start := self.started_from(run)) is not None:
            inputs["start"] = [self.checkpoint(start)]
        made = (self.checkpoint(run), self.history(run))
        return Job(self.train_spec(run), inputs, made, on_gpu=self.method(run.method).on_gpu)

    def rank_job(self, run: Run) -> Job:
        """Retrieval rows of a run by its model, an ideal observer (stage ``ceiling``) or a file (``imported``)."""
        inputs = {"responses": [self.responses_of(run, run.subject)], "stimuli": [self.features_of(run)]}
        match self.method(run.method).ranked_by:
            case "ceiling":  # knows the response to every trial, whichever others train on
                inputs["responses"] = [self.responses(run.study, run.signal, run.subject)]
                inputs["truth"] = [self.truth(run.study, run.subject)]
            case "imported":
                inputs = {"stimuli": [self.features_of(run)], "result": [self.imported_file(run)]}
            case _:
                inputs |= {"vectors": self.vector_files(run), "checkpoint": [self.checkpoint(run)]}
        return Job(self.retrieval_spec(run), inputs, (self.rows(run),))

    def apply_job(self, one: Applied) -> Job:
        """Retrieval rows of a model on recordings of another study."""
        inputs = {
            "responses": [self.responses(one.run.study, one.run.signal, one.run.subject)],
            "stimuli": [self.features_of(one.run)],
            "vectors": self.vector_files(one.run),
            "checkpoint": [self.checkpoint(one.model)],
            "trained": [self.features_of(one.model)],
        }
        return Job(self.apply_spec(one), inputs, (self.applied_rows(one),))

    def picturing(self, w: Any) -> tuple[Run, str]:
        """Run and generator that wildcards of a rule name."""
        return self.run(w), str(w.generator)

    def application(self, w: object) -> Applied:
        """What wildcards of the rule ``apply`` name.

        Raises
        ------
        InputError
            If the configuration has no such file.
        """
        names = {name: getattr(w, name) for name in ("apply", "signal", "protocol", "method", "subject", "seed")}
        path = "{apply}/{signal}/{protocol}/{method}/sub-{subject}_seed-{seed}".format(**names)
        found = [one for one in self.applied() if one.path == path]
        if not found:
            raise InputError(f"apply: the configuration has no entry that writes {path}")
        return found[0]

    def inspect_job(self, run: Run) -> Job:
        """Gains and prompts of a run."""
        made = tuple(f"{self.results}/retrieval/{run.path}.{name}.parquet" for name in ("gains", "prompts"))
        return Job(self.inspect_spec(run), self.rank_job(run).inputs, made)

    def embed_job(self, run: Run) -> Job:
        """Predicted embeddings of a run."""
        inputs = dict(self.rank_job(run).inputs)
        if run in self.points_wanted and self.method(run.method).points == "calibrated":
            inputs["calibration"] = [self.calibration(self.model_of(run))]
        return Job(self.embed_spec(run), inputs, (self.embeddings(run),))

    def calibrate_job(self, model: Run) -> Job:
        """Calibration of the predictions of a model to points."""
        trained = self.train_job(model)
        return Job(self.calibrate_spec(model), trained.inputs, (self.calibration(model),), trained.on_gpu)

    def negative_job(self, tower: str) -> Job:
        """Embedding of a picture that is zero."""
        from brain2clip.stimuli import weights

        block = self.config.towers[tower]
        inputs = {"weights": weights.of(block.model, block.pretrained)}
        return Job(self.negative_spec(tower), inputs, (self.negative(tower),))

    def generate_job(self, run: Run, generator: str) -> Job:
        """Pictures of a run's predictions."""
        inputs = {"embeddings": [self.embeddings(run)], **self._generating_inputs(run.study, generator)}
        made = (self.generated_pictures(run, generator),)
        return Job(self.generate_spec(run, generator), inputs, made, on_gpu=True)

    def oracle_job(self, study: str, generator: str) -> Job:
        """Pictures that a generator makes from the embeddings of the test pictures themselves."""
        inputs = self._generating_inputs(study, generator)
        return Job(self.oracle_spec(study, generator), inputs, (self.oracle(study, generator),), on_gpu=True)

    def _generating_inputs(self, study: str, generator: str) -> dict[str, list[str]]:
        from brain2clip.generation import files as generator_files

        block = self.config.generators[generator]
        return {
            "stimuli": [self.features(study, block.tower)],
            "negative": [self.negative(block.tower)],
            "weights": generator_files.of(block),
        }

    def judge_job(self, run: Run, generator: str) -> Job:
        """Judgements of the pictures of a run."""
        from brain2clip.generation import files as generator_files

        block = self.config.generators[generator]
        inputs = {
            "embeddings": [self.embeddings(run)],
            "generated": [self.generated_pictures(run, generator)],
            "oracle": [self.oracle(run.study, generator)],
            "stimuli": [self.features(run.study, block.tower)],
            "weights": sorted({path for one in self.config.judges.values() for path in generator_files.of_judge(one)}),
        }
        return Job(
            self.judge_spec(run, generator), inputs, (self.judged(run, generator),), on_gpu=bool(self.config.judges)
        )

    def timecourse_job(self, study: str, signal: str, subject: str) -> Job:
        """Accuracy over time of a subject."""
        inputs = {
            "responses": [self.responses(study, signal, subject)],
            "stimuli": [self.features(study, self.shown_tower(study))],
        }
        return Job(self.timecourse_spec(study, signal, subject), inputs, (self.timecourse(study, signal, subject),))

    def summaries_job(self, block: str) -> Job:
        """Metrics of a method."""
        inputs = {"rows": [self.rows(run) for run in self.blocks[block]]}
        return Job(self.summaries_spec(block), inputs, (self.summary(block),))

    def tables_job(self) -> Job:
        """All tables."""
        inputs = {
            "summary": [self.summary(block) for block in self.blocks],
            "rows": [self.rows(run) for run in self.runs()],
            "published": self.published(),
            "history": [self.history(model) for model in self.models_shown()],
            "judged": [self.judged(*one) for one in self.judged_shown()],
        }
        return Job(self.tables_spec(), inputs, tuple(self.tables()))

    def figures_job(self, study: str, name: str) -> Job:
        """A figure."""
        inputs = {key: list(files) for key, files in self.figure_inputs(study, name).items()}
        return Job(self.figures_spec(study, name), inputs, (self.figure(study, name),))

    def page_job(self) -> Job:
        """The results page; its figures are those that show no picture of a stimulus."""
        inputs = {
            "summary": self.tables()[:1],
            "table": [self.table(name, "parquet") for name in sorted(self.config.tables)],
            "sheet": [self.table(name, "md") for name in sorted(self.config.tables)],
            "rows": [self.rows(run) for run in self.runs()],
            "history": [self.history(model) for model in self.models_timed()],
            "catalogue": [self.catalogue(study) for study in self.studies_run],
            "published": self.published(),
            "figure": [self.figure(*one) for one in self.page_figures()],
        }
        if pictured := self.generated():
            inputs |= {
                "judged": [self.judged(*one) for one in pictured],
                "generated": [self.generated_pictures(*one) for one in pictured],
                "oracle": [self.oracle(*one) for one in self.oracles()],
            }
        return Job(self.page_spec(), inputs, tuple(self.page()))

    # -------------------------------------------------------------------------------------------- all

    def targets(self) -> list[str]:
        """Target files of the configuration."""
        return [
            *self.descriptions(),
            *self.tables(),
            *self.figures(),
            *self.page(),
            *self.exports(),
            *map(self.applied_rows, self.applied()),
            *(self.judged(*one) for one in self.generated()),
        ]

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        """Every job that the targets need, by its first output."""
        maker = {output: job for job in self._possible() for output in job.outputs}
        found: dict[str, Job] = {}
        waiting = self.targets()
        while waiting:
            job = maker.get(waiting.pop())
            if job is not None and job.outputs[0] not in found:
                found[job.outputs[0]] = job
                waiting.extend(path for paths in job.inputs.values() for path in paths)
        order = {stage: place for place, stage in enumerate(STAGES)}
        return dict(sorted(found.items(), key=lambda one: (order[one[1].stage], one[0])))

    def jobs(self) -> dict[str, Job]:
        """Every job that the targets need, by its first output, in the order of the pipeline."""
        return self._jobs

    def _possible(self) -> Iterator[Job]:
        """Jobs of everything in the configuration, needed or not."""
        for dataset, units in self.downloads().items():
            yield from (self.download_job(dataset, unit) for unit in units)
        yield from map(self.images_job, self.bringing_pictures())
        yield from map(self.bricks_job, self.bricked())
        for study in self.studies_used:
            if self.block(study).simulated:
                yield self.simulate_pictures_job(study)
                yield from (self.simulated_job(study, subject) for subject in self.subjects(study))
                if not self.is_voxels(study):
                    yield self.simulate_dataset_job(study)
        runs, applied = self.runs(), self.applied()
        for study in self.studies_ranked:
            yield self.catalogue_job(study)
            towers = sorted({self.method(name).tower for name in self.methods_on(study)})
            yield from (self.features_job(study, tower) for tower in towers)
            yield from (
                self.vectors_job(study, tower, name) for tower in towers for name in self.vectors_of(study, tower)
            )
        asked = {
            (run.study, run.signal, subject)
            for run in runs
            if self.method(run.method).ranked_by != "imported"
            for subject in {run.subject, *self.sources(run)}
        }
        models = self.models(runs)
        starts = self.starts(models)
        asked |= {(run.study, run.signal, subject) for run in starts for subject in self.sources(run)}
        asked |= {(one.run.study, one.run.signal, one.run.subject) for one in applied}
        for one in sorted(asked | {one[1:] for one in self.exported()}):
            yield self.responses_job(*one)
        yield from (self.sessions_job(*one) for one in self.first_sessions_read())
        yield from (self.export_job(*one) for one in self.exported())
        yield from map(self.train_job, [*starts, *models])
        yield from map(self.rank_job, runs)
        yield from map(self.apply_job, applied)
        yield from (self.inspect_job(run) for run in runs if self.method(run.method).prompted)
        yield from (
            self.embed_job(run) for run in runs if self.method(run.method).joint_space or run in self.points_wanted
        )
        yield from map(
            self.calibrate_job,
            self.models(run for run in self.points_wanted if self.method(run.method).points == "calibrated"),
        )
        generated = self.generated()
        yield from map(self.negative_job, sorted({self.config.generators[name].tower for _, name in generated}))
        yield from (self.oracle_job(*one) for one in sorted({(run.study, name) for run, name in generated}))
        for run, name in generated:
            yield self.generate_job(run, name)
            yield self.judge_job(run, name)
        for study in filter(self.has_timecourse, self.studies_run):
            signal = self.main_experiment(study).signals[0]
            yield from (self.timecourse_job(study, signal, subject) for subject in self.subjects(study))
        yield from map(self.summaries_job, self.blocks)
        yield self.tables_job()
        for study in self.figure_studies():
            yield from (self.figures_job(study, name) for name in self.figures_of(study))
        yield self.page_job()

    def room(self) -> Path:
        """The nearest existing folder above the downloads."""
        return next(path for path in Path(self.results, "raw").absolute().parents if path.exists())
