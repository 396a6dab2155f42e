"""New subjects: responses of the first sessions, models that go on from those of others, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import brain_files
import h5py
import numpy as np
import pytest
import torch
import yaml
from voxel_world import TINY, make

from brain2clip import artefact, settings, stage
from brain2clip.plan import Plan, needs
from brain2clip.plan.amounts import Amounts
from brain2clip.preflight import check
from brain2clip.readers.attempts import Attempts
from brain2clip.reporting.page_parts import words
from brain2clip.responses import sessions, voxels
from brain2clip.settings import BrainMapping, Protocol, SettingsError, Tower, debugging
from brain2clip.stage import InputError
from brain2clip.training import train, tune
from brain2clip.training.data import Normalisation, load_responses, open_stimuli
from brain2clip.training.inputs import RECORDINGS, names_from_tensor
from brain2clip.training.predict import Predictor

TINY_FMRI = Path(__file__).parents[1] / "workflow" / "tiny-fmri.yaml"
TEST = np.arange(brain_files.TRAIN, brain_files.TRAIN + brain_files.TEST)


def configured(**changes: Any) -> dict[str, Any]:
    """The tiny study of voxels with three subjects, three sessions, and protocols of the first ones."""
    raw = yaml.safe_load(TINY_FMRI.read_text(encoding="utf-8"))
    raw["studies"]["voxels"] |= {"subjects": 3, "sessions": 3}
    raw["protocols"] |= {
        "few": {"kind": "new-subject", "sessions": [1, 2, "all"]},
        "fresh": {"kind": "new-subject", "sessions": [1, "all"], "start": "random"},
        "alone": {"kind": "intra-subject", "sessions": [1, "all"]},
    }
    raw["methods"]["ridge"] = {"kind": "ridge", "tower": "grammar-vit"}
    new = {"study": "voxels", "signals": ["vc"], "seeds": [0]}
    raw["experiments"] |= {
        "new": {**new, "protocols": ["few", "fresh", "alone"], "methods": ["brainclip", "ceiling"]},
        "linear": {**new, "protocols": ["alone"], "methods": ["ridge"]},
    }
    raw["tables"]["curve"] = {"kind": "sessions", "experiments": ["new", "linear"], "metric": "top-1"}
    for path, value in changes.items():
        place = raw
        *parents, last = path.split("__")
        for name in parents:
            place = place[name]
        place[last] = value
    return raw


def planned(raw: dict[str, Any]) -> dict[str, str]:
    return {path: job.spec.json for path, job in Plan(settings.load(raw)).jobs().items()}


# -------------------------------------------------------------------------------------------- settings, plan


def test_a_list_of_sessions_is_a_protocol_for_each():
    config = settings.load(configured())
    assert [name for name in config.protocols if name.startswith("few")] == ["few-1", "few-2", "few-all"]
    assert config.experiments["linear"].protocols == ("alone-1", "alone-all")
    again = settings.load(json.loads(settings.canonical(config)))
    assert again == config, "what was written out stays"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocols__few": {"kind": "new-subject"}}, "protocols.few.sessions: missing; kind: new-subject needs"),
        ({"protocols__joint": {"kind": "joint", "sessions": 1}}, "protocols.joint.sessions: found 1; kind joint takes"),
        ({"protocols__intra": {"kind": "intra-subject", "tune": "input"}}, "protocols.intra.tune: found input; only"),
        (
            {"protocols__few": {"kind": "new-subject", "sessions": 1, "start": "random", "tune": "input"}},
            "protocols.few.tune: found input beside start: random",
        ),
        ({"protocols__few": {"kind": "new-subject", "sessions": [1, 1]}}, "protocols.few.sessions: expected each"),
        ({"protocols__few": {"kind": "new-subject", "sessions": 0}}, "protocols.few.sessions: "),
        ({"protocols__few-1": {"kind": "joint"}}, "protocol 'few-1' exists already"),
        ({"protocols__without-01": {"kind": "joint"}}, "protocols.without-01: a name that begins with without- "),
        (
            {"experiments__new__methods": ["ridge"]},
            "'ridge': a new subject cannot go on from a model of others: a method of kind ridge has no input layer",
        ),
        (
            {"methods__brainclip__classifier": {"kind": "context"}, "experiments__pictures__generators": []},
            "classifier.kind: context is learned in folds",
        ),
        (
            {"tables__curve": {"kind": "sessions", "experiments": ["regions"]}},
            "tables.curve.experiments: found protocols intra, none of which says how many sessions",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(changes, said):
    with pytest.raises(SettingsError) as refused:
        settings.load(configured(**changes))
    assert said in str(refused.value)


def test_more_sessions_than_there_are_and_studies_without_are_refused_by_the_plan():
    with pytest.raises(
        InputError, match=r"protocols.few.sessions: found 4; expected at most the 3 that studies.voxels"
    ):
        planned(configured(protocols__few={"kind": "new-subject", "sessions": 4}))
    with pytest.raises(InputError, match=r"sessions: found 1, and studies.voxels names no session; expected a study"):
        planned(configured(studies__voxels__sessions=1))
    with pytest.raises(InputError, match=r"protocols.few-1, few-2, few-all: new-subject needs at least two subjects"):
        planned(configured(studies__voxels__subjects=1))


def test_calibrated_points_of_a_model_that_goes_on_from_others_are_refused():
    raw = configured(experiments__pictures__protocols=["few"])
    (said,) = needs.problems(Plan(settings.load(raw)))
    assert "found grammar beside protocol 'few-1', whose models go on from those of other subjects" in said
    for protocol in ("alone", "fresh"):
        assert needs.problems(Plan(settings.load(configured(experiments__pictures__protocols=[protocol])))) == []


def test_one_start_for_all_numbers_of_sessions_and_nothing_of_the_new_subject_in_it():
    plan = Plan(settings.load(configured()))
    tuned = {path: job for path, job in plan.jobs().items() if job.stage == "tune"}
    assert len(tuned) == 3 * 3
    for subject in ("01", "02", "03"):
        own = [job for path, job in tuned.items() if f"sub-{subject}_" in path]
        (start,) = {path for job in own for path in job.inputs["start"]}
        assert f"/without-{subject}/brainclip/sub-all_seed-0." in start
        read = plan.jobs()[start].inputs["responses"]
        assert len(read) == 2
        assert not [path for path in read if f"sub-{subject}." in path]
        assert plan.jobs()[start].spec.settings["subjects"] == sorted({"01", "02", "03"} - {subject})
        assert {path for job in own for path in job.inputs["responses"]} == {
            f"results/responses/voxels/vc/sub-{subject}{part}.h5" for part in (".sessions-1", ".sessions-2", "")
        }
    ranked = plan.jobs()["results/retrieval/voxels/vc/few-2/brainclip/sub-02_seed-0.parquet"].inputs
    assert ranked["responses"] == ["results/responses/voxels/vc/sub-02.sessions-2.h5"]
    assert ranked["checkpoint"] == ["results/training/voxels/vc/few-2/brainclip/sub-02_seed-0.safetensors"]


def test_what_reruns_where_the_number_or_the_subjects_change():
    before = planned(configured())

    def changed(**changes: Any) -> dict[str, int]:
        after, count = planned(configured(**changes)), dict[str, int]()
        for path, spec in after.items():
            if before.get(path) != spec:
                name = json.loads(spec)["stage"]
                count[name] = count.get(name, 0) + 1
        return {name: count.get(name, 0) for name in ("voxels", "sessions", "train", "tune", "rank")}

    assert changed(protocols__few={"kind": "new-subject", "sessions": [1, 3, "all"]}) == {
        **{"voxels": 0, "sessions": 3, "train": 0, "tune": 3, "rank": 3}
    }
    assert changed(protocols__few={"kind": "new-subject", "sessions": [1, 2, "all"], "tune": "input"}) == {
        **{"voxels": 0, "sessions": 0, "train": 0, "tune": 9, "rank": 9}
    }
    # Of a fourth subject: a start of its own, and the other three; twice intra and ridge, and from random weights.
    more = changed(studies__voxels__subjects=4)
    assert (more["voxels"], more["sessions"], more["tune"]) == (2, 2, 4 * 3)


def test_protocols_of_first_sessions_change_no_job_of_the_others():
    raw = configured()
    plain = configured()
    for name in ("few", "fresh", "alone"):
        del plain["protocols"][name]
    for name in ("new", "linear"):
        del plain["experiments"][name]
    del plain["tables"]["curve"]
    before, after = planned(plain), planned(raw)
    changed = {path.split("/")[1] for path in before if after[path] != before[path]}
    assert changed <= {"tables", "page", "figures"}, "which show all experiments"
    neutral = {"kind": "intra-subject", "sessions": None, "start": "others", "tune": "all"}
    assert planned({**plain, "protocols": {**plain["protocols"], "intra": neutral}}) == before


def test_the_estimate_counts_them_and_a_few_sessions_cost_less():
    plan = Plan(settings.load(configured()))
    counts: dict[str, int] = {}
    for work in Amounts(plan).works():
        counts[work.stage] = counts.get(work.stage, 0) + work.jobs
    jobs: dict[str, int] = {}
    for job in plan.jobs().values():
        jobs[job.stage] = jobs.get(job.stage, 0) + 1
    wanted = ("voxels", "sessions", "train", "tune", "rank", "summaries")
    assert {name: counts[name] for name in wanted} == {name: jobs[name] for name in wanted}
    amounts = Amounts(plan)
    one, every = (
        next(run for run in plan.runs() if run.protocol == name and run.method == "brainclip")
        for name in ("few-1", "few-all")
    )
    assert amounts.learned(one)[0].trials[0] * 3 == amounts.learned(every)[0].trials[0]


def test_a_debug_version_has_no_more_sessions_than_its_study():
    raw = configured(studies__voxels__sessions=6, protocols__few={"kind": "new-subject", "sessions": [1, 5]})
    config = settings.load(raw)
    small = debugging.debug(config, {"voxels": ["01", "02", "03"]})
    assert small.studies["voxels"].sessions == 3
    assert [small.protocols[name].sessions for name in ("few-1", "few-5")] == [1, 3]
    assert Plan(small).jobs()


# ------------------------------------------------------------------------------------------------- sessions


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Responses of a simulated subject with three sessions, and its study."""
    folder = tmp_path_factory.mktemp("sessions")
    study = make(folder, {**TINY, "sessions": 3})
    return folder, study


def responses(world, normalise="training", dtype="float32", change=None) -> Path:
    folder, study = world
    output = folder / f"{normalise}-{dtype}-{change is not None}.h5"
    given = {"name": study.name, "study": study.block.model_dump(mode="json"), "subject": "01", "labels": None}
    given |= {"results": str(folder), "voxels": {"normalise": normalise, "dtype": dtype}, "roi": {}}
    with pytest.MonkeyPatch.context() as patch:
        if change is not None:
            read = type(study).signals
            patch.setattr(type(study), "signals", lambda self, *asked: change(self, read(self, *asked)))
        voxels.run(stage.Job("voxels", given, "code", {}, {}, {"responses": output}))
    return output


def first(source: Path, count: int, target: Path) -> Path:
    given = {"name": "tiny", "subject": "01", "sessions": count}
    sessions.run(stage.Job("sessions", given, "code", {}, {"responses": [source]}, {"responses": target}))
    return target


def later_training(study, signals):
    """Signals whose training rows of sessions 2 and 3 are others."""
    rows = study.rows("01")
    later = ((rows["split"] == "train") & rows["session"].isin(["02", "03"])).to_numpy()
    signals = signals.copy()
    signals[later] = 5 + 3 * np.random.default_rng(3).standard_normal(signals[later].shape)
    return signals


def test_training_of_the_first_sessions_stays_and_the_whole_test(world, tmp_path):
    source = responses(world)
    with artefact.open_h5(source) as whole, artefact.open_h5(first(source, 2, tmp_path / "two.h5")) as part:
        session, test = whole["session"].asstr()[:], whole["split"][:] == 1
        kept = test | np.isin(session, ["01", "02"])
        assert 0 < kept.sum() < len(kept)
        ids, own = (file["stimulus_id"].asstr()[:] for file in (whole, part))
        np.testing.assert_array_equal(own[part["stimulus"][:]], ids[whole["stimulus"][:]][kept])
        for name in ("session", "run"):
            np.testing.assert_array_equal(part[name].asstr()[:], whole[name].asstr()[:][kept])
        np.testing.assert_array_equal(part["split"][:], whole["split"][:][kept])
        assert set(own) == set(own[part["stimulus"][:]])
        assert part["voxel"].asstr()[:].tolist() == whole["voxel"].asstr()[:].tolist()
        assert part.attrs["kind"] == "voxels"
        assert sorted(part["region"]) == sorted(whole["region"])
        assert part["recording/name"].asstr()[:].tolist() == whole["recording/name"].asstr()[:].tolist()


def test_z_scores_are_those_of_a_study_that_ended_there(world, tmp_path):
    """Not of the sessions after it, in training and test; and what normalises signals says so."""
    _, study = world
    raw = study.signals("01", np.arange(len(study.voxel_names("01")))).astype(float)
    rows = study.rows("01")
    shown = (rows["stimulus"] != "").to_numpy()
    training = ((rows["split"] == "train") & (rows["session"] == "01")).to_numpy()
    mean, deviation = raw[training].mean(axis=0), raw[training].std(axis=0, ddof=1)
    kept = shown & (training | (rows["split"] == "test").to_numpy())
    with artefact.open_h5(first(responses(world), 1, tmp_path / "one.h5")) as part:
        np.testing.assert_allclose(part["response"][:], (raw[kept] - mean) / deviation, atol=2e-5)
        fitted = Normalisation.read(part)
        np.testing.assert_allclose(fitted.apply(raw[kept]), part["response"][:], atol=2e-5)


def test_later_training_responses_leave_nothing_but_rounding(world, tmp_path):
    """The trap: whole responses are z-scored by them, and differ a lot."""
    sources = responses(world), responses(world, change=later_training)
    wholes = [load_responses([source], "test", None).values for source in sources]
    assert np.abs(wholes[0] - wholes[1]).max() > 0.5
    parts = [first(source, 1, tmp_path / f"{number}.h5") for number, source in enumerate(sources)]
    for split in ("train", "test"):
        one, other = (load_responses([part], split, None).values for part in parts)
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("normalise", ["run", "none"])
def test_what_is_fitted_run_by_run_or_not_at_all_stays_bit_by_bit(world, tmp_path, normalise):
    source = responses(world, normalise)
    whole, part = (load_responses([path], "test", None) for path in (source, first(source, 1, tmp_path / "one.h5")))
    np.testing.assert_array_equal(whole.values, part.values)


def test_z_scores_by_session_stay_and_a_model_learns_those_of_its_sessions_alone(world, tmp_path):
    """Responses bit by bit; but what normalises other recordings like its training knows no later session."""
    sources = responses(world, "session"), responses(world, "session", change=later_training)
    parts = [first(source, 1, tmp_path / f"{number}.h5") for number, source in enumerate(sources)]
    whole, part = (load_responses([path], "train", None) for path in (sources[0], parts[0]))
    np.testing.assert_array_equal(whole.values[: len(part.values)], part.values)
    with artefact.open_h5(parts[0]) as one, artefact.open_h5(parts[1]) as other, artefact.open_h5(sources[0]) as all_of:
        assert sorted(one["normalisation/session"]) == ["01"]
        assert not np.allclose(Normalisation.read(all_of).mean, Normalisation.read(one).mean)
        np.testing.assert_array_equal(Normalisation.read(one).mean, Normalisation.read(other).mean)
        np.testing.assert_array_equal(Normalisation.read(one).operator, Normalisation.read(other).operator)


def test_half_precision_stays_half_precision(world, tmp_path):
    with artefact.open_h5(first(responses(world, dtype="float16"), 1, tmp_path / "one.h5")) as part:
        assert part["response"].dtype == np.float16


def test_whitening_of_kept_sessions_goes_with_eeg(tmp_path):
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_responses(tmp_path / "eeg.h5", embedding)
    count = (brain_files.TRAIN + brain_files.TEST) * brain_files.REPETITIONS
    labels = [f"ses-{number}" for number in np.arange(count) % 12]
    source = rewritten(tmp_path / "eeg.h5", tmp_path / "several.h5", session=labels)
    with h5py.File(source, "a") as file:
        for number, name in enumerate(sorted(set(labels))):
            file[f"whitening/{name}/mean"] = np.full(brain_files.CHANNELS, float(number))
            file[f"whitening/{name}/operator"] = np.eye(brain_files.CHANNELS)
    with h5py.File(source) as whole, h5py.File(tmp_path / "part.h5", "w") as part:
        names = sessions.first_sessions(np.array(labels, object), 3, "here")
        sessions.write(part, whole, np.flatnonzero(np.isin(labels, names)), names)
        assert names == ["ses-0", "ses-1", "ses-2"], "not ses-10, which comes second by its letters"
        assert sorted(part["whitening"]) == names
        np.testing.assert_array_equal(part["times"][:], whole["times"][:])


@pytest.mark.parametrize(
    ("session", "first", "said"),
    [
        (["1", "2", "3"], ["1"], "3 without training trials: their test trials are whitened with the mean .* all 2"),
        (["1", "2", "3"], ["1", "2"], None),
        (["1", "2", "2"], ["1"], None),
    ],
)
def test_whitening_that_takes_later_sessions_is_said(caplog, session, first, said):
    """A session without training trials is whitened by the mean operator of all others."""
    sessions.say_of_all(np.array(session, object), np.array([False, False, True]), first, "study s, subject 01")
    assert bool(re.search(said, caplog.text)) if said else not caplog.text


def test_sessions_come_by_their_numbers_or_as_they_stand():
    assert sessions.in_order(["ses-10", "ses-2", "ses-1"]) == ["ses-1", "ses-2", "ses-10"]
    assert sessions.in_order(["20190302", "20181130"]) == ["20181130", "20190302"]
    assert sessions.in_order(["pre", "post"]) == ["pre", "post"]
    assert sessions.in_order(["b1", "a1"]) == ["b1", "a1"], "numbers that do not tell them apart"


def test_sessions_that_are_not_there_are_refused_in_words(world, tmp_path):
    with pytest.raises(
        InputError, match=r"asks for the first 4, found 3 with training trials \(01, 02, 03\); expected"
    ):
        first(responses(world), 4, tmp_path / "four.h5")
    embedding = brain_files.write_stimuli(tmp_path / "stimuli.h5")
    brain_files.write_voxels(tmp_path / "nameless.h5", embedding, 20)
    with pytest.raises(InputError, match="found training trials without the name of a session; expected sessions with"):
        first(tmp_path / "nameless.h5", 1, tmp_path / "one.h5")
    with pytest.raises(InputError, match="asks for the first 1, found no training trial"):
        sessions.first_sessions(np.array([], object), 1, "study s, subject 01")


def test_the_check_counts_the_sessions_of_training_trials():
    raw = configured(protocols__few={"kind": "new-subject", "sessions": 2})
    plan, attempts = Plan(settings.load(raw)), Attempts()
    found = {"01": ["1", "2"], "02": ["1", "1"], "03": ["2", "1", "3"]}
    check.check_sessions(plan, "voxels", found, attempts)
    (said,) = attempts.refusals
    assert "study voxels, subject 02" in said or "02" in str(attempts.refusals[said])
    assert "asks for the first 2, found 1 with training trials (1)" in said


# --------------------------------------------------------------------------------------------------- tuning


def rewritten(source: Path, target: Path, **arrays: Any) -> Path:
    """A responses artefact with other arrays."""
    with h5py.File(source) as old, artefact.create_h5(target, brain_files.MADE) as new:
        new.attrs.update({name: value for name, value in old.attrs.items() if name != artefact.KEY})
        for name in old:
            if name in arrays:
                new[name] = arrays[name]
            else:
                old.copy(name, new)
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three subjects with other voxels each; the third one with two sessions."""
    folder = tmp_path_factory.mktemp("tuning")
    embedding = brain_files.write_stimuli(folder / "stimuli.h5")
    for subject, size in enumerate((50, 70, 60)):
        brain_files.write_voxels(folder / f"sub-{subject}.h5", embedding, size, subject)
    with h5py.File(folder / "sub-2.h5") as file:
        stimulus = file["stimulus"][:]
    session = np.where(stimulus % 2 == 0, "01", "02").tolist()
    rewritten(folder / "sub-2.h5", folder / "new.h5", session=session)
    return folder


SMALL = {
    "kind": "mapping",
    "tower": "tiny",
    "network": {"kind": "mlp", "hidden": 32, "subject_width": 24, "dropout": 0.0},
    "augmentation": {"noise": 0.1},
    "optimiser": {"epochs": 30, "batch_size": 20, "lr": 3e-3},
}


def job_of(name: str, folder: Path, target: Path, responses: list[Path], method: dict[str, Any], **given: Any):
    target.mkdir(exist_ok=True, parents=True)
    inputs = {"responses": responses, "stimuli": [folder / "stimuli.h5"]}
    if "start" in given:
        inputs["start"] = [given.pop("start")]
    values = {
        "method": settings.dump(BrainMapping.model_validate(method)),
        "tower": settings.dump(Tower(model="local-dir:nowhere")),
        "seed": 0,
        **given,
    }
    outputs = {"checkpoint": target / "model.safetensors", "history": target / "model.parquet"}
    return stage.Job(name, values, "code", {}, inputs, outputs)


def started(folder: Path, target: Path, method=SMALL, subjects=("0", "1")) -> Path:
    one = job_of(
        *("train", folder, target, [folder / f"sub-{subject}.h5" for subject in subjects], method),
        protocol={"kind": "joint"},
        subjects=list(subjects),
    )
    train.run(one)
    return one.outputs["checkpoint"]


def tuned(folder: Path, target: Path, start: Path, file: Path, method=SMALL, what="all", label="2"):
    one = job_of("tune", folder, target, [file], method, start=start, protocol={"tune": what}, subjects=[label])
    tune.run(one)
    return artefact.read_tensors(one.outputs["checkpoint"]), artefact.read_table(one.outputs["history"])


@pytest.fixture(scope="module")
def start(files, tmp_path_factory):
    return started(files, tmp_path_factory.mktemp("start"))


def top1(folder: Path, tensors, method=SMALL) -> float:
    test = load_responses([folder / "new.h5"], "test", None, average=True)
    given = settings.dump(BrainMapping.model_validate(method)), settings.dump(Tower(model="local-dir:nowhere"))
    with open_stimuli(folder / "stimuli.h5", None) as stimuli:
        side = Predictor(*given, tensors, test, stimuli, TEST, "2")
        return float(
            ((side.brains(test.values) @ side.candidates().T).argmax(axis=1) == np.arange(brain_files.TEST)).mean()
        )


def test_a_tuned_model_knows_the_new_subject_alone_and_finds_its_pictures(files, start, tmp_path):
    tensors, history = tuned(files, tmp_path, start, files / "new.h5")
    assert names_from_tensor(tensors["subjects"]) == ["2"]
    assert {name.split(".")[1] for name in tensors if name.startswith("own.")} == {"sub-2"}
    assert top1(files, tensors) >= 0.6
    assert len(history) == 30
    test = load_responses([files / "sub-0.h5"], "test", None)
    given = settings.dump(BrainMapping.model_validate(SMALL)), settings.dump(Tower(model="local-dir:nowhere"))
    with (
        open_stimuli(files / "stimuli.h5", None) as stimuli,
        pytest.raises(InputError, match="trained jointly on the subjects 2; it has no input layer for '0'"),
    ):
        Predictor(*given, tensors, test, stimuli, TEST, "0")


def test_it_begins_at_the_network_of_the_others(files, start, tmp_path):
    """With an input layer drawn by the seed: after no step of the optimiser, all behind it is theirs."""
    still = {**SMALL, "optimiser": {**SMALL["optimiser"], "epochs": 1, "lr": 1e-12, "weight_decay": 0.0}}
    theirs, (tensors, _) = artefact.read_tensors(start), tuned(files, tmp_path, start, files / "new.h5", still)
    behind = [name for name in tensors if name.startswith("shared.")]
    assert behind
    for name in (*behind, "scale"):
        torch.testing.assert_close(tensors[name], theirs[name], rtol=0, atol=1e-6)
    moved, _ = tuned(files, tmp_path / "moved", start, files / "new.h5")
    assert any(not torch.allclose(moved[name], theirs[name], atol=1e-3) for name in behind)


def test_the_input_layer_alone_trains_where_that_is_asked_for(files, start, tmp_path):
    theirs, (tensors, _) = (
        artefact.read_tensors(start),
        tuned(files, tmp_path, start, files / "new.h5", what="input"),
    )
    for name in [name for name in tensors if name.startswith(("shared.", "scale"))]:
        assert torch.equal(tensors[name], theirs[name]), name
    random, _ = tuned(
        files,
        tmp_path / "still",
        start,
        files / "new.h5",
        {**SMALL, "optimiser": {**SMALL["optimiser"], "epochs": 1, "lr": 1e-12}},
        "input",
    )
    assert not torch.allclose(tensors["own.sub-2.weight"], random["own.sub-2.weight"], atol=1e-3)
    assert top1(files, tensors) >= 0.3


def test_training_of_later_sessions_and_the_test_are_never_read(files, start, tmp_path):
    """Bit by bit: the responses of the first session are what is learned from."""
    with h5py.File(files / "new.h5") as file:
        values, split = file["response"][:], file["split"][:]
        session = file["session"].asstr()[:]
    later = np.flatnonzero((split == 0) & (session == "02"))
    assert 0 < len(later) < (split == 0).sum()
    permuted = values.copy()
    permuted[later] = values[np.random.default_rng(0).permutation(later)]
    permuted[split == 1] = 7.0
    other = rewritten(files / "new.h5", tmp_path / "permuted.h5", response=permuted)
    parts = [first(path, 1, tmp_path / f"{number}.h5") for number, path in enumerate((files / "new.h5", other))]
    one, same = (tuned(files, tmp_path / f"t{number}", start, part)[0] for number, part in enumerate(parts))
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    whole, moved = (
        tuned(files, tmp_path / f"w{number}", start, path)[0] for number, path in enumerate((files / "new.h5", other))
    )
    assert any(not torch.equal(whole[name], moved[name]) for name in whole), "all sessions: it matters"


def test_targets_are_in_the_space_of_the_others(files, tmp_path):
    """Centres, and what a readout was fitted to: not of the pictures of the new subject's first session."""
    method = {**SMALL, "supervision": {"centre": True, "text": 0.3}}
    theirs = artefact.read_tensors(start := started(files, tmp_path / "start", method))
    part = first(files / "new.h5", 1, tmp_path / "one.h5")
    tensors, _ = tuned(files, tmp_path / "centred", start, part, method)
    for name in ("stimulus_centre", "text_centre"):
        assert torch.equal(tensors[name], theirs[name])
    concat = {"kind": "concat", "parts": [{"components": 6}, {}]}
    method = {**SMALL, "supervision": {"text": 0}, "readout": concat}
    theirs = artefact.read_tensors(start := started(files, tmp_path / "concat-start", method))
    tensors, _ = tuned(files, tmp_path / "concat", start, part, method)
    names = [name for name in theirs if name.startswith("readout.")]
    assert names
    assert all(torch.equal(tensors[name], theirs[name]) for name in names)


def test_a_readout_of_the_others_may_have_more_components_than_the_first_session_has_pictures(files, tmp_path):
    part = first(files / "new.h5", 1, tmp_path / "one.h5")
    few = len(np.unique(load_responses([part], "train", None).stimulus))
    method = {**SMALL, "supervision": {"text": 0}, "readout": {"kind": "concat", "parts": [{"components": few}]}}
    theirs = artefact.read_tensors(start := started(files, tmp_path / "start", method))
    tensors, _ = tuned(files, tmp_path / "tuned", start, part, method)
    names = [name for name in theirs if name.startswith("readout.")]
    assert names
    assert all(torch.equal(tensors[name], theirs[name]) for name in names)


def test_the_epoch_may_be_chosen_by_concepts_of_the_new_subject(files, start, tmp_path):
    method = {**SMALL, "selection": {"rule": "held-out-concepts"}, "optimiser": {**SMALL["optimiser"], "epochs": 3}}
    tensors, history = tuned(files, tmp_path, start, files / "new.h5", method)
    assert history["held_out_top1"].notna().all()
    assert torch.isfinite(tensors["own.sub-2.weight"]).all()


def with_recording(source: Path, target: Path, samples: int) -> None:
    """Responses that say which samples they come from."""
    drawn = np.sort(np.random.default_rng(samples).integers(0, 2**63, 128, dtype=np.uint64))
    with h5py.File(source) as old, artefact.create_h5(target, brain_files.MADE) as file:
        file.attrs.update({name: value for name, value in old.attrs.items() if name != artefact.KEY})
        for name in old:
            old.copy(name, file)
        group = file.create_group("recording")
        group["name"], group["sketch"] = [f"{target.stem}, run 1"], drawn[None]
        group.attrs["allowed"] = False


def test_a_new_subject_who_is_one_of_the_others_is_refused(files, tmp_path):
    """Else the model has seen the training, and perhaps the test, of the new subject as another one's."""
    for name, samples in (("sub-0", 1), ("sub-1", 2), ("new", 1)):
        with_recording(files / f"{name}.h5", tmp_path / f"{name}.h5", samples)
    (tmp_path / "stimuli.h5").write_bytes((files / "stimuli.h5").read_bytes())
    start = started(tmp_path, tmp_path / "start", {**SMALL, "optimiser": {**SMALL["optimiser"], "epochs": 1}})
    with pytest.raises(
        InputError, match="responses of new subject 2 and of the subjects of the model that it starts from"
    ):
        tuned(tmp_path, tmp_path / "tuned", start, tmp_path / "new.h5")
    tensors, _ = tuned(tmp_path, tmp_path / "own", start, files / "new.h5")
    found = names_from_tensor(tensors[RECORDINGS])
    assert found == ["sub-0, run 1", "sub-1, run 1"], "a test with their samples is told by these"


def test_other_methods_and_models_that_lack_something_are_refused(files, start, tmp_path):
    one = job_of(
        "tune", files, tmp_path, [files / "new.h5"], SMALL, start=start, protocol={"tune": "all"}, subjects=["2"]
    )
    one.settings["method"] = {"kind": "ridge", "tower": "tiny"}
    with pytest.raises(InputError, match="a method of kind ridge has no input layer for each subject; expected"):
        tune.run(one)
    lacking = {name: value for name, value in artefact.read_tensors(start).items() if name != "scale"}
    artefact.write_tensors(tmp_path / "less.safetensors", lacking, brain_files.MADE)
    with pytest.raises(InputError, match="the model that a new subject starts from has no scale"):
        tuned(files, tmp_path / "lacking", tmp_path / "less.safetensors", files / "new.h5")


# ------------------------------------------------------------------------------------------------- reporting


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ({"kind": "intra-subject"}, "Within subjects: a model is trained on the training trials of one subject"),
        ({"kind": "intra-subject", "sessions": 1}, "of the first session of one subject"),
        (
            {"kind": "new-subject", "sessions": 2},
            "from the training trials of the first 2 sessions of one subject (all",
        ),
        ({"kind": "new-subject", "sessions": "all", "tune": "input"}, "of all sessions of one subject (its new input"),
        ({"kind": "new-subject", "sessions": 2, "start": "random"}, "New subjects, from random weights"),
    ],
)
def test_the_page_says_whose_trials_a_model_learns_from(protocol, said):
    block = Protocol.model_validate(protocol)
    counted = {"p": settings.dump(block)} if block.sessions is not None else {}
    assert said in words.split({"protocols": {"p": block.words}, "sessions": counted}, "p", 3)
