"""What a notebook gets is what the stages made: the same numbers, and a sentence where it cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import brain_files
import h5py
import mne
import numpy as np
import oddball
import pandas as pd
import pytest
from in_process import do

import brain2clip
from brain2clip import artefact, sealing
from brain2clip.cli import apply
from brain2clip.plan import Plan, Run
from brain2clip.responses import same_samples
from brain2clip.retrieval.apply import named_apart
from brain2clip.settings import SettingsError, load
from brain2clip.stage import InputError
from brain2clip.training.data import Responses, load_responses, open_stimuli
from brain2clip.training.inputs import check_recordings, inputs_as_tensors
from brain2clip.training.predict import Predictor

EPOCH = {"epochs": 1, "batch_size": 20}
HEAD = {"width": 8}
METHODS = {
    "prompted": {
        **{"kind": "contrastive", "encoder": {"width": 16}, "brain_head": HEAD, "optimiser": EPOCH},
        "visual": {"head": HEAD, "fusion": {"width": 16, "heads": 2}},
    },
    "frozen": {
        **{"kind": "contrastive", "encoder": {"width": 16}, "brain_head": HEAD, "optimiser": EPOCH},
        "visual": {"kind": "frozen", "head": HEAD},
    },
    "ridge": {"kind": "ridge", "folds": 4, "average_repetitions": False},
    "mapping": {"kind": "mapping", "optimiser": EPOCH},
    "lda": {"kind": "lda", "average_repetitions": False},
}
CLASSES = ("house", "face")
RUN = {"signal": "s", "protocol": "p", "subject": "01", "seed": 0}
EVERY = [
    ("eeg", "prompted"),
    ("eeg", "frozen"),
    ("eeg", "ridge"),
    ("eeg", "mapping"),
    ("fmri", "lda"),
    ("fmri", "ridge"),
]


def configuration(folder: Path) -> dict[str, Any]:
    experiment = {"signals": ["s"], "protocols": ["p"]}
    voxels = {"kind": "voxel_table", "signals": "x.npy", "table": "x.tsv", "subjects": ["01"], "stimulus": "shown"}
    split = {"by": "column", "column": "side", "test": ["test"]}
    return {
        "results": "results",
        "studies": {
            "eeg": {"kind": "simulated", "subjects": 1},
            "fmri": {**voxels, "split": split, "categories": {name: [f"a {name}"] for name in CLASSES}},
        },
        "bands": {"s": {}},
        "rois": {"s": {}},
        "towers": {"tiny": {"model": f"local-dir:{folder / 'tower'}"}},
        "protocols": {"p": {"kind": "intra-subject"}},
        "methods": {name: {**method, "tower": "tiny"} for name, method in METHODS.items()},
        "experiments": {
            "eeg": {"study": "eeg", "methods": ["prompted", "frozen", "ridge", "mapping"], **experiment},
            "fmri": {"study": "fmri", "methods": ["lda", "ridge"], **experiment},
        },
        "apply": {
            "again": {"experiment": "eeg", "study": "eeg"},
            "categories": {"experiment": "fmri", "study": "fmri", "subject": "01"},
        },
        "retrieval": {"repetitions": [1, "all"], "bootstrap": 100, "metrics": ["top-1", "2-way"]},
    }


def write_categories(plan: Plan, folder: Path) -> None:
    """Voxels that tell two categories apart."""
    random = np.random.default_rng(0)
    stimulus = np.arange(60) % 2
    features, responses = (folder / path for path in (plan.features("fmri", "tiny"), plan.responses("fmri", "s", "01")))
    features.parent.mkdir(parents=True)
    responses.parent.mkdir(parents=True)
    oddball.write_prompts(features, CLASSES)
    with artefact.create_h5(responses, brain_files.MADE) as file:
        file.attrs.update(kind="voxels", unit="z")
        effect = np.linspace(-1, 1, 12)
        file["response"] = (random.normal(size=(60, 12)) + stimulus[:, None] * effect).astype(np.float32)
        file["stimulus"], file["split"] = stimulus.astype(np.int32), (np.arange(60) >= 40).astype(np.uint8)
        file["stimulus_id"], file["voxel"] = list(CLASSES), [f"v{number}" for number in range(12)]
        file["session"] = file["run"] = ["n/a"] * 60


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> brain2clip.Results:
    """All kinds of methods, trained for a moment and ranked by the stages."""
    folder = tmp_path_factory.mktemp("notebook")
    brain_files.save_tower(folder / "tower")
    plan = Plan(load(configuration(folder)))
    for path in (plan.features("eeg", "tiny"), plan.responses("eeg", "s", "01")):
        (folder / path).parent.mkdir(parents=True)
    embedding = brain_files.write_stimuli(folder / plan.features("eeg", "tiny"))
    brain_files.write_responses(folder / plan.responses("eeg", "s", "01"), embedding)
    write_categories(plan, folder)
    for study, method in EVERY:
        run = Run(study, method=method, **RUN)
        for job in (plan.train_job(run), plan.rank_job(run), plan.summaries_job(run.block)):
            do(job, folder, check=False)
    for one in plan.applied():
        do(plan.apply_job(one), folder, check=False)
    return brain2clip.Results(configuration(folder), folder, strict=False)


@pytest.mark.parametrize(("study", "method"), EVERY)
def test_a_model_embeds_and_ranks_as_the_stages_do(results, study, method):
    epochs = results.responses(study, "s", "01", split="test")
    model = results.model(study=study, method=method)
    rows = results.rows(study=study, method=method)
    pd.testing.assert_frame_equal(model.rank(epochs), rows)
    plan, folder = results.plan, results.folder
    test = load_responses([folder / plan.responses(study, "s", "01")], "test", None)
    spec = plan.rank_spec(model.run)
    with open_stimuli(folder / plan.features(study, "tiny"), None) as stimuli:
        chosen = [stimuli["stimulus_id"].asstr()[:].tolist().index(name) for name in model.candidates]
        given = (
            spec.settings["method"],
            spec.settings["tower"],
            artefact.read_tensors(folder / plan.checkpoint(model.run)),
        )
        predictor = Predictor(*given, test, stimuli, np.array(chosen), "01")
        brains, candidates = predictor.brains(test.values), predictor.candidates()
    np.testing.assert_array_equal(model.embed(epochs), brains)
    similarity = model.similarity(epochs)
    assert list(similarity.columns) == model.candidates
    np.testing.assert_array_equal(similarity, brains @ candidates.T)
    # In another order of the inputs, and one by one.
    if study == "eeg":
        other = epochs.copy().reorder_channels(epochs.ch_names[::-1])
        np.testing.assert_array_equal(model.embed(other), brains)
        np.testing.assert_allclose(model.embed(epochs[3]), brains[[3]], atol=1e-6)
    else:
        np.testing.assert_array_equal(model.embed(epochs[epochs.columns[::-1]]), brains)


def test_other_candidates_and_what_cannot_be(results):
    epochs = results.responses("eeg", "s", "01", split="test")
    model = results.model(study="eeg", method="ridge")
    some = model.candidates[:4]
    few = model.rank(epochs[[name in some for name in epochs.metadata["stimulus"]]], some, repetitions=("all",))
    assert len(few) == 4
    assert (few["n_candidates"] == 4).all()
    shown = results.responses("eeg", "s", "01", split="train")[:2]
    assert set(model.rank(shown, ["train-000", *some])["target"]) == {"train-000"}
    refused = {
        "no stimulus named 'test-00' (did you mean 'test-009'?); expected one of": lambda: model.similarity(
            epochs, ["test-00"]
        ),
        "no candidate for the stimulus of a response named 'test-004'": lambda: model.rank(epochs, some),
        "expected stimulus ids, each once; found 2": lambda: model.similarity(epochs, ["test-001"] * 2),
        "trained on the channels E0, E1, E2, E3, E4, E5, these responses have E0, E1; name": lambda: model.embed(
            epochs.copy().pick(["E0", "E1"])
        ),
        "trained on 10 samples at 50 Hz from 0 s, these responses have 5 samples at 25 Hz": lambda: model.embed(
            epochs.copy().decimate(2, verbose="error")
        ),
        "these responses have no stimuli": lambda: model.rank(
            mne.EpochsArray(epochs.get_data(), epochs.info, verbose="error")
        ),
        "trained on responses without these": lambda: model.embed(epochs, normalised=False),
        "found 4 runs, expected one; give more details (method: frozen, mapping, prompted, ridg": lambda: results.model(
            study="eeg"
        ),
        "no column named 'methods' (did you mean 'method'?)": lambda: results.rows(methods="ridge"),
        "no run has method 'rigde'": lambda: results.rows(method="rigde"),
        "no subject named '1'": lambda: results.responses("eeg", "s", "1"),
        "no split named 'tests' (did you mean 'test'?)": lambda: results.responses("eeg", "s", "01", "tests"),
        "no tower named 'tin'": lambda: results.features("eeg", "tin"),
    }
    for words, call in refused.items():
        with pytest.raises(InputError) as error:
            call()
        assert words in str(error.value)


@pytest.mark.parametrize(("entry", "study", "seen"), [("again", "eeg", False), ("categories", "fmri", True)])
def test_models_applied_to_the_recordings_of_their_own_test_rank_as_the_runs_did(results, entry, study, seen):
    found = results.applied(entry)
    assert (found["seen"] == seen).all()
    rows = results.rows(study=study)
    assert set(found["method"]) == {method for one, method in EVERY if one == study}
    order = ["method", "repetitions", "query"]
    pd.testing.assert_frame_equal(
        found.drop(columns="seen").sort_values(order, ignore_index=True), rows.sort_values(order, ignore_index=True)
    )


def features_of(results, path: Path, what: str | None = None) -> str:
    """A copy of the features with names and pixels of pictures; a training stimulus may be known as one of the test.

    Returns the id of the latter.
    """
    shutil.copy(results.folder / results.plan.features("eeg", "tiny"), path)
    with h5py.File(path, "r+") as file:
        sides = file["split"].asstr()[:].tolist()
        for name, form in (("image", "image-{}.png"), ("pixel_digest", "digest-{}"), ("source_picture", "coco:{}")):
            if name in file:
                del file[name]
            told = [form.format(row) for row in range(len(sides))]
            file.create_dataset(name, data=told, dtype=h5py.string_dtype())
        own, other = sides.index("test"), sides.index("train")
        if what is not None:
            file[what][other] = file[what].asstr()[own]
        target = str(file["stimulus_id"].asstr()[own])
    sealing.seal_h5(path)
    return target


@pytest.mark.parametrize("what", ["concept", "image", "pixel_digest", "source_picture"])
def test_a_test_that_asks_for_what_training_showed_is_refused_unless_said(results, tmp_path, what):
    """By concept, name of the picture, pixels, number in COCO; the study as if the models were of another one."""
    one = next(one for one in results.plan.applied() if one.name == "again" and one.model.method == "ridge")
    job = results.plan.apply_job(one)
    target = features_of(results, tmp_path / "trained.h5", what)
    features_of(results, tmp_path / "stimuli.h5")
    paths = {name: [str(tmp_path / f"{name}.h5")] for name in ("trained", "stimuli")}
    job = replace(job, inputs={**job.inputs, **paths}, outputs=(str(tmp_path / "rows.parquet"),))
    unsaid = {key: value for key, value in job.spec.settings.items() if key != "concepts"}
    with pytest.raises(InputError, match=rf"1 of the stimuli.*\({target}\)[^$]*apply\.\*\.concepts: seen"):
        do(replace(job, spec=replace(job.spec, settings=unsaid)), results.folder, check=False)
    assert not (tmp_path / "rows.parquet").exists()
    assert job.spec.settings["concepts"] == "seen"
    do(job, results.folder, check=False)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert set(rows.loc[rows["seen"], "target"]) == {target}
    assert not rows["seen"].all()


@pytest.mark.parametrize("what", ["source_picture", "concept", "unknown"])
def test_a_test_of_seen_concepts_may_not_show_pictures_of_training_either(results, tmp_path, what, caplog):
    """As of NSD and BOLD5000: the same concept is allowed, the same picture of COCO or one without a number is not."""
    one = next(one for one in results.plan.applied() if one.name == "again" and one.model.method == "ridge")
    job = results.plan.apply_job(one)
    features_of(results, tmp_path / "trained.h5", None if what == "unknown" else what)
    features_of(results, tmp_path / "stimuli.h5")
    if what == "unknown":
        with h5py.File(tmp_path / "stimuli.h5", "r+") as file:
            file["source_picture"][:] = ["coco:?"] * len(file["split"])
        sealing.seal_h5(tmp_path / "stimuli.h5")
    paths = {name: [str(tmp_path / f"{name}.h5")] for name in ("trained", "stimuli")}
    job = replace(job, inputs={**job.inputs, **paths}, outputs=(str(tmp_path / "rows.parquet"),))
    strict = {**job.spec.settings, "concepts": "seen", "source_pictures": "unseen"}
    job, allowed = replace(job, spec=replace(job.spec, settings=strict)), job
    if what == "concept":
        do(job, results.folder, check=False)
        return
    words = {"source_picture": r"has 1 source picture \(coco:", "unknown": "does not know which of them it shows"}[what]
    with pytest.raises(InputError, match=rf"apply\.\*\.study: .*{words}[^$]*set apply\.\*\.concepts: seen"):
        do(job, results.folder, check=False)
    assert not (tmp_path / "rows.parquet").exists()
    do(allowed, results.folder, check=False)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["seen"].any() == (what == "source_picture")
    assert ("does not know which of them it shows" in caplog.text) == (what == "unknown")


def test_of_two_studies_a_recording_of_one_name_is_compared_and_a_copy_refused():
    sketch = np.arange(same_samples.KEPT, dtype=np.uint64)[None]
    empty = Responses(np.zeros((1, 2), np.float32), *[np.zeros(1, int)] * 2, np.zeros(0), 0.0, ["a", "b"], ["x"])
    own = same_samples.Recordings(("sub-01, run 4",), sketch)
    tensors = inputs_as_tensors([replace(empty, recordings=own)], None)
    check_recordings(tensors, replace(empty, recordings=own))
    with pytest.raises(InputError, match=r"sub-01, run 4 and later: sub-01, run 4 hold the same samples"):
        check_recordings(tensors, replace(empty, recordings=named_apart(own, "later")))


def test_what_cannot_be_applied_is_refused_while_planning(tmp_path):
    given = configuration(tmp_path)
    given["studies"]["more"] = {"kind": "simulated", "subjects": 2}
    given["apply"] = {"later": {"experiment": "eeg", "study": "more"}}
    with pytest.raises(InputError, match=r"'eeg' has no model of subject 02, only of 01; set apply\.later\.sub"):
        Plan(load(given)).jobs()
    given["apply"]["later"]["subject"] = "01"
    made = [path for path, job in Plan(load(given)).jobs().items() if job.stage == "apply"]
    assert "results/apply/later/s/p/ridge/sub-02_seed-0.parquet" in made
    assert len(made) == 8
    given["studies"]["more"]["responses"] = {"tmax": 0.5}
    with pytest.raises(
        SettingsError, match=r"its responses differ from the settings .* with \(tmax\); set studies\.more\.resp"
    ):
        load(given)
    given["apply"]["later"]["study"] = "fmri"
    with pytest.raises(SettingsError, match="'fmri' is a study of fMRI, and the models are of EEG"):
        load(given)


def test_entries_of_apply_are_found_by_name(tmp_path):
    plan = Plan(load(configuration(tmp_path)))
    assert {one.name for one in apply.chosen(plan, ["categories"])} == {"categories"}
    assert len(apply.chosen(plan, [])) == len(EVERY)
    with pytest.raises(InputError, match=r"no entry named 'agian' \(did you mean 'again'\?\)"):
        apply.chosen(plan, ["agian"])
    with pytest.raises(InputError, match="the configuration has no entry; add one, as in"):
        apply.chosen(Plan(load({**configuration(tmp_path), "apply": {}})), [])


def test_the_page_of_applied_models_labels_seen_concepts(results, monkeypatch):
    monkeypatch.setattr(apply.run, "ROOT", results.folder)
    page = apply.page(results.plan, results.plan.applied())
    zero_shot, seen = page.split("\n## ")[1:]
    assert zero_shot.startswith("again: eeg\n")
    assert seen.startswith("categories: fmri (seen concepts)\n\nSeen concepts: the test concepts occur")
    rows = results.rows(method="mapping")
    top1 = (rows.loc[rows["repetitions"] == "all", "rank"] == 1).mean()
    (line,) = [line for line in zero_shot.splitlines() if line.startswith("| mapping")]
    assert line.split("|")[5].strip() == f"{100 * top1:.1f}"


def test_epochs_features_and_tables_say_what_they_are(results):
    epochs = results.responses("eeg", "s", "01")
    with artefact.open_h5(results.folder / results.plan.responses("eeg", "s", "01")) as file:
        np.testing.assert_array_equal(epochs.get_data().astype(np.float32), file["response"][:])
        np.testing.assert_allclose(epochs.times, file["times"][:], atol=1e-12)
        assert epochs.metadata["split"].tolist() == [("train", "test")[side] for side in file["split"][:]]
    assert len(epochs["test-003"]) == brain_files.REPETITIONS
    assert epochs.get_montage() is not None
    voxels = results.responses("fmri", "s", "01", split="test")
    assert list(voxels.columns) == [f"v{number}" for number in range(12)]
    assert voxels.index.names == ["stimulus", "split", "session", "run"]
    features = results.features("eeg", "tiny")
    with artefact.open_h5(results.folder / results.plan.features("eeg", "tiny")) as file:
        np.testing.assert_array_equal(features.loc["test-003"], file["embedding"][brain_files.TRAIN + 3])
    summary = results.summary(study=["eeg", "fmri"], method="ridge")
    assert summary.groupby("study")["concepts"].first().to_dict() == {"eeg": "unseen", "fmri": "seen"}
    assert len(results.runs(study="eeg")) == 4


def test_what_a_strict_reader_finds_is_of_this_configuration(results):
    given = configuration(results.folder)
    rows = brain2clip.Results(given, results.folder).rows(method="frozen")
    pd.testing.assert_frame_equal(rows, results.rows(method="frozen"))
    given["retrieval"]["seed"] = 1
    with pytest.raises(artefact.ArtefactError, match="made by other settings than its reader expects"):
        brain2clip.Results(given, results.folder).rows(method="frozen")


def test_import_is_light():
    code = "import sys, brain2clip; print(sorted({'torch','mne','pandas','numpy','pydantic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Result'"):
        brain2clip.Result  # noqa: B018
