"""Files that jobs read and write, below the folder of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from brain2clip.plan.runs import Applied, Run
from brain2clip.plan.spec import Spec
from brain2clip.plan.specs import Specs

#: Endings of the two files (training, test) of each format of an export.
EXPORTED = {
    "nice": ("preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"),
    "ubp": ("train.pt", "test.pt"),
}
#: Endings of the files of a table.
ENDINGS = ("parquet", "md", "tex")
#: Endings of the data files of the results page.
TAKEN = ("csv", "parquet")
#: Published results, which are shown beside the computed ones.
PUBLISHED = Path("workflow/published")


class Files(Specs):
    """Paths of artefacts."""

    def record(self, dataset: str, unit: str) -> str:
        """Record of a finished download."""
        return f"{self.results}/downloads/{dataset}/{unit}.json"

    def raw(self, study: str, path: str) -> str:
        """A file of a simulated study or of a dataset."""
        return f"{self.results}/raw/{study}/{path}"

    def truth(self, study: str, subject: str) -> str:
        """Truth about a simulated subject."""
        return self.raw(study, f"derivatives/truth/sub-{subject}.h5")

    def responses(self, study: str, signal: str, subject: str) -> str:
        """Responses of a subject."""
        return f"{self.results}/responses/{study}/{signal}/sub-{subject}.h5"

    def first_responses(self, study: str, signal: str, subject: str, sessions: int) -> str:
        """Responses of a subject with training trials of the first sessions only."""
        return f"{self.results}/responses/{study}/{signal}/sub-{subject}.sessions-{sessions}.h5"

    def responses_of(self, run: Run, subject: str) -> str:
        """Responses of a subject that a run reads, of those sessions that its protocol takes."""
        sessions = self.first_sessions(run, subject)
        if sessions is None:
            return self.responses(run.study, run.signal, subject)
        return self.first_responses(run.study, run.signal, subject, sessions)

    def catalogue(self, study: str) -> str:
        """Table of the stimuli of a study."""
        return f"{self.results}/catalogue/{study}.parquet"

    def features(self, study: str, tower: str) -> str:
        """Frozen features of a study's stimuli."""
        return f"{self.results}/stimuli/{study}/{tower}.h5"

    def vector(self, study: str, tower: str, name: str) -> str:
        """A further vector of a study's stimuli."""
        return f"{self.results}/vectors/{study}/{tower}/{name}.h5"

    def features_of(self, run: Run) -> str:
        """Features that a run looks its candidates up in."""
        return self.features(run.study, self.method(run.method).tower)

    def vector_files(self, run: Run) -> list[str]:
        """Further vectors that a run reads of its candidates."""
        method = self.method(run.method)
        return [self.vector(run.study, method.tower, one.name) for one in method.vectors]

    def checkpoint(self, run: Run) -> str:
        """Trained parameters that a run uses."""
        return f"{self.results}/training/{self.model_of(run).path}.safetensors"

    def history(self, model: Run) -> str:
        """How the training of a model (:meth:`Runs.model_of`) went."""
        return f"{self.results}/training/{model.path}.history.parquet"

    def rows(self, run: Run) -> str:
        """Retrieval rows of a run."""
        return f"{self.results}/retrieval/{run.path}.parquet"

    def imported_file(self, run: Run) -> str:
        """File of a run's result that was made elsewhere."""
        method: Any = self.method(run.method)
        return str(method.file.format(**run.columns))

    def applied_rows(self, one: Applied) -> str:
        """Retrieval rows of a model on recordings of another study."""
        return f"{self.results}/apply/{one.path}.parquet"

    def calibration(self, model: Run) -> str:
        """Calibration of the predictions of a model to points (:meth:`Runs.model_of`)."""
        return f"{self.results}/calibrate/{model.path}.safetensors"

    def embeddings(self, run: Run) -> str:
        """Predicted embeddings of a run."""
        return f"{self.results}/retrieval/{run.path}.embeddings.h5"

    def negative(self, tower: str) -> str:
        """Embedding of a picture that is zero, by a tower."""
        return f"{self.results}/negative/{tower}.h5"

    def generated_pictures(self, run: Run, generator: str) -> str:
        """Pictures of a run's predictions."""
        return f"{self.results}/generate/{run.path}.{generator}.h5"

    def oracle(self, study: str, generator: str) -> str:
        """Pictures that a generator makes of the test pictures' own embeddings."""
        return f"{self.results}/oracle/{study}/{generator}.h5"

    def judged(self, run: Run, generator: str) -> str:
        """Judgements of the pictures of a run."""
        return f"{self.results}/judge/{run.path}.{generator}.parquet"

    def timecourse(self, study: str, signal: str, subject: str) -> str:
        """Retrieval rows by windows of time."""
        return f"{self.results}/timecourse/{study}/{signal}/sub-{subject}.parquet"

    def summary(self, block: str) -> str:
        """Metrics of the runs of a method (:attr:`Runs.blocks`)."""
        return f"{self.results}/summaries/{block}.parquet"

    def export(self, form: str, study: str, signal: str, subject: str) -> list[str]:
        """The two files of an export."""
        folder = f"{self.results}/export/{form}/{study}/{signal}/sub-{subject}"
        return [f"{folder}/{ending}" for ending in EXPORTED[form]]

    # ----------------------------------------------------------------------------------------- targets

    def descriptions(self) -> list[str]:
        """Files that complete simulated recordings to a BIDS dataset; downloaded datasets have their own."""
        simulated = [
            self.raw(study, "dataset_description.json")
            for study in self.studies_used
            if self.block(study).simulated and not self.is_voxels(study)
        ]
        downloaded = {
            path for study in self.studies_used if self.is_downloaded(study)
            for path in self.study(study).description_files()
        }  # fmt: skip
        return simulated + sorted(downloaded)

    def tables(self) -> list[str]:
        """Files of the tables; first the summary of all runs."""
        names = [f"{table}.{ending}" for table in sorted(self.config.tables) for ending in ENDINGS]
        return [f"{self.results}/tables/{name}" for name in ("summary.parquet", *names)]

    def table(self, name: str, ending: str) -> str:
        """A file of a table."""
        return f"{self.results}/tables/{name}.{ending}"

    def page(self) -> list[str]:
        """Files of the results page: first the page itself, then what it loads and what can be taken from it."""
        tables = [f"tables/{name}" for name in self.config.tables]
        taken = [f"data/{name}.{ending}" for name in ("summary", "methods", *tables) for ending in TAKEN]
        loaded = [f"pictures/{study}.js" for study in self.studies_run]
        loaded += [f"queries/{block}/{task}.js" for block in self.blocks for task in self.config.retrieval.tasks]
        loaded += sorted({f"generated/{run.block}/{generator}.js" for run, generator in self.generated()})
        loaded += [f"oracle/{study}/{generator}.js" for study, generator in self.oracles()]
        names = ("page.html", *taken, "data/queries.parquet", "data/queries.csv.gz", *loaded)
        return [f"{self.results}/page/{name}" for name in names]

    def published(self) -> list[str]:
        """Tables of published numbers."""
        return sorted(map(str, PUBLISHED.glob("*.csv")))

    def exports(self) -> list[str]:
        """Files of all exports."""
        return [path for one in self.exported() for path in self.export(*one)]

    def exported(self) -> list[tuple[str, str, str, str]]:
        """Format, study, signal and subject of all exports, each once."""
        return list(
            dict.fromkeys(
                (form, one.study, signal, subject)
                for one in self.config.exports.values()
                for form in one.formats
                for signal in one.signals
                for subject in self.subjects(one.study)
            )
        )

    # ------------------------------------------------------------------------- files and who makes them

    def made_files(
        self, folder: str, runs: Iterable[Run], ending: str, spec_of: Callable[[Run], Spec]
    ) -> dict[str, Spec]:
        """Files of runs, each with the spec that makes it."""
        return {f"{self.results}/{folder}/{run.path}{ending}": spec_of(run) for run in runs}

    def responses_files(self, study: str, signals: Iterable[str]) -> dict[str, Spec]:
        """Responses of all subjects, each with the spec that makes it."""
        return {
            self.responses(study, signal, subject): self.responses_spec(study, signal, subject)
            for signal in signals
            for subject in self.subjects(study)
        }

    def stimuli_file(self, study: str, method: str) -> dict[str, Spec]:
        """Features that a method of a study looks its candidates up in, with their spec."""
        tower = self.method(method).tower
        return {self.features(study, tower): self.features_spec(study, tower)}

    def picture_files(self, study: str) -> dict[str, dict[str, Spec]]:
        """All that the trained methods of a study read of pictures: ``stimuli`` and ``vectors``, with their specs."""
        ran = {name for one in self.config.experiments.values() if one.study == study for name in one.methods}
        towers = sorted({self.method(name).tower for name in ran if self.method(name).trained})
        return {
            "stimuli": {self.features(study, tower): self.features_spec(study, tower) for tower in towers},
            "vectors": {
                self.vector(study, tower, name): self.vectors_spec(study, tower, vector)
                for tower in towers
                for name, vector in self.vectors_of(study, tower).items()
            },
        }

    def drive_file(self, study: str) -> dict[str, Spec]:
        """Features of every picture that drive the simulated responses, with the spec that makes them."""
        return {self.raw(study, "derivatives/truth/features.h5"): self.simulate_pictures_spec(study)}

    # ---------------------------------------------------------------------------------------- download

    def missing_downloads(self) -> list[object]:
        """Files that experiments and exports need and that are not downloaded yet."""
        return [
            file
            for dataset, units in self.downloads(*self.studies_used).items()
            for unit, files in units.items()
            if not Path(self.record(dataset, unit)).exists()
            for file in files
        ]
