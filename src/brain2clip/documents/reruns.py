"""Which stages each setting reruns, according to the plan.

Every setting of an example configuration is changed to another valid value, one at a time, and the specs of all jobs
are compared with those before. A job whose settings differ reads the setting; a job that only expects other inputs
follows; a job that did not exist before is new. A block that is missing in the example is an error, so that a new
study, method or table has to be added below.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import os
import re
import tempfile
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from brain2clip import settings
from brain2clip.plan import Plan
from brain2clip.readers import manifests, nsd_files
from brain2clip.stage import InputError

ROOT = Path(__file__).resolve().parents[3]

#: A small configuration with every kind of block; its specs are made for each setting of each block.
EXAMPLE = """
presets:
  short: {tmax: 0.6, crop: [0.0, 0.5]}
studies:
  simulated: {kind: simulated, subjects: 2, responses: {base: short}, ready_vectors: &ready {dino: a.npz, other: b.npz}}
  pictures:
    {kind: bids, root: FOLDER, tasks: [view], stimulus: picture, keep: {trial_type: [image]},
     responses: {whitening: {kind: zscore}}, stimuli: FOLDER/pictures.tsv, ready_vectors: *ready,
     split: {by: column, column: part, test: [b]}}
  prompts:
    {kind: bids, root: FOLDER, tasks: [view], stimulus: trial_type, split: {by: run, test: ["02"]},
     responses: {whitening: {kind: robust}},
     categories: {face: [a photo of a face], house: [a photo of a house]}}
  meg:
    {kind: bids, root: FOLDER, datatype: meg, tasks: [view], stimulus: trial_type, split: {by: run, test: ["02"]},
      categories: {face: [a photo of a face], house: [a photo of a house]}}
  fetched:
    {kind: bids, manifest: FOLDER/view.csv, tasks: [view], stimulus: trial_type, split: {by: run, test: ["02"]},
     categories: {face: [a photo of a face], house: [a photo of a house]}}
  things-eeg2:
    {kind: things_eeg2, subjects: ["01"], sessions: ["01"], runs: ["01"], manifest: FOLDER/things-eeg2.csv,
     ready_vectors: *ready}
  things-eeg2-epochs:
    {kind: things_eeg2, subjects: ["01"], source: preprocessed, manifest: FOLDER/things-eeg2.csv}
  things-eeg1:
    {kind: things_eeg1, subjects: ["02"], manifest: FOLDER/things-eeg1.csv, responses: {whitening: {kind: none}},
     ready_vectors: *ready}
  things-meg:
    {kind: things_meg, subjects: [BIGMEG1], manifest: FOLDER/things-meg.csv, responses: {whitening: {kind: none}},
     ready_vectors: *ready}
  things-meg-epochs:
    {kind: things_meg, subjects: [BIGMEG1], source: preprocessed, epochs: FOLDER, manifest: FOLDER/things-meg.csv}
  simulated-fmri:
    {kind: simulated_fmri, subjects: 2, sessions: 2, training_concepts: 4, pictures_per_concept: 2, test_concepts: 3,
     ready_vectors: *ready}
  god: {kind: god, subjects: ["01"], manifest: FOLDER/god.csv, ready_vectors: *ready}
  things-fmri: {kind: things_fmri, root: FOLDER, subjects: ["01"], ready_vectors: *ready}
  nsd: {kind: nsd, accept_terms: true, manifest: FOLDER/nsd.csv, subjects: ["01"], sessions: 1, ready_vectors: *ready}
  nsd-folder: {kind: nsd, accept_terms: true, root: FOLDER, subjects: ["01"], sessions: 1}
  bold5000: {kind: bold5000, root: FOLDER, subjects: [CSI1], ready_vectors: *ready}
  bold5000-volumes: {kind: bold5000, root: FOLDER, subjects: [CSI1], source: volumes}
  voxels:
    {kind: voxel_table, signals: "FOLDER/sub-{subject}.npz", table: "FOLDER/sub-{subject}.tsv", subjects: ["01"],
     stimulus: name, run: run, split: {by: run, test: ["02"]},
     categories: {face: [a photo of a face], house: [a photo of a house]}}
  voxels-alone: # whose voxels no apply compares, so that a delay is tried, which other kinds refuse
    {kind: voxel_table, signals: "FOLDER/sub-{subject}.npz", table: "FOLDER/sub-{subject}.tsv", subjects: ["01"],
     stimulus: name, run: run, split: {by: run, test: ["02"]},
     categories: {face: [a photo of a face], house: [a photo of a house]}}
  voxels-pictures:
    {kind: voxel_table, signals: "FOLDER/sub-{subject}.npz", table: "FOLDER/sub-{subject}.tsv", subjects: ["01"],
     stimulus: name, stimuli: FOLDER/pictures.tsv, ready_vectors: *ready, split: {by: column, column: part, test: [b]}}
bands:
  one: {l_freq: 1, h_freq: 20}
  two: {l_freq: 1, h_freq: 8}
  spare: {}
rois:
  vc: {include: [VC]}
  spare: {}
towers:
  small: {model: ViT-B-32, pretrained: a.pt}
  spare: {model: ViT-B-16, pretrained: b.pt}
protocols:
  intra: {kind: intra-subject}
  inter: {kind: leave-one-subject-out}
  joint: {kind: joint}
  new: {kind: new-subject, sessions: 1}
  whole: {kind: new-subject, sessions: all}
generators:
  kandinsky: {kind: kandinsky, model: "local-dir:FOLDER/generator", tower: small, start: {}}
  sdxl: {kind: ip-adapter, model: "local-dir:FOLDER/sdxl", adapter: "local-dir:FOLDER/adapter", tower: small}
judges:
  clip: {kind: open-clip, label: J, model: ViT-B-16, pretrained: b.pt}
  alexnet: {kind: torchvision, model: alexnet, layer: features.4, size: 256, weights: a.pth}
  swav: {kind: swav, weights: s.pth}
methods:
  neuroclip:
    {kind: contrastive, label: N, tower: small,
     visual: {head: {kind: none}, readout: {kind: mix, width: 16, vectors: [
       {block: 1, pool: class}, {block: 2, pool: patches}]}}}
  kinds:
    {kind: contrastive, tower: small, encoder: {kind: tsconv}, optimiser: {schedule: constant},
     visual: {filter: {kind: softmax}, adapter: {kind: lora}, readout: {kind: spatial}}}
  fixed: {base: kinds, visual: {filter: {kind: fixed}}, optimiser: {schedule: {kind: one-cycle}, warmup: 0}}
  frozen:
    {base: kinds, visual: {kind: frozen}, inputs: {window: [0.0, 0.2]},
     augmentation: [{kind: smoothing}, {kind: noise}, {kind: channel-dropout}, {kind: time-dropout}, {kind: time-shift},
                    {kind: mixup}],
     optimiser: {schedule: {kind: step}, second: {after: 20, lr: 1.0e-5, freeze: [brain_head]}}}
  nice: {base: frozen, encoder: {kind: nice}}
  shallownet: {base: frozen, encoder: {kind: shallownet}}
  deepnet: {base: frozen, encoder: {kind: deepnet}}
  eegnet: {base: frozen, encoder: {kind: eegnet}}
  stae: {base: frozen, encoder: {kind: stae}}
  brainmlp: {base: frozen, encoder: {kind: brainmlp}}
  atm: {base: frozen, encoder: {kind: atm}}
  spatial-filters: {base: frozen, encoder: {kind: spatial-filters}}
  braindecode: {base: frozen, encoder: {kind: braindecode, model: EEGConformer}}
  mapping: {kind: mapping, label: M, tower: small}
  mlp:
    {kind: mapping, tower: small, network: {kind: mlp}, selection: {rule: held-out-concepts, patience: 5}}
  vae: {kind: mapping, tower: small, network: {kind: vae}, supervision: {softclip: {}}}
  mixer: {kind: mapping, tower: small, network: {kind: mixer}}
  ridge: {kind: ridge, label: R, tower: small}
  one: {kind: ridge, tower: small, readout: {pool: grid, grid: 2}}
  ready: {kind: ridge, tower: small, readout: {ready: dino}}
  mean:
    {kind: ridge, tower: small, readout: {kind: mean, vectors: [
      {view: {kind: blur}}, {view: {kind: foveal}}, {view: {kind: noise}}, {view: {kind: low-resolution}},
      {view: {kind: mosaic}}, {view: {kind: low-pass}}, {pool: grid, grid: 2}, {ready: dino}]}}
  concat:
    {kind: ridge, tower: small, readout: {kind: concat, parts: [
      {block: 1, pool: class}, {pool: grid, grid: 2, components: 4}, {ready: dino}]}}
  blurs:
    {base: kinds, objective: {mmd: {}}, visual: {kind: uncertainty, low: {}, medium: {}, high: {view: {kind: blur}}}}
  lda: {kind: lda, label: L, tower: small}
  ceiling: {kind: ideal-observer, label: C, tower: small}
  imported:
    {kind: imported, label: I, tower: small, file: FOLDER/mine.csv, source: others}
  spare: {kind: ridge, tower: small}
experiments:
  generated:
    {study: simulated-fmri, signals: [vc], protocols: [intra], methods: [mapping], generators: [kandinsky, sdxl]}
  main:
    {study: simulated, signals: [one], protocols: [intra, inter],
     methods: [neuroclip, kinds, fixed, frozen, blurs, ridge, ceiling]}
  encoders:
    {study: simulated, signals: [one], protocols: [intra],
     methods: [nice, shallownet, deepnet, eegnet, stae, brainmlp, atm, spatial-filters, braindecode]}
  imported: {study: simulated, signals: [one], protocols: [intra], methods: [ridge, imported]}
  readouts: {study: simulated, signals: [one], protocols: [intra], methods: [one, ready, mean, concat]}
  pictures: {study: pictures, signals: [one], protocols: [intra], methods: [ready]}
  prompts: {study: prompts, signals: [one], protocols: [intra], methods: [ridge, lda]}
  meg: {study: meg, signals: [one], protocols: [intra], methods: [ridge]}
  fetched: {study: fetched, signals: [one], protocols: [intra], methods: [ridge]}
  things-eeg2: {study: things-eeg2, signals: [one], protocols: [intra], methods: [ready]}
  things-eeg2-epochs: {study: things-eeg2-epochs, signals: [one], protocols: [intra], methods: [ridge]}
  things-eeg1: {study: things-eeg1, signals: [two], protocols: [intra], methods: [ready]}
  things-meg: {study: things-meg, signals: [two], protocols: [intra], methods: [ready]}
  things-meg-epochs: {study: things-meg-epochs, signals: [one], protocols: [intra], methods: [ridge]}
  simulated-fmri:
    {study: simulated-fmri, signals: [vc], protocols: [intra, joint], methods: [mapping, mlp, vae, mixer, ceiling]}
  new: {study: simulated-fmri, signals: [vc], protocols: [new, whole], methods: [mapping]}
  ready: {study: simulated-fmri, signals: [vc], protocols: [intra], methods: [ready]}
  god: {study: god, signals: [vc], protocols: [intra], methods: [ready]}
  things-fmri: {study: things-fmri, signals: [vc], protocols: [intra], methods: [ready]}
  nsd: {study: nsd, signals: [vc], protocols: [intra], methods: [ready]}
  nsd-folder: {study: nsd-folder, signals: [vc], protocols: [intra], methods: [ridge]}
  bold5000: {study: bold5000, signals: [vc], protocols: [intra], methods: [ready]}
  bold5000-volumes: {study: bold5000-volumes, signals: [vc], protocols: [intra], methods: [ridge]}
  voxels: {study: voxels, signals: [vc], protocols: [intra], methods: [ridge]}
  voxels-alone: {study: voxels-alone, signals: [vc], protocols: [intra], methods: [ridge]}
  voxels-pictures: {study: voxels-pictures, signals: [vc], protocols: [intra], methods: [ready]}
retrieval: {tasks: [stimulus, stimulus-csls], repetitions: [1, 2, all], pools: {size: 2}}
tables:
  main: {kind: methods, experiments: [main]}
  ablation: {kind: ablation, experiments: [main], reference: ridge}
  repetitions: {kind: repetitions, experiments: [main]}
  contrast: {kind: contrast, experiments: [main], reference: ridge}
  overview: {kind: overview, experiments: [main]}
  costs: {kind: costs, experiments: [main]}
  classes: {kind: classes, experiments: [prompts]}
  generation: {kind: generation, experiments: [generated]}
  sessions: {kind: sessions, experiments: [new]}
apply:
  later: {experiment: voxels, study: voxels-pictures}
exports:
  one: {study: things-eeg2, signals: [one], formats: [nice]}
"""

#: Subjects of the example's datasets.
SUBJECTS = ("01", "02", "03")

#: Studies in which ready features can replace pictures.
READY = ("SimulatedFmriStudy", "GodStudy", "ThingsFmriStudy", "NsdStudy", "Bold5000Study", "VoxelTableStudy")

#: All studies.
STUDIES = (*READY, "SimulatedStudy", "BidsStudy", "ThingsEeg1Study", "ThingsEeg2Study", "ThingsMegStudy")

#: Classes of the optimisers' settings.
BUDGETS = ("Optimiser", "MappingBudget")

#: Classes of the tables' settings.
TABLES = (
    *("MethodsTable", "AblationTable", "RepetitionsTable", "ContrastTable", "OverviewTable", "CostsTable"),
    *("ClassesTable", "GenerationTable", "SessionsTable"),
)

#: Other values of settings whose type does not give one.
VALUES: dict[tuple[str, str], list[Any]] = {
    ("BidsStudy", "subjects"): [["01"]],
    ("BidsStudy", "tasks"): [["view", "other"]],
    ("BidsStudy", "keep"): [{"trial_type": ["picture"]}],
    ("BidsStudy", "entities"): [{"run": "01"}],
    ("BidsStudy", "categories"): [{"face": ["a face"], "house": ["a house"]}],
    ("ThingsEeg1Study", "subjects"): [["02", "03"]],
    ("ThingsEeg2Study", "subjects"): [["02"]],
    ("ThingsEeg2Study", "sessions"): [["02"]],
    ("ThingsEeg2Study", "runs"): [["02"]],
    ("ThingsMegStudy", "subjects"): [["BIGMEG2"]],
    ("ThingsMegStudy", "sessions"): [["02"]],
    ("ThingsMegStudy", "runs"): [["02"]],
    ("Responses", "baseline"): [None],
    ("Responses", "crop"): [[0.0, 0.4]],
    ("Download", "sources"): [{"things-eeg2": "file:///data"}],
    **{(table, "metric"): ["top-3"] for table in TABLES},
    ("Retrieval", "metrics"): [["top-1", "top-3"]],
    ("Figures", "also"): [["brain2clip.reporting.figure_kinds.ranks:Figure"]],
    **{(study, "ready_features"): [{"small": "features.npz"}] for study in READY},
    **{(study, "templates"): ["workflow/{concept}/*.csv"] for study in STUDIES},
    **{(study, "ready_vectors"): [{"dino": "c.npz", "other": "d.npz"}] for study in STUDIES},
    **{(vector, "ready"): ["other"] for vector in ("Vector", "OneVector", "Part")},
    **{(view, "kernel"): [17] for view in ("Blur", "FovealBlur")},
    ("Mix", "width"): [8],
    ("Mix", "shared_width"): [8],
    ("Mix", "prior_places"): [[1.0, 2.0]],
    ("Mmd", "sigmas"): [[1.0]],
    ("GodStudy", "subjects"): [["02"]],
    ("ThingsFmriStudy", "subjects"): [["02"]],
    ("NsdStudy", "subjects"): [["02"]],
    ("Bold5000Study", "subjects"): [["CSI2"]],
    ("VoxelTableStudy", "columns"): [["name", "run", "part"]],
    ("VoxelTableStudy", "rois"): [{"VC": "vc.nii.gz"}],
    ("VoxelTableStudy", "categories"): [{"face": ["a face"], "house": ["a house"]}],
    ("Supervision", "sentences"): [["captions"]],
    ("Supervision", "temperature"): [0.05],
    ("Objective", "soft_perplexity"): [8.0],
    ("Lda", "shrinkage"): [0.5],
    ("Imported", "file"): ["other.csv"],
    ("Experiment", "sweep"): [{"inputs.repetitions": [1]}],
    ("Inputs", "concepts"): [2],
    **{("Inputs", name): [["Oz"]] for name in ("channels", "without")},
    **{("Inputs", name): [[0.0, 0.3]] for name in ("window", "test_window")},
    ("Imported", "repetitions"): [1],
    ("Lda", "windows"): [4],
    ("Lora", "weights"): [["mlp"]],
    ("Braindecode", "model"): ["ATCNet"],
    **{(budget, "betas"): [[0.5, 0.999]] for budget in BUDGETS},
    **{(budget, "ema"): [0.999] for budget in BUDGETS},
    ("Apply", "subject"): ["01"],
}
#: Settings that name entries: the block of the configuration with these entries, by name of the setting.
NAMED = {
    **{name: name for name in ("protocols", "methods", "experiments", "generators")},
    **{
        "experiment": "experiments",
        "signals": "bands",
        "tower": "towers",
        "study": "studies",
        "reference": "methods",
        "method": "methods",
    },
}
#: Classes whose settings name entries.
NAMING = {
    "Contrastive",
    "BrainMapping",
    "Ridge",
    "Lda",
    "IdealObserver",
    "Imported",
    "Experiment",
    *("KandinskyGenerator", "IpAdapterGenerator"),
    *TABLES,
    "Figures",
    "Export",
    "Apply",
}

#: Blocks that many entries have, with the same effect in each: one place is enough.
ONCE = {"Inputs"}

Effect = Literal["reads", "follows", "new"]


@dataclass(frozen=True)
class Planned:
    """A job: its stage, and the canonical JSON of its whole spec."""

    stage: str
    spec: str

    @property
    def settings(self) -> str:
        """Canonical JSON of what its stage reads."""
        return settings.canonical(json.loads(self.spec)["settings"])


@dataclass(frozen=True)
class Setting:
    """One setting of the example.

    Attributes
    ----------
    block : type
        Class that it is a field of.
    name : str
        Name of the field.
    path : tuple of str or int
        Keys from the top of the configuration, and places in lists.
    value : object
        What it is, as in JSON.
    """

    block: type[BaseModel]
    name: str
    path: tuple[str | int, ...]
    value: Any


@cache
def effects() -> dict[tuple[type[BaseModel], str], dict[str, Effect]]:
    """Strongest effect of every setting by stage, over all its places in the example, by class and field.

    Settings that are missing in the example, or that have no other valid value, are left out.
    """
    found: dict[tuple[type[BaseModel], str], dict[str, Effect]] = {}
    with example() as raw:
        config = settings.load(raw)
        before, own = planned(config), settings.canonical(config)
        for setting in leaves(config):
            once = setting.block.__name__ in ONCE and (setting.block, setting.name) in found
            after = None if once or inherited(raw, setting) else changed(raw, setting, own)
            if after is not None:
                known = found.setdefault((setting.block, setting.name), {})
                for stage, effect in compared(before, after).items():
                    known[stage] = _stronger(known.get(stage), effect)
    return found


def inherited(raw: dict[str, Any], setting: Setting) -> bool:
    """Whether an entry has a setting of its ``base``: changing it there changes it here, too."""
    entry: Any = raw
    for key in setting.path[:2]:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return isinstance(entry, dict) and "base" in entry and setting.path[2:3] != () and setting.path[2] not in entry


@contextlib.contextmanager
def example() -> Iterator[dict[str, Any]]:
    """The example as it is written, its files in a temporary folder; other paths are found below the root."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(ROOT):
        folder = Path(os.path.relpath(name))
        for subject in SUBJECTS:
            for datatype, ending in (("eeg", "edf"), ("meg", "fif")):
                _write_recordings(folder / f"sub-{subject}" / datatype, subject, f"{datatype}.{ending}")
        recordings = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("sub-*/eeg/*"))]
        listed = [manifests.Entry(path, 1, "md5", "0" * 32, f"https://example.org/{path}") for path in recordings]
        manifests.write(folder / "view.csv", listed)
        table = "stimulus_id\tconcept\timage\tsplit\na\tface\ta.png\ttrain\nb\thouse\tb.png\ttest\n"
        (folder / "pictures.tsv").write_text(table, encoding="utf-8")
        for manifest in (ROOT / "workflow" / "manifests").glob("*.csv"):
            (folder / manifest.name).write_text(_shortened(manifest.read_text(encoding="utf-8")), encoding="utf-8")
        _write_of_meg(folder)
        files = [nsd_files.DESIGN, nsd_files.BRICK, nsd_files.betas("01", "betas_fithrf_GLMdenoise_RR", 1, "hdf5")]
        files += [
            nsd_files.roi("01", family) for family in ("nsdgeneral", *settings.NsdStudy.model_fields["regions"].default)
        ]
        entries = [manifests.Entry(path, 1, "size", "", f"{nsd_files.BUCKET}/{path}") for path in files]
        (folder / "nsd.csv").write_text(manifests.text(entries), encoding="utf-8")
        yield yaml.safe_load(EXAMPLE.replace("FOLDER", str(folder)))


def _write_of_meg(folder: Path) -> None:
    """Some lines of the manifest of THINGS-MEG, and the names of its authors' epochs."""
    with gzip.open(ROOT / "workflow/manifests/things-meg.csv.gz", "rt", encoding="utf-8") as manifest:
        head, *lines = manifest
    some = [line for line in lines if re.match(r"sub-BIGMEG[12]/ses-0[12]/.*_run-0[12]_", line)]
    epochs = [f"preprocessed_P{number}-epo.fif" for number in (1, 2)]
    some += [f"derivatives/preprocessed/{name},,none,,https://example.org/{name}\n" for name in epochs]
    (folder / "things-meg.csv").write_text("".join([head, *some]), encoding="utf-8")
    for name in epochs:
        (folder / name).touch()


def _write_recordings(folder: Path, subject: str, suffix: str) -> None:
    """Recordings of two tasks, as empty files with the right names, which is all that a plan reads."""
    folder.mkdir(parents=True)
    for recording in ("view_run-01", "view_run-02", "other_run-01"):
        for ending in (suffix, "events.tsv"):
            (folder / f"sub-{subject}_task-{recording}_{ending}").touch()


def _shortened(manifest: str) -> str:
    """The lines of a few subjects, because complete manifests take most of the time."""
    listed = re.compile(rf"sub-({'|'.join(SUBJECTS)})(?!\d)")
    return "".join(line for line in manifest.splitlines(True) if "sub-" not in line or listed.search(line))


# -------------------------------------------------------------------------------------------------- plans


def plan(raw: Mapping[str, Any]) -> dict[str, Planned]:
    """Every job of a configuration, by a name that holds its stage and the path of what it makes."""
    return planned(settings.load(raw))


def planned(config: Any) -> dict[str, Planned]:
    """Every job of a loaded configuration."""
    return {f"{job.stage} {path}": Planned(job.stage, job.spec.json) for path, job in Plan(config).jobs().items()}


def compared(before: Mapping[str, Planned], after: Mapping[str, Planned]) -> dict[str, Effect]:
    """Strongest effect on the jobs of each stage: a job reads what changed, or is new (either way), or follows."""
    found: dict[str, Effect] = {}
    for name in before.keys() | after.keys():
        one, other = before.get(name), after.get(name)
        if one != other:
            stage = (one or other).stage  # type: ignore[union-attr]
            found[stage] = _stronger(found.get(stage), _effect(one, other))
    return found


def _effect(before: Planned | None, after: Planned | None) -> Effect:
    if before is None or after is None:
        return "new"
    return "reads" if before.settings != after.settings else "follows"


def _stronger(one: Effect | None, other: Effect) -> Effect:
    order: list[Effect] = ["follows", "new", "reads"]
    return other if one is None else max(one, other, key=order.index)


# ------------------------------------------------------------------------------------------ other values


def leaves(block: BaseModel, path: tuple[str | int, ...] = ()) -> Iterator[Setting]:
    """Every setting of a block that is not a block itself, without the names of kinds."""
    for name in type(block).model_fields:
        value = getattr(block, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        elif isinstance(value, dict) and any(isinstance(entry, BaseModel) for entry in value.values()):
            for key, entry in value.items():
                yield from leaves(entry, (*path, name, key))
        elif isinstance(value, tuple) and any(isinstance(entry, BaseModel) for entry in value):
            for number, entry in enumerate(value):
                yield from leaves(entry, (*path, name, number))
        elif not _names_its_kind(block, name):
            yield Setting(type(block), name, (*path, name), to_jsonable_python(value))


def changed(raw: Mapping[str, Any], setting: Setting, own: str) -> dict[str, Planned] | None:
    """Plan with a setting at its first other valid value, or None if there is none at this place.

    ``own`` is the canonical text of the configuration as it stands.
    """
    annotation = setting.block.model_fields[setting.name].annotation
    for value in others(setting, raw, annotation):
        other = copy.deepcopy(dict(raw))
        place: Any = other
        for key in setting.path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
        place[setting.path[-1]] = value
        try:
            config = settings.load(other)
            if settings.canonical(config) != own:
                return planned(config)
        except (settings.SettingsError, InputError):
            continue
    return None


def others(setting: Setting, raw: Mapping[str, Any], annotation: Any) -> list[Any]:
    """Other values to try."""
    given = VALUES.get((setting.block.__name__, setting.name))
    if given is not None:
        return given
    value = setting.value
    words = _literals(annotation)
    if setting.block.__name__ in NAMING and setting.name in NAMED:
        words = list(raw[NAMED[setting.name]])
    if isinstance(value, list):
        return [[*value, item] for item in (*words, 7, 50.0, "x") if item not in value]
    return [word for word in words if word != value] or _near(value)


def _near(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value * 2, value / 2, 0.1]
    if isinstance(value, str):
        return [f"./{value}", f"{value}x"]  # where it is a path, still the same file
    return [1, 1.0, "x", ["x"], [50.0]]


def _literals(annotation: Any) -> list[Any]:
    """Words that an annotation allows, wherever they stand in it."""
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    return [word for part in typing.get_args(annotation) for word in _literals(part)]


def _names_its_kind(block: BaseModel, name: str) -> bool:
    return len(_literals(type(block).model_fields[name].annotation)) == 1 and name == "kind"
