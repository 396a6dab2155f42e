# What all rules share: the validated configuration, one canonical JSON of settings per job, and the lists of targets.
# Only light modules are imported here, because every scheduled job parses this file.
import os
import shlex
import shutil
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from brain2clip import artefact, records, settings, slurm
from brain2clip.fingerprint import fingerprint
from brain2clip.stage import InputError
from brain2clip.stimuli import tower_files
from brain2clip.studies import bids_files, contract

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# A job on another node parses this again: it takes the settings that the run was planned with, whatever the file says now.
given = config if workflow.is_main_process else records.unpack(os.environ.get(records.PLANNED)) or config
try:
    CONFIG = settings.load(given, source=" + ".join(map(str, workflow.overwrite_configfiles)) or "config.yaml")
except settings.SettingsError as error:
    raise WorkflowError(str(error))

if workflow.is_main_process:
    os.environ[records.PLANNED] = records.pack(settings.canonical(CONFIG))
    workflow.register_envvars(records.PLANNED)
    records.watch(workflow)
    slurm.watch(workflow, CONFIG.results)

RESULTS = CONFIG.results
# The prefix is not part of the text that Snakemake compares, so a moved environment re-runs nothing.
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    f" PYTHONPATH={shlex.quote(str(ROOT / 'src'))}; "
)


def dump(block):
    return block.model_dump(mode="json")


class Spec(dict):
    """The one JSON of a job: what it reads, the code it reaches, what its inputs must carry."""

    @cached_property
    def origin(self):
        """Digest of a spec and, through what it expects, of all specs before it."""
        return artefact.origin(self)

    @cached_property
    def expected(self):
        """The part that the job's artefacts must carry."""
        return {key: self[key] for key in ("stage", "settings", "code")} | {"origin": self.origin}


def spec(stage, module, values, expects=None, extra=()):
    modules = [module, *extra]
    return Spec(
        stage=stage,
        format=artefact.FORMAT,
        settings=values,
        modules=modules,
        code=code(*modules),
        expects=expects or {},
    )


def expected(one):
    return one.expected


def origin(one):
    return one.origin


@cache
def code(*modules):
    return fingerprint(*modules)


@cache
def study_of(name):
    return contract.load(name, dump(CONFIG.studies[name]), RESULTS)


def asked(question):
    """An answer of a study, its refusals turned into Snakemake's own kind of error."""
    try:
        return question()
    except InputError as error:
        raise WorkflowError(str(error))


@cache
def subjects_of(study):
    return asked(lambda: study_of(study).subjects())


#: Settings of a study that neither responses nor pictures read (responses settings are passed beside the study).
NOT_READ = {"responses", "voxels", "ready_features", "subjects", "licence", "citation"}
#: Settings that the pictures depend on, by kind of study (kinds that are not listed: all).
PICTURES = {
    "simulated": {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"},
    "simulated_fmri": {"kind", "training_concepts", "pictures_per_concept", "test_concepts", "seed"},
    "things_eeg2": {"kind", "manifest", "images"},
}


#: Settings that only the features read, by kind of study: its rows are the same without pictures and sentences.
OF_FEATURES = {"god": {"captions", "pictures", "class_names"}, "things_fmri": {"pictures"}}


def study_settings(name):
    """Settings of a study; with its subjects only where their events decide which pictures are the test."""
    unread = NOT_READ - {"subjects"} if asked(lambda: study_of(name).split_from_events) else NOT_READ
    return {key: value for key, value in dump(CONFIG.studies[name]).items() if key not in unread}


def studies_of(*kinds):
    """Wildcard pattern of the studies of some kinds (one that matches nothing where there are none)."""
    return "|".join(name for name, study in CONFIG.studies.items() if study.kind in kinds) or "(?!)"


def is_voxels(study):
    """Whether the responses of a study are voxels, and its bands regions."""
    return CONFIG.studies[study].kind in settings.VOXEL_KINDS


def preprocessed():
    """Wildcard pattern of the studies whose responses come from the authors' own epochs."""
    return (
        "|".join(name for name, study in CONFIG.studies.items() if getattr(study, "signal", "raw") == "preprocessed")
        or "(?!)"
    )


def is_downloaded(name):
    return hasattr(study_of(name), "downloads")


def record(study, unit):
    """File that a finished download leaves."""
    return f"{RESULTS}/downloads/{study_of(study).dataset}/{unit}.json"


@cache
def downloads(*names):
    """All downloads that studies (none named: all) may ask for: dataset to unit to files of the manifest."""
    found = {}
    for name in names or CONFIG.studies:
        if not is_downloaded(name):
            continue
        units = found.setdefault(study_of(name).dataset, {})
        for unit, files in asked(study_of(name).downloads).items():
            if units.setdefault(unit, files) != files:
                raise WorkflowError(
                    f"studies.{name}: another study takes other files for {unit} of {study_of(name).dataset}; "
                    "give both the same manifest"
                )
    return found


def picture_settings(name):
    values = study_settings(name)
    read = PICTURES.get(values["kind"], values.keys())
    return {key: value for key, value in values.items() if key in read}


def study_module(name):
    return contract.module_name(CONFIG.studies[name].kind)


# ------------------------------------------------------------------------------------------------- runs


def seeds_of(experiment, method):
    """Seeds of a method: one is enough where nothing is random."""
    if CONFIG.methods[method].kind in ("contrastive", "mapping") or getattr(
        CONFIG.methods[method], "shuffle_labels", False
    ):
        return experiment.seeds
    return experiment.seeds[:1]


#: Stands for all subjects in the name of a model that was trained on them together.
EVERYONE = "all"


class Run(NamedTuple):
    """One model: what its files are named after."""

    study: str
    band: str
    protocol: str
    method: str
    subject: str
    seed: int

    @property
    def path(self):
        """Path below a stage's folder, without ending."""
        return f"{self.study}/{self.band}/{self.protocol}/{self.method}/sub-{self.subject}_seed-{self.seed}"


@cache
def runs_of(experiment):
    """All runs of an experiment."""
    return [
        Run(experiment.study, band, protocol, method, subject, seed)
        for band in experiment.bands
        for protocol in experiment.protocols
        for method in experiment.methods
        for subject in subjects_of(experiment.study)
        for seed in seeds_of(experiment, method)
    ]


@cache
def runs():
    """Runs of all experiments, each once; sorted, because the order of keys in the configuration must not matter."""
    return sorted({run for experiment in CONFIG.experiments.values() for run in runs_of(experiment)})


def model_of(run):
    """The run whose training makes a run's model: of all subjects together for a joint protocol."""
    one = Run(run.study, run.band, run.protocol, run.method, run.subject, int(run.seed))
    return one._replace(subject=EVERYONE) if CONFIG.protocols[run.protocol].kind == "joint" else one


def per_run(spec_of):
    """Spec of a run, which may be given as wildcards; made once, because many others hold it."""
    made = cache(spec_of)
    return lambda w: made(Run(w.study, w.band, w.protocol, w.method, w.subject, int(w.seed)))


def results(folder, chosen, ending):
    return [f"{RESULTS}/{folder}/{run.path}{ending}" for run in chosen]


def studies_run():
    return sorted({experiment.study for experiment in CONFIG.experiments.values()})


def descriptions():
    """What makes a BIDS dataset of the recordings; downloaded datasets bring their own."""
    simulated_ones = [
        f"{RESULTS}/raw/{study}/dataset_description.json"
        for study in studies_run()
        if CONFIG.studies[study].kind == "simulated"
    ]
    downloaded = {
        path for study in studies_run() if is_downloaded(study) for path in study_of(study).description_files()
    }
    return simulated_ones + sorted(downloaded)


def methods_of_kind(*kinds):
    """Wildcard pattern of the methods of some kinds (one that matches nothing where there are none)."""
    names = [name for name, method in CONFIG.methods.items() if method.kind in kinds]
    return "|".join(names) or "(?!)"


def neuroclip_methods():
    return [
        name
        for name, method in CONFIG.methods.items()
        if method.kind == "contrastive" and method.visual.kind == "neuroclip"
    ]


# The report names licence and citation of every study; those that are downloaded know them themselves.
for name in CONFIG.studies:
    for key in ("licence", "citation"):
        config["studies"][name].setdefault(key, getattr(study_of(name), key))
